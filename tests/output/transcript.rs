//! Runs commands, records their output, and compares it with the recorded transcript.
//!
//! All masks stand here. Of the padding in a line two spaces are left, so that a longer age, size or path moves nothing;
//! helps are compared as they are.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};

/// Pattern and mask, applied in this order. Times before 2026 are those of made-up snapshots, and stay.
const MASKS: [(&str, &str); 30] = [
    (r"20(?:2[6-9]|[3-9]\d)-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:\d\d| UTC)?", "[time]"),
    (r"20(?:2[6-9]|[3-9]\d)-\d\d-\d\d\b", "[date]"),
    // JSON: what depends on the filesystem, the time, or the process.
    (r#"("[a-z_]*bytes[a-z_]*"): -?\d+"#, "$1: [bytes]"),
    (r#"("(?:free_)?inodes"): \d+"#, "$1: [inodes]"),
    (r#"("(?:pid|age_seconds)"): \d+"#, "$1: [number]"),
    (r": -?\d+(?:\.\d+(?:e-?\d+)?|e-?\d+)", ": [float]"),
    (r#"("(?:host|host_name|timezone)"): "[^"]+""#, "$1: [host]"),
    (r#"("(?:version|server_version|chsnap)"): "[^"]+""#, "$1: [version]"),
    // Hosts, versions, random names.
    (r"ClickHouse \d+\.[\d.]+ on \S+, data", "ClickHouse [version] on [host], data"),
    (r"ClickHouse \d+\.[\d.]+", "ClickHouse [version]"),
    (r"127\.0\.0\.1:\d{2,}", "127.0.0.1:[port]"),
    (r"chsnap_drill_\d{14}_[0-9a-f]{8}", "chsnap_drill_[time]_[random]"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "[uuid]"),
    (r"\.inner_id\.[0-9a-f]{8}…", ".inner_id.[uuid]…"),
    (r"\b[0-9a-f]{64}\b", "[hash]"),
    (r"\b[0-9a-f]{32}\b", "[uuid]"),
    // The host, as doctor sees it.
    (r#"Linux \d[^\s"]*"#, "Linux [release]"),
    (r"this is (?:root|the user \d+, who must be the server's own \(the probes below tell\))", "this is [user]"),
    (r" is on \S+ \(\S+ at [^\s)]+\)", " is on [filesystem]"),
    (r#", on \S+ at [^\s"]+"#, ", on [filesystem]"),
    (r"its filesystem allows [\d,]+", "its filesystem allows [number]"),
    (r"[\d,]+\s+of\s+[\d,]+\s+inodes", "[inodes] of [inodes] inodes"),
    (r"\b\d+ % used", "[percent] used"),
    (r"free \(\d+ %\)", "free ([percent])"),
    // Figures in text.
    (r"[-+]?\b\d+(?:\.\d+)? (?:B|KiB|MiB|GiB|TiB)\b", "[size]"),
    (r"\bfreeze \d+\.\d, place \d+\.\d, .*", "[stages]"),
    (r"\b\d+\.\d s\b", "[seconds]"),
    (r"\b(?:in )?\d+ (?:s|min|h|d)\b", "[age]"),
    (r"\b(free|age)=\d+", "$1=[figure]"),
    (r"[█▏▎▍▌▋▊▉]+", "[bar]"),
];

/// A series of transcripts. All are compared before the first that differs fails the test.
pub(crate) struct Transcripts {
    /// Texts of this run and the words that replace them, the longest first.
    words: RefCell<Vec<(String, String)>>,
    /// Ids of snapshots of this run, in the order in which they came up.
    ids: RefCell<Vec<String>>,
    differing: RefCell<Vec<String>>,
}

/// Records transcripts, and fails where one is not as recorded.
#[track_caller]
pub(crate) fn transcripts(record: impl FnOnce(&Transcripts)) {
    let all = Transcripts { words: RefCell::default(), ids: RefCell::default(), differing: RefCell::default() };
    record(&all);
    let differing = all.differing.into_inner();
    assert!(differing.is_empty(), "these differ from tests/output/snapshots: {differing:?}");
}

impl Transcripts {
    /// Writes `word` wherever this run has this path.
    pub(crate) fn word(&self, path: impl AsRef<Path>, word: &str) {
        let mut words = self.words.borrow_mut();
        words.push((path.as_ref().to_string_lossy().into_owned(), word.to_owned()));
        words.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// Runs the command lines in order and compares what they wrote with the transcript of this name.
    pub(crate) fn show(&self, name: &str, chsnap: &Chsnap, lines: &[&[&str]]) {
        let texts: Vec<String> = lines.iter().map(|line| transcript(line, &run(chsnap, line), None)).collect();
        self.compare(name, &texts.join("\n"));
    }

    /// What a command line answers on terminals of several widths. No line is wider than its terminal, or ends with a blank.
    pub(crate) fn show_widths(&self, name: &str, chsnap: &Chsnap, lines: &[&[&str]]) {
        let mut texts = Vec::new();
        for (line, columns) in lines.iter().flat_map(|line| WIDTHS.map(|columns| (line, columns))) {
            let run = run_at(chsnap, &[&["--progress", "none"], *line].concat(), columns);
            for text in run.stdout.lines() {
                assert!(text.chars().count() <= columns, "{line:?} at {columns}: {text:?}");
                assert!(!text.ends_with(' '), "{line:?} at {columns}: {text:?}");
            }
            // Where its lines are wrapped depends on the figures of this filesystem.
            let is_of_filesystem = |text: &str| text.starts_with("filesystem ") || text.starts_with("shared with live");
            let kept: Vec<&str> = run.stdout.split("\n\n").filter(|text| !is_of_filesystem(text)).collect();
            let run = Run { stdout: kept.join("\n\n"), ..run };
            texts.push(format!("{columns} columns: {}", transcript(line, &run, None)));
        }
        self.compare(name, &texts.join("\n"));
    }

    /// [`Transcripts::show`] of one command, of whose stdout only the first lines are kept.
    pub(crate) fn show_head(&self, name: &str, chsnap: &Chsnap, line: &[&str], count: usize) {
        self.compare(name, &transcript(line, &run(chsnap, line), Some(count)));
    }

    /// Compares a text with the recorded one.
    pub(crate) fn compare(&self, name: &str, text: &str) {
        let mut settings = settings();
        for (pattern, mask) in MASKS {
            settings.add_filter(pattern, mask);
        }
        let mut text = text.to_owned();
        for (found, word) in self.words.borrow().iter() {
            text = text.replace(found, word);
        }
        self.assert(name, &settings, &self.with_numbered_ids(&text));
    }

    /// Compares a text in which only paths and the version may differ.
    pub(crate) fn compare_unmasked(&self, name: &str, text: &str) {
        let mut text = text.replace(env!("CARGO_PKG_VERSION"), "[version]");
        for (found, word) in self.words.borrow().iter() {
            text = text.replace(found, word);
        }
        self.assert(name, &settings(), &text);
    }

    /// The text with `[id-1]` for the first snapshot of this run that came up, `[id-2]` for the second, and so on.
    fn with_numbered_ids(&self, text: &str) -> String {
        let mut ids = self.ids.borrow_mut();
        let (mut numbered, mut rest) = (String::new(), text);
        while let Some(letter) = rest.chars().next() {
            let length = id_length(rest).unwrap_or(0);
            let (found, behind) = rest.split_at(if length > 0 { length } else { letter.len_utf8() });
            if length == 0 {
                numbered.push_str(found);
            } else {
                let known = ids.iter().position(|id| id == found);
                let number = known.unwrap_or_else(|| {
                    ids.push(found.to_owned());
                    ids.len() - 1
                });
                let _ = write!(numbered, "[id-{}]", number + 1);
            }
            rest = behind;
        }
        numbered
    }

    fn assert(&self, name: &str, settings: &insta::Settings, text: &str) {
        let compared = catch_unwind(AssertUnwindSafe(|| settings.bind(|| insta::assert_snapshot!(name, text))));
        if compared.is_err() {
            self.differing.borrow_mut().push(name.to_owned());
        }
    }
}

/// The directory of the transcripts.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/output/snapshots")
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn run(chsnap: &Chsnap, line: &[&str]) -> Run {
    let line = [&["--progress", "none"], line].concat();
    // The width of the terminal that runs the tests must not matter.
    run_at(chsnap, &line, WIDE)
}

/// Wide enough for every table.
const WIDE: usize = 400;

fn run_at(chsnap: &Chsnap, line: &[&str], columns: usize) -> Run {
    let mut command = chsnap.command(line);
    let output = command.env("COLUMNS", columns.to_string()).env_remove("NO_COLOR").output().expect("chsnap starts");
    Run::of(&output)
}

/// The terminals that tables are recorded for.
const WIDTHS: [usize; 4] = [60, 80, 100, 140];

/// A command line and its answer: stdout, stderr where there is any, and the exit code.
fn transcript(line: &[&str], run: &Run, head: Option<usize>) -> String {
    let words: Vec<String> = line.iter().map(|word| shlex::try_quote(word).expect("no NUL").into_owned()).collect();
    let mut text = format!("$ chsnap {}\n", words.join(" "));
    let stdout = pretty(&run.stdout);
    text.extend(stdout.split_inclusive('\n').take(head.unwrap_or(usize::MAX)));
    if !run.stderr.is_empty() {
        let _ = write!(text, "--- stderr\n{}", pretty(&run.stderr));
    }
    let _ = writeln!(text, "--- exit code {}", run.code);
    text
}

/// How long the id of a snapshot of 2026 or later is that the text begins with: `2026-11-22T020000Z`, `2026-11-22T020000Z-2`.
fn id_length(text: &str) -> Option<usize> {
    let shape = "dddd-dd-ddTddddddZ";
    let found = text.get(..shape.len())?;
    let fits = |(letter, shape): (char, char)| letter == shape || (shape == 'd' && letter.is_ascii_digit());
    if !found.chars().zip(shape.chars()).all(fits) || found < "2026" {
        return None;
    }
    let digits =
        text[shape.len()..].strip_prefix('-').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    Some(shape.len() + if digits > 0 { digits + 1 } else { 0 })
}

/// The line with two spaces at most between words, and none at its end.
fn without_padding(line: &str) -> String {
    let words = line.trim_start_matches(' ');
    let mut kept = line[..line.len() - words.len()].to_owned();
    for piece in words.trim_end().split_inclusive(' ') {
        if piece != " " || !kept.ends_with("  ") {
            kept.push_str(piece);
        }
    }
    kept
}

/// The sentences of `warnings` are those of `warning_list`, and of the commands that classify them each has a kind.
fn check_warnings(document: &Value) {
    let Some(fields) = document.as_object() else { return };
    let list = |name: &str| fields.get(name).and_then(Value::as_array);
    if let (Some(schema), Some(messages)) = (fields.get("schema").and_then(Value::as_str), list("warnings")) {
        let rows = list("warning_list").unwrap_or_else(|| panic!("{schema} has warnings and no warning_list"));
        assert!(rows.iter().map(|row| &row["message"]).eq(messages), "{schema}: {rows:?}");
        // A manifest has the sentences alone.
        if schema != "chsnap.show.v1" {
            assert!(rows.iter().all(|row| row["kind"] != "unclassified"), "{schema}: {rows:?}");
        }
    }
    // Steps of a run, and the run that an error has with it.
    for step in list("steps").into_iter().flatten() {
        check_warnings(&step["result"]);
    }
    check_warnings(fields.get("run").unwrap_or(&Value::Null));
}

/// A JSON document with a line a field; any other text without its padding.
fn pretty(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(document) => {
            check_warnings(&document);
            testkit::schemas::check(&document);
            format!("{document:#}\n")
        }
        Err(_) => text.lines().map(|line| without_padding(line) + "\n").collect(),
    }
}
