use std::path::{Path, PathBuf};

use chsnap::fs;
use chsnap::ops::OpError;
use clap::Command;
use clap_mangen::Man;
use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use super::{CommandResult, DONE};

/// Write the manual pages, one for each command; without a directory, print the first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where chsnap.1, chsnap-create.1 and the others go
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: &Output) -> CommandResult {
    let pages = pages(super::tree())?;
    let Some(directory) = &args.directory else {
        for (_, page) in pages.into_iter().take(1) {
            output.text(&page);
        }
        return Ok(DONE);
    };
    write(directory, &pages).map_err(OpError::from)?;
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    if output.is_json() {
        output.json(&json!({"schema": output.schema(), "pages": names}));
    } else {
        output.text(&format!("wrote {} manual pages to {}\n", names.len(), directory.display()));
    }
    Ok(DONE)
}

fn write(directory: &Path, pages: &[(String, String)]) -> Result<(), fs::FsError> {
    let directory = fs::create_path(directory, 0o755, &fs::real())?;
    pages.iter().try_for_each(|(name, page)| directory.publish(name, 0o644, page.as_bytes()))
}

/// The pages by file name, that of the program itself first.
fn pages(command: Command) -> Result<Vec<(String, String)>, Failure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, "chsnap", &mut pages)
        .map_err(|error| Failure::failed("cannot write the manual pages").caused_by(error.to_string()))?;
    Ok(pages)
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let mut page = Vec::new();
    let titled = command.clone().name(name.to_owned()).display_name(name.to_owned());
    Man::new(titled).date(env!("CARGO_PKG_VERSION")).manual("chsnap").render(&mut page)?;
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&page).into_owned()));
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    visible.into_iter().try_for_each(|sub| collect(sub, &format!("{name}-{}", sub.get_name()), pages))
}
