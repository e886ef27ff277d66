//! Whether what was frozen of a table is a state that the table had.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Part, PartName, Table};

use super::create::Scope;

/// What is to be done with a table after a freeze of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken whole.
    Taken,
    /// Its parts were taken whole, but its mutations changed meanwhile.
    MutationsMoved(String),
    /// It changed in a way that the freeze does not cover: freeze it again.
    Again(String),
    /// It is not there any more under this name and UUID.
    Gone,
}

/// Judges a freeze between two looks at the table.
///
/// A freeze takes the list of active parts at one moment between the two looks. A part that was active at both was
/// active then, so it must have been frozen; the definition that was the same at both was in force then.
#[must_use]
pub fn assess(before: &Table, after: Option<&Table>, scope: &Scope, frozen: &BTreeSet<PartName>) -> Verdict {
    let Some(after) = after else {
        return Verdict::Gone;
    };
    if before.definition != after.definition || before.engine != after.engine {
        return Verdict::Again("its definition changed while it was frozen".to_owned());
    }
    let is_missed =
        |part: &&Part| scope.covers(&part.partition) && !part.name.is_patch() && !frozen.contains(&part.name);
    let mut missed = before.parts.iter().filter(is_missed).peekable();
    // Mostly there is none, and nothing to look for.
    if missed.peek().is_some() {
        let still_there: BTreeSet<&PartName> = after.parts.iter().map(|part| &part.name).collect();
        if let Some(part) = missed.find(|part| still_there.contains(&part.name)) {
            return Verdict::Again(format!("its part {} is active, but the server did not freeze it", part.name));
        }
    }
    let has_parts =
        |table: &Table| table.parts.iter().any(|part| scope.covers(&part.partition) && !part.name.is_patch());
    if frozen.is_empty() && has_parts(after) {
        return Verdict::Again("it has parts, but the server froze none".to_owned());
    }
    let done_after: BTreeMap<&str, bool> = after.mutations.iter().map(|m| (m.id.as_str(), m.is_done)).collect();
    let before_ids: BTreeSet<&str> = before.mutations.iter().map(|m| m.id.as_str()).collect();
    let added = after.mutations.iter().find(|mutation| !before_ids.contains(mutation.id.as_str()));
    let vanished = before.mutations.iter().find(|m| !m.is_done && !done_after.contains_key(m.id.as_str()));
    match (added, vanished) {
        (Some(mutation), _) => Verdict::MutationsMoved(format!("mutation {} began while it was frozen", mutation.id)),
        (_, Some(mutation)) => Verdict::MutationsMoved(format!("mutation {} ended while it was frozen", mutation.id)),
        _ => Verdict::Taken,
    }
}

/// The files of the mutations that a snapshot carries, so that a restored table finishes them.
///
/// Those are the mutations that were unfinished before the freeze and still listed after it, and those of which a
/// frozen part shows that they were under way. One that only began after the parts were listed is left out: the
/// snapshot is the state before it. An unfinished mutation whose id is no file's name (replicated tables keep
/// theirs in Keeper) is in the second list.
#[must_use]
pub fn carried_mutations(before: &Table, after: &Table, frozen: &BTreeSet<PartName>) -> (Vec<String>, Vec<String>) {
    let newest_seen = frozen.iter().map(PartName::mutation_version).max().unwrap_or(0);
    let unfinished_before: BTreeSet<&str> =
        before.mutations.iter().filter(|m| !m.is_done).map(|m| m.id.as_str()).collect();
    let known_before: BTreeSet<&str> = before.mutations.iter().map(|m| m.id.as_str()).collect();
    after
        .mutations
        .iter()
        .filter(|mutation| {
            let under_way = mutation.version().is_some_and(|version| version <= newest_seen);
            unfinished_before.contains(mutation.id.as_str())
                || (!known_before.contains(mutation.id.as_str()) && under_way)
        })
        .map(|mutation| (mutation.version().is_some(), mutation.id.clone()))
        .fold((Vec::new(), Vec::new()), |(mut files, mut others), (is_file, id)| {
            if is_file {
                files.push(id);
            } else {
                others.push(id);
            }
            (files, others)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{Verdict, assess, carried_mutations};
    use crate::model::{Mutation, Part, PartName, PartitionId, Table, TableKey, TableName};
    use crate::plan::Scope;

    fn name(text: &str) -> PartName {
        PartName::try_from(text.to_owned()).expect("a valid part name")
    }

    fn names(list: &[&str]) -> BTreeSet<PartName> {
        list.iter().map(|text| name(text)).collect()
    }

    fn table(parts: &[&str], mutations: &[(&str, bool)]) -> Table {
        Table {
            key: TableKey { name: TableName::new("d", "t"), uuid: None },
            engine: "MergeTree".into(),
            definition: "CREATE TABLE d.t (a UInt8)".into(),
            data_paths: Vec::new(),
            metadata_path: "x".into(),
            storage_policy: String::new(),
            has_own_data: None,
            parts: parts
                .iter()
                .map(|text| Part {
                    name: name(text),
                    partition: PartitionId("all".into()),
                    parent: Path::new("x").into(),
                    disk: "default".into(),
                    rows: 1,
                    bytes: 1,
                    files: 1,
                    fingerprint: None,
                })
                .collect::<Vec<_>>()
                .into(),
            mutations: mutations.iter().map(|(id, is_done)| Mutation { id: (*id).into(), is_done: *is_done }).collect(),
        }
    }

    #[test]
    fn a_merge_between_the_looks_is_no_reason_to_freeze_again() {
        let before = table(&["all_1_1_0", "all_2_2_0"], &[]);
        let after = table(&["all_1_2_1"], &[]);
        let verdict = assess(&before, Some(&after), &Scope::Whole, &names(&["all_1_1_0", "all_2_2_0"]));
        assert_eq!(verdict, Verdict::Taken);
    }

    #[test]
    fn a_part_that_was_there_all_along_must_have_been_frozen() {
        let both = table(&["all_1_1_0"], &[]);
        let verdict = assess(&both, Some(&both), &Scope::Whole, &names(&[]));
        assert!(matches!(verdict, Verdict::Again(reason) if reason.contains("all_1_1_0")));
        assert_eq!(assess(&both, Some(&both), &Scope::Nothing, &names(&[])), Verdict::Taken);
    }

    #[test]
    fn a_table_with_parts_of_which_none_was_frozen_is_frozen_again() {
        let (before, after) = (table(&["all_1_1_0"], &[]), table(&["all_1_2_1"], &[]));
        assert!(matches!(assess(&before, Some(&after), &Scope::Whole, &names(&[])), Verdict::Again(_)));
    }

    #[test]
    fn patch_parts_are_not_expected_in_the_shadow() {
        let both = table(&["patch-0123-all_1_1_0"], &[]);
        assert_eq!(assess(&both, Some(&both), &Scope::Whole, &names(&[])), Verdict::Taken);
    }

    #[test]
    fn another_definition_or_no_table_is_told_apart() {
        let before = table(&[], &[]);
        let mut after = before.clone();
        after.definition.push('x');
        assert!(matches!(assess(&before, Some(&after), &Scope::Whole, &names(&[])), Verdict::Again(_)));
        assert_eq!(assess(&before, None, &Scope::Whole, &names(&[])), Verdict::Gone);
    }

    #[test]
    fn a_mutation_that_ends_is_no_change_and_one_that_begins_or_is_killed_is() {
        let before = table(&[], &[("mutation_2.txt", false)]);
        let done = table(&[], &[("mutation_2.txt", true)]);
        assert_eq!(assess(&before, Some(&done), &Scope::Whole, &names(&[])), Verdict::Taken);
        let killed = table(&[], &[]);
        assert!(matches!(assess(&before, Some(&killed), &Scope::Whole, &names(&[])), Verdict::MutationsMoved(_)));
        assert!(matches!(assess(&killed, Some(&before), &Scope::Whole, &names(&[])), Verdict::MutationsMoved(_)));
    }

    #[test]
    fn only_mutations_that_precede_the_frozen_parts_are_carried() {
        let before = table(&[], &[("mutation_2.txt", false), ("mutation_1.txt", true), ("0000000001", false)]);
        let after = table(
            &[],
            &[
                ("mutation_1.txt", true),
                ("mutation_2.txt", true),
                ("mutation_3.txt", false),
                ("mutation_9.txt", false),
                ("0000000001", false),
            ],
        );
        let (files, others) = carried_mutations(&before, &after, &names(&["all_1_1_0_3"]));
        assert_eq!(files, ["mutation_2.txt", "mutation_3.txt"]);
        assert_eq!(others, ["0000000001"]);
    }
}
