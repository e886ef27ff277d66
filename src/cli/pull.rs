use chrono::Utc;
use chsnap::fs;
use chsnap::model::SnapshotId;
use chsnap::ops::create::IdsMode;
use chsnap::ops::remote::{self, PARALLEL, PullReport, PullRequest, PulledAs, RepositoryChoice};
use chsnap::ops::{self, OpError};
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
    /// An id, the beginning of one, a name, latest, latest~N, or ID.REPOSITORY as remote list has it
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Where from: file:///DIR, s3://BUCKET/PREFIX, gs://, azblob://, sftp:// or ftp://; credentials come from the environment
    #[arg(long, value_name = "REMOTE")]
    from: String,
    /// Repository that made the snapshot, by the beginning of its id [default: this one, or the only one in the store]
    #[arg(long, value_name = "REPOSITORY")]
    of: Option<String>,
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
    "Parts that a snapshot in the repository has are linked, not fetched. Everything else is compared with its BLAKE3, and \
     then with the part's own checksums. A missing repository is created.

Exit codes: 0 pulled, or already present; 3 with warnings; 12 something in the store is damaged, and nothing was pulled.

Examples:
  chsnap pull latest --from s3://backups/clickhouse
  chsnap pull 2026-11-22T020000Z.0123abcd --from s3://backups/clickhouse --repo /srv/chsnap";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let store = store(&args.from)?;
    let address = store.address().to_owned();
    let wanted = args.snapshot.parse().map_err(OpError::from)?;
    // If there is nothing to pull from, no repository is created.
    let remote = RemoteRepository::open(store).map_err(OpError::from)?;
    let repository = open_or_make(globals)?;
    let request = PullRequest::new(wanted, own(&repository).with_given(args.of.clone()))
        .with_ids(match args.ids {
            PullIds::Keep => IdsMode::Keep,
            PullIds::Record => IdsMode::Record,
        })
        .with_parallel(args.parallel.into())
        .with_rate(args.bwlimit.filter(|rate| *rate > 0))
        .with_min_free_bytes(args.min_free)
        .with_allow_other_server(args.allow_other_server)
        .with_lock_wait(globals.lock_wait);
    let report = pull(&repository, &remote, &request, output)?;
    output.warnings(&report.warnings);
    let is_new = report.pulled_as == PulledAs::New;
    if output.is_json() {
        let document = PullDocument {
            state: if is_new { "complete" } else { "present" }.to_owned(),
            remote: address,
            id: report.name.id.to_string(),
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
        output.text(&format!(
            "{}: {}, {} linked; {} fetched from {} in {total:.1} s\n",
            report.name.id,
            render::count(report.totals.parts, "part"),
            render::thousands(report.placed.linked.parts),
            render::bytes(report.requests.received_bytes),
            render::safe(&address, 200),
        ));
    } else {
        output.text(&format!("{}: here already\n", report.name.id));
    }
    Ok(if report.warnings.is_empty() { DONE } else { WARNED })
}

/// Pulls a snapshot with the usual options, for a command that continues with it.
pub(super) fn fetch(
    snapshot: &str,
    remote: &str,
    globals: &Globals,
    output: &Output,
) -> Result<SnapshotId, CommandFailure> {
    let store = store(remote)?;
    let wanted = snapshot.parse().map_err(OpError::from)?;
    let store = RemoteRepository::open(store).map_err(OpError::from)?;
    let repository = open_or_make(globals)?;
    let request = PullRequest::new(wanted, own(&repository)).with_lock_wait(globals.lock_wait);
    let report = pull(&repository, &store, &request, output)?;
    output.warnings(&report.warnings);
    if report.pulled_as == PulledAs::New {
        output.note(&format!("{} fetched from {}", report.name.id, render::safe(remote, 200)));
    }
    Ok(report.name.id)
}

/// This repository's snapshots first.
fn own(repository: &Repository) -> RepositoryChoice {
    RepositoryChoice::default().with_own(Some(repository.id().short().to_owned()))
}

fn pull(
    repository: &Repository,
    store: &RemoteRepository,
    request: &PullRequest,
    output: &Output,
) -> Result<PullReport, OpError> {
    let progress = output.progress();
    let result = remote::pull(repository, store, request, &Utc::now, &progress);
    progress.clear();
    result
}

/// The repository, which is created if it is missing: the replacement of a lost host has none.
fn open_or_make(globals: &Globals) -> Result<Repository, CommandFailure> {
    let path = opening::repo_path(globals)?;
    match Repository::open(path, &fs::real()) {
        Err(RepoError::NotARepository { .. }) => Ok(ops::init(path, Utc::now(), &fs::real())?),
        _ => opening::open(globals),
    }
}
