//! A month of nights on a repository that is older than its retention policy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{Days, Utc};
use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};
use crate::cli::support::{Lab, ids, names};
use crate::freezer::Freezer;

/// A library that puts the clock of a program ahead by `CLOCK_AHEAD` seconds; `None` where there is no C compiler.
fn clock(folder: &Path) -> Option<PathBuf> {
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <stdlib.h>
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t id, struct timespec *time) {
            long answer = syscall(SYS_clock_gettime, id, time);
            const char *ahead = getenv("CLOCK_AHEAD");
            if (answer == 0 && id == CLOCK_REALTIME && ahead) time->tv_sec += atoll(ahead);
            return (int) answer;
        }
    "#;
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SOURCE).expect("a file");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    match compiler.status() {
        Ok(status) if status.success() => Some(library),
        _ => {
            eprintln!("SKIPPED: there is no C compiler to build a clock with");
            None
        }
    }
}

/// Old snapshots, a server, the configuration of the packages and a clock.
struct Month {
    lab: Lab,
    chsnap: Chsnap,
    config: String,
    clock: PathBuf,
    _freezer: Freezer,
}

impl Month {
    fn new(old: u64) -> Option<Self> {
        let lab = Lab::new();
        let clock = clock(lab.path())?;
        let today = Utc::now().date_naive();
        for age in (1..=old).rev() {
            let day = today.checked_sub_days(Days::new(age)).expect("a day");
            lab.snapshot(&format!("{day}T02:00:00Z"));
        }
        let freezer = Freezer::start(&lab.path().join("ch"));
        freezer.add_part("events", "all_1_1_0");
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/config.toml");
        let text = fs::read_to_string(packaged).expect("the configuration of the packages");
        let repo = format!("repo = {:?}", lab.repo().display().to_string());
        let text = text.replace("repo = \"/var/lib/clickhouse/chsnap\"", &repo);
        // Made-up parts have no checksums, and the disk of this machine is no matter here.
        let text = text.replace("min_free = \"20GiB\"", "min_free = 0\nverify_slices = 0");
        let config = lab.path().join("config.toml");
        fs::write(&config, text).expect("a file");
        let chsnap = lab.chsnap().clone().url(freezer.url());
        let config = config.display().to_string();
        Some(Self { lab, chsnap, config, clock, _freezer: freezer })
    }

    fn on_day(&self, day: u64, code: i32, arguments: &[&str]) -> Run {
        let run = self.ahead(day * 86_400, arguments);
        assert_eq!(run.code, code, "day {day}, {arguments:?}: {}\n{}", run.stdout, run.stderr);
        run
    }

    /// By a clock that is this many seconds ahead.
    fn ahead(&self, seconds: u64, arguments: &[&str]) -> Run {
        let all = [&["--config", self.config.as_str(), "--progress", "none"], arguments].concat();
        let mut command = self.chsnap.command(&all);
        // The configuration names the repository.
        command.env_remove("CHSNAP_REPO");
        command.env("LD_PRELOAD", &self.clock).env("CLOCK_AHEAD", seconds.to_string());
        Run::of(&command.output().expect("chsnap starts"))
    }

    fn snapshots(&self) -> usize {
        names(&self.lab.repo().join("snapshots")).len()
    }
}

#[test]
fn a_month_on_old_snapshots_is_refused_until_one_command_and_ends_pruned() {
    let Some(month) = Month::new(43) else { return };
    let refused = month.on_day(0, 13, &["run", "--json"]);
    let summary: Value = serde_json::from_str(&refused.stdout).expect("a document");
    let prune = summary["steps"].as_array().expect("steps").iter().find(|step| step["step"] == "prune").expect("prune");
    assert_eq!((&prune["outcome"], &prune["result"]["state"]), (&"refused".into(), &"refused".into()), "{prune}");
    let reason = prune["reason"].as_str().expect("a reason");
    assert!(reason.contains("snapshots would be removed, more than 50 %"), "{reason}");
    assert_eq!(summary["reason"], prune["reason"], "the reason of the worst step");
    assert_eq!(summary["removed"], serde_json::json!([]), "what was refused still stands");
    assert!(summary["error"].as_str().expect("an error").starts_with("prune: refused, nothing was removed: "));
    let hint = summary["hint"].as_str().expect("a hint");
    let (command, rest) = hint.split_once(" applies the plan once").expect("a command");
    assert_eq!((rest, command), ("", prune["hint"].as_str().expect("a command")));

    // In the next nights it says so again, to the person too.
    let again = month.on_day(1, 13, &["run"]);
    assert!(again.stdout.contains("prune    REFUSED, nothing was removed: "), "{}", again.stdout);
    assert!(!again.stdout.contains("to the trash"), "{}", again.stdout);
    assert!(again.stderr.contains("error: prune: refused, nothing was removed: "), "{}", again.stderr);
    assert!(again.stderr.contains(&format!("hint: {command} applies the plan once")), "{}", again.stderr);
    assert_eq!(month.snapshots(), 45);

    // Exactly that command.
    let words = shlex::split(command).expect("words");
    assert_eq!(words.first().map(String::as_str), Some("chsnap"));
    assert_eq!(words.get(1..3), Some(&["--config".to_owned(), month.config.clone()][..]));
    let words: Vec<&str> = words.iter().skip(3).map(String::as_str).collect();
    month.on_day(1, 0, &words);
    let left = month.snapshots();
    assert!(left < 22, "{left} are left");
    for day in 2..=31 {
        let told = month.on_day(day, 0, &["run", "--json"]);
        let summary: Value = serde_json::from_str(&told.stdout).expect("a document");
        let removed = summary["removed"].as_array().expect("ids");
        let prune = summary["steps"].as_array().expect("steps").iter().find(|step| step["step"] == "prune");
        assert_eq!(ids(&prune.expect("prune")["result"]["remove"], "id").len(), removed.len());
    }
    // Three last, seven days, four weeks, and each month.
    let left = month.snapshots();
    assert!((10..=16).contains(&left), "{left} are left");
    // A person reads which ones go, and which are gone for good.
    let in_trash = || -> Vec<String> {
        let names = names(&month.lab.repo().join("trash"));
        names.into_iter().map(|name| name.into_string().expect("a name")).collect()
    };
    let (mut removed, mut day) = (Vec::new(), 31);
    while removed.is_empty() {
        day += 1;
        assert!(day < 45, "nothing goes for two weeks");
        let told = month.on_day(day, 0, &["run"]).stdout;
        removed = in_trash();
        assert!(removed.iter().all(|id| told.contains(id.as_str())), "{removed:?}\n{told}");
    }
    let told = month.on_day(day + 1, 0, &["run"]).stdout;
    assert!(told.contains(" snapshot deleted, ") && told.contains(&removed[0]), "{removed:?}\n{told}");
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_between_create_and_prune_costs_no_good_snapshot() {
    let Some(month) = Month::new(4) else { return };
    for seconds in [7200, 7260] {
        let created = month.ahead(seconds, &["create"]);
        assert_eq!(created.code, 0, "{}", created.stderr);
    }
    let before = names(&month.lab.repo().join("snapshots"));
    // The snapshots that were just made are in the future now: they stay, and count for nothing, so that the newest of those
    // before them stays too.
    let pruned = month.ahead(3600, &["--json", "prune", "--keep-last", "1", "--only-these", "--yes", "--yes-really"]);
    assert!(matches!(pruned.code, 0 | 3), "{}: {}\n{}", pruned.code, pruned.stdout, pruned.stderr);
    let left = names(&month.lab.repo().join("snapshots"));
    assert_eq!(left, before[before.len() - 3..], "{}", pruned.stdout);
    // Once the clock is right again they count like all others.
    let pruned = month.ahead(9000, &["--json", "prune", "--keep-last", "1", "--only-these", "--yes", "--yes-really"]);
    assert!(matches!(pruned.code, 0 | 3), "{}: {}\n{}", pruned.code, pruned.stdout, pruned.stderr);
    assert_eq!(names(&month.lab.repo().join("snapshots")), before[before.len() - 1..], "{}", pruned.stdout);
}
