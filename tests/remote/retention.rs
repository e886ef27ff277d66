//! Retention in a store: each repository by itself, the plan shown first, and never the last of a series.

use std::fs;

use chsnap::model::SnapshotId;
use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::remote::support::{Lab, document, files_below, large_part, push};
use crate::store::Store;

fn names(document: &Value, of: &str) -> Vec<String> {
    let rows = document[of].as_array().expect("a list");
    rows.iter().map(|row| row["remote_name"].as_str().expect("a name").to_owned()).collect()
}

fn stored(lab: &Lab) -> usize {
    files_below(&lab.store().join("snapshots")).len()
}

/// Seven nights of a table; each night adds a part.
fn nights(host: &Store) -> Vec<SnapshotId> {
    let night = |number: u64| {
        if let Ok(entries) = fs::read_dir(host.live().join("n")) {
            entries.for_each(|entry| fs::remove_dir_all(entry.expect("an entry").path()).expect("dropped"));
        }
        host.put("n", &format!("all_{number}_{number}_0"), &large_part(number, 100 + number));
        host.snapshot()
    };
    (1..=7).map(night).collect()
}

#[test]
fn rules_remove_what_none_of_them_keeps_and_gc_what_that_alone_needed() {
    let lab = Lab::new();
    let ids = nights(&lab.host);
    lab.push("--new");
    let address = lab.address();
    let rule = ["--keep-last", "4"];
    let dry = document(&lab.chsnap(), &[&["remote", "prune", &address, "--dry-run"], &rule[..]].concat(), 0);
    assert_eq!((dry["state"].as_str(), stored(&lab)), (Some("dry_run"), 7), "{dry}");
    let removed: Vec<String> =
        names(&dry, "remove").iter().map(|name| name.split('.').next().expect("an id").to_owned()).collect();
    assert_eq!(removed, ids[..3].iter().map(ToString::to_string).collect::<Vec<_>>());
    // Each night's part is its own: a large object and a pack.
    let freed = dry["freed_bytes"].as_u64().expect("a number");
    let alone: u64 = dry["remove"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["freed_bytes"].as_u64().expect("a number"))
        .sum();
    assert!(freed >= 3 * 1_500_000 && freed == alone, "{dry}");
    let text = lab.chsnap().run(&[&["remote", "prune", &address, "--dry-run"], &rule[..]].concat());
    for wanted in ["remove", "keep", "no rule keeps it", "keep 4, remove 3", "nothing was touched"] {
        assert!(text.stdout.contains(wanted), "{wanted}: {}", text.stdout);
    }
    // Without a terminal the plan is not confirmed.
    let run = lab.chsnap().run(&[&["remote", "prune", &address], &rule[..]].concat());
    assert_eq!((run.code, run.stderr.contains("--yes"), stored(&lab)), (13, true, 7), "{}", run.stderr);
    let pruned = document(&lab.chsnap(), &[&["remote", "prune", &address, "--yes"], &rule[..]].concat(), 0);
    assert_eq!((pruned["state"].as_str(), stored(&lab)), (Some("pruned"), 4), "{pruned}");
    assert_eq!(names(&pruned, "remove"), names(&dry, "remove"));
    let usage = document(&lab.chsnap(), &["remote", "usage", &address], 0);
    assert_eq!(
        usage["garbage"]["bytes"].as_u64(),
        Some(freed),
        "what the plan said is what no snapshot needs: {usage}"
    );
    document(&lab.chsnap(), &["remote", "verify", &address, "--data"], 0);
}

#[test]
fn a_large_share_is_refused_and_no_rule_is_taken_from_a_configuration() {
    let lab = Lab::new();
    nights(&lab.host);
    lab.push("--new");
    let address = lab.address();
    let run = lab.chsnap().run(&["remote", "prune", &address, "--keep-last", "2", "--yes"]);
    assert_eq!((run.code, run.stderr.contains("--yes-really"), stored(&lab)), (13, true, 7), "{}", run.stderr);
    // A configuration's rules are those of the repository; a prune without a rule of its own is refused.
    let config = lab.folder.path().join("config.toml");
    fs::write(&config, "[prune]\nkeep_last = 1\n").expect("written");
    let config = config.to_str().expect("a path");
    let run = lab.chsnap().run(&["--config", config, "remote", "prune", &address, "--yes-really"]);
    assert_eq!((run.code, stored(&lab)), (2, 7), "{}", run.stderr);
    let kept =
        document(&lab.chsnap(), &["--config", config, "remote", "prune", &address, "--keep-last", "6", "--yes"], 0);
    assert_eq!((names(&kept, "remove").len(), stored(&lab)), (1, 6), "{kept}");
    let pruned = document(
        &lab.chsnap(),
        &["remote", "prune", &address, "--keep-last", "0", "--keep-within", "1h", "--yes-really"],
        0,
    );
    assert_eq!((names(&pruned, "keep").len(), stored(&lab)), (1, 1), "the last one stays: {pruned}");
}

#[test]
fn the_nights_of_one_host_are_never_counted_for_another() {
    let lab = Lab::new();
    nights(&lab.host);
    lab.push("--new");
    let other = Store::new();
    let ids = nights(&other);
    let there = Chsnap::new(&other.repo());
    for id in &ids[..2] {
        push(&there, &id.to_string(), &lab.address());
    }
    let address = lab.address();
    // By itself the first host prunes its own.
    let own = document(&lab.chsnap(), &["remote", "prune", &address, "--keep-last", "4", "--dry-run"], 0);
    let digits = lab.host.open().id().short().to_owned();
    assert!(names(&own, "remove").iter().chain(&names(&own, "keep")).all(|name| name.ends_with(&digits)), "{own}");
    assert_eq!((names(&own, "keep").len(), names(&own, "remove").len()), (4, 3), "{own}");
    // The other one shares every object: nothing that it needs is freed.
    let freed: Vec<u64> = own["remove"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["freed_bytes"].as_u64().expect("a number"))
        .collect();
    assert!(freed[0] < 1_000_000 && freed[1] < 1_000_000 && freed[2] > 1_000_000, "{freed:?}");
    // A host without a repository must name one, or all of them.
    let clean = lab.elsewhere("clean").env("CHSNAP_REPO", "");
    let run = clean.run(&["remote", "prune", &address, "--keep-last", "4", "--dry-run"]);
    assert_eq!((run.code, run.stderr.contains("--of")), (2, true), "{}", run.stderr);
    let all = document(&clean, &["remote", "prune", &address, "--keep-last", "4", "--every-repository", "--yes"], 0);
    assert_eq!((names(&all, "keep").len(), names(&all, "remove").len()), (6, 3), "{all}");
    assert_eq!(all["main_series"].as_object().map(serde_json::Map::len), Some(2), "{all}");
}

#[test]
fn what_is_pinned_here_and_what_cannot_be_read_stays() {
    let lab = Lab::new();
    let ids = nights(&lab.host);
    lab.push("--new");
    document(&lab.chsnap(), &["pin", &ids[0].to_string(), "--reason", "before the upgrade"], 0);
    let manifests = files_below(&lab.store().join("snapshots"));
    fs::write(&manifests[1].0, b"nonsense").expect("damaged");
    let pruned = document(&lab.chsnap(), &["remote", "prune", &lab.address(), "--keep-last", "4", "--yes"], 3);
    let kept = pruned["keep"].to_string();
    assert!(kept.contains("before the upgrade") && kept.contains("unreadable"), "{kept}");
    assert_eq!(names(&pruned, "remove").len(), 1, "{pruned}");
    assert!(manifests[1].0.exists());
}

#[test]
fn a_selection_is_a_series_of_its_own() {
    let lab = Lab::new();
    let ids = nights(&lab.host);
    lab.push("--new");
    let clean = lab.elsewhere("clean");
    for id in &ids[..3] {
        document(&clean, &["pull", &id.to_string(), "--from", &lab.address(), "--table", "d.n"], 0);
    }
    document(&clean, &["pull", &ids[6].to_string(), "--from", &lab.address()], 0);
    let second = format!("file://{}", lab.folder.path().join("second").display());
    document(&clean, &["push", "--new", "--to", &second], 0);
    // The selections are of the clean repository, the whole one is of the first host.
    let plan = document(
        &clean,
        &["remote", "prune", &second, "--keep-last", "1", "--every-repository", "--max-share", "80", "--yes"],
        0,
    );
    assert_eq!((names(&plan, "keep").len(), names(&plan, "remove").len()), (2, 2), "{plan}");
}

#[test]
fn a_local_repository_that_cannot_be_opened_stops_the_prune_and_its_pins_hold_as_before() {
    let lab = Lab::new();
    let ids = nights(&lab.host);
    lab.push("--new");
    document(&lab.chsnap(), &["pin", &ids[0].to_string()], 0);
    let address = lab.address();
    let own = lab.host.open().id().short().to_owned();
    let file = lab.host.repo().join("chsnap.json");
    let before = fs::read(&file).expect("it is read");
    fs::write(&file, b"nonsense").expect("damaged");
    for more in [&[][..], &["--of", &own], &["--every-repository"]] {
        let run = lab.chsnap().run(&[&["remote", "prune", &address, "--keep-last", "4", "--yes"], more].concat());
        assert_ne!(run.code, 0, "{}", run.stdout);
        assert_eq!(stored(&lab), 7, "{more:?} {}", run.stdout);
    }
    let run = lab.chsnap().run(&["remote", "rm", &address, "latest"]);
    assert_ne!((run.code, stored(&lab)), (0, 6), "{}", run.stdout);
    fs::write(&file, before).expect("restored");
    let pruned = document(&lab.chsnap(), &["remote", "prune", &address, "--keep-last", "4", "--yes"], 0);
    assert_eq!(names(&pruned, "remove").len(), 2, "{pruned}");
}

#[test]
fn a_repository_that_has_nothing_there_never_stands_for_another_one() {
    let lab = Lab::new();
    nights(&lab.host);
    lab.push("--new");
    let other = Store::new();
    other.snapshot();
    let there = Chsnap::new(&other.repo());
    let prune = ["remote", "prune", &lab.address(), "--keep-last", "4", "--yes"];
    let run = there.run(&prune);
    assert_eq!((run.code, run.stderr.contains("--of"), stored(&lab)), (2, true, 7), "{}", run.stderr);
    let own = lab.host.open().id().to_string();
    let last = if own.ends_with('0') { '1' } else { '0' };
    let none = there.run(&[&prune[..], &["--of", &format!("{}{last}", &own[..31])]].concat());
    assert_eq!((none.code, stored(&lab)), (2, 7), "all digits count: {}", none.stderr);
    let pruned = document(&there, &[&prune[..], &["--of", &own]].concat(), 0);
    assert_eq!(names(&pruned, "remove").len(), 3, "{pruned}");
}

#[test]
fn a_beginning_that_several_repositories_have_chooses_none() {
    let lab = Lab::new();
    // One that shares its first digit with the first: of 17 repositories at least two do.
    let mut of_digit: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for _ in 0..17 {
        let other = Store::new();
        other.put("z", "all_5_5_0", &large_part(7, 8));
        other.snapshot();
        push(&Chsnap::new(&other.repo()), "--new", &lab.address());
        *of_digit.entry(other.open().id().short()[..1].to_owned()).or_default() += 1;
    }
    let (digit, _) = of_digit.iter().find(|(_, count)| **count > 1).expect("two of them");
    let clean = lab.elsewhere("clean").env("CHSNAP_REPO", "");
    let run = clean.run(&["remote", "prune", &lab.address(), "--keep-last", "1", "--of", digit, "--dry-run"]);
    assert_eq!((run.code, run.stderr.contains("repositories")), (2, true), "{}", run.stderr);
}

#[test]
fn the_last_of_a_series_that_has_ended_stays() {
    let lab = Lab::new();
    nights(&lab.host);
    let selections: Vec<SnapshotId> = (0..2)
        .map(|_| lab.host.snapshot_with(|manifest, _| manifest.settings.include = vec!["d.n".to_owned()]))
        .collect();
    lab.push("--new");
    let prune = ["remote", "prune", &lab.address(), "--keep-last", "7", "--keep-other-within", "1h", "--yes"];
    let pruned = document(&lab.chsnap(), &prune, 0);
    let removed = names(&pruned, "remove");
    assert!(removed.len() == 1 && removed[0].starts_with(&selections[0].to_string()), "{pruned}");
    assert_eq!(pruned["remove"][0]["reason"], "series_ended");
    let again = document(&lab.chsnap(), &prune, 0);
    assert_eq!(again["state"], "nothing_to_remove", "{again}");
}
