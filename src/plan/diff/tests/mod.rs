use std::collections::BTreeSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{ComparableContent, Diff, DiffSide, PartChangeKind, SideContent, SidePart, SideTable, TableChange, diff};
use crate::model::{Fingerprint, PartName, PartitionId, TableName, TableUuid};

/// A part of this name, whose content is identified by a number.
fn part(name: &str, content: u8) -> SidePart {
    SidePart {
        name: PartName::try_from(name.to_owned()).expect("a part's name"),
        partition: PartitionId(name.split('_').next().unwrap_or_default().into()),
        rows: Some(10),
        bytes: 100,
        content: ComparableContent {
            fingerprint: Some(Fingerprint::from_bytes([content; 16])),
            uncovered: Some(BTreeSet::new()),
            is_the_same_files: false,
        },
    }
}

fn parts(names: &[&str]) -> Vec<SidePart> {
    names.iter().map(|name| part(name, 1)).collect()
}

fn uuid(digit: char) -> Option<TableUuid> {
    TableUuid::from_server(&"00000000-0000-0000-0000-00000000000x".replace('x', &digit.to_string())).expect("a UUID")
}

fn table(parts: Vec<SidePart>) -> SideTable {
    SideTable {
        uuid: None,
        definition: Some(("CREATE TABLE t (a UInt8)\n".to_owned(), true)),
        held: SideContent::Parts(parts),
    }
}

fn side(name: &str, tables: Vec<(&str, SideTable)>) -> DiffSide {
    let tables = tables.into_iter().map(|(name, table)| (TableName::new("d", name), table)).collect();
    DiffSide { name: name.to_owned(), tables }
}

/// The change of each part of one table, as `change part`.
fn changes(before: Vec<SidePart>, after: Vec<SidePart>) -> Vec<String> {
    let found = diff(&side("a", vec![("t", table(before))]), &side("b", vec![("t", table(after))]));
    told(&found)
}

fn told(found: &Diff) -> Vec<String> {
    let parts = found.tables.iter().flat_map(|table| table.partitions.iter().flat_map(|partition| &partition.parts));
    parts
        .map(|part| {
            let mut text = format!("{:?} {}", part.change, part.part);
            text.extend(part.into.iter().flat_map(|name| [" into ", name.as_str()]));
            text.extend(part.from.iter().flat_map(|name| [" from ", name.as_str()]));
            text
        })
        .collect()
}

fn only(found: &Diff) -> &super::TableDiff {
    let [table] = found.tables.as_slice() else { panic!("{} tables", found.tables.len()) };
    table
}

#[test]
fn parts_are_added_merged_mutated_and_dropped() {
    assert_eq!(changes(parts(&["a_1_1_0"]), parts(&["a_1_1_0", "a_2_2_0"])), ["Added a_2_2_0"]);
    assert_eq!(changes(parts(&["a_1_1_0", "b_1_1_0"]), parts(&["a_1_1_0"])), ["Dropped b_1_1_0"]);
    assert_eq!(
        changes(parts(&["a_1_1_0", "a_2_2_0", "a_3_3_0"]), parts(&["a_1_2_1", "a_3_3_0"])),
        ["Merged a_1_1_0 into a_1_2_1", "Added a_1_2_1 from a_1_1_0 from a_2_2_0", "Merged a_2_2_0 into a_1_2_1"]
    );
    // A mutation gives a part another version; a merge after it, another level.
    assert_eq!(changes(parts(&["a_1_3_1"]), parts(&["a_1_3_1_4"])), ["Mutated a_1_3_1_4 from a_1_3_1"]);
    assert_eq!(
        changes(parts(&["a_1_3_1_4"]), parts(&["a_1_3_2_4"])),
        ["Merged a_1_3_1_4 into a_1_3_2_4", "Added a_1_3_2_4 from a_1_3_1_4"]
    );
    // Blocks of another partition are different blocks.
    assert_eq!(changes(parts(&["a_1_1_0"]), parts(&["b_1_9_2"])), ["Dropped a_1_1_0", "Added b_1_9_2"]);
    assert_eq!(
        changes(vec![part("a_9_9_0", 2)], parts(&["a_1_4_1", "a_5_8_1"])),
        ["Added a_1_4_1", "Added a_5_8_1", "Dropped a_9_9_0"]
    );
}

#[test]
fn a_part_that_was_moved_in_is_the_part_that_it_was() {
    // REPLACE PARTITION gives parts new block numbers.
    let found = diff(
        &side("a", vec![("t", table(vec![part("a_1_1_0", 1), part("a_2_2_0", 2)]))]),
        &side("b", vec![("t", table(vec![part("a_7_7_0", 2), part("a_6_6_0", 1), part("a_8_8_0", 1)]))]),
    );
    assert_eq!(told(&found), ["Added a_8_8_0"]);
    assert_eq!((found.tallies.unchanged.parts, found.tallies.added.parts, found.tallies.dropped.parts), (2, 1, 0));
    // A part without known content is none of them.
    let mut unknown = part("a_7_7_0", 1);
    unknown.content = ComparableContent::default();
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![unknown]), ["Dropped a_1_1_0", "Added a_7_7_0"]);
}

#[test]
fn a_part_without_rows_that_only_one_side_has_is_no_difference() {
    let empty = |name: &str| SidePart { rows: Some(0), ..part(name, 3) };
    let sides = |before: Vec<SidePart>, after: Vec<SidePart>| {
        diff(&side("a", vec![("t", table(before))]), &side("b", vec![("t", table(after))]))
    };
    for (before, after) in [
        (vec![part("a_1_1_0", 1), empty("b_1_1_0_2")], vec![part("a_1_1_0", 1)]),
        (vec![part("a_1_1_0", 1)], vec![part("a_1_1_0", 1), empty("b_1_1_0_2"), empty("a_2_2_1")]),
    ] {
        let found = sides(before, after);
        assert!(found.is_empty() && told(&found).is_empty(), "{found:?}");
    }
    // An empty part that replaced rows is a change.
    assert_eq!(told(&sides(vec![part("a_1_1_0", 1)], vec![empty("a_1_1_0_2")])), ["Mutated a_1_1_0_2 from a_1_1_0"]);
}

#[test]
fn a_replaced_table_that_was_kept_is_a_table_of_its_own() {
    let with = |uuid, content: u8| SideTable { uuid, ..table(vec![part("a_1_1_0", content)]) };
    let before = side("a", vec![("t", with(uuid('1'), 1))]);
    let after = side("b", vec![("t", with(uuid('2'), 1)), ("t_replaced_20261129120000", with(uuid('1'), 2))]);
    let states = |found: &Diff| found.tables.iter().map(|table| table.state).collect::<Vec<_>>();
    assert_eq!(states(&diff(&before, &after)), [TableChange::Unchanged, TableChange::Added]);
    let renamed = side("b", vec![("t_replaced_20261129120000", with(uuid('1'), 1))]);
    assert_eq!(states(&diff(&before, &renamed)), [TableChange::Renamed], "where no other has its name");
}

#[test]
fn a_part_of_the_same_name_is_the_same_if_it_holds_the_same() {
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![part("a_1_1_0", 1)]), Vec::<String>::new());
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![part("a_1_1_0", 2)]), ["Mutated a_1_1_0 from a_1_1_0"]);
    let mut other_columns = part("a_1_1_0", 1);
    other_columns.content.uncovered =
        Some(BTreeSet::from([("columns.txt".into(), 70, Some(blake3::hash(b"x").into()))]));
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![other_columns.clone()]), ["Mutated a_1_1_0 from a_1_1_0"]);
    // Uncovered files that were not read are ignored; an unknown fingerprint makes the result unknown.
    other_columns.content.uncovered = None;
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![other_columns.clone()]), Vec::<String>::new());
    other_columns.content.fingerprint = None;
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![other_columns.clone()]), ["Unknown a_1_1_0"]);
    other_columns.content.is_the_same_files = true;
    assert_eq!(changes(vec![part("a_1_1_0", 1)], vec![other_columns]), Vec::<String>::new());
}

#[test]
fn rows_and_bytes_are_shown_if_they_are_known() {
    let mut unknown = part("a_2_2_0", 1);
    unknown.rows = None;
    let mut same = part("a_1_1_0", 1);
    // The server reports another size; the part is the same.
    same.bytes = 90;
    let after = vec![same, unknown, part("patch-0a-a_3_3_0", 1)];
    let found = diff(&side("a", vec![("t", table(parts(&["a_1_1_0"])))]), &side("b", vec![("t", table(after))]));
    let tallies = found.tallies;
    assert_eq!((tallies.before.rows, tallies.before.bytes, tallies.before.parts), (10, 100, 1));
    assert_eq!((tallies.after.rows, tallies.after.bytes, tallies.after.parts), (10, 300, 3));
    assert_eq!((tallies.after.rows_unknown_parts, tallies.added.parts), (1, 2));
}

#[test]
fn tables_are_found_again_by_uuid_and_by_name() {
    let with = |uuid, names: &[&str]| SideTable { uuid, ..table(parts(names)) };
    let state = |before: Vec<(&str, SideTable)>, after: Vec<(&str, SideTable)>| {
        let found = diff(&side("a", before), &side("b", after));
        found.tables.iter().map(|table| (table.name.table.clone(), table.state)).collect::<Vec<_>>()
    };
    let told = |name: &str, state| (name.to_owned(), state);
    let names = ["a_1_1_0"];
    assert_eq!(state(vec![], vec![("t", with(None, &names))]), [told("t", TableChange::Added)]);
    assert_eq!(state(vec![("t", with(None, &names))], vec![]), [told("t", TableChange::Dropped)]);
    assert_eq!(
        state(vec![("t", with(None, &names))], vec![("t", with(None, &names))]),
        [told("t", TableChange::Unchanged)]
    );
    assert_eq!(
        state(vec![("t", with(uuid('1'), &names))], vec![("u", with(uuid('1'), &names))]),
        [told("u", TableChange::Renamed)]
    );
    assert_eq!(
        state(vec![("t", with(uuid('1'), &names))], vec![("t", with(uuid('2'), &["a_1_1_0", "a_2_2_0"]))]),
        [told("t", TableChange::Changed)]
    );
    // Two tables whose names were exchanged.
    assert_eq!(
        state(
            vec![("t", with(uuid('1'), &names)), ("u", with(uuid('2'), &[]))],
            vec![("t", with(uuid('2'), &[])), ("u", with(uuid('1'), &names))]
        ),
        [told("t", TableChange::Renamed), told("u", TableChange::Renamed)]
    );
    // One was renamed, and another one took its name.
    assert_eq!(
        state(vec![("t", with(uuid('1'), &names))], vec![("t", with(uuid('3'), &[])), ("u", with(uuid('1'), &names))]),
        [told("t", TableChange::Added), told("u", TableChange::Renamed)]
    );
}

/// A side with the table `t` of this UUID, which has one part.
fn made(uuid: Option<TableUuid>, part: SidePart, definition: &str) -> DiffSide {
    let definition = Some((definition.to_owned(), true));
    side("x", vec![("t", SideTable { uuid, definition, held: SideContent::Parts(vec![part]) })])
}

#[test]
fn a_table_made_again_has_other_parts_of_the_same_names() {
    let definition = "ATTACH TABLE t (a UInt8) ENGINE = Log";
    let before = made(uuid('1'), part("a_1_1_0", 1), definition);
    let found = diff(&before, &made(uuid('2'), part("a_1_1_0", 2), definition));
    assert_eq!(told(&found), ["Dropped a_1_1_0", "Added a_1_1_0"]);
    assert_eq!(only(&found).state, TableChange::Recreated);
    // Parts without known content are not the same.
    let mut unknown = part("a_1_1_0", 1);
    unknown.content = ComparableContent::default();
    assert_eq!(only(&diff(&before, &made(uuid('2'), unknown, definition))).state, TableChange::Recreated);
    let other = "ATTACH TABLE t (a UInt16) ENGINE = Log";
    let found = diff(&before, &made(uuid('2'), part("a_1_1_0", 1), other));
    assert_eq!((only(&found).state, only(&found).definition.is_some()), (TableChange::Recreated, true));
}

#[test]
fn a_table_restored_under_a_new_uuid_is_unchanged() {
    let [one, other] = ['1', '2'].map(|digit| {
        let uuid = uuid(digit);
        let text = uuid.as_ref().map(ToString::to_string).unwrap_or_default();
        made(uuid, part("a_1_1_0", 1), &format!("ATTACH TABLE _ UUID '{text}' (a UInt8) ENGINE = Log"))
    });
    let found = diff(&one, &other);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!((found.tallies.unchanged.parts, found.tallies.added.parts), (1, 0));
}

#[test]
fn the_inner_table_of_a_view_made_again_is_found_by_the_view() {
    let made = |view: char, inner: char, content: u8| {
        let [view, inner] = [view, inner].map(uuid);
        let name = format!(".inner_id.{}", view.as_ref().expect("a UUID"));
        let parts = SideTable { uuid: inner, ..table(vec![part("a_1_1_0", content)]) };
        side(
            "x",
            vec![("v", SideTable { uuid: view, held: SideContent::Nothing, ..table(Vec::new()) }), (&name, parts)],
        )
    };
    let found = diff(&made('1', '2', 1), &made('3', '4', 1));
    assert!(found.is_empty() && found.tables.len() == 2, "{found:?}");
    let found = diff(&made('1', '2', 1), &made('3', '4', 2));
    let states: Vec<TableChange> = found.tables.iter().map(|table| table.state).collect();
    assert_eq!(states, [TableChange::Recreated, TableChange::Unchanged]);
}

#[test]
fn a_detached_table_is_neither_dropped_nor_compared() {
    let detached = |definition: Option<&str>| {
        let definition = definition.map(|text| (text.to_owned(), true));
        side("b", vec![("t", SideTable { uuid: uuid('1'), definition, held: SideContent::Detached })])
    };
    let definition = "CREATE TABLE t (a UInt8)\n";
    let before = made(uuid('1'), part("a_1_1_0", 1), definition);
    for after in [detached(None), detached(Some(definition))] {
        let found = diff(&before, &after);
        assert_eq!((only(&found).state, only(&found).notes.len(), found.is_empty()), (TableChange::Detached, 1, false));
        assert_eq!((only(&found).definition.clone(), found.tallies.dropped.parts), (None, 0));
    }
    // Detached under another name, or another table under its name.
    let renamed =
        side("b", vec![("u", SideTable { uuid: uuid('1'), held: SideContent::Detached, ..SideTable::default() })]);
    let found = diff(&before, &renamed);
    assert_eq!((only(&found).state, only(&found).renamed_from.is_some()), (TableChange::Detached, true));
    let found = diff(&made(uuid('2'), part("a_1_1_0", 1), definition), &detached(None));
    assert_eq!(only(&found).state, TableChange::Detached);
    assert!(only(&found).notes.iter().any(|note| note.contains("another UUID")), "{found:?}");
}

#[test]
fn definitions_are_compared_line_by_line() {
    let defined = |text: &str, is_file| {
        side("x", vec![("t", SideTable { definition: Some((text.to_owned(), is_file)), ..table(Vec::new()) })])
    };
    let found =
        diff(&defined("CREATE TABLE t\n(\n    a UInt8\n)", true), &defined("CREATE TABLE t\n(\n    a UInt16\n)", true));
    let definition = only(&found).definition.clone().expect("it changed");
    assert!(
        definition.contains("-    a UInt8\n+    a UInt16\n") && definition.contains("--- x\n+++ x"),
        "{definition}"
    );
    assert_eq!(only(&found).state, TableChange::Changed);
    // The server's printed definition is compared with its file, unless one of them cannot be parsed.
    let found = diff(&defined("CREATE TABLE t (a UInt8)", true), &defined("CREATE TABLE d.t (a UInt8)", false));
    assert!(found.is_empty(), "{found:?}");
    let found = diff(&defined("CREATE TABLE t (a UInt8)", true), &defined("CREATE TABLE d.t (a UInt16)", false));
    assert_eq!((only(&found).state, only(&found).definition.is_some()), (TableChange::Changed, true));
    let found = diff(&defined("CREATE TABLE t (a UInt8)", true), &defined("CREATE TABLE d.t (a", false));
    assert_eq!((only(&found).definition.clone(), only(&found).notes.len(), found.is_empty()), (None, 1, false));
    assert_eq!(only(&found).state, TableChange::Unchanged);
    // The text is not shown if it cannot be parsed, because its secrets cannot be recognized.
    let found = diff(&defined("CREATE TABLE t (a", true), &defined("CREATE TABLE t (b", true));
    assert_eq!((only(&found).definition.clone(), only(&found).notes.len()), (None, 1));
    assert_eq!(only(&found).state, TableChange::Changed);
}

#[test]
fn parts_that_a_side_does_not_have_are_not_dropped() {
    let left = SideTable { held: SideContent::Left("its disk is remote".to_owned()), ..table(Vec::new()) };
    let found = diff(&side("a", vec![("t", table(parts(&["a_1_1_0"])))]), &side("b", vec![("t", left)]));
    assert_eq!((only(&found).partitions.len(), found.is_empty()), (0, false));
    assert!(only(&found).notes.iter().any(|note| note.contains("its disk is remote")), "{found:?}");
}

fn some_parts() -> impl Strategy<Value = Vec<SidePart>> {
    // Adjacent runs of blocks, so that no block occurs twice, as on a server.
    let runs = vec((0_u32..3, 1_u64..4, 0_u64..3, 0_u64..3, 0_u8..2, any::<bool>()), 0..12);
    runs.prop_map(|runs| {
        let mut next = [1_u64; 3];
        let mut parts = Vec::new();
        for (partition, length, level, mutation, content, is_there) in runs {
            let slot = usize::try_from(partition).expect("small");
            let Some(from) = next.get_mut(slot) else { continue };
            let version = if mutation == 0 { String::new() } else { format!("_{mutation}") };
            if is_there {
                parts.push(part(&format!("p{partition}_{from}_{}_{level}{version}", *from + length - 1), content));
            }
            *from += length;
        }
        parts
    })
}

proptest! {
    /// Each part of each side is reported exactly once, and the figures match the parts.
    #[test]
    fn every_part_has_one_fate(before in some_parts(), after in some_parts()) {
        let found = diff(&side("a", vec![("t", table(before.clone()))]), &side("b", vec![("t", table(after.clone()))]));
        let tallies = found.tallies;
        prop_assert_eq!((tallies.before.parts, tallies.after.parts), (before.len() as u64, after.len() as u64));
        let now = tallies.added.parts + tallies.mutated.parts + tallies.unchanged.parts + tallies.unknown.parts;
        let then = tallies.merged.parts + tallies.dropped.parts + tallies.mutated.parts + tallies.unchanged.parts + tallies.unknown.parts;
        prop_assert_eq!((now, then), (after.len() as u64, before.len() as u64));
        for change in only(&found).partitions.iter().flat_map(|partition| &partition.parts) {
            let old = |name: &PartName| before.iter().any(|part| part.name == *name);
            let new = |name: &PartName| after.iter().any(|part| part.name == *name);
            let covered = |name: &PartName, by: &PartName| {
                by.blocks().zip(name.blocks()).is_some_and(|(one, other)| one.cover(&other))
            };
            match change.change {
                PartChangeKind::Added => {
                    let is_covered = change.from.iter().all(|from| covered(from, &change.part));
                    prop_assert!(new(&change.part) && !old(&change.part) && is_covered);
                }
                PartChangeKind::Merged => {
                    let into = change.into.as_ref().expect("a part that holds it");
                    prop_assert!(old(&change.part) && new(into) && covered(&change.part, into));
                }
                PartChangeKind::Dropped => {
                    let partition = change.part.as_str().split('_').next().unwrap_or_default();
                    let mut there = after.iter().filter(|part| part.partition.0 == partition);
                    let is_held = there.any(|part| covered(&change.part, &part.name));
                    prop_assert!(old(&change.part) && !is_held);
                }
                PartChangeKind::Mutated => prop_assert!(new(&change.part) && change.from.len() == 1),
                PartChangeKind::Unchanged | PartChangeKind::Unknown => prop_assert!(false, "{:?}", change),
            }
        }
    }

    #[test]
    fn nothing_changed_from_a_state_to_itself(tables in btree_map("[a-c]", some_parts(), 0..3)) {
        let state = side("a", tables.iter().map(|(name, parts)| (name.as_str(), table(parts.clone()))).collect());
        let found = diff(&state, &state);
        prop_assert!(found.is_empty() && told(&found).is_empty());
        prop_assert_eq!(found.tallies.before, found.tallies.unchanged);
    }
}
