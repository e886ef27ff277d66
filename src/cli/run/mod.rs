//! The nightly job.

mod hook;
mod ping;
mod step;
mod summary;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use chsnap::fs;
use chsnap::model::{Warning, WarningKind};
use chsnap::ops;
use chsnap::plan::{missed, next_wait, worst_code};
use chsnap::repo::{Event, Repository, Summary as RepoSummary};

use super::early::Early;
use super::failure::Failure;
use super::globals::{Globals, duration, size};
use super::output::Output;
use super::panics::Reporter;
use super::{CommandResult, WARNED, metrics, opening, render, signals};

use step::{Runner, State, Step};
use summary::Summary;

/// The nightly job: create, and what keeps the repository in order
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The profile to run [default: what stands at the top of the configuration]
    #[arg(value_name = "PROFILE", id = "run_profile")]
    profile: Option<String>,
    /// How often it is run: what is late by half as much again was missed, and said so
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    every: Duration,
    /// How long removed snapshots stay in the trash at least; 0 keeps them until the next run
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    trash_keep: Duration,
    /// With less free than this, all of the trash and what the policy lets go go before create
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    min_free: u64,
    /// Read the bytes of one share of all parts a run, so that all are read in N runs; 0 leaves verification out
    #[arg(long, value_name = "N", default_value_t = 30)]
    verify_slices: u32,
    /// Restore the new snapshot for a trial where the last drill is this long ago, for example 7d; 0 leaves drills out
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    drill_every: Duration,
    /// How long to wait for a server that does not answer yet
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    server_wait: Duration,
    /// A command line to run first; if it fails, nothing else is done
    #[arg(long, value_name = "COMMAND")]
    before: Option<String>,
    /// A command line to run last, with the outcome in CHSNAP_RUN_STATE and its like
    #[arg(long, value_name = "COMMAND")]
    after: Option<String>,
    /// How long each of them may take
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    hook_timeout: Duration,
    /// An address to get after a success; with /start behind it at the start, with /fail after a failure
    #[arg(long, value_name = "URL")]
    ping: Option<String>,
    /// An address to get at the start
    #[arg(long, value_name = "URL")]
    ping_start: Option<String>,
    /// An address to get after a success
    #[arg(long, value_name = "URL")]
    ping_success: Option<String>,
    /// An address to get after a failure
    #[arg(long, value_name = "URL")]
    ping_failure: Option<String>,
    /// Where figures for Prometheus are written: a file *.prom that its node exporter reads
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

const EXAMPLES: &str =
    "The exit code is that of the worst step, in this order: 143, 130, 129, 12, 1, 10, 11, 2, 13, 3, 0.

Examples:
  chsnap run
  chsnap run nfs
  chsnap run nfs --json --progress none
  chsnap run --min-free 100GiB --metrics-file /var/lib/prometheus/node-exporter/chsnap.prom";

/// What a run goes by.
struct Night<'a> {
    args: &'a Args,
    runner: Runner<'a>,
    interrupted: Arc<AtomicBool>,
    output: &'a Output,
    begun: Instant,
    /// The step that is being done.
    at_step: Mutex<AtStep>,
}

/// A step that is being done, for the thread that ends the run in the middle of it. Between steps it is the run itself.
#[derive(Clone)]
struct AtStep {
    /// The run as it was before.
    summary: Summary,
    name: String,
    /// Whether the step hears signals itself, and undoes what it began.
    hears_signals: bool,
}

impl AtStep {
    fn between(summary: Summary) -> Self {
        Self { summary, name: "run".to_owned(), hears_signals: true }
    }

    fn failed(self, code: u8, message: String) -> Summary {
        let Self { mut summary, name, .. } = self;
        summary.steps.push(Step::failed(&name, code, message));
        summary
    }
}

/// How long the report of a panic may take, beyond the hook: a ping, the figures.
const REPORT_TIME: Duration = Duration::from_secs(90);

/// One run, as far as it has come.
struct Run<'a> {
    night: &'a Night<'a>,
    summary: Summary,
}

impl<'a> std::ops::Deref for Run<'a> {
    type Target = Night<'a>;

    fn deref(&self) -> &Night<'a> {
        self.night
    }
}

pub(super) fn run(args: &Args, globals: &Globals, early: &Early, output: &Output) -> CommandResult {
    let layer = early.layer()?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let runner = Runner { globals, schema: &early.schema, layer: &layer };
    let summary = Summary::begin(early.profile.clone(), globals.repo.clone(), Utc::now());
    let at_step = Mutex::new(AtStep::between(summary.clone()));
    let night = Night { args, runner, interrupted, output, begun: Instant::now(), at_step };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| night.end_when_told(&is_over));
        let mut run = Run { night: &night, summary };
        run.all();
        is_over.store(true, Ordering::Relaxed);
        run.finish()
    })
}

impl Night<'_> {
    /// A signal ends a step that a kill cannot hurt at once, and a panic ends any step, but figures, ping and hook come
    /// all the same. A step that hears signals itself goes on, and undoes what it began.
    fn end_when_told(&self, is_over: &AtomicBool) {
        let reporter = Reporter::new(self.args.hook_timeout.saturating_add(REPORT_TIME));
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            let step = || self.at_step.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(panic) = reporter.panic() {
                self.end(step().failed(1, format!("it stopped because of a bug in chsnap: {panic}")));
            }
            if self.interrupted.load(Ordering::Relaxed) {
                let step = step();
                if !step.hears_signals {
                    self.end(step.failed(signals::exit_code(), "interrupted".to_owned()));
                }
            }
        }
    }

    /// Ends the process with the report of a run that is cut short.
    fn end(&self, summary: Summary) -> ! {
        let code = Run { night: self, summary }.finish().unwrap_or_else(|failure| failure.report(self.output));
        std::process::exit(code.into());
    }

    fn at_step(&self, step: AtStep) {
        *self.at_step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    /// Runs a command as a step of a run that is at `summary`.
    fn run_step(&self, summary: &Summary, name: &str, arguments: &[&str], hears_signals: bool) -> Step {
        self.at_step(AtStep { summary: summary.clone(), name: name.to_owned(), hears_signals });
        let step = self.runner.run(name, arguments);
        let mut after = summary.clone();
        after.steps.push(step.clone());
        self.at_step(AtStep::between(after));
        step
    }
}

impl Run<'_> {
    fn all(&mut self) {
        self.ping(self.start_address(), "start");
        if self.hook("before", self.args.before.as_deref()) {
            self.steps();
        }
    }

    fn steps(&mut self) {
        if let Err(failure) = self.look() {
            self.summary.steps.push(Step::failed("open", failure.code(), failure.line()));
            return;
        }
        self.make_room();
        let create = self.create();
        let create = self.refuse_an_empty_night(create);
        let is_made = create.is_done();
        let may_go_on = is_made || !matches!(create.code(), 2 | 10 | 11);
        self.summary.snapshot = create.text_of("id");
        self.summary.steps.push(create);
        let no_snapshot = "there is no new snapshot";
        // What this run removes can be undone until the next one.
        if is_made {
            let older_than = humantime::format_duration(self.args.trash_keep).to_string();
            self.step("gc", &["--older-than", &older_than]);
        } else {
            self.skip("gc", no_snapshot);
        }
        self.prune(is_made, no_snapshot);
        if may_go_on {
            self.verify();
        }
        if is_made && self.is_drill_due() && !self.is_interrupted() {
            // It hears signals itself, and drops what it has restored.
            let step = self.night.run_step(&self.summary, "drill", &[], true);
            self.summary.steps.push(step);
        }
    }

    /// Notices what was missed, before there is a new snapshot.
    fn look(&mut self) -> Result<(), Failure> {
        let repository = opening::open(self.runner.globals)?;
        let listing = ops::list(&repository)?;
        let main = |summary: &&RepoSummary| summary.is_complete() && summary.is_of(&listing.series.main);
        let of_main = listing.snapshots.iter().map(|(summary, _)| summary).filter(main);
        let newest = of_main.clone().map(|summary| summary.time).max();
        self.summary.tables_before =
            of_main.rev().find(|summary| summary.is_good()).map_or(0, |summary| summary.totals.tables);
        self.summary.missed = missed(newest, self.summary.started, self.args.every);
        self.summary.free_before = free_bytes(&repository);
        Ok(())
    }

    /// With too little free, what is in the trash goes first, then what the policy lets go: never the last good one.
    fn make_room(&mut self) {
        let wanted = self.args.min_free;
        let is_short = |run: &Self| run.free().is_some_and(|free| free < wanted);
        if !is_short(self) {
            return;
        }
        let text = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), render::bytes);
        let before = text(self.free());
        self.step("gc", &["--older-than", "0s"]);
        if is_short(self) && self.runner.has("prune") && self.runner.is_configured("prune") {
            self.step("prune", &["--yes"]);
            self.step("gc", &["--older-than", "0s"]);
        }
        if is_short(self) {
            let (free, wanted) = (text(self.free()), render::bytes(wanted));
            let message = format!("{free} are free, less than the {wanted} of min_free, after all that may go went");
            self.summary.warnings.push(Warning::new(WarningKind::LowSpace, message));
        } else {
            self.summary.notes.push(format!("room was made first: {before} were free, {} are", text(self.free())));
        }
    }

    /// A night that took no table although the last complete one has some has failed: nothing may be removed on its account.
    fn refuse_an_empty_night(&self, mut create: Step) -> Step {
        let before = self.summary.tables_before;
        if create.is_done() && create.number_of("tables") == Some(0) && before > 0 {
            let before = render::count(before, "table");
            create.fail(1, format!("the snapshot has no table, and the last complete one has {before}"));
        }
        create
    }

    fn free(&self) -> Option<u64> {
        opening::open(self.runner.globals).ok().as_ref().and_then(free_bytes)
    }

    /// Makes the snapshot, again and again while the server is not there yet.
    fn create(&mut self) -> Step {
        let begun = Instant::now();
        let mut attempt = 0;
        loop {
            let step = self.night.run_step(&self.summary, "create", &[], true);
            let State::Failed { is_absent: true, .. } = step.state else { return step };
            let Some(wait) = next_wait(attempt, begun.elapsed(), self.args.server_wait) else { return step };
            if attempt == 0 {
                let patience = humantime::format_duration(self.args.server_wait);
                self.output.note(&format!("the server does not answer; it is asked again for {patience}"));
            }
            attempt += 1;
            self.summary.retries = attempt;
            if !self.sleep(wait) {
                return Step::failed(
                    "create",
                    signals::exit_code(),
                    "interrupted while the server was waited for".to_owned(),
                );
            }
        }
    }

    /// Sleeps, unless the program is asked to stop.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.is_interrupted() {
                return false;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        !self.is_interrupted()
    }

    fn prune(&mut self, is_made: bool, no_snapshot: &str) {
        if !self.runner.has("prune") {
            return;
        }
        match (is_made, self.runner.is_configured("prune")) {
            (false, _) => self.skip("prune", no_snapshot),
            (true, false) => self.skip("prune", "no policy is configured: [prune] in the configuration has it"),
            (true, true) => self.step("prune", &["--yes"]),
        }
    }

    /// The share that is next in the journal, at the level that is configured, or else every byte of it.
    fn verify(&mut self) {
        let count = self.args.verify_slices;
        if !self.runner.has("verify") || count == 0 {
            return;
        }
        let slice = format!("next/{count}");
        let has_level = self.runner.layer.sections.get("verify").is_some_and(|section| section.contains_key("level"));
        let arguments: &[&str] = if has_level { &["--slice", &slice] } else { &["--slice", &slice, "--level", "data"] };
        self.step("verify", arguments);
    }

    /// A drill that was a little less long ago is due: tonight, and not after one night more.
    fn is_drill_due(&self) -> bool {
        let every = self.args.drill_every;
        if every.is_zero() {
            return false;
        }
        let events = opening::open(self.runner.globals).ok().and_then(|repository| repository.events().ok());
        let drills = events.into_iter().flatten().filter(|(_, event)| matches!(event, Event::Drilled { .. }));
        let last = drills.map(|(time, _)| time).filter(|time| *time <= self.summary.started).max();
        last.is_none_or(|last| {
            (self.summary.started - last).to_std().unwrap_or_default() >= every.saturating_sub(every / 20)
        })
    }

    fn step(&mut self, name: &str, arguments: &[&str]) {
        if self.is_interrupted() {
            return self.skip(name, "the run was interrupted");
        }
        let step = self.night.run_step(&self.summary, name, arguments, false);
        self.summary.steps.push(step);
    }

    fn skip(&mut self, name: &str, reason: &str) {
        self.summary.steps.push(Step::skipped(name, reason));
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Runs a hook; whether the run may go on is the answer.
    fn hook(&mut self, phase: &str, line: Option<&str>) -> bool {
        let Some(line) = line else { return true };
        let environment = self.summary.environment(phase, self.code());
        let result = hook::run(line, &environment, self.args.hook_timeout);
        let Err(trouble) = result else { return true };
        let message = format!("the hook {phase:?} failed: {trouble}");
        if phase == "before" {
            self.summary.steps.push(Step::failed("before", 1, message));
        } else {
            self.summary.warnings.push(Warning::new(WarningKind::HookFailed, message));
        }
        false
    }

    fn start_address(&self) -> Option<String> {
        self.args.ping_start.clone().or_else(|| self.behind_ping("start"))
    }

    fn behind_ping(&self, word: &str) -> Option<String> {
        self.args.ping.as_ref().map(|url| format!("{}/{word}", url.trim_end_matches('/')))
    }

    fn ping(&mut self, url: Option<String>, what: &str) {
        let Some(url) = url else { return };
        if let Err(error) = ping::ping(&url) {
            let message = format!("the {what} could not be told to the ping address: {error}");
            self.summary.warnings.push(Warning::new(WarningKind::PingFailed, message));
        }
    }

    fn code(&self) -> u8 {
        let interrupted = self.is_interrupted().then(signals::exit_code);
        let warned = (!self.summary.warnings.is_empty()).then_some(WARNED);
        worst_code(self.summary.steps.iter().map(Step::code).chain(interrupted).chain(warned))
    }

    /// Whatever happened: figures, ping, hook, and then the summary.
    fn finish(mut self) -> CommandResult {
        self.summary.free_after = self.free();
        self.summary.seconds = self.begun.elapsed().as_secs_f64();
        let is_success = matches!(self.code(), 0 | WARNED);
        let (url, what) = if is_success {
            (self.args.ping_success.clone().or_else(|| self.args.ping.clone()), "success")
        } else {
            (self.args.ping_failure.clone().or_else(|| self.behind_ping("fail")), "failure")
        };
        self.ping(url, what);
        self.hook("after", self.args.after.as_deref());
        self.summary.finished = Utc::now();
        if let Some(path) = &self.args.metrics_file {
            let outcome = self.summary.outcome(self.code());
            if let Err(error) = metrics::write(path, self.runner.globals, Some(&outcome), self.summary.finished) {
                let message = format!("the figures for Prometheus are not written: {error}");
                self.summary.warnings.push(Warning::new(WarningKind::MetricsNotWritten, message));
            }
        }
        let code = self.code();
        let output = self.output;
        self.summary.tell(code, output)
    }
}

fn free_bytes(repository: &Repository) -> Option<u64> {
    fs::space(repository.dir()).ok().map(|space| space.free_bytes)
}
