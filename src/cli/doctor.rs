use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use chrono::Utc;
use chsnap::ops::{self, CheckState, DoctorCheck, Examination, OpError, Tonight};
use chsnap::repo::Repository;
use chsnap::server::Server;

use super::documents::DoctorDocument;
use super::failure::CommandFailure;
use super::globals::{Globals, duration};
use super::invocation::Invocation;
use super::layout::{self, Width};
use super::opening;
use super::output::Output;
use super::render;
use super::run::{hook_programs, hook_words_refusal, reach_ping};
use super::settings::{Layer, POLICY};
use super::{Command, CommandResult, DONE, WARNED, address, configured};

/// Check whether tonight's run would succeed: rights, mounts, links, space, leftovers, clock
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Warn of a replicated table whose delay behind its peers is longer than this
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = duration)]
    max_delay: Duration,
}

const EXAMPLES: &str =
    "Uses [create], [prune] and [run] of the configuration. Exit codes: 0 the next run will succeed; 3 \
    something needs attention; 1 the next create fails, or lacks something.

Examples:
  chsnap doctor --repo /var/lib/clickhouse/chsnap
  chsnap doctor --path-map /var/lib/clickhouse=/srv/clickhouse";

const WRITABLE: &str = "a String takes everything";
/// The longest message, in letters; an error can quote a whole path or statement.
const MESSAGE_LIMIT: usize = 2000;

pub(super) fn run(args: &Args, globals: &Globals, invocation: &Invocation, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let layer = invocation.layer()?;
    let configured = |name: &str| configured::command(&invocation.schema, &layer, name, &[]);
    let Command::Create(create) = configured("create")? else {
        return Err(CommandFailure::failed("create is no command"));
    };
    let options = opening::options(globals, Arc::new(AtomicBool::new(false)))?;
    let examination = Examination::new(create.request(globals, &repository))
        .with_paths(globals.paths())
        .with_jobs(globals.jobs())
        .with_lock_wait(globals.lock_wait)
        .with_max_delay(args.max_delay)
        .with_night(tonight(globals, invocation, &layer, &repository)?)
        .with_clear_text_host(options.clear_text_host());
    let connect = || Server::connect(options).map_err(OpError::from);
    let checks = ops::doctor(&repository, connect, &examination, Utc::now());
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(CheckState::Ok);
    if output.is_json() {
        output.document(&DoctorDocument { state: worst, checks: checks.clone() }, &[]);
    } else {
        output.text(&text(&checks, output.width()));
    }
    match worst {
        CheckState::Ok => Ok(DONE),
        CheckState::Warning => Ok(WARNED),
        CheckState::Fail => {
            let failed: Vec<&str> = checks.iter().filter(|c| c.state == CheckState::Fail).map(|c| c.name).collect();
            Err(CommandFailure::failed(format!("the next create fails, or lacks something: {}", failed.join(", "))))
        }
    }
}

/// The steps of the nightly run, according to the configuration.
fn tonight(
    globals: &Globals,
    invocation: &Invocation,
    layer: &Layer,
    repository: &Repository,
) -> Result<Tonight, CommandFailure> {
    let configured = |name: &str| configured::command(&invocation.schema, layer, name, &[]);
    let mut tonight =
        Tonight::default().with_prune_remedy(format!("{} prune --yes-really", invocation.command_words(globals)));
    let is_configured = layer.sections.get(POLICY).is_some_and(|section| !section.is_empty());
    if let (true, Command::Prune(prune)) = (is_configured, configured(POLICY)?) {
        tonight.prune = Some(prune.request(&prune.rules(globals)?, globals, repository));
    }
    if let Command::Run(run) = configured("run")? {
        tonight.min_free_bytes = run.min_free;
        tonight.metrics_file.clone_from(&run.metrics_file);
        tonight.copy_to = run.copy_to.iter().map(PathBuf::from).collect();
        tonight.jobs = globals.jobs_for(repository);
        for (phase, line) in [("before", &run.before), ("after", &run.after)] {
            line.as_deref().map_or(Ok(()), |line| hook_words_refusal(phase, line))?;
        }
        for (key, url) in run.pings() {
            if let Err(reason) = reach_ping(url) {
                tonight.unreachable_pings.push((key.to_owned(), format!("{}: {reason}", address::without_secret(url))));
            }
        }
        tonight.programs =
            [&run.before, &run.after].into_iter().flatten().flat_map(|line| hook_programs(line)).collect();
    }
    Ok(tonight)
}

fn text(checks: &[DoctorCheck], columns: Width) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (color, state) = match check.state {
            CheckState::Ok => (AnsiColor::Green, "ok"),
            CheckState::Warning => (AnsiColor::Yellow, "warning"),
            CheckState::Fail => (AnsiColor::Red, "fail"),
        };
        let style = Style::new().bold().fg_color(Some(color.into()));
        let message = render::safe(&check.message, MESSAGE_LIMIT);
        let indent = width + 11;
        let message = layout::paragraph(&message, columns, indent, indent);
        write!(text, "{style}{state:7}{style:#}  {:width$}  {}", check.name, message.trim_start()).expect(WRITABLE);
        if let Some(remedy) = &check.remedy {
            text.push_str(&layout::paragraph(remedy, columns, indent, indent));
        }
    }
    text
}
