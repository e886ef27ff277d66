//! A first, lenient reading of the command line, to find the configuration for the strict one.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::failure::CommandFailure;
use super::globals::Globals;
use super::settings::{ConfigSearch, Configuration, GLOBAL, Layer, Schema};
use super::words::shell;

/// A command line and its configuration, before the command line is parsed with that configuration.
pub(super) struct Invocation {
    pub(super) schema: Schema,
    pub(super) settings: Configuration,
    /// The profile that was named, if one was.
    pub(super) profile: Option<String>,
    repo: Option<PathBuf>,
    /// The command that was given, if one was.
    pub(super) command: Option<String>,
}

impl Invocation {
    /// Reads a command line whose first word is the program.
    ///
    /// # Errors
    /// If a configuration file cannot be read, or two profiles are named. Problems *in* a file are in
    /// [`Configuration::problems`].
    pub(super) fn read(command: Command, arguments: &[OsString]) -> Result<Self, CommandFailure> {
        let schema = Schema::of(&command);
        // Errors in the command line are reported by the second, strict reading.
        let found = command.ignore_errors(true).try_get_matches_from(arguments).unwrap_or_default();
        let path = |id: &str| found_path(&found, id);
        let named = path("config");
        // The command that writes the first file reads none: the file that is named does not exist yet.
        let is_init = found.subcommand_matches("config").and_then(ArgMatches::subcommand_name) == Some("init");
        let search = if is_init { ConfigSearch::none() } else { ConfigSearch::new(named.as_deref())? };
        let settings = Configuration::load(&search, &schema)?;
        let command = found.subcommand_name().map(str::to_owned);
        Ok(Self { profile: profile(&found)?, repo: path("repo"), schema, settings, command })
    }

    /// The settings in force for this command line.
    ///
    /// # Errors
    /// If something in the files cannot be used, or its profile does not exist.
    pub(super) fn layer(&self) -> Result<Layer, CommandFailure> {
        self.settings.check()?;
        self.settings.layer(self.profile.as_deref())
    }

    /// The selected repository, if there is one.
    pub(super) fn repository(&self) -> Option<PathBuf> {
        self.repo.clone().or_else(|| {
            let layer = self.settings.layer(self.profile.as_deref()).ok()?;
            let setting = layer.sections.get(GLOBAL)?.get("repo")?;
            setting.values.first().map(PathBuf::from)
        })
    }

    /// The value of a command's key in the files, for the selected profile.
    pub(super) fn setting(&self, section: &str, key: &str) -> Option<String> {
        let layer = self.settings.layer(self.profile.as_deref()).ok()?;
        layer.sections.get(section)?.get(key)?.values.first().cloned()
    }

    /// The words with which a user starts a command for the same repository, up to the command itself.
    pub(super) fn command_words(&self, globals: &Globals) -> String {
        let mut line = "chsnap".to_owned();
        let config = globals.config.clone().filter(|path| !path.as_os_str().is_empty());
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned();
        let given = [
            ("--config", config.map(absolute)),
            ("--profile", self.profile.clone()),
            ("--repo", self.repo.clone().map(absolute)),
        ];
        for (option, value) in given.into_iter().filter_map(|(option, value)| Some((option, value?))) {
            line = format!("{line} {option} {}", shell(&value));
        }
        line
    }

    /// The names of all profiles.
    pub(super) fn profiles(&self) -> Vec<String> {
        self.settings.profiles().into_iter().map(str::to_owned).collect()
    }
}

/// The matches of the innermost command, which include the global options.
fn innermost(found: &ArgMatches) -> &ArgMatches {
    found.subcommand().map_or(found, |(_, found)| innermost(found))
}

fn found_path(found: &ArgMatches, id: &str) -> Option<PathBuf> {
    let of = |found: &ArgMatches| found.try_get_one::<PathBuf>(id).ok().flatten().cloned();
    of(innermost(found)).or_else(|| of(found)).filter(|path| !path.as_os_str().is_empty())
}

/// `run` takes the profile as an argument too.
fn profile(found: &ArgMatches) -> Result<Option<String>, CommandFailure> {
    let text = |found: &ArgMatches, id: &str| {
        let text = found.try_get_one::<String>(id).ok().flatten().cloned();
        text.filter(|text| !text.is_empty())
    };
    let inner = innermost(found);
    let by_option = text(inner, "profile").or_else(|| text(found, "profile"));
    let by_argument = text(inner, "run_profile");
    match (by_argument, by_option) {
        (Some(one), Some(other)) if one != other && is_from_line(inner, "profile") => {
            Err(CommandFailure::usage(format!("two profiles are named: {one} and {other}")))
        }
        (by_argument, by_option) => Ok(by_argument.or(by_option)),
    }
}

fn is_from_line(found: &ArgMatches, id: &str) -> bool {
    let known = found.try_contains_id(id).is_ok();
    known && found.value_source(id) == Some(clap::parser::ValueSource::CommandLine)
}
