//! `diff` of two snapshots, by table, partition and part, without a server.

use std::fs;
use std::path::Path;

use chsnap::model::{Fingerprint, PartName, PartitionId};
use chsnap::repo::PartRecord;
use serde_json::{Value, json};

use crate::cli::support::{Lab, ids, manifest, part_record, time};

/// Makes a snapshot of the table `shop.orders` with these parts, each of ten rows, and a number for what it holds.
fn snapshot(lab: &Lab, sequence: u64, parts: &[(&str, u8)], definition: &str) -> String {
    snapshot_with(lab, sequence, parts, definition, |_| ())
}

fn snapshot_with(
    lab: &Lab,
    sequence: u64,
    parts: &[(&str, u8)],
    definition: &str,
    change: impl FnOnce(&mut chsnap::repo::Manifest),
) -> String {
    let at = time(&format!("2026-11-{sequence:02}T02:00:00Z"));
    lab.locked(|locked| {
        let incoming = locked.begin(at, "http://127.0.0.1:9", Vec::new()).expect("a snapshot begins");
        let mut records = Vec::new();
        for (name, content) in parts {
            let dir = incoming.dir().path().join("data/shop/orders").join(name);
            fs::create_dir_all(&dir).expect("a part's directory");
            fs::write(dir.join("data.bin"), vec![*content; 100]).expect("a file");
            let partition = name.split('_').next().unwrap_or_default().to_owned();
            records.push(PartRecord {
                part: PartName::try_from((*name).to_owned()).expect("a part's name"),
                partition: PartitionId(partition.into()),
                fingerprint: (*content > 0).then(|| Fingerprint::from_bytes([*content; 16])),
                rows: Some(10),
                bytes: 100,
                files: 1,
                ..part_record()
            });
        }
        let mut manifest = manifest(incoming.id(), at, sequence, &part_record());
        let path = Path::new("metadata/shop/orders.sql");
        manifest.metadata.push(incoming.write_metadata(path, definition.as_bytes()).expect("a definition"));
        manifest.tables[0].definition = Some(path.to_string_lossy().into_owned());
        manifest.tables[0].definition_is_file = true;
        change(&mut manifest);
        incoming.seal(&mut manifest, &records, |_| Ok(())).expect("the snapshot is sealed");
        locked.forget_intent(incoming.id()).expect("the intent is forgotten");
        locked.update_latest().expect("latest");
        incoming.id().to_string()
    })
}

const OLD: &str = "ATTACH TABLE orders\n(\n    `id` UInt64\n)\nENGINE = MergeTree\nORDER BY id\n";
const NEW: &str = "ATTACH TABLE orders\n(\n    `id` UInt64,\n    `note` String\n)\nENGINE = MergeTree\nORDER BY id\n";

#[test]
fn parts_rows_bytes_and_definitions_are_compared() {
    let lab = Lab::new();
    let before = [("a_1_1_0", 1), ("a_2_2_0", 2), ("b_1_1_0", 3), ("c_1_1_0", 4), ("d_1_1_0", 5)];
    let after = [("a_1_2_1", 6), ("a_3_3_0", 7), ("b_1_1_0_9", 8), ("d_1_1_0", 5)];
    let (one, other) = (snapshot(&lab, 1, &before, OLD), snapshot(&lab, 2, &after, NEW));
    let document = lab.chsnap().json(0, &["diff", &one, &other]);
    assert_eq!((&document["schema"], &document["identical"]), (&json!("chsnap.diff.v1"), &json!(false)));
    assert_eq!((&document["a"]["id"], &document["b"]["id"]), (&json!(one), &json!(other)));
    for (kind, parts) in [
        ("before", 5),
        ("after", 4),
        ("added", 2),
        ("merged", 2),
        ("mutated", 1),
        ("dropped", 1),
        ("unchanged", 1),
        ("unknown", 0),
    ] {
        let tally = json!({"parts": parts, "rows": parts * 10, "rows_unknown_parts": 0, "bytes": parts * 100});
        assert_eq!(document[kind], tally, "{kind}");
        assert_eq!(document["tables"][0][kind], tally, "{kind}");
    }
    let table = &document["tables"][0];
    assert_eq!(
        (&table["database"], &table["table"], &table["state"]),
        (&json!("shop"), &json!("orders"), &json!("changed"))
    );
    assert_eq!(ids(&table["partitions"], "partition"), ["a", "b", "c", "d"]);
    assert_eq!(
        table["partitions"][0]["parts"],
        json!([
            {"part": "a_1_1_0", "change": "merged", "into": "a_1_2_1", "from": [], "rows": 10, "bytes": 100},
            {"part": "a_1_2_1", "change": "added", "into": null, "from": ["a_1_1_0", "a_2_2_0"], "rows": 10, "bytes": 100},
            {"part": "a_2_2_0", "change": "merged", "into": "a_1_2_1", "from": [], "rows": 10, "bytes": 100},
            {"part": "a_3_3_0", "change": "added", "into": null, "from": [], "rows": 10, "bytes": 100},
        ])
    );
    assert_eq!(table["partitions"][3]["parts"], json!([]));
    let definition = table["definition"].as_str().expect("it changed");
    assert!(definition.contains("-    `id` UInt64\n+    `id` UInt64,\n+    `note` String\n"), "{definition}");
    let text = lab.run(0, &["diff", "latest~1", "latest", "--parts"]).stdout;
    for said in ["shop.orders", "2 (200 B)", "merged  a_1_1_0 into a_1_2_1", "+    `note` String", "-10", "-100 B"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_definition_that_cannot_be_read_is_never_shown() {
    let lab = Lab::new();
    let broken =
        |secret: &str| format!("ATTACH TABLE orders (id UInt64) ENGINE = MySQL('h', 'd', 't', 'u', '{secret}'");
    let [one, other] = [(1, "hunter2"), (2, "hunter3")]
        .map(|(sequence, secret)| snapshot(&lab, sequence, &[("a_1_1_0", 1)], &broken(secret)));
    let readable = snapshot(&lab, 3, &[("a_1_1_0", 1)], &(broken("hunter4") + ")"));
    for (before, after) in [(&one, &other), (&other, &readable)] {
        let document = lab.chsnap().json(0, &["diff", before, after]);
        let table = &document["tables"][0];
        assert_eq!((&table["state"], &table["definition"]), (&json!("changed"), &Value::Null), "{document}");
        assert_eq!(document["identical"], false);
        let text = lab.run(0, &["diff", before, after]).stdout;
        assert!(text.contains("shop.orders: its definitions differ"), "{text}");
        assert!(!text.contains("hunter") && !document.to_string().contains("hunter"), "{text}");
    }
}

#[test]
fn a_snapshot_compared_with_itself_has_no_changes() {
    let lab = Lab::new();
    let id = snapshot(&lab, 1, &[("a_1_1_0", 1)], OLD);
    let document = lab.chsnap().json(0, &["diff", &id, &id]);
    assert_eq!((&document["identical"], &document["tables"][0]["definition"]), (&json!(true), &Value::Null));
    let text = lab.run(0, &["diff", &id, &id]).stdout;
    assert!(text.contains("nothing changed") && text.contains("1 table unchanged"), "{text}");
}

#[test]
fn parts_without_a_fingerprint_are_recognized_only_by_their_inodes() {
    let lab = Lab::new();
    let (one, other) = (
        snapshot(&lab, 1, &[("a_1_1_0", 0), ("a_2_2_0", 0)], OLD),
        snapshot(&lab, 2, &[("a_1_1_0", 0), ("a_2_2_0", 0)], OLD),
    );
    let file = |id: &str, part: &str| lab.at(id).join("data/shop/orders").join(part).join("data.bin");
    fs::remove_file(file(&other, "a_1_1_0")).expect("removed");
    fs::hard_link(file(&one, "a_1_1_0"), file(&other, "a_1_1_0")).expect("a link");
    let document = lab.chsnap().json(0, &["diff", &one, &other]);
    assert_eq!(
        (&document["unchanged"]["parts"], &document["unknown"]["parts"], &document["identical"]),
        (&json!(1), &json!(1), &json!(false))
    );
    let text = lab.run(0, &["diff", &one, &other]).stdout;
    assert!(text.contains("of 1 part nothing says whether they are the same"), "{text}");
}

#[test]
fn what_one_snapshot_left_out_by_option_is_not_called_dropped() {
    let lab = Lab::new();
    let one = snapshot(&lab, 1, &[("a_1_1_0", 1), ("b_1_1_0", 1)], OLD);
    let partition =
        snapshot_with(&lab, 2, &[("b_1_1_0", 1)], OLD, |manifest| manifest.settings.partitions = vec!["b".to_owned()]);
    assert_eq!(lab.chsnap().json(0, &["diff", &one, &partition])["identical"], true);
    let none = snapshot_with(&lab, 3, &[], OLD, |manifest| {
        manifest.settings.include = vec!["other.*".to_owned()];
        manifest.tables.clear();
    });
    let document = lab.chsnap().json(0, &["diff", &one, &none]);
    assert_eq!(document["not_compared"], json!([{"database": "shop", "table": "orders"}]));
    assert_eq!(document["dropped"]["parts"], 0);
}

#[test]
fn the_wrong_order_is_a_warning() {
    let lab = Lab::new();
    let (one, other) =
        (snapshot(&lab, 1, &[("a_1_1_0", 1)], OLD), snapshot(&lab, 2, &[("a_1_1_0", 1), ("a_2_2_0", 1)], OLD));
    let document = lab.chsnap().json(3, &["diff", &other, &one]);
    assert_eq!(document["dropped"]["parts"], 1);
    assert!(document["warnings"][0].as_str().is_some_and(|text| text.contains("was made before")), "{document}");
}

#[test]
fn states_that_cannot_be_compared_are_one_clear_error() {
    let (lab, nights) = Lab::with_nights(2);
    for (code, arguments, said) in [
        (1, ["diff", nights[0].as_str(), "2031"], "no snapshot"),
        (2, ["diff", "dead", "latest"], "no snapshot has the name"),
        (2, ["diff", "live", "latest"], "no snapshot has the name"),
        (1, ["diff", "latest", "live"], "127.0.0.1:9"),
    ] {
        let run = lab.run(code, &arguments);
        assert!(run.stderr.contains(said) && run.stdout.is_empty(), "{arguments:?}: {}", run.stderr);
    }
    fs::write(lab.at(&nights[0]).join("parts.jsonl.zst"), "x").expect("damage");
    let run = lab.run(1, &["diff", &nights[0], &nights[1]]);
    assert!(run.stderr.contains("parts.jsonl.zst"), "{}", run.stderr);
}
