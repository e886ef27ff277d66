//! A journal damaged by crashes, copies and disks: an unreadable part costs only its own events.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chrono::TimeDelta;
use chsnap::model::SnapshotId;
use chsnap::repo::Event;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cli::support::{Lab, ids, names, time};

fn events(lab: &Lab) -> Vec<(chrono::DateTime<chrono::Utc>, Event)> {
    lab.open().events()
}

#[test]
fn torn_doubled_and_reordered_lines_change_nothing_of_the_others() {
    let (lab, nights) = Lab::with_nights(3);
    lab.run(0, &["pin", &nights[0], "--reason", "audit"]);
    lab.run(0, &["rm", &nights[1]]);
    lab.run(0, &["undo"]);
    let before = events(&lab);
    assert_eq!(before.len(), 3);
    let journal = lab.repo().join("journal");
    let path = journal.join(&names(&journal)[0]);
    let text = fs::read_to_string(&path).expect("lines");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.reverse();
    let doubled: Vec<&str> = lines.iter().chain(&lines).copied().collect();
    let torn = &text[..text.len() / 5];
    for written in
        [lines.join("\n"), doubled.join("\n"), format!("{}\n{torn}", lines.join("\n")), format!("{torn}\n{text}\n\n")]
    {
        fs::write(&path, written).expect("written");
        assert_eq!(events(&lab), before);
    }
    // The first line is no more than the beginning of one: nothing explains that.
    let list = lab.chsnap().json(3, &["list"]);
    let message = list["warning_list"][0]["message"].as_str().expect("a sentence");
    assert!(message.contains("line 1, cannot be read"), "{message}");
    // A crash cuts the last line short. It is ended before the next one, and said by none: what it was about to say was
    // never promised to anyone.
    fs::write(&path, format!("{text}{torn}")).expect("written");
    lab.run(0, &["list"]);
    lab.run(0, &["unpin", &nights[0]]);
    let ended = fs::read_to_string(&path).expect("lines");
    assert!(ended.starts_with(&format!("{text}{torn}\n{{\"after_cut\":true,")), "{ended}");
    lab.run(0, &["list"]);
    assert_eq!(events(&lab).len(), 4);
    assert_eq!(events(&lab)[..3], before);
    // The same once more, and the line that ends it is cut short, too.
    let begun = "{\"after_cut\":true,\"number\":";
    fs::write(&path, format!("{text}{torn}\n{begun}")).expect("written");
    lab.run(0, &["list"]);
    lab.run(0, &["unpin", &nights[0]]);
    lab.run(0, &["list"]);
}

#[test]
fn a_month_that_cannot_be_read_is_a_warning_of_every_command_and_stops_none() {
    let (lab, nights) = Lab::with_nights(4);
    lab.run(0, &["pin", &nights[0], "--reason", "audit"]);
    let before = events(&lab);
    let month = lab.repo().join("journal/2026-05.jsonl");
    // Longer than any month that is read.
    fs::File::create(&month).and_then(|file| file.set_len(300 << 20)).expect("a sparse file");
    for command in [&["list"][..], &["usage"], &["prune", "--keep-last", "3", "--dry-run"]] {
        let document = lab.chsnap().json(3, command);
        let warnings = document["warning_list"].as_array().expect("warnings");
        assert!(
            warnings.iter().any(|warning| warning["kind"] == "journal_unreadable"
                && warning["message"].as_str().is_some_and(|text| text.contains("journal/2026-05.jsonl"))),
            "{command:?}: {document}"
        );
    }
    let monitor = lab.run(1, &["monitor", "--json", "--warn", "3650d", "--crit", "3650d"]).stdout;
    let monitor: serde_json::Value = serde_json::from_str(&monitor).expect("a document");
    assert_eq!(monitor["problems"][0]["kind"], "journal_unreadable");
    assert_eq!(events(&lab), before);
    lab.run(0, &["rm", &nights[1]]);
    lab.run(0, &["undo"]);
    assert_eq!(events(&lab).len(), before.len() + 2);
}

/// The clock was set back by an hour between two commands: what the second wrote is still the later event.
#[test]
fn the_order_of_events_is_that_of_their_numbers_whatever_the_clock_said() {
    let (lab, nights) = Lab::with_nights(2);
    let id = nights[0].parse().expect("an id");
    lab.locked(|locked| {
        let pinned = Event::Pinned { id, reason: "x".to_owned(), until: None };
        locked.record(time("2026-12-01T00:30:00Z"), &pinned).expect("recorded");
        locked.record(time("2026-11-30T23:30:00Z"), &Event::Unpinned { ids: vec![id] }).expect("recorded");
    });
    let events = events(&lab);
    assert!(matches!(events[0].1, Event::Pinned { .. }) && matches!(events[1].1, Event::Unpinned { .. }), "{events:?}");
    assert_eq!(ids(&lab.chsnap().json(0, &["list"])["snapshots"], "id"), nights);
}

/// A change to a line, or to its file.
#[derive(Clone, Copy, Debug)]
enum Spoil {
    /// The line is cut off in its middle, and stays the end of nothing.
    Tear(usize),
    Double,
    /// To a file of its own.
    Move,
    ReverseFile,
    LoseFile,
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        any::<usize>().prop_map(Spoil::Tear),
        Just(Spoil::Double),
        Just(Spoil::Move),
        Just(Spoil::ReverseFile),
        Just(Spoil::LoseFile),
    ]
}

/// The lines of each file, with the event that each holds whole.
type Files = BTreeMap<String, Vec<(Option<usize>, String)>>;

fn apply(files: &mut Files, at: usize, spoil: Spoil) {
    let places: Vec<(String, usize)> =
        files.iter().flat_map(|(name, lines)| (0..lines.len()).map(move |line| (name.clone(), line))).collect();
    let Some((name, line)) = places.get(at % places.len().max(1)).cloned() else { return };
    let lines = files.get_mut(&name).expect("it has this line");
    match spoil {
        Spoil::Tear(length) => {
            let (whole, text) = &mut lines[line];
            // A line that is torn twice may have nothing left.
            let length = length % text.len().max(1);
            text.truncate(length);
            *whole = None;
        }
        Spoil::Double => {
            let copy = lines[line].clone();
            lines.push(copy);
        }
        Spoil::Move => {
            let moved = lines.remove(line);
            files.entry("2019-07.jsonl".to_owned()).or_default().push(moved);
        }
        Spoil::ReverseFile => lines.reverse(),
        Spoil::LoseFile => drop(files.remove(&name)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_that_are_torn_doubled_moved_or_lost_cost_only_themselves(
        months in vec(1_u32..=12, 1..25),
        spoils in vec((any::<usize>(), spoil()), 0..10),
    ) {
        let lab = Lab::new();
        // Each event is about a snapshot of its own, whose id tells it.
        let id = |number: usize| SnapshotId::at(time("2026-01-01T00:00:00Z") + TimeDelta::seconds(i64::try_from(number).expect("few")));
        let unpinned = |number: usize| Event::Unpinned { ids: vec![id(number)] };
        lab.locked(|locked| {
            for (number, month) in months.iter().enumerate() {
                let now = time(&format!("2026-{month:02}-03T04:05:06Z"));
                locked.record(now, &unpinned(number)).expect("recorded");
            }
        });
        let journal = lab.repo().join("journal");
        let mut files = Files::new();
        for name in names(&journal) {
            let text = fs::read_to_string(journal.join(&name)).expect("lines");
            let number = |line: &str| (0..months.len()).find(|number| line.contains(&id(*number).to_string()));
            let lines = text.lines().map(|line| (number(line), line.to_owned())).collect();
            files.insert(name.into_string().expect("text"), lines);
            fs::remove_file(journal.join(names(&journal)[0].clone())).expect("removed");
        }
        for (at, spoil) in spoils {
            apply(&mut files, at, spoil);
        }
        for (name, lines) in &files {
            let text: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
            fs::write(journal.join(name), text.join("\n")).expect("written");
        }
        let left: BTreeSet<usize> = files.values().flatten().filter_map(|(number, _)| *number).collect();
        let expected: Vec<Event> = left.into_iter().map(unpinned).collect();
        let found = || events(&lab).into_iter().map(|(_, event)| event).collect::<Vec<_>>();
        prop_assert_eq!(found(), expected.clone());
        // The next event has a higher number than all of them, in any month.
        let next = unpinned(months.len());
        lab.locked(|locked| locked.record(time("2026-01-03T04:05:06Z"), &next).expect("recorded"));
        prop_assert_eq!(found(), [expected, vec![next]].concat());
    }
}

/// A sparse file that is longer than any that is read, and back to what it was.
fn with_length(path: &Path, bytes: u64) -> u64 {
    let file = fs::File::options().write(true).open(path).expect("a file");
    let before = file.metadata().expect("its length").len();
    file.set_len(bytes).expect("another length");
    before
}

#[test]
fn events_behind_an_unreadable_month_stay_behind_it_when_it_can_be_read_again() {
    let (lab, nights) = Lab::with_nights(4);
    let journal = lab.repo().join("journal");
    for night in &nights[..2] {
        lab.run(0, &["rm", night]);
    }
    let file = names(&journal)[0].clone();
    let length = with_length(&journal.join(&file), 300 << 20);
    lab.run(0, &["rm", &nights[2]]);
    let next = file.to_str().expect("text").replace(".jsonl", "-2.jsonl");
    assert_eq!(names(&journal).len(), 2);
    let line = fs::read_to_string(journal.join(next)).expect("the new line can be read");
    assert!(line.contains(&nights[2]) && line.ends_with("}\n"), "{line}");
    // The one that can be read now is the last removal, before and after.
    with_length(&journal.join(&file), length);
    for night in nights[..3].iter().rev() {
        assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), std::slice::from_ref(night));
    }
}

#[test]
fn events_behind_two_files_that_were_unreadable_one_after_the_other_stay_behind_both() {
    let (lab, nights) = Lab::with_nights(5);
    let journal = lab.repo().join("journal");
    lab.run(0, &["rm", &nights[0]]);
    let first = names(&journal)[0].clone().into_string().expect("text");
    let (second, third) = (first.replace(".jsonl", "-2.jsonl"), first.replace(".jsonl", "-3.jsonl"));
    // The numbers in the second are above what the first could hold, and the second is shorter than that.
    let first_bytes = with_length(&journal.join(&first), 600 << 20);
    lab.run(0, &["rm", &nights[1]]);
    assert!(journal.join(&second).is_file());
    with_length(&journal.join(&first), first_bytes);
    let second_bytes = with_length(&journal.join(&second), 300 << 20);
    // What is removed now goes to the first again, which can be read.
    lab.run(0, &["rm", &nights[2]]);
    // And with both unreadable to a third.
    let first_bytes = with_length(&journal.join(&first), first_bytes.max(300 << 20)).max(first_bytes);
    lab.run(0, &["rm", &nights[3]]);
    assert!(journal.join(&third).is_file());
    with_length(&journal.join(&first), first_bytes);
    with_length(&journal.join(&second), second_bytes);
    for night in nights[..4].iter().rev() {
        assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), std::slice::from_ref(night));
    }
    // Once all can be read, numbers go on one by one.
    let numbers = || -> Vec<u64> {
        let texts = names(&journal).into_iter().map(|name| fs::read_to_string(journal.join(name)).expect("readable"));
        let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let number = |line: &String| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["number"].as_u64();
        lines.iter().filter_map(number).collect()
    };
    let before = numbers().into_iter().max();
    lab.run(0, &["rm", &nights[0]]);
    assert_eq!(numbers().into_iter().max(), before.map(|number| number + 1));
}

#[test]
fn a_long_month_continues_in_another_file() {
    let (lab, nights) = Lab::with_nights(3);
    let journal = lab.repo().join("journal");
    lab.run(0, &["rm", &nights[0]]);
    let file = names(&journal)[0].clone();
    with_length(&journal.join(&file), 64 << 20);
    lab.run(0, &["rm", &nights[1]]);
    assert_eq!(names(&journal).len(), 2);
    let removed: Vec<Vec<SnapshotId>> = events(&lab)
        .into_iter()
        .filter_map(|(_, event)| match event {
            Event::Removed { ids, .. } => Some(ids),
            _ => None,
        })
        .collect();
    let id = |night: usize| nights[night].parse::<SnapshotId>().expect("an id");
    assert_eq!(removed, [vec![id(0)], vec![id(1)]]);
    lab.run(0, &["list"]);
}
