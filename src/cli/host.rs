//! Settings of this host from the environment.

use std::path::PathBuf;
use std::time::Duration;

use chsnap::repo::HostSettings;

/// Seconds after which others may take over a lock that was not renewed; for users who know their server.
const SILENCE_VARIABLE: &str = "CHSNAP_LOCK_SILENCE";

/// Reads the settings of this host from the environment, and puts them in force.
pub(super) fn install() {
    let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let seconds = std::env::var(SILENCE_VARIABLE).ok().and_then(|text| text.parse::<f64>().ok());
    let mut settings = HostSettings::default();
    settings.state_dir = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")));
    settings.lock_silence = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if !settings.install() {
        tracing::debug!("the settings of this host were in force already");
    }
}
