//! The settings that exist: the long options of the command line.

use std::collections::BTreeMap;

use chsnap::plan::retention::Policy;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use super::GLOBAL;
use crate::cli::address;

/// Options that confirm something once and must not do so every night, and those that select the files themselves.
const NEVER: [&str; 14] = [
    "allow-other-server",
    "config",
    "dry-run",
    "force",
    "help",
    "json",
    "only-these",
    "profile",
    "replace",
    "repair",
    "series",
    "version",
    "yes",
    "yes-really",
];

/// Commands without any settings.
const WITHOUT_SETTINGS: [&str; 9] =
    ["completions", "config", "help", "init", "man", "pin", "remote", "systemd", "unpin"];

/// One option, as a key.
#[derive(Clone, Debug)]
pub(in super::super) struct OptionKey {
    /// The option's id in clap.
    pub(in super::super) id: String,
    long: String,
    action: ArgAction,
    parser: ValueParser,
    delimiter: Option<char>,
    placeholder: String,
    /// The environment variable for the same setting.
    pub(in super::super) variable: Option<String>,
    /// The values in force if no other source sets them, if there are any.
    pub(in super::super) built_in: Vec<String>,
}

/// The values that a key accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyShape {
    /// `true` or `false`.
    Switch,
    /// A number.
    Count,
    /// A text or a number.
    One,
    /// One value of the kind above, or an array of them.
    Many,
}

/// All keys by section, including [`GLOBAL`].
#[derive(Clone, Debug)]
pub(in super::super) struct Schema {
    sections: BTreeMap<String, BTreeMap<String, OptionKey>>,
}

impl Schema {
    /// Collects the keys from the command line.
    pub(in super::super) fn of(command: &Command) -> Self {
        let mut sections = BTreeMap::new();
        sections.insert(GLOBAL.to_owned(), keys(command.get_arguments()));
        for sub in command.get_subcommands().filter(|sub| !WITHOUT_SETTINGS.contains(&sub.get_name())) {
            sections.insert(sub.get_name().to_owned(), keys(sub.get_arguments().filter(|arg| !arg.is_global_set())));
        }
        Self { sections }
    }

    pub(in super::super) fn section(&self, name: &str) -> Option<&BTreeMap<String, OptionKey>> {
        self.sections.get(name)
    }

    pub(in super::super) fn section_names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str).filter(|name| *name != GLOBAL)
    }

    /// The sections that have a key of this name.
    pub(super) fn sections_with(&self, key: &str) -> Vec<&str> {
        let with = self.sections.iter().filter(|(_, keys)| keys.contains_key(key));
        with.map(|(name, _)| name.as_str()).collect()
    }
}

/// Whether a key names an option that only a command line may give.
pub(super) fn only_by_hand(key: &str) -> bool {
    NEVER.contains(&key.replace('_', "-").as_str())
}

fn keys<'a>(arguments: impl Iterator<Item = &'a Arg>) -> BTreeMap<String, OptionKey> {
    let named = arguments.filter_map(|arg| Some((arg.get_long()?, arg)));
    named
        .filter(|(long, _)| !NEVER.contains(long))
        .map(|(long, arg)| (long.replace('-', "_"), OptionKey::of(long, arg)))
        .collect()
}

/// Options whose paths must be absolute in a file: a timer starts chsnap in another directory than a user does.
const ABSOLUTE: [&str; 5] = ["ca-file", "copy-to", "metrics-file", "password-file", "repo"];

/// The value that the library uses where an option is not given.
fn library_default(long: &str) -> Option<String> {
    let policy = Policy::default();
    match long {
        "min-keep" => Some(policy.min_keep.to_string()),
        "min-age" => Some(policy.min_age.to_string()),
        "zone" => Some(policy.zone.name().to_owned()),
        _ => None,
    }
}

/// The built-in value: a switch that is not given is off.
fn built_in(arg: &Arg) -> Vec<String> {
    let given: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if let Some(value) = arg.get_long().filter(|_| given.is_empty()).and_then(library_default) {
        return vec![value];
    }
    match arg.get_action() {
        ArgAction::SetTrue if given.is_empty() => vec!["false".to_owned()],
        ArgAction::Count if given.is_empty() => vec!["0".to_owned()],
        _ => given,
    }
}

impl OptionKey {
    fn of(long: &str, arg: &Arg) -> Self {
        Self {
            id: arg.get_id().to_string(),
            long: long.to_owned(),
            action: arg.get_action().clone(),
            parser: arg.get_value_parser().clone(),
            delimiter: arg.get_value_delimiter(),
            placeholder: arg
                .get_value_names()
                .and_then(|names| names.first())
                .map_or("VALUE".to_owned(), ToString::to_string),
            variable: arg.get_env().map(|name| name.to_string_lossy().into_owned()),
            built_in: built_in(arg),
        }
    }

    pub(super) fn shape(&self) -> KeyShape {
        match self.action {
            ArgAction::SetTrue | ArgAction::SetFalse => KeyShape::Switch,
            ArgAction::Count => KeyShape::Count,
            ArgAction::Append => KeyShape::Many,
            _ if self.delimiter.is_some() => KeyShape::Many,
            _ => KeyShape::One,
        }
    }

    /// The error of the option's own parser about a value, if it refuses it.
    pub(super) fn refusal(&self, value: &str) -> Option<String> {
        if matches!(self.shape(), KeyShape::Switch | KeyShape::Count) {
            return None;
        }
        if self.long == "url" {
            // The value is not repeated: it may contain a secret.
            let problem = if value.is_empty() { None } else { chsnap::server::check_url(value).err() };
            return problem.map(|problem| format!("url {problem}: {}", problem.remedy()));
        }
        if self.long == "push-to" {
            return value.parse::<chsnap::remote::RemoteAddress>().err().map(|problem| format!("push_to: {problem}"));
        }
        if ABSOLUTE.contains(&self.long.as_str()) && !std::path::Path::new(value).is_absolute() {
            return Some(format!(
                "{} is a relative path, {value:?}: write an absolute one",
                self.long.replace('-', "_")
            ));
        }
        if self.long.starts_with("ping") {
            // This value is not repeated either: it often is a secret.
            return address::refusal(value)
                .map(|problem| format!("{} is no address: {problem}", self.long.replace('-', "_")));
        }
        let mut arg = Arg::new("value").long(self.long.clone()).value_name(self.placeholder.clone());
        arg = arg.action(ArgAction::Append).value_parser(self.parser.clone());
        if let Some(delimiter) = self.delimiter {
            arg = arg.value_delimiter(delimiter);
        }
        let command = Command::new("chsnap").no_binary_name(true).arg(arg);
        let error = command.try_get_matches_from([format!("--{}={value}", self.long)]).err()?;
        let text = error.render().to_string();
        let lines = text.lines().take_while(|line| !line.starts_with("For more") && !line.starts_with("Usage"));
        let words: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
        Some(words.join("; ").trim_start_matches("error: ").to_owned())
    }
}
