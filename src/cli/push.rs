use std::fmt::Write as _;

use chrono::Utc;
use chsnap::model::{DefaultLock, Warning, WarningKind};
use chsnap::ops::OpError;
use chsnap::ops::copy::WantedSnapshots;
use chsnap::ops::remote::{self, PARALLEL, PushOutcome, PushReport, PushRequest, SecretScope, SendScope};
use chsnap::remote::{RemoteAddress, RemoteError, Store, StoreEnvironment, open_store};

use super::documents::{ObjectLockRow, PushDocument, PushRow};
use super::globals::{Globals, size};
use super::opening;
use super::output::Output;
use super::render;
use super::{CommandResult, DAMAGED, DONE, WARNED};

/// Send snapshots to an object store, without the server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ids, beginnings of ids, names, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", required_unless_present = "new", conflicts_with = "new")]
    snapshots: Vec<String>,
    /// Where to: file:///DIR, s3://BUCKET/PREFIX, gs://, azblob://, sftp:// or ftp://; credentials come from the environment
    #[arg(long, value_name = "REMOTE")]
    to: String,
    /// Push all snapshots that the object store lacks
    #[arg(long)]
    new: bool,
    /// Send every object again, also those that exist; repairs what remote verify --data found damaged
    #[arg(long, conflicts_with = "new")]
    resend: bool,
    /// Leave secrets out: those in definitions are hidden, and users, roles, named collections and configuration stay here
    #[arg(long)]
    no_secrets: bool,
    /// Files up to this size share an object with the others of their part
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    small: u64,
    /// Objects that are sent at once; each takes up to 64 MiB of memory
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Send no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
}

const EXAMPLES: &str =
    "chsnap does not encrypt: definitions, users and dumps are stored as they are, with the passwords in them. --no-secrets \
     hides what ClickHouse itself hides in definitions, and leaves out users, roles, named collections and configuration.

Exit codes: 0 pushed, or already present; 3 with warnings; 12 a snapshot is damaged here and was not pushed. The next push \
     resumes one that was killed.

Examples:
  chsnap push latest --to s3://backups/clickhouse
  chsnap push --new --to 's3://backups/clickhouse?endpoint=https://minio.example:9000' --bwlimit 100MiB
  chsnap push before-upgrade --to sftp://backup@nas/srv/chsnap";

/// Opens the store of an address.
pub(super) fn store(address: &str) -> Result<Box<dyn Store>, OpError> {
    let address: RemoteAddress = address.parse().map_err(RemoteError::from)?;
    let environment = StoreEnvironment::read(|name| std::env::var(name).ok());
    Ok(open_store(&address, &environment)?)
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let store = store(&args.to)?;
    let repository = opening::open(globals)?;
    let wanted = if args.new {
        WantedSnapshots::New
    } else {
        let references = args.snapshots.iter().map(|text| text.parse());
        WantedSnapshots::Named(references.collect::<Result<_, _>>().map_err(OpError::from)?)
    };
    let request = PushRequest::new(wanted)
        .with_small_bytes(args.small)
        .with_parallel(args.parallel.into())
        .with_scope(if args.resend { SendScope::All } else { SendScope::Missing })
        .with_secrets(if args.no_secrets { SecretScope::LeaveOut } else { SecretScope::Send })
        .with_rate(args.bwlimit.filter(|rate| *rate > 0));
    let remote = store.address().to_owned();
    let progress = output.progress();
    let result = remote::push(&repository, store, &request, &Utc::now, &progress);
    progress.clear();
    let mut report = result?;
    report.warnings.extend(unknown_locks(&report, &args.to));
    output.warnings(&report.warnings);
    let rows: Vec<PushRow> = report.snapshots.iter().map(PushRow::of).collect();
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count() as u64;
    let (pushed, present, damaged) = (count("pushed"), count("present"), count("damaged"));
    let code = match damaged {
        0 if report.warnings.is_empty() => DONE,
        0 => WARNED,
        _ => DAMAGED,
    };
    if output.is_json() {
        let document = PushDocument {
            state: if damaged > 0 { "damaged" } else { "complete" }.to_owned(),
            remote,
            pushed,
            present,
            damaged,
            snapshots: rows,
            object_lock: report.locks.as_ref().and_then(ObjectLockRow::of),
            requests: report.requests.into(),
            seconds: seconds(&report.seconds),
        };
        output.document(&document, &report.warnings);
        return Ok(code);
    }
    output.prose(&text(&report, &remote));
    if pushed > 0 && args.no_secrets {
        output.note(&left_out(&report));
    } else if pushed > 0 {
        output.note("note: nothing is encrypted on this side: definitions and access are in the store as they are");
    }
    for snapshot in &report.snapshots {
        if let PushOutcome::Damaged(problem) = &snapshot.outcome {
            output.error(&format!("cannot push {}: {problem}", snapshot.name.id));
        }
    }
    Ok(code)
}

/// Warns if the bucket seems to have object lock, and the credentials may not read it. A bucket that locks new objects
/// takes only those with a checksum, so that an address without one is of another bucket.
fn unknown_locks(report: &PushReport, address: &str) -> Option<Warning> {
    let is_unknown = report.locks.is_some_and(|locks| locks.of_new == DefaultLock::Unknown);
    let address: RemoteAddress = address.parse().ok().filter(|_| is_unknown)?;
    let message = format!(
        "{address}: no lock of reused objects was extended, because these credentials may not read the object lock of the \
         bucket (s3:GetBucketObjectLockConfiguration)"
    );
    address.options.contains_key("checksum").then(|| Warning::new(WarningKind::LockNotExtended, message))
}

/// The secrets that a push left out.
fn left_out(report: &PushReport) -> String {
    let pushed = report.snapshots.iter().filter_map(|snapshot| match &snapshot.outcome {
        PushOutcome::Pushed(pushed) => pushed.left_out.as_ref(),
        _ => None,
    });
    let (hidden, files) = pushed
        .fold((0, 0), |(hidden, files), left| (hidden + left.hidden.len() as u64, files + left.files.len() as u64));
    if hidden + files == 0 {
        return "note: no secret was found; rows go as they are".to_owned();
    }
    let (hidden, files) = (render::count(hidden, "definition"), render::count(files, "file"));
    format!(
        "note: the secrets of {hidden} are hidden, and {files} left out; rows go as they are, and a restore says what is missing"
    )
}

/// The seconds of each stage in the form for documents.
pub(super) fn seconds(
    seconds: &std::collections::BTreeMap<&'static str, f64>,
) -> std::collections::BTreeMap<String, f64> {
    seconds.iter().map(|(stage, seconds)| ((*stage).to_owned(), *seconds)).collect()
}

/// Whether a snapshot that was pushed has objects that were there before.
fn reuses(report: &PushReport) -> bool {
    report.snapshots.iter().any(|snapshot| match &snapshot.outcome {
        PushOutcome::Pushed(pushed) => pushed.reused.parts > 0 || pushed.present.files > 0,
        PushOutcome::Present | PushOutcome::Damaged(_) => false,
    })
}

const WRITABLE: &str = "a String takes everything";

fn text(report: &PushReport, remote: &str) -> String {
    let mut text = String::new();
    let mut pushed_count = 0;
    for snapshot in &report.snapshots {
        let name = snapshot.label.text.as_deref().map(|label| format!(" ({})", render::safe(label, 80)));
        let head = format!("{}{}", snapshot.name.id, name.unwrap_or_default());
        match &snapshot.outcome {
            PushOutcome::Present => writeln!(text, "{head}: there already"),
            PushOutcome::Damaged(_) => writeln!(text, "{head}: not pushed"),
            PushOutcome::Pushed(pushed) => {
                pushed_count += 1;
                writeln!(
                    text,
                    "{head}: {}, {} reused; {} in {} sent; {} there already",
                    render::count(pushed.all.parts, "part"),
                    render::thousands(pushed.reused.parts),
                    render::bytes(pushed.sent.bytes),
                    render::count(pushed.sent.files, "object"),
                    render::bytes(pushed.present.bytes),
                )
            }
        }
        .expect(WRITABLE);
    }
    if let Some(locks) = report.locks
        && let DefaultLock::Of(lock) = locks.of_new
    {
        writeln!(
            text,
            "object lock ({}) of new objects ends {}; {} of {} that are reused extended, by {}",
            lock.mode,
            lock.until.format("%Y-%m-%d"),
            render::thousands(locks.extended),
            render::count(locks.looked_at, "object"),
            render::count(report.requests.locks, "request"),
        )
        .expect(WRITABLE);
    }
    if report.locks.is_some_and(|locks| locks.of_new == DefaultLock::Unread) && reuses(report) {
        text.push_str(
            "note: the retention of this service is not read; objects that are reused keep the end that they have\n",
        );
    }
    let total = report.seconds.get("total").copied().unwrap_or(0.0);
    let remote = render::safe(remote, 200);
    let count = render::count(pushed_count, "snapshot");
    writeln!(text, "{count} pushed to {remote} in {total:.1} s").expect(WRITABLE);
    text
}
