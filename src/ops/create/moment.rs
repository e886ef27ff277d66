//! `--one-moment`: the list of parts that is the state of all tables at one moment, or as close to one as possible.
//!
//! See `docs/decisions/0035-one-moment.md` for why a list between two equal ones is a moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::fs::{DirectoryId, FsError};
use crate::model::{Catalog, Moment, ReadingTime, Table, TableKey};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{ParsedDefinition, TableSelection, is_one_moment};
use crate::server::{self, Server};

use super::request::Clock;

/// How long to look for a moment at which nothing changes.
const LIMIT: Duration = Duration::from_secs(2);

/// The facts about the tables at their moment, besides their parts.
#[derive(Clone, Debug)]
pub(super) struct ListedTables {
    pub(super) moment: Moment,
    directories: Directories,
    /// The seconds for which the server keeps replaced parts, for tables without a setting of their own.
    lifetime_secs: Option<u64>,
}

type Directories = BTreeMap<TableKey, Vec<(PathBuf, DirectoryId)>>;

/// One list of the parts of all tables.
struct SpannedList {
    catalog: Catalog,
    directories: Directories,
    /// From before the list was requested until after the directories were read.
    span: ReadingTime,
}

impl SpannedList {
    fn length(&self) -> Duration {
        self.span.ended.saturating_duration_since(self.span.begun)
    }
}

/// Lists the parts of all tables until two consecutive lists are equal, and puts that list into `catalog`. If no two
/// are equal, uses the list that took the least time.
///
/// # Errors
/// If the server does not answer, or a table's directory exists and cannot be opened.
pub(super) fn list_tables(
    server: &Server,
    local: &LocalDisks,
    catalog: &mut Catalog,
    selection: &TableSelection,
    now: Clock<'_>,
) -> Result<ListedTables, OpError> {
    let names_system = selection.names_system();
    let lifetime_secs = server::old_parts_lifetime(server)?;
    let (begun, mut look, mut shortest) = (Instant::now(), catalog.look(), None::<SpannedList>);
    let mut before = server::states_of_parts(server, names_system)?;
    let (list, exact) = loop {
        let next = server::survey_again(server, names_system, &look)?;
        look = next.look();
        let applied = selection.resolved(&next.names());
        let taken = next.tables.iter().filter(|table| table.is_merge_tree() && applied.wants(table.name()));
        let directories = taken.map(|table| Ok((table.key.clone(), directories(table, local)?)));
        let directories = directories.collect::<Result<Directories, FsError>>()?;
        // An exchange before this point shows in the next list, or is one of the changes during this span.
        let ended = Instant::now();
        let after = server::states_of_parts(server, names_system)?;
        let exact = is_one_moment(&before.tables, &next.listings, &after.tables, |name| applied.wants(name));
        let list = next.parts_read.map_or(before.read.ended, |read| read.begun);
        let quiet = ReadingTime { begun: before.read.ended, ended: after.read.begun };
        let span = if exact { quiet } else { ReadingTime { begun: list, ended } };
        let list = SpannedList { catalog: next, directories, span };
        if exact {
            break (list, true);
        }
        let best = match shortest.take() {
            Some(earlier) if earlier.length() <= list.length() => earlier,
            _ => list,
        };
        if begun.elapsed() >= LIMIT {
            break (best, false);
        }
        (shortest, before) = (Some(best), after);
    };
    let SpannedList { catalog: listed, directories, span } = list;
    // Facts that only the first look reads.
    let (pending, in_memory) = (std::mem::take(&mut catalog.pending), std::mem::take(&mut catalog.in_memory));
    *catalog = Catalog { pending, in_memory, ..listed };
    Ok(ListedTables { moment: moment(exact, span, now), directories, lifetime_secs })
}

/// The span in wall-clock time. The clock is read between two readings of the elapsed time. The time that may pass
/// between these lengthens the span of a list and shortens that of a moment.
fn moment(exact: bool, span: ReadingTime, now: Clock<'_>) -> Moment {
    let (earlier, now, later) = (Instant::now(), now(), Instant::now());
    let time = |instant: Instant, at: Instant| {
        now - chrono::TimeDelta::from_std(at.saturating_duration_since(instant)).unwrap_or_default()
    };
    let (from, to) = if exact {
        (time(span.begun, earlier), time(span.ended, later))
    } else {
        (time(span.begun, later), time(span.ended, earlier))
    };
    Moment { exact, from, to: to.max(from) }
}

/// The live directories of a table that exist.
fn directories(table: &Table, local: &LocalDisks) -> Result<Vec<(PathBuf, DirectoryId)>, FsError> {
    let mut directories = Vec::new();
    for path in &table.data_paths {
        if let Some(dir) = local.open_live(path)? {
            directories.push((path.clone(), dir.identity()?));
        }
    }
    Ok(directories)
}

impl ListedTables {
    /// Whether a directory that the table had when its parts were listed is gone or has been replaced.
    ///
    /// # Errors
    /// If a directory exists and cannot be opened.
    pub(super) fn is_replaced(&self, table: &Table, local: &LocalDisks) -> Result<bool, FsError> {
        let known = self.directories.get(&table.key).map_or(&[][..], Vec::as_slice);
        let now = directories(table, local)?;
        Ok(known.iter().any(|directory| !now.contains(directory)))
    }

    /// The seconds for which the server keeps replaced parts of this table, if known.
    pub(super) fn lifetime_secs(&self, table: &Table) -> Option<u64> {
        let own = ParsedDefinition::parse(&table.definition)
            .ok()
            .and_then(|definition| definition.setting("old_parts_lifetime"));
        own.map_or(self.lifetime_secs, |value| value.trim_matches('\'').parse().ok())
    }
}
