//! Configuration files: where they are, what they say, and how that becomes defaults of the command line.
//!
//! A key of a file is a long option, written with `_`. So the command line says what there is to be set, its own
//! parsers say what is valid, and an option of a new command can be set without a word here.

mod apply;
mod files;
mod read;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chsnap::plan::nearest;

use super::failure::Failure;

pub(super) use apply::defaults;
pub(super) use files::Search;
pub(super) use schema::Schema;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) file: PathBuf,
    /// Counted from 1.
    pub(super) line: usize,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The value of one key.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// As they would stand on a command line; one, unless the option may be given more than once.
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

/// The settings of one command, or of all of them, by key.
pub(super) type Section = BTreeMap<String, Setting>;

/// The section of the options that stand before any command.
pub(super) const GLOBAL: &str = "";

/// What one profile says, or what holds for all: sections by the name of their command, [`GLOBAL`] among them.
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
pub(super) struct Problem {
    pub(super) origin: Origin,
    pub(super) message: String,
}

/// Everything that the configuration files say.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The files that were read, the weakest first.
    pub(super) files: Vec<PathBuf>,
    base: Layer,
    profiles: BTreeMap<String, Layer>,
    pub(super) problems: Vec<Problem>,
}

impl Settings {
    /// Reads all files of a search.
    ///
    /// # Errors
    /// If one is there, or was named, and cannot be read; what is wrong inside is in [`Settings::problems`].
    pub(super) fn load(search: &Search, schema: &Schema) -> Result<Self, Failure> {
        let mut settings = Self::default();
        for (path, text) in search.read()? {
            read::file(&path, &text, schema, &mut settings);
            settings.files.push(path);
        }
        let position = |origin: &Origin| (settings.files.iter().position(|file| *file == origin.file), origin.line);
        let mut problems = std::mem::take(&mut settings.problems);
        problems.sort_by_key(|problem| position(&problem.origin));
        settings.problems = problems;
        Ok(settings)
    }

    /// Fails if anything in the files cannot be used.
    ///
    /// # Errors
    /// That failure, which names each line.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let Some(first) = self.problems.first() else { return Ok(()) };
        let others = self.problems.len() - 1;
        let failure = Failure::usage(format!("{}: {}", first.origin, first.message));
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

    /// What holds for a profile: its own settings over those for all.
    ///
    /// # Errors
    /// If there is no such profile.
    pub(super) fn layer(&self, profile: Option<&str>) -> Result<Layer, Failure> {
        let mut layer = self.base.clone();
        if let Some(name) = profile {
            let own = self.profiles.get(name).ok_or_else(|| self.no_profile(name))?;
            layer.overlay(own);
        }
        Ok(layer)
    }

    fn no_profile(&self, name: &str) -> Failure {
        let profiles = self.profiles();
        let failure = Failure::usage(format!("no profile {name:?} is configured"));
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
