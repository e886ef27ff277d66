//! The nightly job.

mod found;
mod front;
mod hook;
mod hook_line;
mod ping;
mod report_files;
mod summary;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use chsnap::model::{Warning, WarningKind};
use chsnap::ops::OpError;
use chsnap::ops::nightly::{NightReport, NightlyJob, Step, StepFailure, StepName, free_bytes, nightly};
use chsnap::remote::{RemoteAddress, RemoteError};
use serde_json::Value;

use super::failure::CommandFailure;
use super::globals::{Globals, duration, size};
use super::invocation::Invocation;
use super::output::Output;
use super::panics::Reporter;
use super::{CommandResult, WARNED, address, metrics, signals};

pub(super) use hook::{check as hook_refusal, check_words as hook_words_refusal, programs as hook_programs};

pub(super) use ping::reach as reach_ping;

use front::{CommandSteps, CurrentStep};
use report_files::ReportFiles;

/// Run the nightly job: create, then housekeeping
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The profile to run [default: the settings outside of any profile]
    #[arg(value_name = "PROFILE", id = "run_profile")]
    profile: Option<String>,
    /// How often the job runs; a run that is late by half of this is reported as missed
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    every: Duration,
    /// How long removed snapshots stay in the trash at least; with 0, until the next run
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    trash_keep: Duration,
    /// If less than this is free, empty the trash and prune before create
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    pub(super) min_free: u64,
    /// Verify the bytes of one of N shares of the parts in each run, so that N runs read them all; 0 skips verification
    #[arg(long, value_name = "N", default_value_t = 30)]
    verify_slices: u32,
    /// Drill the new snapshot if the last drill is older than this, for example 7d; 0 skips drills
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    drill_every: Duration,
    /// Copy snapshots to this repository, all that it lacks: see chsnap copy; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(super) copy_to: Vec<String>,
    /// Push snapshots to this object store, all that it lacks: see chsnap push; may be given several times
    #[arg(long, value_name = "REMOTE")]
    pub(super) push_to: Vec<String>,
    /// How long to wait for a server that does not answer yet
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    server_wait: Duration,
    /// Command line to run first; if it fails, nothing else is done
    #[arg(long, value_name = "COMMAND")]
    pub(super) before: Option<String>,
    /// Command line to run last, with the outcome in variables such as CHSNAP_RUN_STATE, and all warnings in the file
    /// named by CHSNAP_RUN_WARNINGS_FILE
    #[arg(long, value_name = "COMMAND")]
    pub(super) after: Option<String>,
    /// How long each of --before and --after may take
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    hook_timeout: Duration,
    /// Address to request: as it is after a success, with /start appended at the start, and with /fail appended after a
    /// failure, as a POST that says what failed
    #[arg(long, value_name = "URL", hide_default_value = true)]
    ping: Option<String>,
    /// Address to request at the start
    #[arg(long, value_name = "URL", hide_default_value = true)]
    ping_start: Option<String>,
    /// Address to request after a success
    #[arg(long, value_name = "URL", hide_default_value = true)]
    ping_success: Option<String>,
    /// Address to request after a failure, as a POST that says what failed
    #[arg(long, value_name = "URL", hide_default_value = true)]
    ping_failure: Option<String>,
    /// Write metrics for Prometheus's node exporter to this *.prom file
    #[arg(long, value_name = "FILE")]
    pub(super) metrics_file: Option<PathBuf>,
}

const EXAMPLES: &str =
    "The exit code is that of the worst step, in this order, the worst first: 143, 130, 129, 12, 1, 10, 11, 2, 13, 3, 0.

Examples:
  chsnap run
  chsnap run nfs
  chsnap run nfs --json --progress none
  chsnap run --min-free 100GiB --metrics-file /var/lib/prometheus/node-exporter/chsnap.prom";

/// One run, with everything that its steps need.
struct RunContext<'a> {
    args: &'a Args,
    front: CommandSteps<'a>,
    begun: Instant,
}

/// The time that the report of a panic may take in addition to the hook: a ping, the figures.
const REPORT_TIME: Duration = Duration::from_secs(90);

pub(super) fn run(args: &Args, globals: &Globals, invocation: &Invocation, output: &Output) -> CommandResult {
    check_addresses(args)?;
    let layer = invocation.layer()?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let report = NightReport::begin(invocation.profile.clone(), globals.repo.clone(), Utc::now());
    let at_step = Mutex::new(CurrentStep::between(report.clone()));
    let front = CommandSteps { globals, invocation, layer: &layer, output, interrupted, at_step };
    let night = RunContext { args, front, begun: Instant::now() };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| night.end_on_signal(&is_over));
        let report = night.all(report);
        is_over.store(true, Ordering::Relaxed);
        night.finish(report)
    })
}

/// Refuses invalid addresses, without repeating them: they may contain a secret.
fn check_addresses(args: &Args) -> Result<(), CommandFailure> {
    let given = [
        ("ping", &args.ping),
        ("ping-start", &args.ping_start),
        ("ping-success", &args.ping_success),
        ("ping-failure", &args.ping_failure),
    ];
    for (name, url) in given.into_iter().filter_map(|(name, url)| Some((name, url.as_ref()?))) {
        if let Some(problem) = address::refusal(url) {
            return Err(CommandFailure::usage(format!("--{name} is no address: {problem}")));
        }
    }
    for remote in &args.push_to {
        remote.parse::<RemoteAddress>().map_err(|error| OpError::from(RemoteError::from(error)))?;
    }
    Ok(())
}

impl Args {
    /// The addresses to which a run reports, each with its key.
    pub(super) fn pings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let given = [
            ("ping", &self.ping),
            ("ping_start", &self.ping_start),
            ("ping_success", &self.ping_success),
            ("ping_failure", &self.ping_failure),
        ];
        given.into_iter().filter_map(|(key, url)| Some((key, url.as_deref()?)))
    }

    pub(super) fn job(&self, has_policy: bool) -> NightlyJob {
        NightlyJob::new()
            .with_every(self.every)
            .with_trash_keep(self.trash_keep)
            .with_min_free_bytes(self.min_free)
            .with_verify_shares(self.verify_slices)
            .with_drill_every(self.drill_every)
            .with_copy_to(self.copy_to.clone())
            .with_push_to(self.push_to.clone())
            .with_server_wait(self.server_wait)
            .with_has_policy(has_policy)
    }
}

impl RunContext<'_> {
    /// A signal ends a step at once if a kill cannot harm it, and a panic ends any step; but figures, ping and hook
    /// still follow. A step that handles signals itself goes on, and undoes what it began.
    fn end_on_signal(&self, is_over: &AtomicBool) {
        let reporter = Reporter::new(self.args.hook_timeout.saturating_add(REPORT_TIME));
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            if let Some(panic) = reporter.panic() {
                let message = format!("it stopped because of a bug in chsnap: {panic}");
                self.end(self.front.step().failed(1, message));
            }
            if self.is_interrupted() {
                let step = self.front.step();
                if !step.hears_signals {
                    self.end(step.failed(signals::exit_code(), "interrupted"));
                }
            }
        }
    }

    /// Ends the process with the report of an interrupted run.
    fn end(&self, report: NightReport<Value>) -> ! {
        let output = self.front.output;
        let code = self.finish(report).unwrap_or_else(|failure| failure.report(output));
        std::process::exit(code.into());
    }

    fn is_interrupted(&self) -> bool {
        self.front.interrupted.load(Ordering::Relaxed)
    }

    fn code(&self, report: &NightReport<Value>) -> u8 {
        report.exit_code(self.is_interrupted().then(signals::exit_code))
    }

    fn all(&self, mut report: NightReport<Value>) -> NightReport<Value> {
        self.ping_start(&mut report);
        if self.refuses_hooks(&mut report) {
            return report;
        }
        if let Some(line) = &self.args.before {
            let environment = summary::environment(&report, "before", 0);
            if let Err(trouble) = hook::run(line, &environment, self.args.hook_timeout, &|| self.is_interrupted()) {
                let message = format!("the hook \"before\" failed: {trouble}");
                report.steps.push(Step::failed(StepName::Before, StepFailure::new(1, message)));
                return report;
            }
        }
        nightly(&self.args.job(self.front.has_policy()), &self.front, &mut report);
        report
    }

    /// Refuses a hook whose program another user may write; the run then does nothing else either.
    fn refuses_hooks(&self, report: &mut NightReport<Value>) -> bool {
        let hooks = [(StepName::Before, &self.args.before), (StepName::After, &self.args.after)];
        for (name, line) in hooks {
            if let Some(Err(failure)) = line.as_deref().map(|line| hook::check(name.name(), line)) {
                report.steps.push(Step::failed(name, failure.into()));
                return true;
            }
        }
        false
    }

    fn ping_with_suffix(&self, word: &str) -> Option<String> {
        self.args.ping.as_ref().map(|url| address::append_to_path(url, word))
    }

    fn ping_start(&self, report: &mut NightReport<Value>) {
        if let Some(url) = self.args.ping_start.clone().or_else(|| self.ping_with_suffix("start")) {
            warn_of_ping(ping::get(&url), "start", report);
        }
    }

    fn ping_end(&self, report: &mut NightReport<Value>) {
        let code = self.code(report);
        if matches!(code, 0 | WARNED) {
            if let Some(url) = self.args.ping_success.as_ref().or(self.args.ping.as_ref()) {
                warn_of_ping(ping::get(url), "success", report);
            }
        } else if let Some(url) = self.args.ping_failure.clone().or_else(|| self.ping_with_suffix("fail")) {
            warn_of_ping(ping::post(&url, &summary::problem_text(report, code)), "failure", report);
        }
    }

    /// Runs the last hook, unless its program was refused: that is reported already.
    fn hook_after(&self, report: &mut NightReport<Value>) {
        let Some(line) = self.args.after.as_deref() else { return };
        if hook::check("after", line).is_err() {
            return;
        }
        let code = self.code(report);
        let files = ReportFiles::write(report, code);
        let mut environment = summary::environment(report, "after", code);
        match &files {
            Ok(files) => environment.extend(files.environment()),
            Err(error) => {
                let message = format!("the files for the hook \"after\" are not written: {error}");
                report.warnings.push(Warning::new(WarningKind::HookFailed, message));
            }
        }
        // A signal that ended the run is no reason to skip its report.
        if let Err(trouble) = hook::run(line, &environment, self.args.hook_timeout, &|| false) {
            let message = format!("the hook \"after\" failed: {trouble}");
            report.warnings.push(Warning::new(WarningKind::HookFailed, message));
        }
    }

    /// Finishes the run, whatever happened: figures, ping, hook, and then the summary.
    fn finish(&self, mut report: NightReport<Value>) -> CommandResult {
        report.free_bytes_after = free_bytes(&self.front);
        report.seconds = self.begun.elapsed().as_secs_f64();
        self.ping_end(&mut report);
        self.hook_after(&mut report);
        report.finished = Utc::now();
        if let Some(path) = &self.args.metrics_file {
            let outcome = summary::outcome(&report, self.code(&report));
            if let Err(error) = metrics::write(path, self.front.globals, Some(&outcome), report.finished) {
                let message = format!("the figures for Prometheus are not written: {error}");
                report.warnings.push(Warning::new(WarningKind::MetricsNotWritten, message));
            }
        }
        let code = self.code(&report);
        summary::show(&report, code, self.front.output)
    }
}

fn warn_of_ping(answer: Result<(), String>, what: &str, report: &mut NightReport<Value>) {
    if let Err(error) = answer {
        let message = format!("the {what} could not be sent to the ping address: {error}");
        report.warnings.push(Warning::new(WarningKind::PingFailed, message));
    }
}
