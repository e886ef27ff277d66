//! An empty file whose *name* identifies a holder, and which only its holder renames, again and again.
//!
//! The only operation on a mark is `rename(2)` of its present name to the next. That is atomic on every filesystem, NFS
//! of any version included: if several processes rename the same name, one succeeds, and the others get the error that
//! it does not exist. A name holds a counter and, while it is held, a random number, so no name ever recurs. If the
//! answer to a rename was lost, the directory shows whether it happened. A mark needs no disk space, no lock of the
//! kernel or the server, and no clock but the watcher's own.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fs::{Dir, ErrorKind, FsError};

use super::error::RepoError;
use super::host;
use super::identity::ProcessIdentity;
use super::repository::random;

/// The name of a mark while it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockMark {
    /// The object that is held.
    pub tag: String,
    /// Grows with each renewal.
    pub number: u64,
    /// Random number of this hold.
    pub nonce: u64,
    /// After this time without a renewal, others may take its holder for dead.
    pub silence: Duration,
    pub owner: ProcessIdentity,
}

impl fmt::Display for LockMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, number, nonce, silence, owner } = self;
        write!(f, "{tag}.{number}.{nonce:016x}.{}.{owner}", silence.as_millis())
    }
}

impl FromStr for LockMark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut fields = text.splitn(5, '.');
        let mut next = || fields.next().ok_or(());
        let tag = next()?.to_owned();
        let number = next()?.parse().map_err(drop)?;
        let nonce = u64::from_str_radix(next()?, 16).map_err(drop)?;
        // A name can contain any number; no process should wait forever because of it.
        let silence = Duration::from_millis(next()?.parse().map_err(drop)?).clamp(SHORTEST_SILENCE, LONGEST_SILENCE);
        Ok(Self { tag, number, nonce, silence, owner: next()?.parse()? })
    }
}

/// How often a holder renews its mark within the time after which others may take over.
const RENEWALS_IN_SILENCE: u32 = 12;
const SHORTEST_SILENCE: Duration = Duration::from_millis(200);
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
const USUAL_SILENCE: Duration = Duration::from_secs(60);

fn silence() -> Duration {
    host::lock_silence().unwrap_or(USUAL_SILENCE).clamp(SHORTEST_SILENCE, LONGEST_SILENCE)
}

/// The marks that this process holds, by directory and nonce. Another mark with its process number is left over from
/// work that failed, or is in a copy of a repository that was made while it was locked.
static HELD_HERE: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

fn held_here() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
    HELD_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LockMark {
    /// Creates a mark of this process.
    pub(super) fn new(tag: String, number: u64, owner: ProcessIdentity) -> Result<Self, RepoError> {
        let nonce = u64::try_from(random()? >> 64).expect("64 bits are left");
        Ok(Self { tag, number, nonce, silence: silence(), owner })
    }

    fn key(&self, dir: &Dir) -> Option<(u64, u64)> {
        dir.stat_self().ok().map(|stat| (stat.inode, self.nonce))
    }

    /// Whether this process holds it in `dir`.
    pub(super) fn is_held_here(&self, dir: &Dir) -> bool {
        self.key(dir).is_none_or(|key| held_here().contains(&key))
    }
}

/// Renames `from` to `to`, and returns whether this call did it.
pub(super) fn swap(dir: &Dir, from: &str, to: &str) -> Result<bool, FsError> {
    let Err(error) = dir.rename_from(dir, from, to) else { return Ok(true) };
    // The answer may have been lost and the call repeated: then it found its own work done. The name is unique to this
    // process.
    if dir.fresh_names()?.iter().any(|name| name == to) {
        return Ok(true);
    }
    if error.kind() == ErrorKind::NotFound { Ok(false) } else { Err(error) }
}

/// The end of a mark.
#[derive(Clone, Copy, Debug)]
pub(super) enum MarkRelease {
    /// It gets a name by which others may take it.
    Free(fn(u64) -> String),
    /// It is removed.
    Removed,
}

/// A mark that this process holds; a thread renews it as long as the value lives.
#[derive(Debug)]
pub(super) struct Hold {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ending: MarkRelease,
}

#[derive(Debug)]
struct Shared {
    dir: Dir,
    state: Mutex<MarkState>,
    ended: Condvar,
    /// Whether another process has it: can be read even while the lock above is held by a call that waits for a server.
    is_lost: AtomicBool,
}

#[derive(Debug)]
struct MarkState {
    mark: LockMark,
    is_ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, MarkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proves, by renewing the mark, whether it is still this process's.
    fn renew(&self, state: &mut MarkState) -> Result<bool, FsError> {
        if self.is_lost.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let next = LockMark { number: state.mark.number + 1, ..state.mark.clone() };
        let is_ours = swap(&self.dir, &state.mark.to_string(), &next.to_string())?;
        if is_ours {
            state.mark = next;
        } else {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        Ok(is_ours)
    }

    fn keep_renewing(&self) {
        let mut state = self.state();
        let pause = state.mark.silence / RENEWALS_IN_SILENCE;
        while !state.is_ended {
            let (woken, timeout) = self.ended.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if state.is_ended || !timeout.timed_out() {
                continue;
            }
            match self.renew(&mut state) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(mark = %state.mark, "another process has taken over what this one held");
                    return;
                }
                Err(error) => tracing::warn!(error = crate::monitor::chain(&error), "a hold cannot be renewed"),
            }
        }
    }
}

impl Hold {
    /// Starts holding `mark`, whose file is in `dir`.
    pub(super) fn begin(dir: Dir, mark: LockMark, ending: MarkRelease) -> Self {
        held_here().extend(mark.key(&dir));
        let state = Mutex::new(MarkState { mark, is_ended: false });
        let shared = Arc::new(Shared { dir, state, ended: Condvar::new(), is_lost: AtomicBool::new(false) });
        let renewing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("chsnap-hold".to_owned()).spawn(move || renewing.keep_renewing());
        if let Err(error) = &thread {
            // Each step that matters checks the hold first, so without the thread others can only take it over sooner.
            tracing::warn!(%error, "no thread renews a hold");
        }
        Self { shared, thread: thread.ok(), ending }
    }

    /// Asks the filesystem whether it is still held.
    pub(super) fn confirm(&self) -> Result<bool, FsError> {
        let mut state = self.shared.state();
        self.shared.renew(&mut state)
    }

    pub(super) fn nonce(&self) -> u64 {
        self.shared.state().mark.nonce
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_ended = true;
        self.shared.ended.notify_all();
        let (name, next) = (state.mark.to_string(), state.mark.number + 1);
        let ended = match self.ending {
            _ if self.shared.is_lost.load(Ordering::Relaxed) => Ok(()),
            MarkRelease::Free(free_name) => swap(&self.shared.dir, &name, &free_name(next)).map(drop),
            MarkRelease::Removed => self.shared.dir.remove_file(&name),
        };
        if let Some(key) = state.mark.key(&self.shared.dir) {
            held_here().remove(&key);
        }
        drop(state);
        if let Err(error) = ended {
            tracing::debug!(error = crate::monitor::chain(&error), "a hold is left to be found without a holder");
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::debug!("the thread of a hold has ended early");
        }
    }
}

/// Measures how long a name has not changed, by the watcher's own clock.
#[derive(Debug)]
pub(super) struct Watch {
    name: String,
    looked: Instant,
    quiet: Duration,
    has_moved: bool,
}

impl Watch {
    pub(super) fn new(mark: &LockMark, at: Instant) -> Self {
        Self { name: mark.to_string(), looked: at, quiet: Duration::ZERO, has_moved: false }
    }

    /// Looks again. At most `most` is counted between two looks: while the server does not answer, no process can renew
    /// anything, and the watcher itself may have been stopped.
    pub(super) fn look(&mut self, mark: &LockMark, at: Instant, most: Duration) {
        let name = mark.to_string();
        if name == self.name {
            self.quiet += at.saturating_duration_since(self.looked).min(most);
            self.looked = at;
        } else {
            *self = Self { name, looked: at, quiet: Duration::ZERO, has_moved: true };
        }
    }

    pub(super) fn quiet(&self) -> Duration {
        self.quiet
    }

    /// Whether a holder has renewed, taken or released it since the first look.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LockMark, Watch};
    use crate::repo::identity::ProcessIdentity;

    fn mark(number: u64) -> LockMark {
        let (tag, silence, owner) = ("held".to_owned(), Duration::from_secs(60), ProcessIdentity::own());
        LockMark { tag, number, nonce: 7, silence, owner }
    }

    #[test]
    fn a_mark_reads_back_as_it_was_written() {
        assert_eq!(mark(1).to_string().parse(), Ok(mark(1)));
        for text in ["", "held.1", "free.7", "held.x.0.1.2", "held.1.00.60000.a.b.1.2.3.h"] {
            assert_eq!(text.parse::<LockMark>(), Err(()), "{text}");
        }
        assert!(mark(u64::MAX).to_string().len() < 255, "it is a file name");
    }

    #[test]
    fn time_without_an_answering_server_is_not_silence() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let most = Duration::from_secs(5);
        let mut watch = Watch::new(&mark(1), at(0));
        for second in 1..=10 {
            watch.look(&mark(1), at(second), most);
        }
        assert_eq!(watch.quiet(), Duration::from_secs(10));
        // The server was unreachable for an hour.
        watch.look(&mark(1), at(3610), most);
        assert_eq!(watch.quiet(), Duration::from_secs(15));
        assert!(!watch.has_moved());
        watch.look(&mark(2), at(3611), most);
        assert_eq!(watch.quiet(), Duration::ZERO);
        assert!(watch.has_moved());
    }
}
