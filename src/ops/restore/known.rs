//! The tables that a server knows: from its own lists, and from every definition file on its disks.

use std::collections::HashSet;
use std::path::Path;

use crate::fs::{Dir, EntryKind, FsError};
use crate::model::{TableName, TableUuid, escape_for_file_name, unescape_file_name};
use crate::ops::disks::{DEFINITION_LIMIT_BYTES, LocalDisks};
use crate::plan::{Knowledge, ParsedDefinition, ReplicaArguments, RestoreEntry};
use crate::server::{self, Server};

/// Every table that the server knows, attached or not.
///
/// The server's lists alone do not suffice: a user's grants shorten them without an error, and detaching a database
/// also removes its tables from `system.detached_tables`. A table's definition file exists as long as anything can
/// attach the table again.
#[derive(Debug, Default)]
pub(super) struct KnownTables {
    uuids: HashSet<String>,
    /// Definitions below `metadata/`, as `<database>/<table>` with the encoding of file names.
    files: HashSet<String>,
    /// Databases with a definition below `metadata/`, in the encoding of file names.
    databases: HashSet<String>,
    /// Databases without definition files for their tables.
    without_files: HashSet<String>,
    /// Replicated tables that have a definition, attached or not.
    replicas: Vec<DefinedReplica>,
    /// Replicated tables that were dropped and whose definitions are still there.
    dropped: Vec<DefinedReplica>,
    /// Why one of the sources cannot be read, if one cannot.
    unreadable: Option<String>,
}

/// A replicated table according to its definition file.
#[derive(Clone, Debug)]
pub(super) struct DefinedReplica {
    /// Its name; the database is empty if the database itself is detached.
    pub(super) name: TableName,
    /// Its UUID.
    pub(super) uuid: Option<TableUuid>,
    /// Its place in Keeper, with macros.
    pub(super) arguments: ReplicaArguments,
}

const DEFINITION_ENDS: [&str; 3] = [".sql", ".sql.detached", ".sql.tmp_move_from"];

impl KnownTables {
    /// Reads all sources, and notes those that cannot be read.
    pub(super) fn read(server: &Server, local: &LocalDisks) -> Self {
        let mut known = Self::default();
        match server::table_uuids(server).and_then(|mut uuids| {
            uuids.extend(server::hidden_uuids(server)?);
            Ok(uuids)
        }) {
            Ok(uuids) => known.uuids.extend(uuids),
            Err(error) => known.cannot(&crate::monitor::chain(&error)),
        }
        match server::databases(server).and_then(|mut databases| {
            databases.extend(server::own_database(server)?);
            Ok(databases)
        }) {
            Ok(databases) => {
                let others = databases.into_iter().filter(|database| database.engine != "Ordinary");
                known.without_files.extend(others.map(|database| database.name));
            }
            Err(error) => known.cannot(&crate::monitor::chain(&error)),
        }
        for disk in local.iter() {
            let attached = known.uuids.clone();
            for result in
                [known.read_metadata(&disk.dir), known.read_store(&disk.dir, &attached), known.read_dropped(&disk.dir)]
            {
                if let Err(error) = result {
                    known.cannot(&crate::monitor::chain(&error));
                }
            }
        }
        known
    }

    /// Whether a definition file of this name exists below `metadata/`.
    pub(super) fn has_definition(&self, name: &TableName) -> bool {
        self.files.contains(&file_of(name))
    }

    /// Whether a definition of this database exists below `metadata/`.
    pub(super) fn has_database(&self, name: &str) -> bool {
        self.databases.contains(&escape_for_file_name(name))
    }

    /// Whether any definition file, or any of the server's lists, contains this UUID.
    pub(super) fn has_uuid(&self, uuid: &str) -> bool {
        self.uuids.contains(uuid)
    }

    /// Replicated tables that have a definition file, attached or not.
    pub(super) fn replicas(&self) -> &[DefinedReplica] {
        &self.replicas
    }

    /// Replicated tables that were dropped and whose definitions are still there.
    pub(super) fn dropped_replicas(&self) -> &[DefinedReplica] {
        &self.dropped
    }

    /// Whether the server knows an entry's directory, which exists.
    pub(super) fn of(&self, entry: &RestoreEntry) -> Knowledge {
        let is_known = match &entry.uuid {
            Some(uuid) => self.uuids.contains(uuid.as_str()),
            None => self.has_definition(&entry.name),
        };
        match &self.unreadable {
            _ if is_known => Knowledge::Known,
            _ if entry.uuid.is_none() && self.without_files.contains(&entry.name.database) => {
                Knowledge::Unclear("its database keeps no definition files".to_owned())
            }
            Some(reason) => Knowledge::Unclear(reason.clone()),
            None => Knowledge::Unknown,
        }
    }

    /// Whether the server knows a table with this UUID.
    pub(super) fn of_table(&self, uuid: &TableUuid) -> Knowledge {
        match &self.unreadable {
            _ if self.has_uuid(uuid.as_str()) => Knowledge::Known,
            Some(reason) => Knowledge::Unclear(reason.clone()),
            None => Knowledge::Unknown,
        }
    }

    fn cannot(&mut self, reason: &str) {
        self.unreadable
            .get_or_insert_with(|| format!("some definitions cannot be read, and one of them may own it: {reason}"));
    }

    /// Reads `metadata/<database>/<table>.sql` of Ordinary databases, and `metadata/<database>.sql`.
    fn read_metadata(&mut self, disk: &Dir) -> Result<(), FsError> {
        let Some(metadata) = disk.find_beneath(Path::new("metadata"))? else { return Ok(()) };
        for entry in metadata.entries_with_kind()? {
            let Some(name) = entry.name.to_str() else { continue };
            match entry.kind {
                EntryKind::Directory => {
                    let dir = metadata.open_dir(name)?;
                    self.read_definitions(&dir, Some(name))?;
                }
                // Atomic databases: the directory is below `store/`, unless someone has changed the link.
                EntryKind::Symlink => {
                    let target = metadata.path().join(metadata.read_link(name)?);
                    let dir = metadata.open_elsewhere(&target)?;
                    self.read_definitions(&dir, Some(name))?;
                }
                _ if is_definition(name) => {
                    self.databases.extend(name.strip_suffix(".sql").map(str::to_owned));
                    self.read_definition(&metadata, name, None)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads `store/<3 digits>/<UUID of a database>/<table>.sql`, including those of detached databases. The
    /// directories of attached tables are skipped: they hold parts, perhaps a great many, and no definitions.
    fn read_store(&mut self, disk: &Dir, attached: &HashSet<String>) -> Result<(), FsError> {
        let Some(store) = disk.find_beneath(Path::new("store"))? else { return Ok(()) };
        for prefix in store.entries_with_kind()?.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let prefix = store.open_dir(&prefix.name)?;
            for entry in prefix.entries_with_kind()?.iter().filter(|entry| entry.kind == EntryKind::Directory) {
                let is_attached = entry.name.to_str().is_some_and(|name| attached.contains(name));
                if !is_attached && let Some(dir) = prefix.find_beneath(Path::new(&entry.name))? {
                    self.read_definitions(&dir, None)?;
                }
            }
        }
        Ok(())
    }

    /// Reads `metadata_dropped/<database>.<table>.<UUID>.sql`.
    fn read_dropped(&mut self, disk: &Dir) -> Result<(), FsError> {
        let Some(dropped) = disk.find_beneath(Path::new("metadata_dropped"))? else { return Ok(()) };
        for entry in dropped.entries()? {
            self.uuids.extend(uuids_in(&entry.name.to_string_lossy()));
            let Some(name) = entry.name.to_str().filter(|name| is_definition(name)) else { continue };
            let Some(text) = dropped.find_and_read(name, DEFINITION_LIMIT_BYTES)? else { continue };
            let text = String::from_utf8_lossy(&text);
            self.uuids.extend(uuids_in(&text));
            let mut parts = name.split('.');
            let (database, table) = (parts.next(), parts.next().unwrap_or_default());
            self.dropped.extend(defined_replica(&text, database, table));
        }
        Ok(())
    }

    fn read_definitions(&mut self, dir: &Dir, database: Option<&str>) -> Result<(), FsError> {
        for entry in dir.entries()? {
            let Some(name) = entry.name.to_str().filter(|name| is_definition(name)) else { continue };
            if let Some(database) = database {
                let table = DEFINITION_ENDS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                self.files.insert(format!("{database}/{table}"));
            }
            self.read_definition(dir, name, database)?;
        }
        Ok(())
    }

    fn read_definition(&mut self, dir: &Dir, name: &str, database: Option<&str>) -> Result<(), FsError> {
        // Removed meanwhile: then it is dropped, and that list has it.
        if let Some(text) = dir.find_and_read(name, DEFINITION_LIMIT_BYTES)? {
            let text = String::from_utf8_lossy(&text);
            self.uuids.extend(uuids_in(&text));
            let table = DEFINITION_ENDS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            self.replicas.extend(defined_replica(&text, database, table));
        }
        Ok(())
    }
}

/// The replicated table that a file defines, if it defines one. Names have the encoding of file names.
fn defined_replica(text: &str, database: Option<&str>, table: &str) -> Option<DefinedReplica> {
    // Most definitions need not be parsed for that.
    let definition = ParsedDefinition::parse(text).ok().filter(|_| text.contains("Replicated"))?;
    let name = |escaped: &str| unescape_file_name(escaped).unwrap_or_else(|| escaped.to_owned());
    Some(DefinedReplica {
        name: TableName::new(database.map(name).unwrap_or_default(), name(table)),
        uuid: definition.uuid.clone(),
        arguments: definition.replica()?,
    })
}

/// `<database>/<table>` in the encoding of file names.
fn file_of(name: &TableName) -> String {
    format!("{}/{}", escape_for_file_name(&name.database), escape_for_file_name(&name.table))
}

fn is_definition(name: &str) -> bool {
    DEFINITION_ENDS.iter().any(|end| name.ends_with(end))
}

/// Everything in a text that looks like a UUID, in lower case as servers write it.
fn uuids_in(text: &str) -> Vec<String> {
    const LENGTH: usize = 36;
    let bytes = text.as_bytes();
    let is_uuid = |window: &[u8]| {
        window.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let found = bytes.windows(LENGTH).filter(|window| is_uuid(window));
    found.map(|window| String::from_utf8_lossy(window).to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::uuids_in;

    #[test]
    fn uuids_are_found_anywhere_in_a_text() {
        let one = "f881ab48-8e9e-4481-9367-dfdc03216dcb";
        let text = format!("ATTACH MATERIALIZED VIEW _ UUID '{one}' TO INNER UUID '0{}'\nx", &one[1..]);
        assert_eq!(uuids_in(&text), [one.to_owned(), format!("0{}", &one[1..])]);
        assert!(uuids_in("ü").is_empty() && uuids_in("").is_empty());
    }
}
