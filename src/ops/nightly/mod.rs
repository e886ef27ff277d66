//! The nightly job: makes a snapshot, and maintains the repository.
//!
//! ```text
//! look ──► make room ──► create ──► gc ──► prune ──► verify ──► drill ──► copy
//! ```
//!
//! The order of the steps, and which step depends on which, is decided here. A [`StepRunner`] carries out single steps,
//! each as the command that a person would type.

mod report;
mod step;

use std::time::{Duration, Instant};

use crate::fs;
use crate::model::{Warning, WarningKind, count, size};
use crate::plan::{missed, next_wait};
use crate::repo::{Event, Repository, Summary};

use super::error::OpError;
use super::read::list;

pub use report::NightReport;
pub use step::{
    CopyCounts, Created, Drilled, Order, Pruned, Reclaimed, Step, StepFailure, StepFindings, StepName, StepProblem,
    StepResult, StepSkipReason, VerifyResult,
};

/// The settings of a night.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NightlyJob {
    /// How often it runs.
    pub every: Duration,
    /// The least time that removed snapshots stay in the trash.
    pub trash_keep: Duration,
    /// If less than this is free, room is made first.
    pub min_free_bytes: u64,
    /// The number of shares into which all parts are divided for verification, one a night; 0 turns verification off.
    pub verify_shares: u32,
    /// How often a snapshot is drilled; zero turns drills off.
    pub drill_every: Duration,
    /// Other repositories, to which missing snapshots are copied.
    pub copy_to: Vec<String>,
    /// Object stores, to which missing snapshots are pushed.
    pub push_to: Vec<String>,
    /// How long to wait for a server.
    pub server_wait: Duration,
    /// Whether a retention policy is configured.
    pub has_policy: bool,
}

impl Default for NightlyJob {
    fn default() -> Self {
        Self::new()
    }
}

impl NightlyJob {
    /// A job with the defaults of `chsnap run`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            every: Duration::from_secs(24 * 3600),
            trash_keep: Duration::ZERO,
            min_free_bytes: 0,
            verify_shares: 30,
            drill_every: Duration::ZERO,
            copy_to: Vec::new(),
            push_to: Vec::new(),
            server_wait: Duration::from_secs(300),
            has_policy: false,
        }
    }
}

crate::model::setters! { NightlyJob {
    with_every => every: Duration,
    with_trash_keep => trash_keep: Duration,
    with_min_free_bytes => min_free_bytes: u64,
    with_verify_shares => verify_shares: u32,
    with_drill_every => drill_every: Duration,
    with_copy_to => copy_to: Vec<String>,
    with_push_to => push_to: Vec<String>,
    with_server_wait => server_wait: Duration,
    with_has_policy => has_policy: bool,
} }

/// Carries out single steps, and reports to the user.
pub trait StepRunner {
    /// The document of a step.
    type Document: Clone;

    /// Opens the repository.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&self) -> Result<Repository, StepFailure>;

    /// A failed use case as the user sees it: exit code, causes, hint.
    fn failure(&self, error: OpError) -> StepFailure;

    /// Carries out one step of a night, given the report so far. A failure is a result.
    fn carry_out(&self, so_far: &NightReport<Self::Document>, order: &Order) -> Step<Self::Document>;

    /// The exit code of the signal that asked the night to stop, if one did.
    fn interrupted(&self) -> Option<u8>;

    /// Shows a note to the user at the terminal.
    fn note(&self, message: &str);
}

/// Runs all steps of a night. Adds their results and failures to `report`.
pub fn nightly<F: StepRunner>(job: &NightlyJob, front: &F, report: &mut NightReport<F::Document>) {
    let mut night = NightInProgress { job, front, report };
    if let Err(failure) = night.look() {
        return night.report.steps.push(Step::failed(StepName::Open, failure));
    }
    night.make_room();
    let create = night.create();
    let create = night.refuse_an_empty_night(create);
    let is_made = create.is_done();
    let may_go_on = is_made || !matches!(create.code(), 2 | 10 | 11);
    night.report.steps.push(create);
    // What this run removes can be undone until the next run.
    night.follow_up(is_made, &Order::Gc { older_than: job.trash_keep });
    if is_made && !job.has_policy {
        night.skip(StepName::Prune, StepSkipReason::NoPolicy);
    } else {
        night.follow_up(is_made, &Order::Prune);
    }
    if may_go_on && job.verify_shares > 0 {
        night.step(&Order::Verify { shares: job.verify_shares });
    }
    if is_made && night.is_drill_due() && front.interrupted().is_none() {
        night.step(&Order::Drill);
    }
    if may_go_on {
        // A kill does no harm: the next copy resumes what is left.
        for to in &job.copy_to {
            night.step(&Order::Copy { to: to.clone() });
        }
        for to in &job.push_to {
            night.step(&Order::Push { to: to.clone() });
        }
    }
}

/// Free bytes of the filesystem with the front end's repository.
pub fn free_bytes(front: &impl StepRunner) -> Option<u64> {
    front.open().ok().and_then(|repository| free(&repository))
}

fn free(repository: &Repository) -> Option<u64> {
    fs::space(repository.dir()).ok().map(|space| space.free_bytes)
}

/// A night in progress.
struct NightInProgress<'a, F: StepRunner> {
    job: &'a NightlyJob,
    front: &'a F,
    report: &'a mut NightReport<F::Document>,
}

impl<F: StepRunner> NightInProgress<'_, F> {
    /// Notices missed nights, before there is a new snapshot.
    fn look(&mut self) -> Result<(), StepFailure> {
        let repository = self.front.open()?;
        let listing = list(&repository).map_err(|error| self.front.failure(error))?;
        let main = |summary: &&Summary| summary.is_complete() && summary.is_of(&listing.series.main);
        let of_main = listing.snapshots.iter().map(|(summary, _)| summary).filter(main);
        let newest = of_main.clone().map(|summary| summary.time).max();
        self.report.tables_before =
            of_main.rev().find(|summary| summary.is_good()).map_or(0, |summary| summary.totals.tables);
        self.report.missed = missed(newest, self.report.started, self.job.every);
        self.report.free_bytes_before = free(&repository);
        Ok(())
    }

    /// If too little is free, empties the trash first, and then removes the snapshots that the policy does not keep,
    /// but never the last good snapshot.
    fn make_room(&mut self) {
        let wanted = self.job.min_free_bytes;
        let is_short = |night: &Self| free_bytes(night.front).is_some_and(|free| free < wanted);
        if !is_short(self) {
            return;
        }
        let text = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        let before = text(free_bytes(self.front));
        let empty = Order::Gc { older_than: Duration::ZERO };
        self.step(&empty);
        if is_short(self) && self.job.has_policy {
            self.step(&Order::Prune);
            self.step(&empty);
        }
        let now = text(free_bytes(self.front));
        if is_short(self) {
            let wanted = size(wanted);
            let message = format!("{now} are free, less than the {wanted} of min_free, after all that may go went");
            self.report.warnings.push(Warning::new(WarningKind::LowSpace, message));
        } else {
            self.report.notes.push(format!("room was made first: {before} were free, {now} are"));
        }
    }

    /// Turns a night that took no table into a failure if the last complete snapshot has tables: nothing may be removed
    /// because of it.
    fn refuse_an_empty_night(&self, mut create: Step<F::Document>) -> Step<F::Document> {
        let before = self.report.tables_before;
        let is_empty = matches!(&create.found, Some(StepFindings::Created(created)) if created.tables == 0);
        if create.is_done() && is_empty && before > 0 {
            let before = count(before, "table");
            let message = format!("the snapshot has no table, and the last complete one has {before}");
            create.result = StepResult::Failed(StepFailure::new(1, message));
        }
        create
    }

    /// Makes the snapshot, and retries while the server is not up yet.
    fn create(&mut self) -> Step<F::Document> {
        let begun = Instant::now();
        let mut attempt = 0;
        loop {
            let step = self.front.carry_out(self.report, &Order::Create);
            if !matches!(&step.result, StepResult::Failed(failure) if failure.is_absent_server) {
                return step;
            }
            let Some(wait) = next_wait(attempt, begun.elapsed(), self.job.server_wait) else { return step };
            if attempt == 0 {
                let patience = humantime::format_duration(self.job.server_wait);
                self.front.note(&format!("the server does not answer; it is asked again for {patience}"));
            }
            attempt += 1;
            self.report.retries = attempt;
            if let Some(signal) = self.sleep(wait) {
                let failure = StepFailure::new(signal, "interrupted while the server was waited for");
                return Step::failed(StepName::Create, failure);
            }
        }
    }

    /// Sleeps. Ends early with the exit code of a signal.
    fn sleep(&self, time: Duration) -> Option<u8> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some(signal) = self.front.interrupted() {
                return Some(signal);
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        self.front.interrupted()
    }

    /// Whether a drill is due. One slightly less than a full interval ago counts as due tonight, instead of one night
    /// later.
    fn is_drill_due(&self) -> bool {
        let every = self.job.drill_every;
        if every.is_zero() {
            return false;
        }
        let events = self.front.open().ok().map(|repository| repository.events());
        let drills = events.into_iter().flatten().filter(|(_, event)| matches!(event, Event::Drilled { .. }));
        let last = drills.map(|(time, _)| time).filter(|time| *time <= self.report.started).max();
        last.is_none_or(|last| {
            (self.report.started - last).to_std().unwrap_or_default() >= every.saturating_sub(every / 20)
        })
    }

    /// Runs a step that may only follow a new snapshot.
    fn follow_up(&mut self, is_made: bool, order: &Order) {
        if is_made { self.step(order) } else { self.skip(order.step(), StepSkipReason::NoNewSnapshot) }
    }

    fn step(&mut self, order: &Order) {
        if self.front.interrupted().is_some() {
            return self.skip(order.step(), StepSkipReason::Interrupted);
        }
        let step = self.front.carry_out(self.report, order);
        self.report.steps.push(step);
    }

    fn skip(&mut self, name: StepName, reason: StepSkipReason) {
        self.report.steps.push(Step::bare(name, StepResult::Skipped(reason)));
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests;
