//! Builds a command from the configuration alone.

use clap::FromArgMatches as _;

use super::failure::CommandFailure;
use super::settings::{self, Layer, Schema};
use super::{Cli, Command};

/// A command with these arguments; all other settings come from the profile.
///
/// # Errors
/// If the profile's settings for it cannot be used.
pub(super) fn command(
    schema: &Schema,
    layer: &Layer,
    name: &str,
    arguments: &[String],
) -> Result<Command, CommandFailure> {
    let command = settings::defaults(super::tree(), schema, layer);
    let line = ["chsnap", name].into_iter().chain(arguments.iter().map(String::as_str));
    let usage = |error: clap::Error| {
        let text = error.render().to_string();
        CommandFailure::usage(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
    };
    let found = command.try_get_matches_from(line).map_err(usage)?;
    Ok(Cli::from_arg_matches(&found).map_err(usage)?.command)
}
