//! The server that is restored into, and what a plan has to know of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::fs::Dir;
use crate::model::{Catalog, PathMap, Table, TableName, TableUuid, escape_for_file_name};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{Definition, Partitions, SourceData, SourceItem, Target, TargetTable};
use crate::repo::{Repository, TableState};
use crate::server::{self, Identity, Server};

use super::source::{Source, SourceTable, inner_tables};

/// What is known of a server.
#[derive(Debug)]
pub(in crate::ops) struct Surveyed {
    pub(in crate::ops) identity: Identity,
    pub(in crate::ops) local: LocalDisks,
    pub(in crate::ops) catalog: Catalog,
    /// The disks of each storage policy.
    pub(in crate::ops) policies: Option<BTreeMap<String, Vec<String>>>,
    /// Engines of databases.
    pub(in crate::ops) databases: BTreeMap<String, String>,
    /// User and group that the server's data belong to.
    pub(in crate::ops) owner: (u32, u32),
}

const UUID_FILE_LIMIT_BYTES: u64 = 4096;

impl Surveyed {
    /// Reads the server.
    ///
    /// # Errors
    /// If it does not answer, or its data is not visible here.
    pub(in crate::ops) fn read(repository: &Repository, server: &Server, paths: &PathMap) -> Result<Self, OpError> {
        let identity = server::identity(server)?;
        let disks = server::disks(server)?;
        let catalog = server::survey(server, false)?;
        let local = LocalDisks::all(repository, &disks, &catalog.tables, paths)?;
        let own = local.own().expect("the server's own disk is open");
        let stat = own.dir.stat_self()?;
        is_of(&own.dir, &identity)?;
        let databases = server::databases(server)?;
        Ok(Self {
            identity,
            policies: server::storage_policies(server)?,
            databases: databases.into_iter().map(|database| (database.name, database.engine)).collect(),
            owner: (stat.ownership.uid, stat.ownership.gid),
            catalog,
            local,
        })
    }

    /// What the plan needs of it.
    pub(in crate::ops) fn target(
        &self,
        server: &Server,
        sources: &[SourceItem],
        finished: BTreeSet<TableName>,
    ) -> Result<Target, OpError> {
        let tables = self.catalog.tables.iter().map(|table| (table.name().clone(), target_table(table))).collect();
        Ok(Target {
            databases: self.databases.clone(),
            tables,
            used_uuids: self.used_uuids(server, sources)?,
            policies: self.policies.as_ref().map(|policies| policies.keys().cloned().collect()),
            finished,
        })
    }

    /// Of the UUIDs in the snapshot those that the server knows: of a table, of one that was dropped and whose directory
    /// it will remove, of one that is detached; or for which a directory stands, whosever that is.
    fn used_uuids(&self, server: &Server, sources: &[SourceItem]) -> Result<HashSet<TableUuid>, OpError> {
        let mut known: HashSet<String> = server::hidden_uuids(server)?.into_iter().collect();
        known.extend(self.catalog.tables.iter().filter_map(|table| table.key.uuid.as_ref().map(ToString::to_string)));
        let mut dropped = Vec::new();
        for disk in self.local.iter() {
            if let Some(dir) = disk.dir.find_beneath(Path::new("metadata_dropped"))? {
                dropped.extend(dir.entries()?.into_iter().map(|entry| entry.name.to_string_lossy().into_owned()));
            }
        }
        let mut used = HashSet::new();
        for uuid in sources.iter().filter_map(|source| source.uuid.as_ref()) {
            let text = uuid.as_str();
            let is_known = known.contains(text) || dropped.iter().any(|name| name.contains(text));
            let place = Path::new("store").join(text.get(..3).unwrap_or_default()).join(text);
            let mut stands = false;
            for disk in self.local.iter().filter(|_| !is_known) {
                let parent = place.parent().unwrap_or(Path::new("store"));
                let dir = disk.dir.find_beneath(parent)?;
                stands |= dir.map_or(Ok(None), |dir| dir.find(text))?.is_some();
            }
            if is_known || stands {
                used.insert(uuid.clone());
            }
        }
        Ok(used)
    }

    /// The disks that a table of this policy may use, as far as they are visible here.
    pub(in crate::ops) fn disks(&self, policy: &str) -> Vec<String> {
        let own = || self.local.own().map(|own| own.disk.name.clone());
        let of_policy = self.policies.as_ref().and_then(|policies| policies.get(policy));
        let names = of_policy.cloned().unwrap_or_else(|| own().into_iter().collect());
        names.into_iter().filter(|name| self.local.named(name).is_some()).collect()
    }
}

/// A path can be there and be another server's. Servers that have a UUID keep it in a file beside their data.
fn is_of(own: &Dir, identity: &Identity) -> Result<(), OpError> {
    let Some(uuid) = identity.stable_uuid() else { return Ok(()) };
    match own.find_and_read("uuid", UUID_FILE_LIMIT_BYTES)? {
        Some(bytes) if String::from_utf8_lossy(&bytes).trim() != uuid => {
            Err(OpError::PartNotVisible { path: own.path().join("uuid") })
        }
        _ => Ok(()),
    }
}

/// Where the directory of a table stands, beneath its disk.
pub(super) fn place(name: &TableName, uuid: Option<&TableUuid>) -> PathBuf {
    match uuid {
        Some(uuid) => Path::new("store").join(uuid.as_str().get(..3).unwrap_or_default()).join(uuid.as_str()),
        None => Path::new("data").join(escape_for_file_name(&name.database)).join(escape_for_file_name(&name.table)),
    }
}

fn target_table(table: &Table) -> TargetTable {
    let mut partitions = Partitions::new();
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    for part in table.parts.iter().filter(|part| !part.name.is_patch()) {
        partitions.entry(part.partition.clone()).or_default().push(part.fingerprint);
        rows = rows.saturating_add(part.rows);
        bytes = bytes.saturating_add(part.bytes);
    }
    TargetTable {
        uuid: table.key.uuid.clone(),
        engine: table.engine.clone(),
        parts: table.parts.len() as u64,
        rows,
        bytes,
        partitions,
        definition: Definition::parse(&table.definition).ok(),
    }
}

/// The snapshot's tables as a plan reads them.
pub(in crate::ops) fn items(source: &Source) -> Vec<SourceItem> {
    let inner = inner_tables(&source.manifest);
    let item = |table: &SourceTable| {
        let entry = &table.entry;
        let definition = match &entry.definition {
            None => Err(format!("it is not in the snapshot: {}", entry.reason.as_deref().unwrap_or("it was skipped"))),
            Some(path) => source.metadata(path).map_err(|error| crate::monitor::chain(&error)).and_then(|bytes| {
                Definition::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string())
            }),
        };
        SourceItem {
            name: table.name(),
            engine: entry.engine.clone(),
            uuid: entry.uuid.clone(),
            definition,
            data: table.has_parts().then(|| data(table)),
            data_left: (entry.state == TableState::DataLeft)
                .then(|| entry.reason.clone().unwrap_or_else(|| "it could not be taken".to_owned())),
            inner_of: inner
                .get(&table.name())
                .filter(|view| source.tables.iter().any(|other| other.name() == **view))
                .cloned(),
        }
    };
    source.tables.iter().map(item).collect()
}

fn data(table: &SourceTable) -> SourceData {
    let mut partitions = Partitions::new();
    for part in table.parts.iter().filter(|part| !part.part.is_patch()) {
        partitions.entry(part.partition.clone()).or_default().push(part.fingerprint);
    }
    SourceData {
        parts: table.parts.len() as u64,
        rows: table.rows(),
        bytes: table.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.bytes)),
        policy: table.entry.storage_policy.clone(),
        partitions,
    }
}
