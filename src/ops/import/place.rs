//! Places parts of a tree in a snapshot, and inspects each once it is there.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::exec::{self, Inspected, ListedImporter, PartRestorer, RestoredPart, WholePart};
use crate::fs::Dir;
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::{FoundDamage, OpError};
use crate::plan::{ImportedTable, PartFilesSource, SourcePart};
use crate::repo;

/// A part in the snapshot.
pub(super) struct ImportedPart {
    pub(super) inspected: Inspected,
    pub(super) placed: RestoredPart,
    pub(super) rows: Option<u64>,
    /// The problem with it.
    pub(super) damage: Option<FoundDamage>,
}

/// Places the parts of a tree.
pub(super) struct Placer<'a> {
    pub(super) root: &'a Dir,
    pub(super) interrupted: &'a AtomicBool,
    pub(super) listed: ListedImporter<'a>,
    pub(super) whole: PartRestorer<'a>,
    pub(super) monitor: &'a dyn Monitor,
}

impl Placer<'_> {
    /// Places the parts of a table, in order.
    pub(super) fn place_table(&self, data: &Dir, table: &ImportedTable) -> Result<Vec<ImportedPart>, OpError> {
        let mut dir = data.clone();
        for component in repo::table_below_data(&table.name).components() {
            dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
        }
        table.parts.par_iter().map(|part| self.place_part(&dir, part)).collect()
    }

    fn place_part(&self, table: &Dir, part: &SourcePart) -> Result<ImportedPart, OpError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(OpError::Interrupted);
        }
        let name = part.name.as_str();
        let (placed, differs) = match &part.content {
            PartFilesSource::Directory(path) => {
                let from = self.root.open_beneath(path)?;
                (self.whole.restore_part(&from, table, name)?, None)
            }
            PartFilesSource::Files(files) => {
                let placed = self.listed.place_part(files, table, name)?;
                let was_copied = placed.linked_files < placed.files;
                let differs = exec::differs_from_list(&table.open_dir(name)?, files, was_copied)?;
                (placed, differs)
            }
        };
        let WholePart { inspected, rows } = exec::inspect_whole(&table.open_dir(name)?)?;
        let problem = differs.or_else(|| inspected.problems.first().cloned());
        let work = StageWork { parts: 1, files: inspected.files, bytes: inspected.bytes, ..StageWork::default() };
        self.monitor.advanced(Stage::Place, work);
        let damage = problem.map(|problem| damage(part, problem));
        Ok(ImportedPart { inspected, placed, rows: rows.filter(|_| !part.name.is_patch()), damage })
    }
}

/// A problem with a part.
pub(super) fn damage(part: &SourcePart, problem: String) -> FoundDamage {
    FoundDamage { table: part.table.clone(), part: Some(part.name.clone()), problem }
}
