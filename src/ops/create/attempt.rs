//! A table of a snapshot being made: its place, and what one freeze of it gave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::exec::{self, ExecError, LeftOutFiles};
use crate::fs::{Dir, FsError};
use crate::model::{PartName, Table, TableName};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{self, BrokenPart, DefinitionRead, ListedDirectories, TableFreeze};
use crate::repo::{PartDigest, TableDirNames};
use crate::server;

use super::snapshot_part::SnapshotPart;
use crate::ops::copying::Copying;

/// The definition of a table.
#[derive(Clone, Debug)]
pub(super) struct DefinitionText {
    pub(super) text: Vec<u8>,
    /// Whether it is the server's own file instead of text that the server printed.
    pub(super) is_file: bool,
}

/// The place of a table in the snapshot. It keeps no open directory: a server has thousands of tables.
#[derive(Clone, Debug)]
pub(super) struct SnapshotTableDir {
    pub(super) data: Dir,
    pub(super) names: TableDirNames,
}

impl SnapshotTableDir {
    /// The place of a table below `data`, the snapshot's directory of tables.
    pub(super) fn new(data: &Dir, name: &TableName) -> Self {
        Self { data: data.clone(), names: name.into() }
    }

    /// Its path, relative to the snapshot.
    pub(super) fn path(&self) -> PathBuf {
        self.names.path()
    }

    /// Opens the table's directory.
    pub(super) fn dir(&self) -> Result<Dir, FsError> {
        self.data.open_dir(&self.names.database)?.open_dir(&self.names.table)
    }

    /// Removes the table's directory, so that the table can be taken again or left out.
    pub(super) fn clear(&self) -> Result<(), ExecError> {
        if let Some(database) = self.data.find_beneath(Path::new(&self.names.database))? {
            exec::remove_tree(&database, &self.names.table, &|_| ())?;
        }
        Ok(())
    }

    /// Creates the table's directory, with the owner and mode of the live one.
    pub(super) fn make(&self, table: &Table, local: &LocalDisks, copying: &Copying<'_>) -> Result<Dir, OpError> {
        let database = self.data.ensure_dir(&self.names.database, 0o750)?;
        let dir = database.ensure_dir(&self.names.table, 0o750)?;
        let mut paths = table.data_paths.iter();
        let live = paths.find_map(|path| local.open_live(path).ok().flatten().map(|dir| (path, dir)));
        if let Some((path, live)) = live {
            let ownership = live.stat_self()?.ownership;
            copying.give(&dir, ownership)?;
            let above = path.parent().and_then(|above| local.open_live(above).ok().flatten());
            copying.give(&database, above.map_or(Ok(ownership), |dir| dir.stat_self().map(|stat| stat.ownership))?)?;
        }
        Ok(dir)
    }
}

/// The result of taking a table in one round.
#[derive(Debug)]
pub(super) struct TableAttempt {
    pub(super) freeze: TableFreeze,
    /// Its directory in the snapshot.
    pub(super) target: SnapshotTableDir,
    pub(super) parts: Vec<SnapshotPart>,
    pub(super) detached_parts: u64,
    /// Its definition, read after the freeze and before the next look at the server.
    pub(super) definition: Option<DefinitionText>,
    /// Sums over the rows of its parts, if they were requested.
    pub(super) digests: BTreeMap<PartName, PartDigest>,
    /// Why there are no digests although they were requested.
    pub(super) digests_failed: Option<String>,
    /// Why it was not frozen.
    pub(super) refused: Option<FreezeFailure>,
    /// The identities of its directories, if its listed state is wanted.
    pub(super) directories: ListedDirectories,
}

/// Why a table was not frozen.
#[derive(Debug)]
pub(super) enum FreezeFailure {
    /// The server refused.
    Server(server::ServerError),
    /// Its directory exists and cannot be opened.
    Directory(FsError),
    /// It is on a disk that is not visible here.
    OutOfReach(String),
}

impl TableAttempt {
    /// A table of which nothing has been taken yet.
    pub(super) fn new(freeze: TableFreeze, target: SnapshotTableDir) -> Self {
        Self {
            freeze,
            target,
            parts: Vec::new(),
            detached_parts: 0,
            definition: None,
            digests: BTreeMap::new(),
            digests_failed: None,
            refused: None,
            directories: ListedDirectories::Same,
        }
    }

    /// A table that was not frozen.
    pub(super) fn refused(freeze: TableFreeze, target: SnapshotTableDir, refusal: FreezeFailure) -> Self {
        Self { refused: Some(refusal), ..Self::new(freeze, target) }
    }

    /// The parts that came from the freeze, without those linked from the live directory.
    pub(super) fn frozen(&self) -> BTreeSet<PartName> {
        self.parts.iter().map(|part| &part.name).filter(|name| !name.is_patch()).cloned().collect()
    }

    /// A listed part that is missing.
    pub(super) fn missing(&self) -> Option<&PartName> {
        let taken: BTreeSet<&PartName> = self.parts.iter().map(|part| &part.name).collect();
        self.freeze.parts().map(|part| &part.name).find(|name| !taken.contains(name))
    }

    /// A part that came and went too fast for its metadata version to be read, in a table whose parts have one.
    pub(super) fn lost_version(&self) -> Option<&PartName> {
        let with = |left_out| self.parts.iter().find(move |part| !part.name.is_patch() && part.left_out == left_out);
        with(LeftOutFiles::Taken)?;
        with(LeftOutFiles::Unknown).map(|part| &part.name)
    }

    /// The parts that are not intact.
    pub(super) fn broken(&self) -> Vec<BrokenPart> {
        let broken = self.parts.iter().map(|part| BrokenPart {
            part: part.name.clone(),
            problems: part.inspected.problems.clone(),
            copied_damage: part.extra.damage.clone(),
        });
        broken.filter(|broken| !(broken.problems.is_empty() && broken.copied_damage.is_empty())).collect()
    }

    /// The table whose definition was read: after an exchange and an exchange back in between, it would be another
    /// table's.
    pub(super) fn definition_read(&self) -> DefinitionRead {
        let Some(definition) = &self.definition else { return DefinitionRead::Missing };
        let read = plan::ParsedDefinition::parse(&String::from_utf8_lossy(&definition.text)).ok();
        match (read.and_then(|read| read.uuid), &self.freeze.table.key.uuid) {
            (Some(read), Some(own)) if read != *own => DefinitionRead::OfAnother,
            _ => DefinitionRead::Own,
        }
    }
}

/// The progress note for a frozen table: whether its definition file was read.
pub(super) struct DefinitionWasRead(pub(super) bool);
