use std::cell::RefCell;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    Created, Drilled, NightReport, NightlyJob, Order, Pruned, Step, StepFailure, StepFindings, StepResult, StepRunner,
    StepSkipReason, nightly,
};
use crate::fs;
use crate::model::SnapshotId;
use crate::ops::error::OpError;
use crate::repo::Repository;

/// A front end whose steps end as scripted.
struct Script {
    folder: tempfile::TempDir,
    carried_out: RefCell<Vec<Order>>,
    answers: fn(&Order) -> (StepResult, Option<StepFindings>),
    signal_after: Option<usize>,
}

impl StepRunner for Script {
    type Document = ();

    fn open(&self) -> Result<Repository, StepFailure> {
        Repository::open(&self.folder.path().join("repo"), &fs::real())
            .map_err(|error| StepFailure::new(10, error.to_string()))
    }

    fn failure(&self, error: OpError) -> StepFailure {
        StepFailure::new(1, error.to_string())
    }

    fn carry_out(&self, _: &NightReport<()>, order: &Order) -> Step<()> {
        self.carried_out.borrow_mut().push(order.clone());
        let (result, found) = (self.answers)(order);
        Step { found, ..Step::bare(order.step(), result) }
    }

    fn interrupted(&self) -> Option<u8> {
        self.signal_after.filter(|count| self.carried_out.borrow().len() >= *count).map(|_| 143)
    }

    fn note(&self, _: &str) {}
}

fn id(text: &str) -> SnapshotId {
    text.parse().expect("an id")
}

fn time() -> DateTime<Utc> {
    "2026-11-22T02:00:00Z".parse().expect("a time")
}

fn job() -> NightlyJob {
    NightlyJob {
        every: Duration::from_secs(86_400),
        trash_keep: Duration::ZERO,
        min_free_bytes: 0,
        verify_shares: 30,
        drill_every: Duration::from_secs(1),
        copy_to: Vec::new(),
        push_to: Vec::new(),
        server_wait: Duration::ZERO,
        has_policy: true,
    }
}

fn night(
    job: &NightlyJob,
    signal_after: Option<usize>,
    answers: fn(&Order) -> (StepResult, Option<StepFindings>),
) -> NightReport<()> {
    let folder = tempfile::tempdir().expect("a folder");
    Repository::init(&folder.path().join("repo"), time(), &fs::real()).expect("a repository");
    let script = Script { folder, carried_out: RefCell::default(), answers, signal_after };
    let mut report = NightReport::begin(None, None, time());
    nightly(job, &script, &mut report);
    report
}

fn steps(report: &NightReport<()>) -> Vec<(&'static str, u8)> {
    report.steps.iter().map(|step| (step.name.name(), step.code())).collect()
}

fn all_well(order: &Order) -> (StepResult, Option<StepFindings>) {
    let found = match order {
        Order::Create => Some(StepFindings::Created(Created {
            id: id("2026-11-22T020000Z"),
            tables: 1,
            parts: 1,
            written_bytes: 1,
            seconds: std::collections::BTreeMap::new(),
        })),
        Order::Prune => Some(StepFindings::Pruned(Pruned { remove: vec![id("2026-11-01T020000Z")], kept: 3 })),
        _ => None,
    };
    (StepResult::Done, found)
}

#[test]
fn a_good_night_does_all_steps_in_order_and_names_what_it_removed() {
    let report = night(&job(), None, all_well);
    assert_eq!(steps(&report), [("create", 0), ("gc", 0), ("prune", 0), ("verify", 0), ("drill", 0)]);
    assert_eq!(report.removed(), [id("2026-11-01T020000Z")]);
    assert_eq!(report.exit_code(None), 0);
    assert!(report.problem(0).is_none());
}

#[test]
fn a_refused_prune_has_removed_nothing_and_says_why_and_what_to_type() {
    let report = night(&job(), None, |order| match order {
        Order::Prune => {
            let (reason, remedy) = ("30 of 43 would go".to_owned(), Some("chsnap prune --yes-really".to_owned()));
            (StepResult::Refused { reason, remedy }, all_well(order).1)
        }
        order => all_well(order),
    });
    assert_eq!(report.exit_code(None), 13);
    assert!(report.removed().is_empty(), "what was refused still stands");
    let problem = report.problem(13).expect("a problem");
    assert_eq!(problem.message, "prune: refused, nothing was removed: 30 of 43 would go");
    assert_eq!(problem.hint.as_deref(), Some("chsnap prune --yes-really applies the plan once"));
}

#[test]
fn a_drill_that_failed_says_of_what() {
    let report = night(&job(), None, |order| match order {
        Order::Drill => {
            let message = "the trial restore of 2026-11-22T020000Z failed: a.b".to_owned();
            let found = Drilled { snapshot: id("2026-11-22T020000Z"), tried: 2, failed: vec!["a.b".to_owned()] };
            (StepResult::Damaged { message, hint: None }, Some(StepFindings::Drilled(found)))
        }
        order => all_well(order),
    });
    assert_eq!(report.exit_code(None), 12);
    assert!(report.problem(12).expect("a problem").message.starts_with("drill: the trial restore of "));
}

#[test]
fn without_a_snapshot_nothing_is_removed_and_after_a_signal_nothing_is_begun() {
    let failed = |order: &Order| match order {
        Order::Create => (StepResult::Failed(StepFailure::new(1, "no")), None),
        order => all_well(order),
    };
    let report = night(&job(), None, failed);
    assert_eq!(steps(&report), [("create", 1), ("gc", 0), ("prune", 0), ("verify", 0)]);
    assert_eq!(report.steps[1].result, StepResult::Skipped(StepSkipReason::NoNewSnapshot));
    assert_eq!(report.steps[2].result, StepResult::Skipped(StepSkipReason::NoNewSnapshot));
    let report = night(&job(), Some(2), all_well);
    assert_eq!(report.steps[2].result, StepResult::Skipped(StepSkipReason::Interrupted));
    assert_eq!((report.exit_code(Some(143)), report.steps.len()), (143, 4));
    let report = night(&NightlyJob { has_policy: false, ..job() }, None, all_well);
    assert_eq!(report.steps[2].result, StepResult::Skipped(StepSkipReason::NoPolicy));
}
