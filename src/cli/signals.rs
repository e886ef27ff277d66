//! SIGINT and SIGTERM ask the engine to stop and undo; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

static LAST: AtomicUsize = AtomicUsize::new(0);

/// A flag that becomes true at the first signal.
/// `tell` says so to the person at the terminal.
pub(super) fn watch(tell: bool) -> Arc<AtomicBool> {
    static WATCHED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    // A command that is a step of another one has the flag of that one.
    Arc::clone(WATCHED.get_or_init(|| start_watching(tell)))
}

fn start_watching(tell: bool) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flags = [SIGINT, SIGTERM].map(|signal| {
        let flag = Arc::clone(&interrupted);
        // In this order: the second signal finds the flag set and ends the process with the code of that signal.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, flag))
    });
    if flags.iter().any(Result::is_err) {
        tracing::warn!("signals cannot be caught: interrupted, chsnap leaves the rest to its next run");
    }
    let told = std::thread::Builder::new().name("chsnap-signals".to_owned()).spawn(move || {
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
        for signal in signals.forever() {
            LAST.store(usize::try_from(signal).unwrap_or(0), Ordering::Relaxed);
            if tell {
                super::streams::write_stderr(
                    "stopping: what was begun is being undone; a second signal ends at once\n",
                );
            }
        }
    });
    drop(told);
    interrupted
}

/// Ends the process at the first signal, with its exit code: for commands that a kill cannot hurt.
pub(super) fn end_at_once() {
    for signal in [SIGINT, SIGTERM] {
        let always = Arc::new(AtomicBool::new(true));
        if let Err(error) = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, always) {
            tracing::warn!(%error, "the signal is not caught");
        }
    }
}

/// 130 after SIGINT, 143 after SIGTERM.
pub(super) fn exit_code() -> u8 {
    if LAST.load(Ordering::Relaxed) == usize::try_from(SIGTERM).unwrap_or(0) { 143 } else { 130 }
}
