use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use chsnap::model::SnapshotId;
use chsnap::ops::OpError;
use chsnap::ops::prune::reasons;
use chsnap::ops::usage::{
    ForeignShadow, Freed, Grouping, SnapshotRange, SnapshotUsage, TableUsage, Usage, UsageRequest, usage,
};
use chsnap::plan::SnapshotReference;
use chsnap::plan::retention::{Policy, Reason};
use clap::ValueEnum;

use super::documents::{
    CostRow, CostSeconds, ExactRow, ForeignShadowRow, FreedRow, GrowthRow, PinRow, SpaceRow, TrashTotals,
    UsageDocument, UsageSnapshot, UsageTable, UsageTotals, texts,
};
use super::globals::Globals;
use super::layout::{self, TextTable, Width, left, name, right};
use super::opening;
use super::output::{Output, path_base64};
use super::policy::PolicyArgs;
use super::render;
use super::{CommandResult, DONE, WARNED, pin, series};

/// Show how much space snapshots take, and what removing them would free
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Ids, beginnings of ids, names, latest, or latest~N [default: all snapshots]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// What each row stands for
    #[arg(long, value_name = "WHAT", default_value = "snapshot")]
    by: RowKind,
    /// Show what removing these together would free: A..C, A.., ..C, or A,B,C
    #[arg(long, value_name = "SNAPSHOTS", value_delimiter = ',')]
    freed: Vec<String>,
    /// Stat every file instead of reading the index, and repair the index where it differs
    #[arg(long)]
    exact: bool,
    /// With rules: why each snapshot stays, or that it would go
    #[command(flatten)]
    policy: PolicyArgs,
}

/// Why the rules keep each snapshot, if there are rules.
type Reasons = Option<BTreeMap<SnapshotId, Vec<Reason>>>;

const HELP: &str =
    "Columns: TO RESTORE is the sum of the files' sizes. NEW is what the previous snapshot does not have. ALONE is what \
    removing only that snapshot frees, WITH OLDER what removing it and all older ones frees, directories included, once \
    chsnap gc has emptied the trash. LIVE is what ClickHouse (or anything else outside the repository) also links: it \
    takes no extra space until it is removed there. Files that two snapshots share are freed when both are removed: so \
    the bytes of ALONE do not add up, and of two equal snapshots neither frees anything alone.

Examples:
  chsnap usage
  chsnap usage --by table
  chsnap usage --keep-daily 7 --keep-weekly 4
  chsnap usage --freed ..latest~7";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RowKind {
    Snapshot,
    Table,
    Partition,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let request = UsageRequest::new()
        .with_snapshots(args.snapshots.iter().map(|text| reference(text)).collect::<Result<_, _>>()?)
        .with_by(match args.by {
            RowKind::Snapshot => Grouping::Snapshot,
            RowKind::Table => Grouping::Table,
            RowKind::Partition => Grouping::Partition,
        })
        .with_freed(args.freed.iter().map(|text| span(text)).collect::<Result<_, _>>()?)
        .with_exact(args.exact)
        .with_paths(globals.paths())
        .with_jobs(globals.jobs_for(&repository));
    let now = Utc::now();
    let found = usage(&repository, &request, now)?;
    let policy = args.policy.over(Policy::default());
    let reasons = if policy.is_empty() { None } else { Some(reasons(&repository, &policy, now)?) };
    if output.is_json() {
        output.document(&document(&found, args.by, &reasons, repository.path()), &found.warnings);
    } else {
        output.text(&text(&found, &reasons, globals.quiet, now, output.width()));
    }
    output.warnings(&found.warnings);
    Ok(if found.warnings.is_empty() { DONE } else { WARNED })
}

fn reference(text: &str) -> Result<SnapshotReference, OpError> {
    Ok(text.parse()?)
}

fn span(text: &str) -> Result<SnapshotRange, OpError> {
    let Some((from, to)) = text.split_once("..") else { return Ok(SnapshotRange::One(reference(text)?)) };
    let end = |text: &str| (!text.is_empty()).then(|| reference(text)).transpose();
    Ok(SnapshotRange::FromTo(end(from)?, end(to)?))
}

fn document(found: &Usage, by: RowKind, reasons: &Reasons, repository: &Path) -> UsageDocument {
    let (filesystem, totals, growth, cost) = (&found.filesystem, &found.totals, &found.growth, &found.cost);
    let tables = found.tables.as_ref().map(|tables| tables.iter().map(table_row).collect());
    let (tables, partitions) = if by == RowKind::Partition { (None, tables) } else { (tables, None) };
    UsageDocument {
        repository: repository.to_string_lossy().into_owned(),
        repository_base64: path_base64(repository),
        time: found.time,
        filesystem: SpaceRow {
            size_bytes: filesystem.size_bytes,
            free_bytes: filesystem.free_bytes,
            inodes: filesystem.inodes,
            free_inodes: filesystem.free_inodes,
        },
        snapshots: found.snapshots.iter().map(|row| snapshot_row(row, reasons)).collect(),
        tables,
        partitions,
        freed: found.freed.as_ref().map(freed_row),
        trash: TrashTotals { snapshots: texts(&found.removed), freed_bytes: totals.trash_bytes },
        totals: UsageTotals {
            live_shared_bytes: totals.live_shared_bytes,
            pinned_by_snapshots_bytes: totals.pinned_bytes,
            metadata_bytes: totals.metadata_bytes,
            directory_bytes: totals.directory_bytes,
            index_bytes: totals.index_bytes,
            cost_bytes: totals.cost_bytes,
            incoming_bytes: totals.incoming_bytes,
            shadow_bytes: totals.shadow_bytes,
            foreign_shadows: totals.foreign_shadows.iter().map(shadow_row).collect(),
        },
        growth: GrowthRow {
            since: growth.period.map(|(since, _)| since),
            until: growth.period.map(|(_, until)| until),
            written_bytes_per_day: growth.written_bytes_per_day.map(rounded),
            used_bytes_per_day: growth.used_bytes_per_day.map(rounded),
            days_until_full: growth.days_until_full,
        },
        estimated: found.is_estimated,
        exact: found
            .exact
            .as_ref()
            .map(|exact| ExactRow { agrees: exact.differing.is_empty(), differing: texts(&exact.differing) }),
        cost: CostRow {
            asked_files: cost.asked_files,
            listed_snapshots: Some(cost.listed_snapshots),
            seconds: CostSeconds {
                index: cost.index.as_secs_f64(),
                list: cost.list.as_secs_f64(),
                stat: cost.stat.as_secs_f64(),
                sum: cost.sum.as_secs_f64(),
            },
        },
    }
}

fn shadow_row(shadow: &ForeignShadow) -> ForeignShadowRow {
    ForeignShadowRow {
        path: shadow.path.to_string_lossy().into_owned(),
        path_base64: path_base64(&shadow.path),
        allocated_bytes: shadow.allocated_bytes,
        freed_bytes: shadow.freed_bytes,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a filesystem has less than 2^63 bytes")]
fn rounded(bytes: f64) -> i64 {
    bytes.round() as i64
}

fn snapshot_row(row: &SnapshotUsage, reasons: &Reasons) -> UsageSnapshot {
    let (summary, held) = (&row.summary, &row.held);
    let told = reasons.as_ref().and_then(|reasons| reasons.get(&summary.id));
    UsageSnapshot {
        id: summary.id.to_string(),
        time: summary.time,
        name: summary.label.text.clone(),
        state: summary.state.clone(),
        pinned: row.pin.is_some(),
        pin: row.pin.as_ref().map(PinRow::from),
        tables: summary.totals.tables,
        parts: summary.totals.parts,
        files: summary.totals.files,
        apparent_bytes: summary.totals.apparent_bytes,
        allocated_bytes: held.allocated_bytes,
        written_bytes: summary.totals.written_bytes,
        exclusive_bytes: held.exclusive_bytes,
        directory_bytes: held.directory_bytes,
        metadata_bytes: held.metadata_bytes,
        freed_bytes: row.freed_bytes,
        freed_with_older_bytes: row.freed_with_older_bytes,
        live_shared_bytes: held.live_shared_bytes,
        reasons: told.map(|told| told.iter().map(ToString::to_string).collect()),
    }
}

fn table_row(row: &TableUsage) -> UsageTable {
    UsageTable {
        database: row.table.database.clone(),
        table: row.table.table.clone(),
        partition: row.partition.clone(),
        parts: row.parts,
        apparent_bytes: row.apparent_bytes,
        allocated_bytes: row.allocated_bytes,
        live_shared_bytes: row.live_shared_bytes,
        exclusive_bytes: row.exclusive_bytes,
        directory_bytes: row.directory_bytes,
        freed_bytes: row.exclusive_bytes + row.directory_bytes,
    }
}

fn freed_row(freed: &Freed) -> FreedRow {
    FreedRow {
        snapshots: texts(&freed.snapshots),
        exclusive_bytes: freed.file_bytes,
        directory_bytes: freed.directory_bytes,
        freed_bytes: freed.freed_bytes,
        freed_with_trash_bytes: freed.freed_with_trash_bytes,
    }
}

const WRITABLE: &str = "a String takes everything";

fn text(found: &Usage, reasons: &Reasons, quiet: bool, now: DateTime<Utc>, width: Width) -> String {
    let filesystem = &found.filesystem;
    let share = filesystem.used_percent();
    let mut text = format!(
        "filesystem {}, {share} % used, {} free",
        render::bytes(filesystem.size_bytes),
        render::bytes(filesystem.free_bytes)
    );
    if filesystem.inodes > 0 {
        write!(
            text,
            "; {} of {} inodes free",
            render::thousands(filesystem.free_inodes),
            render::thousands(filesystem.inodes)
        )
        .expect(WRITABLE);
    }
    text = layout::prose(&(text + "\n"), width) + "\n";
    text.push_str(&match &found.tables {
        Some(tables) => tables_text(tables, width),
        None if found.snapshots.is_empty() => "no snapshots yet: chsnap create takes one\n".to_owned(),
        None => snapshots_text(found, reasons, now, width),
    });
    text.push('\n');
    if let Some(freed) = &found.freed {
        let more = freed.freed_with_trash_bytes.saturating_sub(freed.freed_bytes);
        let trash = if more > 0 {
            format!("; {} with what is in the trash", render::bytes(freed.freed_with_trash_bytes))
        } else {
            String::new()
        };
        let line = format!(
            "removing {} frees {}: files {}, directories {}{trash}",
            render::count(freed.snapshots.len() as u64, "snapshot"),
            render::bytes(freed.freed_bytes),
            render::bytes(freed.file_bytes),
            render::bytes(freed.directory_bytes),
        );
        text.push_str(&layout::prose(&line, width));
    }
    text.push_str(&footer(found, width));
    if !quiet && found.tables.is_none() && !found.snapshots.is_empty() {
        let words = "ALONE: what removing that snapshot frees; WITH OLDER: it and all before it; LIVE: still ClickHouse's too.\n\
             Space that two snapshots share is freed with the second, so ALONE does not add up (chsnap usage --help).\n";
        text.push_str(&layout::prose(words, width));
    }
    text
}

fn snapshots_text(found: &Usage, reasons: &Reasons, now: DateTime<Utc>, width: Width) -> String {
    let snapshots = &found.snapshots;
    let mut table = TextTable::new([
        left("SNAPSHOT"),
        right("AGE"),
        right("TO RESTORE").dropped(2),
        right("NEW").dropped(4),
        right("LIVE").dropped(3),
        right("ALONE"),
        right("WITH OLDER"),
        left("").dropped(1),
    ]);
    let most = snapshots.iter().map(|row| row.freed_with_older_bytes).max().unwrap_or(0);
    for row in snapshots {
        let (summary, held) = (&row.summary, &row.held);
        // Only a manifest has these figures.
        let recorded = |bytes| if summary.is_complete() { render::bytes(bytes) } else { "?".to_owned() };
        let mut notes = Vec::new();
        if let Some(label) = summary.label.text.as_deref().filter(|label| !label.is_empty()) {
            notes.push(render::safe(label, 40));
        }
        match reasons.as_ref().and_then(|reasons| reasons.get(&summary.id)) {
            Some(told) if told.is_empty() => notes.push("would go".to_owned()),
            Some(told) => notes.extend(told.iter().map(|reason| render::safe(&reason.to_string(), 50))),
            None => notes.extend(row.pin.as_ref().map(pin::note)),
        }
        notes.extend(series::notes(summary, &found.series.main));
        if !summary.is_complete() {
            notes.push(summary.state.replace('_', " "));
        }
        let cells = vec![
            summary.id.to_string(),
            render::age(summary.time, now),
            recorded(summary.totals.apparent_bytes),
            recorded(summary.totals.written_bytes),
            render::bytes(held.live_shared_bytes),
            render::bytes(row.freed_bytes),
            render::bytes(row.freed_with_older_bytes),
            render::bar(row.freed_with_older_bytes, most),
        ];
        table.add_with_notes(cells, notes);
    }
    table.render(width)
}

fn tables_text(tables: &[TableUsage], width: Width) -> String {
    let by_partition = tables.iter().any(|row| row.partition.is_some());
    let mut columns = vec![name("TABLE")];
    if by_partition {
        columns.push(left("PARTITION").cut_to(12));
    }
    columns.extend([
        right("PARTS").dropped(2),
        right("TO RESTORE").dropped(3),
        right("ON DISK"),
        right("LIVE").dropped(4),
        right("FREES"),
        left("").dropped(1),
    ]);
    let mut table = TextTable::new(columns);
    let freed = |row: &TableUsage| row.exclusive_bytes + row.directory_bytes;
    let most = tables.iter().map(freed).max().unwrap_or(0);
    for row in tables {
        let mut cells = vec![render::safe(&row.table.to_string(), 400)];
        if by_partition {
            cells.push(render::safe(row.partition.as_deref().unwrap_or_default(), 60));
        }
        cells.extend([
            render::thousands(row.parts),
            render::bytes(row.apparent_bytes),
            render::bytes(row.allocated_bytes),
            render::bytes(row.live_shared_bytes),
            render::bytes(freed(row)),
            render::bar(freed(row), most),
        ]);
        table.add(cells);
    }
    let words = "ON DISK: in all of these snapshots together; FREES: what they hold and nothing else does.\n";
    table.render(width) + &layout::prose(words, width)
}

fn footer(found: &Usage, width: Width) -> String {
    let totals = &found.totals;
    let data = totals.pinned_bytes.saturating_sub(totals.metadata_bytes);
    let mut lines = vec![
        ("shared with live", totals.live_shared_bytes, "costs nothing until ClickHouse removes it".to_owned()),
        (
            "the repository costs",
            totals.cost_bytes,
            format!(
                "data that only it holds {}, directories {}, manifests and definitions {}, index {}",
                render::bytes(data),
                render::bytes(totals.directory_bytes),
                render::bytes(totals.metadata_bytes),
                render::bytes(totals.index_bytes)
            ),
        ),
    ];
    if totals.trash_bytes > 0 || !found.removed.is_empty() {
        let removed = render::count(found.removed.len() as u64, "removed snapshot");
        lines.push(("in the trash", totals.trash_bytes, format!("{removed}; chsnap gc frees it")));
    }
    if totals.incoming_bytes > 0 {
        lines.push(("half built", totals.incoming_bytes, "being made now, or left by an interrupted run".to_owned()));
    }
    if totals.shadow_bytes > 0 {
        lines.push(("leftover freezes", totals.shadow_bytes, "ours; the next create or gc removes them".to_owned()));
    }
    for shadow in &totals.foreign_shadows {
        let path = render::safe(&shadow.path.display().to_string(), 200);
        let text = format!("of {} in {path}, which is not chsnap's", render::bytes(shadow.allocated_bytes));
        lines.push(("another freeze", shadow.freed_bytes, text));
    }
    let figures: Vec<String> = lines.iter().map(|(_, bytes, _)| render::bytes(*bytes)).collect();
    let (names, widths) = (lines.iter().map(|(name, ..)| name.len()).max(), figures.iter().map(String::len).max());
    let (names, widths) = (names.unwrap_or(0), widths.unwrap_or(0));
    let figure = |((name, ..), figure): (&(&str, u64, String), &String)| format!("{name:names$}  {figure:>widths$}");
    let heads: Vec<String> = lines.iter().zip(&figures).map(figure).collect();
    let facts: Vec<(&str, String)> =
        heads.iter().zip(lines).map(|(name, (.., remark))| (name.as_str(), remark)).collect();
    layout::facts(&facts, width) + &layout::prose(&(growth_text(found) + estimate_text(found)), width)
}

/// The basis of figures that may have changed.
fn estimate_text(found: &Usage) -> &'static str {
    if found.is_estimated {
        "estimated: the figures rest on inode numbers, which may change on this filesystem; --exact reads all files\n"
    } else {
        ""
    }
}

fn growth_text(found: &Usage) -> String {
    let growth = &found.growth;
    let Some(written) = growth.written_bytes_per_day else { return String::new() };
    let mut text = format!("snapshots had {} of new data a day", render::bytes(rounded(written).unsigned_abs()));
    if let Some(used) = growth.used_bytes_per_day {
        let grows = if used < 0.0 { "shrinks" } else { "grows" };
        write!(
            text,
            "; what is taken on the filesystem {grows} by {} a day",
            render::bytes(rounded(used).unsigned_abs())
        )
        .expect(WRITABLE);
    }
    match growth.days_until_full {
        Some(days) if days < 10_000.0 => write!(text, ": full in {days:.0} days").expect(WRITABLE),
        _ => {}
    }
    text + "\n"
}
