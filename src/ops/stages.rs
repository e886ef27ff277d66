//! Stages of a command: reported as they begin and end, and timed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::monitor::{Monitor, Stage, StageAtWork, StageWork};

/// Reports and times stages, which may overlap each other and themselves.
///
/// The time of a stage is the time during which at least one thread was in it.
pub struct Stages<'a> {
    monitor: &'a dyn Monitor,
    clocks: Mutex<BTreeMap<Stage, StageClock>>,
}

#[derive(Default)]
struct StageClock {
    inside: usize,
    since: Option<Instant>,
    spent: Duration,
}

/// Counts a thread into a stage until it is dropped.
pub struct Inside<'a> {
    stages: &'a Stages<'a>,
    stage: Stage,
}

impl<'a> Stages<'a> {
    /// Creates stages that report to `monitor`.
    #[must_use]
    pub fn new(monitor: &'a dyn Monitor) -> Self {
        Self { monitor, clocks: Mutex::default() }
    }

    /// The monitor that stages are reported to.
    #[must_use]
    pub fn monitor(&self) -> &'a dyn Monitor {
        self.monitor
    }

    /// Reports that a stage begins; it ends when the returned value is dropped.
    pub fn start(&self, stage: Stage, total: Option<StageWork>) -> StageAtWork<'a> {
        StageAtWork::start(self.monitor, stage, total)
    }

    /// Counts this thread into a stage.
    #[must_use]
    pub fn enter(&'a self, stage: Stage) -> Inside<'a> {
        let mut clocks = self.clocks.lock().expect("no thread panics with the clocks");
        let clock = clocks.entry(stage).or_default();
        clock.inside += 1;
        clock.since.get_or_insert_with(Instant::now);
        Inside { stages: self, stage }
    }

    /// Runs a whole stage: reports its begin, times it, and reports its end.
    pub fn run<T>(&'a self, stage: Stage, body: impl FnOnce() -> T) -> T {
        let _at_work = self.start(stage, None);
        let _inside = self.enter(stage);
        body()
    }

    /// Seconds spent in each stage so far.
    #[must_use]
    pub fn seconds(&self) -> BTreeMap<&'static str, f64> {
        let clocks = self.clocks.lock().expect("no thread panics with the clocks");
        clocks.iter().map(|(stage, clock)| (stage.name(), clock.spent.as_secs_f64())).collect()
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut clocks = self.stages.clocks.lock().expect("no thread panics with the clocks");
        let clock = clocks.entry(self.stage).or_default();
        clock.inside = clock.inside.saturating_sub(1);
        if clock.inside == 0
            && let Some(since) = clock.since.take()
        {
            clock.spent += since.elapsed();
        }
    }
}
