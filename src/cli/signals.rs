//! SIGINT, SIGTERM and SIGHUP make the engine stop and undo its work; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// The last signal that arrived; 0 before the first.
static LAST: AtomicI32 = AtomicI32::new(0);

/// The signals that end a command: an interrupt, a termination request, and the hangup of its terminal, unless the
/// command was started to outlive that (`nohup`).
fn ending() -> impl Iterator<Item = i32> {
    let outlives = chsnap::fs::is_signal_ignored(SIGHUP.unsigned_abs());
    [SIGINT, SIGTERM].into_iter().chain((!outlives).then_some(SIGHUP))
}

/// Returns a flag that becomes true at the first signal. With `is_reported`, a message at the terminal reports the signal.
pub(super) fn watch(is_reported: bool) -> Arc<AtomicBool> {
    static WATCHED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    // A command that is a step of another one shares its flag.
    Arc::clone(WATCHED.get_or_init(|| start_watching(is_reported)))
}

fn start_watching(is_reported: bool) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let signals: Vec<i32> = ending().collect();
    let caught = signals.iter().try_for_each(|signal| {
        let flag = Arc::clone(&interrupted);
        // The order matters: the second signal finds the flag set and ends the process with the code of that signal.
        signal_hook::flag::register_conditional_shutdown(*signal, 128 + signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(*signal, flag))
            .map(drop)
    });
    if caught.is_err() {
        tracing::warn!("signals cannot be caught: interrupted, chsnap leaves the rest to its next run");
    }
    let told = std::thread::Builder::new().name("chsnap-signals".to_owned()).spawn(move || {
        let Ok(mut signals) = signal_hook::iterator::Signals::new(signals) else { return };
        for signal in signals.forever() {
            LAST.store(signal, Ordering::Relaxed);
            if is_reported {
                super::streams::write_stderr(
                    "stopping: what was begun is being undone; a second signal ends at once\n",
                );
            }
        }
    });
    drop(told);
    interrupted
}

/// Ends the process at the first signal, with that signal's exit code: for commands that a kill cannot harm.
pub(super) fn end_at_once() {
    for signal in ending() {
        let always = Arc::new(AtomicBool::new(true));
        if let Err(error) = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, always) {
            tracing::warn!(%error, "the signal is not caught");
        }
    }
}

/// Catches SIGCHLD, and does nothing then. If the process was started with that signal ignored, the kernel otherwise keeps
/// no exit status of its children. Must precede the first wait with `wait_timeout`, whose handler calls whatever it
/// replaced as a function, even the constant `SIG_IGN`.
pub(super) fn catch_child_exits() {
    if let Err(error) = signal_hook::flag::register(SIGCHLD, Arc::default()) {
        tracing::warn!(%error, "SIGCHLD is not caught");
    }
}

/// 129 after SIGHUP, 130 after SIGINT, 143 after SIGTERM.
pub(super) fn exit_code() -> u8 {
    match LAST.load(Ordering::Relaxed) {
        SIGTERM => 143,
        SIGHUP => 129,
        _ => 130,
    }
}
