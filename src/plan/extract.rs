//! Decides what a snapshot records as its selection if it has only some tables and partitions of another one.

use crate::model::{PartitionId, TableName};

use super::pattern::TablePattern;
use super::series::SeriesKey;

/// The selection of a snapshot, as manifests record it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedSelection {
    /// Patterns of the tables taken; empty for all.
    pub include: Vec<String>,
    /// Patterns of the tables left out.
    pub exclude: Vec<String>,
    /// Partitions taken; empty for all.
    pub partitions: Vec<String>,
}

impl RecordedSelection {
    /// Its series.
    #[must_use]
    pub fn key(&self) -> SeriesKey {
        SeriesKey::new(self.include.clone(), self.exclude.clone(), self.partitions.clone())
    }
}

/// The tables that were named to select them from a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum NamedTables<'a> {
    /// None: all tables are selected.
    All,
    /// By these patterns, and by nothing else.
    Patterns(&'a [TablePattern]),
    /// In another way.
    Others,
}

/// The selection that an extract records: the one of the snapshot `of`, narrowed to the named tables and partitions.
/// `None` if that is the snapshot's own selection, because the extract is then the whole snapshot.
///
/// Patterns are recorded as they were given, so that the extracts of two nights are of one series. They are not if the
/// snapshot itself has only selected tables, of which a pattern would claim more: then each of the `selected` tables is
/// recorded by its name.
#[must_use]
pub fn extract_selection(
    of: &RecordedSelection,
    named: NamedTables<'_>,
    selected: &[TableName],
    all: usize,
    partitions: &[PartitionId],
) -> Option<RecordedSelection> {
    let is_everything = of.include.is_empty();
    let include = match named {
        NamedTables::All => of.include.clone(),
        NamedTables::Patterns(patterns) if is_everything => {
            patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
        }
        _ if !is_everything && selected.len() == all => of.include.clone(),
        _ => selected.iter().map(|name| TablePattern::exactly(name).as_str().to_owned()).collect(),
    };
    let partitions = if partitions.is_empty() {
        of.partitions.clone()
    } else {
        partitions.iter().map(|partition| partition.0.to_string()).collect()
    };
    let selection = RecordedSelection { include, exclude: of.exclude.clone(), partitions };
    (selection.key() != of.key()).then_some(selection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn of(include: &[&str], partitions: &[&str]) -> RecordedSelection {
        RecordedSelection { include: texts(include), exclude: Vec::new(), partitions: texts(partitions) }
    }

    fn extract(
        of: &RecordedSelection,
        patterns: &[&str],
        selected: &[&str],
        partitions: &[&str],
    ) -> Option<RecordedSelection> {
        let patterns: Vec<TablePattern> = patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
        let named = if patterns.is_empty() { NamedTables::All } else { NamedTables::Patterns(&patterns) };
        let selected: Vec<TableName> = selected.iter().map(|table| TableName::new("shop", *table)).collect();
        let partitions: Vec<PartitionId> = partitions.iter().map(|id| PartitionId((*id).into())).collect();
        extract_selection(of, named, &selected, 2, &partitions)
    }

    #[test]
    fn a_selection_of_everything_is_recorded_as_it_was_given_and_one_of_all_tables_is_the_snapshot() {
        let whole = of(&[], &[]);
        let orders = extract(&whole, &["shop.orders"], &["orders"], &[]).expect("a selection");
        assert_eq!(orders, of(&["shop.orders"], &[]));
        assert_eq!(extract(&whole, &["*.*"], &["orders", "log"], &[]), None);
        // A pattern that happens to match every table is still a selection: tomorrow it may not.
        assert!(extract(&whole, &["shop.*"], &["orders", "log"], &[]).is_some());
        assert_eq!(extract(&whole, &[], &["orders", "log"], &["202611"]), Some(of(&[], &["202611"])));
        assert_eq!(extract(&of(&[], &["202611"]), &[], &["orders"], &["202611", "202611"]), None);
    }

    #[test]
    fn a_selection_of_a_selection_never_claims_more_than_that_one_had() {
        let some = of(&["shop.o*", "shop.log"], &["202611"]);
        assert_eq!(extract(&some, &["*.*"], &["orders", "log"], &[]), None);
        let one = extract(&some, &["*.orders"], &["orders"], &[]).expect("a selection");
        assert_eq!(one, of(&["`shop`.`orders`"], &["202611"]));
        assert_ne!(one.key(), SeriesKey::default());
    }
}
