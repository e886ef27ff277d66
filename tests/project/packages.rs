//! Files shipped with the program: the Debian package, the sample configuration, the dashboard and the alerts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout} {stderr}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program, which reads no configuration but the one that is named.
fn chsnap(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("CHSNAP_SYSTEM_CONFIG_DIR", "/nonexistent");
    command
}

/// Makes the package and unpacks it.
fn package() -> Option<(tempfile::TempDir, PathBuf, PathBuf)> {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("SKIPPED: dpkg-deb is not here to make a package");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let built = folder.path().join("built");
    run(Command::new(root().join("packaging/build-deb"))
        .env("CHSNAP_DEB_COMPRESSION", "none")
        .args(["--program", env!("CARGO_BIN_EXE_chsnap"), "--output"])
        .arg(&built));
    let package = fs::read_dir(&built).expect("a directory").next().expect("a package").expect("an entry").path();
    let unpacked = folder.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked));
    Some((folder, package, unpacked))
}

#[test]
fn the_package_holds_program_units_pages_completions_and_configuration() {
    let Some((folder, package, unpacked)) = package() else { return };
    let name = package.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with(concat!("chsnap_", env!("CARGO_PKG_VERSION"), "_")), "{name}");
    let listed = text(&run(Command::new("dpkg-deb").arg("-c").arg(&package)));
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    for (file, mode) in [
        ("usr/bin/chsnap", "-rwxr-xr-x"),
        ("etc/chsnap/config.toml", "-rw-r-----"),
        ("etc/chsnap/conf.d/README", "-rw-r--r--"),
        ("usr/lib/systemd/system/chsnap.service", "-rw-r--r--"),
        ("usr/lib/systemd/system/chsnap.timer", "-rw-r--r--"),
        ("usr/lib/systemd/system/chsnap@.service", "-rw-r--r--"),
        ("usr/lib/systemd/system/chsnap@.timer", "-rw-r--r--"),
        ("usr/share/man/man1/chsnap-create.1.gz", "-rw-r--r--"),
        ("usr/share/man/man1/chsnap-run.1.gz", "-rw-r--r--"),
        ("usr/share/bash-completion/completions/chsnap", "-rw-r--r--"),
        ("usr/share/zsh/vendor-completions/_chsnap", "-rw-r--r--"),
        ("usr/share/fish/vendor_completions.d/chsnap.fish", "-rw-r--r--"),
        ("usr/share/doc/chsnap/copyright", "-rw-r--r--"),
    ] {
        let line = listed.lines().find(|line| line.ends_with(&format!(" ./{file}")));
        assert!(line.is_some_and(|line| line.starts_with(mode)), "{file}: {line:?}\n{listed}");
    }
    let version = text(&run(chsnap(&unpacked.join("usr/bin/chsnap")).arg("--version")));
    assert_eq!(version, concat!("chsnap ", env!("CARGO_PKG_VERSION"), "\n"));
    let service = fs::read_to_string(unpacked.join("usr/lib/systemd/system/chsnap@.service")).expect("a unit");
    assert!(service.contains("ExecStart=/usr/bin/chsnap run %i\n"), "{service}");
    let control = folder.path().join("control");
    run(Command::new("dpkg-deb").arg("-e").arg(&package).arg(&control));
    assert_eq!(fs::read_to_string(control.join("conffiles")).expect("a file"), "/etc/chsnap/config.toml\n");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(control.join(script)));
    }
    assert!(fs::read_to_string(control.join("postinst")).expect("a script").contains("groupadd --system chsnap"));
    let fields = fs::read_to_string(control.join("control")).expect("a file");
    assert!(fields.contains("\nDepends: libc6 (>= 2.") && fields.contains("\nInstalled-Size: "), "{fields}");
}

#[test]
fn cargo_deb_lists_every_file_of_the_package() {
    let Some((_folder, _, unpacked)) = package() else { return };
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let (_, assets) = manifest.split_once("\nassets = [\n").expect("the list");
    let (assets, _) = assets.split_once("\n]").expect("its end");
    let sources: Vec<&str> = assets.lines().map(|line| line.split('"').nth(1).expect("a source")).collect();
    let matches = |source: &str, file: &str| match source.strip_suffix('*') {
        Some(beginning) => file.strip_prefix(beginning).is_some_and(|rest| !rest.contains('/')),
        None => source == file,
    };
    let mut left = vec![unpacked.clone()];
    let mut count = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let file = path.strip_prefix(&unpacked).expect("inside").to_string_lossy().into_owned();
        let source = if file == "usr/bin/chsnap" {
            "target/release/chsnap".to_owned()
        } else {
            format!("target/package/{file}")
        };
        assert!(sources.iter().any(|known| matches(known, &source)), "{file} is in no asset: {sources:?}");
        count += 1;
    }
    assert!(count > 15, "{count}");
}

#[test]
fn the_example_of_a_configuration_can_be_used_as_it_is_and_with_all_of_it_uncommented() {
    let folder = tempfile::tempdir().expect("a folder");
    let example = fs::read_to_string(root().join("packaging/config.toml")).expect("the example");
    // A comment has a blank behind its sign, a setting that is not in force has none.
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => rest,
            _ => line,
        })
        // A password file, and hooks, which are not there.
        .filter(|line| !["password_file", "before", "after"].iter().any(|key| line.starts_with(key)))
        .collect();
    assert!(uncommented.iter().filter(|line| line.contains(" = ")).count() > 14);
    for (name, text) in [("as-it-is.toml", example.clone()), ("all.toml", uncommented.join("\n"))] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        run(chsnap(Path::new(env!("CARGO_BIN_EXE_chsnap"))).args(["config", "check", "--config"]).arg(&path));
    }
}

/// The names of all figures that a text has.
fn figures(text: &str) -> BTreeSet<String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter: char| !is_letter(letter));
    words.filter(|word| word.starts_with("chsnap_")).map(str::to_owned).collect()
}

#[test]
fn the_board_and_the_alerts_name_figures_that_there_are() {
    let folder = root().join("docs/monitoring");
    let known = fs::read_to_string(root().join("src/cli/metrics/mod.rs")).expect("the source");
    let known: BTreeSet<String> = figures(&known).into_iter().filter(|name| name != "chsnap_").collect();
    assert!(known.len() > 20, "{known:?}");
    for name in ["dashboard.json", "alerts.yml"] {
        let named = figures(&fs::read_to_string(folder.join(name)).expect("a file"));
        assert!(named.len() > 5 && named.is_subset(&known), "{name}: {:?}", named.difference(&known));
    }
    let page = fs::read_to_string(folder.join("README.md")).expect("the page");
    let told = |name: &String| page.contains(name.as_str()) || page.contains(&format!("`{}", shortened(name)));
    let silent: Vec<&String> = known.iter().filter(|name| !told(name)).collect();
    assert!(silent.is_empty(), "the page does not tell of {silent:?}");
    let board: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("dashboard.json")).expect("a file")).expect("JSON");
    assert!(board["panels"].as_array().expect("panels").len() > 8 && board["title"] == "chsnap");
}

/// The value of each line of this key, in the file of alerts.
fn values<'a>(alerts: &'a str, key: &str) -> Vec<&'a str> {
    let values = alerts.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    values.map(|value| value.trim_start_matches(':').trim().trim_matches('\'')).collect()
}

#[test]
fn every_alert_has_a_figure_and_a_section_of_the_page_for_trouble() {
    let alerts = fs::read_to_string(root().join("docs/monitoring/alerts.yml")).expect("a file");
    let page = fs::read_to_string(root().join("docs/trouble.md")).expect("a page");
    let (names, figure, links) = (values(&alerts, "alert"), values(&alerts, "expr"), values(&alerts, "runbook_url"));
    assert!(names.len() == figure.len() && names.len() == links.len() && names.len() > 12, "{names:?} {links:?}");
    let headings: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| {
            let kept = heading.to_lowercase().replace(' ', "-");
            kept.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-').collect()
        })
        .collect();
    for (name, link) in names.iter().zip(&links) {
        // The package has the page there: packaging/assets.
        let section = link.strip_prefix("file:///usr/share/doc/chsnap/trouble.md#").expect("a link to the page");
        assert!(headings.contains(section), "{name}: {section} is none of {headings:?}");
        assert!(page.contains(&format!("`{name}`")), "the page does not speak of {name}");
    }
    // What a person must hear of, and the figure that says it.
    for (state, figure, alert) in [
        ("no new snapshot", "chsnap_newest_snapshot_timestamp_seconds", "ChsnapSnapshotTooOld"),
        ("damage", "chsnap_snapshots_with_damage", "ChsnapDamage"),
        ("a journal with a gap", "chsnap_journal_unreadable_files", "ChsnapJournalUnreadable"),
        ("failed drill", "chsnap_snapshots_with_failed_drill", "ChsnapDrillFailed"),
        ("incomplete night", "chsnap_newest_snapshot_incomplete", "ChsnapSnapshotIncomplete"),
        ("prune refused", "chsnap_prune_refused", "ChsnapPruneRefused"),
        ("disk filling", "chsnap_filesystem_full_in_seconds", "ChsnapDiskFullSoon"),
        ("leftover freezes", "chsnap_foreign_freezes", "ChsnapLeftoverFreezes"),
        ("a replica that lags", "chsnap_newest_snapshot_replicas_behind", "ChsnapReplicaBehind"),
        ("a copy or push that failed", "chsnap_run_step_failed", "ChsnapStepFailed"),
    ] {
        let rule = alerts.split("- alert: ").find(|rule| rule.starts_with(&format!("{alert}\n")));
        assert!(rule.is_some_and(|rule| rule.contains(figure)), "{state}: {alert} is not about {figure}");
    }
}

#[test]
fn the_alerts_are_sound_and_each_says_its_own_trouble() {
    let folder = root().join("docs/monitoring");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        match Command::new("promtool").current_dir(&folder).args(arguments).output() {
            Ok(output) => {
                let told = [output.stdout, output.stderr].concat();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
            }
            Err(_) => eprintln!("SKIPPED: promtool is not here to check the alerts (Debian: prometheus)"),
        }
    }
}

#[test]
fn the_board_fits_the_schema_that_grafana_ships() {
    let folder = root().join("docs/monitoring");
    let check =
        |board: &Path| Command::new(root().join("tests/support/board/check")).arg(board).output().expect("a script");
    let output = check(&folder.join("dashboard.json"));
    if output.status.code() == Some(77) {
        eprintln!("SKIPPED: npm or its package @grafana/schema is not here to check the board");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // A board that does not fit is found.
    let board = fs::read_to_string(folder.join("dashboard.json")).expect("a file");
    let wrong = tempfile::NamedTempFile::new().expect("a file");
    fs::write(wrong.path(), board.replace("\"timeseries\"", "5")).expect("a file");
    assert!(!check(wrong.path()).status.success());
}

/// What is left of a name where the page has it behind another of the same beginning.
fn shortened(name: &str) -> String {
    name.replace("chsnap_newest_snapshot", "")
}
