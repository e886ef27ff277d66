//! Settings of this host that apply to every repository that it opens.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Settings of this host for all repositories of the process. Both have a default, so that a library user need set none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostSettings {
    /// The directory for indexes of repositories that cannot hold one of their own: read-only ones and those on a network
    /// filesystem. Without it such an index is in memory only.
    pub state_dir: Option<PathBuf>,
    /// The time after which others may take over a lock of this process that was not renewed: 60 s by default, from 0.2 s to
    /// 10 min.
    pub lock_silence: Option<Duration>,
}

static SETTINGS: OnceLock<HostSettings> = OnceLock::new();

impl HostSettings {
    /// Puts these settings in force for the rest of the process. The first call counts: returns whether this is the first.
    pub fn install(self) -> bool {
        SETTINGS.set(self).is_ok()
    }
}

pub(super) fn state_dir() -> Option<&'static Path> {
    SETTINGS.get()?.state_dir.as_deref()
}

pub(super) fn lock_silence() -> Option<Duration> {
    SETTINGS.get()?.lock_silence
}
