//! The target server, as a plan sees it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use crate::model::{PartitionId, TableName, TableUuid, count};
use crate::plan::{Mapping, ObjectKind, ObjectStatement, ParsedDefinition};

use super::compare::{PartState, compare_parts};
use super::replica::{AttachedReplica, KeeperState};

/// The parts in a table's `detached/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetachedParts {
    /// These parts.
    Listed(Vec<String>),
    /// They cannot be listed, for this reason.
    Unreadable(String),
}

impl Default for DetachedParts {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// The parts that other replicas of a table have and the server has yet to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartsElsewhere {
    /// These parts; without rows and bytes, which Keeper does not record.
    Listed(Vec<PartState>),
    /// Keeper cannot be asked, for this reason.
    Unknown(String),
}

impl Default for PartsElsewhere {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl PartsElsewhere {
    /// Whether there are no such parts.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The rows of a live table, compared with a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveRows {
    /// It has none.
    Empty,
    /// This many rows, which are not known to be those of the dump.
    Rows(u64),
    /// Its rows, or its files, are those of the dump.
    Same,
    /// They could not be counted, for this reason.
    Unknown(String),
}

/// The rows of a table whose engine has no parts, as one look at it shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LooseRows {
    /// Their number, or why it is unknown.
    pub count: Result<u64, String>,
    /// A digest (BLAKE3, in hex) of names, sizes and times of its files. If nothing was written in between, two looks
    /// give the same.
    pub files: String,
}

/// A table of the server.
#[derive(Clone, Debug, Default)]
pub struct TargetTable {
    /// Its UUID.
    pub uuid: Option<TableUuid>,
    /// Its engine.
    pub engine: String,
    /// Its active parts, including patch parts; those of its inner table if it is a view that has one.
    pub parts: Vec<PartState>,
    /// Ids of unfinished mutations.
    pub unfinished_mutations: Vec<String>,
    /// The contents of its `detached/`.
    pub detached: DetachedParts,
    /// The inner table of a view, which is dropped with the view and holds the parts, mutations and detached parts that
    /// are listed here. `None` for a view without one, or with one that is not of the MergeTree family.
    pub inner: Option<TableName>,
    /// Its definition, if readable.
    pub definition: Option<ParsedDefinition>,
    /// Its place in Keeper, if it is replicated.
    pub replica: Option<AttachedReplica>,
    /// Parts that only its other replicas have.
    pub elsewhere: PartsElsewhere,
    /// Its rows, if its engine has no parts and keeps rows.
    pub loose: Option<LooseRows>,
    /// These rows compared with a dump; `None` for a table without a dump in the snapshot.
    pub rows: Option<LiveRows>,
}

impl TargetTable {
    /// Whether it has rows, detached parts or unfinished mutations, or may have some.
    #[must_use]
    pub fn has_anything(&self) -> bool {
        let has_rows = self.parts.iter().any(|part| part.is_active && !part.is_empty());
        let has_rows = has_rows || self.loose.as_ref().is_some_and(|loose| loose.count != Ok(0));
        let has_detached = self.detached != DetachedParts::Listed(Vec::new());
        has_rows || has_detached || !self.elsewhere.is_none() || !self.unfinished_mutations.is_empty()
    }

    /// A digest (BLAKE3, in hex) of its parts with their rows, its rows without parts, its unfinished mutations and its
    /// detached parts. Equal digests mean that nothing was added, removed or merged.
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
        if let Some(loose) = &self.loose {
            add("loose rows", &format!("{:?}", loose.count.as_ref().ok()));
            add("files", &loose.files);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Describes the parts that it has gained since an earlier look at it, within these partitions or all. A merge alone is
    /// no gain.
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
        match (&self.loose, &earlier.loose) {
            (Some(LooseRows { count: Ok(rows), .. }), Some(LooseRows { count: Ok(before), .. })) if rows != before => {
                return Some(format!("it has {}", count(*rows, "row")));
            }
            (now, earlier) if now != earlier => return Some("its rows have changed".to_owned()),
            _ => {}
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
    /// Parts, including patch parts.
    pub parts: u64,
    /// Rows, without those of patch parts.
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

/// The tables and databases on the hosts of a cluster that matter to a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterHosts {
    /// The tables of each host that answered, by `host:port`.
    pub tables: BTreeMap<String, BTreeSet<TableName>>,
    /// The databases of each of them.
    pub databases: BTreeMap<String, BTreeSet<String>>,
    /// The number of hosts that did not answer, or refused the query.
    pub silent: usize,
}

/// The present state of the server.
#[derive(Clone, Debug, Default)]
pub struct TargetServer {
    /// Engines of its databases.
    pub databases: BTreeMap<String, String>,
    /// Its tables.
    pub tables: BTreeMap<TableName, TargetTable>,
    /// Names of detached tables, whose definitions would be overwritten.
    pub detached: BTreeSet<TableName>,
    /// Paths of existing directories in the places that a database without UUIDs would use for these tables, for tables
    /// that it does not have.
    pub taken_places: BTreeMap<TableName, PathBuf>,
    /// Databases with a definition on its disk that are missing in its list: detached, or hidden from this user.
    pub detached_databases: BTreeSet<String>,
    /// UUIDs in use: those of tables, of dropped tables, or of directories.
    pub used_uuids: HashSet<TableUuid>,
    /// The disks of its storage policies, if the server has storage policies.
    pub policies: Option<BTreeMap<String, Vec<String>>>,
    /// Its local disks that are visible here, the one with its own path first.
    pub disks: Vec<String>,
    /// Its functions, named collections, workloads, by their escaped names, with the statements that are readable.
    pub objects: BTreeMap<(ObjectKind, String), Option<ObjectStatement>>,
    /// The settings among [`super::hold::HOLD_SETTINGS`] that it knows.
    pub hold_settings: BTreeSet<String>,
    /// Tables that an interrupted restore was filling, partition by partition.
    pub being_filled: BTreeSet<TableName>,
    /// The state of replicated tables.
    pub keeper: KeeperState,
    /// The tables on the hosts of the cluster on which objects are created.
    pub hosts: Option<ClusterHosts>,
    /// Whether a statement may lift the size limit above which the server refuses to drop a table or a partition.
    pub lifts_drop_limit: bool,
}
