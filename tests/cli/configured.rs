//! Configuration files: which are read, which override which, and the errors in them.

use std::fs;
use std::path::PathBuf;

use crate::chsnap_command::Run;
use crate::cli::support::Lab;

/// A repository, and somewhere to configure it.
struct Configured {
    lab: Lab,
}

impl Configured {
    fn new() -> Self {
        Self { lab: Lab::with_nights(1).0 }
    }

    /// Writes a file of the system's configuration.
    fn system(&self, name: &str, text: &str) -> PathBuf {
        Self::write(self.lab.repo().with_extension("etc").join(name), text)
    }

    fn user(&self, text: &str) -> PathBuf {
        Self::write(self.lab.repo().with_extension("config").join("chsnap/config.toml"), text)
    }

    fn write(path: PathBuf, text: &str) -> PathBuf {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path
    }

    /// Runs without the variables that the tests otherwise give.
    #[track_caller]
    fn run(&self, code: i32, environment: &[(&str, &str)], arguments: &[&str]) -> Run {
        let mut command = self.lab.chsnap().command(arguments);
        command.env_remove("CHSNAP_REPO").env_remove("CHSNAP_URL").envs(environment.iter().copied());
        let run = Run::of(&command.output().expect("chsnap starts"));
        assert_eq!(run.code, code, "{arguments:?}: {}\n{}", run.stdout, run.stderr);
        run
    }

    /// Value and origin of a setting that all commands have.
    #[track_caller]
    fn setting(&self, environment: &[(&str, &str)], arguments: &[&str], key: &str) -> (String, String) {
        let arguments = [&["config", "show", "--origin", "--json"], arguments].concat();
        let run = self.run(0, environment, &arguments);
        let shown: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
        assert_eq!(shown["schema"], "chsnap.config.v1");
        let rows = shown["settings"].as_array().expect("settings");
        let row = rows.iter().find(|row| row["section"] == "" && row["key"] == key).expect("the key");
        (row["values"][0].as_str().expect("a text").to_owned(), row["origin"].as_str().expect("a text").to_owned())
    }
}

#[test]
fn later_files_then_the_environment_then_flags_are_stronger() {
    let configured = Configured::new();
    let get = |environment: &[(&str, &str)], arguments: &[&str]| configured.setting(environment, arguments, "url");
    assert_eq!(get(&[], &[]), ("http://127.0.0.1:8123".to_owned(), "built in".to_owned()));
    let main = configured.system("config.toml", "# the server\nurl = \"http://main:1\"\njobs = 2\n");
    assert_eq!(get(&[], &[]), ("http://main:1".to_owned(), format!("{}:2", main.display())));
    configured.system("conf.d/20-b.toml", "url = \"http://b:1\"\n");
    configured.system("conf.d/10-a.toml", "url = \"http://a:1\"\n");
    configured.system("conf.d/30-c.toml.bak", "url = \"http://bak:1\"\n");
    assert_eq!(get(&[], &[]).0, "http://b:1");
    let user = configured.user("url = \"http://user:1\"\n");
    assert_eq!(get(&[], &[]), ("http://user:1".to_owned(), format!("{}:1", user.display())));
    let environment = [("CHSNAP_URL", "http://env:1")];
    assert_eq!(get(&environment, &[]), ("http://env:1".to_owned(), "environment CHSNAP_URL".to_owned()));
    assert_eq!(get(&[("CHSNAP_URL", "")], &[]).0, "http://user:1", "a variable that is empty says nothing");
    let flag = get(&environment, &["--url", "http://flag:1"]);
    assert_eq!(flag, ("http://flag:1".to_owned(), "command line".to_owned()));
    assert_eq!(configured.setting(&[], &[], "jobs").0, "2", "what a stronger file does not say stands");
    let other = Configured::write(configured.lab.path().join("other.toml"), "url = \"http://other:1\"\n");
    let other = other.to_str().expect("a path");
    assert_eq!(get(&[], &["--config", other]).0, "http://other:1");
    assert_eq!(get(&[("CHSNAP_CONFIG", other)], &[]).0, "http://other:1");
    assert!(
        !configured.run(0, &[], &["config", "show", "--config", other]).stdout.contains("jobs"),
        "no other file is read"
    );
}

#[test]
fn a_profile_overrides_the_general_settings() {
    let configured = Configured::new();
    let repo = configured.lab.repo().display().to_string();
    configured.system(
        "config.toml",
        &format!("jobs = 2\nurl = \"http://all:1\"\n[profile.hourly]\nrepo = {repo:?}\n[profile.nfs]\nurl = \"http://nfs:1\"\n"),
    );
    assert_eq!(configured.setting(&[], &["--profile", "nfs"], "url").0, "http://nfs:1");
    assert_eq!(configured.setting(&[], &["--profile", "hourly"], "url").0, "http://all:1");
    assert_eq!(configured.setting(&[("CHSNAP_PROFILE", "nfs")], &[], "jobs").0, "2");
    assert!(configured.run(0, &[], &["list", "--profile", "hourly"]).stdout.contains("2026-11-01T020000Z"));
    let refused = configured.run(2, &[], &["list", "--profile", "hurly"]);
    assert!(refused.stderr.contains("did you mean hourly?"), "{}", refused.stderr);
    let refused = configured.run(2, &[], &["list"]);
    assert!(refused.stderr.contains("profiles: hourly, nfs"), "{}", refused.stderr);
}

#[test]
fn invalid_settings_are_named_with_their_line_and_the_nearest_key() {
    let configured = Configured::new();
    let file = configured.system(
        "config.toml",
        "repo = \"/r\"\nlock_wiat = \"5s\"\njobs = \"many\"\npassword = \"x\"\nquiet = 1\n\n[create]\nexlude = [\"a.b\"]\n\
         jobs = 3\ndry_run = true\n[cerate]\n[profile.x.gc]\nyes = true\n",
    );
    let lines = [
        (2, "unknown key lock_wiat at the top of the file: did you mean lock_wait?"),
        (3, "invalid value 'many' for '--jobs <N>'"),
        (4, "a configuration file never contains a password"),
        (5, "quiet takes true or false"),
        (8, "unknown key exlude in [create]: did you mean exclude?"),
        (9, "jobs does not belong in [create], but at the top of the file"),
        (10, "dry_run is accepted only on a command line"),
        (11, "unknown section [cerate]: did you mean [create]?"),
        (13, "yes is accepted only on a command line"),
    ];
    for arguments in [&["config", "check"][..], &["list"]] {
        let run = configured.run(2, &[], arguments);
        for (line, message) in lines {
            let wanted = format!("error: {}:{line}: {message}", file.display());
            assert!(run.stderr.contains(&wanted), "{wanted}\n{}", run.stderr);
        }
    }
    let json = configured.run(2, &[], &["--json", "config", "check"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).expect("a document");
    assert_eq!((&error["schema"], &error["exit_code"]), (&"chsnap.error.v1".into(), &2.into()));
    configured.run(0, &[], &["--help"]);
    configured.run(0, &[], &["completions", "bash"]);
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_one_clear_error() {
    let configured = Configured::new();
    let file = configured.system("config.toml", "repo = \"/r\"\nurl = http\n");
    let run = configured.run(2, &[], &["list"]);
    assert!(run.stderr.starts_with(&format!("error: {}:2: ", file.display())), "{}", run.stderr);
    let run = configured.run(2, &[], &["--config", "/nowhere/c.toml", "list"]);
    assert!(run.stderr.contains("cannot read the configuration file /nowhere/c.toml"), "{}", run.stderr);
}

#[test]
fn config_check_opens_the_files_that_are_named_and_says_what_it_read() {
    let configured = Configured::new();
    let run = configured.run(0, &[], &["config", "check"]);
    assert!(run.stdout.contains("there is no configuration file"), "{}", run.stdout);
    let file = configured.system("config.toml", "[profile.a]\npassword_file = \"/nowhere/secret\"\n");
    let run = configured.run(2, &[], &["config", "check"]);
    assert!(run.stderr.contains(&format!("{}:2: password_file cannot be read", file.display())), "{}", run.stderr);
    configured.system("config.toml", "[profile.a]\n[profile.a.create]\nfreeze = \"all\"\n");
    let run = configured.run(0, &[], &["config", "check"]);
    let note = "note: profile a: no [prune]: nothing is ever removed\n";
    assert_eq!(run.stdout, format!("{} can be used\nprofiles: a\n{note}", file.display()));
    let shown = configured.run(0, &[], &["config", "show", "--origin", "--profile", "a"]).stdout;
    assert!(shown.contains("[create]") && shown.contains(&format!("{}:3", file.display())), "{shown}");
}

#[test]
fn an_address_with_a_secret_or_a_setting_in_it_is_refused_and_shown_nowhere() {
    let configured = Configured::new();
    let repo = configured.lab.repo();
    let repo = repo.to_str().expect("a path");
    let bad =
        ["http://u:hunter2@127.0.0.1:1", "http://127.0.0.1:1/?password=hunter2", "http://127.0.0.1:1?limit=hunter2"];
    for url in bad {
        for command in
            [&["create"][..], &["create", "--json"], &["list"], &["config", "show"], &["doctor"], &["-vv", "gc"]]
        {
            let named = [command, &["--repo", repo, "--url", url]].concat();
            let here = [command, &["--repo", repo]].concat();
            for run in [configured.run(2, &[], &named), configured.run(2, &[("CHSNAP_URL", url)], &here)] {
                let said = format!("{}{}", run.stdout, run.stderr);
                assert!(!said.contains("hunter2"), "{command:?}: {said}");
                assert!(said.contains("the URL of the server has") && said.contains("--password-file"), "{said}");
            }
        }
        let help = configured.run(0, &[("CHSNAP_URL", url)], &["create", "--help"]);
        assert!(!help.stdout.contains("hunter2"));
        let file = configured.user(&format!("\nurl = \"{url}\"\n"));
        for command in [&["config", "check"][..], &["config", "show"], &["list", "--repo", repo]] {
            let run = configured.run(2, &[], command);
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(!said.contains("hunter2"), "{command:?}: {said}");
            assert!(said.contains("config.toml:2") && said.contains("give the address alone"), "{said}");
        }
        fs::remove_file(file).expect("removed");
    }
    let stored = crate::tree::tree(&configured.lab.repo());
    assert!(!format!("{stored:?}").contains("hunter2"));
}

#[test]
fn a_first_configuration_has_what_was_given_and_overwrites_nothing() {
    let configured = Configured::new();
    let repo = configured.lab.repo().display().to_string();
    let file = configured.lab.repo().with_extension("etc").join("config.toml");
    let environment =
        [("CHSNAP_REPO", repo.as_str()), ("CHSNAP_URL", "http://ch:8123"), ("CHSNAP_PASSWORD", "hunter2")];
    let arguments =
        ["config", "init", "--user", "snap \"x\"", "--jobs", "3", "--path-map", "/a=/b,/c=/d", "--lock-wait", "1h"];
    let run =
        configured.run(0, &environment, &[&arguments[..], &["--output", file.to_str().expect("a path")]].concat());
    assert!(run.stdout.starts_with(&format!("wrote {}\n", file.display())), "{}", run.stdout);
    assert!(run.stdout.contains("CHSNAP_PASSWORD is not in it"), "{}", run.stdout);
    assert!(run.stdout.contains("next: chsnap config check, chsnap init, chsnap doctor, chsnap systemd\n"));
    let text = fs::read_to_string(&file).expect("a file");
    assert!(!text.contains("hunter2"));
    assert!(text.lines().filter(|line| line.starts_with('#')).count() > 10, "it explains itself: {text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o640);
    let run = configured.run(0, &[], &["config", "check"]);
    assert_eq!(run.stdout, format!("{} can be used\n", file.display()));
    for (key, value) in [
        ("repo", repo.as_str()),
        ("url", "http://ch:8123"),
        ("user", "snap \"x\""),
        ("jobs", "3"),
        ("lock_wait", "1h"),
        ("path_map", "/a=/b"),
    ] {
        let (found, origin) = configured.setting(&[], &[], key);
        assert!(found == value && origin.starts_with(&format!("{}:", file.display())), "{key}: {found} of {origin}");
    }
    let before = fs::read_to_string(&file).expect("a file");
    let path = file.display().to_string();
    for arguments in [&["config", "init", "--output", &path][..], &["--config", &path, "config", "init"]] {
        let run = configured.run(2, &[("CHSNAP_REPO", "/other")], arguments);
        assert!(run.stderr.contains("is there already, and is not overwritten"), "{}", run.stderr);
    }
    assert_eq!(fs::read_to_string(&file).expect("a file"), before);
    // Without anything it is what the packages bring, and --config names a file that is not there yet.
    let shown = configured.run(0, &[], &["config", "init", "--output", "-"]).stdout;
    assert_eq!(shown, include_str!("../../packaging/config.toml"));
    let new = configured.lab.path().join("new/chsnap.toml").display().to_string();
    configured.run(0, &[], &["--config", &new, "config", "init"]);
    configured.run(0, &[], &["--config", &new, "config", "check"]);
}

#[test]
fn settings_that_a_night_cannot_use_are_refused_by_the_check() {
    let configured = Configured::new();
    let file = configured.system(
        "config.toml",
        "repo = \"backup/chsnap\"\n[run]\nping = \"hc.example.com/secret\"\nping_failure = \"https://\"\n[profile.x]\nrepo = \"./y\"\npassword_file = \"secret\"\n",
    );
    let run = configured.run(2, &[], &["config", "check"]);
    for (line, message) in [
        (1, "repo is a relative path, \"backup/chsnap\""),
        (3, "ping is no address: it begins with neither http:// nor https://"),
        (4, "ping_failure is no address"),
        (6, "repo is a relative path, \"./y\""),
        (7, "password_file is a relative path, \"secret\""),
    ] {
        assert!(run.stderr.contains(&format!("{}:{line}: {message}", file.display())), "{message}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("com/secret"), "{}", run.stderr);
    let run =
        configured.run(2, &[("CHSNAP_REPO", "/nowhere")], &["--config", "/dev/null", "run", "--ping", "x/secret"]);
    assert!(run.stderr.contains("--ping is no address") && !run.stderr.contains("secret"), "{}", run.stderr);
    configured.system("config.toml", "repo = \"/r\"\n[prune]\nmin_keep = 3\n");
    let run = configured.run(0, &[], &["config", "check"]);
    assert!(run.stdout.contains("note: no rule in [prune]: nothing is ever removed"), "floors alone: {}", run.stdout);
    let run = configured.run(0, &[], &["--json", "config", "check"]);
    assert!(run.stdout.contains("\"notes\":[\"no rule in [prune]: nothing is ever removed\"]"), "{}", run.stdout);
    configured.system("config.toml", "repo = \"/r\"\n[prune]\nkeep_daily = 3\n");
    assert!(!configured.run(0, &[], &["config", "check"]).stdout.contains("note"));
}

#[test]
fn every_value_in_force_is_shown_with_its_origin() {
    let configured = Configured::new();
    let file = configured.system("config.toml", "[prune]\nkeep_daily = 3\n[create]\nexclude = [\"a.*\"]\n");
    let run = configured.run(0, &[], &["--json", "config", "show"]);
    let shown: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
    let rows = shown["settings"].as_array().expect("settings");
    let row = |section: &str, key: &str| {
        let row = rows.iter().find(|row| row["section"] == section && row["key"] == key);
        let row = row.unwrap_or_else(|| panic!("{section} {key}"));
        (row["values"][0].as_str().expect("a text").to_owned(), row["origin"].as_str().expect("a text").to_owned())
    };
    let built_in = |value: &str| (value.to_owned(), "built in".to_owned());
    assert_eq!(row("create", "freeze"), built_in("changed"));
    assert_eq!(row("create", "digest"), built_in("false"));
    assert_eq!(row("run", "verify_slices"), built_in("30"));
    assert_eq!(row("prune", "max_share"), built_in("50"));
    assert_eq!(row("create", "exclude"), ("a.*".to_owned(), format!("{}:4", file.display())));
    for section in ["prune", "simulate", "usage", "report"] {
        assert_eq!(row(section, "keep_daily"), ("3".to_owned(), format!("{}:2", file.display())), "{section}");
    }
    assert_eq!(row("", "password"), ("none".to_owned(), "built in".to_owned()));
    let secret = configured.run(0, &[("CHSNAP_PASSWORD", "hunter2")], &["config", "show"]).stdout;
    let line = secret.lines().find(|line| line.starts_with("password ")).expect("a line");
    assert!(
        line.contains(" set ") && line.contains("environment CHSNAP_PASSWORD") && !secret.contains("hunter2"),
        "{secret}"
    );
    let text = configured.run(0, &[], &["config", "show"]).stdout;
    assert!(text.contains("ORIGIN") && text.contains("[run]") && text.contains("built in"), "{text}");
}
