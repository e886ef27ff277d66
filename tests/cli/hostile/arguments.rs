//! Names on the command line: labels, patterns, partitions, references, reasons.

use super::person::{MEMORY, Scene, garbles, people};

/// Close to the longest argument that Linux takes (128 KiB with its end).
const LONGEST: usize = 131_000;

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "..",
        "../../outside/precious.sqlite",
        "/etc/passwd",
        "a/b",
        "a\nb",
        "a\r\u{1b}[2J\u{1b}]0;x\u{7}",
        "\u{9b}2J\u{202e}",
        "'; DROP TABLE d.t; --",
        "`\\",
        "-",
        "%",
        "$(touch x)",
        "",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("x".repeat(LONGEST));
    texts.push("é\n".repeat(LONGEST / 3));
    texts
}

#[test]
fn references_that_are_no_references_name_nothing() {
    for person in people() {
        let scene = Scene::new(person, 3);
        scene.run("before", &["rm", &scene.nights[0]]);
        let mut all = texts();
        all.extend(
            ["latest~18446744073709551616", "latest~-1", "latest~99999", "2026-11-01T020000Z/..", "9999", "-1"]
                .map(str::to_owned),
        );
        for text in &all {
            for command in ["show", "rm", "undo"] {
                let run = scene.run("a reference", &[command, "--", text]);
                assert!(matches!(run.code, 1 | 2), "{command} {text}: {}", run.code);
                assert!(!garbles(&run.stderr), "{command}: {:?}", run.stderr);
            }
        }
        assert_eq!(scene.lab.listed(0), scene.nights[1..]);
    }
}

#[test]
fn labels_and_reasons_are_kept_as_they_are_and_lead_nowhere() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let freezer = scene.freezer();
        for text in texts() {
            let name = format!("--name={text}");
            let pin = format!("--pin={text}");
            let run = scene.run_in(MEMORY, freezer.url(), "a label", &["create", "--json", &name, &pin]);
            // What could not be shown as it is, is refused.
            if text.is_empty() || garbles(&text) || text.contains('\n') {
                assert!(run.code == 2 && !garbles(&run.stderr), "{:?}", run.stderr);
                continue;
            }
            assert_eq!(run.code, 0, "{}", run.stderr);
            let made: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
            assert_eq!(made["name"], text.as_str());
            for command in ["list", "show"] {
                let run = scene.run("a label", &[command, "--color", "always"]);
                assert!(run.code == 0 && !garbles(&run.stdout), "{command}: {:?}", run.stdout);
            }
            let id = made["id"].as_str().expect("an id");
            let run = scene.run("a reason", &["rm", id]);
            assert!(run.code == 13 && !garbles(&run.stderr), "{:?}", run.stderr);
        }
    }
}

#[test]
fn patterns_and_partitions_name_what_they_say_or_nothing() {
    let nested = |depth: usize| format!("d.{}a{}", "{".repeat(depth), "}".repeat(depth));
    let mut patterns: Vec<String> = texts().iter().map(|text| format!("d.{text}")).collect();
    patterns.extend([nested(20), nested(65_000), format!("d.{}", "{".repeat(LONGEST))]);
    patterns.extend(
        ["*", "?", "[a-z]", "{a,b}", "**/", "\\", "[!", "[]", "{a,{b,"]
            .map(|text| format!("d.{}", text.repeat(20_000))),
    );
    for person in people() {
        let scene = Scene::new(person, 1);
        let freezer = scene.freezer();
        for pattern in &person.share(&patterns) {
            for option in ["--table", "--exclude", "--accept"] {
                let argument = format!("{option}={pattern}");
                let run = scene.run_in(MEMORY, freezer.url(), "a pattern", &["create", "--dry-run", &argument]);
                assert!(!garbles(&run.stderr), "{option}: {:?}", run.stderr);
            }
        }
        for text in texts() {
            let partition = format!("--partition={text}");
            let run = scene.run_in(MEMORY, freezer.url(), "a partition", &["create", &partition]);
            assert_eq!(run.code, 1, "{}", run.stderr);
            assert!(!garbles(&run.stderr), "{:?}", run.stderr);
        }
        assert_eq!(scene.lab.listed(0), scene.nights);
    }
}
