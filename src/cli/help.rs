//! Help and usage texts in addition to those that clap generates.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

use super::streams::write_stdout;

/// The topic of `chsnap help options`.
const OPTIONS: &str = "options";

/// The note in `-h` about the options that every command has.
pub(super) const MORE: &str = "Options of every command (--repo, --url, --json …): --help, or chsnap help options";

/// Whether the command line requests the options that every command has.
pub(super) fn is_about_options(arguments: &[OsString]) -> bool {
    let words: Vec<&OsString> = arguments.iter().skip(1).collect();
    matches!(words.as_slice(), [help, topic] if *help == "help" && *topic == OPTIONS)
}

/// Whether the command line requests the version and has no other word. The tree of commands, which takes most of the
/// time of so short a command, is not needed for that.
pub(super) fn is_about_version(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, word] if word == "--version" || word == "-V")
}

/// Prints the version and returns the exit code.
pub(super) fn version() -> u8 {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    u8::from(write_stdout(concat!("chsnap ", env!("CARGO_PKG_VERSION"), "\n"), is_terminal).is_err())
}

/// Prints these options and returns the exit code.
pub(super) fn options(tree: &clap::Command) -> u8 {
    let global = tree.get_arguments().filter(|arg| arg.is_global_set()).cloned();
    let mut command = clap::Command::new("chsnap")
        .about("Options that are accepted before or after any command")
        .max_term_width(100)
        .disable_help_flag(true)
        .help_template("{about}\n\n{all-args}")
        .args(global.map(|arg| arg.global(false)));
    print(&command.render_long_help())
}

/// Prints a help page and returns the exit code.
pub(super) fn print(page: &clap::builder::StyledStr) -> u8 {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let text = if is_terminal { page.ansi().to_string() } else { page.to_string() };
    u8::from(write_stdout(&without_trailing_blanks(&text), is_terminal).is_err())
}

/// The text without blanks at the ends of lines: clap leaves some.
fn without_trailing_blanks(text: &str) -> String {
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// The usage of the innermost command that was given.
fn usage_of(command: &mut clap::Command, found: &clap::ArgMatches) -> clap::builder::StyledStr {
    match found.subcommand() {
        Some((name, inner)) if command.find_subcommand(name).is_some() => match command.find_subcommand_mut(name) {
            Some(sub) => usage_of(sub, inner),
            None => clap::builder::StyledStr::new(),
        },
        _ => command.render_usage(),
    }
}

/// The error with the usage of its command. clap's own usage lists options that the environment has set, as if the
/// command line required them.
pub(super) fn with_own_usage(mut error: clap::Error, tree: &clap::Command, arguments: &[OsString]) -> clap::Error {
    if error.get(ContextKind::Usage).is_none() {
        return error;
    }
    let mut command = tree.clone();
    command.build();
    let found = command.clone().ignore_errors(true).try_get_matches_from(arguments).unwrap_or_default();
    let usage = usage_of(&mut command, &found);
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}
