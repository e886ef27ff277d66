//! One writer at a time: on one host through a kernel lock, between hosts through a mark that its holder renews.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, ErrorKind, FileLock};
use crate::model::span;

use super::claim::{self, ClaimAttempt, ClaimOrigin, Claimant};
use super::error::RepoError;
use super::event::Event;
use super::holder::{HolderState, LockHolder};
use super::identity::ProcessState;

use super::mark::{Hold, LockMark};
use super::repository::{BoundServer, Repository};

/// A repository that only this process may change. The lock ends with the value, or with the process.
#[derive(Debug)]
pub struct Locked<'a> {
    repository: &'a Repository,
    /// `None` if there was no room for the mark: then the kernel lock is the only protection.
    hold: Option<Hold>,
    _file: FileLock,
}

/// The hold that was taken, unless there was no room for it, and its previous holder, unless it was free.
type Claim = (Option<Hold>, Option<(LockMark, ClaimOrigin)>);

const FILE: &str = "lock";
const RETRY: Duration = Duration::from_millis(100);
/// The interval on a network filesystem, where each look is a request to the server.
const RETRY_FAR: Duration = Duration::from_millis(500);

/// The holders that this process has waited for so far.
#[derive(Debug, Default)]
struct Waiting {
    holder: Option<String>,
}

impl Waiting {
    /// Notes once for each holder that this process waits for it. The line that a holder writes comes a moment after
    /// its lock.
    fn note(&mut self, holder: &LockHolder, wait: Duration) {
        let text = holder.to_string();
        if holder.pid != 0 && self.holder.as_ref() != Some(&text) {
            tracing::warn!("waiting up to {} for the lock, which {text} holds", span(wait));
            self.holder = Some(text);
        }
    }
}

impl Repository {
    /// Takes the lock, waiting for at most `wait` while another process holds it.
    ///
    /// A holder on this host that has ended does not matter. A holder on another host is watched, whatever `wait` is,
    /// until it proves to be alive by renewing its mark, or has been silent for as long as the mark allows.
    ///
    /// # Errors
    /// If it is held for longer, cannot be taken at all, or the repository is of a newer format.
    pub fn lock(&self, command: &str, now: DateTime<Utc>, wait: Duration) -> Result<Locked<'_>, RepoError> {
        self.check_writable_format()?;
        let is_far = fs::is_network_filesystem(self.dir());
        let begun = Instant::now();
        // A lock on the server can outlive a host that died with it, so there the mark alone decides.
        let mut waiting = Waiting::default();
        let file = if is_far { FileLock::open(self.dir(), FILE)? } else { self.lock_file(begun, wait, &mut waiting)? };
        let pause = if is_far { RETRY_FAR } else { RETRY };
        let (hold, before) = match Claimant::new(self, pause) {
            Ok(mut claimant) => self.claim(&mut claimant, begun, wait, &mut waiting)?,
            // A full disk must not prevent `gc` from making room.
            Err(RepoError::Fs(error)) if error.kind() == ErrorKind::NoSpace && !is_far => {
                tracing::warn!(error = crate::monitor::chain(&error), "other hosts cannot see the lock");
                (None, None)
            }
            Err(error) => return Err(error),
        };
        self.locked(command, now, file, hold, before)
    }

    /// Takes the lock from its holder. The previous holder finds out before its next write that matters.
    ///
    /// # Errors
    /// If it cannot be taken.
    pub fn lock_by_force(&self, command: &str, now: DateTime<Utc>) -> Result<Locked<'_>, RepoError> {
        self.check_writable_format()?;
        let file = FileLock::open(self.dir(), FILE)?;
        let mut claimant = Claimant::new(self, RETRY)?;
        loop {
            if let ClaimAttempt::Taken(hold, before) = claimant.attempt(true)? {
                return self.locked(command, now, file, Some(hold), before);
            }
        }
    }

    fn lock_file(&self, begun: Instant, wait: Duration, waiting: &mut Waiting) -> Result<FileLock, RepoError> {
        loop {
            match FileLock::try_acquire(self.dir(), FILE)? {
                Ok(file) => return Ok(file),
                Err(text) => {
                    let holder = serde_json::from_str(&text).unwrap_or_else(|_| LockHolder::unknown());
                    if begun.elapsed() >= wait {
                        return Err(self.held_by(holder));
                    }
                    waiting.note(&holder, wait);
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn claim(
        &self,
        claimant: &mut Claimant,
        begun: Instant,
        wait: Duration,
        waiting: &mut Waiting,
    ) -> Result<Claim, RepoError> {
        let mut is_noted = false;
        loop {
            match claimant.attempt(false)? {
                ClaimAttempt::Taken(hold, before) => return Ok((Some(hold), before)),
                ClaimAttempt::Held(mark, true) if begun.elapsed() >= wait => {
                    return Err(self.held_by(self.holder_of(&mark)));
                }
                ClaimAttempt::Held(mark, is_sure) => {
                    if !is_sure && !is_noted {
                        is_noted = true;
                        let (holder, seconds) = (self.holder_of(&mark), mark.silence.as_secs());
                        tracing::warn!("watching whether {holder} still lives, for at most {seconds} s");
                    }
                    if is_sure {
                        waiting.note(&self.holder_of(&mark), wait);
                    }
                    std::thread::sleep(if fs::is_network_filesystem(self.dir()) { RETRY_FAR } else { RETRY });
                }
                ClaimAttempt::Again => {}
            }
        }
    }

    fn locked(
        &self,
        command: &str,
        now: DateTime<Utc>,
        mut file: FileLock,
        hold: Option<Hold>,
        before: Option<(LockMark, ClaimOrigin)>,
    ) -> Result<Locked<'_>, RepoError> {
        let previous = before.as_ref().map(|(mark, _)| self.holder_of(mark));
        let holder = LockHolder::own(now, command, hold.as_ref().map(Hold::nonce));
        let text = serde_json::to_string(&holder).expect("a holder has only string keys");
        // Only processes that find the lock taken read this text: a full disk must not prevent `gc` from making room.
        if let Err(error) = file.describe(&text) {
            tracing::warn!(%error, "cannot write the lock's holder");
        }
        let locked = Locked { repository: self, hold, _file: file };
        if let (Some((_, taken_as)), Some(previous)) = (before, previous) {
            locked.take_over(&previous, taken_as, now)?;
        }
        Ok(locked)
    }

    fn held_by(&self, holder: LockHolder) -> RepoError {
        RepoError::Locked { path: self.path().to_owned(), holder: Box::new(holder) }
    }

    /// The holder of a mark: as described in the file `lock`, or else by the mark's own name.
    fn holder_of(&self, mark: &LockMark) -> LockHolder {
        let text = self.dir().read(FILE, 64 << 10).unwrap_or_default();
        let said = serde_json::from_slice::<LockHolder>(&text).ok();
        said.filter(|holder| holder.is_of(mark.nonce)).unwrap_or_else(|| LockHolder {
            host: mark.owner.host.clone(),
            pid: mark.owner.pid,
            ..LockHolder::unknown()
        })
    }

    /// The present holder of the lock, if any. This does not wait, and changes nothing.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn lock_holder(&self) -> Result<Option<(LockHolder, HolderState)>, RepoError> {
        if let Some((mark, life)) = claim::look(self)? {
            let state = match life {
                ProcessState::Runs => HolderState::Runs,
                ProcessState::Gone => HolderState::Gone,
                ProcessState::Unknown => HolderState::Elsewhere,
            };
            return Ok(Some((self.holder_of(&mark), state)));
        }
        if fs::is_network_filesystem(self.dir()) || self.dir().find(FILE)?.is_none() {
            return Ok(None);
        }
        let text = FileLock::try_acquire(self.dir(), FILE)?.err();
        Ok(text.map(|text| (serde_json::from_str(&text).unwrap_or_else(|_| LockHolder::unknown()), HolderState::Runs)))
    }
}

impl<'a> Locked<'a> {
    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Checks, by asking the filesystem, that this process still holds the lock. Call this before each step that cannot
    /// be reverted: a process that was stopped, or cut off from its server, may have been taken for dead.
    ///
    /// # Errors
    /// If another process has the lock, or this cannot be determined.
    pub fn confirm(&self) -> Result<(), RepoError> {
        let Some(hold) = &self.hold else { return Ok(()) };
        if hold.confirm()? {
            return Ok(());
        }
        let taker = claim::look(self.repository).ok().flatten().map(|(mark, _)| self.repository.holder_of(&mark));
        Err(RepoError::LockLost { path: self.repository.path().to_owned(), taker: taker.map(Box::new) })
    }

    /// Fences off the previous holder, and records that the lock was taken over.
    fn take_over(&self, previous: &LockHolder, taken_as: ClaimOrigin, now: DateTime<Utc>) -> Result<(), RepoError> {
        if taken_as != ClaimOrigin::Gone {
            // The previous holder may only have been slow. The tree that it was building goes to the trash, so that its
            // commit, the rename of `incoming/<id>`, finds nothing there, however late it comes.
            let incoming = self.incoming_dir()?;
            for entry in incoming.entries_with_kind()? {
                let name = entry.name.to_string_lossy();
                if entry.kind == fs::EntryKind::Directory && name.parse::<crate::model::SnapshotId>().is_ok() {
                    self.discard(&incoming, &name)?;
                }
            }
        }
        let reason = match taken_as {
            ClaimOrigin::Gone => "gone",
            ClaimOrigin::Silent => "silent",
            ClaimOrigin::Broken => "broken",
        };
        let LockHolder { host, pid, command, .. } = previous.clone();
        self.record_if_there_is_room(now, &Event::TakenOver { host, pid, command, reason: reason.to_owned() })?;
        Ok(())
    }

    pub(super) fn incoming_dir(&self) -> Result<Dir, RepoError> {
        self.repository.ensure("incoming")
    }

    pub(super) fn snapshots_dir(&self) -> Result<Dir, RepoError> {
        self.repository.ensure("snapshots")
    }

    pub(super) fn trash_dir(&self) -> Result<Dir, RepoError> {
        self.repository.ensure("trash")
    }

    /// Records the server that the repository belongs to.
    ///
    /// # Errors
    /// If `chsnap.json` cannot be replaced, or the lock is lost.
    pub fn bind(&self, server: BoundServer) -> Result<(), RepoError> {
        self.confirm()?;
        self.repository.write_server(server)
    }
}
