use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Value, json};

use super::early::Early;
use super::failure::Failure;
use super::output::Output;
use super::render::{self, Align::Left};
use super::settings::{GLOBAL, Layer, Schema};
use super::{CommandResult, DONE};

/// Check the configuration files, or show what holds
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say what in the files cannot be used, each with its line
    #[command(after_help = "Examples:\n  chsnap config check\n  chsnap config check --config ./chsnap.toml")]
    Check,
    /// Show the settings that hold for a profile
    #[command(after_help = "Examples:\n  chsnap config show\n  chsnap config show --origin --profile nfs")]
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Also say where each comes from: a file and its line, a variable, the command line, or chsnap itself
    #[arg(long)]
    origin: bool,
}

const EXAMPLES: &str = "Files, the weakest first: /etc/chsnap/config.toml, /etc/chsnap/conf.d/*.toml, \
    $XDG_CONFIG_HOME/chsnap/config.toml. --config FILE (CHSNAP_CONFIG) is read instead of them. Variables of the \
    environment are stronger than files, and the command line is stronger than these.

Examples:
  chsnap config check
  chsnap config show --origin --profile nfs";

const WRITABLE: &str = "a String takes everything";

pub(super) fn run(args: &Args, early: &Early, found: &ArgMatches, output: &Output) -> CommandResult {
    match &args.what {
        What::Check => check(early, output),
        What::Show(args) => show(args, early, found, output),
    }
}

fn check(early: &Early, output: &Output) -> CommandResult {
    let settings = &early.settings;
    settings.check()?;
    let mut names: Vec<Option<&str>> = settings.profiles().into_iter().map(Some).collect();
    if names.is_empty() {
        names.push(None);
    }
    for name in &names {
        check_files_named(&settings.layer(*name)?)?;
    }
    if output.is_json() {
        output.json(&json!({
            "schema": output.schema(), "files": settings.files, "profiles": settings.profiles(), "problems": [],
        }));
        return Ok(DONE);
    }
    if settings.files.is_empty() {
        output.text("there is no configuration file, and none is needed\n");
    }
    for file in &settings.files {
        output.text(&format!("{} can be used\n", file.display()));
    }
    if !settings.profiles().is_empty() {
        output.text(&format!("profiles: {}\n", settings.profiles().into_iter().collect::<Vec<_>>().join(", ")));
    }
    Ok(DONE)
}

/// A file that a setting names must be there: a night is no time to find out.
fn check_files_named(layer: &Layer) -> Result<(), Failure> {
    let Some(section) = layer.sections.get(GLOBAL) else { return Ok(()) };
    for key in ["password_file", "ca_file"] {
        let Some(setting) = section.get(key) else { continue };
        for path in &setting.values {
            std::fs::File::open(path).map_err(|error| {
                Failure::usage(format!("{}: {key} cannot be read: {path}", setting.origin)).caused_by(error.to_string())
            })?;
        }
    }
    Ok(())
}

/// A setting as it holds.
struct Effective {
    section: String,
    key: String,
    values: Vec<String>,
    origin: String,
}

fn show(args: &ShowArgs, early: &Early, found: &ArgMatches, output: &Output) -> CommandResult {
    let layer = early.layer()?;
    let settings = effective(&early.schema, &layer, found);
    if output.is_json() {
        let rows: Vec<Value> = settings
            .iter()
            .map(|row| json!({"section": row.section, "key": row.key, "values": row.values, "origin": row.origin}))
            .collect();
        output.json(&json!({
            "schema": output.schema(), "profile": early.profile, "profiles": early.settings.profiles(),
            "files": early.settings.files, "settings": rows,
        }));
        return Ok(DONE);
    }
    let mut section = GLOBAL;
    let mut text = String::new();
    if let Some(profile) = &early.profile {
        writeln!(text, "# profile {}", render::safe(profile, 100)).expect(WRITABLE);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let flush = |rows: &mut Vec<Vec<String>>, text: &mut String| {
        let columns = if args.origin {
            &[("KEY", Left), ("VALUE", Left), ("ORIGIN", Left)][..]
        } else {
            &[("KEY", Left), ("VALUE", Left)]
        };
        if !rows.is_empty() {
            text.push_str(&render::table(columns, std::mem::take(rows)));
        }
    };
    for setting in &settings {
        if setting.section != section {
            flush(&mut rows, &mut text);
            writeln!(text, "\n[{}]", setting.section).expect(WRITABLE);
            section = &setting.section;
        }
        let mut row = vec![setting.key.clone(), render::safe(&setting.values.join(", "), 200)];
        if args.origin {
            row.push(render::safe(&setting.origin, 200));
        }
        rows.push(row);
    }
    flush(&mut rows, &mut text);
    output.text(&text);
    Ok(DONE)
}

/// All options that stand before any command, and what files say for single commands.
fn effective(schema: &Schema, layer: &Layer, found: &ArgMatches) -> Vec<Effective> {
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
            (_, None) => "built in".to_owned(),
        };
        rows.push(Effective { section: GLOBAL.to_owned(), key: key.clone(), values, origin });
    }
    let sections: BTreeSet<&String> = layer.sections.keys().filter(|name| *name != GLOBAL).collect();
    for section in sections {
        for (key, setting) in layer.sections.get(section).into_iter().flatten() {
            let origin = setting.origin.to_string();
            rows.push(Effective { section: section.clone(), key: key.clone(), values: setting.values.clone(), origin });
        }
    }
    rows
}
