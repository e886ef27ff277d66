//! A month of nights: inserts, merges, a mutation, damage, failing nights, incomplete snapshots and snapshots of one
//! table, a clock that jumps, a torn journal. Checks the output of every command at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use chsnap::model::{Level, SnapshotId};
use chsnap::monitor::Silent;
use chsnap::ops;
use chsnap::ops::prune::{PruneRequest, carry_out, plan_prune};
use chsnap::plan::SliceChoice;
use chsnap::plan::retention::Policy;
use chsnap::repo::{Event, Locked, Pin, TableState};
use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::store::{Store, names, part, request};

const NIGHTS: i64 = 30;
const SLICES: u32 = 5;
const RULES: [&str; 4] = ["--keep-daily", "7", "--keep-weekly", "3"];

/// What a night is like that is not as every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Night {
    Usual,
    /// The server did not answer.
    Away,
    /// A table was skipped.
    Partial,
    /// No table was taken.
    Empty,
}

fn night_of(night: i64) -> Night {
    match night {
        5 | 6 | 21 => Night::Away,
        9 | 27 => Night::Partial,
        16 => Night::Empty,
        _ => Night::Usual,
    }
}

/// The night on which the clock is 50 days ahead, and the one on which it falls back by an hour in the middle.
const AHEAD: i64 = 13;
const BACK: i64 = 17;
/// The nights on which a person confirms what looks like a mistake.
const CONFIRMED: [i64; 2] = [15, 19];
/// The nights on which a file of a live part loses bytes: of one that the server then fetches again, and of one that it merges.
const DAMAGED: i64 = 8;
const FETCHED: i64 = 20;
const DAMAGED_LATE: i64 = 24;
/// The night whose snapshot is pinned, damage and all.
const PINNED: i64 = 11;
const OLD_FILE: &str = "two/all_2_2_0/c1.bin";
const LATE_FILE: &str = "one/all_25_25_0/c1.bin";

struct Month {
    store: Store,
    chsnap: Chsnap,
    begin: DateTime<Utc>,
    /// The snapshots of one table each.
    single: Vec<SnapshotId>,
    incomplete: Vec<SnapshotId>,
    ahead: Option<SnapshotId>,
    /// The nights on which prune refused its plan.
    refused: Vec<i64>,
}

impl Month {
    fn new() -> Self {
        let store = Store::new();
        for number in 1..=3 {
            store.put("two", &format!("all_{number}_{number}_0"), &part(100 + number, 3, true));
        }
        let chsnap = Chsnap::new(&store.repo());
        // The last night is this one, so that the commands, which go by the real clock, come right after it.
        let begin = Utc::now().trunc_subsecs(0) - TimeDelta::days(NIGHTS - 1) - TimeDelta::hours(2);
        Self { store, chsnap, begin, single: Vec::new(), incomplete: Vec::new(), ahead: None, refused: Vec::new() }
    }

    fn locked<T>(&self, now: DateTime<Utc>, work: impl FnOnce(&Locked<'_>) -> T) -> T {
        let repository = self.store.open();
        let locked = repository.lock("test", now, Duration::from_secs(5)).expect("the lock");
        work(&locked)
    }

    /// The server inserts, and merges now and then.
    fn live(&self, night: i64) {
        let number = u64::try_from(night).expect("a night") + 1;
        self.store.put("one", &format!("all_{number}_{number}_0"), &part(number, 2, false));
        if number % 6 == 0 {
            for merged in number - 5..=number {
                let path = self.store.live().join(format!("one/all_{merged}_{merged}_0"));
                fs::remove_dir_all(path).expect("merged away");
            }
            self.store.put("one", &format!("all_{}_{number}_1", number - 5), &part(1000 + number, 4, false));
        }
    }

    fn create(&mut self, night: i64, now: DateTime<Utc>) -> Option<SnapshotId> {
        let kind = night_of(night);
        let id = match kind {
            Night::Away => return None,
            Night::Usual => self.store.snapshot_at(now, |_, _| ()),
            Night::Partial => self.store.snapshot_at(now, |manifest, parts| {
                for table in manifest.tables.iter_mut().filter(|table| table.table == "two") {
                    (table.state, table.parts) = (TableState::Skipped, 0);
                }
                parts.retain(|part| part.table.table != "two");
            }),
            Night::Empty => self.store.snapshot_at(now, |manifest, parts| {
                manifest.tables.clear();
                manifest.totals.tables = 0;
                parts.clear();
            }),
        };
        if kind != Night::Usual {
            self.incomplete.push(id);
            // The tree has what the manifest says and no more.
            let data = self.store.at(id).join("data/d");
            fs::remove_dir_all(data.join("two")).expect("not taken");
            let of_one = names(&data.join("one")).into_iter().filter(|part| part.starts_with("all_"));
            for part in of_one.filter(|_| kind == Night::Empty) {
                fs::remove_dir_all(data.join("one").join(part)).expect("not taken");
            }
        }
        self.record_created(id, now);
        Some(id)
    }

    fn record_created(&self, id: SnapshotId, now: DateTime<Utc>) {
        let created = Event::Created { id, written_bytes: Some(1), used_bytes: None };
        self.locked(now, |locked| locked.record(now, &created).expect("recorded"));
    }

    /// A snapshot of one table at noon.
    fn create_single(&mut self, now: DateTime<Utc>) {
        let id = self.store.snapshot_at(now, |manifest, parts| {
            manifest.settings.include = vec!["d.two".to_owned()];
            manifest.tables.retain(|table| table.table == "two");
            parts.retain(|part| part.table.table == "two");
            manifest.metadata.retain(|file| !file.path.contains("/one"));
        });
        fs::remove_dir_all(self.store.at(id).join("data/d/one")).expect("not asked for");
        fs::remove_file(self.store.at(id).join("metadata/d/one.sql")).expect("not asked for");
        self.record_created(id, now);
        self.single.push(id);
    }

    fn gc(&self, now: DateTime<Utc>) {
        self.locked(now, |locked| ops::collect_garbage(locked, || None, &Silent, 1, now).expect("emptied"));
    }

    fn prune(&mut self, night: i64, now: DateTime<Utc>) {
        let policy: Policy = serde_json::from_str(r#"{"keep_daily": 7, "keep_weekly": 3}"#).expect("a policy");
        let request = PruneRequest::new(policy).with_jobs(1);
        let plan = plan_prune(&self.store.open(), &request, now).expect("a plan");
        if plan.guards.is_empty() || CONFIRMED.contains(&night) {
            self.locked(now, |locked| carry_out(locked, &plan, now).expect("carried out"));
        } else {
            self.refused.push(night);
        }
    }

    fn verify(&self, now: DateTime<Utc>) {
        let slice = Some(SliceChoice::Next(SLICES));
        self.store.verify_at(&request(Level::Data).with_slice(slice), now);
    }

    /// Damages a file of a live part, and with it of every snapshot that has the part.
    fn damage(&self, path: &str) {
        let path = self.store.live().join(path);
        let bytes: Vec<u8> = fs::read(&path).expect("read").iter().map(|byte| !byte).collect();
        fs::write(&path, bytes).expect("written");
    }

    fn spend(&mut self) {
        for night in 0..NIGHTS {
            let mut now = self.begin + TimeDelta::days(night);
            if night == AHEAD {
                now += TimeDelta::days(50);
            }
            self.live(night);
            match night {
                DAMAGED => self.damage(OLD_FILE),
                DAMAGED_LATE => self.damage(LATE_FILE),
                FETCHED => self.store.put("two", "all_2_2_0", &part(102, 3, true)),
                // A crash has cut off a line.
                18 => self.tear_the_journal(),
                _ => {}
            }
            let Some(id) = self.create(night, now) else { continue };
            if night == AHEAD {
                self.ahead = Some(id);
            }
            if night == BACK {
                now -= TimeDelta::hours(1);
            }
            // As `run`: after a night that took no table nothing goes.
            if night_of(night) != Night::Empty {
                self.gc(now);
                self.prune(night, now);
            }
            self.verify(now + TimeDelta::minutes(5));
            if night % 9 == 3 {
                self.create_single(now + TimeDelta::hours(1));
            }
            if night == PINNED {
                let pin = Pin { reason: "before the migration".to_owned(), since: now, until: None };
                self.locked(now, |locked| locked.set_pin(id, &pin).expect("pinned"));
            }
            if night % 7 == 4 {
                assert_one_truth(&self.chsnap);
            }
        }
    }

    fn tear_the_journal(&self) {
        let journal = self.store.repo().join("journal");
        let path = journal.join(names(&journal).pop().expect("a month"));
        let mut text = fs::read_to_string(&path).expect("lines");
        text.push_str(r#"{"number":9999,"time":"2026-"#);
        fs::write(path, text).expect("written");
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        self.chsnap.json(code, arguments)
    }

    /// The snapshots that have a file which is not what it was made as.
    fn damaged(&self) -> BTreeSet<String> {
        let sound = [(OLD_FILE, part(102, 3, true)), (LATE_FILE, part(25, 2, false))];
        let is_damaged = |id: &String| {
            let data = self.store.repo().join("snapshots").join(id).join("data/d");
            sound.iter().any(|(path, sound)| fs::read(data.join(path)).is_ok_and(|found| found != sound["c1.bin"]))
        };
        names(&self.store.repo().join("snapshots")).into_iter().filter(is_damaged).collect()
    }
}

fn texts(rows: &Value, field: &str) -> BTreeSet<String> {
    let rows = rows.as_array().expect("rows");
    rows.iter().map(|row| row[field].as_str().expect("a text").to_owned()).collect()
}

fn marked(rows: &Value, is_marked: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let rows = rows.as_array().expect("rows").iter();
    rows.filter(|row| is_marked(row)).map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

/// What is known of a snapshot, as some command says it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    is_damaged: bool,
    has_drifted: bool,
    is_pinned: bool,
    data_time: Value,
}

impl Said {
    /// `check` is the last one, as a row has it.
    fn of(row: &Value, check: &str) -> (String, Self) {
        let check = &row[check];
        let said = Self {
            is_damaged: check["damaged"] == true,
            has_drifted: check["drifted"] == true,
            is_pinned: row["pinned"] == true,
            data_time: check["data_time"].clone(),
        };
        (row["id"].as_str().expect("an id").to_owned(), said)
    }

    fn of_rows(rows: &Value, check: &str) -> BTreeMap<String, Self> {
        rows.as_array().expect("rows").iter().map(|row| Self::of(row, check)).collect()
    }
}

/// Checks that all commands that speak of a snapshot say the same of it.
fn assert_one_truth(chsnap: &Chsnap) {
    let document = |codes: &[i32], arguments: &[&str]| -> (i32, Value) {
        let run = chsnap.run(arguments);
        assert!(codes.contains(&run.code), "{arguments:?}: {} {}", run.code, run.stderr);
        (run.code, serde_json::from_str(&run.stdout).expect("a document"))
    };
    let (code, list) = document(&[0, 3], &["list", "--json"]);
    let kinds = |document: &Value| -> BTreeSet<String> { texts(&document["warning_list"], "kind") };
    let rows = &list["snapshots"];
    let listed = Said::of_rows(rows, "verified");
    let count = |is_so: &dyn Fn(&Said) -> bool| listed.values().filter(|said| is_so(said)).count() as u64;
    let (damaged, drifted) = (count(&|said| said.is_damaged), count(&|said| said.has_drifted));
    let incomplete = marked(rows, |row| row["incomplete"] == true).len() as u64;
    assert_eq!(kinds(&list).contains("damage_found"), damaged > 0, "{list}");
    assert_eq!(kinds(&list).contains("drift"), drifted > 0, "{list}");
    assert_eq!(code == 3, !kinds(&list).is_empty());

    let of_the_journal = kinds(&list).contains("journal_unreadable");
    for row in rows.as_array().expect("rows") {
        let id = row["id"].as_str().expect("an id");
        let (code, show) = document(&[0, 3], &["show", "--json", id]);
        assert_eq!(Said::of(&show, "verified"), Said::of(row, "verified"), "{id}");
        for field in ["incomplete", "series", "series_label", "sequence", "time"] {
            assert_eq!(show[field], row[field], "{id}: {field}");
        }
        let said = &listed[id];
        assert_eq!(code == 3, said.is_damaged || said.has_drifted || of_the_journal, "{id}: {show}");
    }
    let (_, usage) = document(&[0, 3], &["usage", "--json"]);
    let pinned = |rows: &Value| marked(rows, |row| row["pinned"] == true);
    assert_eq!((texts(&usage["snapshots"], "id"), pinned(&usage["snapshots"])), (texts(rows, "id"), pinned(rows)));

    let (_, report) = document(&[0, 3], &["report", "--json"]);
    let figures = &report["figures"];
    assert_eq!(Said::of_rows(&figures["snapshots"], "checked"), listed);
    assert_eq!(figures["totals"]["pinned"].as_u64(), Some(count(&|said| said.is_pinned)));
    let findings = texts(&figures["verdict"]["findings"], "kind");
    assert_eq!((findings.contains("damage"), findings.contains("drift")), (damaged > 0, drifted > 0), "{findings:?}");

    let figures = tempfile::tempdir().expect("a folder");
    let figures = figures.path().join("chsnap.prom");
    let path = figures.to_str().expect("text");
    let arguments = ["monitor", "--json", "--warn", "99999h", "--crit", "99999h", "--metrics-file", path];
    let (code, monitor) = document(&[0, 1, 2], &arguments);
    let told = ["snapshots", "damaged_snapshots", "drifted_snapshots", "incomplete_snapshots"]
        .map(|field| monitor[field].as_u64().expect("a number"));
    assert_eq!(told, [listed.len() as u64, damaged, drifted, incomplete], "{monitor}");
    let problems = texts(&monitor["problems"], "kind");
    assert_eq!((code == 2, problems.contains("damage_found")), (damaged > 0, damaged > 0), "{monitor}");
    assert!(kinds(&list).is_subset(&problems), "{problems:?} lack some of {list}");
    let figures = fs::read_to_string(&figures).expect("figures");
    for (name, value) in [
        ("chsnap_snapshots_with_damage", damaged),
        ("chsnap_snapshots_with_drift", drifted),
        ("chsnap_snapshots_incomplete", incomplete),
        ("chsnap_snapshots_pinned", count(&|said| said.is_pinned)),
    ] {
        let line = format!("{name}{{profile=\"default\"}} {value}");
        assert!(figures.lines().any(|found| found == line), "{line}: {figures}");
    }

    let (_, prune) = document(&[0, 3, 13], &[&["prune", "--json", "--dry-run"][..], &RULES].concat());
    let (keep, remove) = (texts(&prune["keep"], "id"), texts(&prune["remove"], "id"));
    assert!(keep.is_disjoint(&remove) && &keep | &remove == texts(rows, "id"), "{prune}");
    assert!(pinned(rows).is_subset(&keep), "{prune}");
}

#[test]
fn what_each_command_says_at_the_end_of_a_month() {
    let mut month = Month::new();
    month.spend();
    assert_one_truth(&month.chsnap);
    let standing: BTreeSet<String> = names(&month.store.repo().join("snapshots")).into_iter().collect();
    let ids = |ids: &[SnapshotId]| -> BTreeSet<String> {
        ids.iter().map(ToString::to_string).filter(|id| standing.contains(id)).collect()
    };
    let damaged = month.damaged();
    assert!(!damaged.is_empty() && damaged != standing);
    // After each jump of the clock until a person had confirmed it, and never else.
    assert!(
        !month.refused.is_empty() && month.refused.iter().all(|night| [14, 17, 18].contains(night)),
        "{:?}",
        month.refused
    );

    let list = month.json(3, &["list"]);
    let rows = &list["snapshots"];
    assert_eq!(texts(rows, "id"), standing);
    assert_eq!(marked(rows, |row| row["verified"]["damaged"] == true), damaged, "{list}");
    assert_eq!(marked(rows, |row| row["incomplete"] == true), ids(&month.incomplete));
    assert_eq!(marked(rows, |row| row["series"] == "only d.two"), ids(&month.single));
    assert!(!ids(&month.single).is_empty() && !ids(&month.incomplete).is_empty());

    // Seven nights with a complete snapshot, whatever the others were; the future one is no night.
    let newest: Vec<SnapshotId> = (0..NIGHTS)
        .rev()
        .filter(|night| night_of(*night) == Night::Usual && *night != AHEAD)
        .map(|night| SnapshotId::at(month.begin + TimeDelta::days(night)))
        .take(7)
        .collect();
    assert_eq!(ids(&newest).len(), 7, "{newest:?} in {standing:?}");
    assert!(standing.contains(&month.ahead.expect("made").to_string()), "one dated in the future stays");

    let good = newest[0].to_string();
    let code_of = |id: &str| if damaged.contains(id) { 3 } else { 0 };
    let show = month.json(code_of(&good), &["show", &good]);
    assert_eq!((&show["id"], &show["series"]), (&good.as_str().into(), &"all".into()));
    assert_eq!(show["verified"]["damaged"] == true, damaged.contains(&good), "{show}");
    let partial = month.incomplete.last().expect("one").to_string();
    assert_eq!(month.json(code_of(&partial), &["show", &partial])["incomplete"], true);

    // The worst first. That a night in between was incomplete is a figure, and no trouble: complete ones came after it.
    let run = month.chsnap.expect(2, &["monitor", "--json", "--warn", "26h", "--crit", "50h"]);
    let monitor: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!((&monitor["state"], &monitor["problems"][0]["kind"]), (&"critical".into(), &"damage_found".into()));
    assert_eq!(monitor["incomplete_snapshots"].as_u64(), Some(ids(&month.incomplete).len() as u64));
    assert_eq!(monitor["damaged_snapshots"].as_u64(), Some(damaged.len() as u64));
    let age = monitor["age_seconds"].as_i64().expect("an age");
    assert!((0..3 * 3600).contains(&age), "that of the last night, not of the one in the future: {monitor}");

    let dry_run = [&["prune", "--dry-run"][..], &RULES].concat();
    let prune = month.json(0, &dry_run);
    let (keep, remove) = (texts(&prune["keep"], "id"), texts(&prune["remove"], "id"));
    assert!(keep.is_disjoint(&remove) && &keep | &remove == standing);
    assert!(ids(&newest).is_subset(&keep), "{prune}");
    // The last night was pruned by the same rules.
    assert!(remove.is_empty(), "{prune}");
    assert_eq!(names(&month.store.repo().join("snapshots")).len(), standing.len());

    // All bytes of the remaining snapshots are read once more: the result is that of the nightly shares.
    let verify = month.json(12, &["verify", "--level", "data"]);
    let places: BTreeSet<PathBuf> = (verify["damage"].as_array().expect("rows").iter())
        .map(|damage| PathBuf::from(damage["path"].as_str().expect("a path")))
        .collect();
    let is_known = |path: &PathBuf| [OLD_FILE, LATE_FILE].iter().any(|known| path.ends_with(known));
    assert!(places.iter().all(is_known), "{places:?}");
    let found: BTreeSet<String> = (verify["damage"].as_array().expect("rows").iter())
        .flat_map(|damage| damage["snapshots"].as_array().expect("ids").iter())
        .map(|id| id.as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(found, damaged);
    let trash = month.json(0, &["list", "--trash"]);
    assert!(trash["trash"].as_array().expect("rows").iter().all(|row| row["by"] == "prune"), "{trash}");
}
