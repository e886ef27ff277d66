//! One writer at a time: on one host by a lock of the kernel's, between hosts by a mark that its holder renews.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, ErrorKind, FileLock};

use super::claim::{self, Attempt, Claimant, TakenAs};
use super::error::RepoError;
use super::event::Event;
use super::holder::{Holder, HolderState};
use super::identity::Life;

use super::mark::{Hold, Mark};
use super::repository::{BoundServer, Repository};

/// A repository that this process, and no other, may change. The lock ends with the value, or with the process.
#[derive(Debug)]
pub struct Locked<'a> {
    repository: &'a Repository,
    /// None where there was no room for it: then the kernel's lock is all there is.
    hold: Option<Hold>,
    _file: FileLock,
}

/// What was taken, unless there was no room for it, and from whom, unless it was free.
type Claim = (Option<Hold>, Option<(Mark, TakenAs)>);

const FILE: &str = "lock";
const RETRY: Duration = Duration::from_millis(100);
/// On a network filesystem, where a look is a question to the server.
const RETRY_FAR: Duration = Duration::from_millis(500);

impl Repository {
    /// Takes the lock, waiting for at most `wait` while another process holds it.
    ///
    /// A holder on this host that has ended is no hindrance. One on another host is watched, whatever `wait` says,
    /// until it proves to live by renewing its mark, or has been silent for as long as the mark allows.
    ///
    /// # Errors
    /// If it is held for longer, cannot be taken at all, or the repository is of a newer format.
    pub fn lock(&self, command: &str, now: DateTime<Utc>, wait: Duration) -> Result<Locked<'_>, RepoError> {
        self.check_writable_format()?;
        let is_far = fs::is_network_filesystem(self.dir());
        let begun = Instant::now();
        // A lock of the server's can outlive a host that died with it, so there the mark alone decides.
        let file = if is_far { FileLock::open(self.dir(), FILE)? } else { self.lock_file(begun, wait)? };
        let pause = if is_far { RETRY_FAR } else { RETRY };
        let (hold, before) = match Claimant::new(self, pause) {
            Ok(mut claimant) => self.claim(&mut claimant, begun, wait, pause)?,
            // A full disk must not keep `gc` from making room.
            Err(RepoError::Fs(error)) if error.kind() == ErrorKind::NoSpace && !is_far => {
                tracing::warn!(error = crate::monitor::chain(&error), "other hosts are not told of the lock");
                (None, None)
            }
            Err(error) => return Err(error),
        };
        self.locked(command, now, file, hold, before)
    }

    /// Takes the lock from whoever has it. The one that loses it finds out before it next changes anything that counts.
    ///
    /// # Errors
    /// If it cannot be taken.
    pub fn lock_by_force(&self, command: &str, now: DateTime<Utc>) -> Result<Locked<'_>, RepoError> {
        self.check_writable_format()?;
        let file = FileLock::open(self.dir(), FILE)?;
        let mut claimant = Claimant::new(self, RETRY)?;
        loop {
            if let Attempt::Taken(hold, before) = claimant.attempt(true)? {
                return self.locked(command, now, file, Some(hold), before);
            }
        }
    }

    fn lock_file(&self, begun: Instant, wait: Duration) -> Result<FileLock, RepoError> {
        loop {
            match FileLock::try_acquire(self.dir(), FILE)? {
                Ok(file) => return Ok(file),
                Err(_) if begun.elapsed() < wait => std::thread::sleep(RETRY),
                Err(text) => {
                    return Err(self.held_by(serde_json::from_str(&text).unwrap_or_else(|_| Holder::unknown())));
                }
            }
        }
    }

    fn claim(
        &self,
        claimant: &mut Claimant,
        begun: Instant,
        wait: Duration,
        pause: Duration,
    ) -> Result<Claim, RepoError> {
        let mut is_told = false;
        loop {
            match claimant.attempt(false)? {
                Attempt::Taken(hold, before) => return Ok((Some(hold), before)),
                Attempt::Held(mark, true) if begun.elapsed() >= wait => return Err(self.held_by(self.holder_of(&mark))),
                Attempt::Held(mark, is_sure) => {
                    if !is_sure && !is_told {
                        is_told = true;
                        let (holder, seconds) = (self.holder_of(&mark), mark.silence.as_secs());
                        tracing::warn!("watching whether {holder} still lives, for at most {seconds} s");
                    }
                    std::thread::sleep(pause);
                }
                Attempt::Again => {}
            }
        }
    }

    fn locked(
        &self,
        command: &str,
        now: DateTime<Utc>,
        mut file: FileLock,
        hold: Option<Hold>,
        before: Option<(Mark, TakenAs)>,
    ) -> Result<Locked<'_>, RepoError> {
        let previous = before.as_ref().map(|(mark, _)| self.holder_of(mark));
        let holder = Holder::own(now, command, hold.as_ref().map(Hold::nonce));
        let text = serde_json::to_string(&holder).expect("a holder has only string keys");
        // Only those who find the lock taken read it: a full disk must not keep `gc` from making room.
        if let Err(error) = file.describe(&text) {
            tracing::warn!(%error, "cannot write the lock's holder");
        }
        let locked = Locked { repository: self, hold, _file: file };
        if let (Some((_, taken_as)), Some(previous)) = (before, previous) {
            locked.take_over(&previous, taken_as, now)?;
        }
        Ok(locked)
    }

    fn held_by(&self, holder: Holder) -> RepoError {
        RepoError::Locked { path: self.path().to_owned(), holder: Box::new(holder) }
    }

    /// Who a mark belongs to: as it has said in the file `lock`, else as far as the mark's own name tells.
    fn holder_of(&self, mark: &Mark) -> Holder {
        let text = self.dir().read(FILE, 64 << 10).unwrap_or_default();
        let said = serde_json::from_slice::<Holder>(&text).ok();
        said.filter(|holder| holder.is_of(mark.nonce)).unwrap_or_else(|| Holder {
            host: mark.owner.host.clone(),
            pid: mark.owner.pid,
            ..Holder::unknown()
        })
    }

    /// Who holds the lock, if anyone does. Nothing is waited for, and nothing changed.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn lock_holder(&self) -> Result<Option<(Holder, HolderState)>, RepoError> {
        if let Some((mark, life)) = claim::look(self)? {
            let state = match life {
                Life::Runs => HolderState::Runs,
                Life::Gone => HolderState::Gone,
                Life::Unknown => HolderState::Elsewhere,
            };
            return Ok(Some((self.holder_of(&mark), state)));
        }
        if fs::is_network_filesystem(self.dir()) || self.dir().find(FILE)?.is_none() {
            return Ok(None);
        }
        let text = FileLock::try_acquire(self.dir(), FILE)?.err();
        Ok(text.map(|text| (serde_json::from_str(&text).unwrap_or_else(|_| Holder::unknown()), HolderState::Runs)))
    }
}

impl<'a> Locked<'a> {
    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Makes sure, by asking the filesystem, that this process still holds the lock. To be called before each step that
    /// cannot be taken back: a process that was stopped, or cut off from its server, may have been taken for dead.
    ///
    /// # Errors
    /// If another process has the lock, or it cannot be told.
    pub fn confirm(&self) -> Result<(), RepoError> {
        let Some(hold) = &self.hold else { return Ok(()) };
        if hold.confirm()? {
            return Ok(());
        }
        let taker = claim::look(self.repository).ok().flatten().map(|(mark, _)| self.repository.holder_of(&mark));
        Err(RepoError::LockLost { path: self.repository.path().to_owned(), taker: taker.map(Box::new) })
    }

    /// Fences off who held the lock before, and writes down that it was taken over.
    fn take_over(&self, previous: &Holder, taken_as: TakenAs, now: DateTime<Utc>) -> Result<(), RepoError> {
        if taken_as != TakenAs::Gone {
            // It may only have been slow. What it was building goes to the trash, so that its commit, the rename of
            // `incoming/<id>`, finds nothing there, however late it comes.
            let incoming = self.incoming_dir()?;
            for entry in incoming.entries_with_kind()? {
                let name = entry.name.to_string_lossy();
                if entry.kind == fs::Kind::Directory && name.parse::<crate::model::SnapshotId>().is_ok() {
                    self.discard(&incoming, &name)?;
                }
            }
        }
        let reason = match taken_as {
            TakenAs::Gone => "gone",
            TakenAs::Silent => "silent",
            TakenAs::Broken => "broken",
        };
        let Holder { host, pid, command, .. } = previous.clone();
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

    /// Writes down the server that the repository belongs to.
    ///
    /// # Errors
    /// If `chsnap.json` cannot be replaced, or the lock is lost.
    pub fn bind(&self, server: BoundServer) -> Result<(), RepoError> {
        self.confirm()?;
        self.repository.write_server(server)
    }
}
