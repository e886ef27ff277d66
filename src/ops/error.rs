//! Errors that end a use case without its result.

use std::path::PathBuf;

use crate::exec::{CopyPartError, ExecError, RestorePartError};
use crate::fs::{CopyError, ErrorKind, FsError};
use crate::model::{PartName, PartitionId, SnapshotId, TableName, count, size, thousands};
use crate::plan::{CopyRefusal, ReferenceError, TableRefusal, TableSkipReason};
use crate::remote::RemoteError;
use crate::repo::RepoError;
use crate::server::ServerError;

use super::gone::DeletedSnapshot;
use super::import_error::ImportError;

/// The failure of a use case. What it had begun is undone, or left for the next run to undo.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A remote repository failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A snapshot that is to be pushed is damaged here.
    #[error("cannot push {id}: {problem}")]
    PushDamaged {
        /// The snapshot.
        id: SnapshotId,
        /// The problem with it.
        problem: String,
    },
    /// The repository refuses a snapshot that is to be pulled.
    #[error("cannot pull {id}: {}", .refusal.to_string().replace("the target", "the repository"))]
    PullRefused {
        /// The snapshot.
        id: SnapshotId,
        /// The reason.
        refusal: CopyRefusal,
    },
    /// The pulled data differ from the record of the snapshot.
    #[error("cannot pull {id}: {problem}")]
    PullDamaged {
        /// The snapshot.
        id: SnapshotId,
        /// The problem with it.
        problem: String,
    },
    /// The filesystem failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A shadow contains something foreign.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The reference to a snapshot cannot be resolved.
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
    /// A repository to copy to belongs to another server than the source repository.
    #[error(
        "the target repository belongs to the server with {bound}, and the snapshots are of the server with {found}"
    )]
    CopyOfOtherServer {
        /// The server of the target.
        bound: String,
        /// The server of the source.
        found: String,
    },
    /// A repository was to be copied into itself.
    #[error("cannot copy {} to {}: it is the same repository, or one of them is inside the other", .source_path.display(), .target.display())]
    CopyIntoItself {
        /// The target repository.
        target: PathBuf,
        /// The source repository.
        source_path: PathBuf,
    },
    /// The repository is inside a directory in which ClickHouse deletes files.
    #[error("the repository {} is inside {}, where ClickHouse itself makes and deletes directories", .path.display(), .inside.display())]
    RepositoryInside {
        /// The repository.
        path: PathBuf,
        /// The server's directory.
        inside: PathBuf,
    },
    /// There is less free space than the copies need, or than must stay free.
    #[error("{} has {} free: {}", .path.display(), size(*.free_bytes), missing_space(.copies.as_deref(), *.min_free_bytes))]
    LowSpace {
        /// The repository.
        path: PathBuf,
        /// Free bytes.
        free_bytes: u64,
        /// The bytes of the copies, if these do not fit.
        copies: Option<Box<Copies>>,
        /// Bytes that must stay free.
        min_free_bytes: u64,
    },
    /// There are fewer free inodes than the copies need.
    #[error("{} has {}: the copies need {}", .path.display(), count(*.free_inodes, "free inode"), thousands(*.inodes))]
    LowInodes {
        /// The repository.
        path: PathBuf,
        /// Free inodes.
        free_inodes: u64,
        /// Files and directories that would be made.
        inodes: u64,
    },
    /// A path of the server is not visible here.
    #[error("the disk {disk:?} of the server is at {}, which is not visible here", .path.display())]
    DiskNotVisible {
        /// The disk.
        disk: String,
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: FsError,
    },
    /// The directory exists, but it is not the server's.
    #[error("{} is not there, although the server lists the part as active", .path.display())]
    PartNotVisible {
        /// The part's path.
        path: PathBuf,
    },
    /// A freeze on that disk can be neither found nor released from this host.
    #[error("the disk {disk:?}, which the server has, is not visible here at {}", .path.display())]
    ShadowOutOfSight {
        /// The disk.
        disk: String,
        /// Its path when the freeze began.
        path: PathBuf,
    },
    /// FREEZE would put its links in another place than the disk's own `shadow`.
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
        /// The system's error.
        #[source]
        source: FsError,
    },
    /// The repository's filesystem cannot keep metadata that a copy must have.
    #[error("the filesystem of the repository cannot keep the {what} of {}", .path.display())]
    CannotKeep {
        /// The file.
        path: PathBuf,
        /// The metadata.
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
    /// The system refused a probe link for lack of permission.
    #[error("this user may not link files of the disk {disk:?} at {}", .path.display())]
    LinkRefused {
        /// The disk.
        disk: String,
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: FsError,
    },
    /// Nothing on the server has these names.
    #[error("the server has no {}", .names.join(", no "))]
    NothingNamed {
        /// The requested names.
        names: Vec<String>,
    },
    /// Nothing in the snapshot has these names.
    #[error("the snapshot has no {}", .names.join(", no "))]
    NotInSnapshot {
        /// The requested names.
        names: Vec<String>,
    },
    /// No wanted table of the snapshot has these partitions.
    #[error("no wanted table of the snapshot has the partition {}", .partitions.iter().map(|id| format!("{:?}", id.0)).collect::<Vec<_>>().join(", or "))]
    NoSuchPartition {
        /// The requested partitions.
        partitions: Vec<PartitionId>,
    },
    /// The server does not know the cluster.
    #[error("the server knows no cluster {cluster}; it knows {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
    NoCluster {
        /// The requested cluster.
        cluster: String,
        /// The clusters that it knows.
        known: Vec<String>,
    },
    /// Parts of the snapshot are not as they were when it was made.
    #[error("the snapshot {id} is damaged: {}", damage_of(.damage))]
    SnapshotDamaged {
        /// The snapshot.
        id: SnapshotId,
        /// The problem with it.
        damage: Vec<FoundDamage>,
    },
    /// A part could not be placed in a restore.
    #[error(transparent)]
    RestorePart(RestorePartError),
    /// A directory to restore into is inside the repository.
    #[error("{} is inside the repository, where nothing is restored to", .path.display())]
    TargetInRepository {
        /// The directory.
        path: PathBuf,
    },
    /// A directory to restore into is not empty.
    #[error("{} is not empty: it holds {entry:?}", .path.display())]
    TargetNotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of its entries.
        entry: String,
    },
    /// A restore needs a disk that is not here.
    #[error("the disk {disk:?} of the server is not visible here, or is no local one")]
    NoDisk {
        /// The disk.
        disk: String,
    },
    /// A restore would lose data, or break a replica, and no option allows that.
    #[error("{}", .refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    RestoreRefused {
        /// The tables, with what would be lost.
        refusals: Vec<TableRefusal>,
    },
    /// Two tables would get one name.
    #[error("{}", .conflicts.join("; "))]
    NameConflict {
        /// The conflicts.
        conflicts: Vec<String>,
    },
    /// The server's files belong to a user to whom this user may not give files.
    #[error("the server's data belong to user {uid}, and this is user {user}, who may not give files away")]
    CannotGive {
        /// The server's user.
        uid: u32,
        /// This user.
        user: u32,
    },
    /// A foreign tree cannot become a snapshot.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// No table of a foreign tree is intact.
    #[error("the tree is damaged: {}", damage_of(.damage))]
    ImportDamaged {
        /// Every damaged part.
        damage: Vec<FoundDamage>,
    },
    /// ClickHouse's own RESTORE could not distinguish two files.
    #[error(
        "{one} and {other} have the same size and hash, and different bytes: one of them is damaged, or RESTORE would take one for the other"
    )]
    SameHash {
        /// One file, by its path in the tree.
        one: String,
        /// The other.
        other: String,
    },
    /// Another restore is working in the directory.
    #[error("another restore is running in {}", .path.display())]
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
    /// No table could be taken.
    #[error("none of the {count} tables could be taken; the first: {table}: {reason}")]
    NothingTaken {
        /// The number of tables that were tried.
        count: usize,
        /// The first of them.
        table: TableName,
        /// Why it could not be taken.
        reason: TableSkipReason,
    },
    /// The snapshot may only be removed with confirmation.
    #[error("the snapshot {id} is {why}")]
    Guarded {
        /// The snapshot.
        id: SnapshotId,
        /// Why it is kept.
        why: String,
    },
    /// The state that a plan was made from has changed.
    #[error("snapshots or pins have changed since the plan was made; nothing was removed")]
    PlanIsOld,
    /// No removal can be undone.
    #[error("there is no removed snapshot in the trash{}", .emptied.as_ref().map(|gone| format!(": {gone}")).unwrap_or_default())]
    NothingToUndo {
        /// The snapshot that was unlinked last.
        emptied: Option<Box<DeletedSnapshot>>,
    },
    /// A snapshot that was named cannot be brought back any more.
    #[error("{0}")]
    Gone(Box<DeletedSnapshot>),
    /// A use case failed, and not all of it could be undone.
    #[error("{error}")]
    Unfinished {
        /// Why it failed.
        error: Box<OpError>,
        /// The steps that could not be undone, with the reasons.
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

/// Files to be copied into a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copies {
    /// The number of their parts.
    pub parts: u64,
    /// The space that they need.
    pub bytes: u64,
    /// The largest of the parts, and its table.
    pub largest: (TableName, PartName),
    /// The space that it needs.
    pub largest_bytes: u64,
}

/// Describes the missing space, and the space that must stay free.
fn missing_space(copies: Option<&Copies>, min_free_bytes: u64) -> String {
    let Some(Copies { parts, bytes, largest: (table, part), largest_bytes }) = copies else {
        return match min_free_bytes {
            0 => "there is no room for the directories of another snapshot".to_owned(),
            _ => format!("less than the {} of --min-free", size(min_free_bytes)),
        };
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

/// Damage of one part, or of a whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundDamage {
    /// The table.
    pub table: TableName,
    /// The part, if it is one.
    pub part: Option<PartName>,
    /// The problem.
    pub problem: String,
}

impl std::fmt::Display for FoundDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Some(part) => write!(f, "part {part} of {}: {}", self.table, self.problem),
            None => write!(f, "{}: {}", self.table, self.problem),
        }
    }
}

fn damage_of(damage: &[FoundDamage]) -> String {
    let first = damage.first().map(ToString::to_string).unwrap_or_default();
    if damage.len() > 1 { format!("{first}, and {} more", damage.len() - 1) } else { first }
}

impl OpError {
    /// Whether the failure is a lack of space.
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

    /// Whether a guard refused, which a person may override deliberately.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        matches!(
            self,
            Self::OtherServer { .. }
                | Self::CopyOfOtherServer { .. }
                | Self::RepositoryInside { .. }
                | Self::LowSpace { .. }
                | Self::LowInodes { .. }
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
        assert_eq!(said(None, 0), "/repo has 3 GiB free: there is no room for the directories of another snapshot");
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
