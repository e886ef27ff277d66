//! `doctor` predicts the refusals of `create` and `run` under the same configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;
use crate::freezer::{Freezer, served_repository};

struct Examined {
    folder: tempfile::TempDir,
    chsnap: Chsnap,
    freezer: Freezer,
}

/// What the server answers of its settings: nothing is changed, and the user is not readonly.
fn readonly() -> Value {
    json!({"names": [], "values": [], "changed": [], "name": "readonly", "value": "0"})
}

impl Examined {
    fn new() -> Self {
        let (folder, freezer, chsnap) = served_repository();
        freezer.add_part("events", "all_1_1_0");
        freezer.lie("settings", vec![readonly()]);
        Self { folder, chsnap, freezer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, text: &str) {
        let text = text.replace("$D", &self.folder.path().display().to_string());
        fs::write(self.path("config.toml"), text).expect("a file");
    }

    /// The findings that are not well, as `name state: message / remedy`.
    #[track_caller]
    fn findings(&self, code: i32, arguments: &[&str]) -> Vec<String> {
        let config = self.path("config.toml").display().to_string();
        let run = self.chsnap.expect(code, &[&["--config", &config, "--json", "doctor"], arguments].concat());
        let document: Value = serde_json::from_str(&run.stdout).expect("a document");
        let checks = document["checks"].as_array().expect("checks").clone();
        let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
        let bad = checks.iter().filter(|check| check["state"] != "ok");
        let line = |check: &Value| {
            let [name, state, message, remedy] = ["name", "state", "message", "remedy"].map(|field| text(check, field));
            format!("{name} {state}: {message} / {remedy}")
        };
        bad.map(line).collect()
    }

    /// That there is one bad finding, with these words in it.
    #[track_caller]
    fn only(&self, code: i32, words: &[&str]) {
        let found = self.findings(code, &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        for word in words {
            assert!(found[0].contains(word), "{word} in {found:?}");
        }
    }
}

#[test]
fn exit_code_0_is_a_night_that_goes_well() {
    let examined = Examined::new();
    examined.configure("[create]\nexclude = [\"x.*\"]\n[prune]\nkeep_last = 3\n[verify]\nlevel = \"size\"\n");
    assert_eq!(examined.findings(0, &[]), [""; 0]);
    let config = examined.path("config.toml").display().to_string();
    examined.chsnap.expect(0, &["--config", &config, "--progress", "none", "run"]);
    assert_eq!(examined.findings(0, &[]), [""; 0]);
}

#[test]
fn a_ping_address_that_takes_no_connection_is_foretold() {
    let examined = Examined::new();
    // Port 9 is the discard service: nothing listens there.
    examined.configure("[prune]\nkeep_last = 3\n[run]\nping = \"http://127.0.0.1:9/secret\"\n");
    examined.only(3, &["ping warning: ping would not be notified of a run: http://127.0.0.1:9/…: "]);
}

#[test]
fn a_ping_address_is_reached_through_the_proxy_of_the_environment() {
    let mut examined = Examined::new();
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", proxy.local_addr().expect("its address"));
    examined.configure("[prune]\nkeep_last = 3\n[run]\nping = \"http://watcher.invalid/secret\"\n");
    examined.chsnap = examined.chsnap.env("HTTP_PROXY", &address).env("NO_PROXY", "127.0.0.1");
    assert_eq!(examined.findings(0, &[]), [""; 0]);
    drop(proxy);
    examined.only(3, &["ping warning: ping would not be notified of a run: http://watcher.invalid/…: "]);
}

#[test]
fn the_repository_of_another_server_is_foretold() {
    let mut examined = Examined::new();
    examined.configure("");
    examined.chsnap.expect(0, &["create"]);
    let other = Freezer::start(&examined.path("other"));
    other.add_part("events", "all_1_1_0");
    other.lie("settings", vec![readonly()]);
    examined.chsnap = examined.chsnap.url(other.url());
    examined.freezer = other;
    examined.chsnap.expect(13, &["create"]);
    examined.only(1, &["server fail: the repository belongs to the server with ", "--allow-other-server"]);
}

#[test]
fn doctor_examines_the_selection_of_create() {
    let examined = Examined::new();
    let data = examined.path("ch").display().to_string();
    let row = |name: &str, engine: &str, definition: &str| {
        json!({
            "database": "d", "name": name, "engine": engine, "uuid": "", "storage_policy": "", "has_own_data": 1,
            "metadata_path": format!("{data}/metadata/d/{name}.sql"), "create_table_query": definition,
            "data_paths": [format!("{data}/data/d/{name}/")],
        })
    };
    examined.freezer.lie(
        "tables",
        vec![
            row("events", "MergeTree", "CREATE TABLE d.events (k UInt8)"),
            row("unique", "MergeTree", "CREATE TABLE d.unique (k UInt8) ENGINE = MergeTree ORDER BY k UNIQUE KEY k"),
            row("map", "KeeperMap", "CREATE TABLE d.map (k UInt8) ENGINE = KeeperMap('/x') PRIMARY KEY k"),
        ],
    );
    examined.configure("");
    examined.only(
        3,
        &["tables warning: ", "d.unique is not in the snapshot: it has a UNIQUE KEY", "d.map is not in", "accept"],
    );
    examined.configure("[create]\naccept = [\"d.unique\"]\nexclude = [\"d.map\"]\n");
    assert_eq!(examined.findings(0, &[]), [""; 0]);
    examined.configure("[create]\ntable = [\"d.events\", \"d.evnets\"]\n");
    examined.only(1, &["tables fail: the server has no ", "d.evnets", "[create]"]);
    examined.configure("[create]\ntable = [\"d.events\"]\nmin_free = \"8000PiB\"\n");
    examined.only(1, &["space fail: ", "less than the 7.81 EiB of --min-free"]);
}

#[test]
fn a_prune_that_would_be_refused_is_foretold_with_the_command_that_applies_it() {
    let examined = Examined::new();
    for _ in 0..6 {
        examined.chsnap.expect(0, &["create"]);
    }
    examined.configure("[prune]\nkeep_last = 1\n");
    examined
        .only(3, &["retention warning: prune would be refused: 5 of 6", "prune --yes-really applies the plan once"]);
}

#[test]
fn hooks_that_are_missing_or_anyones_are_foretold() {
    let examined = Examined::new();
    examined.configure(
        "[run]\nbefore = \"$D/hook --now\"\nmetrics_file = \"$D/none/chsnap.prom\"\nmin_free = \"8000PiB\"\n",
    );
    let found = examined.findings(1, &[]).join("\n");
    for words in ["hook fail: ", "No such file", "metrics warning: ", "space warning: ", "min_free in [run]"] {
        assert!(found.contains(words), "{words} in {found}");
    }
    let hook = examined.path("hook");
    fs::write(&hook, "#!/bin/sh\n").expect("a file");
    examined.configure("[run]\nbefore = \"$D/hook --now\"\n");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).expect("a mode");
    examined.only(1, &["hook fail: ", "someone else may change it", "chmod go-w "]);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
    assert_eq!(examined.findings(0, &[]), [""; 0]);
}

#[test]
fn doctor_predicts_that_copy_to_would_fail() {
    let examined = Examined::new();
    examined.configure("[run]\ncopy_to = [\"$D/second\"]\n");
    examined.chsnap.expect(0, &["create"]);
    assert_eq!(examined.findings(0, &[]), [""; 0]);
    examined.configure("[run]\ncopy_to = [\"$D/repo\"]\n");
    examined.only(1, &["copy fail: ", "/repo", "correct copy_to in [run]"]);
    fs::write(examined.path("file"), "in the way").expect("a file");
    examined.configure("[run]\ncopy_to = [\"$D/file\"]\n");
    examined.only(1, &["copy fail: ", "/file"]);
    let other = Freezer::start(&examined.path("other"));
    other.add_part("events", "all_1_1_0");
    let foreign = Chsnap::new(&examined.path("foreign")).url(other.url());
    foreign.expect(0, &["init"]);
    foreign.expect(0, &["create"]);
    examined.configure("[run]\ncopy_to = [\"$D/foreign\"]\n");
    examined.only(1, &["copy fail: ", "/foreign"]);
}

#[test]
fn a_password_that_would_go_over_the_wire_in_the_clear_is_named() {
    let mut examined = Examined::new();
    examined.configure("");
    examined.chsnap = examined.chsnap.clone().env("CHSNAP_PASSWORD", "hunter2");
    assert_eq!(examined.findings(0, &[]), [""; 0]);
    // Any address of this machine will do that is not the loopback's.
    let port = examined.freezer.url().rsplit(':').next().expect("a port").to_owned();
    examined.chsnap = examined.chsnap.url(&format!("http://0.0.0.0:{port}"));
    examined.only(3, &["password warning: the password goes to 0.0.0.0 over plain http", "https://"]);
}

#[test]
fn a_repository_in_memory_is_named() {
    let examined = Examined::new();
    let memory = examined.path("memory");
    fs::create_dir(&memory).expect("a directory");
    let inside = memory.join("repo").display().to_string();
    let prepare = format!("mount -t tmpfs none \"$DATA\"; CHSNAP_REPO={inside} \"$1\" init >/dev/null");
    let Some(run) = examined.chsnap.in_namespace(&prepare, &memory, &["--repo", &inside, "doctor"]) else {
        eprintln!("SKIPPED: this user may not make mount namespaces");
        return;
    };
    assert_eq!(run.code, 3, "{}\n{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("which is in memory: every snapshot is gone when the machine restarts"),
        "{}",
        run.stdout
    );
}
