use std::fmt::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use chsnap::fs;
use chsnap::model::{Label, PlacedTotals, SnapshotId, Warning};
use chsnap::ops::OpError;
use chsnap::ops::copy::{
    self, CopiedTotals, CopyDryRun, CopyOutcome, Estimate, IntactPart, Report, Request, SnapshotCopyFailure,
    SourceDamage, StoppedCopy, TargetRepository, WantedSnapshots,
};
use chsnap::ops::create::IdsMode;
use chsnap::repo::Repository;
use clap::ValueEnum;

use super::documents::{CopiedCounts, CopiedRow, CopyDamage, CopyDocument, CopyIntact, PinRow};
use super::failure::{CommandFailure, GUARD, room_hint};
use super::globals::{Globals, size};
use super::opening;
use super::output::{Output, path_base64};
use super::render;
use super::{CommandResult, DAMAGED, DONE, WARNED};

/// Copy snapshots to another repository on this host, without the server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Args {
    /// Ids, beginnings of ids, names, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", required_unless_present = "new", conflicts_with = "new")]
    snapshots: Vec<String>,
    /// Directory of the other repository; it is created if it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copy all snapshots that the other repository lacks, except those that were removed from it
    #[arg(long)]
    new: bool,
    /// Owners, modes, times and attributes that the other repository's filesystem cannot keep
    #[arg(long, value_name = "HOW", default_value = "keep")]
    ids: CopyIds,
    /// Copy no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
    /// Link files of different tables by their hashes alone, without comparing their bytes
    #[arg(long)]
    trust_hash: bool,
    /// Free space to leave: do not begin with less, and stop copying at less, for example 20GiB
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    min_free: u64,
    /// Copy although the other repository belongs to another server
    #[arg(long)]
    allow_other_server: bool,
    /// Show what would be done, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

const EXAMPLES: &str =
    "Exit codes: 0 copied, or already present; 3 with warnings; 12 a snapshot is damaged and was not copied; 13 a guard \
     refused. The next copy resumes one that was killed.

Examples:
  chsnap copy latest --to /mnt/backup/chsnap
  chsnap copy --new --to /mnt/backup/chsnap --bwlimit 100MiB
  chsnap copy before-upgrade latest~7 --to /mnt/nfs/chsnap --dry-run";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CopyIds {
    /// Refuse to copy to a filesystem that cannot keep them.
    Keep,
    /// Record what it cannot keep in the list of parts.
    Record,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let source = opening::open(globals)?;
    let target = TargetRepository::find(&source, &args.to, &fs::real())?;
    let wanted = if args.new {
        WantedSnapshots::New
    } else {
        let references = args.snapshots.iter().map(|text| text.parse());
        WantedSnapshots::Named(references.collect::<Result<_, _>>().map_err(OpError::from)?)
    };
    let request = Request::new(wanted)
        .with_ids(match args.ids {
            CopyIds::Keep => IdsMode::Keep,
            CopyIds::Record => IdsMode::Record,
        })
        .with_trusts_hash(args.trust_hash)
        .with_copy_rate(args.bwlimit.filter(|rate| *rate > 0))
        .with_jobs(globals.jobs_for(target.existing().unwrap_or(&source)))
        .with_min_free_bytes(args.min_free)
        .with_allow_other_server(args.allow_other_server)
        .with_lock_wait(globals.lock_wait);
    if args.dry_run {
        let plan = copy::dry_run(&source, &target, &request, Utc::now())?;
        return Ok(show_plan(&plan, &source, args, output));
    }
    let progress = output.progress();
    let result = copy::copy(&source, target, &request, &Utc::now, &progress);
    progress.clear();
    let report = match result {
        Ok(report) => report,
        Err(failure) => return Err(failed(*failure, args, output)),
    };
    output.warnings(&report.warnings);
    let snapshots: Vec<CopiedRow> = report.snapshots.iter().map(CopiedRow::of_copy).collect();
    let code = code(&snapshots, &report.warnings);
    if output.is_json() {
        let document = CopyDocument {
            seconds: Some(report.seconds.iter().map(|(stage, seconds)| ((*stage).to_owned(), *seconds)).collect()),
            ..document(&source, args, state(code, "complete"), snapshots, &report.removed_there)
        };
        output.document(&document, &report.warnings);
    } else {
        if !globals.quiet {
            output.prose(&text(&report, args));
        }
        for document in &snapshots {
            document.report_refusal(output);
        }
    }
    Ok(code)
}

/// The failure of a copy, with the snapshots that it had copied before, which stay.
fn failed(StoppedCopy { error, report, .. }: StoppedCopy, args: &Args, output: &Output) -> CommandFailure {
    let is_full = error.is_full_disk();
    let mut failure = CommandFailure::from(error);
    if is_full {
        failure = failure.with_hint(room_hint(&args.to));
    }
    output.warnings(&report.warnings);
    if output.is_json() {
        let snapshots: Vec<CopiedRow> = report.snapshots.iter().map(CopiedRow::of_copy).collect();
        return failure.with_document("snapshots", serde_json::json!(snapshots));
    }
    output.prose(&rows(&report));
    failure
}

fn document(
    source: &Repository,
    args: &Args,
    state: &str,
    snapshots: Vec<CopiedRow>,
    removed_there: &[SnapshotId],
) -> CopyDocument {
    CopyDocument {
        repository: source.path().to_string_lossy().into_owned(),
        repository_base64: path_base64(source.path()),
        to: args.to.to_string_lossy().into_owned(),
        to_base64: path_base64(&args.to),
        state: state.to_owned(),
        dry_run: args.dry_run,
        counts: CopiedCounts::of(&snapshots),
        snapshots,
        removed_there: removed_there.to_vec(),
        seconds: None,
    }
}

impl CopiedCounts {
    fn of(snapshots: &[CopiedRow]) -> Self {
        let mut counts = Self::default();
        for snapshot in snapshots {
            match snapshot.state {
                "copied" | "planned" => counts.copied += 1,
                "present" => counts.present += 1,
                _ => counts.refused += 1,
            }
        }
        counts
    }
}

impl From<&SourceDamage> for CopyDamage {
    fn from(damage: &SourceDamage) -> Self {
        Self {
            path: damage.path.to_string_lossy().into_owned(),
            table: damage.table.as_ref().map(ToString::to_string),
            part: damage.part.clone(),
            found: damage.problem.clone(),
        }
    }
}

impl From<&IntactPart> for CopyIntact {
    fn from(part: &IntactPart) -> Self {
        Self { damage: (&part.damage).into(), snapshot: part.from }
    }
}

impl CopiedRow {
    fn new(id: SnapshotId, time: DateTime<Utc>, label: &Label, state: &'static str) -> Self {
        Self { id: id.to_string(), time, label: label.clone(), state, ..Self::default() }
    }

    fn of_copy(snapshot: &copy::CopiedSnapshot) -> Self {
        let new = |state| Self::new(snapshot.id, snapshot.time, &snapshot.label, state);
        match &snapshot.outcome {
            CopyOutcome::Present(None) => new("present"),
            CopyOutcome::Present(Some(pin)) => Self { pinned: Some(true), pin: Some(pin.into()), ..new("present") },
            CopyOutcome::Refused(refusal) => new("").refused(refusal),
            CopyOutcome::Copied(copied) => {
                let CopiedTotals { totals, placed, resumed, recopied_files, metadata_files, pin, intact, .. } =
                    copied.as_ref();
                Self {
                    intact: intact.iter().map(CopyIntact::from).collect(),
                    tables: Some(totals.tables),
                    parts: Some(totals.parts),
                    files: Some(totals.files),
                    apparent_bytes: Some(totals.apparent_bytes),
                    allocated_bytes: Some(totals.allocated_bytes),
                    written_bytes: Some(totals.written_bytes),
                    placed: Some(*placed),
                    resumed: Some(*resumed),
                    link_limit_files: Some(*recopied_files),
                    metadata_files: Some(*metadata_files),
                    pinned: Some(pin.is_some()),
                    pin: pin.as_ref().map(PinRow::from),
                    ..new("copied")
                }
            }
        }
    }

    fn of_plan(snapshot: &copy::PlannedSnapshot) -> Self {
        let new = |state| Self::new(snapshot.id, snapshot.time, &snapshot.label, state);
        match &snapshot.plan {
            Estimate::Present => new("present"),
            Estimate::Pin(pin) => Self { pinned: Some(true), pin: Some(pin.into()), ..new("present") },
            Estimate::Refused(refusal) => new("").refused(refusal),
            Estimate::Copy { linked, copied, intact } => {
                let intact = intact.iter().map(CopyIntact::from).collect();
                Self { linked: Some(*linked), to_copy: Some(*copied), intact, ..new("planned") }
            }
        }
    }

    fn refused(self, refusal: &SnapshotCopyFailure) -> Self {
        match refusal {
            SnapshotCopyFailure::Target(reason) => {
                Self { state: reason.name(), reason: Some(reason.to_string()), ..self }
            }
            SnapshotCopyFailure::Unreadable(reason) => {
                Self { state: "unreadable", reason: Some(reason.clone()), ..self }
            }
            SnapshotCopyFailure::Damaged(damage) => {
                let first = damage.first().map(ToString::to_string).unwrap_or_default();
                let more = damage.len().saturating_sub(1);
                let reason = if more == 0 { first } else { format!("{first}, and {more} more") };
                let damage = damage.iter().map(CopyDamage::from).collect();
                Self { state: "damaged", reason: Some(reason), damage, ..self }
            }
        }
    }

    fn is_damaged(&self) -> bool {
        matches!(self.state, "damaged" | "unreadable")
    }

    fn is_refused(&self) -> bool {
        matches!(self.state, "other_content" | "in_trash")
    }

    /// Reports to the user why it was not copied.
    fn report_refusal(&self, output: &Output) {
        let Some(reason) = &self.reason else { return };
        output.error(&format!("the snapshot {} was not copied: {reason}", self.id));
        for damage in self.damage.iter().skip(1) {
            output.and(&format!("{}: {}", damage.path, damage.found));
        }
        output.hint(match self.state {
            "damaged" | "unreadable" => {
                "chsnap verify SNAPSHOT --level data --repair mends what another snapshot has whole"
            }
            "in_trash" => "chsnap --repo DIR undo SNAPSHOT brings it back there",
            _ => "copy it to a repository of its own, or chsnap --repo DIR rm the other one",
        });
    }
}

fn code(snapshots: &[CopiedRow], warnings: &[Warning]) -> u8 {
    if snapshots.iter().any(CopiedRow::is_damaged) {
        DAMAGED
    } else if snapshots.iter().any(CopiedRow::is_refused) {
        GUARD
    } else if warnings.is_empty() {
        DONE
    } else {
        WARNED
    }
}

fn state(code: u8, done: &'static str) -> &'static str {
    match code {
        DAMAGED => "damaged",
        GUARD => "refused",
        _ => done,
    }
}

const WRITABLE: &str = "a String takes everything";

fn name(label: &Label) -> String {
    label.text.as_deref().map(|label| format!(" ({})", render::safe(label, 80))).unwrap_or_default()
}

/// A line for each snapshot.
fn rows(report: &Report) -> String {
    let mut text = String::new();
    for snapshot in &report.snapshots {
        let head = format!("{}{}", snapshot.id, name(&snapshot.label));
        match &snapshot.outcome {
            CopyOutcome::Present(None) => writeln!(text, "{head}: there already"),
            CopyOutcome::Present(Some(_)) => writeln!(text, "{head}: there already; pinned"),
            CopyOutcome::Refused(_) => writeln!(text, "{head}: not copied"),
            CopyOutcome::Copied(copied) => {
                let PlacedTotals { linked, copied: new, .. } = copied.placed;
                let resumed = match copied.resumed.parts {
                    0 => String::new(),
                    parts => format!("; {} had been copied by an interrupted copy", render::count(parts, "part")),
                };
                let pin = if copied.pin.is_some() { "; pinned" } else { "" };
                writeln!(
                    text,
                    "{head}: {}, {} linked; {} in {} copied; {} on disk, {} of it new{resumed}{pin}",
                    render::count(copied.totals.parts, "part"),
                    render::thousands(linked.parts),
                    render::bytes(new.bytes),
                    render::count(new.files, "file"),
                    render::bytes(copied.totals.allocated_bytes),
                    render::bytes(copied.totals.written_bytes),
                )
            }
        }
        .expect(WRITABLE);
    }
    text
}

fn text(report: &Report, args: &Args) -> String {
    let mut text = rows(report);
    let is_copied = |snapshot: &&copy::CopiedSnapshot| matches!(snapshot.outcome, CopyOutcome::Copied(_));
    let copied = report.snapshots.iter().filter(is_copied).count() as u64;
    let to = render::safe(&args.to.to_string_lossy(), 200);
    let seconds = report.seconds.get("total").copied().unwrap_or(0.0);
    writeln!(text, "{} copied to {to} in {seconds:.1} s", render::count(copied, "snapshot")).expect(WRITABLE);
    text.push_str(&left_out(&report.removed_there));
    text
}

fn left_out(removed_there: &[SnapshotId]) -> String {
    match removed_there.len() as u64 {
        0 => String::new(),
        count => {
            format!(
                "{} left out: removed there; chsnap undo brings back what is in the trash there, and naming a snapshot copies it again\n",
                render::count(count, "snapshot")
            )
        }
    }
}

fn show_plan(plan: &CopyDryRun, source: &Repository, args: &Args, output: &Output) -> u8 {
    let snapshots: Vec<CopiedRow> = plan.snapshots.iter().map(CopiedRow::of_plan).collect();
    let code = code(&snapshots, &plan.warnings);
    if output.is_json() {
        let state = state(code, "planned");
        output.document(&document(source, args, state, snapshots, &plan.removed_there), &plan.warnings);
        return code;
    }
    let mut text = String::new();
    let mut copies = 0;
    for snapshot in &plan.snapshots {
        let head = format!("{}{}", snapshot.id, name(&snapshot.label));
        match &snapshot.plan {
            Estimate::Present => writeln!(text, "{head}: there already"),
            Estimate::Pin(_) => writeln!(text, "{head}: there already; would be pinned"),
            Estimate::Refused(_) => writeln!(text, "{head}: would not be copied"),
            Estimate::Copy { linked, copied, .. } => {
                copies += 1;
                writeln!(
                    text,
                    "{head}: {} linked, {} with at most {} copied",
                    render::count(linked.parts, "part"),
                    render::count(copied.parts, "part"),
                    render::bytes(copied.bytes),
                )
            }
        }
        .expect(WRITABLE);
    }
    let to = render::safe(&args.to.to_string_lossy(), 200);
    let count = render::count(copies, "snapshot");
    writeln!(text, "would copy {count} to {to}; nothing was changed").expect(WRITABLE);
    text.push_str(&left_out(&plan.removed_there));
    output.prose(&text);
    for snapshot in &snapshots {
        snapshot.report_refusal(output);
    }
    output.warnings(&plan.warnings);
    code
}
