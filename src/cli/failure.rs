//! Errors as the user sees them: what failed, why, what to do about it, and the exit code.

use std::path::Path;

use chsnap::exec::{ExecError, RestorePartError};
use chsnap::fs::FsError;
use chsnap::ops::{ImportError, OpError};
use chsnap::plan::{ReferenceError, TableRefusal, TableSkipReason, nearest};
use chsnap::remote::{InvalidAddress, RemoteError, StoreErrorKind};
use chsnap::repo::{RepoError, Repository};
use chsnap::server::{ServerError, code};
use clap::error::ErrorKind;
use serde_json::Value;

use super::DAMAGED;
use super::documents::{self, DamagedPartRow, ErrorDocument};
use super::help;
use super::layout;
use super::messages::message_width;
use super::output::Output;
use super::render;
use super::signals;
use super::streams::write_stderr;
use super::words::shell;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_REPOSITORY: u8 = 10;
const LOCKED: u8 = 11;
pub(super) const GUARD: u8 = 13;

/// How many damaged parts are shown in addition to the first.
const DAMAGE_SHOWN: usize = 100;

/// A command that failed or was refused.
#[derive(Debug)]
pub(super) struct CommandFailure {
    message: String,
    causes: Vec<String>,
    /// Further problems; each is shown as a separate error.
    others: Vec<String>,
    hint: Option<String>,
    code: u8,
    /// Additional data for programs, stored in the JSON error under a name.
    document: Option<Box<(&'static str, serde_json::Value)>>,
    /// Whether the server was not there: it may be starting.
    is_absent_server: bool,
}

impl CommandFailure {
    fn new(message: impl Into<String>, code: u8) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            others: Vec::new(),
            hint: None,
            code,
            document: None,
            is_absent_server: false,
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(message, FAILED)
    }

    pub(super) fn guard(message: impl Into<String>) -> Self {
        Self::new(message, GUARD)
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(message, USAGE)
    }

    /// A failure whose exit code is known already.
    pub(super) fn with_code(message: impl Into<String>, code: u8) -> Self {
        Self::new(message, code)
    }

    pub(super) fn with_document(self, name: &'static str, document: serde_json::Value) -> Self {
        Self { document: Some(Box::new((name, document))), ..self }
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(super) fn is_absent_server(&self) -> bool {
        self.is_absent_server
    }

    /// The failure and its causes on one line.
    pub(super) fn line(&self) -> String {
        let all = std::iter::once(&self.message).chain(&self.causes);
        render::cut(&all.map(String::as_str).collect::<Vec<_>>().join(": "), render::MESSAGE_LIMIT)
    }

    /// A guard's refusal.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(message, GUARD)
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn caused_by(mut self, cause: String) -> Self {
        self.causes.push(cause);
        self
    }

    /// A further problem of the same kind.
    pub(super) fn also(mut self, problem: String) -> Self {
        self.others.push(problem);
        self
    }

    fn with_fields(&self, mut answer: Value) -> Value {
        if let (Some((name, document)), Some(fields)) = (self.document.as_deref(), answer.as_object_mut()) {
            fields.insert((*name).to_owned(), document.clone());
        }
        answer
    }

    /// Prints the failure and returns the exit code.
    pub(super) fn report(&self, output: &Output) -> u8 {
        if output.is_json() {
            let (message, hint) = (render::cut(&self.message, render::MESSAGE_LIMIT), &self.hint);
            if matches!(self.code, DAMAGED | GUARD) {
                let state = if self.code == DAMAGED { "damaged" } else { "refused" };
                let more =
                    self.document.as_deref().filter(|(name, _)| self.code == DAMAGED || *name == "snapshots").cloned();
                output.json(&documents::refusal(&output.schema(), state, &message, hint.as_deref(), more));
            } else {
                let cut = |cause: &String| render::cut(cause, render::MESSAGE_LIMIT);
                let (causes, code) = (self.causes.iter().chain(&self.others).map(cut).collect::<Vec<_>>(), self.code);
                let error = ErrorDocument {
                    error: message,
                    causes,
                    hint: hint.clone(),
                    exit_code: code,
                    run: None,
                    damage: None,
                    snapshots: None,
                };
                write_stderr(&format!("{}\n", self.with_fields(documents::value(&error, &[]))));
            }
            return self.code;
        }
        output.error(&self.message);
        for cause in &self.causes {
            output.cause(cause);
        }
        for other in &self.others {
            output.error(other);
        }
        if let Some(hint) = &self.hint {
            output.hint(hint);
        }
        self.code
    }
}

/// Prints clap's message about a command line, or the help that was requested.
pub(super) fn usage(error: &clap::Error, as_json: bool) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return help::print(&error.render());
    }
    if as_json {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        let error = ErrorDocument {
            error: message.to_owned(),
            causes: Vec::new(),
            hint: None,
            exit_code: USAGE,
            run: None,
            damage: None,
            snapshots: None,
        };
        write_stderr(&format!("{}\n", documents::value(&error, &[])));
    } else if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        write_stderr(&layout::prose(&error.render().ansi().to_string(), message_width()));
    } else {
        write_stderr(&error.render().to_string());
    }
    USAGE
}

impl From<OpError> for CommandFailure {
    fn from(error: OpError) -> Self {
        let interrupted =
            matches!(error, OpError::Interrupted | OpError::Server(ServerError::Interrupted)).then(signals::exit_code);
        if let Some(code) = interrupted {
            return Self::new("interrupted; what was begun is undone", code);
        }
        if let OpError::Unfinished { error, pending } = error {
            return Self::from(*error).caused_by(format!("and not everything could be undone: {pending}"));
        }
        let code = match &error {
            OpError::Repo(RepoError::NotARepository { .. }) | OpError::Remote(RemoteError::NotARepository { .. }) => {
                NO_REPOSITORY
            }
            OpError::Repo(RepoError::Locked { .. } | RepoError::LockLost { .. }) => LOCKED,
            OpError::Repo(RepoError::NoSeries { .. })
            | OpError::Reference(
                ReferenceError::Invalid { .. }
                | ReferenceError::NoSuchName { .. }
                | ReferenceError::InTrash { .. }
                | ReferenceError::AmbiguousName { .. },
            )
            | OpError::NameConflict { .. }
            | OpError::NoCluster { .. }
            | OpError::Import(ImportError::Unmatched { .. } | ImportError::Future { .. })
            | OpError::Remote(
                RemoteError::Address(_)
                | RemoteError::SeveralRepositories { .. }
                | RemoteError::NoSuchRepository { .. },
            )
            | OpError::Server(ServerError::Url(_)) => USAGE,
            OpError::PullRefused { .. }
            | OpError::Remote(
                RemoteError::OtherContent { .. } | RemoteError::HasSecrets { .. } | RemoteError::LocalRepository { .. },
            ) => GUARD,
            OpError::SnapshotDamaged { .. }
            | OpError::PullDamaged { .. }
            | OpError::Remote(RemoteError::Damaged { .. })
            | OpError::ImportDamaged { .. } => DAMAGED,
            error if error.is_guard() => GUARD,
            _ => FAILED,
        };
        let hint = hint(&error);
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some libraries include the cause in their message, and then also return it as their source.
            if causes.last().is_none_or(|last: &String| !last.ends_with(&text)) {
                causes.push(text);
            }
            source = cause.source();
        }
        let mut document = None;
        if let OpError::SnapshotDamaged { damage, .. } | OpError::ImportDamaged { damage } = &error {
            causes.extend(damage.iter().skip(1).take(DAMAGE_SHOWN).map(ToString::to_string));
            let named = |damage: &chsnap::ops::FoundDamage| DamagedPartRow {
                database: damage.table.database.clone(),
                table: damage.table.table.clone(),
                part: damage.part.clone(),
                found: damage.problem.clone(),
            };
            let rows: Vec<DamagedPartRow> = damage.iter().map(named).collect();
            document = Some(Box::new(("damage", serde_json::json!(rows))));
        }
        let is_absent_server = is_absent(&error);
        Self { message: error.to_string(), causes, others: Vec::new(), hint, code, document, is_absent_server }
    }
}

/// A server that is starting refuses connections, or a proxy answers in its place.
fn is_absent(error: &OpError) -> bool {
    matches!(error, OpError::Server(ServerError::Unreachable { .. } | ServerError::NotClickHouse { .. }))
}

fn hint(error: &OpError) -> Option<String> {
    let text = match error {
        OpError::Repo(RepoError::Fs(error)) | OpError::Fs(error) | OpError::Exec(ExecError::Fs(error)) => {
            fs_hint(error)?
        }
        OpError::Repo(error) => repo_hint(error)?,
        OpError::Server(error) => server_hint(error)?,
        OpError::Remote(error) => remote_hint(error)?,
        OpError::PullDamaged { .. } => {
            "nothing was pulled; chsnap remote verify --data finds what else is damaged, and another snapshot may have it"
        }
        OpError::PullRefused { .. } => "chsnap undo takes it back from the trash, chsnap rm moves one there",
        OpError::Reference(ReferenceError::NoSuchName { nearest: Some(nearest), .. }) => {
            return Some(format!("did you mean {nearest}? chsnap list shows all snapshots"));
        }
        OpError::Reference(ReferenceError::NotFound { nearest: Some(nearest), .. }) => {
            return Some(format!("did you mean {nearest}? chsnap list shows all snapshots"));
        }
        OpError::Reference(ReferenceError::Invalid { text }) => {
            return nearest(text, ["latest"]).map(|near| format!("did you mean {near}?"));
        }
        OpError::Reference(
            ReferenceError::NotFound { .. } | ReferenceError::NoSuchName { .. } | ReferenceError::TooFarBack { .. },
        ) => "chsnap list shows all snapshots",
        OpError::Reference(ReferenceError::InTrash { id }) => return Some(format!("chsnap undo {id} brings it back")),
        OpError::Reference(ReferenceError::AmbiguousName { .. }) => "name one of them by its id",
        OpError::Reference(ReferenceError::Ambiguous { .. }) => "write more of the id",
        OpError::OtherServer { .. } => {
            "each server has a repository of its own; if this one has only moved, --allow-other-server takes it"
        }
        OpError::CopyOfOtherServer { .. } => {
            "each server has a repository of its own; if this one has only moved, --allow-other-server copies nevertheless"
        }
        OpError::CopyIntoItself { .. } => "name a directory outside of the repository, best on another disk",
        OpError::RepositoryInside { .. } => {
            "make the repository next to that directory, for example in .../clickhouse/chsnap"
        }
        OpError::LowSpace { path, .. } | OpError::LowInodes { path, .. } => return Some(room_hint(path)),
        OpError::DiskNotVisible { .. } | OpError::PartNotVisible { .. } => {
            "run chsnap on the server's own host, as a user who may read its data directory (root, or the server's own \
             user); where the server is in a container, --path-map SERVER=HERE says where its directory is on this host"
        }
        OpError::OtherFilesystem { .. } => {
            "--place auto copies what cannot be linked; to link, put the repository on the filesystem of the disk, outside \
             its shadow/ and store/, or leave the tables of that disk out with --exclude. Two bind mounts of one \
             filesystem count as two"
        }
        OpError::CannotKeep { .. } => {
            "run chsnap as root, or put the repository on a filesystem that keeps them; --ids record writes down what \
             cannot be kept, for a restore to set"
        }
        OpError::NoHardLinks { .. } => "put the repository on a filesystem with hard links: ext4, xfs, btrfs, zfs, NFS",
        OpError::LinkRefused { .. } => "run chsnap as root or as the user that the server runs as",
        OpError::NothingNamed { .. } => {
            "chsnap create --dry-run --json lists tables and partitions; tables are named database.table, with * and ?"
        }
        OpError::NoSuchPartition { .. } => {
            "a partition is named by its id, with which the names of its parts begin: SELECT DISTINCT partition, partition_id \
             FROM system.parts shows both"
        }
        OpError::NotInSnapshot { .. } => "chsnap show lists the tables of a snapshot, which are named database.table",
        OpError::SnapshotDamaged { .. } => {
            "nothing was restored; --table and --partition choose what is sound, an older snapshot may have the part, and the \
             next chsnap create takes it again where the live one is intact"
        }
        OpError::TargetNotEmpty { .. } => "name an empty directory, or one that does not exist",
        OpError::ImportDamaged { .. } => {
            "nothing was imported: no table of the tree is intact; an older backup may have them"
        }
        OpError::Import(error) => return import_hint(error).map(str::to_owned),
        OpError::SameHash { .. } => {
            "chsnap verify finds a damaged one; --table leaves a table out, and without --native no file is taken for another"
        }
        OpError::TargetInRepository { .. } => "name a directory outside of the repository",
        OpError::RestoreRefused { refusals } => refusal_hint(refusals),
        OpError::NoCluster { .. } => "system.clusters lists those of the server's configuration",
        OpError::NameConflict { .. } => "give --rename for one of them",
        OpError::CannotGive { .. } => "run chsnap as root, or as the user that the server runs as",
        OpError::NoDisk { .. } => "--path-map SERVER=HERE says where a directory of the server is on this host",
        OpError::TargetInUse { .. } => "wait for it to end",
        OpError::TargetOutOfReach { .. } | OpError::RestorePart(RestorePartError::NotLinked { .. }) => {
            "--place auto copies what cannot be linked"
        }
        OpError::NothingTaken { reason: TableSkipReason::Forbidden(_), .. } => {
            "GRANT ALTER FREEZE PARTITION ON *.* TO this user, or name another one with --user"
        }
        OpError::PlanIsOld => "run it again: it shows what it would do now",
        OpError::Guarded { .. } => "--force removes it nevertheless",
        _ => return None,
    };
    Some(text.to_owned())
}

fn import_hint(error: &ImportError) -> Option<&'static str> {
    Some(match error {
        ImportError::Unknown { .. } => {
            "name the directory with .backup (BACKUP … TO File or Disk) or with metadata.json (clickhouse-backup); for a copy of \
             shadow/ give --metadata with the server's metadata/"
        }
        ImportError::NoDirectory { .. } => "unpack an archive first, and name the directory",
        ImportError::InRepository { .. } => "chsnap restore reads snapshots; import reads what others made",
        ImportError::Based { .. } => "BACKUP without base_backup makes a whole one",
        _ => return None,
    })
}

fn refusal_hint(refusals: &[TableRefusal]) -> &'static str {
    if refusals.iter().any(|refusal| matches!(refusal, TableRefusal::Replica { .. })) {
        "--replicated as-merge-tree restores it without Keeper, --replicated new-path on a path of its own"
    } else {
        "--replace allows it: a table is replaced once the new one is attached and compared; --rename restores it under \
         another name"
    }
}

fn repo_hint(error: &RepoError) -> Option<&'static str> {
    Some(match error {
        RepoError::NotARepository { .. } => "chsnap init --repo DIR makes one",
        RepoError::AlreadyARepository { .. } => "it can be used as it is: chsnap list shows what it holds",
        RepoError::NotEmpty { .. } => "name an empty directory, or one that does not exist",
        RepoError::NoSeries { .. } => {
            "chsnap list --json has the series of each snapshot; a snapshot of it will do too"
        }
        RepoError::NewerFormat { .. } => "use the chsnap that made it, or a newer one",
        RepoError::Locked { .. } => {
            "wait for it, or let this command wait with --lock-wait 10m; chsnap unlock tells more"
        }
        RepoError::LockLost { .. } => {
            "this host was cut off or stopped for too long and taken for dead; nothing was committed: start again"
        }
        _ => return None,
    })
}

/// How to make room in a repository, which may be another one than the command's own, and may not exist yet.
pub(super) fn room_hint(repository: &Path) -> String {
    let found = Repository::open(repository, &chsnap::fs::real());
    let repository = shell(&repository.to_string_lossy());
    let is_empty = |found: &Repository| {
        let of_snapshots = found.snapshot_ids().is_ok_and(|(ids, _)| ids.is_empty());
        of_snapshots && found.removed_ids().is_ok_and(|ids| ids.is_empty())
    };
    let elsewhere = format!("make room on the filesystem of {repository}, or name a directory on a larger one");
    match &found {
        Err(_) => return elsewhere,
        Ok(found) if is_empty(found) => {
            return format!("{elsewhere}; the repository there has no snapshot yet, and can be used as it is");
        }
        Ok(_) => {}
    }
    format!(
        "chsnap --repo {repository} gc empties the trash there; chsnap --repo {repository} rm SNAPSHOT moves snapshots there"
    )
}

fn remote_hint(error: &RemoteError) -> Option<&'static str> {
    Some(match error {
        RemoteError::Address(InvalidAddress::Secret { .. }) => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_KEY or \
             CHSNAP_FTP_PASSWORD; files and instance roles of the service are read as well"
        }
        RemoteError::NotBuilt => "a package has them; cargo build --features remote makes one that does",
        RemoteError::NotARepository { .. } => "chsnap push makes one",
        RemoteError::NewerFormat { .. } => "use the chsnap that wrote it, or a newer one",
        RemoteError::SeveralRepositories { .. } | RemoteError::NoSuchRepository { .. } => {
            "--of REPOSITORY chooses one; chsnap remote list shows them"
        }
        RemoteError::OtherContent { .. } => "chsnap remote rm removes it",
        RemoteError::HasSecrets { .. } => {
            "chsnap remote rm removes it, and chsnap push --no-secrets then sends it without them; its objects stay in the \
             store until chsnap remote gc has deleted them after the grace period"
        }
        RemoteError::NotKept { .. } => "is the store full, or out of quota? see docs/remote.md",
        RemoteError::Condemned { .. } => "wait for the garbage collection, and push again",
        RemoteError::Damaged { .. } => {
            "chsnap remote verify --data tells what else is damaged; chsnap push SNAPSHOT --resend, where that snapshot \
             is, sends it again"
        }
        RemoteError::LocalRepository { .. } => {
            "push to a directory of its own; chsnap copy --to sends snapshots to a repository"
        }
        RemoteError::Store(error) => match error.kind {
            StoreErrorKind::Denied => {
                "are the credentials in the environment, still valid, and allowed to do this? see docs/remote.md"
            }
            StoreErrorKind::ClockSkewed => "set the clock of this host: it differs too much from that of the service",
            StoreErrorKind::NotFound => "is the bucket there, and is it in this region?",
            StoreErrorKind::Throttled => "--parallel and --bwlimit ask less of it",
            StoreErrorKind::Untrusted => {
                "is this the store's own address? if it is, this host must trust the authority that signed its certificate: SSL_CERT_FILE \
                 names a PEM file with trusted ones, in place of the system's"
            }
            StoreErrorKind::Unsupported | StoreErrorKind::Invalid | StoreErrorKind::Other => return None,
        },
        RemoteError::Address(_) => return None,
    })
}

const NO_SPACE: &str = "chsnap gc empties the trash; no blocks, no inodes or no quota are left";

fn fs_hint(error: &FsError) -> Option<&'static str> {
    Some(match error.kind() {
        chsnap::fs::ErrorKind::NoPermission => {
            "run chsnap as a user who may read and write there: root, or the server's own user"
        }
        chsnap::fs::ErrorKind::NoSpace => NO_SPACE,
        chsnap::fs::ErrorKind::ReadOnly => {
            "the filesystem is mounted read-only: mount it for writing (mount -o remount,rw); if it was, the kernel's log \
             (dmesg) says what went wrong. list, show, usage and diff work as it is"
        }
        _ => return None,
    })
}

fn server_hint(error: &ServerError) -> Option<&'static str> {
    if let Some(remedy) = error.access_remedy() {
        return Some(remedy);
    }
    Some(match error {
        ServerError::Unreachable { .. } => {
            "is the server running, and is --url its HTTP interface (port 8123, or 8443 for https)? list, show, \
             usage, rm, undo and gc work without it"
        }
        ServerError::NotClickHouse { .. } => "--url takes the HTTP interface (port 8123), not the native one (9000)",
        ServerError::Exception { code: code::READONLY, .. } => {
            "this user is readonly; FREEZE needs one who may ALTER (GRANT ALTER FREEZE PARTITION ON *.*)"
        }
        ServerError::Exception { code: code::ACCESS_DENIED, .. } => {
            "the user needs SELECT ON system.* and ALTER FREEZE PARTITION ON the tables"
        }
        error if error.is_full_disk() => NO_SPACE,
        ServerError::Deadline { .. } => "--query-timeout and --freeze-timeout set how long chsnap waits",
        ServerError::Cut { .. } => {
            "give this user a settings profile without them, or without the constraint or the readonly that holds them; or \
             name another user with --user"
        }
        ServerError::Short { .. } => {
            "a setting of the user's profile or a proxy in between cuts answers: give this user a settings profile without \
             limits of results, or name the server's own address with --url"
        }
        ServerError::Hidden { .. } => {
            "take this user out of these policies (ALTER ROW POLICY … TO ALL EXCEPT user), or name another one with --user"
        }
        ServerError::Certificates { .. } => "--ca-file takes a PEM file with the certificate of the authority",
        _ => return None,
    })
}
