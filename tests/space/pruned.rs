//! `prune` carries out the plan that it shows, and frees what it predicts.

use std::fs;
use std::time::Duration;

use chrono::Utc;
use chsnap::model::SnapshotId;
use chsnap::ops::OpError;
use chsnap::ops::prune::{PrunePlan, PruneRequest, carry_out, plan_prune};
use chsnap::plan::retention::{Count, GuardLimits, Policy};
use serde_json::Value;

use crate::hoard::{Hoard, Walk};
use crate::space::commands::lab;

fn ids(rows: &Value) -> Vec<String> {
    rows.as_array().expect("rows").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

fn texts(hoard: &Hoard) -> Vec<String> {
    hoard.ids().iter().map(ToString::to_string).collect()
}

fn policy(last: u32) -> Policy {
    Policy { keep_last: Count::Of(last), ..Policy::default() }
}

fn plan(hoard: &Hoard, policy: Policy, free_bytes: Option<u64>) -> PrunePlan {
    let limits = GuardLimits::default().with_removed_percent(100);
    let request = PruneRequest::new(policy).with_free_bytes(free_bytes).with_limits(limits).with_jobs(2);
    plan_prune(&hoard.open(), &request, Utc::now()).expect("a plan")
}

fn leaving(plan: &PrunePlan) -> Vec<SnapshotId> {
    plan.remove.iter().map(|leaving| leaving.summary.id).collect()
}

fn freed(hoard: &Hoard, ids: &[SnapshotId]) -> u64 {
    let paths: Vec<_> = ids.iter().map(|id| hoard.repo().join("snapshots").join(id.to_string())).collect();
    Walk::of(paths.iter().map(std::path::PathBuf::as_path)).freed()
}

#[test]
fn a_dry_run_and_an_unconfirmed_plan_touch_nothing_and_yes_carries_the_same_plan_out() {
    let (_folder, hoard, chsnap) = lab(6);
    let all = texts(&hoard);
    let keep = ["prune", "--keep-last", "4"];
    let shown = chsnap.json(0, &[&keep[..], &["--dry-run"]].concat());
    assert_eq!((&shown["schema"], &shown["state"]), (&"chsnap.prune.v1".into(), &"dry_run".into()));
    assert_eq!((ids(&shown["remove"]), ids(&shown["keep"]).len()), (all[..2].to_vec(), 4));
    assert_eq!(shown["keep"][0]["reasons"][0], "last 1/4");
    let refused = chsnap.json(13, &keep);
    assert_eq!((&refused["state"], &refused["remove"]), (&"refused".into(), &shown["remove"]));
    let run = chsnap.run(&keep);
    assert!(run.code == 13 && run.stdout.contains("remove") && run.stderr.contains("--yes"), "{run:?}");
    assert_eq!(texts(&hoard), all);
    let done = chsnap.json(0, &[&keep[..], &["--yes"]].concat());
    assert_eq!((&done["state"], &done["remove"], &done["keep"]), (&"pruned".into(), &shown["remove"], &shown["keep"]));
    assert_eq!(texts(&hoard), all[2..]);
    let nothing = chsnap.json(0, &keep);
    assert_eq!((&nothing["state"], nothing["freed_bytes"].as_u64()), (&"nothing_to_remove".into(), Some(0)));
    chsnap.expect(0, &["undo"]);
    assert_eq!(texts(&hoard), all);
}

#[test]
fn a_plan_that_looks_like_a_mistake_is_refused_without_yes_really() {
    let (_folder, hoard, chsnap) = lab(6);
    let all = texts(&hoard);
    chsnap.expect(2, &["prune", "--yes"]);
    chsnap.expect(2, &["prune", "--min-keep", "2", "--yes"]);
    let refused = chsnap.json(13, &["prune", "--keep-last", "1", "--yes"]);
    assert_eq!(refused["state"], "refused");
    assert!(refused["guards"][0].as_str().is_some_and(|guard| guard.contains("5 of 6")), "{refused}");
    assert_eq!(texts(&hoard), all);
    chsnap.json(0, &["prune", "--keep-last", "1", "--yes", "--max-share", "90"]);
    assert_eq!(texts(&hoard), all[5..]);
    chsnap.expect(0, &["undo"]);
    fs::write(
        hoard.repo().join(format!("pins/{}.json", all[1])),
        r#"{"reason": "audit", "since": "2026-01-01T00:00:00Z"}"#,
    )
    .expect("a pin");
    let done = chsnap.json(0, &["prune", "--keep-last", "1", "--min-keep", "0", "--yes", "--yes-really"]);
    assert_eq!(ids(&done["keep"]), [all[5].as_str(), &all[1]]);
    assert_eq!(done["keep"][1]["reasons"][0], "pinned: audit");
    assert_eq!(texts(&hoard), [all[1].as_str(), &all[5]]);
}

#[test]
fn a_plan_is_not_carried_out_on_another_repository_than_it_was_made_from() {
    type Change = fn(&mut Hoard);
    let changes: [Change; 3] = [
        |hoard| {
            hoard.snapshot();
        },
        |hoard| hoard.rm(&hoard.ids()[..1]),
        |hoard| {
            let pin = hoard.repo().join(format!("pins/{}.json", hoard.ids()[0]));
            fs::write(pin, r#"{"reason": "keep", "since": "2026-01-01T00:00:00Z"}"#).expect("a pin");
        },
    ];
    for change in changes {
        let (_folder, mut hoard, _) = lab(4);
        let plan = plan(&hoard, policy(2), None);
        assert_eq!(leaving(&plan), hoard.ids()[..2]);
        change(&mut hoard);
        let before = hoard.ids();
        let result = hoard.locked(|locked| carry_out(locked, &plan, Utc::now()));
        assert!(matches!(result, Err(OpError::PlanIsOld)), "{result:?}");
        assert_eq!(hoard.ids(), before);
    }
    let (_folder, hoard, _) = lab(4);
    let plan = plan(&hoard, policy(2), None);
    let repository = hoard.open();
    let locked = repository.lock("test", Utc::now(), Duration::ZERO).expect("free");
    carry_out(&locked, &plan, Utc::now()).expect("nothing has changed");
}

#[test]
fn the_least_bytes_that_suffice_are_freed_by_those_that_may_go() {
    let (_folder, mut hoard, chsnap) = lab(7);
    hoard.drop_everything();
    let all = hoard.ids();
    let may_go = &all[..6];
    let most = freed(&hoard, may_go);
    for share in [1, 7, 20, 35, 50, 75, 99, 100] {
        let wanted = most * share / 100;
        let plan = plan(&hoard, policy(1), Some(wanted));
        let chosen = leaving(&plan);
        assert_eq!(plan.freed.freed_bytes, freed(&hoard, &chosen), "{share} %");
        assert!(plan.freed.freed_bytes >= wanted && plan.free.is_some_and(|free| free.is_enough), "{share} %");
        for mask in 0..1_u32 << may_go.len() {
            let set: Vec<SnapshotId> =
                (0..may_go.len()).filter(|bit| mask >> bit & 1 == 1).map(|bit| may_go[bit]).collect();
            let bytes = freed(&hoard, &set);
            assert!(
                bytes < wanted || bytes >= plan.freed.freed_bytes,
                "{share} %: {set:?} frees {bytes} bytes, and {chosen:?} {}",
                plan.freed.freed_bytes
            );
        }
    }
    let too_much = chsnap.json(3, &["prune", "--free", &(most * 2).to_string(), "--yes", "--yes-really"]);
    assert_eq!((&too_much["is_enough"], ids(&too_much["remove"]).len()), (&false.into(), 6));
    assert_eq!(hoard.ids(), all[6..]);
}
