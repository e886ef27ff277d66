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

/// Lets this process open as many files as it may: each thread holds a few directories open, and each part that is
/// checked a few more.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files is not raised");
    }
}

/// The release of the running kernel, as `uname -r` tells it.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The user that this process acts as.
#[must_use]
pub fn user_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// How a process is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By `SIGTERM`, which it may answer in its own time.
    Asked,
    /// By `SIGKILL`.
    Forced,
}

/// Ends a process group that this process has started; one that is gone is none to end.
pub fn end_process_group(id: u32, ending: Ending) {
    let group = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    let signal = match ending {
        Ending::Asked => rustix::process::Signal::TERM,
        Ending::Forced => rustix::process::Signal::KILL,
    };
    if let Some(Err(error)) = group.map(|group| rustix::process::kill_process_group(group, signal)) {
        tracing::debug!(%error, "a process group is not told to end");
    }
}
