//! A foreign tree as an import reads it, in one form for all origins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{PartName, TableName, Warning};
use crate::plan::BackupChecksum;

/// The program that made a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportKind {
    /// ClickHouse's own `BACKUP … TO File|Disk(…)`.
    NativeBackup,
    /// clickhouse-backup's `create`.
    ClickhouseBackup,
    /// `FREEZE`, and a person using `cp -al`.
    Shadow,
}

impl ImportKind {
    /// The kind as a person reads it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NativeBackup => "a backup of ClickHouse itself",
            Self::ClickhouseBackup => "a backup of clickhouse-backup",
            Self::Shadow => "a tree of frozen parts",
        }
    }
}

/// A definition in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDefinition {
    /// Its text.
    pub text: String,
    /// Whether it is a server's own file, and not a statement that a server printed.
    pub is_file: bool,
}

/// A file of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path in the part.
    pub path: PathBuf,
    /// The path beneath the tree that has its bytes; `None` for an empty file.
    pub from: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
    /// Its hash in the list that names it.
    pub checksum: BackupChecksum,
}

/// The location of a part's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartFilesSource {
    /// All in a directory, by its path beneath the tree.
    Directory(PathBuf),
    /// Each at the path given in a list.
    Files(Vec<SourceFile>),
}

/// A part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePart {
    /// The table whose name is in its path; for an inner table in a native backup, the view.
    pub table: TableName,
    /// Its name.
    pub name: PartName,
    /// The disk that it was on, if known.
    pub disk: String,
    /// Its files.
    pub content: PartFilesSource,
}

/// Why a table of a tree is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its files or its definition are damaged or incomplete.
    Damaged(String),
    /// It is of a form that no import takes.
    Unusable(String),
}

impl Refusal {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Damaged(reason) | Self::Unusable(reason) => reason,
        }
    }
}

/// Everything known about a tree.
#[derive(Clone, Debug)]
pub struct ImportSource {
    /// The program that made it.
    pub kind: ImportKind,
    /// The name or UUID that its program gave it.
    pub name: String,
    /// When it was made, if it records that.
    pub time: Option<DateTime<Utc>>,
    /// The version of its server, if it records that.
    pub version: Option<String>,
    /// The definitions of databases.
    pub databases: BTreeMap<String, SourceDefinition>,
    /// The definitions of tables, views, dictionaries.
    pub definitions: BTreeMap<TableName, SourceDefinition>,
    /// Databases with definitions and no parts in a tree of frozen parts, which are left out. Each with the number of
    /// its tables, views, dictionaries.
    pub unfrozen: BTreeMap<String, u64>,
    /// `CREATE FUNCTION` statements, by escaped names.
    pub functions: BTreeMap<String, String>,
    /// Parts.
    pub parts: Vec<SourcePart>,
    /// Tables with data outside parts.
    pub other_data: BTreeSet<TableName>,
    /// Tables with something that cannot be taken, and the first reason.
    pub refused: BTreeMap<TableName, Refusal>,
    /// Sentences about data of tables whose names are unknown.
    pub unknown: Vec<String>,
    /// The warnings about it.
    pub warnings: Vec<Warning>,
}

impl ImportSource {
    /// A source without any contents yet.
    #[must_use]
    pub fn empty(kind: ImportKind) -> Self {
        Self {
            kind,
            name: String::new(),
            time: None,
            version: None,
            databases: BTreeMap::new(),
            definitions: BTreeMap::new(),
            unfrozen: BTreeMap::new(),
            functions: BTreeMap::new(),
            parts: Vec::new(),
            other_data: BTreeSet::new(),
            refused: BTreeMap::new(),
            unknown: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Refuses a table. The first reason stays.
    pub fn refuse(&mut self, table: TableName, refusal: Refusal) {
        self.refused.entry(table).or_insert(refusal);
    }
}
