use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use chsnap::fs;
use chsnap::ops::{self, Alert, Severity};
use chsnap::repo::LastCheck;

use super::documents::{self, MonitorDocument, MonitorProblem};
use super::failure::CommandFailure;
use super::globals::{Globals, duration};
use super::output::Output;
use super::streams::write_stdout;
use super::{metrics, opening, render};

/// Report in one line whether the newest snapshot is recent enough, for Nagios
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Warn if the newest good snapshot is older
    #[arg(long, value_name = "DURATION", default_value = "26h", value_parser = duration)]
    warn: Duration,
    /// Report critical if the newest good snapshot is older
    #[arg(long, value_name = "DURATION", default_value = "50h", value_parser = duration)]
    crit: Duration,
    /// Warn of snapshots that were not completely read within this time, for example 60d [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    verified_within: Option<Duration>,
    /// Also write metrics for Prometheus; the metrics of the last run are kept
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

const EXAMPLES: &str =
    "The exit codes are those of Nagios plugins, and not those of the other commands: 0 ok, 1 warning, \
    2 critical, 3 unknown.

Examples:
  chsnap monitor --warn 26h --crit 50h
  chsnap monitor --profile nfs --warn 26h --crit 50h --json";

/// The answers, with the exit codes that Nagios gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NagiosState {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl NagiosState {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The answer if the command line or the configuration cannot be used.
pub(super) fn unknown(message: &str, as_json: bool) -> u8 {
    let (state, code) = (NagiosState::Unknown, NagiosState::Unknown as u8);
    let text = if as_json {
        let state = state.word().to_lowercase();
        let message = message.to_owned();
        let document = MonitorDocument { state, exit_code: code, message, ..MonitorDocument::default() };
        format!("{}\n", documents::value(&document, &[]))
    } else {
        format!("CHSNAP {} - {}\n", state.word(), render::safe(message, 400).replace('|', "/"))
    };
    if let Err(error) = write_stdout(&text, false) {
        tracing::debug!(%error, "the answer is not written");
    }
    code
}

struct MonitorFindings {
    state: NagiosState,
    message: String,
    newest: Option<DateTime<Utc>>,
    age_seconds: Option<i64>,
    snapshots: usize,
    damaged: usize,
    drifted: usize,
    incomplete: usize,
    free_bytes: Option<u64>,
    /// Every problem that justifies a call, the worst first.
    problems: Vec<Alert>,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> u8 {
    let now = Utc::now();
    let mut found = match look(args, globals, now) {
        Ok(found) => found,
        Err(failure) => MonitorFindings {
            state: NagiosState::Unknown,
            message: failure.line(),
            newest: None,
            age_seconds: None,
            snapshots: 0,
            damaged: 0,
            drifted: 0,
            incomplete: 0,
            free_bytes: None,
            problems: Vec::new(),
        },
    };
    if let Some(path) = &args.metrics_file
        && let Err(error) = metrics::write(path, globals, None, now)
    {
        found.message = format!("{}; the figures are not written: {error}", found.message);
        found.state = found.state.max(NagiosState::Warning);
    }
    if output.is_json() {
        output.document(&document(&found, args), &[]);
    } else {
        // One line, without a bar in the message: figures follow a bar.
        let message = render::safe(&found.message, 400).replace('|', "/");
        output.text(&format!("CHSNAP {} - {message}{}\n", found.state.word(), figures(&found, args)));
    }
    found.state as u8
}

fn document(found: &MonitorFindings, args: &Args) -> MonitorDocument {
    MonitorDocument {
        state: found.state.word().to_lowercase(),
        exit_code: found.state as u8,
        message: found.message.clone(),
        newest: found.newest.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)),
        age_seconds: found.age_seconds,
        warn_seconds: Some(args.warn.as_secs()),
        crit_seconds: Some(args.crit.as_secs()),
        snapshots: Some(found.snapshots as u64),
        damaged_snapshots: Some(found.damaged as u64),
        drifted_snapshots: Some(found.drifted as u64),
        incomplete_snapshots: Some(found.incomplete as u64),
        free_bytes: found.free_bytes,
        problems: found.problems.iter().map(problem).collect(),
    }
}

fn state(severity: Severity) -> NagiosState {
    match severity {
        Severity::Warning => NagiosState::Warning,
        Severity::Critical => NagiosState::Critical,
    }
}

fn problem(alert: &Alert) -> MonitorProblem {
    let state = state(alert.severity).word().to_lowercase();
    MonitorProblem { kind: alert.warning.kind, state, message: alert.warning.message.clone() }
}

/// `label=value[unit];warn;crit;min` (the development guidelines of the Nagios plugins).
fn figures(found: &MonitorFindings, args: &Args) -> String {
    let Some(age) = found.age_seconds else { return String::new() };
    let (warn, crit) = (args.warn.as_secs(), args.crit.as_secs());
    let free = found.free_bytes.map(|free| format!(" free={free}B;;;0")).unwrap_or_default();
    format!(" | age={age}s;{warn};{crit};0 snapshots={};;;0{free}", found.snapshots)
}

fn look(args: &Args, globals: &Globals, now: DateTime<Utc>) -> Result<MonitorFindings, CommandFailure> {
    if args.warn > args.crit {
        return Err(CommandFailure::usage("--warn is longer than --crit"));
    }
    let repository = opening::open(globals)?;
    let listing = ops::list(&repository)?;
    let free_bytes = fs::space(repository.dir()).ok().map(|space| space.free_bytes);
    let good = || listing.snapshots.iter().map(|(summary, _)| summary).filter(|summary| summary.is_complete());
    let snapshots = good().count();
    let count = |is_found: fn(&LastCheck) -> bool| listing.checks.iter().filter(|check| is_found(check)).count();
    let found = MonitorFindings {
        state: NagiosState::Critical,
        message: "there is no complete snapshot".to_owned(),
        newest: None,
        age_seconds: None,
        snapshots,
        damaged: count(|check| check.damaged),
        drifted: count(|check| check.drifted),
        incomplete: good().filter(|summary| summary.incomplete).count(),
        free_bytes,
        problems: ops::alerts(&repository, &listing, args.verified_within, now)?,
    };
    // A snapshot dated in the future does not show how long ago the last nightly run was.
    let Some(newest) = listing.newest_good(now) else { return Ok(found) };
    let age_seconds = (now - newest.time).num_seconds();
    let age = Duration::from_secs(age_seconds.unsigned_abs());
    let mut state = match age {
        age if age > args.crit => NagiosState::Critical,
        age if age > args.warn => NagiosState::Warning,
        _ => NagiosState::Ok,
    };
    let mut message = format!(
        "newest snapshot {} is {} old, {} in all",
        newest.id,
        render::age(newest.time, now),
        render::count(snapshots as u64, "snapshot")
    );
    for alert in &found.problems {
        state = state.max(self::state(alert.severity));
        message = format!("{message}; {}", alert.warning);
    }
    Ok(MonitorFindings { state, message, newest: Some(newest.time), age_seconds: Some(age_seconds), ..found })
}
