//! The beginning and the end of every benchmark: its arguments, and the section that it writes.

use std::path::Path;

use clap::Parser;

use crate::{measure, section};

/// The arguments of a benchmark, or `None` if this process is not to measure anything: it was started by a benchmark to
/// run one command, which it has done; or by something else than `cargo bench`.
pub(crate) fn arguments<Args: Parser>(is_bench: impl Fn(&Args) -> bool) -> Option<Args> {
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
    if !is_bench(&args) {
        println!("this is run by cargo bench");
        return None;
    }
    Some(args)
}

/// Prints the results, and writes them into the section `name` of a file, if one was named.
pub(crate) fn finish(text: &str, output: Option<&Path>, name: &str) {
    println!("\n{text}");
    if let Some(path) = output {
        section::write(path, name, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        println!("written to {}", path.display());
    }
}
