//! Describes the machine of a measurement.

use std::fs;
use std::path::Path;

/// One line about the machine, with the filesystem that holds `folder`.
pub fn describe(folder: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let info = read("/proc/cpuinfo");
    let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = read("/proc/loadavg");
    format!(
        "{}: {cores} cores ({}), Linux {}, {}, load {} when it began",
        chrono::Utc::now().format("%Y-%m-%d"),
        processor.map_or("unknown", |(_, name)| name),
        kernel.trim().split('-').next().unwrap_or("unknown"),
        filesystem(folder),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

/// The type of the filesystem that holds `folder`, as the kernel names it.
pub fn filesystem(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let held = mounts.lines().filter_map(|line| {
        // 36 35 98:0 /root /mount/point options … - type source options
        let (mount, kind) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        folder.starts_with(point).then(|| (point.as_os_str().len(), kind.split(' ').next().unwrap_or("unknown")))
    });
    // Of mounts on one point the last is the one in sight, and `max_by_key` takes the last.
    held.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
}
