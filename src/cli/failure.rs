//! Errors as a person reads them: what failed, why, what to do about it, and the exit code.

use chsnap::exec::{ExecError, RestorePartError};
use chsnap::fs::FsError;
use chsnap::ops::OpError;
use chsnap::plan::{ReferenceError, Refusal, TableSkipReason, nearest};
use chsnap::repo::RepoError;
use chsnap::server::{ServerError, UrlProblem, code};
use clap::error::ErrorKind;
use serde_json::{Value, json};

use super::DAMAGED;
use super::output::Output;
use super::render;
use super::signals;
use super::streams::{write_stderr, write_stdout};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_REPOSITORY: u8 = 10;
const LOCKED: u8 = 11;
pub(super) const GUARD: u8 = 13;

/// Damaged parts that a person is shown besides the first.
const DAMAGE_SHOWN: usize = 100;

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    causes: Vec<String>,
    /// Further problems, each an error of its own to the person who reads.
    others: Vec<String>,
    hint: Option<String>,
    code: u8,
    /// What else a program may want to know, in the JSON error under a name.
    document: Option<Box<(&'static str, serde_json::Value)>>,
    /// Whether there was no server: it may be starting.
    is_absent_server: bool,
}

impl Failure {
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

    /// One whose exit code is known already.
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

    /// The failure and its causes in one line.
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
            if self.code == DAMAGED {
                let schema = output.schema();
                output.json(&self.with_fields(json!({
                    "schema": schema, "state": "damaged", "reason": message, "hint": hint, "warnings": [],
                })));
            } else if self.code == GUARD {
                let schema = output.schema();
                let refused =
                    json!({"schema": schema, "state": "refused", "reason": message, "hint": hint, "warnings": []});
                output.json(&refused);
            } else {
                let cut = |cause: &String| render::cut(cause, render::MESSAGE_LIMIT);
                let (causes, code) = (self.causes.iter().chain(&self.others).map(cut).collect::<Vec<_>>(), self.code);
                let schema = "chsnap.error.v1";
                let error =
                    json!({"schema": schema, "error": message, "causes": causes, "hint": hint, "exit_code": code});
                write_stderr(&format!("{}\n", self.with_fields(error)));
            }
            return self.code;
        }
        output.problem("error", &self.message);
        for cause in &self.causes {
            output.detail("caused by", cause);
        }
        for other in &self.others {
            output.problem("error", other);
        }
        if let Some(hint) = &self.hint {
            output.detail("hint", hint);
        }
        self.code
    }
}

/// Prints what clap says of a command line, or the help that was asked for.
pub(super) fn usage(error: &clap::Error, as_json: bool) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        return u8::from(write_stdout(&error.render().ansi().to_string(), is_terminal).is_err());
    }
    if as_json {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        write_stderr(&format!(
            "{}\n",
            json!({"schema": "chsnap.error.v1", "error": message, "causes": [], "hint": null, "exit_code": USAGE})
        ));
    } else if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        write_stderr(&error.render().ansi().to_string());
    } else {
        write_stderr(&error.render().to_string());
    }
    USAGE
}

impl From<OpError> for Failure {
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
            OpError::Repo(RepoError::NotARepository { .. }) => NO_REPOSITORY,
            OpError::Repo(RepoError::Locked { .. } | RepoError::LockLost { .. }) => LOCKED,
            OpError::Repo(RepoError::NoSeries { .. })
            | OpError::Reference(
                ReferenceError::Invalid { .. }
                | ReferenceError::NoSuchName { .. }
                | ReferenceError::InTrash { .. }
                | ReferenceError::AmbiguousName { .. },
            )
            | OpError::NameConflict { .. }
            | OpError::Server(ServerError::Url(_)) => USAGE,
            OpError::SnapshotDamaged { .. } => DAMAGED,
            error if error.is_guard() => GUARD,
            _ => FAILED,
        };
        let hint = hint(&error);
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some libraries print their cause themselves, and then give it as their source again.
            if causes.last().is_none_or(|last: &String| !last.ends_with(&text)) {
                causes.push(text);
            }
            source = cause.source();
        }
        let mut document = None;
        if let OpError::SnapshotDamaged { damage, .. } = &error {
            causes.extend(damage.iter().skip(1).take(DAMAGE_SHOWN).map(ToString::to_string));
            let named = |damage: &chsnap::ops::Damage| json!({"database": damage.table.database, "table": damage.table.table, "part": damage.part, "found": damage.problem});
            document = Some(Box::new(("damage", damage.iter().map(named).collect())));
        }
        let is_absent_server = is_absent(&error);
        Self { message: error.to_string(), causes, others: Vec::new(), hint, code, document, is_absent_server }
    }
}

/// A server that is starting refuses connections, or a proxy before it answers in its place.
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
        OpError::Reference(ReferenceError::NoSuchName { nearest: Some(nearest), .. }) => {
            return Some(format!("did you mean {nearest}? chsnap list shows the snapshots that there are"));
        }
        OpError::Reference(ReferenceError::NotFound { nearest: Some(nearest), .. }) => {
            return Some(format!("did you mean {nearest}? chsnap list shows the snapshots that there are"));
        }
        OpError::Reference(ReferenceError::Invalid { text }) => {
            return nearest(text, ["latest"]).map(|near| format!("did you mean {near}?"));
        }
        OpError::Reference(
            ReferenceError::NotFound { .. } | ReferenceError::NoSuchName { .. } | ReferenceError::TooFarBack { .. },
        ) => "chsnap list shows the snapshots that there are",
        OpError::Reference(ReferenceError::InTrash { id }) => return Some(format!("chsnap undo {id} brings it back")),
        OpError::Reference(ReferenceError::AmbiguousName { .. }) => "name one of them by its id",
        OpError::Reference(ReferenceError::Ambiguous { .. }) => "write more of the id",
        OpError::OtherServer { .. } => {
            "each server has a repository of its own; if this one has only moved, --allow-other-server takes it"
        }
        OpError::RepositoryInside { .. } => {
            "make the repository beside that directory, for example in .../clickhouse/chsnap"
        }
        OpError::LowSpace { .. } => "chsnap gc empties the trash; chsnap rm moves snapshots there",
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
        OpError::NotInSnapshot { .. } => "chsnap show lists the tables of a snapshot, which are named database.table",
        OpError::SnapshotDamaged { .. } => {
            "nothing was restored; --table and --partition choose what is sound, and an older snapshot may have the part"
        }
        OpError::TargetNotEmpty { .. } => "name an empty directory, or one that is not there yet",
        OpError::TargetInRepository { .. } => "name a directory outside of the repository",
        OpError::RestoreRefused { refusals } => refusal_hint(refusals),
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
        OpError::Guarded { .. } => "--force removes it all the same",
        _ => return None,
    };
    Some(text.to_owned())
}

fn refusal_hint(refusals: &[Refusal]) -> &'static str {
    if refusals.iter().any(|refusal| matches!(refusal, Refusal::Replicated { .. })) {
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
        RepoError::NotEmpty { .. } => "name an empty directory, or one that is not there yet",
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

const NO_SPACE: &str = "chsnap gc empties the trash; no blocks, no inodes or no quota are left";

fn fs_hint(error: &FsError) -> Option<&'static str> {
    Some(match error.kind() {
        chsnap::fs::ErrorKind::NoPermission => {
            "run chsnap as a user who may read and write there: root, or the server's own user"
        }
        chsnap::fs::ErrorKind::NoSpace => NO_SPACE,
        _ => return None,
    })
}

/// What to write instead of such a URL.
pub(super) fn url_hint(problem: UrlProblem) -> &'static str {
    match problem {
        UrlProblem::NotHttp => "for example http://127.0.0.1:8123",
        UrlProblem::UserInfo => {
            "give the address alone; the user with --user, and the password in CHSNAP_PASSWORD or --password-file"
        }
        UrlProblem::Query => {
            "give the address alone: the user with --user, the password in CHSNAP_PASSWORD or --password-file; settings \
             belong in the user's profile on the server, and cannot be given here"
        }
    }
}

fn server_hint(error: &ServerError) -> Option<&'static str> {
    Some(match error {
        ServerError::Unreachable { .. } => {
            "is the server running, and is --url its HTTP interface (port 8123, or 8443 for https)? list, show, \
             usage, rm, undo and gc work without it"
        }
        ServerError::NotClickHouse { .. } => "--url takes the HTTP interface (port 8123), not the native one (9000)",
        ServerError::Authentication { .. } => "give --user, and the password in CHSNAP_PASSWORD or --password-file",
        ServerError::Exception { code: code::READONLY, .. } => {
            "this user is readonly; FREEZE needs one who may ALTER (GRANT ALTER FREEZE PARTITION ON *.*)"
        }
        ServerError::Exception { code: code::ACCESS_DENIED, .. } => {
            "the user needs SELECT ON system.* and ALTER FREEZE PARTITION ON the tables"
        }
        error if error.is_full_disk() => NO_SPACE,
        ServerError::Deadline { .. } => "--query-timeout and --freeze-timeout set how long chsnap waits",
        ServerError::Url(problem) => url_hint(*problem),
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
