//! The rules of retention that the command line and the configuration files give.

use chsnap::plan::retention::Policy;
use clap::FromArgMatches as _;
use clap::parser::ValueSource;

use super::Cli;
use super::failure::CommandFailure;
use super::policy::{GivenRule, PolicyArgs, RuleSources, is_of_policy};
use super::settings::{self, Layer, Schema};

/// The commands that distinguish rules on the command line from rules in the files.
const BY_SOURCE: [&str; 2] = ["prune", "simulate"];

/// Determines which rules come from the command line, and which from the files.
pub(super) fn sources(schema: &Schema, layer: &Layer, found: &clap::ArgMatches) -> RuleSources {
    let Some((name, found)) = found.subcommand().filter(|(name, _)| BY_SOURCE.contains(name)) else {
        return RuleSources::default();
    };
    let command = settings::defaults(super::tree(), schema, layer);
    let of_files = command.try_get_matches_from(["chsnap", name]).ok();
    let of_files = of_files.and_then(|found| Cli::from_arg_matches(&found).ok());
    let of_files = match of_files.map(|cli| cli.command) {
        Some(super::Command::Prune(args)) => args.policy,
        Some(super::Command::Simulate(args)) => args.policy,
        _ => PolicyArgs::default(),
    };
    let mut sources = RuleSources { of_files, ..RuleSources::default() };
    let keys = schema.section(name).into_iter().flatten();
    for (key, option) in keys.filter(|(key, _)| is_of_policy(key)) {
        let sections = [name, "prune"].map(|section| layer.sections.get(section)?.get(key));
        if let Some(setting) = sections.into_iter().flatten().next() {
            let file = Some(setting.origin.to_string());
            sources.given.push(GivenRule { key: key.clone(), values: setting.values.clone(), file });
        }
        if found.value_source(&option.id) == Some(ValueSource::CommandLine) {
            let raw = found.get_raw(&option.id).into_iter().flatten();
            let values = raw.map(|value| value.to_string_lossy().into_owned()).collect();
            sources.given.push(GivenRule { key: key.clone(), values, file: None });
            sources.from_line.insert(option.id.clone());
        }
    }
    sources
}

/// The policy, unless it has no rule: a missing rule must not remove snapshots.
pub(super) fn with_a_rule(policy: Policy) -> Result<Policy, CommandFailure> {
    if policy.is_empty() {
        return Err(CommandFailure::usage("no rule says what to keep").with_hint(
            "give one at least, for example --keep-daily 7 --keep-weekly 4 --keep-monthly 12; --min-keep and --min-age \
             are floors below the rules, and no rules themselves",
        ));
    }
    Ok(policy)
}
