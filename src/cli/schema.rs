use std::path::PathBuf;

use chsnap::fs;
use chsnap::ops::OpError;

use super::documents::SchemaDocument;
use super::output::Output;
use super::{CommandResult, DONE, documents};

/// Write the JSON Schemas of the documents that --json prints
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where chsnap.list.v1.json and the others go
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(args: &Args, output: &Output) -> CommandResult {
    let directory = fs::create_path(&args.directory, 0o755, &fs::real()).map_err(OpError::from)?;
    let mut files = Vec::new();
    for (name, schema) in documents::schemas() {
        let file = format!("{name}.json");
        directory.publish(&file, 0o644, format!("{schema:#}\n").as_bytes()).map_err(OpError::from)?;
        files.push(file);
    }
    if output.is_json() {
        output.document(&SchemaDocument { files }, &[]);
    } else {
        output.prose(&format!("wrote {} schemas to {}\n", files.len(), args.directory.display()));
    }
    Ok(DONE)
}
