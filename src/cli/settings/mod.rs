//! Configuration files: their places, their content, and how they become defaults of the command line.
//!
//! A key of a file is a long option, written with `_`. So the command line defines what can be set, its own parsers
//! decide what is valid, and an option of a new command can be set without any change here.

mod apply;
mod files;
mod read;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chsnap::plan::nearest;

use super::failure::CommandFailure;

pub(super) use apply::{BY_POLICY, POLICY, defaults};
pub(super) use files::{ConfigSearch, SearchDirectory, first_file};
pub(super) use schema::Schema;

/// The place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueOrigin {
    pub(super) file: PathBuf,
    /// Counted from 1.
    pub(super) line: usize,
}

impl std::fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The value of one key.
#[derive(Clone, Debug)]
pub(super) struct ConfiguredValue {
    /// In the form for a command line; one value, unless the option may be given more than once.
    pub(super) values: Vec<String>,
    pub(super) origin: ValueOrigin,
}

/// The settings of one command, or of all of them, by key.
pub(super) type Section = BTreeMap<String, ConfiguredValue>;

/// The section of the options that all commands have.
pub(super) const GLOBAL: &str = "";

/// The settings of one profile, or those for all: sections by the name of their command, including [`GLOBAL`].
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) sections: BTreeMap<String, Section>,
}

impl Layer {
    fn overlay(&mut self, stronger: &Self) {
        for (name, section) in &stronger.sections {
            let own = self.sections.entry(name.clone()).or_default();
            own.extend(section.iter().map(|(key, setting)| (key.clone(), setting.clone())));
        }
    }
}

/// Something in a file that cannot be used.
#[derive(Clone, Debug)]
pub(super) struct ConfigProblem {
    pub(super) origin: ValueOrigin,
    pub(super) message: String,
}

/// The content of all configuration files.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// The files that were read, the weakest first.
    pub(super) files: Vec<PathBuf>,
    base: Layer,
    profiles: BTreeMap<String, Layer>,
    pub(super) problems: Vec<ConfigProblem>,
    /// Directories of files that were read in which a process of root's with an empty environment would not look.
    pub(super) private_places: Vec<SearchDirectory>,
}

impl Configuration {
    /// Reads all files of a search.
    ///
    /// # Errors
    /// If one exists, or was named, and cannot be read; problems inside a file are in [`Configuration::problems`].
    pub(super) fn load(search: &ConfigSearch, schema: &Schema) -> Result<Self, CommandFailure> {
        let mut settings = Self::default();
        for (path, text) in search.read()? {
            read::file(&path, &text, schema, &mut settings);
            settings.files.push(path);
        }
        let position =
            |origin: &ValueOrigin| (settings.files.iter().position(|file| *file == origin.file), origin.line);
        let mut problems = std::mem::take(&mut settings.problems);
        problems.sort_by_key(|problem| position(&problem.origin));
        settings.problems = problems;
        settings.private_places = search.private_places(&settings.files);
        Ok(settings)
    }

    /// Fails if anything in the files cannot be used.
    ///
    /// # Errors
    /// A failure that names each line.
    pub(super) fn check(&self) -> Result<(), CommandFailure> {
        let Some(first) = self.problems.first() else { return Ok(()) };
        let others = self.problems.len() - 1;
        let failure = CommandFailure::usage(format!("{}: {}", first.origin, first.message));
        let failure = self
            .problems
            .iter()
            .skip(1)
            .take(20)
            .fold(failure, |failure, problem| failure.also(format!("{}: {}", problem.origin, problem.message)));
        Err(if others > 20 { failure.also(format!("and {} more", others - 20)) } else { failure })
    }

    /// The names of all profiles.
    pub(super) fn profiles(&self) -> BTreeSet<&str> {
        self.profiles.keys().map(String::as_str).collect()
    }

    /// The settings in force for a profile: its own settings override those for all.
    ///
    /// # Errors
    /// If there is no such profile.
    pub(super) fn layer(&self, profile: Option<&str>) -> Result<Layer, CommandFailure> {
        let mut layer = self.base.clone();
        if let Some(name) = profile {
            let own = self.profiles.get(name).ok_or_else(|| self.no_profile(name))?;
            layer.overlay(own);
        }
        Ok(layer)
    }

    fn no_profile(&self, name: &str) -> CommandFailure {
        let profiles = self.profiles();
        let failure = CommandFailure::usage(format!("no profile {name:?} is configured"));
        if let Some(nearest) = nearest(name, &profiles) {
            return failure.with_hint(format!("did you mean {nearest}?"));
        }
        failure.with_hint(if profiles.is_empty() {
            "a configuration file has it as [profile.NAME]; chsnap config show tells which files are read".to_owned()
        } else {
            format!("there are {}", profiles.into_iter().collect::<Vec<_>>().join(", "))
        })
    }
}
