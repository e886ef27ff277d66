//! Definitions of everything, and the mutations that a restored table has to finish.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::fs::{self, Stat};
use crate::model::{Table, TableName, TableUuid, UnlistedDatabase, Warning, WarningKind, is_drill_database};
use crate::ops::error::OpError;
use crate::ops::restore::HeldTable;
use crate::plan::{CreatePlan, TableSkipReason, is_held, released_text};
use crate::repo::{self, DatabaseEntry, Incoming, MetadataFile};
use crate::server::{self, DatabaseRow, FunctionRow, Server, sql};

use super::attempt::Definition;
use super::copying::Copying;
use super::request::Request;
use super::server_state::StateWriter;
use super::tree::{SkippedTable, Tree};
use crate::ops::disks::{DEFINITION_LIMIT_BYTES, LocalDisks};

/// Writes definitions into a snapshot.
pub(super) struct Definitions<'a> {
    pub(super) server: &'a Server,
    pub(super) local: &'a LocalDisks,
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) request: &'a Request,
    pub(super) copying: &'a Copying<'a>,
    /// Tables that a restore holds, or has held since the first of them was frozen.
    pub(super) held: Vec<HeldTable>,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: Vec<MetadataFile>,
    pub(super) databases: Vec<DatabaseEntry>,
    /// The path of each table's definition in the snapshot, and whether it is the server's own file.
    pub(super) tables: BTreeMap<TableName, (String, bool)>,
    /// Tables whose definitions are kept without the settings by which a restore holds them.
    released: Vec<TableName>,
    /// Tables whose definitions have such settings, and no restore has noted that it holds them.
    held: Vec<TableName>,
}

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
        for name in written.released.drain(..) {
            let message = format!(
                "{name} is held by a restore that is running or was interrupted: its definition is kept without the \
                 settings that hold it"
            );
            warnings.push(Warning::of_table(WarningKind::LeftoverPending, &name, message));
        }
        for name in written.held.drain(..) {
            let message = format!(
                "{name} has the settings by which a restore holds a table until it is compared, and no restore has noted \
                 it: it does not merge (chsnap doctor names the statement that ends it)"
            );
            warnings.push(Warning::of_table(WarningKind::LeftoverPending, &name, message));
        }
        self.write_databases(databases, &mut written)?;
        self.write_unlisted_databases(&plan.unlisted_databases, &mut written)?;
        write_mutations(tree, self.local, &mut written, self.copying, warnings)?;
        self.write_state(tree, &mut written, warnings)?;
        Ok(written)
    }

    /// The definitions of tables that were taken stand fixed since their freeze; the others are read now, those of tables
    /// that were skipped too. The answer is the tables whose secrets the server hides.
    fn write_tables(&self, plan: &CreatePlan, tree: &Tree, written: &mut Written) -> Result<Vec<TableName>, OpError> {
        let mut hidden = Vec::new();
        let mut write = |table: &Table, definition: &Definition| -> Result<(), OpError> {
            let name = table.name();
            if !definition.is_file && String::from_utf8_lossy(&definition.text).contains("[HIDDEN]") {
                hidden.push(name.clone());
            }
            let path = repo::definition_path(name);
            let released = self.released(table, &definition.text);
            let file = self.incoming.write_metadata(&path, released.as_deref().unwrap_or(&definition.text))?;
            let is_held = released.is_none() && is_held(&String::from_utf8_lossy(&definition.text));
            written.held.extend(is_held.then(|| name.clone()));
            written.released.extend(released.map(|_| name.clone()));
            written.tables.insert(name.clone(), (file.path.clone(), definition.is_file));
            written.files.push(file);
            Ok(())
        };
        for taken in tree.taken.values() {
            if let Some(definition) = &taken.attempt.definition {
                write(&taken.after, definition)?;
            }
        }
        let gone = |skipped: &&SkippedTable| skipped.reason == TableSkipReason::Gone;
        let skipped =
            || tree.skipped.iter().filter(|(name, _)| !tree.taken.contains_key(*name)).map(|(_, table)| table);
        for SkippedTable { table, .. } in skipped().filter(gone) {
            // Its file may be another table's by now.
            write(table, &Definition { text: table.definition.clone().into_bytes(), is_file: false })?;
        }
        let skipped = skipped().filter(|skipped| !gone(skipped)).map(|skipped| &skipped.table);
        let left_behind = plan.left_behind.iter().map(|(table, _)| table);
        let mut printed: Option<HashMap<TableName, String>> = None;
        let dumped = plan.dumps.iter().map(|dump| &dump.table);
        for table in plan.definitions.iter().chain(left_behind).chain(dumped).chain(skipped) {
            if let Some(text) = self.local.read_definition(&table.metadata_path) {
                write(table, &Definition { text, is_file: true })?;
                continue;
            }
            if printed.is_none() {
                printed = Some(server::definitions(self.server, self.request.selection.names_system())?);
            }
            let known = printed.as_ref().and_then(|definitions| definitions.get(table.name()));
            let text = known.unwrap_or(&table.definition).clone().into_bytes();
            write(table, &Definition { text, is_file: false })?;
        }
        Ok(hidden)
    }

    /// The text of a definition without the settings by which a restore holds the table at this moment.
    fn released(&self, table: &Table, text: &[u8]) -> Option<Vec<u8>> {
        let held = self.held.iter().find(|held| held.is(table.name(), table.key.uuid.as_ref()))?;
        released_text(std::str::from_utf8(text).ok()?, &held.settings).map(String::into_bytes)
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

    fn write_state(&self, tree: &Tree, written: &mut Written, warnings: &mut Vec<Warning>) -> Result<(), OpError> {
        let files = &mut written.files;
        let Self { server, local, incoming, request, .. } = self;
        let mut writer = StateWriter { server, local, incoming, files, kept: BTreeSet::new(), warnings };
        if keeps_everything(request) {
            let functions = tree.functions.clone().map_or_else(|| functions(server, request), Ok)?;
            writer.write(functions)?;
        }
        writer.write_configs(&request.configs)
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
