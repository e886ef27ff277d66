//! The beginning and the end of every benchmark: its arguments, and the section that it writes.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::{measure, section};
use crate::engine::Kind;

/// The options that every benchmark has.
#[derive(Debug, clap::Args)]
pub struct CommonArgs {
    /// Write the results into this Markdown file, between its two markers where it has them
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Which engines a benchmark measures.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Engines {
    /// 18.16.
    #[value(name = "18")]
    Old,
    /// 26.9.
    #[value(name = "26")]
    New,
    /// One after the other.
    Both,
}

impl Engines {
    /// The engines, the oldest first.
    pub fn kinds(self) -> Vec<Kind> {
        match self {
            Self::Old => vec![Kind::V18],
            Self::New => vec![Kind::V26],
            Self::Both => Kind::ALL.to_vec(),
        }
    }
}

/// The arguments of a benchmark, or `None` if this process is not to measure anything: it was started by a benchmark to
/// run one command, which it has done; or by something else than `cargo bench`.
pub fn arguments<Args: Parser>(common: impl Fn(&Args) -> &CommonArgs) -> Option<Args> {
    if let Some(command) = measure::requested() {
        measure::run(&command);
        return None;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        // `cargo test --benches` and test runners start this program too, with options of their own.
        Err(_) if !std::env::args().any(|argument| argument == "--bench") => return None,
        Err(error) => error.exit(),
    };
    if !common(&args).bench {
        println!("this is run by cargo bench");
        return None;
    }
    Some(args)
}

/// Prints the results, and writes them into the section `name` of a file, if one was named.
pub fn finish(text: &str, common: &CommonArgs, name: &str) {
    println!("\n{text}");
    if let Some(path) = common.output.as_deref() {
        section::write(path, name, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        println!("written to {}", path.display());
    }
}
