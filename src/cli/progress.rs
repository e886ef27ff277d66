//! Progress on stderr: bars on a terminal, lines off it, events for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chsnap::monitor::{Monitor, Stage, Work};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use super::globals::ProgressMode;
use super::render;
use super::streams::write_stderr;

/// Shows what the engine reports.
pub(super) struct Progress {
    face: Face,
    stages: Mutex<BTreeMap<Stage, Running>>,
}

enum Face {
    Bars(MultiProgress),
    Plain,
    Json,
    Silent,
}

struct Running {
    since: Instant,
    total: Option<Work>,
    done: Work,
    bar: Option<ProgressBar>,
    /// When the last event was written.
    told: Instant,
}

/// Between two events of one stage.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

impl Progress {
    pub(super) fn new(mode: ProgressMode) -> Self {
        let face = match mode {
            ProgressMode::None => Face::Silent,
            ProgressMode::Json => Face::Json,
            ProgressMode::Auto if std::io::stderr().is_terminal() => Face::Bars(MultiProgress::new()),
            ProgressMode::Auto | ProgressMode::Plain => Face::Plain,
        };
        Self { face, stages: Mutex::default() }
    }

    /// Takes the bars off the terminal, so that results stand alone.
    pub(super) fn clear(&self) {
        if let Face::Bars(bars) = &self.face
            && bars.clear().is_err()
        {
            // The terminal is gone, and the bars with it.
        }
    }

    fn bar(&self, stage: Stage, total: Option<Work>) -> Option<ProgressBar> {
        let Face::Bars(bars) = &self.face else { return None };
        let length = total.map(|work| position(stage, work)).filter(|length| *length > 0);
        // In its place before anything draws it: a bar that draws on its own leaves a line behind.
        let bar = bars.add(length.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let template = if length.is_some() {
            "{prefix:>9} [{bar:30}] {pos}/{len} {msg}  {rate}  {elapsed_precise}  ETA {eta}"
        } else {
            "{prefix:>9} {spinner} {msg} {elapsed_precise}"
        };
        let style = ProgressStyle::with_template(template)
            .expect("the template is valid")
            .progress_chars("=> ")
            .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                if write!(out, "{:.0}/s", state.per_sec()).is_err() {
                    // Only a String is ever written to.
                }
            });
        bar.set_style(style);
        bar.set_prefix(stage.name());
        bar.enable_steady_tick(Duration::from_millis(200));
        Some(bar)
    }

    fn event(stage: Stage, what: &str, running: &Running) {
        let total = running.total.map(amounts);
        write_stderr(&format!(
            "{}\n",
            json!({
                "event": what,
                "stage": stage.name(),
                "done": amounts(running.done),
                "total": total,
                "seconds": running.since.elapsed().as_secs_f64(),
            })
        ));
    }
}

fn amounts(work: Work) -> serde_json::Value {
    json!({"tables": work.tables, "parts": work.parts, "files": work.files, "bytes": work.bytes})
}

/// What the bar of a stage counts.
fn position(stage: Stage, work: Work) -> u64 {
    if stage == Stage::Freeze { work.tables } else { work.parts }
}

fn described(work: Work) -> String {
    let mut words = Vec::new();
    for (number, noun) in [(work.tables, "table"), (work.parts, "part"), (work.files, "file")] {
        if number > 0 {
            words.push(render::count(number, noun));
        }
    }
    if work.bytes > 0 {
        words.push(render::bytes(work.bytes));
    }
    words.join(", ")
}

impl Monitor for Progress {
    fn stage_started(&self, stage: Stage, total: Option<Work>) {
        let now = Instant::now();
        let running = Running { since: now, total, done: Work::default(), bar: self.bar(stage, total), told: now };
        match self.face {
            Face::Plain => {
                let expected = total.map(described).filter(|text| !text.is_empty());
                write_stderr(&format!("{}: {}…\n", stage.name(), expected.map_or(String::new(), |text| text + " ")));
            }
            Face::Json => Self::event(stage, "started", &running),
            Face::Bars(_) | Face::Silent => {}
        }
        self.stages.lock().expect("no thread panics with the stages").insert(stage, running);
    }

    fn advanced(&self, stage: Stage, done: Work) {
        if matches!(self.face, Face::Silent) {
            return;
        }
        let mut stages = self.stages.lock().expect("no thread panics with the stages");
        let Some(running) = stages.get_mut(&stage) else { return };
        running.done.tables += done.tables;
        running.done.parts += done.parts;
        running.done.files += done.files;
        running.done.bytes += done.bytes;
        if let Some(bar) = &running.bar {
            bar.set_position(position(stage, running.done));
            bar.set_message(described(running.done));
        }
        if matches!(self.face, Face::Json) && running.told.elapsed() >= EVENT_INTERVAL {
            running.told = Instant::now();
            Self::event(stage, "advanced", running);
        }
    }

    fn stage_finished(&self, stage: Stage) {
        let Some(running) = self.stages.lock().expect("no thread panics with the stages").remove(&stage) else {
            return;
        };
        match self.face {
            Face::Plain => {
                let done = described(running.done);
                let done = if done.is_empty() { String::new() } else { format!("{done} ") };
                let seconds = running.since.elapsed().as_secs_f64();
                write_stderr(&format!("{}: {done}done in {seconds:.1} s\n", stage.name()));
            }
            Face::Json => Self::event(stage, "finished", &running),
            Face::Bars(_) | Face::Silent => {}
        }
        if let Some(bar) = running.bar {
            bar.finish_and_clear();
        }
    }

    fn note(&self, message: &str) {
        let line = render::safe(message, usize::MAX) + "\n";
        match &self.face {
            Face::Bars(bars) => bars.suspend(|| write_stderr(&line)),
            Face::Plain => write_stderr(&line),
            Face::Json => write_stderr(&format!("{}\n", json!({"event": "note", "message": message}))),
            Face::Silent => {}
        }
    }
}
