//! A server's state besides tables, at any configured place, and folders of its configuration.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chsnap_command::Chsnap;
use crate::freezer::{Freezer, served_repository};

fn lab() -> (TempDir, Freezer, Chsnap) {
    let (folder, freezer, chsnap) = served_repository();
    freezer.add_small_part("t", "all_1_1_0");
    (folder, freezer, chsnap)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

fn snapshot(chsnap: &Chsnap, created: &Value) -> PathBuf {
    chsnap.repo().join("snapshots").join(created["id"].as_str().expect("an id"))
}

/// The server's columns of these system tables, as it lists them.
fn columns(tables: &[(&str, &[&str])]) -> Vec<Value> {
    let of_table = |(table, names): &(&str, &[&str])| {
        names.iter().map(|name| json!({"table": table, "name": name})).collect::<Vec<_>>()
    };
    tables.iter().flat_map(of_table).collect()
}

#[test]
fn state_on_other_configured_paths_is_kept() {
    let (folder, _freezer, chsnap) = lab();
    let at = |path: &str| folder.path().join(path);
    let config = [
        ("user_defined_path", "fn/"),
        ("workload_path", "wl/"),
        ("access_control_path", "users/"),
        ("user_scripts_path", "scripts/"),
        ("user_defined_executable_functions_config", "conf/*_function.*ml"),
    ]
    .map(|(key, path)| format!("<{key}>{}</{key}>", at(path).display()));
    let collections =
        format!("<named_collections_storage><path>{}</path></named_collections_storage>", at("nc").display());
    write(
        &at("ch/preprocessed_configs/config.xml"),
        &format!("<clickhouse>{}{collections}</clickhouse>", config.concat()),
    );
    let files = [
        ("fn/function_f.sql", "user_defined/function_f.sql"),
        ("wl/workload_w.sql", "workload/workload_w.sql"),
        ("users/0b7a5e7c-0000-4000-8000-000000000001.sql", "access/0b7a5e7c-0000-4000-8000-000000000001.sql"),
        ("users/users.list", "access/users.list"),
        ("nc/c.sql", "named_collections/c.sql"),
        ("conf/my_function.xml", "executable_functions/my_function.xml"),
        ("scripts/run.py", "user_scripts/run.py"),
        ("scripts/lib/common.py", "user_scripts/lib/common.py"),
    ];
    for (path, _) in files {
        write(&at(path), path);
    }
    // What is no function's, nor a user's.
    for other in ["conf/config.xml", "users/id_rsa"] {
        write(&at(other), other);
    }
    let created = chsnap.json(0, &["create"]);
    let snapshot = snapshot(&chsnap, &created);
    for (path, kept_as) in files {
        let kept = snapshot.join(kept_as);
        assert_eq!(fs::read_to_string(&kept).unwrap_or_else(|error| panic!("{kept_as}: {error}")), path);
        assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o600, "{kept_as}");
    }
    for other in ["executable_functions/config.xml", "access/id_rsa"] {
        assert!(!snapshot.join(other).exists(), "{other}");
    }
    chsnap.json(0, &["verify"]);
    fs::write(snapshot.join("user_scripts/run.py"), "x").expect("written");
    chsnap.json(12, &["verify"]);
}

#[test]
fn objects_in_keeper_are_named() {
    let (_folder, freezer, chsnap) = lab();
    freezer.lie(
        "columns",
        columns(&[
            ("user_directories", &["name", "type", "params"]),
            ("users", &["name", "storage"]),
            ("server_settings", &["name", "value"]),
            ("named_collections", &["name"]),
            ("user_defined_functions", &["name", "command"]),
        ]),
    );
    freezer.lie(
        "user_directories",
        vec![
            json!({"name": "users_xml", "kind": "users_xml", "params": "{\"path\":\"/etc/users.xml\"}"}),
            json!({"name": "shared", "kind": "replicated", "params": "{\"zookeeper_path\":\"/clickhouse/access\"}"}),
        ],
    );
    freezer.lie("users", vec![json!({"text": "alice"}), json!({"text": "bob"})]);
    freezer.lie("server_settings", vec![json!({"name": "named_collections_storage.type", "value": "keeper"})]);
    freezer.lie("named_collections", vec![json!({"text": "bucket"})]);
    freezer.lie("user_defined_functions", vec![json!({"text": "predict"})]);
    let created = chsnap.json(3, &["create"]);
    let list = created["warning_list"].as_array().expect("warnings").clone();
    let has = |kind: &str, words: &[&str]| {
        let found = |warning: &&Value| {
            let text = warning["message"].as_str().expect("a message");
            warning["kind"] == kind && words.iter().all(|word| text.contains(word))
        };
        assert_eq!(list.iter().filter(found).count(), 1, "{kind} {words:?}: {list:#?}");
    };
    has("in_keeper", &["/clickhouse/access", "alice, bob"]);
    has("in_keeper", &["named collections", "bucket"]);
    has("server_files_unreadable", &["predict"]);
    // A snapshot of some tables has none of that, and says nothing of it.
    chsnap.json(0, &["create", "--table", "d.t"]);
    // Empty places give no warning.
    for table in ["users", "named_collections", "user_defined_functions"] {
        freezer.lie(table, Vec::new());
    }
    chsnap.json(0, &["create"]);
}

#[test]
fn folders_of_configuration_are_kept_only_where_that_is_asked_for() {
    let (folder, _freezer, chsnap) = lab();
    let conf = folder.path().join("etc");
    write(&conf.join("config.xml"), "<a/>");
    write(&conf.join("config.d/..2026/secret.xml"), "<password>p</password>");
    symlink("..2026/secret.xml", conf.join("config.d/secret.xml")).expect("a link");
    symlink("nowhere", conf.join("dangling.xml")).expect("a link");
    let below = Path::new("configs").join(conf.strip_prefix("/").expect("absolute"));
    let plain = chsnap.json(0, &["create"]);
    assert!(!snapshot(&chsnap, &plain).join("configs").exists());
    for wrong in ["etc", "/etc/../root"] {
        chsnap.expect(2, &["create", "--configs", wrong]);
    }
    let settings = folder.path().join("chsnap.toml");
    fs::write(&settings, format!("[create]\nconfigs = [{:?}]\n", conf.display())).expect("written");
    let created = chsnap.json(3, &["--config", settings.to_str().expect("text"), "create", "--table", "d.t"]);
    let warnings = created["warnings"].to_string();
    assert!(warnings.contains("dangling.xml") && !warnings.contains("password"), "{created:#}");
    let kept = snapshot(&chsnap, &created).join(&below);
    for (name, text) in [("config.xml", "<a/>"), ("config.d/secret.xml", "<password>p</password>")] {
        let (kept, live) = (kept.join(name), conf.join(name));
        assert_eq!(fs::read_to_string(&kept).expect("kept"), text);
        let stat = fs::symlink_metadata(&kept).expect("there");
        assert!(stat.is_file() && stat.ino() != fs::metadata(live).expect("there").ino(), "{name}");
        assert_eq!(stat.permissions().mode() & 0o777, 0o600, "{name}");
    }
    fs::remove_file(conf.join("dangling.xml")).expect("removed");
    let whole = chsnap.json(0, &["create", "--configs", conf.to_str().expect("text")]);
    let id = whole["id"].as_str().expect("an id");
    let to = folder.path().join("out");
    chsnap.json(0, &["restore", id, "--to", to.to_str().expect("text"), "--yes"]);
    assert_eq!(
        fs::read_to_string(to.join(&below).join("config.d/secret.xml")).expect("it is there"),
        "<password>p</password>"
    );
    chsnap.json(0, &["verify"]);
    fs::remove_file(snapshot(&chsnap, &whole).join(&below).join("config.xml")).expect("removed");
    chsnap.json(12, &["verify", id]);
    chsnap.json(3, &["create", "--configs", "/nowhere/at/all"]);
}
