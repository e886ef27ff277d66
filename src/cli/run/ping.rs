//! Notifies an external watcher that a run has begun or ended: it raises the alarm when no message arrives.

use std::time::Duration;

use chsnap::monitor::chain;
use chsnap::server::{HttpClient, WebError};
use http::StatusCode;

const TIMEOUT: Duration = Duration::from_secs(10);
const REACH_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Sends a GET request to an address; only the status of the answer matters.
///
/// # Errors
/// Why it failed, without the address: it may contain a secret.
pub(super) fn get(url: &str) -> Result<(), String> {
    let client = HttpClient::from_env(TIMEOUT);
    again(|| client.get(url))
}

/// Posts a text to an address, or sends a GET request if the address does not accept a text.
///
/// # Errors
/// As [`get`].
pub(super) fn post(url: &str, text: &str) -> Result<(), String> {
    let client = HttpClient::from_env(TIMEOUT);
    let posted = || match client.post(url, text) {
        Err(WebError::Status(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)) => {
            client.get(url)
        }
        answer => answer,
    };
    again(posted)
}

/// Whether the address accepts connections, directly or through the proxy that the environment names. No request is
/// sent: a watcher would take it for a run.
///
/// # Errors
/// Why it does not, without the address.
pub(in super::super) fn reach(url: &str) -> Result<(), String> {
    HttpClient::from_env(REACH_TIMEOUT).reach(url).map_err(|error| chain(&error))
}

fn again(ask: impl Fn() -> Result<(), WebError>) -> Result<(), String> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        match ask() {
            Ok(()) => return Ok(()),
            Err(error) => last = chain(&error),
        }
    }
    Err(last)
}
