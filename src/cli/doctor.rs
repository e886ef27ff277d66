use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstyle::{AnsiColor, Style};
use chrono::Utc;
use chsnap::ops::{self, Check, Examination, OpError, State};
use chsnap::server::Server;
use serde_json::json;

use super::failure::Failure;
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::render;
use super::{CommandResult, DONE, WARNED};

/// Say what would go wrong tonight: rights, mounts, links, space, leftovers, clock
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {}

const EXAMPLES: &str =
    "Exit code 0: all is well; 3: something should be looked at; 1: the next create fails, or lacks \
    something.

Examples:
  chsnap doctor --repo /var/lib/clickhouse/chsnap
  chsnap doctor --path-map /var/lib/clickhouse=/srv/clickhouse";

const WRITABLE: &str = "a String takes everything";
/// Letters of a message; an error can quote a whole path or statement.
const MESSAGE_LIMIT: usize = 2000;

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let Args {} = args;
    let repository = opening::open(globals)?;
    let examination = Examination { paths: globals.paths(), jobs: globals.jobs(), lock_wait: globals.lock_wait };
    let options = opening::options(globals, Arc::new(AtomicBool::new(false)))?;
    let connect = || Server::connect(options).map_err(OpError::from);
    let checks = ops::doctor(&repository, connect, &examination, Utc::now());
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    if output.is_json() {
        output.json(&json!({"schema": output.schema(), "state": worst, "checks": checks}));
    } else {
        output.text(&text(&checks));
    }
    match worst {
        State::Ok => Ok(DONE),
        State::Warning => Ok(WARNED),
        State::Fail => {
            let failed: Vec<&str> = checks.iter().filter(|c| c.state == State::Fail).map(|c| c.name).collect();
            Err(Failure::failed(format!("the next create fails, or lacks something: {}", failed.join(", "))))
        }
    }
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (colour, state) = match check.state {
            State::Ok => (AnsiColor::Green, "ok"),
            State::Warning => (AnsiColor::Yellow, "warning"),
            State::Fail => (AnsiColor::Red, "fail"),
        };
        let style = Style::new().bold().fg_color(Some(colour.into()));
        let message = render::safe(&check.message, MESSAGE_LIMIT);
        writeln!(text, "{style}{state:7}{style:#}  {:width$}  {message}", check.name).expect(WRITABLE);
        if let Some(remedy) = &check.remedy {
            writeln!(text, "{:1$}  {remedy}", "", width + 9).expect(WRITABLE);
        }
    }
    text
}
