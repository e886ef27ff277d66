//! The database that a drill restores into.

use chrono::{DateTime, Utc};

use crate::exec;
use crate::model::{DRILL_PREFIX, Table, Warning, WarningKind, run_name};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::ops::restore::{LockedDir, Recovers, Statements, abandoned, leftover_names, random, recover_leftovers};
use crate::server::{self, Server, ServerError, code, sql};

/// A database of the drill's own, and a locked directory of the same name next to the server's data, which shows other
/// drills that this one is alive.
pub(super) struct ScratchDatabase<'a> {
    pub(super) name: String,
    server: &'a Server,
    local: &'a LocalDisks,
    _dir: LockedDir,
}

impl<'a> ScratchDatabase<'a> {
    /// Creates it.
    ///
    /// # Errors
    /// If the directory cannot be created, or the server refuses.
    pub(super) fn create(server: &'a Server, local: &'a LocalDisks, now: DateTime<Utc>) -> Result<Self, OpError> {
        let own = local.own().expect("the server's own disk is open");
        let name = run_name(DRILL_PREFIX, now, random()?);
        let dir = LockedDir::create(&own.dir, &name)?;
        let statements = Statements::new(server, &name)?;
        let made = statements.run(&format!("CREATE DATABASE {}", sql::quote_name(&name)));
        let scratch = Self { name, server, local, _dir: dir };
        if let Err(error) = made {
            scratch.remove()?;
            return Err(error.into());
        }
        Ok(scratch)
    }

    /// Drops it with everything in it.
    ///
    /// # Errors
    /// If the server refuses or does not answer: the next drill drops it.
    pub(super) fn remove(self) -> Result<(), OpError> {
        self.server.clean_up(|| drop_database(self.server, self.local, &self.name))
    }
}

/// Orders tables for dropping: dependents come first, because a server refuses to drop the source of a dictionary.
fn rank(table: &Table) -> u8 {
    match table.engine.as_str() {
        "MaterializedView" | "View" => 0,
        "Dictionary" => 1,
        _ => 2,
    }
}

fn drop_database(server: &Server, local: &LocalDisks, name: &str) -> Result<(), OpError> {
    let sync = if server.features().has_column("tables", "uuid") { " SYNC" } else { "" };
    let statements = Statements::new(server, name)?;
    let catalog = server::survey(server, false)?;
    // One by one: the server does not drop a database that contains a table too large to be dropped without
    // confirmation.
    let mut tables: Vec<&Table> = catalog.tables.iter().filter(|table| table.name().database == *name).collect();
    tables.sort_by_key(|table| rank(table));
    drop_tables(&statements, tables)?;
    statements.run(&format!("DROP DATABASE IF EXISTS {}{sync}", sql::quote_name(name)))?;
    if let Some(own) = local.own() {
        exec::remove_tree(&own.dir, name, &|_| ())?;
    }
    Ok(())
}

/// Drops tables, each after those whose definitions name it.
///
/// # Errors
/// If the server refuses one for another reason, or each of those that are left.
fn drop_tables(statements: &Statements<'_>, mut tables: Vec<&Table>) -> Result<(), ServerError> {
    loop {
        let (mut needed, mut refusal) = (Vec::new(), None);
        for table in &tables {
            match drop_table(statements, table) {
                Err(error) if error.code() == Some(code::HAVE_DEPENDENT_OBJECTS) => {
                    needed.push(*table);
                    refusal = Some(error);
                }
                dropped => dropped?,
            }
        }
        match refusal {
            None => return Ok(()),
            Some(error) if needed.len() == tables.len() => return Err(error),
            Some(_) => tables = needed,
        }
    }
}

fn drop_table(statements: &Statements<'_>, table: &Table) -> Result<(), ServerError> {
    if table.engine == "Dictionary" {
        return statements.run(&format!("DROP DICTIONARY IF EXISTS {}", sql::quote_table(table.name())));
    }
    statements.drop_table(table.name(), table.key.uuid.is_some())
}

/// Drops the databases that interrupted drills left. Returns a warning for each that could not be dropped.
///
/// # Errors
/// If the directories of drills cannot be read.
pub(super) fn drop_leftovers(server: &Server, local: &LocalDisks) -> Result<Vec<Warning>, OpError> {
    let Some(own) = local.own() else { return Ok(Vec::new()) };
    let mut warnings = Vec::new();
    let left = abandoned(&own.dir, DRILL_PREFIX)?;
    for name in left.hidden {
        exec::remove_tree(&own.dir, &name, &|_| ())?;
    }
    // First the directories of tables that were never created: 18.16 drops no database that still contains one.
    if !left.names.is_empty() {
        match recover_leftovers(server, local, &leftover_names(local)?, Recovers::OwnDrills) {
            Ok(kept) => warnings.extend(kept),
            Err(error) => {
                let message = format!("an interrupted drill: {}", crate::monitor::chain(&error));
                warnings.push(Warning::new(WarningKind::LeftoverPending, message));
            }
        }
    }
    for name in left.names {
        if let Err(error) = drop_database(server, local, &name) {
            let message = format!("the database {name} of an interrupted drill: {}", crate::monitor::chain(&error));
            warnings.push(Warning::new(WarningKind::TemporaryLeft, message));
        }
    }
    Ok(warnings)
}
