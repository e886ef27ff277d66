//! The lock between hosts: one mark in `lock.d/`, which is either free or held.
//!
//! See `mark.rs` for how it changes hands, and `docs/decisions/0022-lock-between-hosts.md` for why.

use std::time::{Duration, Instant};

use crate::fs::{Dir, ErrorKind, FsError};

use super::error::RepoError;
use super::identity::{ProcessIdentity, ProcessState};
use super::mark::{Hold, LockMark, MarkRelease, Watch, swap};
use super::repository::Repository;

const DIRECTORY: &str = "lock.d";
const TAG: &str = "held";
/// How often an empty directory is read before it is taken for a new one: it may have been read in the middle of a
/// rename.
const LOOKS_AT_NOTHING: u32 = 3;

/// The state of `lock.d/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimState {
    /// Free, with the number of changes so far.
    Free(u64),
    /// Held by a process.
    Held(LockMark),
}

impl ClaimState {
    fn parse(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("free.") {
            return number.parse().ok().map(Self::Free);
        }
        name.parse().ok().filter(|mark: &LockMark| mark.tag == TAG).map(Self::Held)
    }

    fn number(&self) -> u64 {
        match self {
            Self::Free(number) => *number,
            Self::Held(mark) => mark.number,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Free(number) => free_name(*number),
            Self::Held(mark) => mark.to_string(),
        }
    }
}

fn free_name(number: u64) -> String {
    format!("free.{number}")
}

/// How a claim passed to its present holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimOrigin {
    /// Its holder has ended on this machine.
    Gone,
    /// Its holder, on another machine or in another container, was silent for too long.
    Silent,
    /// A user broke the lock.
    Broken,
}

/// The outcome of an attempt.
#[derive(Debug)]
pub(super) enum ClaimAttempt {
    /// This process now holds the claim; with its previous holder, unless it was free.
    Taken(Hold, Option<(LockMark, ClaimOrigin)>),
    /// Its holder is alive, or may be.
    Held(LockMark, IsKnownAlive),
    /// Another process was faster.
    Again,
}

/// Whether a holder is known to be alive.
pub(super) type IsKnownAlive = bool;

/// A process that wants the claim.
#[derive(Debug)]
pub(super) struct Claimant {
    dir: Dir,
    own: ProcessIdentity,
    watch: Option<Watch>,
    /// The longest time between two looks that counts as silence.
    most: Duration,
}

impl Claimant {
    /// Creates a claimant that looks every `pause`.
    ///
    /// # Errors
    /// If `lock.d` can be neither created nor opened.
    pub(super) fn new(repository: &Repository, pause: Duration) -> Result<Self, RepoError> {
        let dir = repository.find_dir(DIRECTORY)?.map_or_else(|| repository.ensure(DIRECTORY), Ok)?;
        Ok(Self { dir, own: ProcessIdentity::own(), watch: None, most: pause * 5 })
    }

    /// Reads the present state; if a late process has left another one, the newest counts.
    fn state(&self) -> Result<ClaimState, FsError> {
        for look in 0..LOOKS_AT_NOTHING {
            if look > 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            if let Some(state) = newest(&self.dir)? {
                return Ok(state);
            }
        }
        match self.dir.write_unsynced(free_name(0), 0o640, &[]) {
            Err(error) if error.kind() != ErrorKind::Exists => Err(error),
            _ => Ok(newest(&self.dir)?.unwrap_or(ClaimState::Free(0))),
        }
    }

    /// Tries to take the claim: a free one, one whose holder is gone, or, with `by_force`, any.
    pub(super) fn attempt(&mut self, by_force: bool) -> Result<ClaimAttempt, RepoError> {
        let state = self.state()?;
        let before = match &state {
            ClaimState::Free(_) => None,
            ClaimState::Held(mark) if by_force => Some((mark.clone(), ClaimOrigin::Broken)),
            ClaimState::Held(mark) => match self.judge(mark) {
                Ok(taken_as) => Some((mark.clone(), taken_as)),
                Err(is_sure) => return Ok(ClaimAttempt::Held(mark.clone(), is_sure)),
            },
        };
        let mark = LockMark::new(TAG.to_owned(), state.number() + 1, self.own.clone())?;
        if !swap(&self.dir, &state.name(), &mark.to_string())? {
            return Ok(ClaimAttempt::Again);
        }
        // A process that saw an empty directory long ago may have put a new mark next to the one that counts.
        if newest(&self.dir)? != Some(ClaimState::Held(mark.clone())) {
            self.dir.remove_file(mark.to_string())?;
            return Ok(ClaimAttempt::Again);
        }
        self.remove_others(&mark)?;
        Ok(ClaimAttempt::Taken(Hold::begin(self.dir.clone(), mark, MarkRelease::Free(free_name)), before))
    }

    fn remove_others(&self, mine: &LockMark) -> Result<(), FsError> {
        let mine = mine.to_string();
        for name in self.dir.fresh_names()? {
            if name != mine && ClaimState::parse(&name).is_some() {
                crate::fs::if_found(self.dir.remove_file(&name))?;
            }
        }
        Ok(())
    }

    /// Determines whether the holder is dead and how that is known; otherwise, whether it is known to be alive.
    fn judge(&mut self, mark: &LockMark) -> Result<ClaimOrigin, IsKnownAlive> {
        if mark.owner.is_same_process(&self.own) {
            return if mark.is_held_here(&self.dir) { Err(true) } else { Ok(ClaimOrigin::Gone) };
        }
        match mark.owner.life(&self.own) {
            ProcessState::Gone => Ok(ClaimOrigin::Gone),
            ProcessState::Runs => Err(true),
            ProcessState::Unknown => {
                let now = Instant::now();
                match &mut self.watch {
                    None => self.watch = Some(Watch::new(mark, now)),
                    Some(watch) => watch.look(mark, now, self.most),
                }
                let watch = self.watch.as_ref();
                let is_silent = watch.is_some_and(|watch| watch.quiet() >= mark.silence);
                if is_silent { Ok(ClaimOrigin::Silent) } else { Err(watch.is_some_and(Watch::has_moved)) }
            }
        }
    }
}

/// The state with the highest number, if there is any.
fn newest(dir: &Dir) -> Result<Option<ClaimState>, FsError> {
    let names = dir.fresh_names()?;
    Ok(names.iter().filter_map(|name| ClaimState::parse(name)).max_by_key(ClaimState::number))
}

/// Reads the state without changing anything; the second value says whether the holder is known to be alive or dead.
pub(super) fn look(repository: &Repository) -> Result<Option<(LockMark, ProcessState)>, RepoError> {
    let Some(dir) = repository.find_dir(DIRECTORY)? else { return Ok(None) };
    let Some(ClaimState::Held(mark)) = newest(&dir)? else { return Ok(None) };
    let life = mark.owner.life(&ProcessIdentity::own());
    Ok(Some((mark, life)))
}
