use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::documents::{ConfigDocument, SettingRow};
use super::failure::CommandFailure;
use super::globals::Globals;
use super::invocation::Invocation;
use super::opening::{self, PasswordSource};
use super::output::Output;
use super::render::{self, Align::Left};
use super::run::{hook_programs, hook_refusal};
use super::settings::{BY_POLICY, GLOBAL, Layer, POLICY, Schema};
use super::{CommandResult, DONE, address, config_init};

/// Write a first configuration file, check the files, or show the settings in force
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    what: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Write a commented configuration file with the options of this command line and environment
    #[command(
        after_help = "The file is /etc/chsnap/config.toml, or ~/.config/chsnap/config.toml for users other than root. \
        --config FILE or --output FILE names another file, and - the terminal. An existing file is never overwritten.\n\n\
        Examples:\n  chsnap config init --repo /var/lib/clickhouse/chsnap\n  chsnap config init --output -"
    )]
    Init(InitArgs),
    /// Check the configuration files, and report each problem with its line
    #[command(after_help = "Examples:\n  chsnap config check\n  chsnap config check --config ./chsnap.toml")]
    Check,
    /// Show the settings in force for a profile
    #[command(after_help = "Examples:\n  chsnap config show\n  chsnap config show --profile nfs")]
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct InitArgs {
    /// Write this file, or - for the terminal
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Accepted and ignored: the origin of each value is always shown
    #[arg(long, hide = true)]
    origin: bool,
}

const EXAMPLES: &str = "Files, each overriding those before it: /etc/chsnap/config.toml, /etc/chsnap/conf.d/*.toml, \
    $XDG_CONFIG_HOME/chsnap/config.toml. --config FILE (CHSNAP_CONFIG) is read instead of all of them. Environment \
    variables override files, and the command line overrides both.

Examples:
  chsnap config init --repo /var/lib/clickhouse/chsnap
  chsnap config check
  chsnap config show --profile nfs";

const WRITABLE: &str = "a String takes everything";

pub(super) fn run(
    args: &Args,
    globals: &Globals,
    invocation: &Invocation,
    found: &ArgMatches,
    output: &Output,
) -> CommandResult {
    match &args.what {
        ConfigCommand::Init(args) => config_init::run(args.output.as_deref(), globals, invocation, found, output),
        ConfigCommand::Check => check(invocation, output),
        ConfigCommand::Show(ShowArgs { origin: _ }) => show(invocation, found, output),
    }
}

fn check(invocation: &Invocation, output: &Output) -> CommandResult {
    let settings = &invocation.settings;
    settings.check()?;
    let mut names: Vec<Option<&str>> = settings.profiles().into_iter().map(Some).collect();
    if names.is_empty() {
        names.push(None);
    }
    let mut notes = Vec::new();
    for name in &names {
        let layer = settings.layer(*name)?;
        check_files_named(&layer)?;
        check_hooks(&layer)?;
        if !has_rule(&layer) {
            let of = name.map(|name| format!("profile {name}: ")).unwrap_or_default();
            let lacks = if layer.sections.contains_key(POLICY) { "no rule in [prune]" } else { "no [prune]" };
            notes.push(format!("{of}{lacks}: nothing is ever removed"));
        }
    }
    if output.is_json() {
        let document = ConfigDocument {
            files: Some(paths(&settings.files)),
            profiles: Some(settings.profiles().into_iter().map(str::to_owned).collect()),
            problems: Some(Vec::new()),
            notes: Some(notes),
            ..ConfigDocument::default()
        };
        output.document(&document, &[]);
        return Ok(DONE);
    }
    if settings.files.is_empty() {
        output.prose("there is no configuration file, and none is needed; chsnap config init writes one\n");
    }
    for file in &settings.files {
        output.prose(&format!("{} can be used\n", file.display()));
    }
    if !settings.profiles().is_empty() {
        output.prose(&format!("profiles: {}\n", settings.profiles().into_iter().collect::<Vec<_>>().join(", ")));
    }
    for note in &notes {
        output.prose(&format!("note: {}\n", render::safe(note, 300)));
    }
    Ok(DONE)
}

/// Whether the policy has a rule, and not only floors.
fn has_rule(layer: &Layer) -> bool {
    layer
        .sections
        .get(POLICY)
        .is_some_and(|section| section.keys().any(|key| key.starts_with("keep_") || key == "free"))
}

/// A file that a setting names must exist, and no other user may change it: the nightly run would be too late to find
/// out.
fn check_files_named(layer: &Layer) -> Result<(), CommandFailure> {
    let Some(section) = layer.sections.get(GLOBAL) else { return Ok(()) };
    for key in ["password_file", "ca_file"] {
        let Some(setting) = section.get(key) else { continue };
        for path in &setting.values {
            std::fs::File::open(path).map_err(|error| {
                CommandFailure::usage(format!("{}: {key} cannot be read: {path}", setting.origin))
                    .caused_by(error.to_string())
            })?;
            if key == "password_file" {
                opening::read_password(path.as_ref())?;
            }
        }
    }
    Ok(())
}

fn check_hooks(layer: &Layer) -> Result<(), CommandFailure> {
    let Some(section) = layer.sections.get("run") else { return Ok(()) };
    for key in ["before", "after"] {
        let Some(setting) = section.get(key) else { continue };
        for line in &setting.values {
            hook_refusal(key, line)?;
            if let Some(missing) = hook_programs(line).iter().find(|program| !program.exists()) {
                let message = format!("{}: the program of {key} is not there: {}", setting.origin, missing.display());
                return Err(CommandFailure::usage(message));
            }
        }
    }
    Ok(())
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

fn show(invocation: &Invocation, found: &ArgMatches, output: &Output) -> CommandResult {
    let layer = invocation.layer()?;
    let settings = effective(&invocation.schema, &layer, found);
    if output.is_json() {
        let document = ConfigDocument {
            files: Some(paths(&invocation.settings.files)),
            profiles: Some(invocation.settings.profiles().into_iter().map(str::to_owned).collect()),
            profile: invocation.profile.clone(),
            settings: Some(settings),
            ..ConfigDocument::default()
        };
        output.document(&document, &[]);
        return Ok(DONE);
    }
    let mut section = GLOBAL;
    let mut text = String::new();
    if let Some(profile) = &invocation.profile {
        writeln!(text, "# profile {}", render::safe(profile, 100)).expect(WRITABLE);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let flush = |rows: &mut Vec<Vec<String>>, text: &mut String| {
        if !rows.is_empty() {
            text.push_str(&render::table(
                &[("KEY", Left), ("VALUE", Left), ("ORIGIN", Left)],
                std::mem::take(rows),
                output.width(),
            ));
        }
    };
    for setting in &settings {
        if setting.section != section {
            flush(&mut rows, &mut text);
            writeln!(text, "\n[{}]", setting.section).expect(WRITABLE);
            section = &setting.section;
        }
        let values = render::safe(&setting.values.join(", "), 200);
        rows.push(vec![setting.key.clone(), values, render::safe(&setting.origin, 200)]);
    }
    flush(&mut rows, &mut text);
    output.text(&text);
    Ok(DONE)
}

const BUILT_IN: &str = "built in";

/// Whether there is a password, and its source; never the password itself.
fn password(found: &ArgMatches) -> SettingRow {
    let source = match opening::password_source(found) {
        Some(PasswordSource::Variable) => Some("environment CHSNAP_PASSWORD"),
        Some(PasswordSource::File) => Some("the file of password_file"),
        Some(PasswordSource::Credential) => Some("the credential clickhouse-password"),
        None => None,
    };
    let value = if source.is_some() { "set" } else { "none" };
    let origin = source.unwrap_or(BUILT_IN).to_owned();
    SettingRow { section: GLOBAL.to_owned(), key: "password".to_owned(), values: vec![value.to_owned()], origin }
}

/// Every value in force: first the global options, then those of each command.
fn effective(schema: &Schema, layer: &Layer, found: &ArgMatches) -> Vec<SettingRow> {
    let mut rows = Vec::new();
    let of_file = |section: &str, key: &str| layer.sections.get(section).and_then(|section| section.get(key));
    for (key, option) in schema.section(GLOBAL).into_iter().flatten() {
        let source = found.value_source(&option.id);
        let values = found.try_get_raw(&option.id).ok().flatten();
        let values = values.map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect());
        let Some(values) = values.filter(|values: &Vec<String>| !values.is_empty()) else { continue };
        let origin = match (source, of_file(GLOBAL, key)) {
            (Some(ValueSource::CommandLine), _) => "command line".to_owned(),
            (Some(ValueSource::EnvVariable), _) => {
                option.variable.clone().map_or_else(|| "environment".to_owned(), |name| format!("environment {name}"))
            }
            (_, Some(setting)) => setting.origin.to_string(),
            (_, None) => BUILT_IN.to_owned(),
        };
        rows.push(SettingRow { section: GLOBAL.to_owned(), key: key.clone(), values, origin });
    }
    rows.push(password(found));
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    for section in schema.section_names() {
        for (key, option) in schema.section(section).into_iter().flatten() {
            // Commands that show the policy use it, unless their own section says otherwise.
            let of_policy = || of_file(POLICY, key).filter(|_| BY_POLICY.contains(&section));
            let (values, origin) = match of_file(section, key).or_else(of_policy) {
                Some(setting) => (setting.values.clone(), setting.origin.to_string()),
                None => (option.built_in.clone(), BUILT_IN.to_owned()),
            };
            // The path of such an address is its secret.
            let values = if key.starts_with("ping") {
                values.iter().map(|url| address::without_secret(url)).collect()
            } else {
                values
            };
            if !values.is_empty() {
                rows.push(SettingRow { section: section.to_owned(), key: key.clone(), values, origin });
            }
        }
    }
    rows
}
