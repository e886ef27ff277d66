//! What is shipped beside the program: the Debian package, the example of a configuration, the board and the alerts.

#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![expect(clippy::print_stderr, reason = "a check that cannot be made here says so")]

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
fn cargo_deb_is_told_of_every_file_that_the_package_has() {
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
        .filter(|line| !line.starts_with("password_file"))
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
    match Command::new("promtool").args(["check", "rules"]).arg(folder.join("alerts.yml")).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("SKIPPED: promtool is not here to check the alerts"),
    }
}

/// What is left of a name where the page has it behind another of the same beginning.
fn shortened(name: &str) -> String {
    name.replace("chsnap_newest_snapshot", "")
}
