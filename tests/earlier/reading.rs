//! Commands that only read, on these repositories.

use std::fs;

use serde_json::{Value, json};

use crate::earlier::fixture::{ALL, Unpacked, digest, owns_files, row};

#[test]
fn their_snapshots_are_listed_with_names_pins_checks_and_drills() {
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let facts = &unpacked.facts;
        let listed = unpacked.json(0, &["list"]);
        assert_eq!(listed["warnings"], json!([]));
        assert_eq!(listed["removed"], json!([facts.removed]));
        for (place, (name, id)) in ["first", "second"].into_iter().zip(unpacked.ids()).enumerate() {
            let found = &listed["snapshots"][place];
            assert_eq!((&found["id"], &found["name"], &found["state"]), (&json!(id), &json!(name), &json!("complete")));
            assert_eq!((&found["tables"], &found["parts"]), (&json!(3), &json!(facts.parts)), "{found:#}");
            assert_eq!(found["files"], facts.files[place]);
            assert_eq!(found["apparent_bytes"], facts.apparent_bytes[place]);
            assert_eq!(found["warning_count"], [1, 0][place]);
            assert_eq!(found["pinned"], [true, false][place]);
            assert_eq!(found["verified"]["level"], "data");
            assert_eq!(found["drilled"].is_null(), place == 0, "{found:#}");
        }
        assert_eq!(listed["snapshots"][0]["pin"]["reason"], "kept as it is");
        assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn tables_are_shown_with_their_notes() {
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        for (place, id) in unpacked.ids().into_iter().enumerate() {
            let shown = unpacked.json(0, &["show", id]);
            assert_eq!((&shown["id"], &shown["format"]), (&json!(id), &json!(1)));
            assert_eq!(shown["server"]["host_name"], "ch1");
            let tables = shown["table_list"].as_array().expect("tables");
            let found: Vec<_> = tables.iter().map(|table| (&table["table"], &table["rows"])).collect();
            let expected = unpacked.facts.tables.map(|(name, _, rows)| (json!(name), json!(rows[place])));
            assert_eq!(found, expected.iter().map(|(name, rows)| (name, rows)).collect::<Vec<_>>());
            for (table, (_, parts, _)) in tables.iter().zip(unpacked.facts.tables) {
                assert_eq!(table["parts"], parts, "{table:#}");
            }
            let table = |name: &str| row(&shown["table_list"], "table", name);
            assert_eq!((&table("log")["state"], &table("seen")["state"]), (&json!("data_left"), &json!("definition")));
            match unpacked.facts.kind {
                crate::engine::Kind::V26 => assert_eq!(table("patched")["patch_parts"], 1),
                crate::engine::Kind::V18 => assert_eq!(table("mutated")["mutations"], json!(["mutation_2.txt"])),
            }
            let warnings = shown["warnings"].as_array().expect("warnings");
            assert_eq!(warnings.len(), [1, 0][place]);
            assert!(warnings.iter().all(|warning| warning.as_str().expect("a sentence").contains("lab.log")));
        }
    }
}

/// The figures of `usage` that are the same whenever it is asked, and with or without an index.
fn figures(usage: &Value) -> Value {
    let mut usage = usage.clone();
    for field in ["time", "filesystem", "cost", "exact", "growth"] {
        usage.as_object_mut().expect("an object").remove(field);
    }
    usage["totals"]
        .as_object_mut()
        .expect("totals")
        .retain(|name, _| !matches!(name.as_str(), "index_bytes" | "cost_bytes"));
    usage
}

#[test]
fn usage_is_that_of_the_files_whatever_the_index_has() {
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let usage = unpacked.json(0, &["usage"]);
        assert_eq!(usage["warnings"], json!([]));
        for (place, id) in unpacked.ids().into_iter().enumerate() {
            let found = row(&usage["snapshots"], "id", id);
            assert_eq!(found["apparent_bytes"], unpacked.facts.apparent_bytes[place]);
            assert!(found["freed_bytes"].as_u64() > Some(0), "each has a part of its own: {found:#}");
        }
        let freed = |place: usize, field: &str| usage["snapshots"][place][field].as_u64().expect("bytes");
        assert!(freed(1, "freed_with_older_bytes") > freed(1, "freed_bytes"), "a part of the first goes too");
        assert_eq!(usage["trash"]["snapshots"], json!([unpacked.facts.removed]));
        let exact = unpacked.json(0, &["usage", "--exact"]);
        assert_eq!(exact["exact"], json!({"agrees": true, "differing": []}));
        assert_eq!(figures(&usage), figures(&exact));
        fs::remove_file(unpacked.chsnap.repo().join("index.sqlite")).expect("an index");
        assert_eq!(figures(&usage), figures(&unpacked.json(0, &["usage"])), "without the index");
    }
}

#[test]
fn every_byte_of_them_is_verified() {
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let digests = unpacked.ids().map(|id| digest(&unpacked.snapshot(id).join("data")));
        assert_eq!(digests, unpacked.facts.digests);
        if !owns_files() {
            return;
        }
        let verified = unpacked.json(0, &["verify", "--level", "data"]);
        assert_eq!(
            (&verified["state"], &verified["damage"], &verified["warnings"]),
            (&json!("sound"), &json!([]), &json!([]))
        );
        assert_eq!(verified["checked"]["files"], unpacked.facts.files.iter().sum::<u64>());
        assert_eq!(verified["checked"]["unverifiable_parts"], 0);
        // The second shares all but one of its parts with the first, which are read once.
        let read = verified["checked"]["read_bytes"].as_u64().expect("bytes");
        let [first, second] = unpacked.facts.apparent_bytes;
        assert!(first < read && read < first + second, "{verified:#}");
    }
}

#[test]
fn a_changed_byte_of_them_is_found() {
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let part = unpacked.snapshot(unpacked.facts.second).join("data/lab/events/202604_4_4_0");
        let file = ["data.bin", "id.bin"].map(|name| part.join(name)).into_iter().find(|file| file.exists());
        let file = file.expect("a file with data");
        let mut bytes = fs::read(&file).expect("it reads");
        let place = bytes.len() / 2;
        bytes[place] ^= 1;
        fs::write(&file, bytes).expect("it is written");
        let verified = unpacked.json(12, &["verify", "--level", "data"]);
        let damage = verified["damage"].as_array().expect("damage");
        assert!(damage.iter().any(|damage| damage["path"] == file.to_str().expect("text")), "{verified:#}");
    }
}

#[test]
fn parts_show_what_changed_between_two_snapshots() {
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        let diff = unpacked.json(0, &["diff", unpacked.facts.first, unpacked.facts.second]);
        let parts = |field: &str| diff[field]["parts"].as_u64().expect("a number");
        assert_eq!(
            (parts("added"), parts("dropped"), parts("mutated"), parts("merged"), parts("unknown")),
            (1, 1, 0, 0, 0)
        );
        assert_eq!(parts("unchanged"), unpacked.facts.parts - 1);
        let partitions = &row(&diff["tables"], "table", "events")["partitions"];
        for (partition, part, change) in [("202601", "202601_1_1_0", "dropped"), ("202604", "202604_4_4_0", "added")] {
            let parts = &row(partitions, "partition", partition)["parts"];
            assert_eq!((&parts[0]["part"], &parts[0]["change"]), (&json!(part), &json!(change)), "{diff:#}");
        }
    }
}
