//! Tools that copy frozen parts, each followed by a `syncfs` of the target.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::fcntl::AtFlags;
use nix::unistd::linkat;

use super::threads;

/// Copies onto the filesystem mounted at `disk`.
pub struct Copier<'a> {
    pub disk: &'a Path,
}

impl Copier<'_> {
    /// Seconds of a copy below `rsync/`, linked to an earlier one of these where there is one.
    pub fn rsync(&self, from: &Path, name: &str, earlier: Option<&str>) -> f64 {
        let all = self.disk.join("rsync");
        fs::create_dir_all(&all).expect("a directory");
        let link = earlier.map(|earlier| format!("--link-dest={}", all.join(earlier).display())).unwrap_or_default();
        // Parts of one table: the name of the freeze, which is another one each time, is no part of the path.
        let script = r#"rsync -aH --numeric-ids $2 "$0/" "$1/" && sync --file-system "$1""#;
        timed(script, &[from, &all.join(name), Path::new(&link)])
    }

    /// Seconds of `rsnapshot`, whose snapshots of `from` are below `rsnapshot/`; `None` if it is not installed.
    pub fn rsnapshot(&self, from: &Path) -> Option<f64> {
        if !is_installed("rsnapshot") || !is_installed("rsync") {
            return None;
        }
        let all = self.disk.join("rsnapshot");
        fs::create_dir_all(&all).expect("a directory");
        // The fields are parted by tabs. Nothing is retained for so short that it is removed while it is timed.
        let settings = format!(
            "config_version\t1.2\nsnapshot_root\t{all}/\nno_create_root\t1\ncmd_rsync\t/usr/bin/rsync\nretain\talpha\t1000\n\
             link_dest\t1\nrsync_short_args\t-aH\nrsync_long_args\t--numeric-ids --delete\nbackup\t{from}/\ttables/\n",
            all = all.display(),
            from = from.display()
        );
        let file = self.disk.join("rsnapshot.conf");
        fs::write(&file, settings).expect("a file");
        Some(timed(r#"rsnapshot -q -c "$0" alpha && sync --file-system "$1""#, &[&file, &all]))
    }

    /// Seconds of `cp -a`.
    pub fn cp(&self, from: &Path, name: &str) -> f64 {
        timed(r#"cp -a "$0" "$1" && sync --file-system "$1""#, &[from, &self.disk.join(name)])
    }

    /// Seconds to write this many bytes into one file.
    pub fn write(&self, name: &str, bytes: u64) -> f64 {
        let count = bytes.div_ceil(1 << 20).to_string();
        let script = r#"dd if=/dev/zero of="$0" bs=1M count="$1" status=none && sync --file-system "$0""#;
        timed(script, &[&self.disk.join(name), Path::new(&count)])
    }

    /// Seconds of a first backup with each of those that make archives, where they are installed. What they wrote is
    /// removed again.
    pub fn archives(&self, from: &Path) -> Vec<(&'static str, f64)> {
        let mut rows = Vec::new();
        for (tool, what, begin, run) in ARCHIVES {
            if is_installed(tool) {
                let archive = self.disk.join(tool);
                shell(begin, &[&archive]);
                rows.push((what, timed(run, &[from, &archive])));
                shell(r#"rm -rf "$0""#, &[&archive]);
            }
        }
        rows
    }
}

/// Neither compresses nor encrypts more than it must: parts are compressed already.
const ARCHIVES: [(&str, &str, &str, &str); 2] = [
    (
        "restic",
        "`restic backup`",
        r#"RESTIC_PASSWORD=x restic -q --no-cache -r "$0" init >/dev/null"#,
        r#"RESTIC_PASSWORD=x restic -q --no-cache --compression off -r "$1" backup "$0" >/dev/null && sync --file-system "$1""#,
    ),
    (
        "borg",
        "`borg create`",
        r#"borg init -e none "$0""#,
        r#"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes borg create -C none "$1::first" "$0" && sync --file-system "$1""#,
    ),
];

/// Seconds of bare system calls that link all files of the directories in `from`, and of a `syncfs`: names known before,
/// nothing checked.
pub fn bare_links(from: &Path, to: &Path, threads: usize) -> f64 {
    let names = |dir: &Path| -> Vec<OsString> {
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect()
    };
    let parts: Vec<(OsString, Vec<OsString>)> =
        names(from).into_iter().map(|part| (part.clone(), names(&from.join(&part)))).collect();
    fs::create_dir(to).expect("a new directory");
    let begun = Instant::now();
    threads::for_each(threads, &parts, |(part, files)| {
        let (source, target) = (from.join(part), to.join(part));
        fs::create_dir(&target).expect("a new directory");
        let open = |path: &Path| File::open(path).expect("a directory");
        let (source, target) = (open(&source), open(&target));
        for file in files {
            linkat(&source, file.as_os_str(), &target, file.as_os_str(), AtFlags::empty()).expect("a new link");
        }
    });
    nix::unistd::syncfs(File::open(to).expect("a directory")).expect("it can be synced");
    begun.elapsed().as_secs_f64()
}

/// Tools that are compared with and not installed.
pub fn missing() -> Vec<&'static str> {
    ["rsync", "rsnapshot", "restic", "borg"].into_iter().filter(|tool| !is_installed(tool)).collect()
}

fn is_installed(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", r#"command -v "$0" >/dev/null"#, tool]).status();
    found.is_ok_and(|status| status.success())
}

/// Runs a script whose arguments are `$0`, `$1` ….
pub fn shell(script: &str, arguments: &[&Path]) {
    let status = Command::new("sh").arg("-c").arg(script).args(arguments).status().expect("sh starts");
    assert!(status.success(), "{script}");
}

fn timed(script: &str, arguments: &[&Path]) -> f64 {
    let begun = Instant::now();
    shell(script, arguments);
    begun.elapsed().as_secs_f64()
}

/// Allocated bytes of a part: its files and its directory.
pub fn allocated_bytes(part: &Path) -> u64 {
    let own = fs::symlink_metadata(part).map_or(0, |stat| stat.blocks() * 512);
    own + files(part).map(|(_, stat)| stat.blocks() * 512).sum::<u64>()
}

/// Allocated bytes of a directory and of those in it, without files.
pub fn directory_bytes(dir: &Path) -> u64 {
    let own = fs::symlink_metadata(dir).map_or(0, |stat| stat.blocks() * 512);
    let inner = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let inner = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own + inner.map(|entry| directory_bytes(&entry.path())).sum::<u64>()
}

/// Sizes of the files of one column of a part.
pub fn column_bytes(part: &Path, column: &str) -> u64 {
    let is_of = |name: &str| name.strip_prefix(column).is_some_and(|rest| rest.starts_with('.'));
    files(part).filter(|(name, _)| is_of(name)).map(|(_, stat)| stat.len()).sum()
}

fn files(part: &Path) -> impl Iterator<Item = (String, fs::Metadata)> {
    let entries = fs::read_dir(part).expect("a part can be read").map(|entry| entry.expect("an entry"));
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("a file")))
}
