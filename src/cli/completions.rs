use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::complete;
use super::documents::CompletionsDocument;
use super::failure::CommandFailure;
use super::output::Output;
use super::{CommandResult, DONE};

/// Print a completion script for a shell; it also completes snapshots, tables and profiles
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    /// Into ~/.local/share/bash-completion/completions/chsnap.
    Bash,
    /// Into _chsnap in a directory of $fpath.
    Zsh,
    /// Into ~/.config/fish/completions/chsnap.fish.
    Fish,
}

pub(super) fn run(args: &Args, output: &Output) -> CommandResult {
    let completer: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    completer
        .write_registration(complete::VARIABLE, "chsnap", "chsnap", "chsnap", &mut script)
        .map_err(|error| CommandFailure::failed("cannot write the completions").caused_by(error.to_string()))?;
    let script = String::from_utf8_lossy(&script).into_owned();
    if output.is_json() {
        output.document(&CompletionsDocument { shell: completer.name().to_owned(), script }, &[]);
    } else {
        output.text(&script);
    }
    Ok(DONE)
}
