//! Makes the settings in the files the defaults of the command line: weaker than the environment, which is weaker than
//! flags.

use clap::builder::Resettable;
use clap::{Arg, Command};

use super::{GLOBAL, Layer, Schema, Section};

/// The section that defines what to keep.
pub(in super::super) const POLICY: &str = "prune";
/// The commands that show the effect of the policy, unless their own section says otherwise.
pub(in super::super) const BY_POLICY: [&str; 3] = ["simulate", "report", "usage"];

/// The command line with these settings as its defaults.
pub(in super::super) fn defaults(command: Command, schema: &Schema, layer: &Layer) -> Command {
    let mut command = command.mut_args(without_empty_environment);
    // These commands use the same policy as the nightly run, so that they show what it would do.
    if let Some(policy) = layer.sections.get(POLICY) {
        for name in BY_POLICY.into_iter().filter(|name| schema.section(name).is_some()) {
            command = command.mut_subcommand(name, |command| set(command, schema, name, policy));
        }
    }
    for (name, section) in &layer.sections {
        let set = |command: Command| set(command, schema, name, section);
        command = if name == GLOBAL { set(command) } else { command.mut_subcommand(name, set) };
    }
    command
}

/// A variable that is set to the empty string has no value, and hides none either.
fn without_empty_environment(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(Resettable::Reset) } else { arg }
}

fn set(mut command: Command, schema: &Schema, name: &str, section: &Section) -> Command {
    let Some(keys) = schema.section(name) else { return command };
    for (key, setting) in section {
        let Some(key) = keys.get(key) else { continue };
        let values = setting.values.clone();
        command = command.mut_arg(&key.id, |arg| arg.default_values(values));
    }
    command
}
