//! Progress on stderr: bars on a terminal, lines elsewhere, events for programs.

mod line;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use chsnap::monitor::{Monitor, Stage, StageWork};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::documents::{self, ProgressAmounts, ProgressDocument};
use super::globals::ProgressMode;
use super::layout;
use super::messages::message_width;
use super::render;
use super::streams::write_stderr;

/// Shows what the engine reports.
pub(super) struct Progress {
    style: ProgressOutput,
    stages: Mutex<BTreeMap<Stage, Running>>,
}

enum ProgressOutput {
    Bars {
        bars: MultiProgress,
        color: bool,
    },
    /// With `told_at_start`, there is also a line when a stage begins, and one for each stage however short it was.
    Plain {
        told_at_start: bool,
    },
    Json,
    Silent,
}

struct Running {
    since: Instant,
    total: Option<StageWork>,
    /// Shared with the code that draws the bar.
    done: Arc<Mutex<StageWork>>,
    bar: Option<ProgressBar>,
    /// The items in progress, by name.
    items: BTreeMap<String, Item>,
    /// When the last event or line was written.
    told: Instant,
}

struct Item {
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Running {
    fn extent(&self) -> line::Extent {
        let done = *self.done.lock().unwrap_or_else(PoisonError::into_inner);
        line::Extent { done, total: self.total, elapsed: self.since.elapsed() }
    }
}

/// The interval between two events of one stage; docs/operations.md describes the schema of the events.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two lines of one stage.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// A stage that did nothing and took no longer is not reported outside a terminal.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
/// How many tables have a line of their own at once; the height of a terminal is limited.
const ITEM_LINES: usize = 8;
const REDRAW: Duration = Duration::from_millis(200);

impl Progress {
    pub(super) fn new(mode: ProgressMode, color: bool) -> Self {
        let style = match mode {
            ProgressMode::None => ProgressOutput::Silent,
            ProgressMode::Json => ProgressOutput::Json,
            ProgressMode::Plain => ProgressOutput::Plain { told_at_start: true },
            ProgressMode::Auto if can_move_the_cursor() => ProgressOutput::Bars { bars: MultiProgress::new(), color },
            ProgressMode::Auto => ProgressOutput::Plain { told_at_start: false },
        };
        Self { style, stages: Mutex::default() }
    }

    /// Removes the bars from the terminal, so that only results remain.
    pub(super) fn clear(&self) {
        if let ProgressOutput::Bars { bars, .. } = &self.style
            && bars.clear().is_err()
        {
            // The terminal is gone, and the bars with it.
        }
    }

    fn bar(&self, stage: Stage, total: Option<StageWork>, done: &Arc<Mutex<StageWork>>) -> Option<ProgressBar> {
        let ProgressOutput::Bars { bars, color } = &self.style else { return None };
        let (done, color) = (Arc::clone(done), *color);
        let draw = move |state: &ProgressState| {
            let done = *done.lock().unwrap_or_else(PoisonError::into_inner);
            let text = line::stage(stage, &line::Extent { done, total, elapsed: state.elapsed() }, columns());
            colored(&text, color)
        };
        // Put in its place before anything draws it: a bar that draws on its own leaves a line behind.
        let bar = bars.add(ProgressBar::no_length());
        start(&bar, draw);
        Some(bar)
    }

    fn item_bar(&self, running: &Running, name: &str, total: StageWork) -> Option<ProgressBar> {
        let ProgressOutput::Bars { bars, .. } = &self.style else { return None };
        let shown: Vec<&ProgressBar> = running.items.values().filter_map(|item| item.bar.as_ref()).collect();
        let after = shown.last().copied().or(running.bar.as_ref()).filter(|_| shown.len() < ITEM_LINES)?;
        let bar = bars.insert_after(after, ProgressBar::no_length());
        let name = render::safe(name, 400);
        start(&bar, move |state: &ProgressState| line::item(&name, total, state.elapsed(), columns()));
        Some(bar)
    }

    fn stages(&self) -> std::sync::MutexGuard<'_, BTreeMap<Stage, Running>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether bars can be drawn on the terminal.
fn can_move_the_cursor() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Columns of the terminal, read again for each line, because a window may be resized. The last column stays free,
/// because some terminals would wrap there.
fn columns() -> usize {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns).saturating_sub(1))
}

fn start(bar: &ProgressBar, draw: impl Fn(&ProgressState) -> String + Clone + Send + Sync + 'static) {
    let write = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        if out.write_str(&draw(state)).is_err() {
            // Writing to a String cannot fail.
        }
    };
    let style = ProgressStyle::with_template("{line}").expect("the template is valid").with_key("line", write);
    bar.set_style(style);
    bar.enable_steady_tick(REDRAW);
}

/// The bar of a line in color.
fn colored(text: &str, color: bool) -> String {
    let ends = text.find('[').zip(text.find(']'));
    let Some((before, bar, behind)) = ends
        .filter(|_| color)
        .and_then(|(from, to)| Some((text.get(..=from)?, text.get(from + 1..to)?, text.get(to..)?)))
    else {
        return text.to_owned();
    };
    let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
    format!("{before}{style}{bar}{style:#}{behind}")
}

fn amounts(work: StageWork) -> ProgressAmounts {
    ProgressAmounts { tables: work.tables, parts: work.parts, files: work.files, bytes: work.bytes }
}

fn event(document: &ProgressDocument) {
    write_stderr(&format!("{}\n", documents::value(document, &[])));
}

fn of_stage(what: &str, stage: Stage) -> ProgressDocument {
    ProgressDocument { event: what.to_owned(), stage: Some(stage.name().to_owned()), ..ProgressDocument::default() }
}

fn stage_event(stage: Stage, what: &str, running: &Running) {
    let extent = running.extent();
    event(&ProgressDocument {
        done: Some(amounts(extent.done)),
        total: extent.total.map(amounts),
        seconds: Some(extent.elapsed.as_secs_f64()),
        seconds_left: extent.left().map(|left| left.as_secs()),
        ..of_stage(what, stage)
    });
}

fn described(work: StageWork) -> String {
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

/// The line for a stage in progress, outside a terminal.
fn line_between(stage: Stage, running: &Running) -> String {
    let extent = running.extent();
    let total = extent.total.map(described).filter(|text| !text.is_empty()).map(|text| format!(" of {text}"));
    let left = extent.left().map(|left| format!(", {} left", line::duration(left)));
    format!(
        "{}: {}{} after {}{}\n",
        stage.name(),
        Some(described(extent.done)).filter(|text| !text.is_empty()).unwrap_or_else(|| "nothing yet".to_owned()),
        total.unwrap_or_default(),
        line::duration(extent.elapsed),
        left.unwrap_or_default()
    )
}

impl Monitor for Progress {
    fn stage_started(&self, stage: Stage, total: Option<StageWork>) {
        let now = Instant::now();
        let done = Arc::new(Mutex::new(StageWork::default()));
        let bar = self.bar(stage, total, &done);
        let running = Running { since: now, total, done, bar, items: BTreeMap::new(), told: now };
        match self.style {
            ProgressOutput::Plain { told_at_start: true } => {
                let expected = total.map(described).filter(|text| !text.is_empty());
                write_stderr(&format!("{}: {}…\n", stage.name(), expected.map_or(String::new(), |text| text + " ")));
            }
            ProgressOutput::Json => stage_event(stage, "started", &running),
            ProgressOutput::Plain { .. } | ProgressOutput::Bars { .. } | ProgressOutput::Silent => {}
        }
        self.stages().insert(stage, running);
    }

    fn advanced(&self, stage: Stage, done: StageWork) {
        if matches!(self.style, ProgressOutput::Silent) {
            return;
        }
        let mut stages = self.stages();
        let Some(running) = stages.get_mut(&stage) else { return };
        {
            let mut sum = running.done.lock().unwrap_or_else(PoisonError::into_inner);
            sum.tables += done.tables;
            sum.parts += done.parts;
            sum.files += done.files;
            sum.bytes += done.bytes;
        }
        match self.style {
            ProgressOutput::Json if running.told.elapsed() >= EVENT_INTERVAL => {
                running.told = Instant::now();
                stage_event(stage, "advanced", running);
            }
            ProgressOutput::Plain { .. } if running.told.elapsed() >= LINE_INTERVAL => {
                running.told = Instant::now();
                write_stderr(&line_between(stage, running));
            }
            _ => {}
        }
    }

    fn item_started(&self, stage: Stage, item: &str, total: StageWork) {
        match self.style {
            ProgressOutput::Silent | ProgressOutput::Plain { .. } => return,
            ProgressOutput::Json => {
                let (item, total) = (Some(item.to_owned()), Some(amounts(total)));
                event(&ProgressDocument { item, total, ..of_stage("item_started", stage) });
            }
            ProgressOutput::Bars { .. } => {}
        }
        let mut stages = self.stages();
        let Some(running) = stages.get_mut(&stage) else { return };
        let bar = self.item_bar(running, item, total);
        running.items.insert(item.to_owned(), Item { since: Instant::now(), bar });
    }

    fn item_finished(&self, stage: Stage, item: &str) {
        let Some(found) = self.stages().get_mut(&stage).and_then(|running| running.items.remove(item)) else { return };
        if matches!(self.style, ProgressOutput::Json) {
            let (item, seconds) = (Some(item.to_owned()), Some(found.since.elapsed().as_secs_f64()));
            event(&ProgressDocument { item, seconds, ..of_stage("item_finished", stage) });
        }
        self.remove(found.bar);
    }

    fn stage_finished(&self, stage: Stage) {
        let Some(running) = self.stages().remove(&stage) else { return };
        match self.style {
            ProgressOutput::Plain { told_at_start } => {
                let extent = running.extent();
                let done = described(extent.done);
                let is_worth_it = told_at_start || !done.is_empty() || extent.elapsed >= WORTH_A_LINE;
                if is_worth_it {
                    let done = if done.is_empty() { String::new() } else { format!("{done} ") };
                    write_stderr(&format!(
                        "{}: {done}done after {:.1} s\n",
                        stage.name(),
                        extent.elapsed.as_secs_f64()
                    ));
                }
            }
            ProgressOutput::Json => stage_event(stage, "finished", &running),
            ProgressOutput::Bars { .. } | ProgressOutput::Silent => {}
        }
        for item in running.items.into_values() {
            self.remove(item.bar);
        }
        self.remove(running.bar);
    }

    fn note(&self, message: &str) {
        let line = layout::paragraph(&render::safe(message, usize::MAX), message_width(), 0, 2);
        match &self.style {
            ProgressOutput::Bars { bars, .. } => bars.suspend(|| write_stderr(&line)),
            ProgressOutput::Plain { .. } => write_stderr(&line),
            ProgressOutput::Json => event(&ProgressDocument {
                event: "note".to_owned(),
                message: Some(message.to_owned()),
                ..ProgressDocument::default()
            }),
            ProgressOutput::Silent => {}
        }
    }
}

impl Progress {
    fn remove(&self, bar: Option<ProgressBar>) {
        if let (Some(bar), ProgressOutput::Bars { bars, .. }) = (bar, &self.style) {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
    }
}
