//! The lock between hosts: one mark in `lock.d/`, which is either free or somebody's.
//!
//! See `mark.rs` for how it changes hands, and `docs/decisions/0022-lock-between-hosts.md` for why.

use std::time::{Duration, Instant};

use crate::fs::{Dir, ErrorKind, FsError};

use super::error::RepoError;
use super::identity::{Identity, Life};
use super::mark::{Ending, Hold, Mark, Watch, swap};
use super::repository::Repository;

const DIRECTORY: &str = "lock.d";
const TAG: &str = "held";
/// Looks at an empty directory before it is taken for a new one: it may be read in the middle of a rename.
const LOOKS_AT_NOTHING: u32 = 3;

/// What stands in `lock.d/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimState {
    /// Nobody's, since so many changes.
    Free(u64),
    /// Somebody's.
    Held(Mark),
}

impl ClaimState {
    fn parse(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("free.") {
            return number.parse().ok().map(Self::Free);
        }
        name.parse().ok().filter(|mark: &Mark| mark.tag == TAG).map(Self::Held)
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

/// How a claim came into its present hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenAs {
    /// Its holder has ended on this machine.
    Gone,
    /// Its holder, elsewhere, was silent for too long.
    Silent,
    /// A person said so.
    Broken,
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The claim is held, and who held it before, unless it was free.
    Taken(Hold, Option<(Mark, TakenAs)>),
    /// Its holder lives, or may live.
    Held(Mark, IsSure),
    /// Somebody else was faster.
    Again,
}

/// Whether a holder is known to live.
pub(super) type IsSure = bool;

/// A process that wants the claim.
#[derive(Debug)]
pub(super) struct Claimant {
    dir: Dir,
    own: Identity,
    watch: Option<Watch>,
    /// Time that may count between two looks.
    most: Duration,
}

impl Claimant {
    /// Who looks every `pause`.
    ///
    /// # Errors
    /// If `lock.d` can be neither made nor opened.
    pub(super) fn new(repository: &Repository, pause: Duration) -> Result<Self, RepoError> {
        let dir = repository.find_dir(DIRECTORY)?.map_or_else(|| repository.ensure(DIRECTORY), Ok)?;
        Ok(Self { dir, own: Identity::own(), watch: None, most: pause * 5 })
    }

    /// What stands there now; the newest, where a process that was too late has left another.
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
    pub(super) fn attempt(&mut self, by_force: bool) -> Result<Attempt, RepoError> {
        let state = self.state()?;
        let before = match &state {
            ClaimState::Free(_) => None,
            ClaimState::Held(mark) if by_force => Some((mark.clone(), TakenAs::Broken)),
            ClaimState::Held(mark) => match self.judge(mark) {
                Ok(taken_as) => Some((mark.clone(), taken_as)),
                Err(is_sure) => return Ok(Attempt::Held(mark.clone(), is_sure)),
            },
        };
        let mark = Mark::new(TAG.to_owned(), state.number() + 1, self.own.clone())?;
        if !swap(&self.dir, &state.name(), &mark.to_string())? {
            return Ok(Attempt::Again);
        }
        // A process that saw an empty directory long ago may have put a new mark beside the one that counts.
        if newest(&self.dir)? != Some(ClaimState::Held(mark.clone())) {
            self.dir.remove_file(mark.to_string())?;
            return Ok(Attempt::Again);
        }
        self.remove_others(&mark)?;
        Ok(Attempt::Taken(Hold::begin(self.dir.clone(), mark, Ending::Free(free_name)), before))
    }

    fn remove_others(&self, mine: &Mark) -> Result<(), FsError> {
        let mine = mine.to_string();
        for name in self.dir.fresh_names()? {
            if name != mine && ClaimState::parse(&name).is_some() {
                crate::fs::if_found(self.dir.remove_file(&name))?;
            }
        }
        Ok(())
    }

    /// Whether the holder is dead, and how that is known; else whether it is known to live.
    fn judge(&mut self, mark: &Mark) -> Result<TakenAs, IsSure> {
        if mark.owner.is_same_process(&self.own) {
            return if mark.is_held_here(&self.dir) { Err(true) } else { Ok(TakenAs::Gone) };
        }
        match mark.owner.life(&self.own) {
            Life::Gone => Ok(TakenAs::Gone),
            Life::Runs => Err(true),
            Life::Unknown => {
                let now = Instant::now();
                match &mut self.watch {
                    None => self.watch = Some(Watch::new(mark, now)),
                    Some(watch) => watch.look(mark, now, self.most),
                }
                let watch = self.watch.as_ref();
                let is_silent = watch.is_some_and(|watch| watch.quiet() >= mark.silence);
                if is_silent { Ok(TakenAs::Silent) } else { Err(watch.is_some_and(Watch::has_moved)) }
            }
        }
    }
}

/// The state with the highest number, if there is any.
fn newest(dir: &Dir) -> Result<Option<ClaimState>, FsError> {
    let names = dir.fresh_names()?;
    Ok(names.iter().filter_map(|name| ClaimState::parse(name)).max_by_key(ClaimState::number))
}

/// Looks, and changes nothing; the second is whether the holder is known to live or to be dead.
pub(super) fn look(repository: &Repository) -> Result<Option<(Mark, Life)>, RepoError> {
    let Some(dir) = repository.find_dir(DIRECTORY)? else { return Ok(None) };
    let Some(ClaimState::Held(mark)) = newest(&dir)? else { return Ok(None) };
    let life = mark.owner.life(&Identity::own());
    Ok(Some((mark, life)))
}
