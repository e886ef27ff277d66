//! Detects that a filesystem does not answer: on a network filesystem, every call waits for as long as its server is
//! unreachable.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// How often a filesystem is queried.
const PERIOD: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// The time of the query that has no answer yet.
type PendingSince = Arc<Mutex<Option<Instant>>>;

fn asked_at(asked: &PendingSince) -> MutexGuard<'_, Option<Instant>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queries the filesystem of `path` every five seconds for something that only its server can answer, until the process
/// ends. `told` is called every second from another thread with the time for which there has been no answer. An error
/// is an answer.
///
/// # Errors
/// If the system gives no thread.
pub fn watch_silence(path: &Path, mut told: impl FnMut(Duration) + Send + 'static) -> std::io::Result<()> {
    let path = path.to_owned();
    let watch = move || {
        // A process that ends sooner has sent no query.
        thread::sleep(PERIOD);
        let asked = PendingSince::default();
        let asking = Arc::clone(&asked);
        let started = thread::Builder::new().name("chsnap-asks".to_owned()).spawn(move || ask(&path, &asking));
        while started.is_ok() {
            thread::sleep(SECOND);
            let since = *asked_at(&asked);
            if let Some(since) = since {
                told(since.elapsed());
            }
        }
    };
    thread::Builder::new().name("chsnap-silence".to_owned()).spawn(watch).map(drop)
}

/// Never returns: its thread ends with the process, even if it is waiting for an answer then.
fn ask(path: &PathBuf, asked: &PendingSince) {
    loop {
        *asked_at(asked) = Some(Instant::now());
        let _answer = statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
        *asked_at(asked) = None;
        thread::sleep(PERIOD);
    }
}
