use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// `config check` and `config show`: what the other one answers is null.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct ConfigDocument {
    /// The files that were read, the weakest first.
    pub(in super::super) files: Option<Vec<String>>,
    /// The profiles that they have.
    pub(in super::super) profiles: Option<Vec<String>>,
    /// `check`: what cannot be used. It is empty: what there is is an error.
    pub(in super::super) problems: Option<Vec<String>>,
    /// `check`: what one should know.
    pub(in super::super) notes: Option<Vec<String>>,
    /// `show`: the profile whose settings these are; null for what stands at the top.
    pub(in super::super) profile: Option<String>,
    /// `show`: every value that holds.
    pub(in super::super) settings: Option<Vec<SettingRow>>,
}

/// `config init`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ConfigInitDocument {
    /// The file that was written.
    pub(in super::super) written_to: String,
    /// The keys of the command line and the environment that are in it.
    pub(in super::super) settings: Vec<String>,
}

/// A setting as it holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SettingRow {
    /// The section, or the name of what stands before all of them.
    pub(in super::super) section: String,
    /// The key.
    pub(in super::super) key: String,
    /// Its values, without secrets.
    pub(in super::super) values: Vec<String>,
    /// Where it comes from: a file and its line, a variable of the environment, the command line, or the program.
    pub(in super::super) origin: String,
}

/// `systemd`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SystemdDocument {
    /// The text of each unit by its file's name.
    pub(in super::super) units: BTreeMap<String, String>,
    /// A line for `/etc/cron.d`; null where cron has no such calendar.
    pub(in super::super) cron: Option<String>,
    /// Why there is none.
    pub(in super::super) no_cron: Option<String>,
    /// When the timer fires.
    pub(in super::super) on_calendar: String,
    /// The directory that the units were written to; null where they were not.
    pub(in super::super) written_to: Option<String>,
}
