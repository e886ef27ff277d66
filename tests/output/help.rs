//! The help of every command, and a check that each command has its transcripts.

use std::collections::BTreeSet;
use std::path::Path;

use crate::chsnap_command::Chsnap;
use crate::output::transcript::{folder, transcripts};

fn chsnap() -> Chsnap {
    Chsnap::new("/repository".as_ref())
}

fn help(path: &[String]) -> String {
    let mut line = path.to_vec();
    line.push("--help".to_owned());
    let output = chsnap().command(&line).env("COLUMNS", "100").output().expect("chsnap starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{line:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The commands that a help lists, `help` itself left out.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Further lines of a description are indented by more.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// Every command, as the words that call it, with its help.
fn commands() -> Vec<(Vec<String>, String)> {
    let mut found = vec![(Vec::new(), help(&[]))];
    let mut next = 0;
    while let Some((path, text)) = found.get(next).cloned() {
        for name in listed(&text) {
            let path = [path.clone(), vec![name]].concat();
            let text = help(&path);
            found.push((path, text));
        }
        next += 1;
    }
    found
}

fn name_of(path: &[String]) -> String {
    [&["help".to_owned()], path].concat().join("-")
}

#[test]
fn the_help_of_every_command_is_as_recorded() {
    transcripts(|all| {
        for (path, text) in commands() {
            all.compare_unmasked(&name_of(&path), &text);
        }
    });
}

fn answer(line: &[&str]) -> (String, String) {
    let output = chsnap().command(line).env("COLUMNS", "100").output().expect("chsnap starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_short_help_is_of_the_command_alone_and_says_where_the_rest_is() {
    for (path, _) in commands().into_iter().filter(|(path, _)| path.len() < 2) {
        let line: Vec<&str> = path.iter().map(String::as_str).chain(["-h"]).collect();
        let (short, _) = answer(&line);
        assert!(!short.contains("--query-timeout") && !short.contains("Global options"), "{line:?}: {short}");
        assert!(short.contains("chsnap help options"), "{line:?}: {short}");
        assert!(short.lines().count() < 100, "{line:?}: {}", short.lines().count());
    }
    let (options, _) = answer(&["help", "options"]);
    for wanted in ["--repo <DIR>", "--url <URL>", "--json", "--lock-wait", "CHSNAP_REPO"] {
        assert!(options.contains(wanted), "{options}");
    }
}

#[test]
fn a_usage_error_shows_nothing_of_the_environment_as_if_it_were_required() {
    // CHSNAP_REPO is set for every command of these tests.
    for (line, usage) in [
        (&["rm"][..], "Usage: chsnap rm [OPTIONS] <SNAPSHOT>..."),
        (&["diff"], "Usage: chsnap diff [OPTIONS] <SNAPSHOT> [SNAPSHOT|live]"),
        (&["list", "--last"], ""),
        (&["config", "check", "more"], "Usage: chsnap config"),
        (&["nonsense"], "Usage: chsnap [OPTIONS] <COMMAND>"),
    ] {
        let (_, error) = answer(line);
        assert!(!error.contains("--repo") && !error.contains("--url"), "{line:?}: {error}");
        assert!(error.contains(usage), "{line:?}: {error}");
    }
}

/// The names of the transcripts.
fn recorded() -> BTreeSet<String> {
    std::fs::read_dir(folder())
        .expect("the transcripts")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".snap").map(str::to_owned))
        .collect()
}

#[test]
fn every_recorded_answer_is_compared_by_some_test() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/output");
    let sources = ["errors.rs", "repository.rs", "server.rs"].map(|name| sources.join(name));
    let text: String = sources.iter().map(|path| std::fs::read_to_string(path).expect("a source")).collect();
    let is_left_over = |name: &String| !name.starts_with("help") && !text.contains(&format!("{name:?}"));
    let left_over: Vec<String> = recorded().into_iter().filter(is_left_over).collect();
    assert!(left_over.is_empty(), "remove these from {}: {left_over:?}", folder().display());
}

#[test]
fn every_command_has_a_recorded_help_and_a_recorded_answer() {
    let recorded = recorded();
    let commands = commands();
    assert!(commands.len() > 25, "{}", commands.len());
    let helps: BTreeSet<String> = commands.iter().map(|(path, _)| name_of(path)).collect();
    let recorded_helps = recorded.iter().filter(|name| name.starts_with("help")).cloned().collect();
    assert_eq!(helps, recorded_helps, "commands, and recorded helps");
    for (path, _) in commands.iter().filter(|(path, _)| path.len() == 1) {
        let name = &path[0];
        let has_answer = recorded.iter().any(|file| file == name || file.starts_with(&format!("{name}-")));
        assert!(has_answer, "no transcript of {name}");
    }
}
