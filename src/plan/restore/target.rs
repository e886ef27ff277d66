//! The server that is restored into, as a plan sees it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use crate::model::{PartitionId, TableName, TableUuid};
use crate::plan::{Definition, Mapping, ObjectKind, ObjectStatement};

use super::compare::{PartState, compare_parts};

/// The parts in a table's `detached/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetachedParts {
    /// These.
    Listed(Vec<String>),
    /// They cannot be listed, for this reason.
    Unreadable(String),
}

impl Default for DetachedParts {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// What a live table has of the rows that a dump holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveRows {
    /// It has none.
    Empty,
    /// So many.
    Rows(u64),
    /// Its files are those of the dump.
    SameFiles,
    /// They could not be counted, for this reason.
    Unknown(String),
}

/// A table of the server.
#[derive(Clone, Debug, Default)]
pub struct TargetTable {
    /// Its UUID.
    pub uuid: Option<TableUuid>,
    /// Its engine.
    pub engine: String,
    /// Its active parts, patch parts too.
    pub parts: Vec<PartState>,
    /// Ids of mutations that are not done.
    pub unfinished_mutations: Vec<String>,
    /// What stands in its `detached/`.
    pub detached: DetachedParts,
    /// Its definition, where it can be read.
    pub definition: Option<Definition>,
    /// What it has of the rows of a dump; none of a table that no dump is of.
    pub rows: Option<LiveRows>,
}

impl TargetTable {
    /// Whether it has rows, detached parts or unfinished mutations, or may have some.
    #[must_use]
    pub fn has_anything(&self) -> bool {
        let has_rows = self.parts.iter().any(|part| part.is_active && !part.is_empty());
        let has_detached = self.detached != DetachedParts::Listed(Vec::new());
        has_rows || has_detached || !self.unfinished_mutations.is_empty()
    }

    /// A digest (BLAKE3, in hex) of its parts with their rows, its unfinished mutations and its detached parts: equal where
    /// nothing has come, gone or been merged.
    #[must_use]
    pub fn state(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |kind: &str, name: &str| {
            for text in [kind, name] {
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
        };
        let mut parts: Vec<&PartState> = self.parts.iter().collect();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        for part in parts {
            add("part", part.name.as_str());
            add("rows", &format!("{:?}", part.rows));
        }
        self.unfinished_mutations.iter().for_each(|id| add("mutation", id));
        match &self.detached {
            DetachedParts::Listed(names) => names.iter().for_each(|name| add("detached", name)),
            DetachedParts::Unreadable(_) => add("detached", "unreadable"),
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What it has gained since an earlier look at it, within these partitions or all. Merges alone gain nothing.
    #[must_use]
    pub fn gained(&self, earlier: &Self, only: Option<&BTreeSet<PartitionId>>) -> Option<String> {
        let of = |table: &Self| -> Vec<PartState> {
            let is_asked_for = |part: &&PartState| only.is_none_or(|only| only.contains(&part.partition.of_data()));
            table.parts.iter().filter(is_asked_for).cloned().collect()
        };
        let comparison = compare_parts(&of(earlier), &of(self));
        if let Some(part) = comparison.foreign.first() {
            return Some(format!("its part {part} is new"));
        }
        if let Some(id) = self.unfinished_mutations.iter().find(|id| !earlier.unfinished_mutations.contains(id)) {
            return Some(format!("its mutation {id} is new"));
        }
        if only.is_some() {
            return None;
        }
        if self.detached != earlier.detached {
            return Some("it has other detached parts".to_owned());
        }
        let is_same_definition = match (&self.definition, &earlier.definition) {
            (Some(now), Some(earlier)) => now.is_like(earlier, &Mapping::default()),
            (now, earlier) => now.is_none() && earlier.is_none(),
        };
        (!is_same_definition).then(|| "it has another definition".to_owned())
    }
}

/// Parts, rows and bytes of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Parts, patch parts too.
    pub parts: u64,
    /// Rows, those of patch parts left out.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Amount {
    /// The sum over these parts.
    #[must_use]
    pub fn of(parts: &[PartState]) -> Self {
        let mut amount = Self { parts: parts.len() as u64, ..Self::default() };
        for part in parts {
            amount.bytes = amount.bytes.saturating_add(part.bytes);
            if !part.name.is_patch() {
                amount.rows = amount.rows.saturating_add(part.rows.unwrap_or(0));
            }
        }
        amount
    }
}

/// The server as it is.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Engines of its databases.
    pub databases: BTreeMap<String, String>,
    /// Its tables.
    pub tables: BTreeMap<TableName, TargetTable>,
    /// Names of tables that are detached: a definition of theirs would be overwritten.
    pub detached: BTreeSet<TableName>,
    /// Paths of directories that stand where a database without UUIDs would put these tables, of tables that it does not
    /// have.
    pub taken_places: BTreeMap<TableName, PathBuf>,
    /// Databases that have a definition on its disk and are not in its list: detached, or hidden from this user.
    pub detached_databases: BTreeSet<String>,
    /// UUIDs that it knows, as those of tables, of dropped ones, or of directories.
    pub used_uuids: HashSet<TableUuid>,
    /// The disks of its storage policies, if the server has storage policies.
    pub policies: Option<BTreeMap<String, Vec<String>>>,
    /// Its local disks that are visible here, the one with its own path first.
    pub disks: Vec<String>,
    /// Its functions, named collections, workloads, by their escaped names, with the statements that can be read.
    pub objects: BTreeMap<(ObjectKind, String), Option<ObjectStatement>>,
    /// Settings of MergeTree tables that it knows, of those in [`super::hold::HOLD_SETTINGS`].
    pub hold_settings: BTreeSet<String>,
    /// Whether a statement may lift the size over which the server refuses to drop a table or a partition.
    pub lifts_drop_limit: bool,
}
