//! Definitions of everything, and the mutations that a restored table has to finish.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::fs::Dir;
use crate::model::{Table, TableName, escape_for_file_name};
use crate::ops::error::OpError;
use crate::plan::CreatePlan;
use crate::repo::{DatabaseEntry, Incoming, MetadataFile};
use crate::server::{self, DatabaseRow, Server, sql};

use super::Request;
use super::disks::LocalDisks;
use super::rounds::Tree;

/// Writes definitions into a snapshot.
pub(super) struct Definitions<'a> {
    pub(super) server: &'a Server,
    pub(super) local: &'a LocalDisks,
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) request: &'a Request,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: Vec<MetadataFile>,
    pub(super) databases: Vec<DatabaseEntry>,
    /// The path of each table's definition in the snapshot, and whether it is the server's own file.
    pub(super) tables: BTreeMap<TableName, (String, bool)>,
}

/// The server's own directories beside its metadata that hold definitions: kept whole, where they can be read.
const BESIDE: [&str; 3] = ["user_defined", "access", "named_collections"];
const LIMIT_BYTES: u64 = 64 << 20;

impl Definitions<'_> {
    pub(super) fn write(
        &self,
        databases: &[DatabaseRow],
        plan: &CreatePlan,
        tree: &Tree,
        warnings: &mut Vec<String>,
    ) -> Result<Written, OpError> {
        let mut written = Written::default();
        let taken = tree.taken.values().map(|taken| &taken.after);
        let others = plan.definitions.iter().chain(plan.left_behind.iter().map(|(table, _)| table));
        let tables: Vec<&Table> = taken.chain(others).collect();
        self.write_tables(&tables, &mut written, warnings)?;
        self.write_databases(databases, &tables, &mut written)?;
        self.write_mutations(tree, &mut written, warnings)?;
        if self.request.selection.include.is_empty() {
            self.write_beside(&mut written, warnings)?;
        }
        Ok(written)
    }

    fn write_tables(
        &self,
        tables: &[&Table],
        written: &mut Written,
        warnings: &mut Vec<String>,
    ) -> Result<(), OpError> {
        let mut from_server: Option<HashMap<TableName, String>> = None;
        for table in tables {
            let name = table.name();
            let own = self.read_own(&table.metadata_path);
            let is_file = own.is_some();
            let text = match own {
                Some(text) => text,
                None => {
                    if from_server.is_none() {
                        let with_system = self.request.selection.names_system();
                        from_server = Some(server::definitions(self.server, with_system)?);
                    }
                    let known = from_server.as_ref().and_then(|definitions| definitions.get(name));
                    known.unwrap_or(&table.definition).clone().into_bytes()
                }
            };
            if !is_file && String::from_utf8_lossy(&text).contains("[HIDDEN]") {
                warnings.push(format!(
                    "the definition of {name} has secrets that the server hides, and its file cannot be read here"
                ));
            }
            let path = PathBuf::from("metadata")
                .join(escape_for_file_name(&name.database))
                .join(format!("{}.sql", escape_for_file_name(&name.table)));
            let file = self.incoming.write_metadata(&path, &text)?;
            written.tables.insert(name.clone(), (file.path.clone(), is_file));
            written.files.push(file);
        }
        Ok(())
    }

    /// Reads a file below the server's own path; `None` where it is elsewhere or cannot be read.
    fn read_own(&self, path: &Path) -> Option<Vec<u8>> {
        let own = self.local.own()?;
        let relative = if path.is_absolute() { own.disk.relative(path)? } else { path };
        let (parent, name) = (relative.parent()?, relative.file_name()?);
        let text = own.dir.open_beneath(parent).and_then(|dir| dir.read(name, LIMIT_BYTES)).ok()?;
        (!text.is_empty()).then_some(text)
    }

    fn write_databases(
        &self,
        databases: &[DatabaseRow],
        tables: &[&Table],
        written: &mut Written,
    ) -> Result<(), OpError> {
        let all = self.request.selection.include.is_empty();
        for database in databases {
            if !all && !tables.iter().any(|table| table.name().database == database.name) {
                continue;
            }
            let file_name = format!("{}.sql", escape_for_file_name(&database.name));
            let path = PathBuf::from("metadata").join(file_name);
            let text = self.read_own(&path).unwrap_or_else(|| {
                let engine = &database.engine_full;
                format!("CREATE DATABASE {} ENGINE = {engine}\n", sql::quote_name(&database.name)).into_bytes()
            });
            let file = self.incoming.write_metadata(&path, &text)?;
            written.databases.push(DatabaseEntry {
                database: database.name.clone(),
                engine: database.engine.clone(),
                uuid: crate::model::TableUuid::from_server(&database.uuid).ok().flatten(),
                definition: file.path.clone(),
            });
            written.files.push(file);
        }
        Ok(())
    }

    /// Copies, never links: the server appends to these files in place when it uses transactions.
    fn write_mutations(&self, tree: &Tree, written: &mut Written, warnings: &mut Vec<String>) -> Result<(), OpError> {
        for (name, taken) in &tree.taken {
            for mutation in &taken.mutations {
                let mut found = None;
                for live in &taken.attempt.live {
                    if let (Some(bytes), Some(stat)) =
                        (live.dir.find_and_read(mutation, LIMIT_BYTES)?, live.dir.find(mutation)?)
                    {
                        found = Some((bytes, stat));
                        break;
                    }
                }
                let Some((bytes, stat)) = found else {
                    warnings.push(format!("{name}: the unfinished mutation {mutation} could not be had any more"));
                    continue;
                };
                taken.attempt.target.write_copy(mutation, &stat, &bytes)?;
                let path = Path::new("data")
                    .join(escape_for_file_name(&name.database))
                    .join(escape_for_file_name(&name.table))
                    .join(mutation);
                written.files.push(MetadataFile {
                    path: path.to_string_lossy().into_owned(),
                    bytes: bytes.len() as u64,
                    blake3: blake3::hash(&bytes).to_hex().to_string(),
                });
            }
        }
        Ok(())
    }

    fn write_beside(&self, written: &mut Written, warnings: &mut Vec<String>) -> Result<(), OpError> {
        let mut names = Vec::new();
        for directory in BESIDE {
            let Some(own) = self.local.own() else { continue };
            let dir = match own.dir.find_beneath(Path::new(directory)) {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                Err(error) => {
                    warnings.push(format!("{directory}/ of the server is not in the snapshot: {error}"));
                    continue;
                }
            };
            for (name, bytes) in plain_files(&dir, directory, warnings) {
                let path = Path::new(directory).join(&name);
                written.files.push(self.incoming.write_metadata(&path, &bytes)?);
                names.push(path);
            }
        }
        for function in server::functions(self.server)? {
            // ClickHouse's own file name for it; see `UserDefinedSQLObjectsDiskStorage`.
            let name = format!("function_{}.sql", escape_for_file_name(&function.name));
            let path = Path::new("user_defined").join(name);
            if !names.contains(&path) {
                written.files.push(self.incoming.write_metadata(&path, function.create_query.as_bytes())?);
            }
        }
        Ok(())
    }
}

fn plain_files(dir: &Dir, shown: &str, warnings: &mut Vec<String>) -> Vec<(String, Vec<u8>)> {
    let entries = match dir.entries_with_kind() {
        Ok(entries) => entries,
        Err(error) => {
            warnings.push(format!("{shown}/ of the server is not in the snapshot: {error}"));
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == crate::fs::Kind::File) {
        let Some(name) = entry.name.to_str() else { continue };
        match dir.read(name, LIMIT_BYTES) {
            Ok(bytes) => files.push((name.to_owned(), bytes)),
            Err(error) => warnings.push(format!("{shown}/{name} of the server is not in the snapshot: {error}")),
        }
    }
    files
}
