use std::fmt::Write as _;
use std::time::Duration;

use chrono::Utc;
use chsnap::ops::OpError;
use chsnap::ops::remote::{self, CheckReport, Depth, PARALLEL, RemoteReference, RemoteSnapshot, RepositoryChoice};
use chsnap::plan::GC_GRACE;
use clap::Subcommand;

use super::documents::{
    RemoteCheckDocument, RemoteGcDocument, RemoteListDocument, RemoteRmDocument, RemoteRow, RemoteUsageDocument,
    WrongObjectRow,
};
use super::failure::CommandFailure;
use super::globals::{Globals, duration, size};
use super::output::Output;
use super::push::store;
use super::remote_choice::{gc_hint, which};
use super::remote_prune;
use super::render;
use super::words::shell;
use super::{CommandResult, DAMAGED, DONE, WARNED};

/// List, check and clean up the snapshots in an object store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: RemoteCommand,
}

const EXAMPLES: &str =
    "REMOTE is file:///DIR, s3://BUCKET/PREFIX, gs://, azblob://, sftp:// or ftp://; credentials come from the environment.

Examples:
  chsnap remote list s3://backups/clickhouse
  chsnap remote verify s3://backups/clickhouse latest --data
  chsnap remote prune s3://backups/clickhouse --keep-daily 30 --keep-monthly 12
  chsnap remote rm s3://backups/clickhouse 2026-11-22T020000Z && chsnap remote gc s3://backups/clickhouse";

#[derive(Debug, Subcommand)]
enum RemoteCommand {
    List(ListArgs),
    Usage(UsageArgs),
    Check(CheckArgs),
    Verify(VerifyArgs),
    Prune(Box<remote_prune::Args>),
    Rm(RmArgs),
    Gc(GcArgs),
}

/// List the snapshots in an object store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  chsnap remote list s3://backups/clickhouse")]
struct ListArgs {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
}

/// Show how much space the snapshots take, and how much no snapshot needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  chsnap remote usage s3://backups/clickhouse")]
struct UsageArgs {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
}

/// List the store, and compare it with what all snapshots need
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  chsnap remote check s3://backups/clickhouse")]
struct CheckArgs {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
}

/// Check that each object of snapshots exists; with --data, read it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  chsnap remote verify s3://backups/clickhouse latest --data")]
struct VerifyArgs {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// An id, the beginning of one, a name, latest, latest~N, or ID.REPOSITORY [default: all]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Repository that made the snapshot, by the beginning of its id
    #[arg(long, value_name = "REPOSITORY")]
    of: Option<String>,
    /// Read each object, and compare it with its BLAKE3
    #[arg(long)]
    data: bool,
    /// Objects that are checked or read at once
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Read no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
}

/// Remove snapshots; gc then frees their space
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  chsnap remote rm s3://backups/clickhouse latest~7")]
struct RmArgs {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// An id, the beginning of one, a name, latest, latest~N, or ID.REPOSITORY
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    /// Repository that made the snapshot, by the beginning of its id
    #[arg(long, value_name = "REPOSITORY")]
    of: Option<String>,
    /// Also remove the last snapshot of its repository
    #[arg(long)]
    force: bool,
    /// Show what would be removed, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Accepted for scripts; this command never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

/// Delete objects that were condemned long enough ago, and condemn those that no snapshot needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  chsnap remote gc s3://backups/clickhouse")]
struct GcArgs {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// How long an object stays condemned, by the store's clock: longer than any push takes [default: 48h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,
    /// Show what would be deleted and condemned, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Accepted for scripts; this command never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    match &args.command {
        RemoteCommand::List(args) => list(args, output),
        RemoteCommand::Usage(args) => usage(args, output),
        RemoteCommand::Check(args) => {
            let (which, parallel) = (RepositoryChoice::default(), PARALLEL.into());
            check(&args.remote, (&[], &which), Depth::List, (parallel, None), output)
        }
        RemoteCommand::Verify(args) => {
            let depth = if args.data { Depth::Data } else { Depth::Presence };
            let rate = args.bwlimit.filter(|rate| *rate > 0);
            let wanted = references(&args.snapshots)?;
            let which = if wanted.is_empty() { RepositoryChoice::default() } else { which(args.of.as_ref(), globals)? };
            check(&args.remote, (&wanted, &which), depth, (args.parallel.into(), rate), output)
        }
        RemoteCommand::Prune(args) => remote_prune::run(args, globals, output),
        RemoteCommand::Rm(args) => rm(args, globals, output),
        RemoteCommand::Gc(args) => gc(args, output),
    }
}

fn references(texts: &[String]) -> Result<Vec<RemoteReference>, OpError> {
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

const WRITABLE: &str = "a String takes everything";

fn line(snapshot: &RemoteSnapshot) -> String {
    let name = snapshot.label.text.as_deref().map(|label| format!(" ({})", render::safe(label, 80)));
    format!(
        "{}{}  {}  {}  {}  {}  pushed {} by {}",
        snapshot.name,
        name.unwrap_or_default(),
        render::safe(&snapshot.series, 60),
        render::count(snapshot.parts, "part"),
        render::bytes(snapshot.totals.apparent_bytes),
        render::count(snapshot.objects, "object"),
        snapshot.pushed.format("%Y-%m-%d %H:%M:%SZ"),
        render::safe(&snapshot.host, 80),
    )
}

fn list(args: &ListArgs, output: &Output) -> CommandResult {
    let store = store(&args.remote)?;
    let address = store.address().to_owned();
    let listing = remote::list(store, PARALLEL.into())?;
    output.warnings(&listing.warnings);
    if output.is_json() {
        let snapshots = listing.snapshots.iter().map(|snapshot| RemoteRow::of(snapshot, None)).collect();
        let document = RemoteListDocument { remote: address, snapshots, requests: listing.requests.into() };
        output.document(&document, &listing.warnings);
    } else {
        let mut text = String::new();
        for snapshot in &listing.snapshots {
            writeln!(text, "{}", line(snapshot)).expect(WRITABLE);
        }
        let count = render::count(listing.snapshots.len() as u64, "snapshot");
        writeln!(text, "{count} in {}", render::safe(&address, 200)).expect(WRITABLE);
        output.prose(&text);
    }
    Ok(if listing.warnings.is_empty() { DONE } else { WARNED })
}

fn usage(args: &UsageArgs, output: &Output) -> CommandResult {
    let store = store(&args.remote)?;
    let address = store.address().to_owned();
    let usage = remote::usage(store, PARALLEL.into())?;
    output.warnings(&usage.warnings);
    if output.is_json() {
        let rows = usage.snapshots.iter().map(|(snapshot, own)| RemoteRow::of(snapshot, Some(own.bytes)));
        let document = RemoteUsageDocument {
            remote: address,
            snapshots: rows.collect(),
            needed: usage.needed.into(),
            stored: usage.stored.into(),
            garbage: usage.garbage.into(),
            requests: usage.requests.into(),
        };
        output.document(&document, &usage.warnings);
    } else {
        let mut text = String::new();
        for (snapshot, own) in &usage.snapshots {
            writeln!(
                text,
                "{}  {} needed, {} of it by no other snapshot",
                snapshot.name,
                render::bytes(snapshot.object_bytes),
                render::bytes(own.bytes)
            )
            .expect(WRITABLE);
        }
        writeln!(
            text,
            "{} in {} stored; {} needed; {} garbage",
            render::bytes(usage.stored.bytes),
            render::count(usage.stored.files, "object"),
            render::bytes(usage.needed.bytes),
            render::bytes(usage.garbage.bytes)
        )
        .expect(WRITABLE);
        output.prose(&text);
    }
    Ok(if usage.warnings.is_empty() { DONE } else { WARNED })
}

fn check(
    address: &str,
    wanted: (&[RemoteReference], &RepositoryChoice),
    depth: Depth,
    pace: (usize, Option<u64>),
    output: &Output,
) -> CommandResult {
    let store = store(address)?;
    let stored_at = store.address().to_owned();
    let progress = output.progress();
    let result = remote::verify(store, wanted, depth, pace, &progress);
    progress.clear();
    let report = result?;
    let is_sound = report.wrong.is_empty() && report.unreadable.is_empty();
    if output.is_json() {
        let document = RemoteCheckDocument {
            state: if is_sound { "sound" } else { "damaged" }.to_owned(),
            remote: stored_at,
            depth: match depth {
                Depth::List => "list",
                Depth::Presence => "presence",
                Depth::Data => "data",
            }
            .to_owned(),
            snapshots: report.snapshots.iter().map(ToString::to_string).collect(),
            checked: report.checked.into(),
            damage: report.wrong.iter().map(WrongObjectRow::from).collect(),
            unreadable: report.unreadable.clone(),
            garbage: report.garbage.map(Into::into),
            requests: report.requests.into(),
        };
        output.document(&document, &[]);
    } else {
        output.prose(&checked_text(&report, depth, address));
    }
    if !is_sound {
        output.note(&healing(&report, depth, address));
    }
    Ok(if is_sound { DONE } else { DAMAGED })
}

/// The push that sends what is missing or damaged. Of the snapshots that need the first object the newest is named: its
/// host has it the longest.
fn healing(report: &CheckReport, depth: Depth, address: &str) -> String {
    let newest = report.wrong.first().and_then(|wrong| wrong.snapshots.iter().max_by_key(|name| name.id));
    let snapshot = newest.map_or_else(|| "SNAPSHOT".to_owned(), |name| name.id.to_string());
    let address = shell(&render::safe(address, 400));
    // A push looks at presence and size by itself; it neither reads an object nor replaces a damaged manifest unasked.
    let (resend, what) = match depth {
        Depth::List | Depth::Presence if report.unreadable.is_empty() => ("", "sends what is missing"),
        _ => (" --resend", "sends its objects again"),
    };
    format!("hint: chsnap push {snapshot} --to {address}{resend}, on a host that has the snapshot, {what}")
}

fn checked_text(report: &CheckReport, depth: Depth, address: &str) -> String {
    let mut text = String::new();
    for problem in &report.unreadable {
        writeln!(text, "damaged: {}", render::safe(problem, 300)).expect(WRITABLE);
    }
    for wrong in &report.wrong {
        let names: Vec<String> = wrong.snapshots.iter().take(3).map(ToString::to_string).collect();
        let more = wrong.snapshots.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(
            text,
            "damaged: object {}: {}; of {} in {}{more}",
            wrong.key,
            wrong.problem,
            render::safe(&wrong.of, 200),
            names.join(", "),
        )
        .expect(WRITABLE);
    }
    let how = match depth {
        Depth::List => "listed",
        Depth::Presence => "asked for",
        Depth::Data => "read",
    };
    let checked = report.checked;
    let damaged = report.wrong.len() + report.unreadable.len();
    let verdict = if damaged == 0 { "all sound".to_owned() } else { format!("{damaged} damaged") };
    writeln!(
        text,
        "{} of {} {how}, {}: {verdict}",
        render::count(checked.files, "object"),
        render::count(report.snapshots.len() as u64, "snapshot"),
        render::bytes(checked.bytes),
    )
    .expect(WRITABLE);
    if let Some(garbage) = report.garbage.filter(|garbage| garbage.files > 0) {
        let (objects, bytes) = (render::count(garbage.files, "object"), render::bytes(garbage.bytes));
        writeln!(text, "no snapshot needs {objects} with {bytes}: {}", gc_hint(address)).expect(WRITABLE);
    }
    text
}

fn rm(args: &RmArgs, globals: &Globals, output: &Output) -> CommandResult {
    // rm never asks; it accepts --yes so that a script can pass it to every command that removes something.
    let RmArgs { remote: address, snapshots, of, force, dry_run, yes: _ } = args;
    let (given, store) = (address, store(address)?);
    let address = store.address().to_owned();
    let wanted = references(snapshots)?;
    let answer = remote::remove(store, &wanted, &which(of.as_ref(), globals)?, *force, *dry_run)?;
    if let Some(name) = answer.guarded.first() {
        let message = format!("{name} is the last snapshot of its repository in {address}");
        return Err(CommandFailure::guard(message).with_hint("--force removes it nevertheless"));
    }
    let removed: Vec<String> = answer.removed.iter().map(ToString::to_string).collect();
    if output.is_json() {
        let state = if *dry_run { "dry_run" } else { "removed" }.to_owned();
        output.document(&RemoteRmDocument { state, remote: address, removed }, &[]);
    } else {
        let verb = if *dry_run { "would remove" } else { "removed" };
        for name in &removed {
            output.prose(&format!("{verb} {name}\n"));
        }
        if !*dry_run {
            output.note(&gc_hint(given));
        }
    }
    Ok(DONE)
}

fn gc(args: &GcArgs, output: &Output) -> CommandResult {
    let GcArgs { remote: address, grace, dry_run, yes: _ } = args;
    let store = store(address)?;
    let address = store.address().to_owned();
    let report = remote::collect(store, grace.unwrap_or(GC_GRACE), *dry_run, Utc::now(), PARALLEL.into())?;
    output.warnings(&report.warnings);
    if output.is_json() {
        let document = RemoteGcDocument {
            state: if *dry_run { "dry_run" } else { "collected" }.to_owned(),
            remote: address,
            deleted: report.deleted.into(),
            condemned: report.condemned.into(),
            waiting: report.waiting.into(),
            requests: report.requests.into(),
        };
        output.document(&document, &report.warnings);
    } else {
        let would = if *dry_run { "would be " } else { "" };
        output.prose(&format!(
            "{} with {} {would}deleted; {} with {} {would}condemned; {} waiting\n",
            render::count(report.deleted.files, "object"),
            render::bytes(report.deleted.bytes),
            render::count(report.condemned.files, "object"),
            render::bytes(report.condemned.bytes),
            render::count(report.waiting.files, "object"),
        ));
    }
    Ok(DONE)
}
