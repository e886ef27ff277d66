//! argv in, bytes out: one file per command, with its arguments and a short function.

mod access_text;
mod address;
mod calendar;
mod complete;
mod completions;
mod config;
mod config_init;
mod configured;
mod confirm;
mod copy;
mod create;
mod diff;
mod doctor;
mod documents;
mod drill;
mod examples;
mod failure;
mod gc;
mod given_text;
mod globals;
mod help;
mod host;
mod import;
mod init;
mod invocation;
mod layout;
#[cfg(test)]
mod library_defaults;
mod list;
mod log;
mod man;
mod messages;
mod metrics;
mod monitor;
mod opening;
mod output;
pub(crate) mod panics;
mod pin;
mod policy;
mod progress;
mod prune;
mod prune_plan;
mod pull;
mod push;
mod remote;
mod remote_choice;
mod remote_prune;
mod render;
mod report;
mod restore;
mod restore_directory;
mod restore_text;
mod rm;
mod rules;
mod run;
mod schema;
mod series;
mod settings;
mod show;
mod signals;
mod silence;
mod simulate;
mod streams;
mod systemd;
mod times;
mod trash;
mod trust;
mod undo;
mod unit_words;
mod unlock;
mod unpin;
mod usage;
mod verify;
mod words;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use failure::CommandFailure;
use globals::Globals;
use invocation::Invocation;
use output::Output;
use settings::Layer;

/// Dated, full, hardlinked snapshots of a ClickHouse server's MergeTree tables.
#[derive(Debug, Parser)]
#[command(name = "chsnap", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 usage; 3 done with warnings; 10 no repository; \
    11 locked; 12 verification found damage; 13 a guard refused; 129/130/143 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Create(create::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Show(show::Args),
    Diff(diff::Args),
    Usage(usage::Args),
    Prune(prune::Args),
    Rm(rm::Args),
    Undo(undo::Args),
    Gc(gc::Args),
    Pin(pin::Args),
    Unpin(unpin::Args),
    Simulate(simulate::Args),
    Verify(verify::Args),
    Doctor(doctor::Args),
    Run(run::Args),
    Monitor(monitor::Args),
    Report(report::Args),
    Systemd(systemd::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
    Restore(Box<restore::Args>),
    Copy(copy::Args),
    Push(push::Args),
    Pull(pull::Args),
    Remote(remote::Args),
    Import(import::Args),
    Drill(drill::Args),
    Unlock(unlock::Args),
    #[command(hide = true)]
    Schema(schema::Args),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Create(_) => "create",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Diff(_) => "diff",
            Self::Usage(_) => "usage",
            Self::Prune(_) => "prune",
            Self::Rm(_) => "rm",
            Self::Undo(_) => "undo",
            Self::Gc(_) => "gc",
            Self::Pin(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::Simulate(_) => "simulate",
            Self::Verify(_) => "verify",
            Self::Doctor(_) => "doctor",
            Self::Run(_) => "run",
            Self::Monitor(_) => "monitor",
            Self::Report(_) => "report",
            Self::Systemd(_) => "systemd",
            Self::Config(_) => "config",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Restore(_) => "restore",
            Self::Copy(_) => "copy",
            Self::Push(_) => "push",
            Self::Pull(_) => "pull",
            Self::Remote(_) => "remote",
            Self::Import(_) => "import",
            Self::Unlock(_) => "unlock",
            Self::Drill(_) => "drill",
            Self::Schema(_) => "schema",
        }
    }
}

/// Exit codes for success, without and with warnings.
const DONE: u8 = 0;
const WARNED: u8 = 3;
/// Damage was found.
const DAMAGED: u8 = 12;

/// The whole command line, as it is without a configuration.
fn tree() -> clap::Command {
    // Few users need them: -h is for the command's own options.
    let short = |arg: clap::Arg| if arg.is_global_set() { arg.hide_short_help(true) } else { arg };
    examples::attach(complete::attach(Cli::command().mut_args(short)))
}

/// Runs one command line and returns the exit code.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    host::install();
    if complete::answer() {
        return DONE;
    }
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if help::is_about_version(&arguments) {
        return help::version();
    }
    let as_json = arguments.iter().any(|argument| argument == "--json");
    if help::is_about_options(&arguments) {
        return help::options(&tree());
    }
    let (invocation, found) = match read(&arguments) {
        Ok(read) => read,
        Err(unread) if is_monitor(&arguments) && unread.is_error() => return monitor::unknown(&unread.line(), as_json),
        Err(UnreadCommandLine::Line(error)) => return failure::usage(&error, as_json),
        Err(UnreadCommandLine::Configuration(failure)) => return failure.report(&Output::unconfigured(as_json)),
    };
    let mut cli = match Cli::from_arg_matches(&found) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, as_json),
    };
    cli.globals.note_sources(&found, invocation.profiles());
    if let Ok(layer) = invocation.layer() {
        cli.globals.main_series = series::configured(&layer);
        cli.globals.rules = rules::sources(&invocation.schema, &layer, &found);
    }
    let output = Output::new(&cli.globals, cli.command.name());
    output.start_log();
    silence::watch(&cli.globals, cli.command.name());
    if !matches!(
        cli.command,
        Command::Create(_) | Command::Restore(_) | Command::Run(_) | Command::Drill(_) | Command::Import(_)
    ) {
        signals::end_at_once();
    }
    let uses_no_server =
        matches!(cli.command, Command::Monitor(_) | Command::Completions(_) | Command::Man(_) | Command::Schema(_));
    let usable = if uses_no_server { Ok(()) } else { opening::check_url(&cli.globals) };
    let result = usable.and_then(|()| match cli.command {
        Command::Config(args) => config::run(&args, &cli.globals, &invocation, &found, &output),
        Command::Run(args) => run::run(&args, &cli.globals, &invocation, &output),
        Command::Doctor(args) => doctor::run(&args, &cli.globals, &invocation, &output),
        Command::Report(args) => report::run(&args, &cli.globals, &invocation, &output),
        Command::Systemd(args) => systemd::run(&args, &invocation, &found, &output),
        Command::Completions(args) => completions::run(&args, &output),
        Command::Man(args) => man::run(&args, &output),
        Command::Schema(args) => schema::run(&args, &output),
        command => dispatch(command, &cli.globals, &output),
    });
    let code = result.unwrap_or_else(|failure| failure.report(&output));
    output
        .write_error()
        .map_or(code, |error| CommandFailure::failed("cannot write the answer").caused_by(error).report(&output))
}

type CommandResult = Result<u8, CommandFailure>;

/// Runs a command on a repository: one of its own, or a step of `run`.
fn dispatch(command: Command, globals: &Globals, output: &Output) -> CommandResult {
    match command {
        Command::Init(args) => init::run(&args, globals, output),
        Command::Create(args) => create::run(args, globals, output),
        Command::List(args) => list::run(&args, globals, output),
        Command::Show(args) => show::run(&args, globals, output),
        Command::Diff(args) => diff::run(&args, globals, output),
        Command::Usage(args) => usage::run(&args, globals, output),
        Command::Prune(args) => prune::run(&args, globals, output),
        Command::Simulate(args) => simulate::run(&args, globals, output),
        Command::Verify(args) => verify::run(args, globals, output),
        Command::Restore(args) => restore::run(&args, globals, output),
        Command::Import(args) => import::run(&args, globals, output),
        Command::Drill(args) => drill::run(&args, globals, output),
        Command::Copy(args) => copy::run(&args, globals, output),
        Command::Push(args) => push::run(&args, globals, output),
        Command::Pull(args) => pull::run(&args, globals, output),
        Command::Remote(args) => remote::run(&args, globals, output),
        Command::Rm(args) => rm::run(&args, globals, output),
        Command::Undo(args) => undo::run(&args, globals, output),
        Command::Gc(args) => gc::run(&args, globals, output),
        Command::Pin(args) => pin::run(&args, globals, output),
        Command::Unpin(args) => unpin::run(&args, globals, output),
        Command::Unlock(args) => unlock::run(&args, globals, output),
        Command::Monitor(args) => Ok(monitor::run(&args, globals, output)),
        Command::Config(_)
        | Command::Doctor(_)
        | Command::Report(_)
        | Command::Run(_)
        | Command::Systemd(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Schema(_) => Err(CommandFailure::usage("this command is no step of another one")),
    }
}

/// Why a command line was not parsed.
enum UnreadCommandLine {
    Line(Box<clap::Error>),
    Configuration(CommandFailure),
}

impl UnreadCommandLine {
    /// Whether it is an error, and not the help that was requested.
    fn is_error(&self) -> bool {
        match self {
            Self::Line(error) => error.use_stderr(),
            Self::Configuration(_) => true,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Line(error) => {
                let text = error.render().to_string();
                text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
            Self::Configuration(failure) => failure.line(),
        }
    }
}

/// Whether the command is `monitor`: its caller reads one line and its exit code, whatever is wrong.
fn is_monitor(arguments: &[OsString]) -> bool {
    let found = tree().ignore_errors(true).try_get_matches_from(arguments);
    found.is_ok_and(|found| found.subcommand_name() == Some("monitor"))
}

/// Reads the configuration for a command line, then parses the command line with it.
fn read(arguments: &[OsString]) -> Result<(Invocation, clap::ArgMatches), UnreadCommandLine> {
    // To make the tree is most of the time that a short command takes: it is made once.
    let tree = tree();
    let line = |error: clap::Error| UnreadCommandLine::Line(Box::new(help::with_own_usage(error, &tree, arguments)));
    let help = tree.clone().try_get_matches_from(arguments).err().filter(|error| !error.use_stderr());
    if let Some(help) = help {
        return Err(line(help));
    }
    let invocation = Invocation::read(tree.clone(), arguments).map_err(UnreadCommandLine::Configuration)?;
    // These commands are needed precisely when the configuration cannot be used.
    let is_needed = !matches!(invocation.command.as_deref(), Some("config" | "completions" | "man" | "schema"));
    let layer = match invocation.layer() {
        Ok(layer) => layer,
        Err(failure) if is_needed => return Err(UnreadCommandLine::Configuration(failure)),
        Err(_) => Layer::default(),
    };
    let command = settings::defaults(tree.clone(), &invocation.schema, &layer);
    let found = command.try_get_matches_from(arguments).map_err(line)?;
    Ok((invocation, found))
}
