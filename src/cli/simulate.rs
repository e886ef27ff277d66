use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use chsnap::plan::retention::{Policy, Reason, RetentionDecision, decide, simulate};
use serde_json::Value;

use super::calendar::{Calendar, DayMark};
use super::documents::{SimulateDocument, SimulatedRow};
use super::globals::{Globals, duration};
use super::layout::{self, TextTable, left, right};
use super::output::Output;
use super::policy::PolicyArgs;
use super::render;
use super::rules::with_a_rule;
use super::times::{self, SimulatedSnapshot};
use super::{CommandFailure, CommandResult, DONE};

/// Show what rules would keep, of a simulated calendar or of a list of times
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Days in the simulated calendar, up to now; each day ends with a prune
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=36_600))]
    days: u32,
    /// Interval at which the simulated snapshots are taken
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = interval)]
    every: Duration,
    /// Instead of a calendar, use a file with a JSON array of RFC 3339 times, or of objects with time, series, name and
    /// tags; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["days", "every"])]
    times: Option<PathBuf>,
    /// Time to use as the present, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    now: Option<DateTime<Utc>>,
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
}

const EXAMPLES: &str = "Examples:
  chsnap simulate --keep-daily 7 --keep-weekly 4 --keep-monthly 12
  chsnap simulate --days 30 --every 1h --keep-hourly 24 --keep-within-daily 14d --zone Europe/Berlin
  chsnap list --json | chsnap simulate --times - --keep-last 3

Needs no repository and no server, and changes nothing. Rules given here replace those of the configuration files.";

/// Limit of snapshots in a calendar: with rules that keep them all, more would take too long.
const CALENDAR_LIMIT: i64 = 20_000;

fn interval(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|every| if every.as_secs() == 0 { Err("a second at least".to_owned()) } else { Ok(every) })
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = DateTime::parse_from_rfc3339(text);
    parsed.map(|time| time.to_utc()).map_err(|error| format!("{error} (write 2026-11-22T02:00:00Z)"))
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let policy = with_a_rule(globals.rules.replaced(&args.policy).policy)?;
    let now = args.now.unwrap_or_else(|| if args.times.is_some() { Utc::now() } else { Utc::now().trunc_subsecs(0) });
    match &args.times {
        Some(path) => of_list(&times::read(path)?, &policy, now, output),
        None => of_calendar(args, &policy, now, globals, output)?,
    }
    Ok(DONE)
}

fn reasons(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

fn why(fate: &RetentionDecision) -> String {
    render::safe(&reasons(&fate.reasons).join(", "), 200)
}

/// A snapshot of a list, with the reasons if it stays.
fn listed_row(listed: &SimulatedSnapshot, reasons: Option<Vec<String>>) -> SimulatedRow {
    let text = |name: &str| listed.given.get(name).and_then(Value::as_str).map(str::to_owned);
    let tags = &listed.candidate.tags;
    SimulatedRow {
        time: text("time").unwrap_or_default(),
        reasons,
        removed: None,
        id: text("id"),
        name: text("name"),
        tags: (!tags.is_empty()).then(|| tags.iter().map(ToString::to_string).collect()),
        series: text("series"),
    }
}

fn of_list(list: &[SimulatedSnapshot], policy: &Policy, now: DateTime<Utc>, output: &Output) {
    let candidates: Vec<_> = list.iter().map(|listed| listed.candidate.clone()).collect();
    let fates = decide(&candidates, policy, now);
    let listed = |fate: &RetentionDecision| list.get(fate.index);
    if output.is_json() {
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for fate in &fates {
            let Some(listed) = listed(fate) else { continue };
            let row = listed_row(listed, fate.is_kept().then(|| reasons(&fate.reasons)));
            if fate.is_kept() { keep.push(row) } else { remove.push(row) }
        }
        let (zone, policy) = (policy.zone.name().to_owned(), policy.clone());
        output.document(&SimulateDocument { now, zone, policy, taken: None, most: None, keep, remove }, &[]);
        return;
    }
    let kept = fates.iter().filter(|fate| fate.is_kept()).count();
    let mut table = TextTable::new([left("SNAPSHOT").cut_to(25), right("AGE"), left("")]).with_notes_named("WHY");
    for fate in &fates {
        let Some(listed) = listed(fate) else { continue };
        let given = listed.given.get("time").and_then(Value::as_str).unwrap_or_default();
        let candidate = &listed.candidate;
        let name = candidate.name.iter().chain(&candidate.tags).map(|text| render::safe(text, 40));
        let series = candidate.is_other.then(|| format!("[{}]", render::safe(&candidate.series, 60)));
        let shown = std::iter::once(render::safe(given, 60)).chain(name).chain(series).collect::<Vec<_>>().join("  ");
        let (what, why) = if fate.is_kept() { ("keep", why(fate)) } else { ("remove", "no rule keeps it".to_owned()) };
        table.add_with_notes(vec![shown, render::age(listed.candidate.time, now), what.to_owned()], vec![why]);
    }
    output.prose(&format!("{policy}\n\n"));
    output.text(&table.render(output.width()));
    let (kept, removed) = (render::thousands(kept as u64), render::thousands((fates.len() - kept) as u64));
    output.prose(&format!("\n{kept} kept, {removed} removed\n"));
}

fn of_calendar(
    args: &Args,
    policy: &Policy,
    now: DateTime<Utc>,
    globals: &Globals,
    output: &Output,
) -> Result<(), CommandFailure> {
    let every = i64::try_from(args.every.as_secs()).unwrap_or(i64::MAX);
    let count = (i64::from(args.days) * 86_400 - 1) / every + 1;
    if count > CALENDAR_LIMIT {
        return Err(CommandFailure::usage(format!(
            "{count} snapshots are more than the {CALENDAR_LIMIT} that a calendar has at most"
        ))
        .with_hint("take fewer --days, or a longer --every"));
    }
    let past = |steps: i64| now.checked_sub_signed(TimeDelta::try_seconds(steps * every)?);
    let taken: Option<Vec<DateTime<Utc>>> = (0..count).rev().map(past).collect();
    let taken = taken.ok_or_else(|| CommandFailure::usage("the calendar begins before all time"))?;
    let simulation = simulate(&taken, policy);
    let time = |place: usize| taken.get(place).copied().unwrap_or_default();
    let shown = |place: usize| time(place).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    if output.is_json() {
        let row = |place: usize, reasons: Option<Vec<String>>, removed: Option<DateTime<Utc>>| SimulatedRow {
            time: shown(place),
            reasons,
            removed,
            ..SimulatedRow::default()
        };
        let keep = simulation.kept.iter().map(|fate| row(fate.index, Some(reasons(&fate.reasons)), None));
        let document = SimulateDocument {
            now,
            zone: policy.zone.name().to_owned(),
            policy: policy.clone(),
            taken: Some(taken.len() as u64),
            most: Some(simulation.most as u64),
            keep: keep.collect(),
            remove: simulation.removed.iter().map(|(place, at)| row(*place, None, Some(*at))).collect(),
        };
        output.document(&document, &[]);
        return Ok(());
    }
    let local = |place: usize| time(place).with_timezone(&policy.zone);
    let mut calendar = Calendar::default();
    for fate in &simulation.kept {
        calendar.add(local(fate.index).date_naive(), DayMark::of(&fate.reasons));
    }
    for (place, _) in &simulation.removed {
        calendar.add(local(*place).date_naive(), DayMark::Removed);
    }
    let mut text = layout::prose(&format!("{policy}\n"), output.width());
    let _ = writeln!(
        text,
        "{} taken, one every {}; {} left at the end, {} at once at most\n",
        render::count(taken.len() as u64, "snapshot"),
        render::span(args.every),
        render::thousands(simulation.kept.len() as u64),
        render::thousands(simulation.most as u64),
    );
    text = layout::prose(&text, output.width());
    text += &calendar.picture(output.width());
    if !globals.quiet {
        let mut table = TextTable::new([left("LEFT"), right("AGE")]).with_notes_named("WHY");
        for fate in &simulation.kept {
            let taken = local(fate.index).format("%a %Y-%m-%d %H:%M").to_string();
            table.add_with_notes(vec![taken, render::age(time(fate.index), now)], vec![why(fate)]);
        }
        text += "\n";
        text += &table.render(output.width());
    }
    output.text(&text);
    Ok(())
}
