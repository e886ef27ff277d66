//! What a restore is asked to do.

use std::str::FromStr;

use crate::plan::{Renames, Replicated};

/// What of tables is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// Definitions and data.
    #[default]
    All,
    /// Definitions: tables are empty.
    Schema,
    /// Data, into tables that are there.
    Data,
}

/// What a restore is asked to do.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub struct RestoreOptions {
    /// What of tables is restored.
    pub what: What,
    /// Whether anything was selected, by table, partition, new name or expressly all. Without a selection only what is
    /// missing comes back.
    pub selects: bool,
    /// Whether tables were named. Those that were detached when the snapshot was made come back detached otherwise.
    pub names_tables: bool,
    /// Whether single partitions are asked for.
    pub has_partitions: bool,
    /// Whether what is there may be replaced.
    pub replace: bool,
    /// New names.
    pub renames: Renames,
    /// What becomes of Replicated engines.
    pub replicated: Replicated,
    /// Whether tables are made that consume a queue, and views that refresh themselves, under another name or on another
    /// server.
    pub with_queues: bool,
    /// Whether objects are made whose secrets are hidden in the snapshot.
    pub with_hidden_secrets: bool,
    /// Whether parts are restored that are noted as damaged.
    pub with_damaged: bool,
    /// Whether the TTL of tables is left out.
    pub hold_ttl: bool,
    /// Another storage policy for tables.
    pub storage_policy: Option<StoragePolicyChange>,
}

/// `[old=]new`: the storage policy that tables get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoragePolicyChange {
    /// The policy of the tables that get another one; all where there is none.
    pub from: Option<String>,
    /// The policy that they get.
    pub to: String,
}

/// A text names no storage policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no storage policy: write new or old=new")]
pub struct InvalidStoragePolicy {
    text: String,
}

impl FromStr for StoragePolicyChange {
    type Err = InvalidStoragePolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = match text.split_once('=') {
            Some((from, to)) => (Some(from.to_owned()), to),
            None => (None, text),
        };
        if to.is_empty() || from.as_ref().is_some_and(String::is_empty) {
            return Err(InvalidStoragePolicy { text: text.to_owned() });
        }
        Ok(Self { from, to: to.to_owned() })
    }
}
