use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use chsnap::model::{Level, Warning, WarningKind};
use chsnap::ops::usage::UsageRequest;
use chsnap::ops::{self, Found, Listing};
use chsnap::repo::{LastCheck, Pin, Repository, Summary};
use serde_json::{Map, Value, json};

use super::create::merge;
use super::globals::Globals;
use super::opening;
use super::output::{Output, insert_path, insert_warnings};
use super::pin;
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED, series, trash};

/// List the snapshots
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List all repositories beneath this directory together, and what each costs, five levels deep: one a server, side by
    /// side on an export
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
    /// List what is in the trash: since when, why, and what unlinking it frees
    #[arg(long, conflicts_with = "all")]
    trash: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    if let Some(path) = &args.all {
        return list_all(path, globals, output);
    }
    if args.trash {
        return trash::show(globals, output);
    }
    let repository = opening::open(globals)?;
    let mut listing = ops::list(&repository)?;
    if globals.series.is_some() {
        let chosen = listing.series.chosen.clone();
        listing.keep_series(&chosen);
    }
    let now = Utc::now();
    if output.is_json() {
        let row = |(summary, pin, check): (&Summary, &Option<Pin>, &LastCheck)| {
            document(summary, pin.as_ref(), check, &listing, now)
        };
        let snapshots: Vec<Value> = rows(&listing).map(row).collect();
        let removed: Vec<String> = listing.removed.iter().map(ToString::to_string).collect();
        let mut document = Map::new();
        document.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut document, "repository", repository.path());
        document.insert("main_series".to_owned(), listing.series.main.to_string().into());
        document.insert("snapshots".to_owned(), snapshots.into());
        document.insert("removed".to_owned(), removed.into());
        insert_warnings(&mut document, &listing.warnings);
        output.json(&Value::Object(document));
    } else {
        output.text(&text(&listing, now));
        if !listing.removed.is_empty() && !globals.quiet {
            let removed = render::count(listing.removed.len() as u64, "removed snapshot");
            output.text(&format!("{removed} in the trash: chsnap undo brings back, chsnap gc frees\n"));
        }
    }
    output.warnings(&listing.warnings);
    Ok(if listing.warnings.is_empty() { DONE } else { WARNED })
}

/// Each repository in turn, and all their snapshots together.
fn list_all(path: &Path, globals: &Globals, output: &Output) -> CommandResult {
    let now = Utc::now();
    let asked = |repository: &Repository| UsageRequest {
        paths: globals.paths(),
        jobs: globals.jobs_for(repository),
        ..UsageRequest::default()
    };
    let survey = ops::survey(path, asked, now)?;
    let mut all = All::default();
    for surveyed in &survey.repositories {
        let at = surveyed.path.display();
        match &surveyed.found {
            Ok(found) => all.add(&surveyed.path, found, now),
            Err(error) => {
                let reason = chsnap::monitor::chain(error);
                let mut row = Map::new();
                insert_path(&mut row, "repository", &surveyed.path);
                row.insert("state".to_owned(), "broken".into());
                row.insert("problem".to_owned(), reason.clone().into());
                all.repositories.push(Value::Object(row));
                let message = format!("the repository {at} cannot be read: {reason}");
                all.warnings.push(Warning::new(WarningKind::RepositoryUnreadable, message));
            }
        }
    }
    for (unread, error) in &survey.unread {
        let reason = chsnap::monitor::chain(error);
        let message = format!("{} is not looked into, and may hold repositories: {reason}", unread.display());
        all.warnings.push(Warning::new(WarningKind::DirectoryUnreadable, message));
    }
    if output.is_json() {
        let mut document = Map::new();
        document.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut document, "directory", path);
        document.insert("repositories".to_owned(), all.repositories.into());
        document.insert("snapshots".to_owned(), all.snapshots.into());
        document.insert(
            "totals".to_owned(),
            json!({"cost_bytes": all.cost_bytes, "live_shared_bytes": all.live_shared_bytes, "trash_bytes": all.trash_bytes}),
        );
        insert_warnings(&mut document, &all.warnings);
        output.json(&Value::Object(document));
    } else if all.repositories.is_empty() {
        let levels = ops::SURVEY_DEPTH;
        output.text(&format!("no repository beneath {}, {levels} levels deep\n", path.display()));
    } else {
        let (cost, shared) = (render::bytes(all.cost_bytes), render::bytes(all.live_shared_bytes));
        let snapshots = render::count(all.snapshots.len() as u64, "snapshot");
        let text = all.sections.join("\n");
        output
            .text(&format!("{text}\ntogether: {snapshots}, which cost {cost} and share {shared} with their servers\n"));
    }
    output.warnings(&all.warnings);
    Ok(if all.warnings.is_empty() { DONE } else { WARNED })
}

/// What is said of several repositories.
#[derive(Default)]
struct All {
    repositories: Vec<Value>,
    snapshots: Vec<Value>,
    sections: Vec<String>,
    warnings: Vec<Warning>,
    cost_bytes: u64,
    live_shared_bytes: u64,
    trash_bytes: u64,
}

impl All {
    fn add(&mut self, path: &Path, found: &Found, now: DateTime<Utc>) {
        let Found { id, server, listing, usage } = found;
        let complete = || listing.snapshots.iter().map(|(summary, _)| summary).filter(|s| s.is_complete());
        let written: u64 = complete().map(|summary| summary.totals.written_bytes).sum();
        let mut row = Map::new();
        insert_path(&mut row, "repository", path);
        row.insert("state".to_owned(), "ok".into());
        row.insert("id".to_owned(), id.to_string().into());
        row.insert("server".to_owned(), json!(server));
        row.insert("snapshot_count".to_owned(), listing.snapshots.len().into());
        row.insert("removed_count".to_owned(), listing.removed.len().into());
        let of_main = complete().filter(|summary| summary.is_good() && summary.is_of(&listing.series.main));
        row.insert("newest".to_owned(), json!(of_main.map(|summary| summary.time).max()));
        row.insert("written_bytes".to_owned(), written.into());
        let at = path.display();
        // Usage says of a broken snapshot what the listing says: once is enough.
        let by_message = |warning: &Warning| (warning.message.clone(), warning.clone());
        let mut told: BTreeMap<String, Warning> = listing.warnings.iter().map(by_message).collect();
        let takes = match usage {
            Ok(usage) => {
                let totals = &usage.totals;
                self.cost_bytes += totals.cost_bytes;
                self.live_shared_bytes += totals.live_shared_bytes;
                self.trash_bytes += totals.trash_bytes;
                row.insert("cost_bytes".to_owned(), totals.cost_bytes.into());
                row.insert("live_shared_bytes".to_owned(), totals.live_shared_bytes.into());
                row.insert("trash_bytes".to_owned(), totals.trash_bytes.into());
                row.insert("filesystem_free_bytes".to_owned(), usage.filesystem.free_bytes.into());
                told.extend(usage.warnings.iter().map(by_message));
                let (cost, free) = (render::bytes(totals.cost_bytes), render::bytes(usage.filesystem.free_bytes));
                format!("costs {cost}, and its disk has {free} free")
            }
            Err(error) => {
                let message = format!("what {at} takes is not known: {}", chsnap::monitor::chain(error));
                self.warnings.push(Warning::new(WarningKind::UsageUnknown, message));
                "what it costs is not known".to_owned()
            }
        };
        self.warnings.extend(told.into_values().map(|warning| warning.from_origin(&at)));
        self.repositories.push(Value::Object(row));
        for (summary, pin, check) in rows(listing) {
            let Value::Object(mut snapshot) = document(summary, pin.as_ref(), check, listing, now) else { continue };
            insert_path(&mut snapshot, "repository", path);
            self.snapshots.push(Value::Object(snapshot));
        }
        let of = server.as_ref().map(|server| format!(" of {}", server.data_path)).unwrap_or_default();
        let title = render::safe(&format!("{at}{of}"), render::MESSAGE_LIMIT);
        self.sections.push(format!("{title}: {takes}\n{}", text(listing, now)));
    }
}

fn rows(listing: &Listing) -> impl Iterator<Item = (&Summary, &Option<Pin>, &LastCheck)> {
    listing.snapshots.iter().zip(&listing.checks).map(|((summary, pin), check)| (summary, pin, check))
}

/// When a snapshot was last verified, as a value; null if it never was.
pub(super) fn verified(check: &LastCheck) -> Value {
    if *check == LastCheck::default() { Value::Null } else { json!(check) }
}

/// The same as a person reads it.
pub(super) fn verified_text(check: &LastCheck, now: DateTime<Utc>) -> String {
    let whole = check.level.zip(check.time);
    let mut text = whole.map(|(level, time)| format!("{level} {}", render::age(time, now))).unwrap_or_default();
    let older_data = check.data_time.filter(|time| whole.is_some_and(|whole| whole != (Level::Data, *time)));
    let data = older_data.map(|time| format!("data {}", render::age(time, now)));
    let slice = check.slice.map(|slice| format!("slice {slice}"));
    // Since when all bytes are read is one age, when any were read is another.
    let is_newer = |any: &DateTime<Utc>| check.data_time.is_none_or(|all| *any > all);
    let some_data = check.any_data_time.filter(is_newer).map(|time| format!("some data {}", render::age(time, now)));
    for more in data.into_iter().chain(slice).chain(some_data) {
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(&more);
    }
    let found = match (check.damaged, check.drifted) {
        (true, _) => "DAMAGED ",
        (false, true) => "drift ",
        (false, false) if text.is_empty() => "never",
        (false, false) => "",
    };
    format!("{found}{text}").trim_end().to_owned()
}

fn document(summary: &Summary, pin: Option<&Pin>, check: &LastCheck, listing: &Listing, now: DateTime<Utc>) -> Value {
    let pin = pin.filter(|pin| pin.holds(now));
    let mut row = Map::new();
    merge(&mut row, summary);
    series::insert_label(&mut row, summary, &listing.series);
    row.insert("pinned".to_owned(), pin.is_some().into());
    row.insert("verified".to_owned(), verified(check));
    if let Some(pin) = pin {
        row.insert("pin".to_owned(), json!(pin));
    }
    row.insert("drilled".to_owned(), json!(listing.drills.get(&summary.id)));
    Value::Object(row)
}

fn text(listing: &Listing, now: DateTime<Utc>) -> String {
    if listing.snapshots.is_empty() {
        return "no snapshots yet: chsnap create takes one\n".to_owned();
    }
    let columns = [
        ("SNAPSHOT", Left),
        ("AGE", Right),
        ("TABLES", Right),
        ("PARTS", Right),
        ("FILES", Right),
        ("TO RESTORE", Right),
        ("ON DISK", Right),
        ("NEW", Right),
        ("", Left),
        ("VERIFIED", Left),
        ("NAME", Left),
    ];
    let complete = || rows(listing).map(|(summary, ..)| summary).filter(|summary| summary.is_complete());
    let most = complete().map(|summary| summary.totals.written_bytes).max().unwrap_or(0);
    let rows = rows(listing).map(|(summary, pin, check)| {
        let mut name = summary.label.text.as_deref().map(|text| render::safe(text, 40)).unwrap_or_default();
        let mut notes = series::notes(summary, &listing.series.main);
        if let Some(pin) = pin.as_ref().filter(|pin| pin.holds(now)) {
            notes.push(format!("pinned{}: {}", pin::until(pin), render::safe(&pin.reason, 40)));
        }
        if let Some(drill) = listing.drills.get(&summary.id) {
            let outcome = if drill.failed == 0 { "drilled" } else { "drill FAILED" };
            notes.push(format!("{outcome} {} ago", render::age(drill.time, now)));
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
                render::bar(totals.written_bytes, most),
            ]
        } else {
            ["?", "?", "?", "?", "?", "?", ""].map(str::to_owned)
        };
        let mut row = vec![summary.id.to_string(), render::age(summary.time, now)];
        row.extend(figures);
        row.push(verified_text(check, now));
        row.push(name);
        row
    });
    render::table(&columns, rows)
}
