use chrono::{DateTime, Days, NaiveDate, NaiveTime, SubsecRound as _, TimeDelta, Utc};
use chsnap::ops::{self, OpError};
use chsnap::plan::SnapshotReference;
use chsnap::repo::Pin;

use super::documents::{PinDocument, PinRow};
use super::given_text::check_reason;
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::render;
use super::{CommandFailure, CommandResult, DONE};

/// Keep a snapshot, whatever the rules say
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Reason, for people who may want to remove the snapshot later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// End of the pin: its last day (2026-12-31, by UTC), a time (2026-12-31T18:00:00Z), or a duration (30d, 12h)
    /// [default: until unpin]
    #[arg(long, value_name = "DATE", value_parser = end)]
    until: Option<DateTime<Utc>>,
}

/// When a pin ends: at that time, with the end of that day, or that long after now.
pub(super) fn end(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let span = humantime::parse_duration(text).ok().and_then(|span| TimeDelta::from_std(span).ok());
    if let Some(end) = span.and_then(|span| Utc::now().trunc_subsecs(0).checked_add_signed(span)) {
        return Ok(end);
    }
    let day = text.parse::<NaiveDate>().ok().and_then(|day| day.checked_add_days(Days::new(1)));
    day.map(|day| day.and_time(NaiveTime::MIN).and_utc())
        .ok_or_else(|| "no date, no time and no duration (write 2026-12-31, 2026-12-31T18:00:00Z or 30d)".to_owned())
}

/// Refuses a pin that would end before it begins.
pub(super) fn check_end(ends: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), CommandFailure> {
    match ends.filter(|ends| *ends <= now) {
        None => Ok(()),
        Some(ends) => Err(CommandFailure::usage(format!(
            "a pin cannot end in the past, at {}",
            ends.format("%Y-%m-%d %H:%M UTC")
        ))),
    }
}

/// Letters of a reason that are shown next to other things.
const SHORT: usize = 40;

/// `: ` and the first `limit` letters of the reason, or the empty string.
fn reason_suffix(reason: &str, limit: usize) -> String {
    if reason.is_empty() { String::new() } else { format!(": {}", render::safe(reason, limit)) }
}

/// `pinned`, until when, and the beginning of the reason, if there is one.
pub(super) fn note(pin: &Pin) -> String {
    format!("pinned{}{}", until(pin), reason_suffix(&pin.reason, SHORT))
}

/// ` until 2026-12-31 18:00`, or the empty string.
pub(super) fn until(pin: &Pin) -> String {
    pin.until.map(|until| format!(" until {}", until.format("%Y-%m-%d %H:%M UTC"))).unwrap_or_default()
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let now = Utc::now().trunc_subsecs(0);
    let Args { snapshot, reason, until: ends } = args;
    check_end(*ends, now)?;
    check_reason(reason)?;
    let repository = opening::open(globals)?;
    let reference: SnapshotReference = snapshot.parse().map_err(OpError::from)?;
    let pin = Pin { reason: reason.clone(), since: now, until: *ends };
    let locked = repository.lock("pin", now, globals.lock_wait).map_err(OpError::from)?;
    let pinned = ops::pin(&locked, &reference, &pin)?;
    if output.is_json() {
        let document = PinDocument {
            id: pinned.id.to_string(),
            pin: PinRow::from(&pin),
            replaced: pinned.replaced.as_ref().map(PinRow::from),
        };
        output.document(&document, &[]);
    } else {
        output.prose(&format!("pinned {}{}{}\n", pinned.id, until(&pin), reason_suffix(reason, 200)));
        if let Some(before) = pinned.replaced.filter(|_| !globals.quiet) {
            output.prose(&format!("before{}{}\n", until(&before), reason_suffix(&before.reason, 200)));
        }
    }
    Ok(DONE)
}
