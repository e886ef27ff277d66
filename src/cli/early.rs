//! A first, lenient look at the command line: which configuration it is to be read with.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::failure::Failure;
use super::settings::{GLOBAL, Layer, Schema, Search, Settings};

/// A command line and its configuration, before the one is read with the other.
pub(super) struct Early {
    pub(super) schema: Schema,
    pub(super) settings: Settings,
    /// Where configuration was looked for.
    pub(super) profile: Option<String>,
    repo: Option<PathBuf>,
    /// The command that was given, if one was.
    pub(super) command: Option<String>,
}

impl Early {
    /// Looks at a command line whose first word is the program.
    ///
    /// # Errors
    /// If a configuration file cannot be read, or two profiles are named. What is wrong *in* a file is in
    /// [`Settings::problems`].
    pub(super) fn read(command: Command, arguments: &[OsString]) -> Result<Self, Failure> {
        let schema = Schema::of(&command);
        // Whatever is wrong with the line is told by the second, strict look.
        let found = command.ignore_errors(true).try_get_matches_from(arguments).unwrap_or_default();
        let path = |id: &str| found_path(&found, id);
        let named = path("config");
        let search = Search::new(named.as_deref())?;
        let settings = Settings::load(&search, &schema)?;
        let command = found.subcommand_name().map(str::to_owned);
        Ok(Self { profile: profile(&found)?, repo: path("repo"), schema, settings, command })
    }

    /// The settings that hold for this command line.
    ///
    /// # Errors
    /// If something in the files cannot be used, or its profile is not there.
    pub(super) fn layer(&self) -> Result<Layer, Failure> {
        self.settings.check()?;
        self.settings.layer(self.profile.as_deref())
    }

    /// The repository that is meant, if one is.
    pub(super) fn repository(&self) -> Option<PathBuf> {
        self.repo.clone().or_else(|| {
            let layer = self.settings.layer(self.profile.as_deref()).ok()?;
            let setting = layer.sections.get(GLOBAL)?.get("repo")?;
            setting.values.first().map(PathBuf::from)
        })
    }

    /// What the files say of a key of a command, for the profile that is meant.
    pub(super) fn setting(&self, section: &str, key: &str) -> Option<String> {
        let layer = self.settings.layer(self.profile.as_deref()).ok()?;
        layer.sections.get(section)?.get(key)?.values.first().cloned()
    }

    /// The names of all profiles.
    pub(super) fn profiles(&self) -> Vec<String> {
        self.settings.profiles().into_iter().map(str::to_owned).collect()
    }
}

/// The innermost command's matches have the global options too.
fn innermost(found: &ArgMatches) -> &ArgMatches {
    found.subcommand().map_or(found, |(_, found)| innermost(found))
}

fn found_path(found: &ArgMatches, id: &str) -> Option<PathBuf> {
    let of = |found: &ArgMatches| found.try_get_one::<PathBuf>(id).ok().flatten().cloned();
    of(innermost(found)).or_else(|| of(found)).filter(|path| !path.as_os_str().is_empty())
}

/// `run` takes the profile as an argument too.
fn profile(found: &ArgMatches) -> Result<Option<String>, Failure> {
    let text = |found: &ArgMatches, id: &str| {
        let text = found.try_get_one::<String>(id).ok().flatten().cloned();
        text.filter(|text| !text.is_empty())
    };
    let inner = innermost(found);
    let by_option = text(inner, "profile").or_else(|| text(found, "profile"));
    let by_argument = text(inner, "run_profile");
    match (by_argument, by_option) {
        (Some(one), Some(other)) if one != other && is_from_line(inner, "profile") => {
            Err(Failure::usage(format!("two profiles are named: {one} and {other}")))
        }
        (by_argument, by_option) => Ok(by_argument.or(by_option)),
    }
}

fn is_from_line(found: &ArgMatches, id: &str) -> bool {
    let known = found.try_contains_id(id).is_ok();
    known && found.value_source(id) == Some(clap::parser::ValueSource::CommandLine)
}
