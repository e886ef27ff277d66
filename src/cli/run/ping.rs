//! Telling a watcher elsewhere that a run has begun or ended: it raises the alarm when nothing comes.

use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

const TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Gets an address; its answer does not matter beyond that it is a good one.
///
/// # Errors
/// Why not, without the address: it may hold a secret.
pub(super) fn ping(url: &str) -> Result<(), String> {
    let agent = agent(url);
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        match agent.get(url).call() {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

fn agent(url: &str) -> ureq::Agent {
    let mut tls =
        TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if url.starts_with("https://") {
        let found = rustls_native_certs::load_native_certs().certs;
        let trusted = found.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        tls = tls.root_certs(RootCerts::Specific(Arc::new(trusted.collect())));
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .user_agent(concat!("chsnap/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build());
    config.build().new_agent()
}
