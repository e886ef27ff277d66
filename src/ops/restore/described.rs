//! Opens the disks that definitions describe themselves (`SETTINGS disk = disk(type = …, path = …)`).
//!
//! A server lists such a disk only once a table on it exists. An empty table is created on it for a moment. That shows
//! where the disk is, and proves that this host sees the same directory. The table is a helper of the restore, recorded
//! in the intent and dropped at once. From then on the disk is treated like any other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::TableName;
use crate::ops::disks::{LocalDisk, holding};
use crate::ops::error::OpError;
use crate::plan::{Disks, ParsedDefinition, RestoreEntry, RestorePlan, TablePlan};
use crate::server::{self, ServerError, sql};

use super::context::RestoreContext;
use super::statements::Statements;

/// An empty table on a described disk.
#[derive(Debug)]
pub(super) struct Probe<'a> {
    pub(super) name: TableName,
    /// The description of the disk, from `disk(` on.
    text: &'a str,
    /// A planned table on it.
    table: &'a TablePlan,
}

/// The described disks of a restore, by their descriptions: each open, or with the reason why it is not.
#[derive(Debug, Default)]
pub(super) struct DescribedDisks {
    disks: BTreeMap<String, Result<LocalDisk, String>>,
}

impl DescribedDisks {
    /// The name of the described disk that a table is on; `None` for a table on another disk.
    ///
    /// # Errors
    /// The reason why the disk is unavailable.
    pub(super) fn of(&self, table: &TablePlan) -> Result<Option<&str>, String> {
        let Disks::Described(text) = &table.disks else { return Ok(None) };
        match self.disks.get(text) {
            Some(Ok(local)) => Ok(Some(&local.disk.name)),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("its disk was not opened".to_owned()),
        }
    }

    /// The paths of the open disks, by name, as the server sees them.
    pub(super) fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.opened().map(|local| (local.disk.name.clone(), local.disk.path.clone())).collect()
    }

    /// The disks that are open.
    pub(super) fn opened(&self) -> impl Iterator<Item = &LocalDisk> {
        self.disks.values().filter_map(|disk| disk.as_ref().ok())
    }
}

impl Probe<'_> {
    /// The probe's entry in the intent.
    pub(super) fn entry(&self) -> RestoreEntry {
        RestoreEntry::helper(self.name.clone())
    }
}

/// One probe for each described disk on which parts are placed. `word` is the name of the restore.
pub(super) fn probes<'a>(plan: &'a RestorePlan, word: &str) -> Vec<Probe<'a>> {
    let random = word.rsplit('_').next().unwrap_or_default();
    let mut probes: Vec<Probe<'a>> = Vec::new();
    for table in plan.tables.iter().filter(|table| table.action.places_parts()) {
        if let Disks::Described(text) = &table.disks
            && !probes.iter().any(|probe| probe.text == text)
        {
            let name = TableName::new(table.to.database.clone(), format!("chsnap_{random}_disk{}", probes.len()));
            probes.push(Probe { name, text, table });
        }
    }
    probes
}

/// Opens the disks of these probes. `missing_databases` contains those that could not be created, with the reason.
///
/// # Errors
/// If the server does not answer. A disk that it refuses, or that is not visible here, affects only its own tables.
pub(super) fn open(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    probes: &[Probe<'_>],
    missing_databases: &BTreeMap<String, String>,
) -> Result<DescribedDisks, OpError> {
    let mut disks = BTreeMap::new();
    for probe in probes {
        context.check_interrupted()?;
        let disk = match missing_databases.get(&probe.name.database) {
            Some(reason) => Err(reason.clone()),
            None => open_one(context, statements, probe)?,
        };
        disks.insert(probe.text.to_owned(), disk);
    }
    Ok(DescribedDisks { disks })
}

fn open_one(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    probe: &Probe<'_>,
) -> Result<Result<LocalDisk, String>, OpError> {
    let name = sql::quote_table(&probe.name);
    let statement =
        format!("CREATE TABLE {name} (x UInt8) ENGINE = MergeTree ORDER BY x SETTINGS disk = {}", probe.text);
    let label = format!("the disk that the definition of {} describes", probe.table.from);
    let secrets = probe.table.definition.as_ref().map(ParsedDefinition::secrets).unwrap_or_default();
    match statements.run_definition(&label, &statement, &[], &secrets) {
        Err(error @ ServerError::Exception { .. }) => {
            return Ok(Err(format!("its disk cannot be made: {}", crate::monitor::chain(&error))));
        }
        result => result?,
    }
    let found = locate(context, &probe.name);
    statements.drop_table(&probe.name, true)?;
    found
}

/// The disk that a table is on, if the table's directory is visible here.
fn locate(context: &RestoreContext<'_>, name: &TableName) -> Result<Result<LocalDisk, String>, OpError> {
    let table = server::survey_table(context.server, name)?;
    let path = table.as_ref().and_then(|table| table.data_paths.first());
    let Some(path) = path else { return Ok(Err("the server does not say where its disk is".to_owned())) };
    let disks = server::disks(context.server)?;
    let Some(disk) = holding(&disks, path).filter(|disk| disk.is_local()) else {
        return Ok(Err("the disk that its definition describes is not a local one".to_owned()));
    };
    let own = context.survey.local.own().expect("the server's own disk is open");
    let local = match LocalDisk::open(&own.dir, disk, &context.request.paths) {
        Ok(local) => local,
        Err(error @ OpError::DiskNotVisible { .. }) => return Ok(Err(crate::monitor::chain(&error))),
        Err(error) => return Err(error),
    };
    let is_visible = match disk.relative(path) {
        Some(relative) => local.dir.find_beneath(relative)?.is_some(),
        None => false,
    };
    if is_visible {
        Ok(Ok(local))
    } else {
        let path = local.dir.path().display();
        Ok(Err(format!("its disk is not visible here: {path} is another directory than the server's")))
    }
}
