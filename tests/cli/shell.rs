//! Completions, manual pages, suggestions.

use std::path::Path;
use std::process::Command;

use crate::cli::support::{Lab, names};

/// What bash offers behind these words, by the script that `completions bash` prints.
fn offered(lab: &Lab, words: &[&str]) -> Vec<String> {
    let script = lab.run(0, &["completions", "bash"]).stdout;
    let binary = Path::new(env!("CARGO_BIN_EXE_chsnap"));
    let mut bash = Command::new("bash");
    let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    bash.arg("-c").arg(format!(
        "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}; COMP_TYPE=9; _clap_complete_chsnap chsnap {:?} ''\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.len() - 1,
        words.last().expect("a word"),
    ));
    bash.env("PATH", format!("{}:/usr/bin:/bin", binary.parent().expect("a directory").display()));
    let wanted = lab.chsnap().command(&[""; 0]);
    for (name, value) in wanted.get_envs() {
        value.map(|value| bash.env(name, value));
    }
    let output = bash.output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_commands_options_snapshots_tables_and_profiles() {
    let (lab, nights) = Lab::with_nights(3);
    assert!(offered(&lab, &["chsnap", "comp"]).contains(&"completions".to_owned()));
    assert!(offered(&lab, &["chsnap", "create", "--exc"]).contains(&"--exclude".to_owned()));
    let snapshots = offered(&lab, &["chsnap", "show", "2026"]);
    assert_eq!(snapshots, [&nights[2], &nights[1], &nights[0]].map(Clone::clone), "the newest first");
    assert_eq!(offered(&lab, &["chsnap", "rm", "lat"]), ["latest"]);
    assert_eq!(offered(&lab, &["chsnap", "create", "--table", "shop"]), ["shop.*", "shop.orders"]);
    std::fs::create_dir(lab.repo().with_extension("etc")).expect("a directory");
    let config = lab.repo().with_extension("etc").join("config.toml");
    std::fs::write(&config, "[profile.hourly]\n[profile.nfs]\n").expect("a file");
    assert_eq!(offered(&lab, &["chsnap", "--profile", "n"]), ["nfs"]);
    assert_eq!(offered(&lab, &["chsnap", "list", "--profile", "h"]), ["hourly"]);
}

#[test]
fn completion_finds_the_repository_that_the_line_or_the_configuration_names() {
    let (lab, nights) = Lab::with_nights(1);
    let elsewhere = Lab::without_repository();
    let repo = lab.repo().display().to_string();
    assert_eq!(offered(&elsewhere, &["chsnap", "--repo", &repo, "show", "2026"]), nights[..]);
    assert!(!offered(&elsewhere, &["chsnap", "show", "2026"]).contains(&nights[0]));
}

#[test]
fn pages_scripts_and_schemas_are_documents_with_json() {
    let lab = Lab::without_repository();
    let man = lab.chsnap().json(0, &["man"]);
    assert_eq!(man["page"].as_str().expect("a page"), lab.run(0, &["man"]).stdout);
    for shell in ["bash", "zsh", "fish"] {
        let document = lab.chsnap().json(0, &["completions", shell]);
        let script = lab.run(0, &["completions", shell]).stdout;
        assert_eq!((&document["shell"], &document["script"]), (&shell.into(), &script.as_str().into()));
    }
    let directory = lab.repo().with_extension("schemas");
    let written = lab.chsnap().json(0, &["schema", directory.to_str().expect("a path")]);
    let files = written["files"].as_array().expect("files").iter().filter_map(|file| file.as_str());
    assert_eq!(names(&directory), files.map(std::ffi::OsString::from).collect::<Vec<_>>());
}

#[test]
fn the_other_shells_get_their_script() {
    let lab = Lab::without_repository();
    assert!(lab.run(0, &["completions", "zsh"]).stdout.starts_with("#compdef chsnap"));
    assert!(lab.run(0, &["completions", "fish"]).stdout.contains("complete --keep-order"));
    let refused = lab.run(2, &["completions", "tcsh"]);
    assert!(refused.stderr.contains("bash, zsh, fish"), "{}", refused.stderr);
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = lab.path().join(shell);
        std::fs::write(&script, lab.run(0, &["completions", shell]).stdout).expect("a file");
        match Command::new(shell).arg(check).arg(&script).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => eprintln!("SKIPPED: {shell} is not here to read its script"),
        }
    }
}

/// The command at the beginning of a line of the help; continuation lines are indented further.
fn command_of(line: &str) -> Option<&str> {
    line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next()
}

#[test]
fn man_writes_a_page_for_every_command() {
    let lab = Lab::without_repository();
    let directory = lab.path().join("share/man");
    lab.run(0, &["man", directory.to_str().expect("a path")]);
    let pages = names(&directory);
    let help = lab.run(0, &["--help"]).stdout;
    let commands = help.split("Commands:\n").nth(1).expect("commands").lines();
    let commands: Vec<&str> = commands.take_while(|line| !line.is_empty()).filter_map(command_of).collect();
    assert!(commands.len() > 8, "{help}");
    for command in commands.iter().filter(|command| **command != "help") {
        let name = format!("chsnap-{command}.1");
        assert!(pages.contains(&name.clone().into()), "{name} in {pages:?}");
        let page = std::fs::read_to_string(directory.join(&name)).expect("a page");
        assert!(page.contains(".TH ") && page.contains("\n.SH EXAMPLES\n"), "{name}: {page}");
        let (_, repository) = page.split_once("\\-\\-repo\\fR \\fI<DIR>\\fR\n").expect("a global option");
        assert!(repository.starts_with("The repository"), "{name}: {repository}");
    }
    assert!(pages.contains(&"chsnap.1".into()) && pages.contains(&"chsnap-config-show.1".into()));
    let printed = lab.run(0, &["man"]).stdout;
    assert_eq!(printed, std::fs::read_to_string(directory.join("chsnap.1")).expect("a page"));
    if let Ok(output) = Command::new("man").args(["--warnings", "-l"]).arg(directory.join("chsnap-create.1")).output() {
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    } else {
        eprintln!("SKIPPED: man is not here to read the pages");
    }
}

#[test]
fn a_slip_in_a_name_is_answered_with_the_name() {
    let (lab, _) = Lab::with_nights(2);
    let said = |code, arguments: &[&str]| lab.run(code, arguments).stderr;
    assert!(said(1, &["show", "2026-11-12T020000Z"]).contains("hint: did you mean 2026-11-02T020000Z?"));
    assert!(said(2, &["show", "lastest"]).contains("did you mean latest?"));
    assert!(said(2, &["lsit"]).contains("'list'"));
    assert!(said(2, &["create", "--tabel", "a.b"]).contains("'--table'"));
    assert!(!said(1, &["show", "2031"]).contains("did you mean"));
}

#[test]
fn the_version_is_one_line_whether_the_tree_of_commands_is_made_for_it_or_not() {
    let lab = Lab::new();
    for arguments in [&["--version"][..], &["-V"], &["--quiet", "--version"]] {
        let run = lab.run(0, arguments);
        assert_eq!(run.stdout, concat!("chsnap ", env!("CARGO_PKG_VERSION"), "\n"), "{arguments:?}");
        assert_eq!(run.stderr, "", "{arguments:?}");
    }
}
