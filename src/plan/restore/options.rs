//! Options of a restore.

use std::str::FromStr;

use crate::plan::Renames;

/// The content of tables to restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreContent {
    /// Definitions and data.
    #[default]
    All,
    /// Only definitions: tables are empty.
    Schema,
    /// Only data, into existing tables.
    Data,
}

/// How to treat replicated tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replicated {
    /// They stay replicated, at their path in Keeper if it is theirs, else at a path of their own.
    #[default]
    Keep,
    /// They get the corresponding engine without `Replicated`.
    AsMergeTree,
    /// They stay replicated, each at a path of its own.
    NewPath,
}

/// The options of a restore.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
#[non_exhaustive]
pub struct RestoreOptions {
    /// The content of tables to restore.
    pub what: RestoreContent,
    /// Whether anything was selected: a table, a partition, a new name, or explicitly everything. Without a selection
    /// only missing tables are restored.
    pub selects: bool,
    /// Whether tables were named. If not, tables that were detached when the snapshot was made are restored as detached
    /// ones.
    pub names_tables: bool,
    /// Whether single partitions were selected.
    pub has_partitions: bool,
    /// Whether existing data may be replaced.
    pub replace: bool,
    /// Whether replaced tables are kept under other names.
    pub keep_replaced: bool,
    /// New names.
    pub renames: Renames,
    /// How to treat replicated tables.
    pub replicated: Replicated,
    /// Replicas that are lost for good, by their names in Keeper, which may be removed from Keeper.
    pub forgets_replicas: Vec<String>,
    /// The cluster on whose hosts databases, tables without parts, replicated tables and functions are created.
    pub on_cluster: Option<String>,
    /// Whether to create tables that consume a queue, and views that refresh themselves, under another name or on
    /// another server.
    pub with_queues: bool,
    /// Whether to create objects whose secrets are hidden in the snapshot.
    pub with_hidden_secrets: bool,
    /// Whether parts that are noted as damaged are restored.
    pub with_damaged: bool,
    /// Whether to leave out the TTL of tables.
    pub hold_ttl: bool,
    /// Another storage policy for tables.
    pub storage_policy: Option<StoragePolicyChange>,
}

crate::model::setters! { RestoreOptions {
    with_what => what: RestoreContent,
    with_selects => selects: bool,
    with_names_tables => names_tables: bool,
    with_has_partitions => has_partitions: bool,
    with_replace => replace: bool,
    with_keep_replaced => keep_replaced: bool,
    with_renames => renames: Renames,
    with_replicated => replicated: Replicated,
    with_forgets_replicas => forgets_replicas: Vec<String>,
    with_on_cluster => on_cluster: Option<String>,
    with_queues => with_queues: bool,
    with_hidden_secrets => with_hidden_secrets: bool,
    with_damaged => with_damaged: bool,
    with_hold_ttl => hold_ttl: bool,
    with_storage_policy => storage_policy: Option<StoragePolicyChange>,
} }

/// `[old=]new`: the storage policy that tables get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoragePolicyChange {
    /// The policy of the tables that get the new one; `None` for all tables.
    pub from: Option<String>,
    /// The new policy.
    pub to: String,
}

/// A text is not a change of storage policy.
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
