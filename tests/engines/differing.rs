//! `diff`: what the servers themselves did to their tables, between two snapshots and since one.

use serde_json::{Value, json};

use crate::engine::both_engines;
use crate::engine::{Engine, Kind};
use crate::support::{load, repository};

/// The table of a document of differences.
fn table<'a>(document: &'a Value, name: &str) -> &'a Value {
    let tables = document["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {document}"))
}

fn parts(tallies: &Value) -> [u64; 6] {
    let count = |kind: &str| tallies[kind]["parts"].as_u64().unwrap_or_else(|| panic!("{kind}: {tallies}"));
    [count("added"), count("merged"), count("mutated"), count("dropped"), count("unchanged"), count("unknown")]
}

both_engines! {
    fn what_a_server_did_is_told_live_and_between_snapshots(engine: Engine) {
        load(&engine);
        for table in ["events", "latest", "sums", "plain"] {
            engine.query(&format!("OPTIMIZE TABLE lab.{table} FINAL"));
        }
        engine.query("SYSTEM STOP MERGES lab.plain");
        let chsnap = repository(&engine);
        let first = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
        let document = chsnap.json(0, &["diff", "latest", "live"]);
        assert_eq!((&document["identical"], &document["b"]), (&json!(true), &json!({"live": true})), "{document}");
        assert_eq!(document["before"], document["after"], "a part that is the same is as large as it was");

        // A new part, two merged into one, a mutation, a partition dropped, a column more, a table less, one more.
        engine.query("INSERT INTO lab.plain SELECT number FROM numbers(25)");
        engine.query("INSERT INTO lab.latest SELECT number + 1000, 'x' FROM numbers(5)");
        engine.query("OPTIMIZE TABLE lab.latest FINAL");
        engine.query("ALTER TABLE lab.events DROP PARTITION 202601");
        engine.query("ALTER TABLE lab.sums DELETE WHERE k = 3");
        let done = || engine.query("SELECT count() FROM system.mutations WHERE NOT is_done") == "0";
        for _ in 0..200 {
            if done() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(done(), "the mutation ends");
        engine.query("ALTER TABLE lab.empty ADD COLUMN note String");
        engine.query("DROP TABLE lab.seen");
        engine.query("CREATE TABLE lab.more (a UInt8) ENGINE = MergeTree ORDER BY a");
        engine.query("INSERT INTO lab.more SELECT number FROM numbers(7)");

        let live = chsnap.json(0, &["diff", &first, "live"]);
        let second = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
        // Without the server, too.
        let url = engine.url();
        let chsnap = chsnap.url("http://127.0.0.1:9");
        let between = chsnap.json(0, &["diff", &first, &second]);
        for document in [&live, &between] {
            assert_eq!(parts(table(document, "plain")), [1, 0, 0, 0, 1, 0], "{document}");
            assert_eq!(table(document, "plain")["added"]["rows"], 25);
            assert_eq!(parts(table(document, "latest"))[..4], [1, 1, 0, 0], "{document}");
            assert_eq!(parts(table(document, "sums"))[..4], [0, 0, 1, 0], "{document}");
            let events = table(document, "events");
            assert_eq!((events["dropped"]["rows"].clone(), events["state"].clone()), (json!(3000), json!("changed")), "{document}");
            assert_eq!(parts(events)[4], 3, "{document}");
            let definition = table(document, "empty")["definition"].as_str().expect("it changed").to_owned();
            assert!(definition.contains('+') && definition.contains("note"), "{definition}");
            assert_eq!(table(document, "seen")["state"], "dropped");
            assert_eq!((&table(document, "more")["state"], &table(document, "more")["added"]["rows"]), (&json!("added"), &json!(7)));
            assert_eq!(table(document, "mv")["state"], "unchanged", "{document}");
        }
        let chsnap = chsnap.url(&url);
        assert_eq!(chsnap.json(0, &["diff", "latest", "live"])["identical"], true);
        let text = chsnap.expect(0, &["diff", &first, "live"]).stdout;
        assert!(text.contains("lab.more  new table") && text.contains("lab.seen  dropped table") && text.contains("+25"), "{text}");
    }
}

/// On 18.16 a changed type rewrites a part under its own name, and the server has no fingerprint that would tell.
#[test]
fn a_part_rewritten_under_its_own_name_is_no_unchanged_one() {
    let engine = Engine::start(Kind::V18);
    engine.query("CREATE TABLE default.t (k UInt32, v UInt32) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number, number FROM numbers(100)");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    engine.query("ALTER TABLE default.t MODIFY COLUMN v String");
    let live = chsnap.json(0, &["diff", &first, "live"]);
    assert_eq!(parts(table(&live, "t")), [0, 0, 1, 0, 0, 0], "{live}");
    let second = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    let between = chsnap.json(0, &["diff", &first, &second]);
    assert_eq!(parts(table(&between, "t"))[2], 1, "{between}");
}

both_engines! {
    /// A repository elsewhere has other inodes: then the files themselves say what they hold.
    fn parts_that_were_copied_are_told_by_what_they_hold(engine: Engine) {
        load(&engine);
        let chsnap = repository(&engine);
        let created = chsnap.json(0, &["create"]);
        let parts_of_all = created["parts"].as_u64().expect("a number");
        let data = crate::support::path_of(&chsnap, &created).join("data");
        let copied = data.with_extension("copied");
        let output = std::process::Command::new("cp").arg("-a").args([&data, &copied]).output().expect("cp runs");
        assert!(output.status.success());
        std::fs::remove_dir_all(&data).expect("removed");
        std::fs::rename(&copied, &data).expect("renamed");
        let document = chsnap.json(0, &["diff", "latest", "live"]);
        assert_eq!((&document["identical"], document["unchanged"]["parts"].as_u64()), (&json!(true), Some(parts_of_all)), "{document}");
    }
}
