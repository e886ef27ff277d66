use std::path::{Path, PathBuf};

use chrono::Utc;
use chsnap::exec::RestoreMode;
use chsnap::model::PartitionId;
use chsnap::ops::OpError;
use chsnap::ops::restore::{self, DirectoryLayout, PreparedRestore, ToDirectory, ToServer, WantedTables};
use chsnap::plan::{
    AccessOptions, DatabaseRename, NativeUpdates, Renames, Replicated, RestoreContent, RestoreOptions,
    SnapshotReference, StoragePolicyChange, TablePattern, TableRename,
};
use clap::ValueEnum;

use super::confirm::{Answer, confirm};
use super::failure::{CommandFailure, GUARD};
use super::globals::{Globals, size};
use super::opening;
use super::output::Output;
use super::pull;
use super::restore_directory;
use super::restore_text as show;
use super::{CommandResult, DONE, WARNED, signals};

/// Bring tables back from a snapshot: into a server, or as files into a directory
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// First fetch the snapshot from this object store into the repository, as pull does: only what is selected, and only what the repository lacks
    #[arg(long, value_name = "REMOTE", conflicts_with = "dry_run")]
    from: Option<String>,
    /// Tables to restore, as 'database.glob' [default: those that the server lacks]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Partitions to restore, by id as in system.parts [default: all]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    partition: Vec<String>,
    /// Restore a table under another name: 'a.b=c.d'; write \. and \= for a dot and an equals sign in a name
    #[arg(long, value_name = "DB.TABLE=DB.TABLE", conflicts_with = "to")]
    rename: Vec<TableRename>,
    /// Restore all tables of a database into another one: 'a=b'; write \= for an equals sign in a name
    #[arg(long, value_name = "DB=DB", conflicts_with = "to")]
    rename_db: Vec<DatabaseRename>,
    /// Restore definitions only; tables are empty
    #[arg(long, conflicts_with_all = ["data_only", "to"])]
    schema_only: bool,
    /// Restore data only, into existing tables
    #[arg(long, conflicts_with = "to")]
    data_only: bool,
    /// Select every table, to --replace them all
    #[arg(long, conflicts_with_all = ["table", "partition", "rename", "rename_db", "to"])]
    all: bool,
    /// Replace selected tables that hold other data; with --partition or --data-only, replace partitions
    #[arg(long, conflicts_with = "to")]
    replace: bool,
    /// Keep a table that was replaced, under another name
    #[arg(long, requires = "replace")]
    keep_replaced: bool,
    /// Restore tables without their TTL, and print the statements that add it again
    #[arg(long, conflicts_with_all = ["to", "data_only"])]
    hold_ttl: bool,
    /// Storage policy for tables, or for those of one policy: 'new' or 'old=new'
    #[arg(long, value_name = "[OLD=]NEW", conflicts_with = "to")]
    storage_policy: Option<StoragePolicyChange>,
    /// Make tables that consume queues and refreshable views also under other names or on another server
    #[arg(long, conflicts_with = "to")]
    with_queues: bool,
    /// Make objects whose secrets are hidden in the snapshot, with [HIDDEN] as their secret
    #[arg(long, conflicts_with = "to")]
    with_hidden_secrets: bool,
    /// Also make the snapshot's users, roles, quotas, policies and settings profiles
    #[arg(long, value_name = "WHICH", conflicts_with = "to")]
    access: Option<Access>,
    /// Restore parts that verify has found damaged, as they are
    #[arg(long)]
    damaged: bool,
    /// How replicated tables are restored
    #[arg(long, value_name = "HOW", default_value = "keep")]
    replicated: ReplicatedArg,
    /// Make databases, views, functions and replicated tables on all hosts of this cluster
    #[arg(long, value_name = "CLUSTER", conflicts_with = "to")]
    on_cluster: Option<String>,
    /// Remove these replicas from Keeper for tables that have no active replica; they are lost for good
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', conflicts_with = "to")]
    forget_replicas: Vec<String>,
    /// Restore files into this directory, which must be empty or missing; no server is needed
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Make DIR a tree for ClickHouse's own RESTORE FROM File, Disk or S3: with .backup and CREATE statements
    #[arg(long, requires = "to")]
    native: bool,
    /// With --native, restore tables without the updates and mutations that RESTORE cannot bring back
    #[arg(long, requires = "native")]
    native_without_updates: bool,
    /// How files are placed: auto links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: RestorePlaceArgument,
    /// Copy no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
    /// Show what would be done, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask; required without a terminal
    #[arg(long, short = 'y')]
    yes: bool,
}

const EXAMPLES: &str = "Examples:
  chsnap restore latest --dry-run
  chsnap restore latest --table 'posthog.events' --rename 'posthog.events=posthog.events_yesterday' --yes
  chsnap restore 2026-11-22T020000Z --table 'posthog.events' --partition 202611 --replace
  chsnap restore latest --to /srv/files --table 'posthog.events' --place copy --bwlimit 50MiB
  chsnap restore latest --to /var/lib/clickhouse/backups/latest --native";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RestorePlaceArgument {
    /// Link where the server cannot change the linked file, else share blocks, else copy.
    Auto,
    /// Link only, except files that the server would change.
    Link,
    /// Copy or share blocks, never link.
    Copy,
}

impl RestorePlaceArgument {
    pub(super) fn mode(self) -> RestoreMode {
        match self {
            Self::Auto => RestoreMode::Auto,
            Self::Link => RestoreMode::Link,
            Self::Copy => RestoreMode::Copy,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Those that the server lacks.
    Missing,
    /// Those that the server lacks, and replace those that differ.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReplicatedArg {
    /// Replicated, on their old path in Keeper; under another name, on a new path.
    Keep,
    /// As plain tables: the engine of the same name without Replicated.
    AsMergeTree,
    /// Replicated, each on a new path.
    NewPath,
}

impl Args {
    pub(super) fn options(&self) -> RestoreOptions {
        RestoreOptions::default()
            .with_what(match (self.schema_only, self.data_only) {
                (true, _) => RestoreContent::Schema,
                (_, true) => RestoreContent::Data,
                _ => RestoreContent::All,
            })
            .with_selects(self.selects())
            .with_names_tables(self.names_tables())
            .with_has_partitions(!self.partition.is_empty())
            .with_replace(self.replace)
            .with_keep_replaced(self.keep_replaced)
            .with_renames(self.renames())
            .with_replicated(match self.replicated {
                ReplicatedArg::Keep => Replicated::Keep,
                ReplicatedArg::AsMergeTree => Replicated::AsMergeTree,
                ReplicatedArg::NewPath => Replicated::NewPath,
            })
            .with_forgets_replicas(self.forget_replicas.clone())
            .with_on_cluster(self.on_cluster.clone())
            .with_queues(self.with_queues)
            .with_hidden_secrets(self.with_hidden_secrets)
            .with_damaged(self.damaged)
            .with_hold_ttl(self.hold_ttl)
            .with_storage_policy(self.storage_policy.clone())
    }

    fn renames(&self) -> Renames {
        Renames::new(self.rename.clone(), self.rename_db.clone())
    }

    pub(super) fn layout(&self) -> DirectoryLayout {
        match (self.native, self.native_without_updates) {
            (false, _) => DirectoryLayout::Plain,
            (true, false) => DirectoryLayout::Native(NativeUpdates::Refuse),
            (true, true) => DirectoryLayout::Native(NativeUpdates::LeaveOut),
        }
    }

    fn copy_rate(&self) -> Option<u64> {
        self.bwlimit.filter(|rate| *rate > 0)
    }

    /// Whether something is selected; data alone goes into existing tables, whichever these are.
    fn selects(&self) -> bool {
        self.names_tables() || self.all || self.data_only || !self.partition.is_empty()
    }

    fn names_tables(&self) -> bool {
        !(self.table.is_empty() && self.rename.is_empty() && self.rename_db.is_empty())
    }

    /// A restore of single tables does not look at users and roles unless it is asked to.
    pub(super) fn access(&self) -> AccessOptions {
        match self.access {
            Some(Access::Missing) => AccessOptions::Missing,
            Some(Access::All) => AccessOptions::All,
            None if self.selects() => AccessOptions::Nothing,
            None => AccessOptions::Names,
        }
    }

    /// What is fetched: the selection, unless users and roles are restored too, which only whole snapshots have.
    fn fetched(&self) -> WantedTables {
        if self.access.is_some() { WantedTables::default() } else { self.wanted() }
    }

    pub(super) fn wanted(&self) -> WantedTables {
        let partitions = self.partition.iter().map(|id| PartitionId(id.into())).collect();
        WantedTables::default().with_tables(self.table.clone()).with_partitions(partitions).with_renames(self.renames())
    }
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let pulled = match &args.from {
        Some(remote) => Some(pull::fetch(&args.snapshot, remote, args.fetched(), (globals, output))?),
        None => None,
    };
    let repository = opening::open(globals)?;
    let reference = match pulled {
        Some(id) => SnapshotReference::Id(id),
        None => args.snapshot.parse().map_err(OpError::from)?,
    };
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let (wanted, mode, jobs) = (args.wanted(), args.place.mode(), globals.jobs_for(&repository));
    let progress = output.progress();
    if let Some(directory) = &args.to {
        let request = ToDirectory::new(directory.clone(), Utc::now())
            .with_wanted(wanted)
            .with_layout(args.layout())
            .with_mode(mode)
            .with_copy_rate(args.copy_rate())
            .with_damaged(args.damaged)
            .with_jobs(jobs)
            .with_interrupted(interrupted);
        let prepared = restore::prepare_directory(&repository, &reference, &request, &progress);
        progress.clear();
        let prepared = prepared?;
        if args.dry_run {
            return restore_directory::show(&prepared, output);
        }
        let result = prepared.run(&progress);
        progress.clear();
        return Ok(finish(&result?, Some(directory), output));
    }
    if args.replace && !args.selects() {
        return Err(CommandFailure::usage("--replace needs a selection: it would replace every table of the snapshot")
            .with_hint("--table 'database.glob' selects tables; --all selects every one"));
    }
    let server = opening::connect(globals, interrupted.clone())?;
    let request = ToServer::new(Utc::now())
        .with_wanted(wanted)
        .with_options(args.options())
        .with_access(args.access())
        .with_mode(mode)
        .with_copy_rate(args.copy_rate())
        .with_jobs(jobs)
        .with_paths(globals.paths())
        .with_interrupted(interrupted);
    let prepared = restore::prepare(&repository, &server, &reference, &request, &progress);
    progress.clear();
    let prepared = prepared?;
    if args.dry_run {
        show_plan(&prepared, output);
        // Only one document is printed: the plan itself shows what is refused.
        match prepared.check_refused() {
            Err(_) if output.is_json() => return Ok(GUARD),
            result => result?,
        }
        return Ok(if prepared.plan().all_warnings().is_empty() { DONE } else { WARNED });
    }
    if !output.is_json() {
        show_plan(&prepared, output);
    }
    prepared.check_refused()?;
    if !args.yes && prepared.plan().changes_server() {
        match confirm("restore this?", output, &request.interrupted) {
            Answer::Yes => {}
            Answer::No => return Err(CommandFailure::guard("cancelled; nothing was restored")),
            Answer::Interrupted => return Err(OpError::Interrupted.into()),
            Answer::NotAsked => {
                return Err(CommandFailure::guard("restore changes the server, and there is no terminal to ask at")
                    .with_hint("--yes agrees to the plan; --dry-run shows it"));
            }
        }
    }
    let result = prepared.run(Utc::now(), &progress);
    progress.clear();
    Ok(finish(&result?, None, output))
}

fn show_plan(prepared: &PreparedRestore<'_>, output: &Output) {
    if output.is_json() {
        output.document(&show::plan_document(prepared), &prepared.plan().all_warnings());
    } else {
        output.text(&show::plan(prepared, output.width()));
    }
}

fn finish(report: &restore::Report, directory: Option<&PathBuf>, output: &Output) -> u8 {
    let warnings = report.all_warnings();
    if output.is_json() {
        output.document(&show::document(report, directory.map(PathBuf::as_path)), &warnings);
    } else {
        output.text(&show::report(report, output.width()));
        if let Some(native) = &report.native {
            let listed = super::render::count(native.entries, "file");
            output.prose(&format!(".backup lists {listed}, {}\n", super::render::bytes(native.entry_bytes)));
        }
        if let Some(directory) = directory.filter(|_| !report.restored_nothing()) {
            output.prose(&format!("the files are in {}\n", super::render::safe(&text_of(directory), 1000)));
        }
        for note in &report.notes {
            output.note(note);
        }
        output.warnings(&warnings);
    }
    if report.restored_nothing() {
        // The document is on stdout; a program that reads only stderr learns of the failure here.
        return CommandFailure::failed("none of the selected tables was restored")
            .with_hint("each table has its reason")
            .report(output);
    }
    if warnings.is_empty() { DONE } else { WARNED }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
