//! This process and the machine that it runs on.

/// Takes every permission of others, and the group's right to write, from files that are made from now on.
pub fn restrict_new_files() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
}

/// The name of this host, empty where it cannot be told.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// What tells this boot of this machine from every other, empty where it cannot be told.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Keeps this process's memory, which may hold a password, out of core dumps.
pub fn forbid_core_dumps() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::debug!(%error, "core dumps are not forbidden");
    }
}
