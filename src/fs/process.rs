//! This process and the machine on which it runs.

/// Clears all permissions of others, and the group's write permission, on files created from now on.
pub fn restrict_new_files() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
}

/// The name of this host; empty if it cannot be determined.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// Distinguishes this boot of this machine from every other; empty if it cannot be determined.
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

/// Raises this process's limit of open files to the maximum: each thread holds a few directories open, and each part
/// that is checked a few more.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files is not raised");
    }
}

/// Lets this thread run only while no other thread wants its core: the policy `SCHED_IDLE` (see `sched(7)`). Without
/// privileges this cannot be reverted.
pub fn run_in_idle_time() {
    use thread_priority::ThreadPriority;
    use thread_priority::unix::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::debug!(?error, "a thread runs as any other");
    }
}

/// The release of the running kernel, as in `uname -r`.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The effective user of this process.
#[must_use]
pub fn user_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The owner and group of files that this process creates, with this mode.
#[must_use]
pub fn own_ids(mode: u32) -> crate::model::Ownership {
    crate::model::Ownership { uid: user_id(), gid: nix::unistd::getegid().as_raw(), mode }
}

/// Whether this process was started with a signal ignored (`proc_pid_status(5)`), as `nohup` does; false if that cannot
/// be determined.
#[must_use]
pub fn is_signal_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    signal.checked_sub(1).and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

/// The capability to do with files what only their owner may: its number in `linux/capability.h`.
pub(super) const CAP_FOWNER: u32 = 3;

/// Whether this process has a capability; false if that cannot be determined.
pub(super) fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask.checked_shr(number).is_some_and(|mask| mask & 1 == 1)
}

/// The signal that ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// By `SIGTERM`, on which it may end in its own time.
    Asked,
    /// By `SIGKILL`.
    Forced,
}

/// Ends a process group that this process has started; a group that is gone is ignored.
pub fn end_process_group(id: u32, ending: StopSignal) {
    let group = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    let signal = match ending {
        StopSignal::Asked => rustix::process::Signal::TERM,
        StopSignal::Forced => rustix::process::Signal::KILL,
    };
    if let Some(Err(error)) = group.map(|group| rustix::process::kill_process_group(group, signal)) {
        tracing::debug!(%error, "a process group is not told to end");
    }
}

/// Distinguishes this installation of an operating system from every other (`machine-id(5)`); empty if it cannot be
/// determined.
#[must_use]
pub fn machine_id() -> String {
    let read = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let of_systemd = read("/etc/machine-id");
    if of_systemd.is_empty() { read("/var/lib/dbus/machine-id") } else { of_systemd }
}

/// The number of the PID namespace of this process; 0 if it cannot be determined.
#[must_use]
pub fn process_namespace() -> u64 {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

/// The start of a process of this namespace, in the kernel's ticks since the boot; 0 if it cannot be determined.
#[must_use]
pub fn process_start(pid: u32) -> u64 {
    process_stat(pid).map_or(0, |(_, start)| start)
}

/// Whether there is no process with this number and start any more. A zombie counts as gone.
#[must_use]
pub fn process_is_gone(pid: u32, start: u64) -> bool {
    if let Some((state, began)) = process_stat(pid) {
        return matches!(state, 'Z' | 'X') || (start != 0 && began != start);
    }
    // `/proc` may hide other users' processes; the kernel answers nevertheless.
    let number = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    number.is_none_or(|number| rustix::process::test_kill_process(number) == Err(rustix::io::Errno::SRCH))
}

/// State and start, the third and the 22nd field of `/proc/<pid>/stat` (`proc_pid_stat(5)`).
fn process_stat(pid: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is in parentheses and may contain anything.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{process_is_gone, process_start};

    #[test]
    fn a_process_is_gone_once_it_has_ended_even_before_its_parent_looks() {
        let own = std::process::id();
        assert!(!process_is_gone(own, process_start(own)));
        assert!(process_is_gone(own, process_start(own) + 1), "another process of the same number");
        let mut child = std::process::Command::new("true").spawn().expect("it starts");
        let start = process_start(child.id());
        while !process_is_gone(child.id(), start) {
            std::thread::yield_now();
        }
        child.wait().expect("it has ended");
        assert!(process_is_gone(child.id(), start));
    }
}
