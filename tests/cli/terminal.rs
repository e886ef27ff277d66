//! stdout and stderr: closed pipes, quiet, colors, progress.

use std::process::Stdio;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::cli::support::Lab;
use crate::freezer::{SLOW, served_repository};

#[test]
fn a_closed_pipe_ends_quietly() {
    let (lab, nights) = Lab::with_nights(2);
    for arguments in [&["list"][..], &["--json", "list"], &["show"], &["--help"], &["rm", &nights[0]]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = lab.chsnap().command(arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("chsnap starts");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    assert_eq!(lab.listed(0), nights[1..]);
}

#[test]
fn a_closed_stderr_keeps_no_work_from_being_done() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = lab.chsnap().command(&["gc", "--progress", "json"]);
    let output = command.stderr(writer).output().expect("chsnap starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("removed 1 snapshot"));
}

#[test]
fn quiet_takes_progress_and_notes_away_and_leaves_results_and_errors() {
    let (lab, nights) = Lab::with_nights(3);
    let quiet = |code, arguments: &[&str]| lab.chsnap().expect(code, &[&["--quiet"], arguments].concat());
    let run = quiet(0, &["rm", &nights[0]]);
    assert_eq!((run.stdout, run.stderr), (format!("removed {}\n", nights[0]), String::new()));
    let run = quiet(0, &["list"]);
    assert!(!run.stdout.contains("in the trash") && run.stdout.contains(&nights[1]), "{}", run.stdout);
    let run = quiet(0, &["gc"]);
    assert_eq!(run.stderr, "");
    assert!(run.stdout.contains("removed 1 snapshot"));
    assert!(quiet(1, &["show", "2031"]).stderr.contains("error: no snapshot"));
    std::fs::create_dir(lab.at("foreign")).expect("a directory");
    assert!(quiet(3, &["list"]).stderr.contains("warning:"));
}

#[test]
fn colors_are_used_only_where_they_are_wanted() {
    let (lab, _) = Lab::with_nights(1);
    let has_colour = |chsnap: &crate::chsnap_command::Chsnap, arguments: &[&str]| {
        let run = chsnap.expect(1, &[arguments, &["show", "2031"]].concat());
        assert!(run.stderr.contains("error") && run.stdout.is_empty());
        run.stderr.contains('\u{1b}')
    };
    let no_color = lab.chsnap().clone().env("NO_COLOR", "1");
    assert!(!has_colour(lab.chsnap(), &[]), "off a terminal");
    assert!(!has_colour(&no_color, &[]));
    assert!(has_colour(lab.chsnap(), &["--color", "always"]));
    assert!(has_colour(&no_color, &["--color", "always"]), "what is asked for on the command line wins");
    assert!(!has_colour(lab.chsnap(), &["--color", "never"]));
    for chsnap in [lab.chsnap(), &no_color] {
        assert!(!chsnap.expect(0, &["list"]).stdout.contains('\u{1b}'));
    }
    let json = lab.run(0, &["--color", "always", "--json", "list"]).stdout;
    assert!(!json.contains('\u{1b}') && serde_json::from_str::<Value>(&json).is_ok());
}

#[test]
fn progress_in_json_is_an_event_a_line() {
    let (lab, nights) = Lab::with_nights(3);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    std::fs::create_dir(lab.repo().join("incoming/2026-12-01T020000Z")).expect("a leftover");
    let run = lab.chsnap().expect(0, &["--json", "--progress", "json", "gc"]);
    let events: Vec<Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
    events.iter().for_each(testkit::schemas::check);
    let of = |what: &str| events.iter().filter(|event| event["event"] == what).collect::<Vec<_>>();
    assert_eq!((of("started").len(), of("finished").len(), of("note").len()), (1, 1, 1), "{events:?}");
    let finished = of("finished").remove(0);
    assert_eq!((&finished["stage"], &finished["done"]["tables"]), (&"remove".into(), &2.into()));
    assert!(finished["done"]["files"].as_u64() >= Some(8), "{events:?}");
    assert!(serde_json::from_str::<Value>(&run.stdout).is_ok());
}

#[test]
fn progress_off_a_terminal_is_plain_lines_on_stderr() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    let run = lab.chsnap().expect(0, &["gc"]);
    assert!(run.stderr.contains("remove: ") && !run.stderr.contains('\u{1b}') && !run.stderr.contains('\r'));
    assert!(!run.stdout.contains("remove: "));
}

#[test]
fn every_answer_in_json_is_one_document_on_one_of_the_two_streams() {
    let (lab, nights) = Lab::with_nights(3);
    let cases: [(i32, &[&str]); 8] = [
        (0, &["list"]),
        (0, &["show"]),
        (0, &["rm", &nights[0]]),
        (0, &["undo"]),
        (0, &["gc"]),
        (1, &["show", "2031"]),
        (13, &["rm", &nights[0], &nights[1], &nights[2]]),
        (2, &["show", "a", "b"]),
    ];
    for (code, arguments) in cases {
        let all = [&["--json", "--progress", "none"], arguments].concat();
        let run = lab.chsnap().expect(code, &all);
        let (full, empty) = if code == 1 || code == 2 { (run.stderr, run.stdout) } else { (run.stdout, run.stderr) };
        assert_eq!(empty, "", "{arguments:?}");
        let document: Value = serde_json::from_str(&full).expect("a document");
        let schema = document["schema"].as_str().expect("a schema");
        assert!(schema.starts_with("chsnap.") && schema.split('.').next_back() == Some("v1"), "{schema}");
    }
}

/// The output to a terminal of this width of a `create` whose table takes two seconds.
fn on_a_terminal(columns: u32, environment: &[(&str, &str)], arguments: &str) -> String {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    freezer.add_part(SLOW, "all_2_2_0");
    let line = format!("stty cols {columns} rows 24; '{}' create {arguments} >/dev/null", env!("CARGO_BIN_EXE_chsnap"));
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    for (name, value) in chsnap.command(&[""; 0]).get_envs() {
        value.map(|value| command.env(name, value));
    }
    let output = command.envs(environment.iter().copied()).output().expect("script, of util-linux, runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// The lines that were drawn, one over the other. Several that are drawn at once are filled up with blanks to the width
/// of the terminal, which begins a new line by itself.
fn drawn(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for drawing in text.split(['\r', '\n']) {
        let letters: Vec<char> = console::strip_ansi_codes(drawing).chars().collect();
        lines.extend(letters.chunks(columns).map(|line| line.iter().collect::<String>()));
    }
    lines.retain(|line| !line.trim().is_empty());
    lines
}

#[test]
fn bars_fit_a_narrow_terminal_and_fill_a_wide_one() {
    for columns in [40, 200] {
        let text = on_a_terminal(columns, &[], "");
        let columns = columns as usize;
        let lines = drawn(&text, columns);
        // The last column stays free: no line of ours ran into the next one.
        assert!(lines.iter().all(|line| line.chars().nth(columns - 1).is_none_or(|last| last == ' ')), "{lines:#?}");
        let has = |wanted: &str| lines.iter().any(|line| line.contains(wanted));
        assert!(has("  freeze") && has("d.slow"), "{columns}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains("d.slow") && line.contains("1 s")), "{columns}: {lines:#?}");
        assert_eq!(has("0/1 table"), columns == 200, "{columns}: {lines:#?}");
        // Bars are removed at the end: the last output clears a line, and only the result remains.
        assert!(text.contains("\u{1b}[2K") || text.contains("\u{1b}[K"), "{text:?}");
    }
}

#[test]
fn bars_have_colors_only_where_they_are_wanted() {
    let has_colour = |text: &str| text.contains("\u{1b}[32m");
    assert!(has_colour(&on_a_terminal(120, &[], "")));
    assert!(!has_colour(&on_a_terminal(120, &[("NO_COLOR", "1")], "")));
    assert!(!has_colour(&on_a_terminal(120, &[], "--color never")));
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_lines() {
    let text = on_a_terminal(80, &[("TERM", "dumb")], "");
    assert!(!text.contains('\u{1b}') && text.contains("freeze: 1 table"), "{text:?}");
}

#[test]
fn tables_that_are_frozen_are_events_too() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    let run = chsnap.expect(0, &["--json", "--progress", "json", "create"]);
    let events: Vec<Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
    assert!(events.iter().all(|event| event["schema"] == "chsnap.progress.v1"), "{events:?}");
    events.iter().for_each(testkit::schemas::check);
    let of = |what: &str| events.iter().find(|event| event["event"] == what && event["item"] == "d.slow");
    let (started, finished) = (of("item_started").expect("it starts"), of("item_finished").expect("it ends"));
    assert_eq!((&started["stage"], &started["total"]["parts"]), (&"freeze".into(), &1.into()));
    assert!(finished["seconds"].as_f64().expect("seconds") >= 1.0, "{finished}");
    let stages: Vec<&str> = events
        .iter()
        .filter(|event| event["event"] == "finished")
        .map(|event| event["stage"].as_str().expect("a stage"))
        .collect();
    for stage in ["discover", "previous", "freeze", "place", "check", "seal", "index", "release"] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
}

/// The lines that commands write to a terminal of this many columns.
fn lines_on_a_terminal(chsnap: &Chsnap, columns: usize, arguments: &[&str]) -> Vec<String> {
    let words = [env!("CARGO_BIN_EXE_chsnap")].into_iter().chain(arguments.iter().copied());
    let line = shlex::try_join(words).expect("words");
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &format!("stty cols {columns} rows 24; {line}"), "/dev/null"]).stdin(Stdio::null());
    command.env("TERM", "xterm-256color").env_remove("COLUMNS").env_remove("NO_COLOR");
    for (name, value) in chsnap.command(&[""; 0]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().expect("script, of util-linux, runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| console::strip_ansi_codes(line.trim_end_matches('\r')).into_owned()).collect()
}

/// Answers and messages that are sentences are wrapped between words; lines for programs (Nagios, systemd) are not.
#[test]
fn sentences_are_wrapped_at_the_width_of_the_terminal() {
    let (lab, nights) = Lab::with_nights(2);
    let chsnap = lab.chsnap().clone();
    let held = super::lock::hold(&lab, super::lock::HOLDER);
    let commands: [&[&str]; 10] = [
        &["rm", "latest", "--lock-wait", "200ms"],
        &["show", "--access"],
        &["simulate", "--keep-daily", "7", "--keep-weekly", "4", "--keep-monthly", "12", "--keep-yearly", "3"],
        &["config", "check"],
        &["config", "show"],
        &["prune", "--keep-daily", "neither a number nor unlimited"],
        &["pin", "latest", "--reason", "an audit that goes on for a year and needs this snapshot until it is over"],
        &["show", "a-name-that-no-snapshot-has-and-that-is-rather-long-for-a-name-of-one"],
        &["rm", &nights[0], "--dry-run"],
        &["unlock"],
    ];
    for columns in [60, 80, 100, 140] {
        for arguments in commands {
            for line in lines_on_a_terminal(&chsnap, columns, arguments) {
                let width = console::measure_text_width(&line);
                assert!(width <= columns, "{columns}: {arguments:?}: {width} columns\n{line}");
            }
        }
    }
    let waits = lines_on_a_terminal(&chsnap, 60, commands[0]);
    assert!(
        waits.first().is_some_and(|line| line.starts_with("warning: waiting up to 200 ms for the lock")),
        "{waits:?}"
    );
    super::lock::release(&held);
}
