use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{Local, Utc};
use chsnap::fs;
use chsnap::ops::OpError;
use chsnap::plan::Schedule;
use clap::ArgMatches;
use clap::parser::ValueSource;

use super::documents::SystemdDocument;
use super::failure::CommandFailure;
use super::globals::duration;
use super::invocation::Invocation;
use super::output::Output;
use super::run::hook_programs;
use super::settings::GLOBAL;
use super::unit_words::{absolute, checked, normal, plain_duration, program};
use super::words::shell;
use super::{CommandResult, DONE};

/// Print units for systemd, and a line for cron, that run the nightly job
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Write the units into this directory instead of printing them
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// When the timer fires, in the format of systemd.time(7) [default: at 02:00 UTC, or at the interval of --every]
    #[arg(long, value_name = "CALENDAR")]
    on_calendar: Option<Schedule>,
    /// How often the job runs; a run that is late is reported as missed [default: that of [run], else that of the
    /// calendar]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// The program that the units run [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Print template units for any profile: chsnap@PROFILE.service and chsnap@PROFILE.timer
    #[arg(long)]
    template: bool,
    /// Allow units without a configured repository, for example in a package that ships its own configuration
    #[arg(long)]
    unconfigured: bool,
}

const EXAMPLES: &str =
    "The unit contains the options that this command was given: --repo, --url, --user, --password-file, --path-map, \
    --config, and their environment variables; never a password. Without a repository the command fails.

Examples:
  chsnap systemd --profile nfs
  chsnap systemd --profile nfs --output /etc/systemd/system && systemctl enable --now chsnap-nfs.timer
  chsnap systemd --repo /var/lib/clickhouse/chsnap --every 6h --output /etc/systemd/system
  chsnap systemd --template --output ./units";

/// Explains, within the unit, why single paths are not protected, for a reader who wants to add them.
const NO_SINGLE_PATHS: &str = "\
# Do not add ProtectSystem=strict, ReadWritePaths= or BindPaths=: each path that they name becomes a mount of its own,
# and neither link(2) nor rename(2) works between two mounts, even of one filesystem. Data and repository must share one.
";

struct Unit {
    name: String,
    text: String,
}

/// The command that the unit runs.
struct UnitJob {
    program: String,
    /// Options before the command.
    options: Vec<String>,
    /// Variables of the environment.
    variables: Vec<(String, String)>,
    /// Paths that it must be able to reach.
    needed: Vec<PathBuf>,
    /// Configuration and password files, which root reads only if they belong to root.
    decisive: Vec<PathBuf>,
    schedule: Schedule,
    /// How often it runs, if the configuration does not define it.
    every: Option<Duration>,
}

pub(super) fn run(args: &Args, invocation: &Invocation, found: &ArgMatches, output: &Output) -> CommandResult {
    let profile = if args.template { None } else { invocation.profile.as_deref() };
    check_configured(args, invocation, found)?;
    let job = job(args, invocation, found)?;
    let units = units(args, invocation, profile, &job)?;
    for path in job.decisive.iter().filter(|path| std::fs::metadata(path).is_ok_and(|stat| stat.uid() != 0)) {
        let path = path.display();
        output.note(&format!("{path} is not root's: the unit runs as root, and refuses it (chown root {path})"));
    }
    let cron = cron(&job, profile, args.template);
    if let Some(directory) = &args.output {
        let written = fs::create_path(directory, 0o755, &fs::real())
            .and_then(|dir| units.iter().try_for_each(|unit| dir.publish(&unit.name, 0o644, unit.text.as_bytes())));
        written.map_err(OpError::from)?;
    }
    if output.is_json() {
        let document = SystemdDocument {
            units: units.iter().map(|unit| (unit.name.clone(), unit.text.clone())).collect(),
            cron: cron.as_ref().ok().cloned(),
            no_cron: cron.as_ref().err().cloned(),
            on_calendar: job.schedule.to_string(),
            written_to: args.output.as_ref().map(|path| path.to_string_lossy().into_owned()),
        };
        output.document(&document, &[]);
        return Ok(DONE);
    }
    if let Some(directory) = &args.output {
        for unit in &units {
            output.prose(&format!("wrote {}\n", directory.join(&unit.name).display()));
        }
        let [_, timer] = &units;
        let timer = timer.name.replace('@', "@PROFILE");
        output.prose(&format!("next: systemctl daemon-reload && systemctl enable --now {timer}\n"));
        return Ok(DONE);
    }
    for unit in &units {
        output.text(&format!("# {}\n{}\n", unit.name, unit.text));
    }
    match &cron {
        Ok(line) => output.text(&format!("# or in /etc/cron.d/chsnap\n# {line}\n")),
        Err(reason) => output.text(&format!("# no line for cron: {reason}\n")),
    }
    Ok(DONE)
}

/// Checks that there is a repository and a password: the nightly run would be too late to find out.
fn check_configured(args: &Args, invocation: &Invocation, found: &ArgMatches) -> Result<(), CommandFailure> {
    if args.unconfigured {
        return Ok(());
    }
    if !args.template && invocation.repository().is_none() {
        let profiles = invocation.profiles();
        let hint = if profiles.is_empty() {
            "give --repo DIR, or let chsnap config init write a configuration first".to_owned()
        } else {
            format!("give --repo DIR, or one of the configured profiles: {} (--profile)", profiles.join(", "))
        };
        return Err(CommandFailure::usage("no repository is named: the units would fail").with_hint(hint));
    }
    let has_variable = std::env::var_os("CHSNAP_PASSWORD").is_some_and(|password| !password.is_empty());
    let has_file = found.get_raw("password_file").is_some_and(|mut raw| raw.any(|path| !path.is_empty()));
    if has_variable && !has_file {
        let message = "the password of CHSNAP_PASSWORD is not written into a unit, and without it the units would fail";
        return Err(CommandFailure::usage(message)
            .with_hint("put it into a file that only root may read, and name that with --password-file"));
    }
    Ok(())
}

/// Global options that concern the user at the terminal, and do not belong in a unit.
const OF_THE_TERMINAL: [&str; 4] = ["color", "progress", "quiet", "verbose"];
const PATHS: [&str; 3] = ["ca_file", "password_file", "repo"];

fn job(args: &Args, invocation: &Invocation, found: &ArgMatches) -> Result<UnitJob, CommandFailure> {
    let (mut options, mut variables, mut needed) = (Vec::new(), Vec::new(), Vec::new());
    let mut decisive = invocation.settings.files.clone();
    // A package is built where its program is not installed.
    let is_installed = !args.unconfigured;
    let program = program(args.program.as_deref(), is_installed)?;
    needed.push(PathBuf::from(&program));
    if let Some(config) = found.get_one::<PathBuf>("config").filter(|config| !config.as_os_str().is_empty()) {
        options.extend(["--config".to_owned(), absolute("config", config)?]);
        needed.push(config.clone());
    }
    for place in &invocation.settings.private_places {
        variables.push((place.variable.to_owned(), absolute(place.variable, &place.directory)?));
        needed.push(place.directory.clone());
    }
    for (key, option) in invocation.schema.section(GLOBAL).into_iter().flatten() {
        let source = found.value_source(&option.id);
        let is_given = matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        // The profile decides which repository a template is for.
        let is_of_profile = args.template && key == "repo";
        if !is_given || is_of_profile || OF_THE_TERMINAL.contains(&key.as_str()) {
            continue;
        }
        let values = found.get_raw(&option.id).into_iter().flatten();
        for value in values.filter(|value| !value.is_empty()) {
            let text = value.to_str().ok_or_else(|| CommandFailure::usage(format!("the {key} is not UTF-8")))?;
            let text =
                if PATHS.contains(&key.as_str()) { absolute(key, Path::new(text))? } else { checked(key, text)? };
            match &option.variable {
                Some(variable) => match variables.iter_mut().find(|(name, _)| name == variable) {
                    Some((_, all)) => *all = format!("{all},{text}"),
                    None => variables.push((variable.clone(), text)),
                },
                None => options.extend([format!("--{}", key.replace('_', "-")), text]),
            }
        }
    }
    // Not a configuration key: a unit has it only if it is given.
    if let Some(series) = found.get_one::<String>("series") {
        options.extend(["--series".to_owned(), checked("series", series)?]);
    }
    for key in PATHS {
        let paths = found.get_raw(key).into_iter().flatten();
        needed.extend(paths.filter(|path| !path.is_empty()).map(PathBuf::from));
    }
    decisive.extend(found.get_raw("password_file").into_iter().flatten().map(PathBuf::from));
    needed.extend(invocation.repository());
    let of_run = |key: &str| invocation.setting("run", key);
    needed.extend(of_run("metrics_file").map(PathBuf::from));
    for hook in ["before", "after"].into_iter().filter_map(of_run) {
        needed.extend(hook_programs(&hook));
    }
    let (schedule, every) = schedule(args, invocation)?;
    Ok(UnitJob { program, options, variables, needed, decisive, schedule, every })
}

const DAY: Duration = Duration::from_secs(86_400);

/// When the timer fires, and its interval, if `run` must be told.
fn schedule(args: &Args, invocation: &Invocation) -> Result<(Schedule, Option<Duration>), CommandFailure> {
    let configured = invocation.setting("run", "every").and_then(|text| duration(&text).ok());
    let every = args.every.or(configured);
    let schedule = match &args.on_calendar {
        Some(schedule) => schedule.clone(),
        None => usual(every.unwrap_or(DAY))?,
    };
    if !schedule.comes_after(Utc::now(), *Local::now().offset()) {
        let message = format!("the calendar {schedule} never comes again: the timer would never fire");
        return Err(CommandFailure::usage(message).with_hint("write when it fires, for example '*-*-* 02:00:00 UTC'"));
    }
    let gap = schedule.longest_gap(Utc::now().date_naive());
    let is_missed = |every: Duration| gap.is_some_and(|gap| gap >= every + every / 2);
    if let Some(every) = args.every.filter(|every| is_missed(*every)) {
        let [gap, every] = [gap.unwrap_or_default(), every].map(plain_duration);
        let message = format!("{schedule} is as far apart as {gap}: with --every {every} each run would miss others");
        return Err(CommandFailure::usage(message).with_hint("leave --every out: it follows from --on-calendar"));
    }
    // A given calendar has its own interval, whatever the configuration says; otherwise the configuration defines it.
    let of_calendar = gap.filter(|_| args.on_calendar.is_some());
    let of_line = args.every.filter(|every| args.on_calendar.is_some() || *every != configured.unwrap_or(DAY));
    Ok((schedule, of_line.or(of_calendar)))
}

/// The usual calendar for a job with this interval.
fn usual(every: Duration) -> Result<Schedule, CommandFailure> {
    let minutes = every.as_secs() / 60;
    let text = match minutes {
        60 => "hourly UTC".to_owned(),
        1440 => "*-*-* 02:00:00 UTC".to_owned(),
        10080 => "Sun *-*-* 02:00:00 UTC".to_owned(),
        _ if !every.as_secs().is_multiple_of(60) => String::new(),
        1..60 if 60 % minutes == 0 => format!("*-*-* *:00/{minutes}:00 UTC"),
        61..1440 if minutes.is_multiple_of(60) && 1440 % minutes == 0 => {
            let hours = minutes / 60;
            format!("*-*-* {:02}/{hours}:00:00 UTC", 2 % hours)
        }
        _ => String::new(),
    };
    let every = humantime::format_duration(every);
    text.parse().map_err(|_| {
        CommandFailure::usage(format!("no calendar fires every {every}: days and weeks are divided evenly"))
            .with_hint("write when it fires with --on-calendar, for example '*-*-1/2 02:00:00 UTC'")
    })
}

/// The arguments of the job, including the profile.
fn arguments(job: &UnitJob, profile: Option<&str>) -> Vec<String> {
    let mut words = vec![job.program.clone()];
    words.extend(job.options.iter().cloned());
    words.push("run".to_owned());
    words.extend(profile.map(str::to_owned));
    words.extend(job.every.map(|every| format!("--every={}", plain_duration(every))));
    words
}

fn units(
    args: &Args,
    invocation: &Invocation,
    profile: Option<&str>,
    job: &UnitJob,
) -> Result<[Unit; 2], CommandFailure> {
    let name = match profile {
        _ if args.template => "chsnap@".to_owned(),
        None => "chsnap".to_owned(),
        Some(profile) if is_plain(profile) => format!("chsnap-{profile}"),
        Some(profile) => {
            return Err(CommandFailure::usage(format!("the profile {profile:?} can be no part of a unit's name"))
                .with_hint("letters, digits, '-', '_' and '.' can"));
        }
    };
    let of = match profile {
        _ if args.template => " (%i)".to_owned(),
        Some(profile) => format!(" ({profile})"),
        None => String::new(),
    };
    let instance = if args.template { Some(INSTANCE) } else { profile };
    let exec: Vec<String> = arguments(job, instance).iter().map(|word| quoted(word)).collect();
    let exec = exec.join(" ").replace(INSTANCE, "%i");
    let mounts = invocation.repository().filter(|_| !args.template).map(|repo| absolute("repo", &repo)).transpose()?;
    let mounts = mounts.map(|repo| format!("RequiresMountsFor={}\n", quoted(&repo))).unwrap_or_default();
    // A package also installs the manual pages.
    let documentation = if args.unconfigured { "Documentation=man:chsnap-run(1)\n" } else { "" };
    let assignments = job.variables.iter().map(|(name, value)| quoted_setting(&format!("{name}={value}")));
    let variables: String =
        assignments.flat_map(|assignment| ["Environment=".to_owned(), assignment, "\n".to_owned()]).collect();
    let service = format!(
        "[Unit]
Description=Snapshot of ClickHouse{of}
{documentation}After=clickhouse-server.service network-online.target
Wants=network-online.target
{mounts}
[Service]
Type=oneshot
ExecStart={exec}
{variables}# Exit code 3: done, with warnings.
SuccessExitStatus=3
# Only the main process gets a signal; it then releases its freezes, which may take as long as a freeze.
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec=1h
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
CPUWeight=30
IOWeight=30
UMask=0027
# The directory for the index of a repository on NFS.
StateDirectory=chsnap
Environment=XDG_STATE_HOME=/var/lib
# The password of the ClickHouse user, if it has one:
#LoadCredential=clickhouse-password:/etc/chsnap/password

{NO_SINGLE_PATHS}{}",
        hardening(&job.needed),
    );
    let timer = format!(
        "[Unit]
Description=Snapshots of ClickHouse, on time{of}

[Timer]
OnCalendar={}
# A run that was missed because the machine was off starts when it is on again.
Persistent=true
AccuracySec=1min
RandomizedDelaySec=5min

[Install]
WantedBy=timers.target
",
        job.schedule,
    );
    Ok([Unit { name: format!("{name}.service"), text: service }, Unit { name: format!("{name}.timer"), text: timer }])
}

/// A placeholder for the instance of a template until its words are quoted.
const INSTANCE: &str = "\u{1}";

/// Directives that remove rights which the job does not need. It runs as root: it must link files of the server's user,
/// and preserve owner and mode of what it copies. No path in `needed` may be hidden from it.
fn hardening(needed: &[PathBuf]) -> String {
    let mut text = String::new();
    let needed: Vec<PathBuf> = needed.iter().flat_map(|path| places(path)).collect();
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

/// The path as written, and the target of its symbolic links.
fn places(path: &Path) -> Vec<PathBuf> {
    let absolute = normal(path).unwrap_or_else(|_| path.to_owned());
    let real = std::fs::canonicalize(path).ok();
    std::iter::once(absolute).chain(real).collect()
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() < 200 && name.bytes().all(plain)
}

/// A word of a command in a unit file: systemd interprets `%`, `$`, quotes and backslashes in it.
fn quoted(word: &str) -> String {
    quoted_setting(&word.replace('$', "$$"))
}

/// A word of a setting, in which `$` has no special meaning.
fn quoted_setting(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    if escaped.contains(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ';')) {
        format!("\"{escaped}\"")
    } else {
        escaped
    }
}

/// A line of `/etc/cron.d/`: it names the user, and cron reads `%` as the end of the line. The error says why there is
/// none.
fn cron(job: &UnitJob, profile: Option<&str>, is_template: bool) -> Result<String, String> {
    let fields = job.schedule.cron(&local_zone()).map_err(|problem| problem.to_string())?;
    let word = |word: &str| shell(word).replace('%', "\\%");
    let variables = job.variables.iter().map(|(name, value)| format!("{name}={value}"));
    let variables: Vec<String> = variables.map(|variable| format!("{} ", word(&variable))).collect();
    let env = if variables.is_empty() { String::new() } else { format!("env {}", variables.concat()) };
    let profile = if is_template { Some("PROFILE") } else { profile };
    let line: Vec<String> = arguments(job, profile).iter().map(|argument| word(argument)).collect();
    Ok(format!("{fields} root nice -n 10 ionice -c 2 -n 7 {env}{} --progress none >/dev/null", line.join(" ")))
}

/// The time zone that cron uses.
fn local_zone() -> String {
    let link = std::fs::read_link("/etc/localtime").ok();
    let of_link = link.and_then(|link| Some(link.to_str()?.split_once("zoneinfo/")?.1.to_owned()));
    let of_file = || std::fs::read_to_string("/etc/timezone").ok().map(|text| text.trim().to_owned());
    of_link.or_else(of_file).filter(|zone| !zone.is_empty()).unwrap_or_else(|| "UTC".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{is_plain, quoted, quoted_setting, usual};

    #[test]
    fn characters_special_to_systemd_are_escaped_in_a_path() {
        assert_eq!(quoted("/usr/bin/chsnap"), "/usr/bin/chsnap");
        assert_eq!(quoted("/a b/100%"), "\"/a b/100%%\"");
        assert_eq!(quoted("/$x\\\"y"), "\"/$$x\\\\\\\"y\"");
        assert_eq!(quoted_setting("CHSNAP_REPO=/$x 1%"), "\"CHSNAP_REPO=/$x 1%%\"");
        assert!(is_plain("nfs-1.b") && !is_plain("a/b") && !is_plain("a@b") && !is_plain(""));
    }

    #[test]
    fn a_calendar_fires_at_its_interval() {
        let from = chrono::NaiveDate::from_ymd_opt(2026, 11, 29).expect("a day");
        for minutes in [1, 5, 15, 30, 60, 120, 180, 240, 360, 480, 720, 1440, 10080] {
            let every = Duration::from_secs(minutes * 60);
            let schedule = usual(every).expect("a calendar");
            assert_eq!(schedule.longest_gap(from), Some(every), "{schedule}");
        }
        for hours in [5, 36, 48] {
            assert!(usual(Duration::from_secs(hours * 3600)).is_err());
        }
    }
}
