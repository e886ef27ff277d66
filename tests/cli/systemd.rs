//! Units for systemd and the line for cron.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cli::support::{Lab, names};

fn configured() -> (Lab, String) {
    let lab = Lab::new();
    let config = lab.path().join("chsnap.toml");
    let repo = lab.repo().display().to_string();
    let text = format!("repo = {repo:?}\n[profile.nfs]\n[profile.hourly.run]\nevery = \"1h\"\n[profile.\"a/b\"]\n");
    fs::write(&config, text).expect("a file");
    let config = config.display().to_string();
    (lab, config)
}

fn units(lab: &Lab, arguments: &[&str]) -> Value {
    let run = lab.run(0, &[&["--json"], arguments, &["systemd"]].concat());
    serde_json::from_str(&run.stdout).expect("a document")
}

#[test]
fn units_are_named_after_their_profile_and_run_it() {
    let (lab, config) = configured();
    let found = units(&lab, &["--config", &config, "--profile", "nfs"]);
    let service = found["units"]["chsnap-nfs.service"].as_str().expect("a service");
    let timer = found["units"]["chsnap-nfs.timer"].as_str().expect("a timer");
    let program = env!("CARGO_BIN_EXE_chsnap");
    assert!(service.contains(&format!("ExecStart={program} --config {config} run nfs\n")), "{service}");
    assert!(service.contains(&format!("RequiresMountsFor={}\n", lab.repo().display())), "{service}");
    assert!(service.contains("\nSuccessExitStatus=3\n") && service.contains("\nNice=10\n"), "{service}");
    assert!(timer.contains("OnCalendar=*-*-* 02:00:00 UTC\n") && timer.contains("Persistent=true\n"), "{timer}");
    let cron = found["cron"].as_str().expect("a line");
    assert!(cron.starts_with("0 2 * * * root nice -n 10 ionice ") && cron.contains(" run nfs "), "{cron}");
    let hourly = units(&lab, &["--config", &config, "--profile", "hourly"]);
    assert!(hourly["units"]["chsnap-hourly.timer"].as_str().expect("a timer").contains("OnCalendar=hourly UTC\n"));
    assert!(
        lab.run(2, &["--config", &config, "--profile", "a/b", "systemd"]).stderr.contains("no part of a unit's name")
    );
}

#[test]
fn the_series_of_the_command_line_is_that_of_the_unit() {
    let (lab, config) = configured();
    let found = units(&lab, &["--config", &config, "--profile", "nfs", "--series", "all"]);
    let service = found["units"]["chsnap-nfs.service"].as_str().expect("a service");
    assert!(service.contains(" --series all run nfs\n"), "{service}");
    assert!(found["cron"].as_str().is_some_and(|line| line.contains(" --series all run nfs ")), "{found}");
}

#[test]
fn data_and_repository_stay_in_one_mount() {
    let (lab, config) = configured();
    for arguments in
        [&["systemd"][..], &["systemd", "--template"], &["--config", &config, "--profile", "nfs", "systemd"]]
    {
        let text = lab.run(0, arguments).stdout;
        let settings = text.lines().filter(|line| !line.starts_with('#'));
        for line in settings {
            for splitting in [
                "ReadWritePaths",
                "ReadOnlyPaths",
                "InaccessiblePaths",
                "BindPaths",
                "RootDirectory",
                "TemporaryFileSystem",
                "ProtectSystem=strict",
                "DynamicUser",
            ] {
                assert!(!line.starts_with(splitting), "{line}");
            }
        }
        assert!(text.contains("becomes a mount of its own"), "the unit explains why");
    }
}

/// Runs `systemd-analyze`; says so where it is not there.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("systemd-analyze").args(arguments).output() else {
        eprintln!("SKIPPED: systemd-analyze is not here to check the units (Debian's package systemd has it)");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn verified(directory: &Path) {
    for name in names(directory) {
        let unit = directory.join(&name).display().to_string();
        // A template is verified as one of its instances.
        let unit = unit.replace("chsnap@.", "chsnap@x.");
        if unit.contains("chsnap@x.") {
            fs::copy(directory.join(&name), &unit).expect("copied");
        }
        let Some((is_well, told)) = analyze(&["verify", "--man=no", &unit]) else { return };
        assert!(is_well && told.trim().is_empty(), "{unit}: {told}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (lab, config) = configured();
    for (name, arguments) in [
        ("plain", &["systemd"][..]),
        ("nfs", &["--config", &config, "--profile", "nfs", "systemd"]),
        ("template", &["systemd", "--template"]),
    ] {
        let directory = lab.path().join(name);
        lab.run(0, &[arguments, &["--output", directory.to_str().expect("a path")]].concat());
        assert_eq!(names(&directory).len(), 2);
        verified(&directory);
    }
}

#[test]
fn systemd_calls_the_service_well_protected() {
    let (lab, _) = configured();
    let directory = lab.path().join("units");
    lab.run(0, &["systemd", "--output", directory.to_str().expect("a path")]);
    let unit = directory.join("chsnap.service").display().to_string();
    // From 0, closed, to 10, open: what is left is root with the rights over files, and the network.
    let Some((is_well, told)) = analyze(&["security", "--offline=yes", "--threshold=45", "--no-pager", &unit]) else {
        return;
    };
    assert!(is_well, "{told}");
}

/// The unit that a command line without a configuration gives.
fn unit_of(lab: &Lab, arguments: &[&str]) -> (String, String, String) {
    let found = units(lab, arguments);
    let text = |name: &str| found["units"][name].as_str().expect("a unit").to_owned();
    (text("chsnap.service"), text("chsnap.timer"), found["cron"].as_str().unwrap_or_default().to_owned())
}

fn systemd(lab: &Lab, arguments: &[&str]) -> (String, String, String) {
    let run = lab.run(0, &[&["--json", "systemd"], arguments].concat());
    let found: Value = serde_json::from_str(&run.stdout).expect("a document");
    let text = |name: &str| found["units"][name].as_str().expect("a unit").to_owned();
    (text("chsnap.service"), text("chsnap.timer"), found["cron"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_options_of_the_command_line_are_in_the_unit_and_in_the_cron_line() {
    let lab = Lab::new();
    let password = lab.path().join("pass word");
    fs::write(&password, "x").expect("a file");
    let password = password.display().to_string();
    let given = [
        "--user",
        "snap",
        "--password-file",
        &password,
        "--path-map",
        "/var/lib/clickhouse=/srv/100%",
        "--lock-wait",
        "30m",
    ];
    let (service, _, cron) = unit_of(&lab, &given);
    let repo = lab.repo().display().to_string();
    for line in [
        format!("Environment=CHSNAP_REPO={repo}"),
        "Environment=CHSNAP_URL=http://127.0.0.1:9".to_owned(),
        "Environment=CHSNAP_USER=snap".to_owned(),
        format!("Environment=\"CHSNAP_PASSWORD_FILE={password}\""),
        "Environment=CHSNAP_PATH_MAP=/var/lib/clickhouse=/srv/100%%".to_owned(),
        format!("ExecStart={} --lock-wait 30m run", env!("CARGO_BIN_EXE_chsnap")),
        "PrivateTmp=no".to_owned(),
    ] {
        assert!(service.lines().any(|found| found == line), "{line} in {service}");
    }
    assert!(cron.contains(&format!(" CHSNAP_REPO={repo} ")) && cron.contains(" 'CHSNAP_PASSWORD_FILE="), "{cron}");
    assert!(cron.contains("/srv/100\\%"), "cron reads % as the end of the line: {cron}");
    // The user's own configuration is not root's at night.
    let of_user = lab.repo().with_extension("config");
    fs::create_dir_all(of_user.join("chsnap")).expect("a directory");
    fs::write(of_user.join("chsnap/config.toml"), "jobs = 2\n").expect("a file");
    let (service, _, _) = unit_of(&lab, &[]);
    assert!(service.contains(&format!("Environment=XDG_CONFIG_HOME={}\n", of_user.display())), "{service}");
}

#[test]
fn the_unit_does_at_night_what_the_command_line_did() {
    let lab = Lab::new();
    let freezer = crate::freezer::Freezer::start(&lab.path().join("ch"));
    freezer.add_part("events", "all_1_1_0");
    let run = lab.chsnap().clone().url(freezer.url()).expect(0, &["--progress", "none", "--json", "systemd"]);
    let found: Value = serde_json::from_str(&run.stdout).expect("a document");
    let service = found["units"]["chsnap.service"].as_str().expect("a unit");
    // As systemd starts it: an environment with what the unit says, and no more.
    let mut command = Command::new("env");
    command.arg("-i").args(service.lines().filter_map(|line| line.strip_prefix("Environment=")));
    command.arg(format!("XDG_STATE_HOME={}", lab.path().join("state").display()));
    let exec = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    command.args(exec.split(' '));
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&lab.repo().join("snapshots")).len(), 1);
    // As cron does.
    let cron = found["cron"].as_str().expect("a line");
    let (_, line) = cron.split_once(" root ").expect("a user");
    let output = Command::new("env").args(["-i", "PATH=/usr/bin:/bin", "sh", "-c", line]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&lab.repo().join("snapshots")).len(), 2);
}

#[test]
fn units_that_would_fail_are_refused() {
    let lab = Lab::new();
    let bare = |arguments: &[&str], password: Option<&str>| {
        let mut command = lab.chsnap().command(arguments);
        command.env_remove("CHSNAP_REPO").envs(password.map(|password| ("CHSNAP_PASSWORD", password)));
        crate::chsnap_command::Run::of(&command.output().expect("chsnap starts"))
    };
    let run = bare(&["systemd"], None);
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("no repository is named") && run.stderr.contains("--repo DIR"), "{}", run.stderr);
    assert!(run.stdout.is_empty());
    let run = bare(&["systemd", "--repo", "/srv/chsnap"], Some("hunter2"));
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("--password-file") && !run.stderr.contains("hunter2"), "{}", run.stderr);
    let run = bare(&["systemd", "--repo", "/srv/chsnap", "--password-file", "/etc/chsnap/password"], Some("hunter2"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stdout.contains("hunter2"));
    assert_eq!(bare(&["systemd", "--template"], None).code, 0, "which repository is the profile's to say");
    assert_eq!(bare(&["systemd", "--unconfigured"], None).code, 0);
}

#[test]
fn the_timer_the_run_and_cron_go_by_one_calendar() {
    let lab = Lab::new();
    for (arguments, calendar, exec, cron) in [
        (&[][..], "*-*-* 02:00:00 UTC", "run\n", "0 2 * * * "),
        (&["--every", "6h"], "*-*-* 02/6:00:00 UTC", "run --every=6h\n", "0 2,8,14,20 * * * "),
        (&["--every", "30m"], "*-*-* *:00/30:00 UTC", "run --every=30m\n", "*/30 * * * * "),
        (&["--on-calendar", "Sun 03:30 UTC"], "Sun 03:30 UTC", "run --every=7days\n", "30 3 * * 0 "),
        (&["--on-calendar", "Mon..Fri 22:15"], "Mon..Fri 22:15", "run --every=3days\n", "15 22 * * 1-5 "),
        (&["--on-calendar", "hourly"], "hourly", "run --every=1h\n", "0 * * * * "),
    ] {
        let (service, timer, line) = systemd(&lab, arguments);
        assert!(timer.contains(&format!("OnCalendar={calendar}\n")), "{arguments:?}: {timer}");
        assert!(service.contains(exec), "{arguments:?}: {service}");
        assert!(line.starts_with(cron), "{arguments:?}: {line}");
    }
    let none = lab.run(0, &["systemd", "--on-calendar", "*-*~1 02:00"]).stdout;
    assert!(none.contains("# no line for cron: cron cannot count days from the end of a month"), "{none}");
    let none = lab.run(0, &["--json", "systemd", "--on-calendar", "02:00:30"]).stdout;
    let none: Value = serde_json::from_str(&none).expect("a document");
    assert_eq!((&none["cron"], &none["no_cron"]), (&Value::Null, &"cron starts at full minutes only".into()));
    for bad in ["nonsense", "25:00", "*-13-01", "every day", "02:00\n[Service]"] {
        let run = lab.run(2, &["systemd", "--on-calendar", bad]);
        assert!(run.stderr.contains("is no calendar expression of systemd: "), "{}", run.stderr);
    }
    assert!(lab.run(2, &["systemd", "--every", "5h"]).stderr.contains("--on-calendar"));
    let run = lab.run(2, &["systemd", "--every", "1h", "--on-calendar", "daily"]);
    assert!(run.stderr.contains("each run would miss others"), "{}", run.stderr);
}

/// A line break in a value would be a directive of its own.
#[test]
fn a_control_character_in_what_goes_into_a_unit_is_refused_and_names_the_option() {
    let lab = Lab::new();
    let directory = lab.path().join("units");
    let output = directory.to_str().expect("a path");
    let evil = "/srv/a\nExecStartPre=/nonexist/evil\nX=1";
    for (option, value) in [
        ("--repo", evil),
        ("--url", "http://h\n[Service]"),
        ("--user", "u\nX=1"),
        ("--password-file", evil),
        ("--ca-file", evil),
        ("--path-map", "/a=/b\nX=1"),
        ("--program", evil),
        ("--repo", "/srv/\u{1}"),
        ("--repo", "/srv/a\tb"),
        ("--repo", "/srv/a\rb"),
        ("--user", "a\u{85}b"),
    ] {
        let run = lab.run(2, &["systemd", option, value, "--output", output]);
        assert!(!run.stderr.contains("ExecStartPre=/nonexist/evil\n"), "{}", run.stderr);
        assert!(!directory.exists() && run.stdout.is_empty(), "{option}: {}", run.stdout);
        if option != "--url" {
            assert!(run.stderr.contains(&format!("the value of {option} has a control character")), "{}", run.stderr);
        }
    }
    // What the configuration and the environment say goes into the unit too.
    let config = lab.path().join("evil.toml");
    fs::write(&config, format!("repo = {evil:?}\n")).expect("a file");
    let mut command = lab.chsnap().command(&["--config", config.to_str().expect("a path"), "systemd"]);
    let run = crate::chsnap_command::Run::of(&command.env_remove("CHSNAP_REPO").output().expect("chsnap starts"));
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("the value of --repo has a control character"), "{}", run.stderr);
    let mut command = lab.chsnap().command(&["systemd"]);
    let run = crate::chsnap_command::Run::of(&command.env("CHSNAP_USER", "a\nb").output().expect("chsnap starts"));
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(run.stderr.contains("the value of --user has a control character"), "{}", run.stderr);
}

#[test]
fn a_program_that_systemd_could_not_start_is_refused() {
    let lab = Lab::new();
    for letter in ["'", "\"", "\\", "$"] {
        let directory = lab.path().join(format!("a{letter}b"));
        fs::create_dir(&directory).expect("a directory");
        let program = directory.join("chsnap");
        fs::copy(env!("CARGO_BIN_EXE_chsnap"), &program).expect("copied");
        let run = lab.run(2, &["systemd", "--program", program.to_str().expect("a path")]);
        assert!(
            run.stderr.contains(&format!("systemd starts no program whose path has {letter} in it")),
            "{}",
            run.stderr
        );
    }
    let plain = lab.path().join("plain");
    fs::write(&plain, "x").expect("a file");
    for program in ["/nonexistent/chsnap", "/etc", plain.to_str().expect("a path")] {
        let run = lab.run(2, &["systemd", "--program", program]);
        assert!(run.stderr.contains("does not exist, or cannot be run"), "{}", run.stderr);
    }
    assert!(lab.run(2, &["systemd", "--program", "no-such-chsnap"]).stderr.contains("no directory of PATH has"));
    let found = Path::new(env!("CARGO_BIN_EXE_chsnap")).parent().expect("a directory");
    let mut command = lab.chsnap().command(&["systemd", "--program", "chsnap"]);
    let run = crate::chsnap_command::Run::of(&command.env("PATH", found).output().expect("chsnap starts"));
    assert!(run.stdout.contains(&format!("ExecStart={} run\n", env!("CARGO_BIN_EXE_chsnap"))), "{}", run.stderr);
    // A package is made where its program is not installed.
    lab.run(0, &["systemd", "--unconfigured", "--program", "/nonexistent/chsnap"]);
}

#[test]
fn a_path_in_a_unit_has_no_parent_components() {
    let lab = Lab::new();
    let (service, _, cron) = unit_of(&lab, &["--repo", "/a/../srv/./b/../chsnap"]);
    assert!(service.contains("Environment=CHSNAP_REPO=/srv/chsnap\n"), "{service}");
    assert!(service.contains("RequiresMountsFor=/srv/chsnap\n"), "{service}");
    assert!(cron.contains("CHSNAP_REPO=/srv/chsnap "), "{cron}");
    let link = lab.path().join("link");
    std::os::unix::fs::symlink("/usr/bin", &link).expect("a link");
    let run = lab.run(2, &["systemd", "--repo", &format!("{}/../chsnap", link.display())]);
    assert!(run.stderr.contains("from the symbolic link") && run.stderr.contains("--repo"), "{}", run.stderr);
}

#[test]
fn a_calendar_that_never_comes_again_is_refused_with_the_reason() {
    let lab = Lab::new();
    for calendar in ["2025-01-01", "*-02-30 02:00", "@0", "2020..2024-*-01"] {
        let run = lab.run(2, &["systemd", "--on-calendar", calendar]);
        assert!(run.stderr.contains("never comes again: the timer would never fire"), "{}", run.stderr);
        assert!(run.stderr.contains(calendar), "{}", run.stderr);
    }
    lab.run(0, &["systemd", "--on-calendar", "*-02-29 02:00"]);
}

/// Whatever interval the configuration has, the one of the calendar goes with it.
#[test]
fn on_calendar_passes_its_own_interval_instead_of_the_configured_one() {
    let lab = Lab::new();
    let config = lab.path().join("packaged.toml");
    fs::write(&config, "[run]\nevery = \"24h\"\n").expect("a file");
    let config = config.to_str().expect("a path");
    for (arguments, exec) in [
        (&["--on-calendar", "hourly"][..], " run --every=1h\n"),
        (&["--on-calendar", "daily"], " run --every=1day\n"),
        (&["--on-calendar", "monthly"], " run --every=31days\n"),
        (&["--on-calendar", "hourly", "--every", "2h"], " run --every=2h\n"),
        (&["--every", "6h"], " run --every=6h\n"),
        (&[], " run\n"),
        (&["--on-calendar", "*-*-* 02:00:0/0.5"], " run --every=23h59m1s\n"),
    ] {
        let run = lab.run(0, &[&["--config", config, "systemd"], arguments].concat());
        assert!(run.stdout.contains(exec), "{arguments:?}: {}", run.stdout);
    }
}

/// What chsnap takes as a calendar systemd takes too, and the other way round.
#[test]
fn calendars_are_read_as_systemd_reads_them() {
    let letters = ["*", "1", "02", "59", "60", "..", "/", ",", ":", "-", "~", " ", "Mon", "Fri", "UTC", "daily"];
    let mut texts: Vec<String> = [
        "Mon",
        "Mon..Fri 03:00 Europe/Berlin",
        "*:0/30",
        "*/2:00",
        "2:00  UTC",
        "Mon, 2:00",
        "*-*~29",
        "12:00:60",
        "*-*",
        "1..2/5:00",
        "5..3:00",
        "26-11-29 1:00",
        "semi-annually",
        "@1700000000",
        "00:00:00.5",
        "9999-01-01",
        "*-02-30",
        "utc",
        "Fri..Mon 2:00",
        "0/24:00",
        "1/2:3/4:5/6",
        "*-*-* *:*:*",
        "2000..2010/3-*-*",
        "Sat *-*-1..7 18:00:00",
        "10-1 2:0",
        "*-*-* 02:00:0/0.5",
        "00:00:00.",
        "00:00:0..0.5",
        "0:0:0.5..5",
        "0:0:0..0.5/0.7",
        "0:0:59.5/0.4",
        "0:0:59.5/1",
        "00:00:0/0.0000001",
        "00:00:0/0.0000005",
        "0:0:59.9999999",
        "0:0:0.1..0.1/0.1",
        "23/1:00",
        "*-*~28/27",
        "*-*~1/3",
    ]
    .map(str::to_owned)
    .into();
    // Reproducible nonsense that is close to sense.
    let mut state = 24_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..80 {
        let length = 1 + next(7);
        texts.push((0..length).map(|_| letters[next(letters.len())]).collect());
    }
    for text in texts {
        let Some((is_good, told)) = analyze(&["calendar", "--", &text]) else { return };
        let read = text.parse::<chsnap::plan::Schedule>();
        assert_eq!(read.is_ok(), is_good, "{text:?}: {read:?}\n{told}");
    }
}

/// `cargo install` puts the program into a home directory, and brings no pages of the manual.
#[test]
fn systemd_finds_nothing_wrong_with_a_program_of_cargo_install() {
    let lab = Lab::new();
    let home = tempfile::tempdir_in("/root").or_else(|_| tempfile::tempdir()).expect("a home");
    let program = home.path().join(".cargo/bin/chsnap");
    fs::create_dir_all(program.parent().expect("a parent")).expect("a directory");
    fs::copy(env!("CARGO_BIN_EXE_chsnap"), &program).expect("copied");
    let directory = lab.path().join("units");
    let mut command = Command::new(&program);
    command.args(["--progress", "none", "systemd", "--output"]).arg(&directory);
    command.env("CHSNAP_REPO", lab.repo()).env("CHSNAP_SYSTEM_CONFIG_DIR", "/nonexistent");
    assert!(command.status().expect("it starts").success());
    let service = fs::read_to_string(directory.join("chsnap.service")).expect("a unit");
    assert!(service.contains(&format!("ExecStart={} run\n", program.display())), "{service}");
    if home.path().starts_with("/root") {
        assert!(service.contains("ProtectHome=no\n"), "the program must be in sight: {service}");
    }
    for name in ["chsnap.service", "chsnap.timer"] {
        // With the pages of the manual, as a person would.
        let unit = directory.join(name).display().to_string();
        let Some((is_well, told)) = analyze(&["verify", &unit]) else { return };
        assert!(is_well && told.trim().is_empty(), "{unit}: {told}");
    }
}

/// A systemd that runs as process 1 of namespaces of its own, until it is dropped.
struct Booted {
    process: std::process::Child,
    lab: std::path::PathBuf,
}

impl Booted {
    /// Boots it with the units of `lab/units`; `None`, which says so, where that is not possible here.
    fn boot(lab: &Path) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/boot-systemd");
        let log = fs::File::create(lab.join("boot.log")).expect("a file");
        let mut command = Command::new(script);
        command.arg(lab).arg("120").stdout(log.try_clone().expect("a file")).stderr(log);
        let booted = Self { process: command.spawn().expect("bash starts"), lab: lab.to_owned() };
        if eventually(60, || lab.join("up").exists()) {
            return Some(booted);
        }
        let told = |name: &str| fs::read_to_string(lab.join(name)).unwrap_or_default();
        eprintln!("SKIPPED: systemd cannot be booted here: {}{}", told("boot.log"), told("console"));
        None
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        let ended = Command::new("kill").arg(self.process.id().to_string()).status();
        drop(ended);
        drop(self.process.wait());
        let cgroup = fs::read_to_string(self.lab.join("cgroup")).unwrap_or_default();
        // The innermost first, once their processes are gone.
        eventually(5, || {
            let find = Command::new("find").args([cgroup.trim(), "-depth", "-type", "d", "-delete"]).output();
            find.is_ok_and(|output| output.status.success()) || cgroup.is_empty()
        });
    }
}

fn eventually(seconds: u64, is_so: impl Fn() -> bool) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < seconds {
        if is_so() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    is_so()
}

/// The units as they are written, hardening and all, started by their timer.
#[test]
fn the_timer_starts_the_service_under_a_real_systemd() {
    let lab = Lab::new();
    let freezer = crate::freezer::Freezer::start(&lab.path().join("ch"));
    freezer.add_part("events", "all_1_1_0");
    let config = lab.path().join("config.toml");
    let hook = format!("cp $CHSNAP_RUN_SUMMARY_FILE {}", lab.path().join("summary.json").display());
    fs::write(&config, format!("[run]\nafter = {hook:?}\nverify_slices = 0\n[prune]\nkeep_last = 3\n"))
        .expect("a file");
    let units = lab.path().join("units");
    let [config, directory] = [&config, &units].map(|path| path.to_str().expect("a path"));
    let chsnap = lab.chsnap().clone().url(freezer.url());
    let given = ["--config", config, "--progress", "none", "systemd", "--on-calendar", "*:*:00", "--output", directory];
    chsnap.expect(0, &given);
    // Enabled as `systemctl enable` does it; nothing of a drop-in but the delays, which would take minutes.
    for directory in ["timers.target.wants", "chsnap.timer.d"] {
        fs::create_dir(units.join(directory)).expect("a directory");
    }
    std::os::unix::fs::symlink("../chsnap.timer", units.join("timers.target.wants/chsnap.timer")).expect("a link");
    let soon = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/5\nRandomizedDelaySec=0\nAccuracySec=1us\n";
    fs::write(units.join("chsnap.timer.d/soon.conf"), soon).expect("a file");
    let Some(_booted) = Booted::boot(lab.path()) else { return };
    let summary = lab.path().join("summary.json");
    let console = || fs::read_to_string(lab.path().join("console")).unwrap_or_default();
    assert!(eventually(60, || summary.exists()), "the night does not come: {}", console());
    let read = || fs::read_to_string(&summary).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    assert!(eventually(10, || read().is_some()), "{}", console());
    let night = read().expect("a summary");
    assert_eq!((&night["state"], &night["exit_code"]), (&"success".into(), &0.into()), "{night:#}");
    assert!(eventually(30, || !names(&lab.repo().join("snapshots")).is_empty()), "{}", console());
}
