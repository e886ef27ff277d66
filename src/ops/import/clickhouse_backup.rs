//! Local backups of clickhouse-backup: `metadata.json`, `metadata/<database>/<table>.json`,
//! `shadow/<database>/<table>/<disk>/<part>`.
//!
//! Source: `pkg/metadata/backup_metadata.go`, `table_metadata.go` and `part_metadata.go` of Altinity/clickhouse-backup,
//! and
//! `TablePathEncode` in its `pkg/common`, which escapes less than ClickHouse does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::fs::Dir;
use crate::model::{PartName, TableName, Warning, WarningKind, escape_for_file_name, unescape_file_name};
use crate::monitor::chain;
use crate::ops::error::OpError;
use crate::plan::{ImportKind, ImportSource, PartFilesSource, Refusal, SourceDefinition, SourcePart};

use super::tree::{directories, directories_and_links, is_link, read_text};
use crate::ops::import_error::ImportError;

pub(super) const METADATA: &str = "metadata.json";
const SHADOW: &str = "shadow";

#[derive(Deserialize)]
struct Backup {
    #[serde(default, rename = "backup_name")]
    name: String,
    creation_date: Option<DateTime<Utc>>,
    #[serde(default)]
    tags: String,
    #[serde(default)]
    clickhouse_version: String,
    #[serde(default)]
    databases: Option<Vec<BackupDatabase>>,
    #[serde(default)]
    functions: Option<Vec<Function>>,
    #[serde(default)]
    tables: Option<Vec<Title>>,
    #[serde(default)]
    data_format: String,
    #[serde(default, rename = "required_backup")]
    required: String,
    /// The paths of the server's disks, each with a `backup/<name>/` of its own.
    #[serde(default)]
    disks: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct BackupDatabase {
    name: String,
    #[serde(default)]
    query: String,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    create_query: String,
}

/// A table in the list of all tables.
#[derive(Deserialize)]
struct Title {
    database: String,
    table: String,
}

#[derive(Deserialize)]
struct BackupTable {
    #[serde(rename = "table")]
    name: String,
    database: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    parts: Option<BTreeMap<String, Option<Vec<BackupPart>>>>,
    #[serde(default)]
    mutations: Option<Vec<BackupMutation>>,
}

#[derive(Deserialize)]
struct BackupPart {
    name: String,
    #[serde(default)]
    required: bool,
}

#[derive(Deserialize)]
struct BackupMutation {
    #[serde(default, rename = "mutation_id")]
    id: String,
}

/// Where parts stand that a backup lists and does not hold.
struct Elsewhere {
    name: String,
    disks: BTreeMap<String, String>,
    /// The backup that this one is an increment of; empty if there is none.
    required: String,
}

impl Elsewhere {
    /// Why a part of this disk is not in the tree, and the remedy.
    fn reason(&self, disk: &str, is_required: bool) -> String {
        if is_required {
            let required = if self.required.is_empty() { "another one" } else { &self.required };
            return format!(
                "it is in the backup {required}, which this one is an increment of: clickhouse-backup download makes it \
                 whole"
            );
        }
        match self.disks.get(disk) {
            Some(path) => format!(
                "clickhouse-backup leaves the parts of each disk on that disk: copy {}/backup/{}/{SHADOW}/ of that server \
                 into this tree too (cp -a)",
                path.trim_end_matches('/'),
                self.name
            ),
            None => "clickhouse-backup leaves the parts of each disk on that disk".to_owned(),
        }
    }
}

/// Reads a backup's description of itself.
///
/// # Errors
/// If `metadata.json` cannot be read, or the backup is of a form without parts of its own.
pub(super) fn read(dir: &Dir) -> Result<ImportSource, OpError> {
    let backup: Backup = json(dir, Path::new(METADATA))?;
    let form = |what: &str| ImportError::Form { path: dir.path().to_owned(), what: what.to_owned() };
    if backup.tags.split(',').any(|tag| tag.trim() == "embedded") {
        return Err(form("is embedded: ClickHouse itself made it, and its .backup is elsewhere").into());
    }
    if !matches!(backup.data_format.as_str(), "" | "directory") {
        return Err(form("holds archives: download it with clickhouse-backup first").into());
    }
    let mut source = ImportSource::empty(ImportKind::ClickhouseBackup);
    let elsewhere =
        Elsewhere { name: backup.name.clone(), disks: backup.disks.unwrap_or_default(), required: backup.required };
    source.name = backup.name;
    source.time = backup.creation_date;
    source.version = Some(backup.clickhouse_version).filter(|version| !version.is_empty());
    let statement = |text: String| SourceDefinition { text, is_file: false };
    for database in backup.databases.unwrap_or_default() {
        source.databases.insert(database.name, statement(database.query));
    }
    for function in backup.functions.unwrap_or_default() {
        source.functions.insert(escape_for_file_name(&function.name), function.create_query);
    }
    let mut read: BTreeSet<PathBuf> = BTreeSet::new();
    let mut named: BTreeSet<TableName> = BTreeSet::new();
    if let Some(metadata) = dir.find_beneath(Path::new("metadata"))? {
        for database in directories(&metadata)? {
            for entry in metadata.open_dir(&database)?.entries()? {
                let file = entry.name.to_string_lossy().into_owned();
                let Some(stem) = file.strip_suffix(".json") else { continue };
                let relative = Path::new("metadata").join(&database).join(&file);
                let shadow = Path::new(SHADOW).join(&database).join(stem);
                let mut name = TableName::new(plain(&database), plain(stem));
                let table = json::<BackupTable>(dir, &relative).and_then(|table| {
                    name = TableName::new(table.database.clone(), table.name.clone());
                    read_table(dir, table, (&shadow, &elsewhere), &mut source)
                });
                if let Err(error) = table {
                    source.refuse(name.clone(), Refusal::Unusable(chain(&error)));
                }
                named.insert(name);
                read.insert(shadow);
            }
        }
    }
    for Title { database, table } in backup.tables.unwrap_or_default() {
        let name = TableName::new(database, table);
        if !named.contains(&name) {
            let reason = format!("{METADATA} lists it, and metadata/ has no JSON file of it");
            source.refuse(name, Refusal::Damaged(reason));
        }
    }
    refuse_undescribed(dir, &read, &mut source)?;
    for unread in ["access", "configs", "named_collections"] {
        if dir.find_beneath(Path::new(unread))?.is_some() {
            let message = format!("{unread}/ of the backup is not taken");
            source.warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
        }
    }
    Ok(source)
}

/// The name that the file or the directory of a table or of a database stands for.
fn plain(name: &str) -> String {
    unescape_file_name(name).unwrap_or_else(|| name.to_owned())
}

/// Refuses tables that have parts in the tree but no JSON file.
fn refuse_undescribed(dir: &Dir, read: &BTreeSet<PathBuf>, source: &mut ImportSource) -> Result<(), OpError> {
    let Some(shadow) = dir.find_beneath(Path::new(SHADOW))? else { return Ok(()) };
    for database in directories(&shadow)? {
        let dir = shadow.open_dir(&database)?;
        let (tables, links) = directories_and_links(&dir)?;
        for link in links {
            let name = TableName::new(plain(&database), plain(&link));
            source.refuse(name, Refusal::Unusable(is_link(&dir, link).to_string()));
        }
        for table in tables {
            let relative = Path::new(SHADOW).join(&database).join(&table);
            if !read.contains(&relative) {
                let reason = format!("its parts are in {}, and metadata/ has no JSON file of it", relative.display());
                source.refuse(TableName::new(plain(&database), plain(&table)), Refusal::Damaged(reason));
            }
        }
    }
    Ok(())
}

/// A part in the directory of a table that its JSON file does not list.
fn unlisted_part(dir: &Dir, shadow: &Path, listed: &BTreeSet<(String, PartName)>) -> Result<Option<PathBuf>, OpError> {
    let Some(table) = dir.find_beneath(shadow)? else { return Ok(None) };
    let part = |name: &str| PartName::try_from(name.to_owned()).ok();
    for disk in directories(&table)? {
        // The first versions had no directory for the disk.
        if part(&disk).is_some_and(|name| name.blocks().is_some()) {
            if !listed.iter().any(|(_, name)| name.as_str() == disk) {
                return Ok(Some(shadow.join(disk)));
            }
            continue;
        }
        for name in directories(&table.open_dir(&disk)?)? {
            if !part(&name).is_some_and(|part| listed.contains(&(disk.clone(), part))) {
                return Ok(Some(shadow.join(disk).join(name)));
            }
        }
    }
    Ok(None)
}

fn read_table(
    dir: &Dir,
    table: BackupTable,
    (shadow, elsewhere): (&Path, &Elsewhere),
    source: &mut ImportSource,
) -> Result<(), OpError> {
    let name = TableName::new(table.database, table.name);
    let mut missing = Vec::new();
    let mut listed = BTreeSet::new();
    for (disk, parts) in table.parts.unwrap_or_default() {
        for part in parts.unwrap_or_default() {
            let named = PartName::try_from(part.name.clone()).ok();
            let Some(part_name) = named else {
                let path = dir.path().join(shadow);
                return Err(ImportError::Name { path, name: part.name, what: "is no part" }.into());
            };
            listed.insert((disk.clone(), part_name.clone()));
            match find_part(dir, shadow, &disk, &part_name)? {
                Some(content) => source.parts.push(SourcePart {
                    table: name.clone(),
                    name: part_name,
                    disk: disk.clone(),
                    content: PartFilesSource::Directory(content),
                }),
                None => missing.push((part_name, disk.clone(), part.required)),
            }
        }
    }
    if let Some((part, disk, is_required)) = missing.first() {
        let why = elsewhere.reason(disk, *is_required);
        let reason = format!("its part {part} on the disk {disk} is not in the tree: {why}");
        source.refuse(name.clone(), Refusal::Damaged(reason));
    }
    if let Some(path) = unlisted_part(dir, shadow, &listed)? {
        let reason = format!("{} is in the tree, but its JSON file does not list it", path.display());
        source.refuse(name.clone(), Refusal::Damaged(reason));
    }
    if let Some(mutations) = table.mutations.filter(|mutations| !mutations.is_empty()) {
        let first = mutations.first().map(|mutation| mutation.id.clone()).unwrap_or_default();
        let message =
            format!("{name} had {} unfinished mutations ({first} …): a restore does not run them", mutations.len());
        source.warnings.push(Warning::of_table(WarningKind::MutationLost, &name, message));
    }
    if !table.query.is_empty() {
        source.definitions.insert(name, SourceDefinition { text: table.query, is_file: false });
    }
    Ok(())
}

/// The path `shadow/<database>/<table>/<disk>/<part>`; the first versions had no directory for the disk.
fn find_part(dir: &Dir, shadow: &Path, disk: &str, part: &PartName) -> Result<Option<PathBuf>, OpError> {
    let is_plain = crate::plan::relative_path(disk).is_some_and(|path| path.components().count() == 1);
    let with_disk = is_plain.then(|| shadow.join(disk).join(part.as_str()));
    for path in with_disk.into_iter().chain([shadow.join(part.as_str())]) {
        if dir.find_beneath(&path)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn json<T: serde::de::DeserializeOwned>(dir: &Dir, relative: &Path) -> Result<T, OpError> {
    let text = read_text(dir, relative)?;
    serde_json::from_str(&text).map_err(|source| ImportError::Json { path: dir.path().join(relative), source }.into())
}
