//! Definitions of everything, and the mutations that a restored table has to finish.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::fs::{self, Dir, Stat};
use crate::model::{
    TableName, TableUuid, UnlistedDatabase, Warning, WarningKind, escape_for_file_name, is_drill_database,
};
use crate::ops::error::OpError;
use crate::plan::{CreatePlan, TableSkipReason};
use crate::repo::{self, DatabaseEntry, Incoming, MetadataFile};
use crate::server::{self, DatabaseRow, FunctionRow, Server, sql};

use super::attempt::Definition;
use super::copying::Copying;
use super::request::Request;
use super::tree::{SkippedTable, Tree};
use crate::ops::disks::{DEFINITION_LIMIT_BYTES, LocalDisks};

/// Writes definitions into a snapshot.
pub(super) struct Definitions<'a> {
    pub(super) server: &'a Server,
    pub(super) local: &'a LocalDisks,
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) request: &'a Request,
    pub(super) copying: &'a Copying<'a>,
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
const BESIDE: [&str; 4] = ["user_defined", "access", "named_collections", "workload"];

/// Whether a snapshot has all databases, and what the server has beside them.
fn keeps_everything(request: &Request) -> bool {
    request.selection.include.is_empty()
}

/// The server's functions, where they belong in the snapshot. The server takes its time to list them: they are read while
/// parts are checked.
pub(super) fn functions(server: &Server, request: &Request) -> Result<Vec<FunctionRow>, server::ServerError> {
    if keeps_everything(request) { server::functions(server) } else { Ok(Vec::new()) }
}

impl Definitions<'_> {
    pub(super) fn write(
        &self,
        databases: &[DatabaseRow],
        plan: &CreatePlan,
        tree: &Tree,
        warnings: &mut Vec<Warning>,
    ) -> Result<Written, OpError> {
        let mut written = Written::default();
        for name in self.write_tables(plan, tree, &mut written)? {
            let message =
                format!("the definition of {name} has secrets that the server hides, and its file cannot be read here");
            warnings.push(Warning::of_table(WarningKind::SecretsHidden, &name, message));
        }
        self.write_databases(databases, &mut written)?;
        self.write_unlisted_databases(&plan.unlisted_databases, &mut written)?;
        write_mutations(tree, self.local, &mut written, self.copying, warnings)?;
        if keeps_everything(self.request) {
            self.write_beside(tree, &mut written, warnings)?;
        }
        Ok(written)
    }

    /// The definitions of tables that were taken stand fixed since their freeze; the others are read now, those of tables
    /// that were skipped too. The answer is the tables whose secrets the server hides.
    fn write_tables(&self, plan: &CreatePlan, tree: &Tree, written: &mut Written) -> Result<Vec<TableName>, OpError> {
        let mut hidden = Vec::new();
        let mut write = |name: &TableName, definition: &Definition| -> Result<(), OpError> {
            if !definition.is_file && String::from_utf8_lossy(&definition.text).contains("[HIDDEN]") {
                hidden.push(name.clone());
            }
            let path = repo::definition_path(name);
            let file = self.incoming.write_metadata(&path, &definition.text)?;
            written.tables.insert(name.clone(), (file.path.clone(), definition.is_file));
            written.files.push(file);
            Ok(())
        };
        for (name, taken) in &tree.taken {
            if let Some(definition) = &taken.attempt.definition {
                write(name, definition)?;
            }
        }
        let gone = |skipped: &&SkippedTable| skipped.reason == TableSkipReason::Gone;
        let skipped =
            || tree.skipped.iter().filter(|(name, _)| !tree.taken.contains_key(*name)).map(|(_, table)| table);
        for SkippedTable { table, .. } in skipped().filter(gone) {
            // Its file may be another table's by now.
            write(table.name(), &Definition { text: table.definition.clone().into_bytes(), is_file: false })?;
        }
        let skipped = skipped().filter(|skipped| !gone(skipped)).map(|skipped| &skipped.table);
        let left_behind = plan.left_behind.iter().map(|(table, _)| table);
        let mut printed: Option<HashMap<TableName, String>> = None;
        let dumped = plan.dumps.iter().map(|dump| &dump.table);
        for table in plan.definitions.iter().chain(left_behind).chain(dumped).chain(skipped) {
            if let Some(text) = self.local.read_definition(&table.metadata_path) {
                write(table.name(), &Definition { text, is_file: true })?;
                continue;
            }
            if printed.is_none() {
                printed = Some(server::definitions(self.server, self.request.selection.names_system())?);
            }
            let known = printed.as_ref().and_then(|definitions| definitions.get(table.name()));
            let text = known.unwrap_or(&table.definition).clone().into_bytes();
            write(table.name(), &Definition { text, is_file: false })?;
        }
        Ok(hidden)
    }

    fn write_databases(&self, databases: &[DatabaseRow], written: &mut Written) -> Result<(), OpError> {
        let all = keeps_everything(self.request);
        for database in databases.iter().filter(|database| !is_drill_database(&database.name)) {
            if !all && !written.tables.keys().any(|table| table.database == database.name) {
                continue;
            }
            let path = repo::database_definition_path(&database.name);
            let text = self.local.read_definition(&path).unwrap_or_else(|| {
                let engine = &database.engine_full;
                format!("CREATE DATABASE {} ENGINE = {engine}\n", sql::quote_name(&database.name)).into_bytes()
            });
            let file = self.incoming.write_metadata(&path, &text)?;
            written.databases.push(DatabaseEntry {
                database: database.name.clone(),
                engine: database.engine.clone(),
                uuid: TableUuid::from_server(&database.uuid).ok().flatten(),
                definition: file.path.clone(),
            });
            written.files.push(file);
        }
        Ok(())
    }

    fn write_unlisted_databases(&self, databases: &[UnlistedDatabase], written: &mut Written) -> Result<(), OpError> {
        for database in databases {
            let path = repo::database_definition_path(&database.name);
            // Dropped meanwhile.
            let Some(text) = self.local.read_definition(&path) else { continue };
            let file = self.incoming.write_metadata(&path, &text)?;
            written.databases.push(DatabaseEntry {
                database: database.name.clone(),
                engine: database.engine.clone(),
                uuid: TableUuid::from_server(&database.uuid).ok().flatten(),
                definition: file.path.clone(),
            });
            written.files.push(file);
        }
        Ok(())
    }

    fn write_beside(&self, tree: &Tree, written: &mut Written, warnings: &mut Vec<Warning>) -> Result<(), OpError> {
        let mut names = Vec::new();
        for directory in BESIDE {
            let Some(own) = self.local.own() else { continue };
            let dir = match own.dir.find_beneath(Path::new(directory)) {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                Err(error) => {
                    warnings.push(unreadable(&format!("{directory}/"), &error));
                    continue;
                }
            };
            for (name, bytes) in plain_files(&dir, directory, warnings) {
                let path = Path::new(directory).join(&name);
                written.files.push(self.incoming.write_metadata(&path, &bytes)?);
                names.push(path);
            }
        }
        let functions = tree.functions.clone().map_or_else(|| functions(self.server, self.request), Ok)?;
        for function in functions {
            // ClickHouse's own file name for it; see `UserDefinedSQLObjectsDiskStorage`.
            let name = format!("function_{}.sql", escape_for_file_name(&function.name));
            let path = Path::new("user_defined").join(name);
            if !names.contains(&path) {
                written.files.push(self.incoming.write_metadata(&path, function.create_query.as_bytes())?);
            }
        }
        self.write_workloads(&names, written, warnings)
    }

    /// Workloads and resources that have no file here: the server keeps them elsewhere, in Keeper say.
    fn write_workloads(
        &self,
        names: &[PathBuf],
        written: &mut Written,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        for (table, kind) in [("workloads", "workload"), ("resources", "resource")] {
            let listed = match server::statements_in(self.server, table) {
                Err(error @ server::ServerError::Exception { .. }) => {
                    let message =
                        format!("the {table} of the server are not in the snapshot: {}", crate::monitor::chain(&error));
                    warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
                    continue;
                }
                listed => listed?,
            };
            for (name, statement) in listed.into_iter().filter(|(_, statement)| !statement.is_empty()) {
                // ClickHouse's own file name for it; see `WorkloadEntityDiskStorage`.
                let path = Path::new("workload").join(format!("{kind}_{}.sql", escape_for_file_name(&name)));
                if !names.contains(&path) {
                    written.files.push(self.incoming.write_metadata(&path, statement.as_bytes())?);
                }
            }
        }
        Ok(())
    }
}

/// Copies, never links: the server appends to these files in place when it uses transactions.
fn write_mutations(
    tree: &Tree,
    local: &LocalDisks,
    written: &mut Written,
    copying: &Copying<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), OpError> {
    for (name, taken) in tree.taken.iter().filter(|(_, taken)| !taken.mutations.is_empty()) {
        let (live, dir) = (local.live(&taken.after)?, taken.attempt.target.dir()?);
        for mutation in &taken.mutations {
            let mut found = None;
            for live in &live {
                if let Some((stat, bytes)) = live.dir.find_with_stat(mutation, DEFINITION_LIMIT_BYTES)? {
                    found = Some((bytes, stat));
                    break;
                }
            }
            let Some((bytes, stat)) = found else {
                let message = format!("{name}: the unfinished mutation {mutation} could not be had any more");
                warnings.push(Warning::of_table(WarningKind::MutationLost, name, message));
                continue;
            };
            let ownership = copying.attainable(stat.ownership, fs::own_ids(stat.ownership.mode));
            dir.write_copy(mutation, &Stat { ownership, ..stat }, &bytes)?;
            let path = repo::table_path(name).join(mutation);
            written.files.push(MetadataFile::of(&path, &bytes));
        }
    }
    Ok(())
}

fn unreadable(path: &str, error: &fs::FsError) -> Warning {
    let message = format!("{path} of the server is not in the snapshot: {error}");
    Warning::new(WarningKind::ServerFilesUnreadable, message)
}

fn plain_files(dir: &Dir, shown: &str, warnings: &mut Vec<Warning>) -> Vec<(String, Vec<u8>)> {
    let entries = match dir.entries_with_kind() {
        Ok(entries) => entries,
        Err(error) => {
            warnings.push(unreadable(&format!("{shown}/"), &error));
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == crate::fs::Kind::File) {
        let Some(name) = entry.name.to_str() else { continue };
        match dir.read(name, DEFINITION_LIMIT_BYTES) {
            Ok(bytes) => files.push((name.to_owned(), bytes)),
            Err(error) => warnings.push(unreadable(&format!("{shown}/{name}"), &error)),
        }
    }
    files
}
