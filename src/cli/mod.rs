//! argv in, bytes out: one file a command, which is its arguments and a short function.

mod calendar;
mod create;
mod doctor;
mod failure;
mod gc;
mod globals;
mod init;
mod list;
mod opening;
mod output;
mod policy;
mod progress;
mod render;
mod rm;
mod show;
mod signals;
mod simulate;
mod streams;
mod times;
mod undo;
mod usage;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use failure::Failure;
use globals::Globals;
use output::Output;

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
    11 locked; 13 a guard refused; 130/143 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Create(create::Args),
    List(list::Args),
    Show(show::Args),
    Usage(usage::Args),
    Rm(rm::Args),
    Undo(undo::Args),
    Gc(gc::Args),
    Simulate(simulate::Args),
    Doctor(doctor::Args),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Create(_) => "create",
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Usage(_) => "usage",
            Self::Rm(_) => "rm",
            Self::Undo(_) => "undo",
            Self::Gc(_) => "gc",
            Self::Simulate(_) => "simulate",
            Self::Doctor(_) => "doctor",
        }
    }
}

/// Done, without and with warnings.
const DONE: u8 = 0;
const WARNED: u8 = 3;

/// Runs one command line and returns the exit code.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = Cli::command().try_get_matches_from(&arguments).and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    let output = Output::new(&cli.globals, cli.command.name());
    output.start_log();
    if !matches!(cli.command, Command::Create(_)) {
        signals::end_at_once();
    }
    let result = match cli.command {
        Command::Init(args) => init::run(&args, &cli.globals, &output),
        Command::Create(args) => create::run(args, &cli.globals, &output),
        Command::List(args) => list::run(&args, &cli.globals, &output),
        Command::Show(args) => show::run(&args, &cli.globals, &output),
        Command::Usage(args) => usage::run(&args, &cli.globals, &output),
        Command::Rm(args) => rm::run(&args, &cli.globals, &output),
        Command::Undo(args) => undo::run(&args, &cli.globals, &output),
        Command::Gc(args) => gc::run(&args, &cli.globals, &output),
        Command::Simulate(args) => simulate::run(&args, &cli.globals, &output),
        Command::Doctor(args) => doctor::run(&args, &cli.globals, &output),
    };
    let code = result.unwrap_or_else(|failure| failure.report(&output));
    output
        .write_error()
        .map_or(code, |error| Failure::failed("cannot write the answer").caused_by(error).report(&output))
}

type CommandResult = Result<u8, Failure>;
