//! Views and dictionaries that come in the place of those that are there, also where the restore is killed in the middle.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::front::{Front, Reply};
use crate::support::repository;

/// Kills a restore at the `nth` of its statements that change the server, which gets that one too or does not. False where it
/// sends fewer.
fn is_killed(engine: &Engine, chsnap: &Chsnap, arguments: &[&str], nth: usize, is_sent: bool) -> bool {
    let victim: Arc<Mutex<Option<u32>>> = Arc::default();
    let (process, count) = (Arc::clone(&victim), AtomicUsize::new(0));
    let front = Front::start(&engine.url(), move |sql| {
        if !sql.starts_with("/* chsnap_restore_") || count.fetch_add(1, Ordering::SeqCst) + 1 != nth {
            return Reply::Same;
        }
        let pid = loop {
            match *process.lock().expect("no thread panics with it") {
                Some(pid) => break pid,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
        assert!(killed.success());
        if is_sent { Reply::Same } else { Reply::Instead("SELECT 1".to_owned()) }
    });
    let mut command = chsnap.clone().url(front.url()).command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    *victim.lock().expect("no thread panics with it") = Some(child.id());
    let is_killed = !child.wait().expect("it ends").success();
    // The server may have yet to carry out what it was sent.
    std::thread::sleep(Duration::from_millis(300));
    is_killed
}

/// Tables of `lab`, and staging directories: what a restore that is over has left.
fn names(engine: &Engine) -> Vec<String> {
    let tables = engine.query("SELECT name FROM system.tables WHERE database = 'lab' ORDER BY name");
    let entries = std::fs::read_dir(engine.data_path()).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    tables.lines().map(str::to_owned).chain(entries.filter(|name| name.starts_with("chsnap_"))).collect()
}

fn create(engine: &Engine, name: &str, factor: u8) {
    engine.query(&match name {
        "v" => format!("CREATE VIEW lab.v AS SELECT k * {factor} AS k FROM lab.src"),
        "mv" => format!("CREATE MATERIALIZED VIEW lab.mv TO lab.dst AS SELECT k * {factor} AS k FROM lab.src"),
        _ => format!(
            "CREATE DICTIONARY lab.d (k UInt64, v UInt64) PRIMARY KEY k \
             SOURCE(CLICKHOUSE(QUERY 'SELECT 1 AS k, {factor} AS v')) LAYOUT(FLAT()) LIFETIME(0)"
        ),
    });
}

/// The factor of an object's definition, by what it does.
fn factor(engine: &Engine, name: &str) -> String {
    match name {
        "v" => engine.query("SELECT max(k) FROM lab.v"),
        "mv" => {
            engine.query("TRUNCATE TABLE lab.dst");
            engine.query("INSERT INTO lab.src VALUES (1)");
            engine.query("SELECT sum(k) FROM lab.dst")
        }
        _ => engine.query(
            "SELECT extract(create_table_query, '([0-9]+) AS v') FROM system.tables WHERE database = 'lab' AND name = 'd'",
        ),
    }
}

/// A materialized view `lab.sums` with an inner table, and a snapshot of it.
struct Sums<'a> {
    engine: &'a Engine,
    chsnap: Chsnap,
}

impl<'a> Sums<'a> {
    /// The rows in the snapshot, by [`Sums::rows`] with four keys.
    const STORED: &'static str = "0\t5\n1\t5\n2\t5\n3\t5";

    fn new(engine: &'a Engine) -> Self {
        engine.query("CREATE DATABASE lab");
        engine.query("CREATE TABLE lab.events (k UInt64, a UInt64) ENGINE = MergeTree ORDER BY k");
        let lab = Self { engine, chsnap: repository(engine) };
        lab.create(4, "sum(a)");
        lab.insert();
        lab.chsnap.json(0, &["create"]);
        assert_eq!(lab.rows(4), Self::STORED);
        lab
    }

    fn create(&self, keys: u8, total: &str) {
        self.engine.query(&format!(
            "CREATE MATERIALIZED VIEW lab.sums ENGINE = SummingMergeTree ORDER BY g{keys} \
             AS SELECT k % {keys} AS g{keys}, {total} AS total FROM lab.events GROUP BY g{keys}"
        ));
    }

    fn insert(&self) {
        self.engine.query("INSERT INTO lab.events SELECT number, 1 FROM numbers(20)");
    }

    fn rows(&self, keys: u8) -> String {
        self.engine.query(&format!("SELECT g{keys}, sum(total) FROM lab.sums GROUP BY g{keys} ORDER BY g{keys}"))
    }

    /// Makes another view in its place, with rows.
    fn change(&self) {
        self.engine.query("DROP TABLE lab.sums");
        self.create(2, "sum(a)");
        self.insert();
        assert_eq!(self.rows(2), "0\t10\n1\t10");
    }

    /// As [`Sums::change`], with an inner table of the same definition.
    fn change_query(&self) {
        self.engine.query("DROP TABLE lab.sums");
        self.create(4, "sum(a * 3)");
        self.insert();
        assert_eq!(self.rows(4), "0\t15\n1\t15\n2\t15\n3\t15");
    }

    /// Tables, and staging directories.
    fn names(&self) -> Vec<String> {
        let without_uuid = |name: String| if name.starts_with(".inner") { ".inner".to_owned() } else { name };
        names(self.engine).into_iter().map(without_uuid).collect()
    }
}

/// The inner table in the document of a restore.
fn inner_of(document: &serde_json::Value) -> &serde_json::Value {
    let tables = document["tables"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    let inner = tables.iter().find(|table| table["table"].as_str().is_some_and(|name| name.starts_with(".inner")));
    inner.unwrap_or_else(|| panic!("{document:#}"))
}

#[apply(both_engines)]
fn a_view_is_replaced_once_wherever_the_restore_is_killed(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for table in ["src", "dst"] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
    }
    engine.query("INSERT INTO lab.src VALUES (1)");
    let objects = if engine.kind() == Kind::V26 { vec!["v", "mv", "d"] } else { vec!["v", "mv"] };
    for name in &objects {
        create(&engine, name, 1);
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let before = names(&engine);
    for name in objects {
        let table = format!("lab.{name}");
        let restore = ["restore", "latest", "--yes", "--replace", "--table", &table];
        let drop = if name == "d" { "DICTIONARY" } else { "TABLE" };
        let change = || {
            engine.query(&format!("DROP {drop} IF EXISTS lab.{name}"));
            create(&engine, name, 7);
            assert_eq!(factor(&engine, name), "7", "{name}");
        };
        change();
        let plan = chsnap.expect(0, &[&restore[..], &["--dry-run"]].concat()).stdout;
        assert!(plan.contains("REPLACE the ") && plan.contains("LOSES another definition"), "{plan}");
        assert_eq!(plan.contains("do not reach its target"), name == "mv", "{plan}");
        let mut kills = 0;
        for nth in 1.. {
            let mut hits = 0;
            for is_sent in [false, true] {
                change();
                hits += u32::from(is_killed(&engine, &chsnap, &restore, nth, is_sent));
                let rerun = chsnap.run(&restore);
                let when = format!("{name}, statement {nth}, sent: {is_sent}\n{}{}", rerun.stdout, rerun.stderr);
                assert_eq!(rerun.code, 0, "{when}");
                assert_eq!((factor(&engine, name), names(&engine)), ("1".to_owned(), before.clone()), "{when}");
            }
            kills += hits;
            if hits == 0 {
                break;
            }
        }
        assert!(kills >= 6, "{name}: {kills} kills hit");
    }
}

#[apply(both_engines)]
fn a_view_that_feeds_a_table_is_lost_by_no_refusal(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for table in ["src", "other", "dst"] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
    }
    engine.query("CREATE MATERIALIZED VIEW lab.mv TO lab.dst AS SELECT k FROM lab.other");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP TABLE lab.mv");
    create(&engine, "mv", 7);
    let restore = ["restore", "latest", "--yes", "--replace", "--table", "lab.mv"];
    if engine.kind() == Kind::V18 {
        // It takes no view whose source lacks its column, and gives none another name.
        engine.query("DROP TABLE lab.other");
        engine.query("CREATE TABLE lab.other (z UInt64) ENGINE = MergeTree ORDER BY z");
        let refused = chsnap.run(&restore);
        assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
        let kept = chsnap.run(&[&restore[..], &["--keep-replaced"]].concat());
        assert_eq!(kept.code, 3, "{}{}", kept.stdout, kept.stderr);
        assert!(kept.stderr.contains("leave out --keep-replaced"), "{}", kept.stderr);
        assert_eq!(
            (factor(&engine, "mv"), names(&engine)),
            ("7".to_owned(), ["dst", "mv", "other", "src"].map(str::to_owned).to_vec())
        );
        return;
    }
    let report = chsnap.json(0, &[&restore[..], &["--keep-replaced"]].concat());
    let kept = report["tables"][0]["replaced_table"]["table"].as_str().unwrap_or_else(|| panic!("{report:#}"));
    // Attached, it would feed its target as well.
    engine.query("INSERT INTO lab.other VALUES (3)");
    engine.query("INSERT INTO lab.src VALUES (5)");
    assert_eq!(engine.query("SELECT sum(k) FROM lab.dst"), "3");
    engine.query(&format!("ATTACH TABLE lab.`{kept}`"));
    engine.query("INSERT INTO lab.src VALUES (5)");
    assert_eq!(engine.query("SELECT sum(k) FROM lab.dst"), "38");
}

#[apply(both_engines)]
fn an_inner_table_comes_with_its_view_or_stays(engine: Engine) {
    let lab = Sums::new(&engine);
    let chsnap = &lab.chsnap;
    let restore = ["restore", "latest", "--yes", "--replace", "--table", "lab.sums"];
    // Under the same definition it is replaced as any table is, also where it is named without its view.
    for table in ["lab.sums", "lab..inner*"] {
        lab.insert();
        assert_ne!(lab.rows(4), Sums::STORED);
        let restore = ["restore", "latest", "--yes", "--replace", "--table", table];
        let plan = chsnap.expect(0, &[&restore[..], &["--dry-run"]].concat()).stdout;
        assert!(plan.contains("LOSES") && !plan.contains("REPLACE the view"), "{plan}");
        chsnap.expect(0, &restore);
        assert_eq!(lab.rows(4), Sums::STORED, "{table}");
    }
    lab.insert();
    assert_eq!(lab.rows(4), "0\t10\n1\t10\n2\t10\n3\t10", "it still feeds its inner table");
    // Under another one it stays unless the view is named.
    lab.change();
    let live = lab.rows(2);
    for more in [&["--all"][..], &["--data-only", "--table", "lab.sums"]] {
        let restore = [&["restore", "latest", "--yes", "--replace"][..], more].concat();
        let plan = chsnap.expect(3, &[&restore[..], &["--dry-run"]].concat());
        let text = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("inner table of lab.sums") && text.contains("(DROP TABLE lab.sums)"), "{text}");
        assert_eq!(text.contains("--replace --table 'lab.sums' replaces"), more == ["--all"], "{text}");
        let document = chsnap.json(3, &restore);
        assert_eq!(inner_of(&document)["state"], "present", "{document:#}");
        assert_eq!(lab.rows(2), live, "{more:?}");
    }
    // Of one that is not replaced, nothing is made.
    let before = lab.names();
    let front = Front::start(&engine.url(), |sql| {
        // Not the old one, which is attached again.
        if sql.contains("*/ ATTACH MATERIALIZED VIEW") && sql.contains("g4") {
            Reply::Instead("SELECT no_such_column".to_owned())
        } else {
            Reply::Same
        }
    });
    let refused = chsnap.clone().url(front.url()).run(&[&["--json"][..], &restore].concat());
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    let document: serde_json::Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!(inner_of(&document)["state"], "failed", "{document:#}");
    assert_eq!((lab.rows(2), lab.names()), (live.clone(), before), "{document:#}");
    lab.insert();
    assert_eq!(lab.rows(2), "0\t20\n1\t20");
    // With its view it is replaced, and the plan says what is lost.
    let plan = chsnap.expect(0, &[&restore[..], &["--dry-run"]].concat()).stdout;
    let text = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("REPLACE the view") && text.contains("LOSES 4 rows in 2 parts, another definition"),
        "{text}"
    );
    let document = chsnap.json(0, &restore);
    assert_eq!(inner_of(&document)["state"], "replaced", "{document:#}");
    assert_eq!((lab.rows(4).as_str(), lab.names().len()), (Sums::STORED, 3), "{document:#}");
    lab.insert();
    assert_eq!(lab.rows(4), "0\t10\n1\t10\n2\t10\n3\t10");
    // What it replaces can be kept, where a materialized view can have another name.
    lab.change();
    let keep = [&restore[..], &["--keep-replaced"]].concat();
    if engine.kind() == Kind::V18 {
        let plan = chsnap.expect(3, &[&keep[..], &["--dry-run"]].concat()).stdout;
        assert!(plan.contains("leave out --keep-replaced"), "{plan}");
        chsnap.expect(3, &keep);
        assert_eq!(lab.rows(2), "0\t10\n1\t10");
        return;
    }
    let document = chsnap.json(0, &keep);
    let view = document["tables"].as_array().expect("a list").iter().find(|table| table["table"] == "sums");
    let kept = view.expect("the view")["replaced_table"]["table"].as_str().unwrap_or_else(|| panic!("{document:#}"));
    assert_eq!(lab.rows(4), Sums::STORED);
    let old = format!("SELECT g2, sum(total) FROM lab.`{kept}` GROUP BY g2 ORDER BY g2");
    assert_eq!(engine.query(&old), "0\t10\n1\t10");
}

#[apply(both_engines)]
fn a_view_with_an_inner_table_is_replaced_once_wherever_the_restore_is_killed(engine: Engine) {
    let lab = Sums::new(&engine);
    let restore = ["restore", "latest", "--yes", "--replace", "--table", "lab.sums"];
    // Another query and another inner table; only another query, which the inner table of before fits.
    for is_other_table in [true, false] {
        let change = || if is_other_table { lab.change() } else { lab.change_query() };
        let mut kills = 0;
        for nth in 1.. {
            let mut hits = 0;
            for is_sent in [false, true] {
                change();
                hits += u32::from(is_killed(&engine, &lab.chsnap, &restore, nth, is_sent));
                let rerun = lab.chsnap.run(&restore);
                let when = format!("statement {nth}, sent: {is_sent}\n{}{}", rerun.stdout, rerun.stderr);
                assert_eq!(rerun.code, 0, "{when}");
                assert_eq!((lab.rows(4).as_str(), lab.names().len()), (Sums::STORED, 3), "{when} {:?}", lab.names());
                lab.insert();
                assert_eq!(lab.rows(4), "0\t10\n1\t10\n2\t10\n3\t10", "{when}");
            }
            kills += hits;
            if hits == 0 {
                break;
            }
        }
        assert!(kills >= 6, "{kills} kills hit");
    }
}

#[apply(both_engines)]
fn a_view_is_not_replaced_by_one_whose_target_is_missing(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for table in ["src", "dst", "live"] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
    }
    create(&engine, "mv", 1);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP TABLE lab.mv");
    engine.query("DROP TABLE lab.dst");
    engine.query("CREATE MATERIALIZED VIEW lab.mv TO lab.live AS SELECT k * 7 AS k FROM lab.src");
    let restore = ["restore", "latest", "--yes", "--replace", "--table", "lab.mv"];
    let plan = chsnap.expect(3, &[&restore[..], &["--dry-run"]].concat()).stdout;
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plan.contains("its target lab.dst") && plan.contains("select that table too"), "{plan}");
    assert!(!plan.contains("REPLACE") && !plan.contains("LOSES"), "{plan}");
    let names_target = |report: &serde_json::Value| {
        let warnings = report["tables"][0]["warnings"].as_array().unwrap_or_else(|| panic!("{report:#}"));
        warnings.iter().any(|warning| warning.as_str().is_some_and(|text| text.starts_with("its target lab.dst ")))
    };
    let report = chsnap.json(3, &restore);
    assert!(names_target(&report), "{report:#}");
    engine.query("INSERT INTO lab.src VALUES (1)");
    assert_eq!(engine.query("SELECT sum(k) FROM lab.live"), "7");
    // If it is made again it is what was requested, and the target is named.
    engine.query("DROP TABLE lab.mv");
    let document = chsnap.json(3, &["restore", "latest", "--yes", "--table", "lab.mv"]);
    assert!(names_target(&document), "{document:#}");
    assert_eq!(document["tables"][0]["state"], "created", "{document:#}");
    // The remedy.
    engine.query("DROP TABLE lab.mv");
    engine.query("CREATE MATERIALIZED VIEW lab.mv TO lab.live AS SELECT k * 7 AS k FROM lab.src");
    chsnap.expect(0, &[&restore[..], &["--table", "lab.dst"]].concat());
    assert_eq!(factor(&engine, "mv"), "1");
}
