//! The nightly job, its figures, and the check of a monitor.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};
use crate::cli::support::{Lab, names};
use crate::freezer::{Freezer, SLOW, served_repository};
use crate::tls::tls;

/// A server, a repository and a configuration.
struct Night {
    folder: tempfile::TempDir,
    chsnap: Chsnap,
    freezer: Freezer,
}

impl Night {
    fn new(config: &str) -> Self {
        let (folder, freezer, chsnap) = served_repository();
        freezer.add_part("events", "all_1_1_0");
        let night = Self { folder, chsnap, freezer };
        night.configure(config);
        night
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration, in which `$D` is this night's folder.
    fn configure(&self, text: &str) {
        let text = text.replace("$D", &self.folder.path().display().to_string());
        fs::write(self.path("config.toml"), text).expect("a file");
    }

    fn run(&self, code: i32, arguments: &[&str]) -> Run {
        let config = self.path("config.toml").display().to_string();
        self.chsnap.expect(code, &[&["--config", &config, "--progress", "none"], arguments].concat())
    }

    /// The summary, from stdout or stderr.
    #[track_caller]
    fn summary(&self, code: i32, arguments: &[&str]) -> Value {
        let run = self.run(code, &[&["--json"], arguments].concat());
        if matches!(code, 0 | 3 | 12 | 13) {
            serde_json::from_str(&run.stdout).expect("a document on stdout")
        } else {
            let error: Value = serde_json::from_str(&run.stderr).expect("an error on stderr");
            assert_eq!((&error["schema"], &error["exit_code"]), (&"chsnap.error.v1".into(), &code.into()));
            error["run"].clone()
        }
    }

    fn metrics(&self) -> String {
        fs::read_to_string(self.path("chsnap.prom")).expect("the figures")
    }
}

fn states(summary: &Value) -> Vec<(String, String)> {
    let text = |step: &Value, field: &str| step[field].as_str().expect("a text").to_owned();
    let steps = summary["steps"].as_array().expect("steps");
    steps.iter().map(|step| (text(step, "step"), text(step, "state"))).collect()
}

fn state_of(summary: &Value, step: &str) -> String {
    let states = states(summary);
    states.iter().find(|(name, _)| name == step).unwrap_or_else(|| panic!("no {step} in {states:?}")).1.clone()
}

#[test]
fn a_night_makes_a_snapshot_and_says_so_once() {
    let night = Night::new("[run]\nmetrics_file = \"$D/chsnap.prom\"\n");
    let summary = night.summary(0, &["run"]);
    assert_eq!((&summary["schema"], &summary["state"]), (&"chsnap.run.v1".into(), &"success".into()));
    assert_eq!((state_of(&summary, "create"), state_of(&summary, "gc")), ("done".to_owned(), "done".to_owned()));
    let id = summary["snapshot"].as_str().expect("an id");
    assert_eq!(names(&night.path("repo/snapshots")), [id]);
    assert_eq!(summary["steps"][0]["result"]["schema"], "chsnap.create.v1");
    let told = night.run(0, &["run"]).stdout;
    assert!(told.starts_with("run: success in ") && told.contains("  create   20") && told.contains("gc "), "{told}");
}

/// The server shows no table, as with a disk that is not mounted or rights that were taken away.
#[test]
fn a_night_that_took_no_table_fails_where_there_were_some_and_removes_nothing() {
    let night = Night::new("[prune]\nkeep_last = 1\n");
    night.summary(0, &["run"]);
    night.freezer.lie("tables", Vec::new());
    let summary = night.summary(1, &["run"]);
    assert_eq!(state_of(&summary, "create"), "failed");
    assert_eq!((state_of(&summary, "prune"), state_of(&summary, "gc")), ("skipped".to_owned(), "skipped".to_owned()));
    assert!(summary["steps"][0]["error"].as_str().expect("a text").contains("has no table"), "{summary}");
    let listed = night.chsnap.json(0, &["list"]);
    let incomplete: Vec<bool> =
        listed["snapshots"].as_array().expect("rows").iter().map(|row| row["incomplete"] == true).collect();
    assert_eq!(incomplete, [false, true]);
    let empty = Night::new("");
    empty.freezer.lie("tables", Vec::new());
    empty.summary(3, &["run"]);
}

#[test]
fn a_profile_is_named_by_argument_or_option_and_two_are_refused() {
    let night = Night::new("[profile.nfs]\nlock_wait = \"1s\"\n[profile.hourly]\n");
    for arguments in [&["run", "nfs"][..], &["run", "--profile", "nfs"], &["--profile", "nfs", "run", "nfs"]] {
        assert_eq!(night.summary(0, arguments)["profile"], "nfs");
    }
    assert!(night.run(2, &["run", "nsf"]).stderr.contains("did you mean nfs?"));
    assert!(night.run(2, &["--profile", "hourly", "run", "nfs"]).stderr.contains("two profiles"));
}

#[test]
fn the_settings_of_a_step_are_those_of_its_section() {
    let night = Night::new("[create]\nname = \"nightly\"\n[profile.x.create]\nname = \"of x\"\n");
    night.run(0, &["run"]);
    night.run(0, &["run", "x"]);
    let listed = night.chsnap.json(0, &["list"]);
    let labels: Vec<&str> =
        listed["snapshots"].as_array().expect("rows").iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(labels, ["nightly", "of x"]);
}

#[test]
fn hooks_know_the_outcome_and_a_bad_one_before_ends_the_run() {
    let night = Night::new(
        "[run]\nbefore = 'echo before $CHSNAP_RUN_PHASE $CHSNAP_REPO > $D/before; echo noise'\n\
         after = 'env | grep ^CHSNAP_RUN_ | sort > $D/after'\n",
    );
    let summary = night.summary(0, &["run"]);
    let before = fs::read_to_string(night.path("before")).expect("the hook ran");
    assert_eq!(before, format!("before before {}\n", night.chsnap.repo().display()));
    let after = fs::read_to_string(night.path("after")).expect("the hook ran");
    let id = summary["snapshot"].as_str().expect("an id");
    for line in ["CHSNAP_RUN_STATE=success", "CHSNAP_RUN_EXIT_CODE=0", &format!("CHSNAP_RUN_SNAPSHOT={id}")] {
        assert!(after.lines().any(|found| found == line), "{line} in {after}");
    }
    night.configure("[run]\nbefore = 'exit 7'\nafter = 'echo $CHSNAP_RUN_STATE $CHSNAP_RUN_ERROR > $D/after'\n");
    let summary = night.summary(1, &["run"]);
    assert_eq!(states(&summary), [("before".to_owned(), "failed".to_owned())]);
    let after = fs::read_to_string(night.path("after")).expect("the hook ran");
    assert!(after.starts_with("failure before: ") && after.contains("exit status: 7"), "{after}");
    night.configure("[run]\nafter = 'exit 1'\n");
    let summary = night.summary(3, &["run"]);
    assert!(summary["warnings"][0].as_str().expect("a text").contains("the hook \"after\" failed"), "{summary}");
}

#[test]
fn a_hook_that_hangs_is_ended_with_all_that_it_started() {
    let night = Night::new("[run]\nbefore = 'sleep 300 & echo $! > $D/pid; wait'\nhook_timeout = '1s'\n");
    let begun = Instant::now();
    let summary = night.summary(1, &["run"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(summary["steps"][0]["error"].as_str().expect("a text").contains("did not end within 1 s"), "{summary}");
    let pid = fs::read_to_string(night.path("pid")).expect("a pid");
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

/// As a program leaves it that does not wait for its own children: the kernel then keeps no exit status of them.
#[test]
fn the_outcome_of_a_hook_is_known_even_if_the_signal_of_its_end_is_ignored() {
    let night = Night::new("");
    let config = night.path("config.toml").display().to_string();
    for (hook, expected) in [("exit 7", 1), ("sleep 0.1; exit 7", 1), ("true", 0), ("sleep 0.1", 0)] {
        night.configure(&format!("[run]\nbefore = '{hook}'\nafter = 'true'\n"));
        let mut ignoring = std::process::Command::new("env");
        ignoring.arg("--ignore-signal=CHLD");
        let arguments = ["--config", &config, "--progress", "none", "run"];
        let output = night.chsnap.under(ignoring, &arguments).output().expect("env of coreutils runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{hook}: {stderr}");
        assert_eq!(stderr.contains("exit status: 7"), expected == 1, "{hook}: {stderr}");
    }
}

#[test]
fn a_signal_ends_the_first_hook_at_once() {
    let night = Night::new("[run]\nbefore = 'echo $$ > $D/pid; sleep 300'\n");
    let config = night.path("config.toml").display().to_string();
    let mut running =
        night.chsnap.command(&["--config", &config, "--progress", "none", "run"]).spawn().expect("it starts");
    let pid = night.path("pid");
    let begun = Instant::now();
    while !pid.exists() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let begun = Instant::now();
    let sent = std::process::Command::new("kill").arg(running.id().to_string()).status().expect("kill runs");
    assert!(sent.success());
    let ended = running.wait().expect("it ends");
    assert_eq!(ended.code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let state = fs::read_to_string(format!("/proc/{}/stat", fs::read_to_string(pid).expect("a pid").trim()));
    assert!(state.is_err() || state.is_ok_and(|state| state.contains(") Z ")));
}

/// However much there is to say: the variable is cut, and a file has all of it.
#[test]
fn the_last_hook_starts_however_long_the_warnings_are() {
    let night = Night::new(
        "[run]\nverify_slices = 0\nafter = 'cp \"$CHSNAP_RUN_WARNINGS_FILE\" $D/warnings; cp \"$CHSNAP_RUN_SUMMARY_FILE\" $D/summary; \
         printf %s \"$CHSNAP_RUN_WARNINGS\" > $D/cut; ls -l \"$CHSNAP_RUN_WARNINGS_FILE\" > $D/mode; \
         echo \"$CHSNAP_RUN_WARNINGS_FILE\" > $D/path'\n",
    );
    let data = night.path("ch").display().to_string();
    let row = |name: &str, engine: &str, definition: &str| {
        serde_json::json!({
            "database": "d", "name": name, "engine": engine, "uuid": "", "storage_policy": "", "has_own_data": 1,
            "metadata_path": format!("{data}/metadata/d/{name}.sql"), "create_table_query": definition,
            "data_paths": [format!("{data}/data/d/{name}/")],
        })
    };
    let map = "CREATE TABLE d.map (k UInt8) ENGINE = KeeperMap('/x') PRIMARY KEY k";
    let mut rows = vec![row("events", "MergeTree", "CREATE TABLE d.events (k UInt8)")];
    rows.extend((0..3000).map(|number| row(&format!("{}{number}", "m".repeat(100)), "KeeperMap", map)));
    night.freezer.lie("tables", rows);
    let summary = night.summary(3, &["run"]);
    let warnings = summary["warnings"].as_array().expect("warnings");
    assert!(
        warnings.len() >= 3000 && warnings.iter().all(|text| !text.to_string().contains("hook")),
        "{}",
        warnings.len()
    );
    let read = |name: &str| fs::read_to_string(night.path(name)).expect("the hook ran");
    let all = read("warnings");
    assert!(all.len() > 256 << 10, "longer than any variable can be");
    assert_eq!(all.lines().map(Value::from).collect::<Vec<_>>(), *warnings);
    let cut = read("cut");
    assert!(cut.len() < 16 << 10 && cut.contains("… and "), "{}", cut.len());
    let told: Value = serde_json::from_str(&read("summary")).expect("a document");
    assert_eq!((&told["schema"], &told["snapshot"]), (&"chsnap.run.v1".into(), &summary["snapshot"]));
    assert!(read("mode").starts_with("-rw-------"));
    assert!(!Path::new(read("path").trim()).exists(), "the files go with the run");
}

#[test]
fn a_refused_prune_reaches_the_hook_and_the_watcher_with_its_reason_and_the_command() {
    let (url, asked) = listener();
    let night = Night::new(&format!(
        "[run]\nverify_slices = 0\nping = \"{url}/id\"\nafter = 'env | grep ^CHSNAP_RUN_ > $D/after'\n[prune]\nkeep_last = 1\n"
    ));
    for _ in 0..5 {
        night.chsnap.expect(0, &["create"]);
    }
    let summary = night.summary(13, &["run"]);
    let hint = summary["hint"].as_str().expect("a hint");
    assert!(hint.contains(" prune --yes-really applies the plan once"), "{hint}");
    let after = fs::read_to_string(night.path("after")).expect("the hook ran");
    assert!(after.contains("CHSNAP_RUN_ERROR=prune: refused, nothing was removed: 5 of 6 snapshots"), "{after}");
    assert!(
        after.contains(&format!("CHSNAP_RUN_HINT={hint}\n")) && after.contains("CHSNAP_RUN_STATE=failure"),
        "{after}"
    );
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["/id/start", "/id/fail"]);
}

/// The text of the failure is posted; what takes no text gets the address as before.
#[test]
fn a_watcher_reads_what_failed_and_one_that_takes_no_text_is_asked_all_the_same() {
    for (answer, requests) in [("200 OK", 1), ("405 Method Not Allowed", 2)] {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", socket.local_addr().expect("an address"));
        let heard = std::thread::spawn(move || {
            let mut heard = Vec::new();
            for number in 0..requests {
                let (mut stream, _) = socket.accept().expect("a connection");
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                let is_whole = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_lowercase();
                    let Some((fields, body)) = text.split_once("\r\n\r\n") else { return false };
                    let length = fields.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    body.len() >= length.unwrap_or(0)
                };
                while !is_whole(&request) {
                    let read = stream.read(&mut piece).expect("a request");
                    request.extend_from_slice(&piece[..read]);
                }
                let answer = if number == 0 { answer } else { "200 OK" };
                let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).expect("an answer");
                heard.push(String::from_utf8_lossy(&request).into_owned());
            }
            heard
        });
        let night = Night::new(&format!("[run]\nping_failure = \"{url}/alarm\"\nbefore = \"exit 7\"\n"));
        let run = night.run(1, &["run"]);
        assert!(!run.stderr.contains("ping address"), "{}", run.stderr);
        let heard = heard.join().expect("it listens");
        assert!(heard[0].starts_with("POST /alarm ") && heard[0].contains("before: the hook"), "{heard:?}");
        assert!(heard.get(1).is_none_or(|second| second.starts_with("GET /alarm ")), "{heard:?}");
    }
}

#[test]
fn a_configuration_a_password_or_a_hook_that_others_may_write_is_refused_with_the_remedy() {
    let night = Night::new("");
    let config = night.path("config.toml");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    set(&config, 0o666);
    for command in [&["run"][..], &["list"], &["create"], &["config", "check"], &["config", "show"], &["doctor"]] {
        let run = night.run(2, command);
        assert!(
            run.stderr.contains("someone else may change it") && run.stderr.contains("mode 0666"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains(&format!("chmod go-w {}", config.display())), "{}", run.stderr);
    }
    assert!(night.run(3, &["monitor"]).stdout.contains("someone else may change it"));
    set(&config, 0o644);
    set(night.folder.path(), 0o777);
    assert!(night.run(2, &["list"]).stderr.contains("others can replace it"));
    set(night.folder.path(), 0o755);
    let password = night.path("password");
    fs::write(&password, "hunter2\n").expect("a file");
    set(&password, 0o602);
    let run = night.run(2, &["create", "--password-file", &password.display().to_string()]);
    assert!(run.stderr.contains("the password file") && !run.stderr.contains("hunter2"), "{}", run.stderr);
    set(&password, 0o600);
    night.run(0, &["create", "--password-file", &password.display().to_string()]);
    let hook = night.path("hook");
    fs::write(&hook, "#!/bin/sh\ntouch \"$(dirname \"$0\")/was-run\"\n").expect("a file");
    set(&hook, 0o775);
    for phase in ["before", "after"] {
        night.configure(&format!("[run]\n{phase} = \"$D/hook\"\n"));
        let summary = night.summary(2, &["run"]);
        assert_eq!(states(&summary), [(phase.to_owned(), "failed".to_owned())]);
        assert!(summary["steps"][0]["hint"].as_str().expect("a hint").contains("chmod go-w "), "{summary}");
        assert!(!night.path("was-run").exists());
        night.run(2, &["config", "check"]);
    }
    set(&hook, 0o755);
    night.run(0, &["run"]);
    assert!(night.path("was-run").exists());
}

/// Which file such a program is shows only when the shell runs it, so that it could be anyone's.
#[test]
fn a_hook_whose_program_is_not_named_by_a_plain_absolute_path_is_not_run() {
    let night = Night::new("");
    let folder = night.path("ow");
    fs::create_dir(&folder).expect("a directory");
    for name in ["h.sh", "hx.sh"] {
        let hook = folder.join(name);
        fs::write(&hook, "#!/bin/sh\ntouch \"$(dirname \"$0\")/was-run\"\n").expect("a file");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).expect("a mode");
    }
    for phase in ["before", "after"] {
        for line in [
            "ow/h.sh",
            "cd $D/ow && ./h.sh",
            "D=$D/ow; $X/h.sh",
            "$D/ow/h\\.sh",
            "h\\.sh",
            "cd $D/ow; sh h.sh",
            "`echo $D`/ow/h.sh",
            "echo \"$(cd $D/ow; ./h.sh)\"",
            "sh -c 'cd $D/ow; ./h.sh'",
            "$D/ow/h*.sh",
        ] {
            night.configure(&format!("[run]\n{phase} = '''{line}'''\n"));
            let summary = night.summary(2, &["run"]);
            assert_eq!(states(&summary), [(phase.to_owned(), "failed".to_owned())], "{line}");
            assert!(summary["steps"][0]["hint"].as_str().expect("a hint").contains("absolute path"), "{summary}");
            for command in [&["config", "check"][..], &["doctor"]] {
                let run = night.run(2, command);
                assert!(run.stderr.contains("write the absolute path"), "{line}: {}", run.stderr);
            }
        }
    }
    assert!(!folder.join("was-run").exists());
    let hook = format!("cd / && {}", night.path("good").display());
    fs::write(night.path("good"), "#!/bin/sh\necho well > \"$(dirname \"$0\")/was-good\"\n").expect("a file");
    fs::set_permissions(night.path("good"), fs::Permissions::from_mode(0o755)).expect("a mode");
    night.configure(&format!("[run]\nafter = '{hook} \"$CHSNAP_RUN_STATE\" ./x && true'\n"));
    night.run(0, &["run"]);
    assert!(night.path("was-good").exists());
}

/// A user who may rename a directory above controls everything below it.
#[test]
fn a_configuration_below_a_directory_that_others_may_write_is_refused() {
    let night = Night::new("");
    let below = night.path("open/a/b");
    fs::create_dir_all(&below).expect("directories");
    let config = below.join("config.toml");
    fs::write(&config, "").expect("a file");
    let config = config.to_str().expect("a path");
    let set = |mode| fs::set_permissions(night.path("open"), fs::Permissions::from_mode(mode)).expect("a mode");
    for (code, mode) in [(2, 0o777), (0, 0o1777), (0, 0o755)] {
        set(mode);
        let run = night.chsnap.expect(code, &["--config", config, "config", "check"]);
        if code == 2 {
            let remedy = format!("chmod go-w {} lets", night.path("open").display());
            assert!(run.stderr.contains(&remedy) && run.stderr.contains("others can replace it"), "{}", run.stderr);
        }
    }
}

/// Listens for pings and keeps the paths that were asked for.
fn listener() -> (String, Arc<Mutex<Vec<String>>>) {
    web(|line| line.split(' ').nth(1).expect("a path").to_owned(), |_| "200 OK".to_owned())
}

/// Answers each request line with a status and further headers, and keeps of it what `kept` makes of it.
fn web(
    kept: fn(&str) -> String,
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut piece = [0; 512];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..read]);
            }
            let line = String::from_utf8_lossy(&request).lines().next().expect("a line").to_owned();
            keep.lock().expect("no panic").push(kept(&line));
            let answer = format!("HTTP/1.1 {}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK", answer(&line));
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    (url, asked)
}

/// Method and target of a request line.
fn method_and_target(line: &str) -> String {
    line.trim_end_matches(" HTTP/1.1").to_owned()
}

#[test]
fn a_ping_follows_redirects_and_posts_again_only_where_it_is_asked_to() {
    let (url, asked) = web(method_and_target, |line| {
        let leads_to = |status: &str, path: &str| format!("{status} Elsewhere\r\nlocation: {path}");
        match line.split(' ').nth(1).expect("a path") {
            "/moved" => leads_to("302", "there?key=1"),
            "/kept" => leads_to("307", "/there"),
            "/round" => leads_to("301", "/round"),
            "/picky" if line.starts_with("POST") => "405 Method Not Allowed".to_owned(),
            _ => "204 No Content".to_owned(),
        }
    });
    let night = Night::new("");
    let pings = |path: &str, code: i32, line: &str| {
        night.configure(&format!(
            "[run]\nping_start = \"{url}/x\"\nping_failure = \"{url}{path}\"\nbefore = \"false\"\n"
        ));
        let run = night.run(code, &["run"]);
        assert!(!run.stderr.contains(&url), "{}", run.stderr);
        assert!(run.stderr.contains(line), "{line}: {}", run.stderr);
        std::mem::take(&mut *asked.lock().expect("no panic"))
    };
    assert_eq!(pings("/moved", 1, ""), ["GET /x", "POST /moved", "GET /there?key=1"]);
    assert_eq!(pings("/kept", 1, ""), ["GET /x", "POST /kept", "POST /there"]);
    assert_eq!(pings("/picky", 1, ""), ["GET /x", "POST /picky", "GET /picky"]);
    let round = pings("/round", 1, "there were more than 10 redirects");
    assert_eq!(round.len(), 1 + 3 * 11, "{round:?}");
    assert_eq!(round[..3], ["GET /x", "POST /round", "GET /round"]);
}

#[test]
fn a_ping_goes_through_the_proxy_of_the_environment() {
    let (proxy, asked) = web(method_and_target, |line| {
        let is_tunnel = line.starts_with("CONNECT");
        if is_tunnel { "407 Proxy Authentication Required" } else { "200 OK" }.to_owned()
    });
    let (direct, seen) = listener();
    let mut night = Night::new("");
    for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        night.chsnap = night.chsnap.clone().env(variable, &proxy);
    }
    for variable in ["no_proxy", "NO_PROXY"] {
        night.chsnap = night.chsnap.clone().env(variable, "127.0.0.1");
    }
    night.configure("[run]\nping_success = \"http://watcher.invalid/id?a=b\"\n");
    night.run(0, &["run"]);
    assert_eq!(std::mem::take(&mut *asked.lock().expect("no panic")), ["GET http://watcher.invalid/id?a=b"]);
    night.configure("[run]\nping_success = \"https://watcher.invalid/secret-token\"\n");
    let run = night.run(3, &["run"]);
    assert!(run.stderr.contains("could not be sent to the ping address"), "{}", run.stderr);
    assert!(!run.stderr.contains("secret-token"), "{}", run.stderr);
    assert_eq!(std::mem::take(&mut *asked.lock().expect("no panic")), ["CONNECT watcher.invalid:443"; 3]);
    night.configure(&format!("[run]\nping_success = \"{direct}/id\"\n"));
    night.run(0, &["run"]);
    assert_eq!(*seen.lock().expect("no panic"), ["/id"]);
    assert!(asked.lock().expect("no panic").is_empty());
}

#[test]
fn a_watcher_is_pinged_at_start_success_and_failure() {
    let (url, asked) = listener();
    let night = Night::new(&format!("[run]\nping = \"{url}/id\"\n"));
    night.run(0, &["run"]);
    night.configure(&format!("[run]\nping = \"{url}/id\"\nping_failure = \"{url}/alarm\"\nbefore = \"false\"\n"));
    night.run(1, &["run"]);
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["/id/start", "/id", "/id/start", "/alarm"]);
    night.configure("[run]\nping = \"http://127.0.0.1:9/secret-token\"\n");
    let run = night.run(3, &["run"]);
    assert!(run.stderr.contains("could not be sent to the ping address"), "{}", run.stderr);
    assert!(!run.stderr.contains("secret-token") && !run.stdout.contains("secret-token"));
}

#[test]
fn the_word_for_a_watcher_is_appended_to_the_path_and_its_address_is_shown_nowhere() {
    let (url, asked) = listener();
    let night = Night::new(&format!("[run]\nping = \"{url}/id/?key=hunter2\"\n"));
    night.run(0, &["run"]);
    night.run(1, &["run", "--before", "false"]);
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["/id/start?key=hunter2", "/id/?key=hunter2", "/id/start?key=hunter2", "/id/fail?key=hunter2"]);
    for command in [&["config", "show"][..], &["--json", "config", "show"], &["run", "--help"]] {
        let shown = night.run(0, command).stdout;
        assert!(!shown.contains("hunter2") && !shown.contains("/id"), "{shown}");
        assert!(command[0] == "run" || shown.contains(&format!("{url}/…")), "{shown}");
    }
    for bad in ["/id#hunter2", "/id?x=y#hunter2", "@user:hunter2"] {
        let address = match bad.strip_prefix('@') {
            Some(user) => url.replace("http://", &format!("http://{user}@")),
            None => format!("{url}{bad}"),
        };
        for key in ["ping", "ping_start", "ping_success", "ping_failure"] {
            night.configure(&format!("[run]\n{key} = \"{address}\"\n"));
            for command in [&["config", "check"][..], &["config", "show"], &["run"]] {
                let run = night.run(2, command);
                assert!(run.stderr.contains(&format!("{key} is no address: it has a ")), "{}", run.stderr);
                assert!(!run.stderr.contains("hunter2") && !run.stdout.contains("hunter2"), "{}", run.stderr);
            }
            night.configure("");
            let option = format!("--{}", key.replace('_', "-"));
            let run = night.run(2, &["run", &option, &address]);
            assert!(run.stderr.contains(&option) && !run.stderr.contains("hunter2"), "{}", run.stderr);
        }
    }
}

#[test]
fn a_watcher_behind_tls_is_pinged_if_its_certificate_is_trusted() {
    let (url, asked) = listener();
    let mut night = Night::new("");
    let tls = tls(&url, night.folder.path());
    night.configure(&format!("[run]\nping = \"{}/id\"\n", tls.url));
    let run = night.run(3, &["run"]);
    assert!(run.stderr.contains("could not be sent to the ping address"), "{}", run.stderr);
    assert!(asked.lock().expect("no panic").is_empty());
    // The system's certificates are those of this file.
    night.chsnap = night.chsnap.clone().env("SSL_CERT_FILE", &tls.certificate.to_string_lossy());
    night.run(0, &["run"]);
    assert_eq!(*asked.lock().expect("no panic"), ["/id/start", "/id"]);
}

#[test]
fn a_server_that_is_starting_is_waited_for_and_one_that_stays_away_is_a_failure() {
    let night = Night::new("[run]\nserver_wait = \"3s\"\n");
    let away = night.chsnap.clone().url("http://127.0.0.1:9");
    let config = night.path("config.toml").display().to_string();
    let begun = Instant::now();
    let run = away.expect(1, &["--config", &config, "--json", "run"]);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    let error: Value = serde_json::from_str(&run.stderr).expect("an error");
    assert!(error["run"]["retries"].as_u64() >= Some(2), "{error}");
    assert_eq!(states(&error["run"])[0], ("create".to_owned(), "failed".to_owned()));
    assert_eq!(state_of(&error["run"], "gc"), "skipped");
    // A port that begins to answer after a while, and forwards to the server.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let behind = night.freezer.url().trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        forward(address, &behind);
    });
    let starting = night.chsnap.clone().url(&format!("http://{address}"));
    let run = starting.expect(0, &["--config", &config, "--json", "run", "--server-wait", "30s"]);
    let summary: Value = serde_json::from_str(&run.stdout).expect("a summary");
    assert!(summary["retries"].as_u64() >= Some(1) && summary["snapshot"].is_string(), "{summary}");
}

fn forward(address: std::net::SocketAddr, behind: &str) {
    let socket = TcpListener::bind(address).expect("the port is still free");
    for stream in socket.incoming() {
        let (client, server) = (stream.expect("a client"), std::net::TcpStream::connect(behind).expect("the server"));
        let pairs = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
        for (from, to) in pairs {
            let (mut from, mut to) = (from.expect("a stream"), to.expect("a stream"));
            std::thread::spawn(move || {
                let copied = std::io::copy(&mut from, &mut to);
                drop(copied);
                drop(to.shutdown(std::net::Shutdown::Write));
            });
        }
    }
}

#[test]
fn nights_that_were_missed_are_noticed() {
    let (lab, nights) = Lab::with_nights(2);
    let freezer = Freezer::start(&lab.path().join("ch"));
    freezer.add_part("events", "all_1_1_0");
    let chsnap = lab.chsnap().clone().url(freezer.url());
    let first = chsnap.json(0, &["run", "--every", "24h"]);
    assert_eq!(first["missed"]["since"], "2026-11-02T02:00:00Z", "{nights:?}");
    assert!(first["missed"]["runs"].as_u64() >= Some(1));
    assert!(chsnap.json(0, &["run"])["missed"].is_null());
    // A repository that has been away for long tells it to the person, too.
    let (lab, _) = Lab::with_nights(1);
    let chsnap = lab.chsnap().clone().url(freezer.url());
    assert!(chsnap.expect(0, &["run"]).stdout.contains("missed: there was no snapshot since 2026-11-01T02:00:00Z"));
}

#[test]
fn too_little_space_empties_the_trash_first_and_is_reported() {
    let night = Night::new("[run]\nmin_free = \"8000PiB\"\n");
    night.chsnap.expect(0, &["create"]);
    night.chsnap.expect(0, &["create"]);
    night.chsnap.expect(0, &["rm", "latest~1"]);
    let summary = night.summary(3, &["run"]);
    assert_eq!(states(&summary)[0], ("gc".to_owned(), "done".to_owned()));
    assert_eq!(summary["steps"][0]["result"]["removed"].as_array().map(Vec::len), Some(1));
    assert!(
        summary["warnings"][0].as_str().expect("a text").contains("less than the 7.81 EiB of min_free"),
        "{summary}"
    );
    assert!(summary["snapshot"].is_string());
}

#[test]
fn the_lock_taken_by_another_is_exit_code_11_and_in_the_figures_and_the_last_success_stays() {
    let night = Night::new("[run]\nmetrics_file = \"$D/chsnap.prom\"\n");
    night.run(0, &["run"]);
    let figure = |page: &str, name: &str| {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))
            .unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit(' ').next().expect("a value").to_owned()
    };
    let success = "chsnap_run_last_success_timestamp_seconds";
    let before = night.metrics();
    assert_eq!(figure(&before, "chsnap_run_exit_code"), "0");
    std::thread::sleep(Duration::from_millis(1100));
    let lock = fs::File::open(night.path("repo/lock")).expect("the lock");
    lock.lock().expect("it is free");
    let summary = night.summary(11, &["run"]);
    assert_eq!(states(&summary)[0], ("create".to_owned(), "failed".to_owned()));
    let page = night.metrics();
    assert_eq!(figure(&page, "chsnap_run_exit_code"), "11");
    assert_eq!(figure(&page, success), figure(&before, success));
    assert_ne!(figure(&page, "chsnap_run_last_end_timestamp_seconds"), figure(&page, success));
    let stage = "chsnap_create_stage_duration_seconds{profile=\"default\",stage=\"freeze\"}";
    let line = |page: &str| page.lines().find(|line| line.starts_with(stage)).expect("a stage").to_owned();
    assert_eq!(line(&page), line(&before), "those of the last create that was done");
    // Without a repository as well.
    drop(lock);
    fs::rename(night.path("repo"), night.path("elsewhere")).expect("renamed");
    night.summary(10, &["run"]);
    let page = night.metrics();
    assert_eq!((figure(&page, "chsnap_run_exit_code"), figure(&page, "chsnap_up")), ("10".to_owned(), "0".to_owned()));
    assert_eq!(figure(&page, success), figure(&before, success));
}

#[test]
fn figures_are_what_prometheus_reads_and_for_whoever_its_exporter_runs_as() {
    let night = Night::new("[profile.nfs.run]\nmetrics_file = \"$D/chsnap.prom\"\n");
    night.run(0, &["run", "nfs"]);
    let page = night.metrics();
    let figures = check_page(&page);
    for name in [
        "chsnap_newest_snapshot_timestamp_seconds",
        "chsnap_newest_snapshot_parts",
        "chsnap_newest_snapshot_placed_bytes",
        "chsnap_run_step_duration_seconds",
        "chsnap_create_stage_duration_seconds",
        "chsnap_snapshots",
        "chsnap_filesystem_free_bytes",
    ] {
        assert!(figures.contains(name), "{name}: {page}");
    }
    assert!(page.lines().filter(|line| !line.starts_with('#')).all(|line| line.contains("{profile=\"nfs\"")), "{page}");
    let mode = fs::metadata(night.path("chsnap.prom")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(names(night.folder.path()).iter().all(|name| !name.to_string_lossy().ends_with(".new")));
    let checked = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(night.path("chsnap.prom")).expect("the file"))
        .output();
    match checked {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("SKIPPED: promtool is not here to check the figures too"),
    }
}

/// Reads a page as strictly as the text format's description allows, and answers the names on it.
fn check_page(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    let mut series = BTreeSet::new();
    assert!(page.ends_with('\n'));
    let is_name = |name: &str| {
        name.starts_with(|letter: char| letter.is_ascii_lowercase())
            && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    };
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(is_name(name) && !help.is_empty() && names.insert(name.to_owned()), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest, format!("{helped} gauge"), "a type follows its help");
            helped.clone_into(&mut typed);
        } else {
            let (name, rest) = line.split_once('{').expect("labels");
            assert_eq!(name, typed, "the figures of a name stand together");
            let (labels, value) = rest.rsplit_once("} ").expect("a value");
            value.parse::<f64>().expect("a number");
            for label in labels.split("\",").map(|label| label.strip_suffix('"').unwrap_or(label)) {
                let (label, _) = label.split_once("=\"").expect("a label");
                assert!(is_name(label), "{line}");
            }
            assert!(series.insert((name.to_owned(), labels.to_owned())), "twice: {line}");
            // The conventions: a time and a duration are in seconds, a size is in bytes, nothing else is a unit.
            if name.contains("timestamp") || name.contains("duration") {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            for unit in ["_milliseconds", "_minutes", "_hours", "_kb", "_mb", "_total", "_count", "_sum"] {
                assert!(!name.ends_with(unit), "{name}");
            }
        }
    }
    names
}

/// A thread that cannot be started, wherever, is a panic: of `create` in the middle of a run, sooner or later.
#[test]
fn a_panic_ends_a_run_and_is_reported_like_every_failure() {
    let (url, asked) = listener();
    let config = format!(
        "[run]\nping = \"{url}/x\"\nmetrics_file = \"$D/chsnap.prom\"\nafter = 'echo $CHSNAP_RUN_EXIT_CODE $CHSNAP_RUN_ERROR > $D/after'\n"
    );
    let night = Night::new(&config);
    let config = night.path("config.toml").display().to_string();
    let mut reported = 0;
    for nth in 1..=40 {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=clone,clone3:error=EAGAIN:when={nth}")]);
        let run = match night.chsnap.under(strace, &["--config", &config, "--progress", "none", "run"]).output() {
            Ok(output) => Run::of(&output),
            Err(error) => {
                eprintln!("SKIPPED: strace does not start here: {error}");
                return;
            }
        };
        let after = fs::read_to_string(night.path("after")).ok();
        drop(fs::remove_file(night.path("after")));
        let pings = std::mem::take(&mut *asked.lock().expect("no panic"));
        if !run.stderr.contains("panicked at") {
            continue;
        }
        // Before the run has begun there is nothing to report.
        let Some(after) = after.filter(|_| run.code != 101) else {
            // A ping needs no thread, but the hook is a process, which could not be started either.
            if run.stderr.contains("the hook \"after\" failed: it does not start") {
                assert_eq!((run.code, pings.contains(&"/x/fail".to_owned())), (1, true), "{nth}: {}", run.stderr);
                continue;
            }
            assert_eq!((run.code, pings.contains(&"/x/fail".to_owned())), (101, false), "{nth}: {}", run.stderr);
            continue;
        };
        reported += 1;
        assert_eq!(run.code, 1, "{nth}: {}", run.stderr);
        assert!(after.starts_with("1 ") && after.contains("a bug in chsnap: "), "{nth}: {after}");
        assert!(pings.contains(&"/x/fail".to_owned()), "{nth}: {pings:?}");
        assert!(run.stderr.contains("a bug in chsnap"), "{nth}: {}", run.stderr);
        assert!(night.metrics().contains("chsnap_run_exit_code{profile=\"default\"} 1"), "{nth}");
        if reported > 1 {
            break;
        }
    }
    assert!(reported > 0, "no thread of a step was refused");
}

#[test]
fn the_end_of_the_terminal_rolls_back_a_run_and_is_reported() {
    let night = Night::new("[run]\nafter = 'echo $CHSNAP_RUN_EXIT_CODE > $D/after'\n");
    night.freezer.add_part(SLOW, "all_1_1_0");
    let config = night.path("config.toml").display().to_string();
    let mut command = night.chsnap.command(&["--config", &config, "run"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    std::thread::sleep(Duration::from_millis(900));
    let sent = std::process::Command::new("kill").args(["-HUP", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(129), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(night.path("after")).expect("the hook ran"), "129\n");
    assert!(names(&night.path("repo/snapshots")).is_empty());
}

#[test]
fn a_signal_rolls_back_a_run_and_is_reported() {
    let night =
        Night::new("[run]\nmetrics_file = \"$D/chsnap.prom\"\nafter = 'echo $CHSNAP_RUN_EXIT_CODE > $D/after'\n");
    night.freezer.add_part(SLOW, "all_1_1_0");
    let config = night.path("config.toml").display().to_string();
    let mut command = night.chsnap.command(&["--config", &config, "run"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    std::thread::sleep(Duration::from_millis(900));
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = child.wait_with_output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("being undone"), "{stderr}");
    assert_eq!(fs::read_to_string(night.path("after")).expect("the hook ran"), "143\n");
    assert!(night.metrics().contains("chsnap_run_exit_code{profile=\"default\"} 143"));
    assert!(names(&night.path("repo/snapshots")).is_empty());
}

#[test]
fn monitor_answers_in_one_line_with_the_codes_of_nagios() {
    let (lab, _) = Lab::with_nights(2);
    let asked = |code, arguments: &[&str]| {
        let run = lab.run(code, &[&["monitor"], arguments].concat());
        assert_eq!((run.stdout.lines().count(), run.stderr.as_str()), (1, ""), "{}", run.stdout);
        run.stdout
    };
    let line = asked(0, &["--warn", "100000h", "--crit", "100001h"]);
    assert!(line.starts_with("CHSNAP OK - newest snapshot 2026-11-02T020000Z is "), "{line}");
    assert!(line.contains(" | age=") && line.contains("s;360000000;360003600;0 snapshots=2;;;0 free="), "{line}");
    assert!(asked(1, &["--warn", "1s", "--crit", "100000h"]).starts_with("CHSNAP WARNING - "));
    assert!(asked(2, &["--warn", "1s", "--crit", "2s"]).starts_with("CHSNAP CRITICAL - "));
    assert!(asked(3, &["--warn", "3s", "--crit", "2s"]).starts_with("CHSNAP UNKNOWN - --warn is longer"));
    assert!(asked(3, &["--repo", "/nowhere"]).starts_with("CHSNAP UNKNOWN - there is no repository"));
    assert!(asked(3, &["--warn", "soon"]).starts_with("CHSNAP UNKNOWN - invalid value 'soon'"));
    let json: Value = serde_json::from_str(&asked(2, &["--json", "--warn", "1s", "--crit", "2s"])).expect("a document");
    assert_eq!(
        (&json["schema"], &json["state"], &json["exit_code"]),
        (&"chsnap.monitor.v1".into(), &"critical".into(), &2.into())
    );
    assert!(json["age_seconds"].as_i64() > Some(0));
    // No snapshot at all, and one whose date lies in the future only.
    let lab = Lab::new();
    assert!(lab.run(2, &["monitor"]).stdout.contains("there is no complete snapshot"));
    lab.snapshot("2126-11-02T02:00:00Z");
    assert!(lab.run(2, &["monitor"]).stdout.contains("there is no complete snapshot"));
    // A damaged one is worth a look although a good one is there.
    let damaged = lab.snapshot("2126-11-03T02:00:00Z");
    let _good = lab.snapshot(&chrono::Utc::now().to_rfc3339());
    fs::write(Path::new(&lab.at(&damaged)).join("manifest.json"), "{").expect("written");
    assert!(lab.run(1, &["monitor"]).stdout.starts_with("CHSNAP WARNING - newest snapshot "));
}

#[test]
fn monitor_writes_the_figures_and_keeps_those_of_the_last_run() {
    let night = Night::new("[run]\nmetrics_file = \"$D/chsnap.prom\"\n[monitor]\nmetrics_file = \"$D/chsnap.prom\"\n");
    night.run(0, &["run"]);
    let before = night.metrics();
    assert!(night.run(0, &["monitor"]).stdout.starts_with("CHSNAP OK"));
    let of_run = |page: &str| {
        page.lines()
            .filter(|line| line.starts_with("chsnap_run") || line.starts_with("chsnap_create"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(of_run(&before).len() > 8);
    assert_eq!(of_run(&night.metrics()), of_run(&before));
    check_page(&night.metrics());
    night.configure("[monitor]\nmetrics_file = \"/nowhere/x.prom\"\n");
    assert!(night.run(1, &["monitor"]).stdout.contains("the figures are not written"));
}

#[test]
fn the_policy_is_applied_only_after_a_good_night() {
    let night = Night::new("[prune]\nkeep_last = 3\n[verify]\nlevel = \"size\"\n");
    for _ in 0..4 {
        night.chsnap.expect(0, &["create"]);
    }
    let summary = night.summary(0, &["run"]);
    let steps: Vec<String> = states(&summary).into_iter().map(|(step, state)| format!("{step} {state}")).collect();
    assert_eq!(steps, ["create done", "gc done", "prune done", "verify done"], "{summary}");
    assert_eq!(summary["steps"][2]["result"]["remove"].as_array().map(Vec::len), Some(2), "{summary}");
    assert_eq!(names(&night.path("repo/snapshots")).len(), 3);
    // What it removed can be undone until the next run.
    assert_eq!(names(&night.path("repo/trash")).len(), 2);
    // Half of them and more at once looks like a mistake: it is refused, and said by the exit code.
    night.configure("[prune]\nkeep_last = 1\n");
    let summary = night.summary(13, &["run"]);
    assert_eq!((state_of(&summary, "create"), state_of(&summary, "prune")), ("done".to_owned(), "failed".to_owned()));
    assert_eq!(names(&night.path("repo/snapshots")).len(), 4);
    // Without a new snapshot nothing goes.
    let away = night.chsnap.clone().url("http://127.0.0.1:9");
    let config = night.path("config.toml").display().to_string();
    let run = away.expect(1, &["--config", &config, "--json", "run", "--server-wait", "0s"]);
    let error: Value = serde_json::from_str(&run.stderr).expect("an error");
    assert_eq!(state_of(&error["run"], "prune"), "skipped");
    assert_eq!(names(&night.path("repo/snapshots")).len(), 4);
}

#[test]
fn removed_snapshots_stay_in_the_trash_for_trash_keep() {
    let night = Night::new("[run]\ntrash_keep = \"30d\"\n[prune]\nkeep_last = 3\n[verify]\nlevel = \"size\"\n");
    for _ in 0..3 {
        night.chsnap.expect(0, &["create"]);
    }
    let in_trash = |expected: usize| {
        let trash: Vec<PathBuf> = names(&night.path("repo/trash")).into_iter().map(PathBuf::from).collect();
        assert_eq!(trash.len(), expected, "{trash:?}");
    };
    // Each run lets one go, and the next empties nothing of it.
    for nights in 1..=3 {
        let summary = night.summary(0, &["run"]);
        let emptied = &summary["steps"][1];
        assert_eq!(emptied["step"], "gc");
        assert_eq!(emptied["result"]["spared"].as_array().map(Vec::len), Some(nights - 1), "{summary}");
        assert_eq!(emptied["result"]["removed"].as_array().map(Vec::len), Some(0), "{summary}");
        in_trash(nights);
    }
    let oldest = names(&night.path("repo/trash"))[0].clone().into_string().expect("text");
    assert_eq!(night.chsnap.json(0, &["undo", &oldest])["restored"], serde_json::json!([oldest]));
    night.chsnap.expect(0, &["rm", &oldest]);
    // As soon as it is over, and before anything else where the disk is short.
    night.configure("[run]\ntrash_keep = \"1s\"\n[prune]\nkeep_last = 3\n[verify]\nlevel = \"size\"\n");
    std::thread::sleep(Duration::from_millis(2100));
    let summary = night.summary(0, &["run"]);
    assert_eq!(summary["steps"][1]["result"]["removed"].as_array().map(Vec::len), Some(3), "{summary}");
    in_trash(1);
    night.configure(
        "[run]\ntrash_keep = \"30d\"\nmin_free = \"7EiB\"\n[prune]\nkeep_last = 3\n[verify]\nlevel = \"size\"\n",
    );
    let summary = night.summary(3, &["run"]);
    assert_eq!(
        (&summary["steps"][0]["step"], &summary["steps"][0]["result"]["spared"]),
        (&"gc".into(), &Value::Array(Vec::new()))
    );
    assert_eq!(summary["steps"][0]["result"]["removed"].as_array().map(Vec::len), Some(1), "{summary}");
}

#[test]
fn simulate_shows_the_policy_of_the_nights() {
    let night = Night::new("[prune]\nkeep_daily = 5\n");
    assert!(night.run(0, &["simulate", "--days", "30"]).stdout.contains("keep 5 daily"));
    assert!(night.run(0, &["simulate", "--days", "30", "--keep-daily", "2"]).stdout.contains("keep 2 daily"));
}

#[test]
fn a_night_copies_to_the_other_repositories_and_tells_of_one_that_fails() {
    let night = Night::new("repo = \"$D/repo\"\n[run]\nverify_slices = 0\ncopy_to = [\"$D/second\", \"$D/third\"]\n");
    let copies = |summary: &Value| -> Vec<String> {
        states(summary).into_iter().filter(|(step, _)| step == "copy").map(|(_, state)| state).collect()
    };
    let summary = night.summary(0, &["run"]);
    assert_eq!(copies(&summary), ["done", "done"]);
    let id = summary["snapshot"].as_str().expect("an id").to_owned();
    for name in ["second", "third"] {
        assert_eq!(names(&night.path(name).join("snapshots")), [id.as_str()]);
    }
    // One that cannot be used is no reason not to copy to the other.
    fs::remove_dir_all(night.path("second")).expect("removed");
    fs::write(night.path("second"), "in the way").expect("written");
    let summary = night.summary(1, &["run"]);
    assert_eq!(copies(&summary), ["failed", "done"]);
    assert_eq!(names(&night.path("third").join("snapshots")).len(), 2);
    let text = night.run(1, &["run"]).stdout;
    assert!(text.contains("1 snapshot to ") && text.contains("failed: "), "{text}");
}
