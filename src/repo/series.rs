//! The relations between a repository's snapshots: their series, which ones are incomplete, and which series is the
//! main one.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{SnapshotId, TableName};
use crate::plan::{Member, SeriesKey, incomplete, main_series};

use super::content::{SeriesOf, SnapshotScope};
use super::error::RepoError;
use super::manifest::TableState;
use super::repository::{Repository, SnapshotState};
use super::summary::Summary;

pub(super) const LATEST: &str = "latest";

impl Summary {
    /// Whether the snapshot can be read and lacks nothing that it could have had.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.is_complete() && !self.incomplete
    }

    /// Whether the snapshot belongs to this series. A snapshot that cannot be read belongs to none.
    #[must_use]
    pub fn is_of(&self, series: &SeriesKey) -> bool {
        self.series.as_ref() == Some(series)
    }
}

/// The snapshots that `latest` counts, the newest last: those of a series, except the ones that have no table because
/// none could be taken.
#[must_use]
pub fn line<'a>(summaries: &'a [Summary], series: &SeriesKey) -> Vec<&'a Summary> {
    let has_some = |summary: &&Summary| !(summary.incomplete && summary.totals.tables == 0);
    let readable = || summaries.iter().filter(|summary| summary.is_complete());
    let of_series: Vec<&Summary> = readable().filter(has_some).filter(|summary| summary.is_of(series)).collect();
    if of_series.is_empty() { readable().collect() } else { of_series }
}

impl Repository {
    /// Marks the incomplete ones of all snapshots, which are in the order in which they were made, and returns the
    /// series.
    ///
    /// # Errors
    /// If a manifest cannot be read, or the named series does not exist.
    pub(super) fn judge_series(&self, summaries: &mut [Summary]) -> Result<SeriesOf, RepoError> {
        let readable: Vec<usize> =
            (0..summaries.len()).filter(|place| summaries.get(*place).is_some_and(Summary::is_complete)).collect();
        let of = |place: &usize| {
            let summary = summaries.get(*place)?;
            let SnapshotScope { key, skipped, left } = &summary.content;
            Some((summary.id, Member { key, tables: summary.totals.tables, skipped: *skipped, left }))
        };
        let (ids, members): (Vec<SnapshotId>, Vec<Member<'_>>) = readable.iter().filter_map(of).unzip();
        let mut taken: BTreeMap<usize, BTreeSet<TableName>> = BTreeMap::new();
        let lacks = incomplete(&members, |place, table| {
            let of = || ids.get(place).map(|id| self.taken_tables(*id)).unwrap_or_default();
            taken.entry(place).or_insert_with(of).contains(table)
        });
        let latest = self.linked_latest().and_then(|latest| ids.iter().position(|id| *id == latest));
        let choice = self.series_choice();
        let main = main_series(&members, &lacks, choice.configured.as_ref(), latest);
        let chosen = match &choice.named {
            None => main.clone(),
            Some(text) => named(text, &ids, &members, summaries)?,
        };
        for (place, lacks) in readable.iter().zip(lacks) {
            if let Some(summary) = summaries.get_mut(*place) {
                summary.incomplete = lacks;
            }
        }
        Ok(SeriesOf { main, chosen })
    }

    /// The tables whose data a snapshot has; empty if it cannot be read.
    fn taken_tables(&self, id: SnapshotId) -> BTreeSet<TableName> {
        let Ok(SnapshotState::Complete(manifest)) = self.snapshot(id) else { return BTreeSet::new() };
        let taken = manifest.tables.iter().filter(|entry| entry.state == TableState::Taken);
        taken.map(|entry| TableName::new(&entry.database, &entry.table)).collect()
    }

    /// The snapshot that the link `latest` names, whether it exists or not.
    fn linked_latest(&self) -> Option<SnapshotId> {
        let target = self.dir().read_link(LATEST).ok()?;
        target.file_name()?.to_str()?.parse().ok()
    }
}

fn named(
    text: &str,
    ids: &[SnapshotId],
    members: &[Member<'_>],
    summaries: &[Summary],
) -> Result<SeriesKey, RepoError> {
    let by_name = members.iter().find(|member| member.key.to_string() == text);
    let of_snapshot = || {
        let is_meant =
            |summary: &&Summary| summary.id.to_string() == text || summary.label.text.as_deref() == Some(text);
        let id = summaries.iter().rev().find(is_meant)?.id;
        members.get(ids.iter().position(|other| *other == id)?)
    };
    let found = by_name.or_else(of_snapshot);
    found.map(|member| member.key.clone()).ok_or_else(|| {
        let known: BTreeSet<String> = members.iter().map(|member| member.key.to_string()).collect();
        RepoError::NoSeries { text: text.to_owned(), known: known.into_iter().collect() }
    })
}
