//! A panic is a bug. It ends the whole process, as a kill does, and the next command recovers what this one has left:
//! continuing with one thread less could mean waiting forever. A `run` reports the panic first, as it reports every
//! failure.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

/// The exit code of a Rust program that panics.
const PANICKED: i32 = 101;

/// The thread that reports a panic of any other thread and ends the process, and the time that this may take.
static REPORTER: Mutex<Option<(ThreadId, Duration)>> = Mutex::new(None);

/// The first panic, on one line.
static MESSAGE: OnceLock<String> = OnceLock::new();

/// Installs the hook that every panic runs.
pub(crate) fn end_the_process() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let reporter = *REPORTER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, patience)) = reporter.filter(|(thread, _)| *thread != std::thread::current().id()) {
            let message = panic.to_string();
            MESSAGE.get_or_init(|| message.lines().collect::<Vec<_>>().join(" "));
            // The reporter ends the process. Nothing is unwound, so that nothing is half undone or half released.
            std::thread::sleep(patience);
        }
        std::process::exit(PANICKED);
    }));
}

/// While this value lives, its thread reports the panics of the others.
pub(super) struct Reporter(());

impl Reporter {
    /// Makes this thread the reporter; `patience` is how long a report may take.
    pub(super) fn new(patience: Duration) -> Self {
        *REPORTER.lock().unwrap_or_else(PoisonError::into_inner) = Some((std::thread::current().id(), patience));
        Self(())
    }

    /// The panic of another thread, if there was one.
    #[expect(clippy::unused_self, reason = "only the reporter asks")]
    pub(super) fn panic(&self) -> Option<&'static str> {
        MESSAGE.get().map(String::as_str)
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        *REPORTER.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
