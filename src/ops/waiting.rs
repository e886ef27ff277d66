//! Notes about what a server is waiting for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::monitor::Monitor;
use crate::server::{self, Server};

/// The interval of notes about a wait that continues.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Runs `body`. Once it has taken longer than `patience`, and every minute after that, calls `ask` to find out what it
/// waits for, and passes the answer and the elapsed time to `report`.
pub(super) fn with_progress_notes<T>(
    patience: Duration,
    ask: impl Fn() -> Vec<String> + Send,
    report: impl Fn(Duration, Vec<String>) + Send,
    body: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        scope.spawn(move || {
            let begun = Instant::now();
            let mut patience = patience;
            while end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                patience = AGAIN_AFTER;
                let waited = begun.elapsed();
                let answer = ask();
                // `body` may have ended while the server was asked.
                if end.recv_timeout(Duration::ZERO) == Err(RecvTimeoutError::Timeout) {
                    report(waited, answer);
                }
            }
        });
        let result = body();
        drop(ended);
        result
    })
}

/// Asks a server for its tables, and reports what the server is busy with if it is slow: old servers list tables under
/// the same locks that their `ALTER` waits for.
pub(super) fn notify_slow_list<T>(
    server: &Server,
    patience: Duration,
    monitor: &dyn Monitor,
    ask: impl FnOnce() -> T,
) -> T {
    let report = |waited: Duration, lines: Vec<String>| {
        for line in lines {
            monitor.note(&format!("the list of tables has taken {} s; {line}", waited.as_secs()));
        }
    };
    with_progress_notes(patience, || server::runs(server), report, ask)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread::sleep;
    use std::time::Duration;

    use super::with_progress_notes;

    fn told_after(patience: u64, work: u64) -> usize {
        let told = Mutex::new(Vec::new());
        let ask = || vec!["it is busy".to_owned()];
        let notify = |waited: Duration, answer| told.lock().expect("no panic").push((waited, answer));
        let result = with_progress_notes(Duration::from_millis(patience), ask, notify, || {
            sleep(Duration::from_millis(work));
            7
        });
        assert_eq!(result, 7);
        let told = told.into_inner().expect("no panic");
        assert!(told.iter().all(|(waited, answer)| waited.as_millis() >= u128::from(patience) && answer.len() == 1));
        told.len()
    }

    #[test]
    fn only_slow_queries_are_reported() {
        assert_eq!(told_after(60_000, 1), 0);
        assert_eq!(told_after(20, 1500), 1);
    }
}
