//! Tables that are dropped, renamed, altered and written to while a snapshot is made.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{path_of, repository, restore_by_hand, shadows};

/// Runs `disturb` over and over while `snapshots` are taken, then returns their answers.
fn while_disturbed(chsnap: &Chsnap, snapshots: usize, disturb: impl Fn(usize) + Sync) -> Vec<serde_json::Value> {
    struct StopAtTheEnd<'a>(&'a AtomicBool);
    impl Drop for StopAtTheEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                disturb(round);
                round += 1;
            }
        });
        // Also when an assertion fails: the scope waits for its threads.
        let _stop = StopAtTheEnd(&stop);
        let answers: Vec<serde_json::Value> = (0..snapshots)
            .filter_map(|_| {
                let run = chsnap.run(&["--json", "--progress", "none", "create"]);
                if run.code == 1 && run.stderr.contains("none of the") {
                    // Every table moved in every round: then there is no snapshot, which is never a wrong one.
                    return None;
                }
                assert!(matches!(run.code, 0 | 3), "{} {} {}", run.code, run.stdout, run.stderr);
                Some(serde_json::from_str(&run.stdout).expect("a document"))
            })
            .collect();
        assert!(!answers.is_empty(), "none of {snapshots} snapshots could be made");
        answers
    })
}

#[apply(both_engines)]
fn inserts_and_merges_never_tear_a_snapshot(engine: Engine) {
    engine.query("CREATE TABLE default.w (batch UInt64, n UInt64) ENGINE = MergeTree ORDER BY batch");
    engine.query("INSERT INTO default.w SELECT 0, number FROM numbers(100)");
    let chsnap = repository(&engine);
    let answers = while_disturbed(&chsnap, 5, |round| {
        engine.query(&format!("INSERT INTO default.w SELECT {} , number FROM numbers(100)", round + 1));
        if round % 5 == 4 {
            engine.query("OPTIMIZE TABLE default.w FINAL");
        }
    });
    for answer in answers {
        assert_eq!(answer["tables"], 1, "{answer}");
        let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &answer), engine.kind());
        // Whole inserts only, none missing in between, and each row once.
        let torn = restored
            .query("SELECT count() FROM (SELECT batch, count() AS c FROM default.w GROUP BY batch HAVING c != 100)");
        assert_eq!(torn, "0");
        assert_eq!(restored.query("SELECT max(batch) + 1 = uniqExact(batch) FROM default.w"), "1");
    }
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn a_table_that_is_altered_meanwhile_has_parts_and_definition_of_one_moment(engine: Engine) {
    engine.query("CREATE TABLE default.a (id UInt64, v UInt32) ENGINE = MergeTree ORDER BY id");
    for part in 0..10 {
        engine.query(&format!("INSERT INTO default.a SELECT number + {part}, 7 FROM numbers(100)"));
    }
    // A snapshot of nothing at all is refused.
    engine.query("CREATE TABLE default.still (id UInt64) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.still SELECT number FROM numbers(10)");
    let rows = engine.query("SELECT count(), sum(v) FROM default.a");
    let chsnap = repository(&engine);
    let answers = while_disturbed(&chsnap, 5, |round| {
        engine.query(if round % 2 == 0 {
            "ALTER TABLE default.a MODIFY COLUMN v UInt64"
        } else {
            "ALTER TABLE default.a MODIFY COLUMN v UInt32"
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
    });
    let mut taken = 0;
    for answer in answers.iter().filter(|answer| answer["tables"] == 2) {
        taken += 1;
        let restored = restore_by_hand(&chsnap, &path_of(&chsnap, answer), engine.kind());
        assert_eq!(restored.query("SELECT count(), sum(v) FROM default.a"), rows);
    }
    for answer in answers.iter().filter(|answer| answer["tables"] != 2) {
        assert!(answer["warnings"][0].as_str().is_some_and(|text| text.contains("default.a")), "{answer}");
    }
    assert!(taken > 0 || engine.kind() == Kind::V18, "{answers:?}");
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn tables_dropped_and_made_again_are_whole_or_named(engine: Engine) {
    engine.query("CREATE TABLE default.stays (id UInt64) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.stays SELECT number FROM numbers(1000)");
    let make = |name: &str, rows: usize| {
        engine.query(&format!("CREATE TABLE default.{name} (id UInt64) ENGINE = MergeTree ORDER BY id"));
        engine.query(&format!("INSERT INTO default.{name} SELECT number FROM numbers({rows})"));
    };
    make("comes", 10);
    make("moves", 10);
    let chsnap = repository(&engine);
    let answers = while_disturbed(&chsnap, 6, |round| {
        engine.query("DROP TABLE default.comes");
        make("comes", 10);
        let (from, to) = if round % 2 == 0 { ("moves", "moved") } else { ("moved", "moves") };
        engine.query(&format!("RENAME TABLE default.{from} TO default.{to}"));
    });
    for answer in &answers {
        let restored = restore_by_hand(&chsnap, &path_of(&chsnap, answer), engine.kind());
        assert_eq!(restored.query("SELECT count() FROM default.stays"), "1000");
        for name in ["comes", "moves", "moved"] {
            let there = restored.query(&format!("EXISTS TABLE default.{name}"));
            if there == "1" {
                let count = restored.query(&format!("SELECT count() FROM default.{name}"));
                assert!(matches!(count.as_str(), "10" | "0"), "{name} has {count} rows: {answer}");
            }
        }
    }
    assert!(shadows(&engine).is_empty(), "{:?}", shadows(&engine));
    assert_eq!(std::fs::read_dir(chsnap.repo().join("incoming")).expect("incoming").count(), 0);
}

#[test]
fn exchanged_tables_never_swap_their_data() {
    let engine = Engine::start(Kind::V26);
    for (name, value) in [("x", 1), ("y", 2)] {
        engine
            .query(&format!("CREATE TABLE default.{name} (v UInt64) ENGINE = MergeTree ORDER BY v COMMENT '{value}'"));
        engine.query(&format!("INSERT INTO default.{name} SELECT {value} FROM numbers(50)"));
    }
    let chsnap = repository(&engine);
    let answers = while_disturbed(&chsnap, 6, |_| {
        engine.query("EXCHANGE TABLES default.x AND default.y");
        std::thread::sleep(std::time::Duration::from_millis(400));
    });
    for answer in &answers {
        let restored = restore_by_hand(&chsnap, &path_of(&chsnap, answer), Kind::V26);
        let tables = restored.query("SELECT name, comment FROM system.tables WHERE database = 'default'");
        for line in tables.lines() {
            let (name, comment) = line.split_once('\t').expect("two columns");
            assert_eq!(
                restored.query(&format!("SELECT count(), max(v) FROM default.{name}")),
                format!("50\t{comment}")
            );
        }
    }
    assert!(shadows(&engine).is_empty());
}
