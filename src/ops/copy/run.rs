//! State that all snapshots of one run need.

use crate::fs;
use crate::ops::copying::{self, InterruptedCopy};
use crate::ops::create::Clock;
use crate::ops::error::OpError;
use crate::ops::recover::InterruptedRun;
use crate::ops::stages::Stages;
use crate::repo::{Locked, Repository, Sources};

use super::request::{Report, Request};

/// One run, with the state that all its snapshots need.
pub(super) struct CopyRun<'a> {
    pub(super) source: &'a Repository,
    pub(super) locked: &'a Locked<'a>,
    pub(super) request: &'a Request,
    pub(super) now: Clock<'a>,
    pub(super) stages: &'a Stages<'a>,
    pub(super) rate: Option<fs::RateLimit>,
    /// The trees that interrupted copies left.
    pub(super) leftovers: Vec<InterruptedCopy>,
    /// Equal parts and files in the target. Opened for the first snapshot that is copied.
    pub(super) sources: Option<Sources>,
    pub(super) report: Report,
}

/// The request, the clock, the progress listener, and the interrupted runs.
pub(super) type CopyContext<'a> = (&'a Request, Clock<'a>, &'a Stages<'a>, &'a [InterruptedRun]);

impl<'a> CopyRun<'a> {
    pub(super) fn new(
        source: &'a Repository,
        locked: &'a Locked<'a>,
        (request, now, stages, kept): CopyContext<'a>,
    ) -> Result<Self, OpError> {
        let rate = request.copy_rate.map(fs::RateLimit::new);
        let leftovers = copying::leftovers(locked, kept)?;
        let report = Report::default();
        Ok(Self { source, locked, request, now, stages, rate, leftovers, sources: None, report })
    }
}
