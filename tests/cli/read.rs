//! `list` and `show` on sound repositories.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::cli::support::{Lab, ids};

#[test]
fn an_empty_repository_lists_nothing_and_has_no_latest() {
    let lab = Lab::new();
    let document = lab.chsnap().json(0, &["list"]);
    assert_eq!(document["schema"], "chsnap.list.v1");
    for key in ["snapshots", "removed", "warnings"] {
        assert_eq!(document[key], serde_json::json!([]), "{key}");
    }
    assert!(lab.run(0, &["list"]).stdout.contains("no snapshots yet"));
    for reference in [&["show"][..], &["show", "latest~1"], &["show", "2026"]] {
        assert_eq!(lab.chsnap().json(1, reference)["exit_code"], 1);
    }
}

#[test]
fn a_listing_has_the_figures_of_each_snapshot_oldest_first() {
    let (lab, nights) = Lab::with_nights(3);
    let document = lab.chsnap().json(0, &["list"]);
    assert_eq!(ids(&document["snapshots"], "id"), nights);
    let row = &document["snapshots"][0];
    assert_eq!((&row["time"], &row["state"]), (&"2026-11-01T02:00:00Z".into(), &"complete".into()));
    assert_eq!((&row["tables"], &row["parts"], &row["files"]), (&1.into(), &1.into(), &2.into()));
    assert_eq!((&row["allocated_bytes"], &row["written_bytes"]), (&8192.into(), &8192.into()));
    assert!(row["apparent_bytes"].as_u64().is_some_and(|bytes| bytes > 40), "{row}");
    assert_eq!(row["pinned"], false);
    let text = lab.run(0, &["list"]).stdout;
    let found: Vec<usize> = nights.iter().filter_map(|id| text.find(id)).collect();
    assert!(found.len() == 3 && found.is_sorted(), "{text}");
}

#[test]
fn snapshots_are_in_the_order_of_creation_whatever_the_clock_said() {
    let lab = Lab::new();
    let made: Vec<String> =
        ["2026-11-22T02:00:00Z", "2027-01-01T00:00:00Z", "2026-11-21T02:00:00Z"].map(|at| lab.snapshot(at)).to_vec();
    assert_eq!(lab.listed(0), made);
    assert_eq!(lab.chsnap().json(0, &["show"])["id"], "2026-11-21T020000Z");
    let latest = fs::read_link(lab.repo().join("latest")).expect("a link");
    assert_eq!(latest.to_str(), Some("snapshots/2026-11-21T020000Z"));
}

#[test]
fn two_snapshots_of_one_second_are_distinguished() {
    let lab = Lab::new();
    let made = ["2026-11-22T02:00:00Z", "2026-11-22T02:00:00.9Z", "2026-11-22T02:00:00.1Z"].map(|at| lab.snapshot(at));
    assert_eq!(made, ["2026-11-22T020000Z", "2026-11-22T020000Z-2", "2026-11-22T020000Z-3"]);
    assert_eq!(lab.listed(0), made);
    assert_eq!(lab.chsnap().json(0, &["show", "2026-11-22T020000Z"])["id"], "2026-11-22T020000Z");
    let error = lab.chsnap().json(1, &["show", "2026-11-22T020000Z-"]);
    assert!(error["error"].as_str().is_some_and(|text| text.contains("2 snapshots")), "{error}");
}

#[test]
fn a_snapshot_is_named_by_its_id_a_prefix_or_its_place() {
    let (lab, nights) = Lab::with_nights(3);
    let show = |reference: &str| lab.chsnap().json(0, &["show", reference])["id"].as_str().map(str::to_owned);
    for (reference, night) in [("latest", 2), ("latest~0", 2), ("latest~2", 0), ("2026-11-02", 1), (&nights[0], 0)] {
        assert_eq!(show(reference).as_ref(), nights.get(night), "{reference}");
    }
    for (reference, said) in [
        ("latest~3", "further back"),
        ("2026-11", "3 snapshots"),
        ("2031", "no snapshot"),
        ("../x", "no snapshot has the name"),
    ] {
        for command in ["show", "rm"] {
            let code = lab.chsnap().run(&[command, reference]).code;
            assert!(code == 1 || code == 2, "{command} {reference}: {code}");
            let error = lab.chsnap().json(code, &[command, reference]);
            assert!(error["error"].as_str().is_some_and(|text| text.contains(said)), "{error}");
        }
    }
    assert_eq!(lab.listed(0), nights);
}

#[test]
fn show_says_where_a_snapshot_is_and_what_it_holds() {
    let (lab, nights) = Lab::with_nights(2);
    let document = lab.chsnap().json(0, &["show", "latest"]);
    assert_eq!((&document["schema"], &document["state"]), (&"chsnap.show.v1".into(), &"complete".into()));
    assert_eq!(document["path"], lab.at(&nights[1]).to_str().expect("a text"));
    assert_eq!((&document["tables"], &document["parts"], &document["files"]), (&1.into(), &1.into(), &2.into()));
    assert_eq!(document["table_list"][0]["table"], "orders");
    let text = lab.run(0, &["show"]).stdout;
    for said in [&nights[1], "shop.orders", "MergeTree", "ClickHouse 26.9.1"] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
}

#[test]
fn a_snapshot_that_was_made_with_warnings_lists_and_shows_without_any() {
    let lab = Lab::new();
    lab.snapshot_with("2026-11-22T02:00:00Z", |manifest| manifest.warnings.push("no rights to x".to_owned()));
    let document = lab.chsnap().json(0, &["list"]);
    assert_eq!(
        (&document["snapshots"][0]["warning_count"], &document["warnings"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert!(lab.run(0, &["list"]).stdout.contains("1 warning"));
    assert!(lab.run(0, &["show"]).stderr.contains("warning: no rights to x"));
}

#[test]
fn a_label_of_any_bytes_reads_back_and_garbles_no_terminal() {
    for bytes in [&b"\x1b[2J\x1b]0;x\x07"[..], b"a\nb\tc\r\x08", b"\xff\xfe/..", "\u{202e}\u{9b}2J é".as_bytes()] {
        let lab = Lab::new();
        lab.labeled("2026-11-22T02:00:00Z", OsStr::from_bytes(bytes));
        for command in ["list", "show"] {
            let document = lab.chsnap().json(0, &[command]);
            let row = if command == "list" { &document["snapshots"][0] } else { &document };
            assert_eq!(row["name"], String::from_utf8_lossy(bytes).as_ref());
            assert_eq!(row["name_base64"].is_string(), std::str::from_utf8(bytes).is_err(), "{row}");
            let text = lab.run(0, &["--color", "always", command]).stdout;
            let plain = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
            let is_bad = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
            assert!(!plain.contains(is_bad), "{plain:?}");
        }
        assert_eq!(lab.run(0, &["list"]).stdout.lines().count(), 2);
    }
}

#[test]
fn a_label_that_is_not_text_is_in_json_as_its_bytes() {
    let lab = Lab::new();
    lab.labeled("2026-11-22T02:00:00Z", OsStr::from_bytes(b"pre\xffupgrade\n"));
    assert_eq!(lab.chsnap().json(0, &["show"])["name_base64"], "cHJl/3VwZ3JhZGUK");
}

#[test]
fn a_pin_is_listed_with_its_reason_and_an_unreadable_one_pins_all_the_same() {
    let (lab, nights) = Lab::with_nights(4);
    lab.pin(&nights[0], r#"{"reason": "year end", "since": "2026-11-01T03:00:00Z"}"#);
    lab.pin(&nights[1], "\0garbage");
    fs::create_dir(lab.repo().join("pins").join(format!("{}.json", nights[2]))).expect("a directory");
    let rows = lab.chsnap().json(0, &["list"])["snapshots"].clone();
    let pinned: Vec<bool> = (0..4).filter_map(|night| rows[night]["pinned"].as_bool()).collect();
    assert_eq!(pinned, [true, true, true, false]);
    assert_eq!(rows[0]["pin"]["reason"], "year end");
    let shown = lab.chsnap().json(0, &["show", &nights[1]]);
    assert_eq!(shown["pinned"], true);
    assert!(shown["pin"]["reason"].as_str().is_some_and(|reason| reason.contains("cannot be read")), "{shown}");
    assert!(lab.run(0, &["list"]).stdout.contains("[pinned: year end]"));
}

#[test]
fn foreign_names_are_warned_of_and_are_no_snapshots() {
    let (lab, nights) = Lab::with_nights(2);
    fs::create_dir(lab.at("2026-11-22")).expect("a directory");
    fs::write(lab.at("2026-11-30T020000Z"), "a file").expect("a file");
    std::os::unix::fs::symlink(lab.at(&nights[0]), lab.at("2026-11-29T020000Z")).expect("a link");
    fs::create_dir(lab.repo().join("snapshots").join(OsStr::from_bytes(b"\x1b[2J\xff"))).expect("a directory");
    let document = lab.chsnap().json(3, &["list"]);
    assert_eq!(ids(&document["snapshots"], "id"), nights);
    assert_eq!(document["warnings"].as_array().map(Vec::len), Some(4), "{document}");
    let run = lab.run(3, &["list"]);
    assert!(run.stderr.contains("is no snapshot of chsnap's") && !run.stderr.contains('\u{1b}'), "{}", run.stderr);
    assert_eq!(lab.chsnap().json(0, &["show", "latest"])["id"], nights[1].as_str());
}

#[test]
fn an_unfinished_snapshot_is_never_listed_nor_latest() {
    let (lab, nights) = Lab::with_nights(1);
    lab.locked(|locked| {
        let incoming = locked.begin(crate::cli::support::time("2026-12-01T02:00:00Z"), "http://x", Vec::new());
        let incoming = incoming.expect("a snapshot begins");
        fs::copy(lab.at(&nights[0]).join("manifest.json"), incoming.dir().path().join("manifest.json"))
            .expect("a copy");
    });
    assert_eq!(lab.listed(0), nights);
    assert_eq!(lab.chsnap().json(0, &["show"])["id"], nights[0].as_str());
    lab.run(1, &["show", "2026-12-01"]);
}
