//! `list`, `show` and `rm` on manifests and repositories that this version cannot read.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cli::support::{Lab, ids, names, tree};

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("a file");
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).expect("the file is written");
}

/// Spoils the manifest at the first path; a sound one is at the second.
type Damage = fn(&Path, &Path);

const DAMAGES: [(&str, Damage); 8] = [
    ("missing", |manifest, _| fs::remove_file(manifest).expect("removed")),
    ("empty", |manifest, _| fs::write(manifest, "").expect("written")),
    ("binary", |manifest, _| fs::write(manifest, [0xff, 0, 0x1b, b'[', 0x80]).expect("written")),
    ("truncated", |manifest, _| {
        let text = fs::read(manifest).expect("a manifest");
        fs::write(manifest, text.split_at(text.len() / 2).0).expect("written");
    }),
    ("of another snapshot", |manifest, other| fs::copy(other, manifest).map(drop).expect("copied")),
    ("a directory", |manifest, _| {
        fs::remove_file(manifest).expect("removed");
        fs::create_dir(manifest).expect("a directory");
    }),
    ("a symbolic link", |manifest, other| {
        fs::remove_file(manifest).expect("removed");
        std::os::unix::fs::symlink(other, manifest).expect("a link");
    }),
    ("a pipe", |manifest, _| {
        fs::remove_file(manifest).expect("removed");
        assert!(Command::new("mkfifo").arg(manifest).status().expect("mkfifo starts").success());
    }),
];

#[test]
fn a_snapshot_with_a_damaged_manifest_is_listed_as_damaged_and_is_never_latest() {
    for (what, damage) in DAMAGES {
        let (lab, nights) = Lab::with_nights(3);
        assert_eq!(lab.listed(0), nights, "the index knows the sound manifests");
        damage(&lab.at(&nights[2]).join("manifest.json"), &lab.at(&nights[0]).join("manifest.json"));
        let document = lab.chsnap().json(3, &["list"]);
        let rows = document["snapshots"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["id"] == nights[2].as_str()).expect("it is listed");
        assert_eq!((rows.len(), &row["state"]), (3, &"damaged".into()), "{what}");
        assert!(ids(&document["warnings"], "").concat().contains(&nights[2]), "{what}: {document}");
        assert!(lab.run(3, &["list"]).stdout.contains("damaged"), "{what}");
        assert_eq!(lab.chsnap().json(0, &["show", "latest"])["id"], nights[1].as_str(), "{what}");
        assert!(
            lab.run(1, &["show", "latest~2"]).stderr.contains("further back than the oldest snapshot; there are 2"),
            "{what}"
        );
        let run = lab.run(1, &["show", &nights[2]]);
        assert!(run.stderr.contains("cannot read") && !run.stderr.contains('\u{1b}'), "{what}: {}", run.stderr);
    }
}

#[test]
fn a_damaged_snapshot_can_be_removed_and_does_not_count_as_the_last_complete_one() {
    let (lab, nights) = Lab::with_nights(2);
    fs::write(lab.at(&nights[1]).join("manifest.json"), "{").expect("damage");
    lab.run(13, &["rm", &nights[0]]);
    lab.run(0, &["rm", &nights[1]]);
    assert_eq!(lab.listed(0), [nights[0].clone()]);
}

#[test]
fn a_manifest_of_a_newer_format_is_listed_with_a_warning_and_never_shown() {
    let (lab, nights) = Lab::with_nights(2);
    edit(&lab.at(&nights[1]).join("manifest.json"), "\"format\": 1", "\"format\": 2");
    let document = lab.chsnap().json(3, &["list"]);
    let rows = document["snapshots"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["id"] == nights[1].as_str() && row["state"] == "newer_format"), "{document}");
    assert!(ids(&document["warnings"], "").concat().contains("format 2"), "{document}");
    let error = lab.chsnap().json(1, &["show", &nights[1]]);
    assert!(error["error"].as_str().is_some_and(|text| text.contains("format 2")), "{error}");
    assert!(error["hint"].is_string());
    assert_eq!(lab.chsnap().json(0, &["show"])["id"], nights[0].as_str());
}

#[test]
fn a_newer_format_is_recognized_even_if_the_rest_of_the_manifest_cannot_be_read() {
    let (lab, nights) = Lab::with_nights(1);
    fs::write(lab.at(&nights[0]).join("manifest.json"), r#"{"format": 7, "all": "new"}"#).expect("a manifest");
    let document = lab.chsnap().json(3, &["list"]);
    assert_eq!(document["snapshots"][0]["state"], "newer_format");
}

#[test]
fn a_repository_of_a_newer_format_can_be_read_and_not_changed() {
    let (lab, nights) = Lab::with_nights(3);
    lab.run(0, &["rm", &nights[0]]);
    edit(&lab.repo().join("chsnap.json"), "\"format\": 1", "\"format\": 2");
    let document = lab.chsnap().json(3, &["list"]);
    assert_eq!(ids(&document["snapshots"], "id"), nights[1..]);
    assert!(ids(&document["warnings"], "").concat().contains("format 2"), "{document}");
    assert_eq!(lab.chsnap().json(0, &["show"])["id"], nights[2].as_str());
    let before = (tree(&lab.repo().join("snapshots")), tree(&lab.trash()));
    for command in [&["rm", "--force", "latest"][..], &["undo"], &["gc"], &["init"]] {
        let error = lab.chsnap().json(1, command);
        assert_eq!(error["schema"], "chsnap.error.v1", "{command:?}");
    }
    assert_eq!((tree(&lab.repo().join("snapshots")), tree(&lab.trash())), before);
}

#[test]
fn a_repository_whose_directories_are_missing_is_an_empty_one() {
    let lab = Lab::new();
    for name in names(&lab.repo()) {
        let path = lab.repo().join(name);
        if path.is_dir() {
            fs::remove_dir(path).expect("an empty directory");
        }
    }
    assert!(lab.listed(0).is_empty());
    lab.run(0, &["gc"]);
    lab.snapshot("2026-11-22T02:00:00Z");
    assert_eq!(lab.listed(0).len(), 1);
}

#[test]
fn directories_of_the_repository_that_are_symbolic_links_lead_nowhere() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    let outside = lab.path().join("outside");
    for name in ["trash", "incoming"] {
        let own = lab.repo().join(name);
        fs::rename(&own, lab.repo().join("aside")).expect("moved aside");
        fs::create_dir_all(outside.join("2026-01-01T000000Z/precious")).expect("a directory");
        std::os::unix::fs::symlink(&outside, &own).expect("a link");
        lab.run(1, &["gc"]);
        assert!(outside.join("2026-01-01T000000Z/precious").is_dir(), "{name}");
        fs::remove_file(&own).expect("the link is removed");
        fs::rename(lab.repo().join("aside"), &own).expect("moved back");
    }
    lab.run(0, &["undo"]);
    assert_eq!(lab.listed(0), nights);
}
