//! Laws of the pure decisions and of the small executors, for random input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use chsnap::model::{
    CatalogMutation, CatalogPart, PartName, PartitionId, SnapshotId, Table, TableKey, TableName, awaits_mutation,
    escape_for_file_name,
};
use chsnap::plan::{
    BrokenPart, Caveat, Evidence, FreezeScope, KnownSnapshot, ROUNDS, ReferenceError, RetryReason, SnapshotReference,
    TablePattern, TableSkipReason, Verdict, judge,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

/// Ids close to each other, so that they share seconds and beginnings.
fn id() -> impl Strategy<Value = SnapshotId> {
    (prop_oneof![-62_000_000_000_i64..250_000_000_000, 1_795_000_000_i64..1_795_000_100], 0_u32..12).prop_map(
        |(second, serial)| {
            let time = DateTime::from_timestamp(second, 0).expect("a time of four-digit years");
            (0..serial).fold(SnapshotId::at(time), |id, _| id.next())
        },
    )
}

fn ids() -> impl Strategy<Value = Vec<SnapshotId>> {
    vec(id(), 0..8).prop_map(|mut ids| {
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        ids
    })
}

fn part_name(text: &str) -> PartName {
    PartName::try_from(text.to_owned()).expect("a part's name")
}

/// A table of a few parts in two partitions, patch parts among them, and a few mutations.
fn table() -> impl Strategy<Value = Table> {
    let parts = btree_set(
        prop_oneof!["a_[1-4]_[1-4]_0(_[1-9])?", "b_[1-4]_[1-4]_1(_[1-9])?", "patch-0a-a_[1-3]_[1-3]_0"],
        0..6,
    );
    let mutations = btree_map(prop_oneof!["mutation_[1-9]\\.txt", "000000000[0-4]"], any::<bool>(), 0..5);
    (parts, mutations, "[xy]").prop_map(|(parts, mutations, definition)| Table {
        key: TableKey { name: TableName::new("d", "t"), uuid: None },
        engine: "MergeTree".to_owned(),
        definition,
        data_paths: Vec::new(),
        metadata_path: PathBuf::new(),
        storage_policy: String::new(),
        has_own_data: None,
        parts: parts
            .iter()
            .map(|name| CatalogPart {
                name: part_name(name),
                partition: PartitionId(name.split('_').next().unwrap_or_default().into()),
                parent: Path::new("").into(),
                disk: "default".into(),
                rows: 1,
                bytes: 1,
                files: 1,
                fingerprint: None,
            })
            .collect::<Vec<_>>()
            .into(),
        mutations: mutations
            .into_iter()
            .map(|(id, is_done)| CatalogMutation { id, is_done, in_keeper: None })
            .collect(),
    })
}

fn scope() -> impl Strategy<Value = FreezeScope> {
    prop_oneof![
        Just(FreezeScope::Whole),
        Just(FreezeScope::Nothing),
        btree_set(prop_oneof![Just("a"), Just("b")], 0..3)
            .prop_map(|ids| FreezeScope::Partitions(ids.into_iter().map(|id| PartitionId(id.into())).collect())),
    ]
}

fn names_of(table: &Table) -> BTreeSet<PartName> {
    table.parts.iter().map(|part| part.name.clone()).collect()
}

fn some_of(table: &Table, chosen: &[bool]) -> BTreeSet<PartName> {
    let chosen = chosen.iter().chain(std::iter::repeat(&false));
    names_of(table).into_iter().zip(chosen).filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// Decodes a name that the server has escaped.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    std::iter::from_fn(|| {
        let byte = bytes.next()?;
        let digits = (byte == b'%').then(|| [bytes.next(), bytes.next()].map(|digit| char::from(digit.unwrap_or(0))));
        Some(digits.map_or(byte, |digits| {
            u8::from_str_radix(&String::from_iter(digits), 16).expect("two hex digits follow a percent sign")
        }))
    })
    .collect()
}

/// A pattern that matches one table only: every character is literal.
fn literally(name: &TableName) -> String {
    let part = |text: &str| {
        text.chars()
            .map(|l| if l.is_ascii_punctuation() { format!("\\{l}") } else { l.to_string() })
            .collect::<String>()
    };
    format!("{}.{}", part(&name.database), part(&name.table))
}

fn table_name() -> impl Strategy<Value = TableName> {
    let text = || prop_oneof![".{1,6}", "[a-c.*?{},\\[\\]!\\\\/-]{1,5}", "\\PC{1,4}\n?"];
    (text(), text()).prop_map(|(database, table)| TableName::new(database, table))
}

fn known(ids: &[SnapshotId]) -> Vec<KnownSnapshot<'static>> {
    ids.iter().map(|id| KnownSnapshot { id: *id, name: None }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_id_reads_back_and_its_json_is_its_text(id in id()) {
        let text = id.to_string();
        prop_assert_eq!(text.parse::<SnapshotId>().expect("it reads back"), id);
        let json = serde_json::to_string(&id).expect("it writes");
        prop_assert_eq!(&json, &format!("\"{text}\""));
        prop_assert_eq!(serde_json::from_str::<SnapshotId>(&json).expect("it reads back"), id);
    }

    #[test]
    fn what_reads_as_an_id_prints_as_it_was_read_and_is_one_plain_name(
        text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9][0-6][0-9][0-6][0-9]Z(-[0-9]{0,10})?|\\PC{0,30}"
    ) {
        if let Ok(id) = text.parse::<SnapshotId>() {
            prop_assert_eq!(id.to_string(), text.as_str());
            prop_assert!(!text.contains(['/', '.', '\0']));
        }
    }

    #[test]
    fn ids_are_ordered_by_time_and_then_by_serial(a in id(), b in id()) {
        prop_assert!(a < a.next() && a.next().time() == a.time());
        if a.time() != b.time() {
            prop_assert_eq!(a < b, a.time() < b.time());
            prop_assert_eq!(a < b, a.to_string() < b.to_string());
        }
    }

    #[test]
    fn latest_counts_back_from_the_end(ids in ids(), back in 0_usize..10) {
        let reference: SnapshotReference = format!("latest~{back}").parse().expect("a reference");
        let expected = ids.len().checked_sub(back + 1).map(|at| ids[at]);
        prop_assert_eq!(reference.resolve(&known(&ids)).ok(), expected);
    }

    #[test]
    fn a_prefix_names_the_one_that_begins_so_and_a_complete_id_itself_alone(ids in ids(), other in id(), cut in 1_usize..24) {
        for id in ids.iter().chain([&other]) {
            let text = id.to_string();
            let text = text.get(..cut).unwrap_or(&text);
            let matching: Vec<_> = ids.iter().filter(|id| id.to_string().starts_with(text)).copied().collect();
            let exact = matching.iter().find(|id| id.to_string() == text).copied();
            let reference: SnapshotReference = text.parse().expect("a reference");
            let is_complete = text.parse::<chsnap::model::SnapshotId>().is_ok();
            match reference.resolve(&known(&ids)) {
                Ok(found) if is_complete => prop_assert_eq!(exact, Some(found)),
                Ok(found) => prop_assert_eq!(&matching, &[found]),
                Err(ReferenceError::NotFound { .. }) => {
                    prop_assert!(matching.is_empty() || (is_complete && exact.is_none()));
                }
                Err(ReferenceError::Ambiguous { count, first, second, .. }) => {
                    prop_assert!(!is_complete && count == matching.len() && count > 1);
                    prop_assert!(first != second && matching.contains(&first) && matching.contains(&second));
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    #[test]
    fn an_escaped_name_is_safe_and_tells_one_name_from_another(name in any::<String>(), other in any::<String>()) {
        let escaped = escape_for_file_name(&name);
        prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'%'));
        prop_assert_eq!(unescaped(&escaped), name.as_bytes());
        prop_assert_eq!(escape_for_file_name(&other) == escaped, name == other);
    }

    #[test]
    fn a_name_taken_literally_matches_itself_alone(name in table_name(), other in table_name()) {
        let pattern: TablePattern = literally(&name).parse().expect("a pattern");
        prop_assert!(pattern.matches(&name), "{pattern:?}");
        prop_assert_eq!(pattern.matches(&other), name == other);
        let everything: TablePattern = "*.*".parse().expect("a pattern");
        prop_assert!(everything.matches(&name));
    }

    #[test]
    fn a_pattern_is_read_or_refused_and_never_panics(text in "\\PC{0,12}|[a-c.*?{},\\[\\]!\\\\]{0,12}", name in table_name()) {
        if let Ok(pattern) = text.parse::<TablePattern>() {
            prop_assert_eq!(pattern.as_str(), text.as_str());
            let _ = pattern.matches(&name);
        }
    }

    #[test]
    fn a_freeze_of_everything_in_scope_between_two_equal_looks_is_taken(table in table(), scope in scope(), round in 1..=ROUNDS) {
        let frozen = table.parts.iter().filter(|part| scope.covers(&part.partition) && !part.name.is_patch());
        let frozen = frozen.map(|part| part.name.clone()).collect();
        let sound = Evidence { round, ..Evidence::sound(&table, Some(&table), &scope, &frozen) };
        prop_assert!(matches!(judge(&sound), Verdict::Taken(_)));
        prop_assert_eq!(judge(&Evidence { after: None, ..sound }), Verdict::Skipped(TableSkipReason::Gone));
    }

    #[test]
    fn a_table_is_frozen_again_exactly_where_its_definition_moved_or_parts_are_missing(
        before in table(), after in table(), scope in scope(), chosen in vec(any::<bool>(), 6)
    ) {
        let frozen = some_of(&before, &chosen);
        let missing = before.parts.iter().any(|part| {
            let expected = scope.covers(&part.partition) && !part.name.is_patch();
            expected && names_of(&after).contains(&part.name) && !frozen.contains(&part.name)
        });
        let counts = |part: &&CatalogPart| scope.covers(&part.partition) && !part.name.is_patch();
        let nothing_of_something = frozen.is_empty() && after.parts.iter().any(|part| counts(&part));
        // In the last round mutations that moved are no reason any more.
        let last = Evidence { round: ROUNDS, ..Evidence::sound(&before, Some(&after), &scope, &frozen) };
        let verdict = judge(&last);
        let torn = missing || nothing_of_something || before.definition != after.definition;
        prop_assert_eq!(matches!(verdict, Verdict::Skipped(TableSkipReason::Unstable(_))), torn);
        // More frozen is never worse.
        let all = names_of(&before);
        let more = judge(&Evidence { taken: &all, ..last });
        if !torn {
            prop_assert!(matches!(more, Verdict::Taken(_)));
        }
    }

    #[test]
    fn no_table_is_tried_for_ever_and_none_is_given_up_early(
        before in table(), after in table(), scope in scope(), chosen in vec(any::<bool>(), 6), is_broken in any::<bool>(),
        has_version in any::<bool>(), is_broken_on_server in any::<bool>(), round in 1..=ROUNDS
    ) {
        let frozen = some_of(&before, &chosen);
        let part = PartName::try_from("all_7_7_0".to_owned()).expect("a part's name");
        let broken = BrokenPart { part: part.clone(), problems: vec!["torn".into()], copied_damage: Vec::new() };
        let evidence = Evidence {
            without_version: (!has_version).then_some(&part),
            broken: if is_broken { std::slice::from_ref(&broken) } else { &[] },
            is_broken_on_server,
            round,
            ..Evidence::sound(&before, Some(&after), &scope, &frozen)
        };
        match judge(&evidence) {
            Verdict::Retry(_) => prop_assert!(round < ROUNDS),
            Verdict::FallBack(reason) => return Err(TestCaseError::fail(format!("no list was wanted: {reason}"))),
            Verdict::Skipped(reason) => {
                prop_assert_eq!(round, ROUNDS);
                prop_assert!(matches!(reason, TableSkipReason::Unstable(_)));
            }
            // Damage is taken only as the server has it, and never without a word.
            Verdict::Taken(taken) => {
                let is_said = taken.caveats.iter().any(|caveat| matches!(caveat, Caveat::DamagedOnServer(..)));
                prop_assert_eq!(is_said, is_broken);
                prop_assert!(!is_broken || is_broken_on_server && round == ROUNDS);
                prop_assert!(has_version || taken.caveats.contains(&Caveat::VersionLost(part.clone())));
            }
        }
        // The first reason is the one that is given: a whole table comes before its parts.
        if before.definition != after.definition && round < ROUNDS {
            prop_assert_eq!(judge(&evidence), Verdict::Retry(RetryReason::DefinitionChanged));
        }
    }

    #[test]
    fn carried_mutations_are_those_that_the_frozen_parts_need(
        before in table(), after in table(), scope in scope(), chosen in vec(any::<bool>(), 6)
    ) {
        let frozen = some_of(&before, &chosen);
        let newest = frozen.iter().map(PartName::mutation_version).max().unwrap_or(0);
        let sound = Evidence::sound(&before, Some(&after), &scope, &frozen);
        let Verdict::Taken(taken) = judge(&Evidence { round: ROUNDS, ..sound }) else { return Ok(()) };
        let files = taken.mutations;
        let others: Vec<String> = (taken.caveats.into_iter())
            .find_map(|caveat| if let Caveat::MutationsInKeeper(mutations) = caveat { Some(mutations) } else { None })
            .unwrap_or_default()
            .into_iter()
            .map(|mutation| mutation.id)
            .collect();
        for mutation in &after.mutations {
            let known = before.mutations.iter().find(|known| known.id == mutation.id);
            let began = known.map_or(mutation.version().is_some_and(|version| version <= newest), |known| !known.is_done);
            // One that all frozen parts have is done, whatever the server says of it.
            let is_awaited = mutation.version().is_none_or(|version| awaits_mutation(version, &frozen));
            let expected = began && is_awaited;
            let list = if mutation.version().is_some() { &files } else { &others };
            prop_assert_eq!(list.iter().filter(|id| **id == mutation.id).count(), usize::from(expected), "{}", mutation.id);
        }
        prop_assert!(files.len() + others.len() <= after.mutations.len());
    }
}
