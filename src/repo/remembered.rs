//! The lines of the journal that note damage, in the index as well: damage is known as long as one of the two can be read.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use crate::model::{PartName, SnapshotId, TableName};

use super::event::Event;
use super::journal_content::Line;
use super::verified::{Checks, DamageNote};

pub(super) const SCHEMA: &str = "CREATE TABLE damage_line (line TEXT NOT NULL);";

/// How much is remembered: many times what a repository with damage needs.
const LIMIT_BYTES: usize = 32 << 20;
const LIMIT_LINES: i64 = 100_000;

/// The damage that lines note.
#[derive(PartialEq, Eq)]
struct KnownDamage {
    parts: BTreeMap<SnapshotId, BTreeMap<(TableName, PartName), DamageNote>>,
    snapshots: BTreeSet<SnapshotId>,
}

impl KnownDamage {
    fn of(lines: &[Line]) -> Self {
        let events: Vec<(DateTime<Utc>, Event)> = lines.iter().map(|line| (line.time, line.event.clone())).collect();
        let checks = Checks::of(&events);
        let noted = events.iter().flat_map(|(_, event)| match event {
            Event::Verified(run) => run.damaged_ids.as_slice(),
            _ => &[],
        });
        let snapshots: BTreeSet<SnapshotId> = noted.copied().collect();
        let snapshots = snapshots.into_iter().filter(|id| checks.last(*id).damaged).collect();
        Self { parts: checks.damaged(), snapshots }
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.snapshots.is_empty()
    }
}

/// Whether a line is about the damage, the checks or the end of snapshots.
pub(super) fn is_of_checks(line: &Line) -> bool {
    matches!(line.event, Event::Created { .. } | Event::Verified(_) | Event::Emptied { .. })
}

/// Whether a line notes damage.
pub(super) fn notes_damage(line: &Line) -> bool {
    matches!(&line.event, Event::Verified(run) if !(run.damaged.is_empty() && run.damaged_ids.is_empty()))
}

/// The last of these lines, which are in their order, as many as are needed to know all damage that they note and no
/// later one has found gone. None if there is no such damage, as in nearly every repository.
fn needed(lines: &[Line]) -> &[Line] {
    let notes = lines.iter().enumerate().rev().filter(|(_, line)| notes_damage(line));
    let tails: Vec<&[Line]> = notes.filter_map(|(place, _)| lines.get(place..)).collect();
    let all = KnownDamage::of(lines);
    let Some(longest) = tails.last().filter(|_| !all.is_empty()) else { return &[] };
    // A check of everything finds all damage again: one of the newest notes is nearly always enough.
    let steps = std::iter::successors(Some(0_usize), |step| Some(step * 2 + 1));
    steps.map_while(|step| tails.get(step)).find(|tail| KnownDamage::of(tail) == all).unwrap_or(longest)
}

/// Remembers what is needed of all lines of the journal, if that has changed.
pub(super) fn remember(connection: &mut Connection, lines: &[Line]) -> rusqlite::Result<()> {
    let text = |line: &Line| serde_json::to_string(line).expect("an event has only string keys");
    let mut texts: Vec<String> = needed(lines).iter().map(text).collect();
    if texts.iter().map(String::len).sum::<usize>() > LIMIT_BYTES {
        texts.clear();
    }
    if texts == read_texts(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM damage_line", [])?;
    for text in &texts {
        transaction.execute("INSERT INTO damage_line (line) VALUES (?1)", params![text])?;
    }
    transaction.commit()
}

/// The lines that are remembered.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<Line>> {
    Ok(read_texts(connection)?.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

fn read_texts(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT line FROM damage_line WHERE octet_length(line) <= ?1 ORDER BY rowid LIMIT ?2";
    let mut statement = connection.prepare(sql)?;
    let texts =
        statement.query_map(params![i64::try_from(LIMIT_BYTES).unwrap_or(i64::MAX), LIMIT_LINES], |row| row.get(0))?;
    texts.collect()
}
