//! What can be set: the long options of the command line.

use std::collections::BTreeMap;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use super::GLOBAL;
use crate::cli::failure::url_hint;

/// Options that say yes to something once and must not say it every night, and those that choose the files themselves.
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

/// Commands of which nothing can be set.
const WITHOUT_SETTINGS: [&str; 8] = ["completions", "config", "help", "init", "man", "pin", "systemd", "unpin"];

/// One option, as a key.
#[derive(Clone, Debug)]
pub(in super::super) struct Key {
    /// The option's id in clap.
    pub(in super::super) id: String,
    long: String,
    action: ArgAction,
    parser: ValueParser,
    delimiter: Option<char>,
    placeholder: String,
    /// The variable of the environment that says the same.
    pub(in super::super) variable: Option<String>,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `true` or `false`.
    Switch,
    /// A number.
    Count,
    /// A text or a number.
    One,
    /// One of these, or an array of them.
    Many,
}

/// All keys by section, [`GLOBAL`] among them.
#[derive(Clone, Debug)]
pub(in super::super) struct Schema {
    sections: BTreeMap<String, BTreeMap<String, Key>>,
}

impl Schema {
    /// What the command line has.
    pub(in super::super) fn of(command: &Command) -> Self {
        let mut sections = BTreeMap::new();
        sections.insert(GLOBAL.to_owned(), keys(command.get_arguments()));
        for sub in command.get_subcommands().filter(|sub| !WITHOUT_SETTINGS.contains(&sub.get_name())) {
            sections.insert(sub.get_name().to_owned(), keys(sub.get_arguments().filter(|arg| !arg.is_global_set())));
        }
        Self { sections }
    }

    pub(in super::super) fn section(&self, name: &str) -> Option<&BTreeMap<String, Key>> {
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

fn keys<'a>(arguments: impl Iterator<Item = &'a Arg>) -> BTreeMap<String, Key> {
    let named = arguments.filter_map(|arg| Some((arg.get_long()?, arg)));
    named
        .filter(|(long, _)| !NEVER.contains(long))
        .map(|(long, arg)| (long.replace('-', "_"), Key::of(long, arg)))
        .collect()
}

impl Key {
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
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self.action {
            ArgAction::SetTrue | ArgAction::SetFalse => Shape::Switch,
            ArgAction::Count => Shape::Count,
            ArgAction::Append => Shape::Many,
            _ if self.delimiter.is_some() => Shape::Many,
            _ => Shape::One,
        }
    }

    /// What the option's own parser says of a value, where it refuses it.
    pub(super) fn refusal(&self, value: &str) -> Option<String> {
        if matches!(self.shape(), Shape::Switch | Shape::Count) {
            return None;
        }
        if self.long == "url" {
            // Its value is not repeated: there may be a secret in it.
            let problem = if value.is_empty() { None } else { chsnap::server::check_url(value).err() };
            return problem.map(|problem| format!("url {problem}: {}", url_hint(problem)));
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
