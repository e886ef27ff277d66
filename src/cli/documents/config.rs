use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// `config check` and `config show`: fields of the other command are null.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct ConfigDocument {
    /// The files that were read; later ones override earlier ones.
    pub(in super::super) files: Option<Vec<String>>,
    /// The profiles that they define.
    pub(in super::super) profiles: Option<Vec<String>>,
    /// `check`: always empty, because an invalid setting is reported as an error.
    pub(in super::super) problems: Option<Vec<String>>,
    /// `check`: notes.
    pub(in super::super) notes: Option<Vec<String>>,
    /// `show`: the profile whose settings these are; null without a profile.
    pub(in super::super) profile: Option<String>,
    /// `show`: every value in force.
    pub(in super::super) settings: Option<Vec<SettingRow>>,
}

/// `config init`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ConfigInitDocument {
    /// The file that was written.
    pub(in super::super) written_to: String,
    /// The keys in it that came from the command line or the environment.
    pub(in super::super) settings: Vec<String>,
}

/// A setting in force.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SettingRow {
    /// The section, or the name of the part of the file before all sections.
    pub(in super::super) section: String,
    /// The key.
    pub(in super::super) key: String,
    /// Its values, without secrets.
    pub(in super::super) values: Vec<String>,
    /// Its origin: a file and its line, an environment variable, the command line, or the program.
    pub(in super::super) origin: String,
}

/// `systemd`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SystemdDocument {
    /// The text of each unit, by its file name.
    pub(in super::super) units: BTreeMap<String, String>,
    /// A line for `/etc/cron.d`; null if cron cannot express the calendar.
    pub(in super::super) cron: Option<String>,
    /// Why there is no line.
    pub(in super::super) no_cron: Option<String>,
    /// When the timer fires.
    pub(in super::super) on_calendar: String,
    /// The directory that the units were written to; null if they were printed.
    pub(in super::super) written_to: Option<String>,
}
