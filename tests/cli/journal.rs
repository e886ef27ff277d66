//! The journal as crashes, copies and disks leave it: what cannot be read costs only what it held.

use std::fs;

use chsnap::repo::Event;

use crate::support::{Lab, ids, names, time};

fn events(lab: &Lab) -> Vec<(chrono::DateTime<chrono::Utc>, Event)> {
    lab.open().events().expect("a journal")
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
    // A line that was cut short is ended before the next one.
    lab.run(0, &["unpin", &nights[0]]);
    assert_eq!(events(&lab).len(), 4);
    assert_eq!(events(&lab)[..3], before);
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
