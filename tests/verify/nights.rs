//! A full check spread over nights, and the journal's record of it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use chsnap::model::{Level, PartName, SnapshotId, TableName};
use chsnap::ops::verify::Request;
use chsnap::plan::{Slice, SliceChoice};
use chsnap::repo::{Checks, Event, VerifiedEvent};
use proptest::prelude::*;

use crate::store::{Store, found, part, request, time};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn many_parts(count: u64) -> Store {
    let store = Store::new();
    for number in 0..count {
        store.put(
            ["one", "two"][usize::from(number % 3 == 0)],
            &format!("all_{number}_{number}_0"),
            &part(number, 2, false),
        );
    }
    store
}

fn since(days: u32) -> Request {
    request(Level::Data).with_since(Some(DAY * days))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_slices_together_check_everything_exactly_once(count in 1_u32..9, parts in 1_u64..20) {
        let store = many_parts(parts);
        store.snapshot();
        let first = store.verify(&request(Level::Data)).tally;
        let mut sums = (0, 0, 0, 0);
        for index in 1..=count {
            let slice: Slice = format!("{index}/{count}").parse().expect("a slice");
            let tally = store.verify(&request(Level::Data).with_slice(Some(slice.into()))).tally;
            sums = (sums.0 + tally.parts, sums.1 + tally.files, sums.2 + tally.bytes, sums.3 + tally.read_bytes);
        }
        prop_assert_eq!(sums, (first.parts, first.files, first.bytes, first.read_bytes));
        prop_assert_eq!(first.parts, parts);
    }
}

#[test]
fn damage_is_found_by_the_slice_that_its_part_is_in() {
    let store = many_parts(12);
    let id = store.snapshot();
    let damaged = store.at(id).join("data/d/one/all_1_1_0/c1.bin");
    fs::write(&damaged, "damage").expect("written");
    let slices = (1..=5).map(|index| format!("{index}/5").parse::<Slice>().expect("a slice"));
    let hits = slices
        .filter(|slice| !found(&store.verify(&request(Level::Data).with_slice(Some((*slice).into())))).is_empty());
    assert_eq!(hits.count(), 1);
}

#[test]
fn recently_read_parts_are_spared_only_with_since() {
    let store = many_parts(6);
    store.snapshot();
    let all = store.verify_at(&since(30), time(10)).tally;
    assert_eq!((all.spared_parts, all.parts), (0, 6));
    let again = store.verify_at(&since(30), time(11));
    assert_eq!((again.tally.spared_parts, again.oldest), (6, Some(time(10))));
    // Only the lists of checksums are read.
    assert_eq!(again.tally.read_files, 6);
    assert_eq!(store.verify_at(&request(Level::Data), time(12)).tally.spared_parts, 0);
    assert_eq!(store.verify_at(&since(30), time(41)).tally.spared_parts, 6, "read on the 12th");
    assert_eq!(store.verify_at(&since(30), time(43)).tally.spared_parts, 0, "31 days later");
    // A clock that was ahead then does not spare anything for longer.
    store.verify_at(&request(Level::Data), time(400));
    assert_eq!(store.verify_at(&since(30), time(44)).tally.spared_parts, 0);
    assert_eq!(store.verify_at(&since(30), time(45)).tally.spared_parts, 6);
    // A check of less is none of the bytes.
    store.verify_at(&request(Level::Size), time(80));
    assert_eq!(store.verify_at(&since(5), time(81)).tally.spared_parts, 0);
}

#[test]
fn a_snapshot_that_shares_its_inodes_with_one_that_was_read_is_as_good_and_stays_so_without_it() {
    let store = many_parts(4);
    let first = store.snapshot();
    store.verify_at(&since(30), time(10));
    store.put("one", "all_9_9_0", &part(9, 2, false));
    store.snapshot();
    let second = store.verify_at(&since(30), time(11)).tally;
    // Four parts in two snapshots, and the new one read.
    assert_eq!((second.parts, second.spared_parts), (9, 8));
    fs::remove_dir_all(store.at(first)).expect("removed");
    let third = store.verify_at(&since(30), time(12)).tally;
    assert_eq!((third.parts, third.spared_parts), (5, 5));
    // Read on the 10th, whatever was spared since.
    assert_eq!(store.verify_at(&since(30), time(41)).tally.spared_parts, 1);
}

#[test]
fn a_part_under_new_inodes_is_read_whatever_is_known_of_its_name() {
    let store = many_parts(2);
    store.snapshot();
    store.verify_at(&since(30), time(10));
    store.put("one", "all_1_1_0", &part(1, 2, false));
    let id = store.snapshot();
    let report = store.verify_at(&since(30), time(11));
    // The part with other inodes is read in both snapshots, so that it is known of both again.
    assert_eq!((report.tally.parts, report.tally.spared_parts), (4, 2));
    fs::write(store.at(id).join("data/d/one/all_1_1_0/c1.bin"), bytes_of(&store, id)).expect("written");
    let report = store.verify_at(&since(30), time(12));
    assert_eq!(report.tally.spared_parts, 4, "damage is not seen where nothing is read");
    assert_eq!(found(&store.verify_at(&request(Level::Data), time(13))).len(), 1);
    // From then on it is read until it is whole.
    assert_eq!(found(&store.verify_at(&since(30), time(14))).len(), 1);
}

/// As many other bytes.
fn bytes_of(store: &Store, id: chsnap::model::SnapshotId) -> Vec<u8> {
    let mut bytes = fs::read(store.at(id).join("data/d/one/all_1_1_0/c1.bin")).expect("read");
    for byte in &mut bytes {
        *byte = !*byte;
    }
    bytes
}

fn key(table: &str, part: &str) -> (TableName, PartName) {
    (TableName::new("d", table), PartName::try_from(part.to_owned()).expect("a part's name"))
}

#[test]
fn a_damaged_part_is_no_source_until_a_check_finds_it_intact() {
    let store = many_parts(3);
    let first = store.snapshot();
    let file = store.at(first).join("data/d/one/all_1_1_0/c1.bin");
    let sound = fs::read(&file).expect("read");
    fs::write(&file, "x").expect("written");
    store.verify_at(&request(Level::Data), time(10));
    let noted = |id| store.open().damaged_parts(id);
    assert_eq!(noted(first), BTreeSet::from([key("one", "all_1_1_0")]));
    // What is made meanwhile is under the same suspicion.
    let second = store.snapshot();
    {
        let (repository, now) = (store.open(), time(11));
        let locked = repository.lock("test", now, Duration::from_secs(5)).expect("the lock");
        locked
            .record(now, &chsnap::repo::Event::Created { id: second, written_bytes: None, used_bytes: None })
            .expect("recorded");
    }
    assert_eq!(noted(second), BTreeSet::from([key("one", "all_1_1_0")]));
    fs::write(&file, &sound).expect("written");
    // A check of sizes proves nothing of bytes.
    store.verify_at(&request(Level::Size), time(12));
    assert_eq!(noted(first).len(), 1);
    store.verify_at(&request(Level::Data), time(13));
    assert_eq!((noted(first).len(), noted(second).len()), (0, 0));
}

#[test]
fn a_snapshot_is_verified_when_the_last_slice_of_a_round_is_done() {
    let store = many_parts(5);
    let id = store.snapshot();
    let last = || store.open().checks().last(id);
    assert_eq!(last().level, None);
    for (night, slice) in [(10, "1/3"), (11, "2/3")] {
        let slice: Slice = slice.parse().expect("a slice");
        store.verify_at(&request(Level::Data).with_slice(Some(slice.into())), time(night));
        assert_eq!((last().level, last().slice), (None, Some(slice)));
    }
    store.verify_at(&request(Level::Size), time(12));
    assert_eq!((last().level, last().time, last().data_time), (Some(Level::Size), Some(time(12)), None));
    store.verify_at(&request(Level::Data).with_slice(Some("3/3".parse().expect("a slice"))), time(13));
    assert_eq!((last().level, last().data_time), (Some(Level::Data), Some(time(10))));
    // A check of some tables is none of the snapshot.
    store.verify_at(&request(Level::Data).with_tables(vec!["d.one".parse().expect("a pattern")]), time(14));
    assert_eq!(last().data_time, Some(time(10)));
    fs::remove_file(store.at(id).join("data/d/one/all_1_1_0/c1.bin")).expect("removed");
    store.verify_at(&request(Level::Structure), time(15));
    assert!(last().damaged);
}

#[test]
fn only_the_tables_that_are_named_are_checked() {
    let store = many_parts(6);
    let id = store.snapshot();
    fs::write(store.at(id).join("data/d/one/all_1_1_0/c1.bin"), "x").expect("written");
    fs::write(store.at(id).join("metadata/d/one.sql"), "x").expect("written");
    let of = |table: &str| {
        store.verify(&request(Level::Data).with_tables(vec![format!("d.{table}").parse().expect("a pattern")]))
    };
    let (one, two) = (of("one"), of("two"));
    assert_eq!((found(&one).len(), found(&two).len()), (2, 0));
    assert_eq!((one.tally.parts, two.tally.parts), (4, 2));
}

#[test]
fn the_next_slice_is_the_one_that_was_checked_longest_ago() {
    let store = many_parts(6);
    let first = store.snapshot();
    let next = |night| {
        let slice = Some(SliceChoice::Next(3));
        let report = store.verify_at(&request(Level::Data).with_slice(slice), time(night));
        report.slice.expect("one").to_string()
    };
    assert_eq!([10, 11].map(next), ["1/3", "2/3"]);
    // Neither a check of one of two snapshots nor one of sizes is the night's.
    store.snapshot();
    let only = vec![first.to_string().parse().expect("an id")];
    let slice = Some("3/3".parse::<SliceChoice>().expect("a slice"));
    store.verify_at(&request(Level::Data).with_references(only).with_slice(slice), time(12));
    store.verify_at(&request(Level::Size).with_slice(slice), time(13));
    // The second snapshot is dated before the first two nights, which did not have it: they count for nothing.
    assert_eq!([14, 15, 16, 17].map(next), ["1/3", "2/3", "3/3", "1/3"]);
}

/// A part whose files are links of another's, as `ATTACH PARTITION … FROM` makes it: both have the damaged inode.
#[test]
fn damage_of_a_shared_inode_is_known_of_every_part_that_has_it() {
    let store = many_parts(3);
    let first = store.snapshot();
    let (from, to) = (store.live().join("one/all_1_1_0"), store.live().join("two/all_9_9_0"));
    fs::create_dir_all(&to).expect("made");
    for name in crate::store::names(&from) {
        fs::hard_link(from.join(&name), to.join(&name)).expect("linked");
    }
    let second = store.snapshot();
    store.verify_at(&request(Level::Data), time(9));
    let file = store.at(first).join("data/d/one/all_1_1_0/c1.bin");
    let sound = fs::read(&file).expect("read");
    fs::write(&file, bytes_of(&store, first)).expect("written");
    let report = store.verify_at(&request(Level::Data), time(10));
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    let noted = |id| store.open().damaged_parts(id);
    let both = BTreeSet::from([key("one", "all_1_1_0"), key("two", "all_9_9_0")]);
    assert_eq!((noted(first), noted(second)), (BTreeSet::from([key("one", "all_1_1_0")]), both));
    // The part of the first name goes everywhere: the other is not forgotten, and not spared.
    {
        let (repository, now) = (store.open(), time(11));
        let locked = repository.lock("test", now, Duration::from_secs(5)).expect("the lock");
        locked.remove_snapshots(&[first], &chsnap::repo::Removal::default(), now).expect("removed");
    }
    let report = store.verify_at(&since(30), time(12));
    assert_eq!(report.damage.len(), 1, "it is read again");
    let damaged = || store.open().last_checks(&[second])[0].damaged;
    assert!(damaged());
    fs::write(store.at(second).join("data/d/two/all_9_9_0/c1.bin"), &sound).expect("written");
    store.verify_at(&since(30), time(13));
    assert!(!damaged() && noted(second).is_empty(), "{:?}", noted(second));
}

#[test]
fn a_snapshot_that_cannot_be_read_does_not_hold_up_the_round() {
    let store = many_parts(6);
    let first = store.snapshot();
    store.snapshot();
    fs::write(store.at(first).join("manifest.json"), "garbage").expect("written");
    let next = |night| {
        let slice = Some(SliceChoice::Next(4));
        store.verify_at(&request(Level::Data).with_slice(slice), time(night)).slice.expect("one").to_string()
    };
    assert_eq!([10, 11, 12, 13, 14].map(next), ["1/4", "2/4", "3/4", "4/4", "1/4"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nights with new snapshots, also while verification runs, with removed ones and with ones that cannot be read: in any
    /// 2N nights all of a snapshot that could be read in each of them was read.
    #[test]
    fn in_any_two_rounds_everything_that_could_be_read_was_read(
        count in 1_u32..5,
        nights in proptest::collection::vec((0_u8..4, 0_usize..6, any::<u8>()), 10..40),
    ) {
        let (mut events, mut standing) = (Vec::new(), Vec::new());
        // Of each night: the share, and what was read of it.
        let mut read: Vec<(Slice, Vec<SnapshotId>)> = Vec::new();
        let mut readable: Vec<BTreeSet<SnapshotId>> = Vec::new();
        for (night, (what, place, bits)) in nights.iter().enumerate() {
            let begun = time(0) + chrono::TimeDelta::days(i64::try_from(night).expect("few"));
            let created = |at| {
                let id = SnapshotId::at(at);
                (id, (at, Event::Created { id, written_bytes: None, used_bytes: None }))
            };
            let (id, event) = created(begun - chrono::TimeDelta::minutes(1));
            standing.push(id);
            events.push(event);
            if *what == 1 && standing.len() > 1 {
                standing.remove(place % standing.len());
            }
            let unreadable = |id: &SnapshotId| (bits >> (id.time().timestamp() / 86_400 % 8)) & 3 == 3;
            let (unread, ids): (Vec<SnapshotId>, Vec<SnapshotId>) = standing.iter().copied().partition(unreadable);
            let slice = Checks::of(&events).next_slice(Level::Data, count, &standing).expect("a slice");
            if *what == 2 {
                let (id, event) = created(begun + chrono::TimeDelta::minutes(1));
                standing.push(id);
                events.push(event);
            }
            events.push((begun + chrono::TimeDelta::minutes(2), verified(begun, &ids, &unread, slice)));
            readable.push(ids.iter().copied().collect());
            read.push((slice, ids));
        }
        let round = 2 * usize::try_from(count).expect("few");
        for (window, readable) in read.windows(round).zip(readable.windows(round)) {
            let always = readable.iter().skip(1).fold(readable[0].clone(), |all, night| &all & night);
            for id in always {
                let shares: BTreeSet<Slice> =
                    window.iter().filter(|(_, ids)| ids.contains(&id)).map(|(slice, _)| *slice).collect();
                prop_assert_eq!(shares.len(), usize::try_from(count).expect("few"), "{}", id);
            }
        }
    }
}

fn verified(
    begun: chrono::DateTime<chrono::Utc>,
    ids: &[SnapshotId],
    unreadable: &[SnapshotId],
    slice: Slice,
) -> Event {
    Event::Verified(Box::new(VerifiedEvent {
        ids: ids.to_vec(),
        begun: Some(begun),
        unreadable: unreadable.to_vec(),
        level: Level::Data,
        tables: Vec::new(),
        slice: Some(slice),
        incomplete: false,
        oldest: None,
        spared: Vec::new(),
        read: None,
        read_ranges: None,
        read_bytes: 1,
        damage: 0,
        damaged_ids: Vec::new(),
        drift: 0,
        drifted_ids: Vec::new(),
        damaged: Vec::new(),
    }))
}

/// The last line of the journal.
fn last_line(store: &Store) -> serde_json::Value {
    let journal = store.repo().join("journal");
    let text: String = crate::store::names(&journal)
        .iter()
        .map(|name| fs::read_to_string(journal.join(name)).expect("lines"))
        .collect();
    serde_json::from_str(text.lines().next_back().expect("a line")).expect("JSON")
}

#[test]
fn a_night_of_new_parts_is_one_range_in_the_journal_and_an_older_chsnap_claims_no_more_than_is_true() {
    let store = many_parts(20);
    let first = store.snapshot();
    store.verify_at(&since(30), time(10));
    let line = last_line(&store);
    assert!(["read", "read_ranges", "spared"].iter().all(|field| line.get(field).is_none()), "{line}");
    for number in 95..125 {
        store.put("one", &format!("all_{number}_{number}_0"), &part(number, 1, false));
    }
    let second = store.snapshot();
    store.verify_at(&since(30), time(11));
    let line = last_line(&store);
    let ranges = serde_json::json!([{"database": "d", "table": "one", "parts": [["all_95_95_0", "all_124_124_0"]]}]);
    assert_eq!((&line["read_ranges"], &line["read"]), (&ranges, &serde_json::json!([])));
    assert!(line.get("spared").is_none(), "{line}");
    assert_eq!(store.verify_at(&since(30), time(12)).tally.spared_parts, 70);
    assert_eq!(last_line(&store)["read_ranges"], serde_json::json!([]));
    // A chsnap that does not know the field.
    let events = store.open().events();
    let mut old = events.clone();
    for (_, event) in &mut old {
        if let Event::Verified(run) = event {
            run.read_ranges = None;
        }
    }
    let (now, old) = (Checks::of(&events), Checks::of(&old));
    for (part, read) in
        [("all_1_1_0", Some(time(10))), ("all_95_95_0", Some(time(11))), ("all_124_124_0", Some(time(11)))]
    {
        let (table, part) = key("one", part);
        let [new, old] = [&now, &old].map(|checks| checks.covered(&table, &part, &[first, second]));
        assert_eq!(new.time, read, "{part}");
        assert!(old.time <= new.time, "{part}: {old:?}");
        assert!(old.snapshots.iter().zip(&new.snapshots).all(|(old, new)| !old || *new), "{part}: {old:?}");
    }
}

fn removal(store: &Store, work: impl FnOnce(&chsnap::repo::Locked<'_>, chrono::DateTime<chrono::Utc>)) {
    let (repository, now) = (store.open(), time(11));
    let locked = repository.lock("test", now, Duration::from_secs(5)).expect("the lock");
    work(&locked, now);
}

#[test]
fn damage_is_known_of_a_snapshot_that_was_in_the_trash_when_it_was_found() {
    let store = many_parts(3);
    let before = store.snapshot();
    // From here on the part has other inodes.
    store.put("one", "all_1_1_0", &part(1, 2, false));
    let (removed, stays) = (store.snapshot(), store.snapshot());
    removal(&store, |locked, now| {
        locked.remove_snapshots(&[before, removed], &chsnap::repo::Removal::default(), now).expect("removed");
    });
    let file = store.at(stays).join("data/d/one/all_1_1_0/c1.bin");
    let sound = fs::read(&file).expect("read");
    fs::write(&file, bytes_of(&store, stays)).expect("written");
    let report = store.verify_at(&request(Level::Data), time(12));
    assert_eq!(report.damage.iter().flat_map(|damage| &damage.places).count(), 1, "the trash is not reported");
    removal(&store, |locked, now| locked.restore_snapshots(&[before, removed], now).expect("taken back"));
    let damaged = || {
        let checks = store.open().last_checks(&[before, removed, stays]);
        checks.iter().map(|check| check.damaged).collect::<Vec<_>>()
    };
    assert_eq!(damaged(), [false, true, true]);
    assert_eq!(store.open().damaged_parts(removed), BTreeSet::from([key("one", "all_1_1_0")]));
    // A reading that spares what was read lately does not spare this.
    assert_eq!(found(&store.verify_at(&since(30), time(13))).len(), 2);
    fs::write(&file, &sound).expect("written");
    store.verify_at(&since(30), time(14));
    assert_eq!(damaged(), [false, false, false]);
}

/// Links a live part under another name, with the files that a mutation has written again.
fn derive(store: &Store, from: &str, to: &str, rewritten: &[(&str, Vec<u8>)]) {
    let (from, to) = (store.live().join(from), store.live().join(to));
    fs::create_dir_all(&to).expect("made");
    for name in crate::store::names(&from) {
        match rewritten.iter().find(|(rewritten, _)| *rewritten == name) {
            None => fs::hard_link(from.join(&name), to.join(&name)).expect("linked"),
            Some((_, content)) => fs::write(to.join(&name), content).expect("written"),
        }
    }
}

/// A mutation links the columns that it leaves alone, ATTACH PARTITION … FROM all files of a part, a renamed table keeps its
/// parts: the damaged inode is known of each, and of nothing else.
#[test]
fn damage_is_known_of_mutated_attached_and_renamed_parts_by_their_inode() {
    let store = Store::new();
    let column = |seed: u64| crate::store::bytes(seed, 3000);
    let files = |seed: u64| vec![("a.bin".to_owned(), column(1)), ("b.bin".to_owned(), column(seed))];
    store.put("one", "all_1_1_0", &crate::store::part_of(files(2)));
    store.put("one", "all_2_2_0", &part(7, 2, false));
    let first = store.snapshot();
    let mutated = crate::store::part_of(files(3));
    derive(
        &store,
        "one/all_1_1_0",
        "one/all_1_1_0_5",
        &[("b.bin", column(3)), ("checksums.txt", mutated["checksums.txt"].clone())],
    );
    derive(&store, "one/all_1_1_0", "copy/all_9_9_0", &[]);
    fs::remove_dir_all(store.live().join("one/all_1_1_0")).expect("merged away");
    let second = store.snapshot();
    fs::rename(store.live().join("one"), store.live().join("renamed")).expect("renamed");
    let third = store.snapshot();
    assert!(found(&store.verify_at(&request(Level::Data), time(9))).is_empty());

    let noted = |id| store.open().damaged_parts(id);
    let spoil = |name: &str| {
        let path = store.live().join("renamed/all_1_1_0_5").join(name);
        let sound = fs::read(&path).expect("read");
        fs::write(&path, sound.iter().map(|byte| !byte).collect::<Vec<u8>>()).expect("written");
        move || fs::write(&path, &sound).expect("written")
    };
    // The column that all of them share.
    let mend = spoil("a.bin");
    let report = store.verify_at(&request(Level::Data), time(10));
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert_eq!(noted(first), BTreeSet::from([key("one", "all_1_1_0")]));
    assert_eq!(noted(second), BTreeSet::from([key("one", "all_1_1_0_5"), key("copy", "all_9_9_0")]));
    assert_eq!(noted(third), BTreeSet::from([key("renamed", "all_1_1_0_5"), key("copy", "all_9_9_0")]));
    mend();
    store.verify_at(&request(Level::Data), time(11));
    assert!([first, second, third].into_iter().all(|id| noted(id).is_empty()));
    // The one that the mutation has written.
    let mend = spoil("b.bin");
    store.verify_at(&request(Level::Data), time(12));
    assert_eq!((noted(first), noted(second).len(), noted(third).len()), (BTreeSet::new(), 1, 1));
    mend();
}

/// A repository that was copied, with its links and without: what is known goes with it, and from then on each has its own inodes.
#[test]
fn known_damage_of_a_copied_repository_is_its_own() {
    for (arguments, inodes) in [("-a", 1), ("-r", 2)] {
        let store = many_parts(3);
        let ids = [store.snapshot(), store.snapshot()];
        let file = store.at(ids[0]).join("data/d/one/all_1_1_0/c1.bin");
        let sound = fs::read(&file).expect("read");
        fs::write(&file, bytes_of(&store, ids[0])).expect("written");
        store.verify_at(&request(Level::Data), time(10));
        let copy = store.repo().with_file_name("copy");
        let status = std::process::Command::new("cp").arg(arguments).arg(store.repo()).arg(&copy).status();
        assert!(status.expect("cp").success());
        let open = || chsnap::repo::Repository::open(&copy, &chsnap::fs::real()).expect("a repository");
        let damaged = |repository: &chsnap::repo::Repository| {
            let checks = repository.last_checks(&ids);
            checks.iter().map(|check| check.damaged).collect::<Vec<_>>()
        };
        assert_eq!(damaged(&open()), [true, true], "{arguments}");
        // Mended in the one is not mended in the other.
        fs::write(&file, &sound).expect("written");
        store.verify_at(&request(Level::Data), time(11));
        assert_eq!((damaged(&store.open()), damaged(&open())), (vec![false, false], vec![true, true]), "{arguments}");
        let verify = |night| {
            chsnap::ops::verify::verify(&open(), &since(30), &|| time(night), &chsnap::monitor::Silent)
                .expect("verified")
        };
        let report = verify(12);
        assert_eq!(report.damage.len(), inodes, "{arguments}: {:?}", report.damage);
        assert_eq!(report.damage.iter().flat_map(|damage| &damage.places).count(), 2, "{arguments}");
        for id in ids {
            let path = copy.join("snapshots").join(id.to_string()).join("data/d/one/all_1_1_0/c1.bin");
            fs::write(path, &sound).expect("written");
        }
        assert!(verify(13).damage.is_empty());
        assert_eq!(damaged(&open()), [false, false], "{arguments}");
    }
}
