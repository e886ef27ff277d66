use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chsnap::model::{Level, Warning, WarningKind};
use chsnap::ops::usage::UsageRequest;
use chsnap::ops::{self, OpenedRepository, SnapshotList};
use chsnap::plan::TablePattern;
use chsnap::plan::retention::NameGlob;
use chsnap::repo::{BoundServer, LastCheck, Pin, Repository, Summary};

use super::documents::{
    AllTotals, DrilledRow, ListAllDocument, ListDocument, MomentRow, PinRow, RepositoryRow, ServerRow, SnapshotRow,
    VerifiedRow, texts,
};
use super::globals::Globals;
use super::layout::{self, Column, TextTable, Width, left, right};
use super::opening;
use super::output::{Output, path_base64};
use super::pin;
use super::render;
use super::{CommandFailure, CommandResult, DONE, WARNED, series, trash};

/// List the snapshots
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List the snapshots of all repositories up to five levels below this directory, and the cost of each repository
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
    /// List the snapshots in the trash: since when, why, and how much space gc would free
    #[arg(long, conflicts_with = "all")]
    trash: bool,
    /// Only the newest N
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "trash"])]
    last: Option<usize>,
    /// Only those whose name matches
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["all", "trash"])]
    name: Option<NameGlob>,
    /// Only those with a matching table
    #[arg(long, value_name = "DB.GLOB", conflicts_with_all = ["all", "trash"])]
    table: Vec<TablePattern>,
    /// Only those made since a day (2026-11-01, by UTC), a time, or within a duration (30d)
    #[arg(long, value_name = "DATE", value_parser = since, conflicts_with_all = ["all", "trash"])]
    since: Option<DateTime<Utc>>,
}

impl Args {
    fn chooses(&self) -> bool {
        self.last.is_some() || self.name.is_some() || !self.table.is_empty() || self.since.is_some()
    }

    /// Keeps only the selected snapshots.
    fn choose(&self, repository: &Repository, listing: &mut SnapshotList) -> Result<(), CommandFailure> {
        if let Some(glob) = &self.name {
            listing.keep(|summary| summary.label.text.as_deref().is_some_and(|name| glob.matches_name(name)));
        }
        if let Some(since) = self.since {
            listing.keep(|summary| summary.time >= since);
        }
        if !self.table.is_empty() {
            let ids = ops::snapshots_with(repository, listing, &self.table)?;
            listing.keep(|summary| ids.contains(&summary.id));
        }
        if let Some(last) = self.last {
            let mut older = listing.snapshots.len().saturating_sub(last);
            listing.keep(|_| older.checked_sub(1).map(|left| older = left).is_none());
        }
        Ok(())
    }
}

/// A day, a time, or a time span before now.
fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let span = humantime::parse_duration(text).ok().and_then(|span| TimeDelta::from_std(span).ok());
    span.and_then(|span| Utc::now().checked_sub_signed(span))
        .ok_or_else(|| "no date, no time and no duration (write 2026-11-01, 2026-11-01T18:00:00Z or 30d)".to_owned())
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    if let Some(path) = &args.all {
        return list_all(path, globals, output);
    }
    if args.trash {
        return trash::show(globals, output, |document, output, warnings| output.document(&document, warnings));
    }
    let repository = opening::open(globals)?;
    let mut listing = ops::list(&repository)?;
    if globals.series.is_some() {
        let chosen = listing.series.chosen.clone();
        listing.keep_series(&chosen);
    }
    args.choose(&repository, &mut listing)?;
    let now = Utc::now();
    if output.is_json() {
        let document = ListDocument {
            repository: Some(repository.path().to_string_lossy().into_owned()),
            repository_base64: path_base64(repository.path()),
            main_series: Some(listing.series.main.to_string()),
            snapshots: Some(rows(&listing).map(|row| document(row, &listing, now)).collect()),
            removed: Some(texts(&listing.removed)),
            ..ListDocument::default()
        };
        output.document(&document, &listing.warnings);
    } else if listing.snapshots.is_empty() && args.chooses() {
        output.prose("no snapshot matches\n");
    } else {
        output.text(&text(&listing, now, output.width()));
        if !listing.removed.is_empty() && !globals.quiet {
            let removed = render::count(listing.removed.len() as u64, "removed snapshot");
            output.prose(&format!("{removed} in the trash: chsnap undo brings back, chsnap gc frees\n"));
        }
    }
    output.warnings(&listing.warnings);
    Ok(if listing.warnings.is_empty() { DONE } else { WARNED })
}

/// Lists each repository in turn, and then all their snapshots together.
fn list_all(path: &Path, globals: &Globals, output: &Output) -> CommandResult {
    let now = Utc::now();
    let asked = |repository: &Repository| {
        UsageRequest::new().with_paths(globals.paths()).with_jobs(globals.jobs_for(repository))
    };
    let survey = ops::survey(path, asked, now)?;
    let mut all = All::default();
    for surveyed in &survey.repositories {
        let at = surveyed.path.display();
        match &surveyed.found {
            Ok(found) => all.add(&surveyed.path, found, now, output.width()),
            Err(error) => {
                let reason = chsnap::monitor::chain(error);
                all.repositories.push(RepositoryRow {
                    state: "broken".to_owned(),
                    problem: Some(reason.clone()),
                    ..repository_row(&surveyed.path)
                });
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
        let document = ListAllDocument {
            directory: path.to_string_lossy().into_owned(),
            directory_base64: path_base64(path),
            repositories: all.repositories,
            snapshots: all.snapshots,
            totals: all.totals,
        };
        output.document(&document, &all.warnings);
    } else if all.repositories.is_empty() {
        let levels = ops::SURVEY_DEPTH;
        output.prose(&format!("no repository beneath {}, {levels} levels deep\n", path.display()));
    } else {
        let (cost, shared) = (render::bytes(all.totals.cost_bytes), render::bytes(all.totals.live_shared_bytes));
        let snapshots = render::count(all.snapshots.len() as u64, "snapshot");
        let text = all.sections.join("\n");
        output.text(&format!("{text}\n"));
        output.prose(&format!("together: {snapshots}, which cost {cost} and share {shared} with their servers\n"));
    }
    output.warnings(&all.warnings);
    Ok(if all.warnings.is_empty() { DONE } else { WARNED })
}

/// The collected output about several repositories.
#[derive(Default)]
struct All {
    repositories: Vec<RepositoryRow>,
    snapshots: Vec<SnapshotRow>,
    sections: Vec<String>,
    warnings: Vec<Warning>,
    totals: AllTotals,
}

/// A row that names the repository's path.
fn repository_row(path: &Path) -> RepositoryRow {
    RepositoryRow {
        repository: path.to_string_lossy().into_owned(),
        repository_base64: path_base64(path),
        ..RepositoryRow::default()
    }
}

impl All {
    fn add(&mut self, path: &Path, found: &OpenedRepository, now: DateTime<Utc>, width: Width) {
        let OpenedRepository { id, server, listing, usage, .. } = found;
        let complete = || listing.snapshots.iter().map(|(summary, _)| summary).filter(|s| s.is_complete());
        let written: u64 = complete().map(|summary| summary.totals.written_bytes).sum();
        let of_main = complete().filter(|summary| summary.is_good() && summary.is_of(&listing.series.main));
        let server_row =
            |server: &BoundServer| ServerRow { data_path: server.data_path.clone(), uuid: server.uuid.clone() };
        let mut row = RepositoryRow {
            state: "ok".to_owned(),
            id: Some(id.to_string()),
            server: server.as_ref().map(server_row),
            snapshot_count: Some(listing.snapshots.len() as u64),
            removed_count: Some(listing.removed.len() as u64),
            newest: of_main.map(|summary| summary.time).max(),
            written_bytes: Some(written),
            ..repository_row(path)
        };
        let at = path.display();
        // Usage reports about a broken snapshot what the listing reports: once is enough.
        let by_message = |warning: &Warning| (warning.message.clone(), warning.clone());
        let mut told: BTreeMap<String, Warning> = listing.warnings.iter().map(by_message).collect();
        let takes = match usage {
            Ok(usage) => {
                let totals = &usage.totals;
                self.totals.cost_bytes += totals.cost_bytes;
                self.totals.live_shared_bytes += totals.live_shared_bytes;
                self.totals.trash_bytes += totals.trash_bytes;
                row.cost_bytes = Some(totals.cost_bytes);
                row.live_shared_bytes = Some(totals.live_shared_bytes);
                row.trash_bytes = Some(totals.trash_bytes);
                row.filesystem_free_bytes = Some(usage.filesystem.free_bytes);
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
        self.repositories.push(row);
        self.snapshots.extend(rows(listing).map(|row| SnapshotRow {
            repository: Some(path.to_string_lossy().into_owned()),
            repository_base64: path_base64(path),
            ..document(row, listing, now)
        }));
        let of = server.as_ref().map(|server| format!(" of {}", server.data_path)).unwrap_or_default();
        let title = render::safe(&format!("{at}{of}"), render::MESSAGE_LIMIT);
        let title = layout::prose(&format!("{title}: {takes}\n"), width);
        self.sections.push(title + &text(listing, now, width));
    }
}

fn rows(listing: &SnapshotList) -> impl Iterator<Item = (&Summary, &Option<Pin>, &LastCheck)> {
    listing.snapshots.iter().zip(&listing.checks).map(|((summary, pin), check)| (summary, pin, check))
}

/// The last checks of a snapshot as text, the one that says most first: of the whole snapshot, of all bytes, of a slice,
/// of any bytes. Empty if it was never checked.
fn check_texts(check: &LastCheck, now: DateTime<Utc>) -> Vec<String> {
    let whole = check.level.zip(check.time);
    let of_whole = whole.map(|(level, time)| format!("{level} {}", render::age(time, now)));
    let older_data = check.data_time.filter(|time| whole.is_some_and(|whole| whole != (Level::Data, *time)));
    let data = older_data.map(|time| format!("data {}", render::age(time, now)));
    let slice = check.slice.map(|slice| format!("slice {slice}"));
    // The time since which all bytes were read is one age; the time at which any were read is another.
    let is_newer = |any: &DateTime<Utc>| check.data_time.is_none_or(|all| *any > all);
    let some_data = check.any_data_time.filter(is_newer).map(|time| format!("some data {}", render::age(time, now)));
    of_whole.into_iter().chain(data).chain(slice).chain(some_data).collect()
}

/// The times of a snapshot's last verifications and their finding, as text.
pub(super) fn verified_text(check: &LastCheck, now: DateTime<Utc>) -> String {
    let cells = verified_cells(check, now).into_iter().filter(|cell| !cell.is_empty());
    cells.collect::<Vec<_>>().join(", ")
}

/// The same in two cells: a short one that every terminal shows, and one with the rest.
fn verified_cells(check: &LastCheck, now: DateTime<Utc>) -> [String; 2] {
    let found = match (check.damaged, check.drifted) {
        (true, _) => "DAMAGED",
        (false, true) => "drift",
        (false, false) => "",
    };
    let mut texts = check_texts(check, now);
    let first = if texts.is_empty() { String::new() } else { texts.remove(0) };
    let short = if found.is_empty() && first.is_empty() { "never" } else { &format!("{found} {first}") };
    [short.trim().to_owned(), texts.join(", ")]
}

fn document(
    (summary, pin, check): (&Summary, &Option<Pin>, &LastCheck),
    listing: &SnapshotList,
    now: DateTime<Utc>,
) -> SnapshotRow {
    let pin = pin.as_ref().filter(|pin| pin.holds(now));
    let totals = &summary.totals;
    SnapshotRow {
        id: summary.id.to_string(),
        repository: None,
        repository_base64: None,
        sequence: summary.sequence,
        time: summary.time,
        name: summary.label.text.clone(),
        name_base64: summary.label.bytes_base64.clone(),
        moment: summary.moment.map(|moment| MomentRow { exact: moment.exact, from: moment.from, to: moment.to }),
        state: summary.state.clone(),
        problem: summary.problem.clone(),
        tables: totals.tables,
        parts: totals.parts,
        files: totals.files,
        apparent_bytes: totals.apparent_bytes,
        allocated_bytes: totals.allocated_bytes,
        written_bytes: totals.written_bytes,
        series: summary.series.as_ref().map(ToString::to_string),
        series_label: series::label(summary, &listing.series.main),
        incomplete: summary.incomplete,
        warning_count: summary.warning_count,
        server_version: summary.server_version.clone(),
        pinned: pin.is_some(),
        pin: pin.map(PinRow::from),
        verified: VerifiedRow::of(check),
        drilled: listing.drills.get(&summary.id).map(DrilledRow::from),
    }
}

fn columns() -> [Column; 12] {
    [
        left("SNAPSHOT"),
        right("AGE"),
        right("TABLES").dropped(6),
        right("PARTS").dropped(4),
        right("FILES").dropped(3),
        right("TO RESTORE").dropped(7),
        right("ON DISK").dropped(5),
        right("NEW").dropped(8),
        left("").dropped(1),
        left("VERIFIED"),
        left("CHECKS").dropped(2),
        left("NAME").cut_to(12).dropped(9),
    ]
}

fn text(listing: &SnapshotList, now: DateTime<Utc>, width: Width) -> String {
    if listing.snapshots.is_empty() {
        return "no snapshots yet: chsnap create takes one\n".to_owned();
    }
    let mut table = TextTable::new(columns()).with_notes_named("");
    let complete = || rows(listing).map(|(summary, ..)| summary).filter(|summary| summary.is_complete());
    let most = complete().map(|summary| summary.totals.written_bytes).max().unwrap_or(0);
    for (summary, pin, check) in rows(listing) {
        let name = summary.label.text.as_deref().map(|text| render::safe(text, 40)).unwrap_or_default();
        let mut notes = series::notes(summary, &listing.series.main);
        if let Some(pin) = pin.as_ref().filter(|pin| pin.holds(now)) {
            notes.push(pin::note(pin));
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
        let notes = if notes.is_empty() { String::new() } else { format!("[{}]", notes.join("; ")) };
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
        row.extend(verified_cells(check, now));
        row.push(name);
        table.add_with_notes(row, vec![notes]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use chsnap::model::Level;
    use chsnap::repo::LastCheck;

    use super::{Column, TextTable, Width, columns, verified_cells, verified_text};

    /// Nightly slices after a full check, and damage: the texts are long.
    fn check() -> LastCheck {
        let at = |minutes: i64| Some(Utc::now() - TimeDelta::minutes(minutes));
        LastCheck {
            time: at(3),
            level: Some(Level::Size),
            data_time: at(50),
            any_data_time: at(2),
            slice: "4/30".parse().ok(),
            damaged: true,
            ..LastCheck::default()
        }
    }

    #[test]
    fn damage_is_shown_at_every_width_and_the_rest_gives_way() {
        let cells = verified_cells(&check(), Utc::now());
        assert_eq!(cells[0], "DAMAGED size 3 min");
        assert_eq!(cells.join(", "), verified_text(&check(), Utc::now()));
        let all: [Column; 12] = columns();
        for width in [60, 72, 80, 100, 140, 200] {
            let mut table = TextTable::new(all);
            let mut row: Vec<String> =
                ["2026-11-22T020000Z", "3 min", "35", "1,234", "56,789", "5.86 MiB", "5.86 MiB", "1 MiB", "####"]
                    .map(str::to_owned)
                    .into();
            row.extend(cells.clone());
            row.push("before the upgrade".to_owned());
            table.add(row);
            let text = table.render(Width::Columns(width));
            assert!(text.contains("DAMAGED size 3 min"), "{width}: {text}");
            assert_eq!(text.contains("slice 4/30"), width == 200, "{width}: {text}");
        }
    }
}
