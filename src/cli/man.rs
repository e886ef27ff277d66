use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chsnap::fs;
use chsnap::ops::OpError;
use clap::Command;
use clap_mangen::Man;

use super::documents::ManDocument;
use super::failure::CommandFailure;
use super::output::Output;
use super::{CommandResult, DONE};

/// Write the manual pages, one for each command; without a directory, print the one of chsnap
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for chsnap.1, chsnap-create.1 and the others
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: &Output) -> CommandResult {
    let pages = pages(super::tree())?;
    let Some(directory) = &args.directory else {
        let page = pages.into_iter().next().map(|(_, page)| page);
        if output.is_json() {
            output.document(&ManDocument { page, ..ManDocument::default() }, &[]);
        } else {
            output.text(&page.unwrap_or_default());
        }
        return Ok(DONE);
    };
    write(directory, &pages).map_err(OpError::from)?;
    let names: Vec<String> = pages.into_iter().map(|(name, _)| name).collect();
    if output.is_json() {
        output.document(&ManDocument { pages: names, page: None }, &[]);
    } else {
        output.text(&format!("wrote {} manual pages to {}\n", names.len(), directory.display()));
    }
    Ok(DONE)
}

fn write(directory: &Path, pages: &[(String, String)]) -> Result<(), fs::FsError> {
    let directory = fs::create_path(directory, 0o755, &fs::real())?;
    pages.iter().try_for_each(|(name, page)| directory.publish(name, 0o644, page.as_bytes()))
}

/// The pages by file name; the program's own page is first.
fn pages(command: Command) -> Result<Vec<(String, String)>, CommandFailure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, "chsnap", &mut pages)
        .map_err(|error| CommandFailure::failed("cannot write the manual pages").caused_by(error.to_string()))?;
    Ok(pages)
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let titled = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let visible: Vec<&Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    let others: Vec<String> = visible.iter().map(|sub| format!("{name}-{}", sub.get_name())).collect();
    pages.push((format!("{name}.1"), page(&titled, name, &others)?));
    visible.into_iter().try_for_each(|sub| collect(sub, &format!("{name}-{}", sub.get_name()), pages))
}

const WRITABLE: &str = "a String takes everything";

/// One page: clap's information about the command, then the sections that every Unix manual page has.
fn page(command: &Command, name: &str, below: &[String]) -> std::io::Result<String> {
    // The manual includes the options that the short help leaves out.
    let command = &command.clone().mut_args(|argument| argument.hide_short_help(false));
    let man = Man::new(command.clone()).date(env!("CARGO_PKG_VERSION")).manual("chsnap");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let Sections { notes, exit_status, examples } = Sections::of(&after);
    let mut text = String::from_utf8_lossy(&page).into_owned();
    for note in &notes {
        writeln!(text, ".SH NOTES\n{}", filled(note)).expect(WRITABLE);
    }
    text += ".SH \"EXIT STATUS\"\n";
    for own in &exit_status {
        writeln!(text, "{}\n.PP", filled(own)).expect(WRITABLE);
    }
    for (code, meaning) in EXIT_STATUS {
        writeln!(text, ".TP\n\\fB{code}\\fR\n{}", filled(meaning)).expect(WRITABLE);
    }
    text += ".SH ENVIRONMENT\n";
    for (variable, meaning) in environment(command) {
        writeln!(text, ".TP\n\\fB{}\\fR\n{}", filled(&variable), filled(&meaning)).expect(WRITABLE);
    }
    text += ".SH FILES\n";
    for (path, meaning) in FILES {
        writeln!(text, ".TP\n\\fI{}\\fR\n{}", filled(path), filled(meaning)).expect(WRITABLE);
    }
    if !examples.is_empty() {
        writeln!(
            text,
            ".SH EXAMPLES\n.nf\n{}\n.fi",
            examples.iter().map(|line| filled(line)).collect::<Vec<_>>().join("\n")
        )
        .expect(WRITABLE);
    }
    let others = std::iter::once("chsnap".to_owned()).filter(|first| first != name).chain(below.iter().cloned());
    let others: Vec<String> = others.map(|other| format!("\\fB{}\\fR(1)", filled(&other))).collect();
    let also = if others.is_empty() { "\\fBchsnap\\fR(1)".to_owned() } else { others.join(", ") };
    writeln!(text, ".SH \"SEE ALSO\"\n{also}, \\fBclickhouse\\fR(1)").expect(WRITABLE);
    Ok(text)
}

const EXIT_STATUS: [(&str, &str); 9] = [
    ("0", "done"),
    ("1", "failed"),
    ("2", "the command line or the configuration cannot be used"),
    ("3", "done, with warnings"),
    ("10", "there is no repository"),
    ("11", "another process holds the lock"),
    ("12", "verification or a drill found damage"),
    ("13", "a guard refused; the message says how to go on"),
    ("129, 130, 143", "interrupted; what was begun is undone"),
];

const FILES: [(&str, &str); 4] = [
    ("/etc/chsnap/config.toml", "the configuration of this host"),
    ("/etc/chsnap/conf.d/*.toml", "more of it, in the order of their names"),
    ("~/.config/chsnap/config.toml", "the configuration of a user, which is stronger"),
    (
        "REPO/snapshots/",
        "the snapshots, each a whole tree under its id; REPO/trash/ holds removed ones until chsnap gc",
    ),
];

/// Variables that no option names.
const VARIABLES: [(&str, &str); 4] = [
    ("CHSNAP_PASSWORD", "the password of the ClickHouse user"),
    ("CREDENTIALS_DIRECTORY", "of systemd: the file clickhouse-password in it holds the password"),
    ("COLUMNS", "how wide tables may be, instead of the width of the terminal"),
    ("NO_COLOR", "if set, nothing is in color"),
];

fn environment(command: &Command) -> Vec<(String, String)> {
    let of_options = command.get_arguments().filter_map(|argument| {
        let variable = argument.get_env()?.to_string_lossy().into_owned();
        let option = argument.get_long().map(|long| format!("--{long}: ")).unwrap_or_default();
        Some((variable, format!("{option}{}", argument.get_help().map(ToString::to_string).unwrap_or_default())))
    });
    let others = VARIABLES.map(|(variable, meaning)| (variable.to_owned(), meaning.to_owned()));
    of_options.chain(others).collect()
}

/// The sections after the options in a help text, by topic.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sections {
    notes: Vec<String>,
    exit_status: Vec<String>,
    examples: Vec<String>,
}

impl Sections {
    fn of(text: &str) -> Self {
        let mut sections = Self::default();
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            if let Some(lines) = block.strip_prefix("Examples:\n") {
                sections.examples.extend(lines.lines().map(|line| line.trim().to_owned()));
            } else if block.starts_with("Exit code") {
                // The list that is on every page is not repeated.
                let is_general = block.contains("10 no repository");
                sections.exit_status.extend((!is_general).then(|| block.to_owned()));
            } else {
                sections.notes.push(block.to_owned());
            }
        }
        let notes = std::mem::take(&mut sections.notes);
        sections.notes.extend((!notes.is_empty()).then(|| notes.join("\n.PP\n")));
        sections
    }
}

/// A text in which roff finds no requests.
fn filled(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line == ".PP" || !line.starts_with(['.', '\'']) { line } else { format!("\\&{line}") }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Sections, filled, pages};

    #[test]
    fn every_page_has_the_sections_of_a_manual_and_examples_line_by_line() {
        let pages = pages(super::super::tree()).unwrap_or_else(|_| panic!("pages"));
        assert!(pages.len() > 25);
        for (name, page) in &pages {
            let titles: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
            for wanted in ["NAME", "SYNOPSIS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES", "\"SEE ALSO\""] {
                assert_eq!(titles.iter().filter(|title| **title == wanted).count(), 1, "{name}: {wanted}: {titles:?}");
            }
            assert!(!titles.contains(&"EXTRA"), "{name}");
        }
        let (_, create) = pages.iter().find(|(name, _)| name == "chsnap-create.1").expect("a page");
        let (_, examples) = create.split_once(".SH EXAMPLES\n.nf\n").expect("examples, not filled");
        assert_eq!(examples.lines().take_while(|line| *line != ".fi").count(), 3, "{examples}");
    }

    #[test]
    fn the_text_after_the_options_is_split_into_sections() {
        let text = "Only live asks.\n\nExit codes: 0 all; 3 some.\n\nExamples:\n  chsnap a\n  chsnap b";
        let found = Sections::of(text);
        assert_eq!(found.notes, ["Only live asks."]);
        assert_eq!(found.exit_status, ["Exit codes: 0 all; 3 some."]);
        assert_eq!(found.examples, ["chsnap a", "chsnap b"]);
        assert_eq!(filled(".x a-b\\"), "\\&.x a\\-b\\e");
    }
}
