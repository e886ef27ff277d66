//! Whether a filesystem answers at all: one behind a network leaves every call waiting for as long as its server is away.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// How often a filesystem is asked.
const PERIOD: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// When the question was asked that has no answer yet.
type Asked = Arc<Mutex<Option<Instant>>>;

fn asked_at(asked: &Asked) -> MutexGuard<'_, Option<Instant>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the filesystem of `path` every five seconds for what only its server can say, until the process ends; `told`
/// hears, every second from another thread, for how long there has been no answer. An error is an answer.
///
/// # Errors
/// If the system gives no thread.
pub fn watch_silence(path: &Path, mut told: impl FnMut(Duration) + Send + 'static) -> std::io::Result<()> {
    let path = path.to_owned();
    let watch = move || {
        // Whoever is done sooner has asked nothing.
        thread::sleep(PERIOD);
        let asked = Asked::default();
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

/// Never returns: its thread ends with the process, also where it waits for an answer then.
fn ask(path: &PathBuf, asked: &Asked) {
    loop {
        *asked_at(asked) = Some(Instant::now());
        let _answer = statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
        *asked_at(asked) = None;
        thread::sleep(PERIOD);
    }
}
