//! The commands of docs/trouble.md that are marked as tried, run as they stand there, on both engines.

#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![allow(clippy::print_stderr, reason = "the engine's support says what it cannot do")]

#[path = "support/chsnap.rs"]
mod chsnap_command;
#[path = "support/engine.rs"]
mod engine;

use std::path::Path;
use std::process::Command;

use chsnap_command::Chsnap;
use engine::{Engine, Kind};

/// The blocks of a section that are marked as tried, in their order.
fn tried(heading: &str) -> Vec<String> {
    let text = include_str!("../docs/trouble.md");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().expect("a section");
    let mut blocks = Vec::new();
    let mut rest = section;
    while let Some((_, behind)) = rest.split_once("*Tried:*") {
        let (_, block) = behind.split_once("```sh\n").expect("a block");
        let (block, behind) = block.split_once("```").expect("its end");
        blocks.push(block.lines().map(str::trim).collect::<Vec<_>>().join("\n"));
        rest = behind;
    }
    assert!(!blocks.is_empty(), "nothing is tried in {heading}");
    blocks
}

/// Runs a block in a shell that stops at the first failure; `chsnap` is this one.
#[track_caller]
fn run(chsnap: &Chsnap, block: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_chsnap")).parent().expect("a directory");
    let mut shell = Command::new("bash");
    shell.arg("-euc").arg(block);
    for (name, value) in chsnap.command(&[""; 0]).get_envs() {
        value.map(|value| shell.env(name, value));
    }
    shell.env("PATH", format!("{}:/usr/bin:/bin", binary.display()));
    let output = shell.output().expect("bash runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{block}\n{text}");
    text
}

fn server(kind: Kind) -> (Engine, Chsnap) {
    let engine = Engine::start(kind);
    engine.query("CREATE TABLE default.t (k UInt32) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number FROM numbers(1000)");
    let chsnap = Chsnap::new(&engine.root().join("repo")).url(&engine.url());
    (engine, chsnap)
}

fn snapshots(chsnap: &Chsnap) -> usize {
    chsnap.json(0, &["list"])["snapshots"].as_array().expect("rows").len()
}

fn is_written_as_it_works(kind: Kind) {
    let (_engine, chsnap) = server(kind);
    // From a script with cp: init, a dry run, the first one.
    for block in tried("Moving from a script with `cp -rl`, or rsync") {
        run(&chsnap, &block);
    }
    assert_eq!(snapshots(&chsnap), 1);
    for block in tried("Moving from clickhouse-backup") {
        assert!(run(&chsnap, &block).contains("first"));
    }
    for block in tried("What to put in cron") {
        assert_eq!(run(&chsnap, &block), "", "cron mails nothing when all is well");
    }
    assert_eq!(snapshots(&chsnap), 3);
    for _ in 0..3 {
        chsnap.expect(0, &["create"]);
    }
    // The disk is full: the oldest of six goes.
    for block in tried("The disk is full") {
        run(&chsnap, &block);
    }
    assert_eq!(snapshots(&chsnap), 5);
    let listed = chsnap.json(0, &["list"]);
    assert_eq!(listed["removed"].as_array().map(Vec::len), Some(0), "gc has emptied the trash");
    for block in tried("FREEZE hangs") {
        assert!(run(&chsnap, &block).contains("leftovers"));
    }
}

#[test]
fn what_is_written_works_on_18_16() {
    is_written_as_it_works(Kind::V18);
}

#[test]
fn what_is_written_works_on_26_9() {
    is_written_as_it_works(Kind::V26);
}
