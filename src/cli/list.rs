use std::path::{Path, PathBuf};

use chrono::Utc;
use chsnap::ops;
use chsnap::repo::{Pin, Summary};
use serde_json::{Map, Value, json};

use super::create::merge;
use super::globals::Globals;
use super::opening;
use super::output::{Output, insert_path};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED};

/// List the snapshots
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List all repositories beneath this directory together, five levels deep: one a server, side by side on an export
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    if let Some(path) = &args.all {
        return list_all(path, output);
    }
    let repository = opening::open(globals)?;
    let listing = ops::list(&repository)?;
    if output.is_json() {
        let snapshots: Vec<Value> =
            listing.snapshots.iter().map(|(summary, pin)| document(summary, pin.as_ref())).collect();
        let removed: Vec<String> = listing.removed.iter().map(ToString::to_string).collect();
        let mut document = Map::new();
        document.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut document, "repository", repository.path());
        document.insert("snapshots".to_owned(), snapshots.into());
        document.insert("removed".to_owned(), removed.into());
        document.insert("warnings".to_owned(), json!(listing.warnings));
        output.json(&Value::Object(document));
    } else {
        output.text(&text(&listing.snapshots));
        if !listing.removed.is_empty() && !globals.quiet {
            let removed = render::count(listing.removed.len() as u64, "removed snapshot");
            output.text(&format!("{removed} in the trash: chsnap undo brings back, chsnap gc frees\n"));
        }
    }
    output.warnings(&listing.warnings);
    Ok(if listing.warnings.is_empty() { DONE } else { WARNED })
}

/// Each repository in turn, and all their snapshots together.
fn list_all(path: &Path, output: &Output) -> CommandResult {
    let survey = ops::survey(path)?;
    let mut warnings: Vec<String> = Vec::new();
    let (mut repositories, mut snapshots, mut sections) = (Vec::new(), Vec::new(), Vec::new());
    for surveyed in &survey.repositories {
        let mut row = Map::new();
        insert_path(&mut row, "repository", &surveyed.path);
        match &surveyed.found {
            Ok((id, server, listing)) => {
                let complete = || listing.snapshots.iter().map(|(summary, _)| summary).filter(|s| s.is_complete());
                let written: u64 = complete().map(|summary| summary.totals.written_bytes).sum();
                row.insert("state".to_owned(), "ok".into());
                row.insert("id".to_owned(), id.to_string().into());
                row.insert("server".to_owned(), json!(server));
                row.insert("snapshot_count".to_owned(), listing.snapshots.len().into());
                row.insert("removed_count".to_owned(), listing.removed.len().into());
                row.insert("newest".to_owned(), json!(complete().map(|summary| summary.time).max()));
                row.insert("written_bytes".to_owned(), written.into());
                for (summary, pin) in &listing.snapshots {
                    let Value::Object(mut snapshot) = document(summary, pin.as_ref()) else { continue };
                    insert_path(&mut snapshot, "repository", &surveyed.path);
                    snapshots.push(Value::Object(snapshot));
                }
                let of = server.as_ref().map(|server| format!(" of {}", server.data_path)).unwrap_or_default();
                let title = render::safe(&format!("{}{of}", surveyed.path.display()), render::MESSAGE_LIMIT);
                let written = render::bytes(written);
                let text = text(&listing.snapshots);
                sections.push(format!("{title}: {written} written by its snapshots\n{text}"));
                let at = surveyed.path.display();
                warnings.extend(listing.warnings.iter().map(|warning| format!("{at}: {warning}")));
            }
            Err(error) => {
                let reason = chsnap::monitor::chain(error);
                row.insert("state".to_owned(), "broken".into());
                row.insert("problem".to_owned(), reason.clone().into());
                warnings.push(format!("the repository {} cannot be read: {reason}", surveyed.path.display()));
            }
        }
        repositories.push(Value::Object(row));
    }
    for (unread, error) in &survey.unread {
        let reason = chsnap::monitor::chain(error);
        warnings.push(format!("{} is not looked into, and may hold repositories: {reason}", unread.display()));
    }
    if output.is_json() {
        let mut all = Map::new();
        all.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut all, "directory", path);
        all.insert("repositories".to_owned(), repositories.into());
        all.insert("snapshots".to_owned(), snapshots.into());
        all.insert("warnings".to_owned(), json!(warnings));
        output.json(&Value::Object(all));
    } else if repositories.is_empty() {
        let levels = ops::SURVEY_DEPTH;
        output.text(&format!("no repository beneath {}, {levels} levels deep\n", path.display()));
    } else {
        output.text(&sections.join("\n"));
    }
    output.warnings(&warnings);
    Ok(if warnings.is_empty() { DONE } else { WARNED })
}

fn document(summary: &Summary, pin: Option<&Pin>) -> Value {
    let mut row = Map::new();
    merge(&mut row, summary);
    row.insert("pinned".to_owned(), pin.is_some().into());
    if let Some(pin) = pin {
        row.insert("pin".to_owned(), json!(pin));
    }
    Value::Object(row)
}

fn text(snapshots: &[(Summary, Option<Pin>)]) -> String {
    if snapshots.is_empty() {
        return "no snapshots yet: chsnap create takes one\n".to_owned();
    }
    let now = Utc::now();
    let columns = [
        ("SNAPSHOT", Left),
        ("AGE", Right),
        ("TABLES", Right),
        ("PARTS", Right),
        ("FILES", Right),
        ("TO RESTORE", Right),
        ("ON DISK", Right),
        ("NEW", Right),
        ("NAME", Left),
    ];
    let rows = snapshots.iter().map(|(summary, pin)| {
        let mut name = summary.label.text.as_deref().map(|text| render::safe(text, 40)).unwrap_or_default();
        let mut notes = Vec::new();
        if let Some(pin) = pin {
            notes.push(format!("pinned: {}", render::safe(&pin.reason, 40)));
        }
        if !summary.is_complete() {
            notes.push(summary.state.replace('_', " "));
        } else if summary.warning_count > 0 {
            notes.push(render::count(summary.warning_count, "warning"));
        }
        if !notes.is_empty() {
            let space = if name.is_empty() { "" } else { " " };
            name = format!("{name}{space}[{}]", notes.join("; "));
        }
        let totals = &summary.totals;
        let figures = if summary.is_complete() {
            [
                render::thousands(totals.tables),
                render::thousands(totals.parts),
                render::thousands(totals.files),
                render::bytes(totals.apparent_bytes),
                render::bytes(totals.allocated_bytes),
                render::bytes(totals.written_bytes),
            ]
        } else {
            std::array::from_fn(|_| "?".to_owned())
        };
        let mut row = vec![summary.id.to_string(), render::age(summary.time, now)];
        row.extend(figures);
        row.push(name);
        row
    });
    render::table(&columns, rows)
}
