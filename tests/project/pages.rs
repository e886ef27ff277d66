//! Blocks of the documentation, and the comments in front of them.

use std::fs;
use std::path::{Path, PathBuf};

/// What an HTML comment in front of a block says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: it is run, and succeeds.
    Run,
    /// `at a terminal`: it is run with somebody there who says yes to each question.
    Terminal,
    /// `exit N`: it is run, and ends with this code.
    Exit(i32),
    /// `output differs`: a console block of which only the commands are held to.
    OutputDiffers,
    /// `not run: REASON`.
    NotRun(String),
    /// `run by FILE: TEST`.
    RunBy { file: String, test: String },
}

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) page: String,
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) mark: Mark,
}

impl Block {
    /// Whether it holds commands.
    pub(crate) fn is_commands(&self) -> bool {
        matches!(self.language.as_str(), "sh" | "bash" | "console")
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, CONTRIBUTING.md and every page below docs/, as paths from the root.
pub(crate) fn pages() -> Vec<String> {
    let mut found = vec!["CONTRIBUTING.md".to_owned(), "README.md".to_owned()];
    let mut left = vec![PathBuf::from("docs")];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder") {
            let path = folder.join(entry.expect("an entry").file_name());
            if root().join(&path).is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).expect("a page")
}

fn mark(page: &str, comment: &str) -> Mark {
    if comment == "at a terminal" {
        return Mark::Terminal;
    }
    if comment == "output differs" {
        return Mark::OutputDiffers;
    }
    if let Some(code) = comment.strip_prefix("exit ") {
        return Mark::Exit(code.parse().expect("an exit code"));
    }
    if let Some(reason) = comment.strip_prefix("not run: ") {
        return Mark::NotRun(reason.to_owned());
    }
    let by = comment.strip_prefix("run by ").and_then(|by| by.split_once(": "));
    let (file, test) = by.unwrap_or_else(|| panic!("{page}: a comment in front of a block says nothing: {comment}"));
    Mark::RunBy { file: file.to_owned(), test: test.to_owned() }
}

/// All blocks of a page, in their order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            if !line.trim().is_empty() {
                before = line.trim();
            }
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```")
            .map(|line| line.get(indent..).unwrap_or(line.trim_start()))
            .collect();
        let comment = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        blocks.push(Block {
            page: page.to_owned(),
            line: number + 1,
            language: language.trim().to_owned(),
            text: body.join("\n") + "\n",
            mark: comment.map_or(Mark::Run, |comment| mark(page, comment)),
        });
        before = "";
    }
    blocks
}

/// Whether a test of this name is in a file.
pub(crate) fn has_test(file: &str, test: &str) -> bool {
    let Ok(source) = fs::read_to_string(root().join(file)) else { return false };
    source.contains(&format!("fn {test}(")) || source.contains(&format!("fn {test}<"))
}

/// Whether some output is what a page shows, in which a line `…` stands for any lines and `…` in a line for any text.
pub(crate) fn is_as_shown(shown: &str, output: &str) -> bool {
    fn line_fits(shown: &str, line: &str) -> bool {
        let mut rest = line;
        for (number, piece) in shown.split('…').enumerate() {
            match rest.find(piece) {
                Some(0) => {}
                Some(_) if number > 0 => {}
                _ => return false,
            }
            rest = rest.split_once(piece).map_or("", |(_, rest)| rest);
        }
        rest.is_empty() || shown.ends_with('…')
    }
    fn fits(shown: &[&str], lines: &[&str]) -> bool {
        match (shown, lines) {
            ([], []) => true,
            (["…", shown @ ..], lines) => (0..=lines.len()).any(|skip| fits(shown, &lines[skip..])),
            ([first, shown @ ..], [line, lines @ ..]) => {
                line_fits(first.trim_end(), line.trim_end()) && fits(shown, lines)
            }
            _ => false,
        }
    }
    let lines = |text: &str| text.trim_end().lines().map(str::to_owned).collect::<Vec<_>>();
    let (shown, output) = (lines(shown), lines(output));
    fits(&shown.iter().map(String::as_str).collect::<Vec<_>>(), &output.iter().map(String::as_str).collect::<Vec<_>>())
}
