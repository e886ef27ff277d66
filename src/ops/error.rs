//! What ends a use case without its result.

use std::path::PathBuf;

use crate::exec::{CopyPartError, ExecError, RestorePartError};
use crate::fs::{CopyError, ErrorKind, FsError};
use crate::model::{PartName, SnapshotId, TableName, count, size};
use crate::plan::{ReferenceError, Refusal, TableSkipReason};
use crate::repo::RepoError;
use crate::server::ServerError;

use super::gone::Gone;

/// A use case that failed; what it had begun is undone, or stands for the next run to undo.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The filesystem.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Something foreign in a shadow.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The snapshot that was named.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The repository belongs to another server.
    #[error("the repository belongs to the server with {bound}, and this one has {found}")]
    OtherServer {
        /// The server in `chsnap.json`.
        bound: String,
        /// The server that answered.
        found: String,
    },
    /// The repository lies where ClickHouse deletes.
    #[error("the repository {} lies in {}, where ClickHouse itself makes and deletes directories", .path.display(), .inside.display())]
    RepositoryInside {
        /// The repository.
        path: PathBuf,
        /// The server's directory.
        inside: PathBuf,
    },
    /// There is less free space than what is to be copied needs, or than must stay free.
    #[error("{} has {} free: {}", .path.display(), size(*.free_bytes), missing_space(.copies.as_deref(), *.min_free_bytes))]
    LowSpace {
        /// The repository.
        path: PathBuf,
        /// Free bytes.
        free_bytes: u64,
        /// What is to be copied, where that is what does not fit.
        copies: Option<Box<Copies>>,
        /// Bytes that must stay free.
        min_free_bytes: u64,
    },
    /// A path of the server is not visible here.
    #[error("the disk {disk:?} of the server is at {}, which is not visible here", .path.display())]
    DiskNotVisible {
        /// The disk.
        disk: String,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: FsError,
    },
    /// The directory is there, but it is another one than the server's.
    #[error("{} is not there, although the server lists the part as active", .path.display())]
    PartNotVisible {
        /// The part's path.
        path: PathBuf,
    },
    /// A freeze there can be neither found nor released from this host.
    #[error("the disk {disk:?}, which the server has, is not visible here at {}", .path.display())]
    ShadowOutOfSight {
        /// The disk.
        disk: String,
        /// Where it was when the freeze began.
        path: PathBuf,
    },
    /// What FREEZE puts there would stand elsewhere.
    #[error("{} of the disk {disk:?} is not a directory", .path.display())]
    ShadowElsewhere {
        /// The disk.
        disk: String,
        /// Its `shadow`.
        path: PathBuf,
    },
    /// The repository is on another filesystem than a disk.
    #[error("the disk {disk:?} at {} and the repository {} are not on one filesystem: a link between them fails", .path.display(), .repository.display())]
    OtherFilesystem {
        /// The disk.
        disk: String,
        /// Its path.
        path: PathBuf,
        /// The repository.
        repository: PathBuf,
        /// What the system said.
        #[source]
        source: FsError,
    },
    /// The repository's filesystem cannot keep something that a copy must have.
    #[error("the filesystem of the repository cannot keep the {what} of {}", .path.display())]
    CannotKeep {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: String,
    },
    /// The repository's filesystem has no hard links.
    #[error("the filesystem of the repository {} has no hard links: no snapshot could share a file with another", .path.display())]
    NoHardLinks {
        /// The repository.
        path: PathBuf,
    },
    /// A part could not be copied.
    #[error("cannot copy a part")]
    Copy(#[source] Box<CopyPartError>),
    /// A probe link was refused for want of rights.
    #[error("this user may not link files of the disk {disk:?} at {}", .path.display())]
    LinkRefused {
        /// The disk.
        disk: String,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: FsError,
    },
    /// Names that nothing on the server has.
    #[error("the server has no {}", .names.join(", no "))]
    NothingNamed {
        /// What was asked for.
        names: Vec<String>,
    },
    /// Names that nothing in the snapshot has.
    #[error("the snapshot has no {}", .names.join(", no "))]
    NotInSnapshot {
        /// What was asked for.
        names: Vec<String>,
    },
    /// Parts of the snapshot are not as they were taken.
    #[error("the snapshot {id} is damaged: {}", damage_of(.damage))]
    SnapshotDamaged {
        /// The snapshot.
        id: SnapshotId,
        /// What is wrong with it.
        damage: Vec<Damage>,
    },
    /// A part could not be placed.
    #[error(transparent)]
    RestorePart(RestorePartError),
    /// A directory to restore into lies in the repository.
    #[error("{} lies in the repository, where nothing is restored to", .path.display())]
    TargetInRepository {
        /// The directory.
        path: PathBuf,
    },
    /// A directory to restore into holds something.
    #[error("{} is not empty: it holds {entry:?}", .path.display())]
    TargetNotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of its entries.
        entry: String,
    },
    /// A disk is needed that is not here.
    #[error("the disk {disk:?} of the server is not visible here, or is no local one")]
    NoDisk {
        /// The disk.
        disk: String,
    },
    /// A restore would lose data, or break a replica, and was not told to.
    #[error("{}", .refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    RestoreRefused {
        /// The tables, with what would be lost.
        refusals: Vec<Refusal>,
    },
    /// Two tables would get one name.
    #[error("{}", .conflicts.join("; "))]
    NameConflict {
        /// Which.
        conflicts: Vec<String>,
    },
    /// The files of the server belong to a user whom this one may not give files to.
    #[error("the server's data belong to user {uid}, and this is user {user}, who may not give files away")]
    CannotGive {
        /// The server's user.
        uid: u32,
        /// This user.
        user: u32,
    },
    /// Another restore is at work there.
    #[error("another restore is at work in {}", .path.display())]
    TargetInUse {
        /// The directory.
        path: PathBuf,
    },
    /// A directory to restore into cannot be reached by links, and only links are allowed.
    #[error("cannot link files into {}: it is on another filesystem than the repository", .path.display())]
    TargetOutOfReach {
        /// The directory.
        path: PathBuf,
    },
    /// Not one table could be taken.
    #[error("none of the {count} tables could be taken; the first: {table}: {reason}")]
    NothingTaken {
        /// How many were tried.
        count: usize,
        /// The first of them.
        table: TableName,
        /// Why it could not.
        reason: TableSkipReason,
    },
    /// A snapshot that may only be removed knowingly.
    #[error("the snapshot {id} is {why}")]
    Guarded {
        /// The snapshot.
        id: SnapshotId,
        /// Why it is kept.
        why: String,
    },
    /// What a plan was made from is not so any more.
    #[error("snapshots or pins have changed since the plan was made; nothing was removed")]
    PlanIsOld,
    /// There is nothing to take back.
    #[error("there is no removed snapshot in the trash{}", .emptied.as_ref().map(|gone| format!(": {gone}")).unwrap_or_default())]
    NothingToUndo {
        /// What was unlinked last.
        emptied: Option<Box<Gone>>,
    },
    /// A snapshot that was named cannot be taken back any more.
    #[error("{0}")]
    Gone(Box<Gone>),
    /// It failed, and then not all of it could be undone.
    #[error("{error}")]
    Unfinished {
        /// Why it failed.
        error: Box<OpError>,
        /// What could not be undone, and why.
        pending: String,
    },
    /// The program was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Worker threads could not be started.
    #[error("cannot start worker threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl From<RestorePartError> for OpError {
    fn from(error: RestorePartError) -> Self {
        match error {
            RestorePartError::Copy(CopyPartError::Copy(CopyError::Interrupted { .. })) => Self::Interrupted,
            error => Self::RestorePart(error),
        }
    }
}

impl From<CopyPartError> for OpError {
    fn from(error: CopyPartError) -> Self {
        match error {
            CopyPartError::Copy(CopyError::Interrupted { .. }) => Self::Interrupted,
            CopyPartError::Copy(CopyError::Fs(error)) => Self::Fs(error),
            CopyPartError::Exec(error) => Self::Exec(error),
            error => Self::Copy(Box::new(error)),
        }
    }
}

/// Files that are to be copied into a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// How many parts they are of.
    pub parts: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// The largest of the parts, and its table.
    pub largest: (TableName, PartName),
    /// Bytes of that part.
    pub largest_bytes: u64,
}

/// What does not fit, and what must stay free.
fn missing_space(copies: Option<&Copies>, min_free_bytes: u64) -> String {
    let Some(Copies { parts, bytes, largest: (table, part), largest_bytes }) = copies else {
        return format!("less than the {} of --min-free", size(min_free_bytes));
    };
    let what = if *parts == 1 {
        format!("a copy of part {part} of {table} with {}", size(*bytes))
    } else {
        let largest = format!("the largest is {part} of {table} with {}", size(*largest_bytes));
        format!("copies of {} with {} ({largest})", count(*parts, "part"), size(*bytes))
    };
    match min_free_bytes {
        0 => format!("there is no room for {what}"),
        _ => format!("{what} would leave less than the {} of --min-free", size(min_free_bytes)),
    }
}

/// What is wrong with one part, or with a whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The table.
    pub table: TableName,
    /// The part, where it is one.
    pub part: Option<PartName>,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Some(part) => write!(f, "part {part} of {}: {}", self.table, self.problem),
            None => write!(f, "{}: {}", self.table, self.problem),
        }
    }
}

fn damage_of(damage: &[Damage]) -> String {
    let first = damage.first().map(ToString::to_string).unwrap_or_default();
    if damage.len() > 1 { format!("{first}, and {} more", damage.len() - 1) } else { first }
}

impl OpError {
    /// Whether there was no room for it.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        match self {
            Self::Fs(error) | Self::Repo(RepoError::Fs(error)) | Self::Exec(ExecError::Fs(error)) => {
                error.kind() == ErrorKind::NoSpace
            }
            Self::Server(error) => error.is_full_disk(),
            _ => false,
        }
    }

    /// Whether a guard refused, which a person may override knowingly.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        matches!(
            self,
            Self::OtherServer { .. }
                | Self::RepositoryInside { .. }
                | Self::LowSpace { .. }
                | Self::Guarded { .. }
                | Self::RestoreRefused { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Copies, OpError, TableName};

    #[test]
    fn a_lack_of_space_names_what_does_not_fit_in_sizes_that_people_read() {
        let part = |name: &str| name.to_owned().try_into().expect("a name");
        let said = |copies: Option<Copies>, min_free_bytes| {
            let (path, copies) = (PathBuf::from("/repo"), copies.map(Box::new));
            OpError::LowSpace { path, free_bytes: 3 << 30, copies, min_free_bytes }.to_string()
        };
        let copies = |parts, bytes| Copies {
            parts,
            bytes,
            largest: (TableName::new("d", "t"), part("all_1_1_0")),
            largest_bytes: 4 << 30,
        };
        assert_eq!(said(None, 10 << 30), "/repo has 3 GiB free: less than the 10 GiB of --min-free");
        assert_eq!(
            said(Some(copies(1, 4 << 30)), 0),
            "/repo has 3 GiB free: there is no room for a copy of part all_1_1_0 of d.t with 4 GiB"
        );
        assert_eq!(
            said(Some(copies(1200, 9 << 30)), 1 << 30),
            "/repo has 3 GiB free: copies of 1,200 parts with 9 GiB (the largest is all_1_1_0 of d.t with 4 GiB) would leave \
             less than the 1 GiB of --min-free"
        );
    }
}
