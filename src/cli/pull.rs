use chrono::Utc;
use chsnap::fs;
use chsnap::model::{PartitionId, SnapshotId};
use chsnap::ops::OpError;
use chsnap::ops::create::IdsMode;
use chsnap::ops::remote::{self, PARALLEL, PullReport, PullRequest, PullTarget, PulledAs, RepositoryChoice};
use chsnap::ops::restore::WantedTables;
use chsnap::plan::TablePattern;
use chsnap::remote::RemoteRepository;
use chsnap::repo::{RepoError, Repository};
use clap::ValueEnum;

use super::documents::PullDocument;
use super::globals::{Globals, size};
use super::opening;
use super::output::Output;
use super::push::{seconds, store};
use super::render;
use super::{CommandFailure, CommandResult, DONE, WARNED};

/// Fetch a snapshot from an object store into the repository, without the server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, the beginning of one, a name, latest, latest~N, or ID.REPOSITORY as remote list shows it
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Where from: file:///DIR, s3://BUCKET/PREFIX, gs://, azblob://, sftp:// or ftp://; credentials come from the environment
    #[arg(long, value_name = "REMOTE")]
    from: String,
    /// Repository that made the snapshot, by the beginning of its id [default: this one, or the only one in the store]
    #[arg(long, value_name = "REPOSITORY")]
    of: Option<String>,
    /// Only these tables, as 'database.glob': they become a snapshot of their own
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Only these partitions, by id as in system.parts
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    partition: Vec<String>,
    /// Owners, modes and times that the repository's filesystem cannot keep
    #[arg(long, value_name = "HOW", default_value = "keep")]
    ids: PullIds,
    /// Objects that are fetched at once; each takes up to 64 MiB of memory
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Fetch no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
    /// Free space to leave in addition to the fetched snapshot: do not begin with less, for example 20GiB
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size)]
    min_free: u64,
    /// Pull although the repository belongs to another server
    #[arg(long)]
    allow_other_server: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PullIds {
    /// Refuse to pull to a filesystem that cannot keep them.
    Keep,
    /// Record what it cannot keep in the list of parts.
    Record,
}

const EXAMPLES: &str =
    "Whole parts that the nearest snapshots in the repository have are linked, not fetched; so are the large files that a rewritten part \
     kept. Everything else is compared with its BLAKE3, and then with the part's own checksums. A missing repository is created.

Exit codes: 0 pulled, or already present; 3 with warnings; 12 something in the store is damaged, and nothing was pulled.

With --table or --partition only these are fetched. They become a snapshot of their own, of the same second and of the series \
     of that selection; the whole one can be pulled as well.

Examples:
  chsnap pull latest --from s3://backups/clickhouse
  chsnap pull latest --from s3://backups/clickhouse --table 'shop.orders' --partition 202611
  chsnap pull 2026-11-22T020000Z.0123abcd --from s3://backups/clickhouse --repo /srv/chsnap";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let store = store(&args.from)?;
    let address = store.address().to_owned();
    let wanted = args.snapshot.parse().map_err(OpError::from)?;
    // If there is nothing to pull from, no repository is created.
    let remote = RemoteRepository::open(store).map_err(OpError::from)?;
    let repository = existing_repository(globals)?;
    let partitions = args.partition.iter().map(|id| PartitionId(id.into())).collect();
    let request = PullRequest::new(wanted, own(repository.as_ref()).with_given(args.of.clone()))
        .with_tables(WantedTables::default().with_tables(args.table.clone()).with_partitions(partitions))
        .with_ids(match args.ids {
            PullIds::Keep => IdsMode::Keep,
            PullIds::Record => IdsMode::Record,
        })
        .with_parallel(args.parallel.into())
        .with_rate(args.bwlimit.filter(|rate| *rate > 0))
        .with_min_free_bytes(args.min_free)
        .with_allow_other_server(args.allow_other_server)
        .with_lock_wait(globals.lock_wait);
    let report = pull(repository.as_ref(), &remote, &request, (globals, output))?;
    output.warnings(&report.warnings);
    let is_new = report.pulled_as == PulledAs::New;
    if output.is_json() {
        let document = PullDocument {
            state: if is_new { "complete" } else { "present" }.to_owned(),
            remote: address,
            id: report.id.to_string(),
            of: (report.id != report.name.id).then(|| report.name.id.to_string()),
            remote_name: report.name.to_string(),
            parts: report.totals.parts,
            apparent_bytes: report.totals.apparent_bytes,
            linked_parts: report.placed.linked.parts,
            fetched_parts: report.placed.copied.parts,
            requests: report.requests.into(),
            seconds: seconds(&report.seconds),
        };
        output.document(&document, &report.warnings);
    } else if is_new {
        let total = report.seconds.get("total").copied().unwrap_or(0.0);
        output.prose(&format!(
            "{}{}: {}, {} linked; {} fetched from {} in {total:.1} s\n",
            report.id,
            selected_from(&report),
            render::count(report.totals.parts, "part"),
            render::thousands(report.placed.linked.parts),
            render::bytes(report.requests.received_bytes),
            render::safe(&address, 200),
        ));
    } else {
        output.prose(&format!("{}{}: here already\n", report.id, selected_from(&report)));
    }
    Ok(if report.warnings.is_empty() { DONE } else { WARNED })
}

/// The snapshot of which only a selection was pulled.
fn selected_from(report: &PullReport) -> String {
    if report.id == report.name.id { String::new() } else { format!(" (selected from {})", report.name.id) }
}

/// Pulls a snapshot, or tables and partitions of it, with the usual options, for a command that continues with it.
pub(super) fn fetch(
    snapshot: &str,
    remote: &str,
    tables: WantedTables,
    (globals, output): (&Globals, &Output),
) -> Result<SnapshotId, CommandFailure> {
    let store = store(remote)?;
    let wanted = snapshot.parse().map_err(OpError::from)?;
    let store = RemoteRepository::open(store).map_err(OpError::from)?;
    let repository = existing_repository(globals)?;
    let request =
        PullRequest::new(wanted, own(repository.as_ref())).with_tables(tables).with_lock_wait(globals.lock_wait);
    let report = pull(repository.as_ref(), &store, &request, (globals, output))?;
    output.warnings(&report.warnings);
    if report.pulled_as == PulledAs::New {
        let from = render::safe(remote, 200);
        output.note(&format!("{}{} fetched from {from}", report.id, selected_from(&report)));
    }
    Ok(report.id)
}

/// This repository's snapshots first.
fn own(repository: Option<&Repository>) -> RepositoryChoice {
    RepositoryChoice::default().with_own(repository.map(|repository| repository.id().short().to_owned()))
}

/// Pulls into the repository, which is created if it is missing: the replacement of a lost host has none.
fn pull(
    repository: Option<&Repository>,
    store: &RemoteRepository,
    request: &PullRequest,
    (globals, output): (&Globals, &Output),
) -> Result<PullReport, CommandFailure> {
    let (path, verbs) = (opening::repo_path(globals)?, fs::real());
    let target = repository.map_or_else(|| PullTarget::Missing(path, &verbs), PullTarget::Existing);
    let progress = output.progress();
    let result = remote::pull(&target, store, request, &Utc::now, &progress);
    progress.clear();
    Ok(result?)
}

/// The repository; `None` if it is missing.
fn existing_repository(globals: &Globals) -> Result<Option<Repository>, CommandFailure> {
    let path = opening::repo_path(globals)?;
    match Repository::open(path, &fs::real()) {
        Err(RepoError::NotARepository { .. }) => Ok(None),
        _ => opening::open(globals).map(Some),
    }
}
