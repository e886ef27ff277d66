use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chsnap::fs;
use chsnap::ops::OpError;
use serde_json::json;

use super::early::Early;
use super::failure::Failure;
use super::globals::Globals;
use super::output::Output;
use super::{CommandResult, DONE};

/// Print units for systemd, and a line for cron, that run the nightly job
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Write the units into this directory instead
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// When the timer fires, as systemd.time(7) has it [default: 02:00 UTC, or every hour where [run] has every = "1h"]
    #[arg(long, value_name = "CALENDAR")]
    on_calendar: Option<String>,
    /// The program that the units run [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Units for any profile: chsnap@PROFILE.service and chsnap@PROFILE.timer
    #[arg(long)]
    template: bool,
}

const EXAMPLES: &str = "Examples:
  chsnap systemd --profile nfs
  chsnap systemd --profile nfs --output /etc/systemd/system && systemctl enable --now chsnap-nfs.timer
  chsnap systemd --template --output ./units";

/// Why nothing is said of single paths. It stands in the unit, for whoever is about to add it.
const NO_SINGLE_PATHS: &str = "\
# No ProtectSystem=strict, ReadWritePaths= or BindPaths= here: each path that they name becomes a mount of its own, and
# neither link(2) nor rename(2) works between two mounts, not even of one filesystem. Data and repository must be in one.
";

struct Unit {
    name: String,
    text: String,
}

pub(super) fn run(args: &Args, globals: &Globals, early: &Early, output: &Output) -> CommandResult {
    let profile = if args.template { None } else { early.profile.as_deref() };
    let units = units(args, globals, early, profile)?;
    let cron = cron(args, globals, profile)?;
    if let Some(directory) = &args.output {
        let written = fs::create_path(directory, 0o755, &fs::real())
            .and_then(|dir| units.iter().try_for_each(|unit| dir.publish(&unit.name, 0o644, unit.text.as_bytes())));
        written.map_err(OpError::from)?;
    }
    if output.is_json() {
        let texts: serde_json::Map<String, serde_json::Value> =
            units.iter().map(|unit| (unit.name.clone(), unit.text.as_str().into())).collect();
        output.json(&json!({"schema": output.schema(), "units": texts, "cron": cron, "written_to": args.output}));
        return Ok(DONE);
    }
    if let Some(directory) = &args.output {
        for unit in &units {
            output.text(&format!("wrote {}\n", directory.join(&unit.name).display()));
        }
        output.text("next: systemctl daemon-reload, then systemctl enable --now with the name of the timer\n");
        return Ok(DONE);
    }
    for unit in &units {
        output.text(&format!("# {}\n{}\n", unit.name, unit.text));
    }
    output.text(&format!("# or in /etc/cron.d/chsnap\n# {cron}\n"));
    Ok(DONE)
}

fn units(args: &Args, globals: &Globals, early: &Early, profile: Option<&str>) -> Result<[Unit; 2], Failure> {
    let name = match profile {
        _ if args.template => "chsnap@".to_owned(),
        None => "chsnap".to_owned(),
        Some(profile) if is_plain(profile) => format!("chsnap-{profile}"),
        Some(profile) => {
            return Err(Failure::usage(format!("the profile {profile:?} can be no part of a unit's name"))
                .with_hint("letters, digits, '-', '_' and '.' can"));
        }
    };
    let of = match profile {
        _ if args.template => " (%i)".to_owned(),
        Some(profile) => format!(" ({profile})"),
        None => String::new(),
    };
    let last = if args.template { Some("%i".to_owned()) } else { profile.map(str::to_owned) };
    let exec: Vec<String> = words(args, globals)?.iter().map(|word| quoted(word)).chain(last).collect();
    let mounts = early.repository().filter(|repo| repo.is_absolute() && !args.template);
    let mounts =
        mounts.map(|repo| format!("RequiresMountsFor={}\n", quoted(&repo.to_string_lossy()))).unwrap_or_default();
    let service = format!(
        "[Unit]
Description=Snapshot of ClickHouse{of}
Documentation=man:chsnap-run(1)
After=clickhouse-server.service network-online.target
Wants=network-online.target
{mounts}
[Service]
Type=oneshot
ExecStart={}
# 3 is: done, with warnings.
SuccessExitStatus=3
# A signal releases what the server has frozen, which may take as long as the freeze; nothing else of it is told.
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec=1h
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
CPUWeight=30
IOWeight=30
UMask=0027
# Where the index of a repository on NFS is kept.
StateDirectory=chsnap
Environment=XDG_STATE_HOME=/var/lib
# The password of the ClickHouse user, where it has one:
#LoadCredential=clickhouse-password:/etc/chsnap/password

{NO_SINGLE_PATHS}{}",
        exec.join(" "),
        hardening(&needed(globals, early)),
    );
    let calendar = args.on_calendar.clone().unwrap_or_else(|| default_calendar(early).to_owned());
    let timer = format!(
        "[Unit]
Description=Snapshots of ClickHouse, on time{of}

[Timer]
OnCalendar={}
# A night in which the machine was off is made up for.
Persistent=true
AccuracySec=1min
RandomizedDelaySec=5min

[Install]
WantedBy=timers.target
",
        calendar.replace('\n', " "),
    );
    Ok([Unit { name: format!("{name}.service"), text: service }, Unit { name: format!("{name}.timer"), text: timer }])
}

/// What the units must be able to reach: nothing of it may be hidden from them.
fn needed(globals: &Globals, early: &Early) -> Vec<PathBuf> {
    let paths = early.repository().into_iter().chain(globals.config.clone());
    paths.map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
}

/// What takes rights away that the job does not need. It runs as root: it must link files of the server's user, and
/// keep owner and mode of what it copies.
fn hardening(needed: &[PathBuf]) -> String {
    let mut text = String::new();
    let hidden = |roots: &[&str]| {
        let is_needed = needed.iter().any(|path| roots.iter().any(|root| path.starts_with(root)));
        if is_needed { "no" } else { "yes" }
    };
    let (home, tmp) = (hidden(&["/home", "/root", "/run/user"]), hidden(&["/tmp", "/var/tmp"]));
    for line in [
        "ProtectSystem=full",
        &format!("ProtectHome={home}"),
        &format!("PrivateTmp={tmp}"),
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallErrorNumber=EPERM",
        "KeyringMode=private",
    ] {
        writeln!(text, "{line}").expect("a String takes everything");
    }
    text
}

fn default_calendar(early: &Early) -> &'static str {
    let every = early.setting("run", "every").and_then(|text| super::globals::duration(&text).ok());
    match every {
        Some(every) if every <= Duration::from_secs(3600) => "hourly UTC",
        _ => "*-*-* 02:00:00 UTC",
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() < 200 && name.bytes().all(plain)
}

/// The program and its arguments, but for the profile.
fn words(args: &Args, globals: &Globals) -> Result<Vec<String>, Failure> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|error| Failure::failed("this program's own path is not known").caused_by(error.to_string()))?,
    };
    let text = |path: &Path| {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        absolute.into_os_string().into_string().map_err(|_| Failure::usage(format!("{} is not UTF-8", path.display())))
    };
    let mut words = vec![text(&program)?];
    if let Some(config) = globals.config.as_ref().filter(|config| !config.as_os_str().is_empty()) {
        words.extend(["--config".to_owned(), text(config)?]);
    }
    words.push("run".to_owned());
    Ok(words)
}

/// A word of a unit file: systemd reads `%`, `$`, quotes and backslashes in it.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if escaped.contains(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ';')) {
        format!("\"{escaped}\"")
    } else {
        escaped
    }
}

/// A line of `/etc/cron.d/`: it names the user, and cron reads `%` as the end of the line.
fn cron(args: &Args, globals: &Globals, profile: Option<&str>) -> Result<String, Failure> {
    let words = words(args, globals)?;
    let words = words.iter().map(String::as_str).chain(profile);
    let shell = |word: &str| {
        let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.=".contains(&byte));
        let word = if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) };
        word.replace('%', "\\%")
    };
    let line: Vec<String> = words.map(shell).collect();
    Ok(format!("0 2 * * * root nice -n 10 ionice -c 2 -n 7 {} --progress none >/dev/null", line.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::{is_plain, quoted};

    #[test]
    fn what_systemd_would_read_in_a_path_is_escaped() {
        assert_eq!(quoted("/usr/bin/chsnap"), "/usr/bin/chsnap");
        assert_eq!(quoted("/a b/100%"), "\"/a b/100%%\"");
        assert_eq!(quoted("/$x\\\"y"), "\"/$$x\\\\\\\"y\"");
        assert!(is_plain("nfs-1.b") && !is_plain("a/b") && !is_plain("a@b") && !is_plain(""));
    }
}
