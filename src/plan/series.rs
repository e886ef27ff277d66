//! Series: the snapshots of one selection, which of them are incomplete, and which series is the main one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::TableName;

use super::choose::TableSelection;
use super::pattern::TablePattern;

/// A normalized selection: equal for selections that differ only in order, in repetition, or by a pattern for all
/// tables.
///
/// Its text is the name of the series: `all`, `only shop.customers`, `without *.tmp`, `only shop.* without shop.log
/// partition 202611`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    include: Vec<String>,
    exclude: Vec<String>,
    partitions: Vec<String>,
}

/// The pattern for all tables. It matches no table of the server's own database.
const EVERY_TABLE: &str = "*.*";

fn sorted<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut texts: Vec<String> = texts.into_iter().map(Into::into).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

impl SeriesKey {
    /// The series of a selection: patterns of tables to include and to exclude, and ids of partitions.
    #[must_use]
    pub fn new<T: Into<String>>(
        include: impl IntoIterator<Item = T>,
        exclude: impl IntoIterator<Item = T>,
        partitions: impl IntoIterator<Item = T>,
    ) -> Self {
        let mut include = sorted(include);
        if include.iter().any(|pattern| pattern == EVERY_TABLE) {
            include.retain(|pattern| pattern == EVERY_TABLE || pattern.starts_with("system."));
            if include.len() == 1 {
                include.clear();
            }
        }
        Self { include, exclude: sorted(exclude), partitions: sorted(partitions) }
    }

    /// Whether nothing was selected, so that its snapshots have all tables with all partitions.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether snapshots of this series have everything of a table that those of the other one have: not if only some
    /// partitions were selected, unless the same ones were.
    #[must_use]
    pub fn has_whole_tables_of(&self, other: &Self) -> bool {
        self.partitions.is_empty() || self.partitions == other.partitions
    }
}

impl From<&TableSelection> for SeriesKey {
    fn from(selection: &TableSelection) -> Self {
        Self::new(
            selection.include.iter().map(TablePattern::as_str),
            selection.exclude.iter().map(TablePattern::as_str),
            selection.partitions.iter().map(|partition| partition.0.as_str()),
        )
    }
}

/// The name of the series; only equal series have equal names.
impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts = Vec::new();
        for (word, patterns) in [("only", &self.include), ("without", &self.exclude), ("partition", &self.partitions)] {
            if !patterns.is_empty() {
                let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern)).collect();
                texts.push(format!("{word} {}", patterns.join(", ")));
            }
        }
        f.pad(&if texts.is_empty() { "all".to_owned() } else { texts.join(" ") })
    }
}

/// A pattern, quoted if it contains a separator of patterns.
fn quoted(pattern: &str) -> String {
    let is_plain = |letter: char| !letter.is_whitespace() && !letter.is_control() && !matches!(letter, ',' | '"');
    if !pattern.is_empty() && pattern.chars().all(is_plain) { pattern.to_owned() } else { format!("{pattern:?}") }
}

/// The facts about a readable snapshot that concern its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its series.
    pub key: &'a SeriesKey,
    /// The number of its tables with data.
    pub tables: u64,
    /// The number of tables that were skipped.
    pub skipped: u64,
    /// The tables of which it has only the definition because their data could not be taken, except for those for which
    /// that was accepted.
    pub left: &'a [TableName],
}

/// Decides which snapshots are incomplete, among all readable ones in the order in which they were made.
///
/// A snapshot is incomplete if a table was skipped; if it left out the data of a table that the newest complete one of
/// its series has; or if it has no table at all while that one has some. A table that was removed from the server makes
/// none incomplete, nor does one whose data could never be taken. `took` returns whether the snapshot at an index has
/// the data of a table; it is called rarely.
#[must_use]
pub fn incomplete(members: &[Member<'_>], mut took: impl FnMut(usize, &TableName) -> bool) -> Vec<bool> {
    let mut newest: BTreeMap<&SeriesKey, usize> = BTreeMap::new();
    let mut lacks = Vec::with_capacity(members.len());
    for (place, member) in members.iter().enumerate() {
        let before = newest.get(member.key).and_then(|place| Some((*place, members.get(*place)?)));
        let lacks_some = member.skipped > 0
            || before.is_some_and(|(place, before)| {
                (member.tables == 0 && before.tables > 0)
                    || member.left.iter().any(|table| !before.left.contains(table) && took(place, table))
            });
        if !lacks_some {
            newest.insert(member.key, place);
        }
        lacks.push(lacks_some);
    }
    lacks
}

/// A series as a candidate for the main one.
struct MainSeriesCandidate<'a> {
    key: &'a SeriesKey,
    /// Tables of its newest complete snapshot.
    tables: u64,
    /// The index of that snapshot in the list.
    place: usize,
}

/// The main series: that of the configured selection, or, if none is configured, the one without a selection. While it
/// has no complete snapshot, the previous one remains: if a selection is configured, the series of the snapshot that
/// the `latest` link names; else the one without a selection, else the one whose newest complete snapshot has the most
/// tables.
#[must_use]
pub fn main_series(
    members: &[Member<'_>],
    incomplete: &[bool],
    configured: Option<&SeriesKey>,
    latest: Option<usize>,
) -> SeriesKey {
    let mut existing: BTreeMap<&SeriesKey, MainSeriesCandidate<'_>> = BTreeMap::new();
    for (place, (member, lacks)) in members.iter().zip(incomplete).enumerate() {
        if !lacks {
            existing.insert(member.key, MainSeriesCandidate { key: member.key, tables: member.tables, place });
        }
    }
    let everything = SeriesKey::default();
    let linked = configured.and(latest).and_then(|place| members.get(place)).map(|member| member.key);
    let wanted = [configured, linked, Some(&everything)].into_iter().flatten();
    let found = wanted.into_iter().find(|key| existing.contains_key(key));
    let largest = || existing.values().max_by_key(|series| (series.tables, series.place)).map(|series| series.key);
    found.or_else(largest).or(configured).cloned().unwrap_or_default()
}

/// A snapshot from which parts may be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCandidate<'a> {
    /// Its series.
    pub key: &'a SeriesKey,
    /// Whether it is complete.
    pub is_complete: bool,
}

/// The snapshots from which the parts of a new one of `series` are linked, by their indices in the order in which they
/// were made: each table is linked from the first of these that has it.
///
/// The newest come first, whatever their series; those that may have only some partitions of a table come last. Of each
/// series, only its newest complete snapshot and newer ones are used, and none older than the newest complete one of
/// the new snapshot's own series or of the one without a selection.
#[must_use]
pub fn link_order(candidates: &[LinkCandidate<'_>], series: &SeriesKey) -> Vec<usize> {
    let (mut whole, mut partial) = (Vec::new(), Vec::new());
    let mut done: BTreeSet<&SeriesKey> = BTreeSet::new();
    for (place, candidate) in candidates.iter().enumerate().rev() {
        if done.contains(candidate.key) {
            continue;
        }
        if candidate.key.has_whole_tables_of(series) { &mut whole } else { &mut partial }.push(place);
        if candidate.is_complete {
            done.insert(candidate.key);
            if candidate.key == series || candidate.key.is_everything() {
                break;
            }
        }
    }
    whole.append(&mut partial);
    whole
}

#[cfg(test)]
mod tests {
    use super::{LinkCandidate, Member, SeriesKey, incomplete, link_order, main_series};
    use crate::model::TableName;

    fn key(include: &[&str], exclude: &[&str], partitions: &[&str]) -> SeriesKey {
        SeriesKey::new(include.iter().copied(), exclude.iter().copied(), partitions.iter().copied())
    }

    fn member(key: &SeriesKey, tables: u64) -> Member<'_> {
        Member { key, tables, skipped: 0, left: &[] }
    }

    #[test]
    fn equal_selections_are_one_series_with_one_name() {
        assert_eq!(key(&["b.t", "a.t", "a.t"], &[], &[]), key(&["a.t", "b.t"], &[], &[]));
        assert_eq!(key(&["*.*", "a.t"], &[], &[]), SeriesKey::default());
        assert_eq!(key(&["*.*", "system.*_log"], &[], &[]).to_string(), "only *.*, system.*_log");
        let names = [
            (key(&[], &[], &[]), "all"),
            (key(&["shop.customers"], &[], &[]), "only shop.customers"),
            (key(&["a.b", "a.b, c.d"], &[], &[]), "only a.b, \"a.b, c.d\""),
            (key(&["a.*"], &["*.tmp", "a.log"], &["2", "1"]), "only a.* without *.tmp, a.log partition 1, 2"),
        ];
        for (key, name) in names {
            assert_eq!(key.to_string(), name);
        }
    }

    #[test]
    fn a_skipped_or_formerly_taken_table_makes_a_snapshot_incomplete() {
        let (all, other) = (SeriesKey::default(), key(&["a.*"], &[], &[]));
        let (log, kafka) = (TableName::new("a", "log"), TableName::new("a", "kafka"));
        let left = [log.clone(), kafka.clone()];
        let members = [
            Member { left: &left[1..], ..member(&all, 2) },
            Member { left: &left, ..member(&all, 1) },
            Member { left: &left, ..member(&other, 1) },
            Member { skipped: 1, left: &left[1..], ..member(&all, 1) },
            member(&all, 0),
            Member { left: &left[1..], ..member(&all, 1) },
        ];
        let lacks = incomplete(&members, |place, table| place == 0 && *table == log);
        assert_eq!(lacks, [false, true, false, true, true, false], "a dropped table makes none incomplete");
        assert_eq!(incomplete(&[member(&all, 0), member(&all, 0)], |_, _| false), [false, false]);
    }

    #[test]
    fn parts_are_linked_from_the_newest_that_has_the_table() {
        let (all, table) = (SeriesKey::default(), key(&["a.t"], &[], &[]));
        let month = key(&["a.t"], &[], &["202611"]);
        let order = |candidates: &[(&SeriesKey, bool)], series: &SeriesKey| {
            let candidates: Vec<LinkCandidate<'_>> = (candidates.iter())
                .map(|(key, is_complete)| LinkCandidate { key, is_complete: *is_complete })
                .collect();
            link_order(&candidates, series)
        };
        assert_eq!(order(&[(&all, true), (&all, true)], &all), [1]);
        assert_eq!(order(&[(&all, true), (&all, true), (&table, true), (&table, true)], &all), [3, 1]);
        assert_eq!(order(&[(&all, true), (&all, false), (&month, true)], &all), [1, 0, 2], "some partitions come last");
        assert_eq!(order(&[(&month, true), (&all, true)], &month), [1]);
        assert_eq!(order(&[(&table, true), (&month, true)], &month), [1]);
        assert_eq!(order(&[(&table, false), (&table, false)], &all), [1, 0]);
        assert_eq!(order(&[], &all), Vec::<usize>::new());
    }

    #[test]
    fn the_main_series_is_the_configured_one_once_it_has_a_complete_snapshot() {
        let (all, old) = (SeriesKey::default(), key(&[], &["a.tmp"], &[]));
        let (new, small) = (key(&[], &["a.tmp", "a.log"], &[]), key(&["a.t"], &[], &[]));
        let members = [member(&all, 9), member(&old, 8), member(&small, 1), member(&new, 7)];
        let main = |lacks: [bool; 4], configured, latest| main_series(&members, &lacks, configured, latest);
        assert_eq!(main([false; 4], Some(&new), Some(1)), new);
        assert_eq!(main([false, false, false, true], Some(&new), Some(1)), old, "the one that `latest` was pointed at");
        assert_eq!(main([false; 4], None, Some(2)), all);
        assert_eq!(main([true, false, false, true], None, Some(2)), old, "the one with the most tables");
        assert_eq!(main([true; 4], Some(&new), None), new);
    }
}
