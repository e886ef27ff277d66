//! `pin` and `unpin`: pinned snapshots stay under any rule, with a reason and an end.

use std::fs;

use serde_json::{Value, json};

use crate::cli::support::{Lab, ids, names};
use crate::freezer::served_repository;

fn pinned(lab: &Lab) -> Vec<bool> {
    let document = lab.chsnap().json(0, &["list"]);
    document["snapshots"].as_array().expect("rows").iter().map(|row| row["pinned"] == true).collect()
}

/// The last event of the journal.
fn last_event(lab: &Lab) -> Value {
    let journal = lab.repo().join("journal");
    let mut lines: Vec<Value> = names(&journal)
        .iter()
        .flat_map(|name| {
            let text = fs::read_to_string(journal.join(name)).expect("a journal");
            text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect::<Vec<_>>()
        })
        .collect();
    lines.sort_by_key(|line: &Value| line["number"].as_u64());
    lines.pop().expect("an event")
}

#[test]
fn a_pin_holds_until_it_is_taken_away() {
    let (lab, nights) = Lab::with_nights(3);
    let document = lab.chsnap().json(0, &["pin", &nights[0], "--reason", "year end"]);
    assert_eq!((&document["schema"], &document["id"]), (&json!("chsnap.pin.v1"), &json!(nights[0])));
    assert_eq!((&document["pin"]["reason"], &document["replaced"]), (&json!("year end"), &Value::Null));
    let event = last_event(&lab);
    assert_eq!(
        (&event["event"], &event["id"], &event["reason"]),
        (&json!("pinned"), &json!(nights[0]), &json!("year end"))
    );
    assert_eq!(pinned(&lab), [true, false, false]);
    let refused = lab.chsnap().json(13, &["rm", &nights[0]]);
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("pinned: year end")), "{refused}");
    // Another reason takes the place of the first.
    let document = lab.chsnap().json(0, &["pin", "2026-11-01", "--reason", "audit"]);
    assert_eq!(document["replaced"]["reason"], "year end");
    let document = lab.chsnap().json(0, &["unpin", &nights[0], "latest"]);
    assert_eq!(
        (ids(&document["unpinned"], ""), ids(&document["not_pinned"], "")),
        (nights[..1].to_vec(), nights[2..].to_vec())
    );
    let event = last_event(&lab);
    assert_eq!((&event["event"], ids(&event["ids"], "")), (&json!("unpinned"), nights[..1].to_vec()));
    assert_eq!(pinned(&lab), [false; 3]);
    lab.run(0, &["rm", &nights[0]]);
}

#[test]
fn a_pin_that_has_ended_holds_nothing() {
    let (lab, nights) = Lab::with_nights(3);
    lab.pin(&nights[0], r#"{"reason": "x", "since": "2026-11-01T03:00:00Z", "until": "2026-11-02T00:00:00Z"}"#);
    lab.pin(&nights[1], r#"{"reason": "y", "since": "2026-11-01T03:00:00Z", "until": "2999-01-01T00:00:00Z"}"#);
    assert_eq!(pinned(&lab), [false, true, false]);
    assert_eq!(lab.chsnap().json(0, &["show", &nights[0]])["pinned"], false);
    assert_eq!(lab.chsnap().json(0, &["show", &nights[1]])["pin"]["until"], "2999-01-01T00:00:00Z");
    let text = lab.run(0, &["list"]).stdout;
    assert!(text.contains("[pinned until 2999-01-01 00:00 UTC: y]") && !text.contains(": x"), "{text}");
    lab.run(13, &["rm", &nights[1]]);
    lab.run(0, &["rm", &nights[0]]);
}

#[test]
fn a_pin_ends_with_the_day_that_is_named_or_at_the_time() {
    let (lab, nights) = Lab::with_nights(1);
    let until = |text: &str| {
        lab.chsnap().json(0, &["pin", &nights[0], "--reason", "x", "--until", text])["pin"]["until"].clone()
    };
    assert_eq!(until("2998-12-31"), "2999-01-01T00:00:00Z");
    assert_eq!(until("2998-12-31T20:00:00+02:00"), "2998-12-31T18:00:00Z");
    lab.pin(&nights[0], r#"{"reason": "a\u001b[2Jb", "since": "2026-11-01T03:00:00Z"}"#);
    let text = lab.run(0, &["pin", "latest", "--reason", "x", "--until", "2998-12-31"]).stdout;
    assert!(text.contains("until 2999-01-01 00:00 UTC") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_wrong_pin_is_refused_and_changes_nothing() {
    let (lab, nights) = Lab::with_nights(2);
    for (code, arguments) in [
        (2, &["pin", &nights[0], "--reason", "x", "--until", "2020-01-01"][..]),
        (2, &["pin", &nights[0], "--reason", "x", "--until", "soon"]),
        (2, &["pin", "../x", "--reason", "x"]),
        (2, &["unpin"]),
        (1, &["pin", "2031", "--reason", "x"]),
        (1, &["unpin", &nights[0], "2031"]),
    ] {
        let run = lab.run(code, arguments);
        assert!(!run.stderr.is_empty() && run.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(names(&lab.repo().join("pins")), Vec::<std::ffi::OsString>::new());
}

/// `gc` while the filesystem does not answer about one snapshot, once for each of what an interrupted command leaves of
/// its id.
#[test]
fn a_transient_error_takes_no_pin_away() {
    for call in ["newfstatat", "openat"] {
        for left in ["incoming/2026-11-01T020000Z", "trash/2026-11-01T020000Z.deleting-00000001"] {
            for error in ["EIO", "ESTALE"] {
                let (lab, nights) = Lab::with_nights(2);
                assert_eq!(nights[0], "2026-11-01T020000Z");
                lab.pin(&nights[0], r#"{"reason": "x", "since": "2026-11-01T03:00:00Z"}"#);
                std::fs::create_dir(lab.repo().join(left)).expect("what is left");
                let mut strace = std::process::Command::new("strace");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-P", &nights[0]]);
                strace.args(["-e", &format!("inject={call}:error={error}")]);
                let output = match lab.chsnap().under(strace, &["gc"]).output() {
                    Ok(output) => output,
                    Err(error) => {
                        eprintln!("SKIPPED: strace does not start here: {error}");
                        return;
                    }
                };
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let pin = lab.repo().join("pins").join(format!("{}.json", nights[0]));
                assert!(pin.is_file(), "{call} {left} {error}: {said}");
                lab.run(0, &["gc"]);
                assert_eq!(pinned(&lab), [true, false], "{call} {left} {error}");
                assert!(names(&lab.trash()).is_empty() && names(&lab.repo().join("incoming")).is_empty());
            }
        }
    }
}

#[test]
fn a_pin_that_cannot_be_read_now_pins() {
    for (call, error) in [("openat", "EIO"), ("openat", "ESTALE"), ("newfstatat", "EIO"), ("openat", "EACCES")] {
        let (lab, nights) = Lab::with_nights(3);
        lab.pin(&nights[0], r#"{"reason": "x", "since": "2026-11-01T03:00:00Z"}"#);
        let asked = |arguments: &[&str]| {
            let mut strace = std::process::Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-P", &format!("{}.json", nights[0])]);
            strace.args(["-e", &format!("inject={call}:error={error}")]);
            lab.chsnap().under(strace, arguments).output()
        };
        let Ok(listed) = asked(&["list", "--json"]) else {
            eprintln!("SKIPPED: strace does not start here");
            return;
        };
        let document: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        assert_eq!(document["snapshots"][0]["pinned"], true, "{call} {error}: {document}");
        let refused = asked(&["rm", &nights[0]]).expect("strace starts");
        assert_eq!(refused.status.code(), Some(13), "{call} {error}");
        let pruned = asked(&["prune", "--keep-last", "1", "--yes", "--json", "--yes-really"]).expect("strace starts");
        assert!(lab.at(&nights[0]).is_dir(), "{call} {error}: {}", String::from_utf8_lossy(&pruned.stdout));
    }
}

#[test]
fn a_pin_needs_no_reason_and_can_last_for_a_while() {
    let (lab, nights) = Lab::with_nights(1);
    // No reason is shown.
    lab.run(0, &["pin", &nights[0]]);
    let list = lab.run(0, &["list"]).stdout;
    assert!(list.contains("[pinned]"), "{list}");
    assert!(lab.run(13, &["rm", &nights[0]]).stderr.contains("is pinned\n"));
    let document = lab.chsnap().json(0, &["pin", &nights[0], "--until", "30d"]);
    let until: chrono::DateTime<chrono::Utc> =
        document["pin"]["until"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    let days = (until - chrono::Utc::now()).num_hours();
    assert!((29 * 24..=30 * 24).contains(&days), "{until}");
    assert_eq!(document["pin"]["reason"], "");
    assert!(lab.run(2, &["create", "--until", "30d"]).stderr.contains("add --pin"));
}

#[test]
fn a_snapshot_is_pinned_as_it_is_made_until_a_day_a_time_or_for_a_duration() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    let created = |arguments: &[&str]| {
        let document = chsnap.json(0, &[&["create", "--pin", "year end"], arguments].concat());
        let id = document["id"].as_str().expect("an id").to_owned();
        let path = chsnap.repo().join("pins").join(format!("{id}.json"));
        let pin: Value = serde_json::from_slice(&fs::read(path).expect("a pin")).expect("JSON");
        assert_eq!(pin["reason"], "year end");
        (id, pin["until"].as_str().map(|until| until.parse::<chrono::DateTime<chrono::Utc>>().expect("a time")))
    };
    let (_, until) = created(&["--until", "2199-12-31"]);
    assert_eq!(until, Some("2200-01-01T00:00:00Z".parse().expect("the end of that day")));
    let (_, until) = created(&["--until", "2199-12-31T18:00:00Z"]);
    assert_eq!(until, Some("2199-12-31T18:00:00Z".parse().expect("a time")));
    let (_, until) = created(&[]);
    assert_eq!(until, None);
    let before = chrono::Utc::now();
    let (id, until) = created(&["--until", "30d"]);
    let left = until.expect("an end") - before;
    assert!(left >= chrono::TimeDelta::days(30) - chrono::TimeDelta::seconds(1), "{left}");
    assert!(left < chrono::TimeDelta::days(30) + chrono::TimeDelta::minutes(5), "{left}");
    let refused = chsnap.json(13, &["rm", &id]);
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("pinned: year end")), "{refused}");
    // One that has ended holds nothing.
    let (short, _) = created(&["--until", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    chsnap.expect(0, &["rm", &short]);
    let made = names(&chsnap.repo().join("snapshots")).len();
    for (arguments, said) in [
        (&["--pin", "x", "--until", "2020-01-01"][..], "a pin cannot end in the past"),
        (&["--until", "30d"], "--until says when a pin ends, and there is none"),
        (&["--pin", "x", "--until", "soon"], "no date, no time and no duration"),
    ] {
        let run = chsnap.expect(2, &[&["create"], arguments].concat());
        assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(names(&chsnap.repo().join("snapshots")).len(), made);
}
