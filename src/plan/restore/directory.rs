//! Plans a restore into a plain directory, before anything changes.

use std::fmt;
use std::path::PathBuf;

use crate::model::{Placement, Room, RoomNeed, TableName, Warning, WarningKind};
use crate::plan::low_room_warning;

use super::attach_script::{AttachItem, AttachScript, attach_script};
use super::native_plan::NativePlan;
use super::not_run::{not_run, warning as not_run_warning};
use super::source::{SourceItem, noted_damaged};
use super::target::Amount;

/// The present state of the target directory.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the directory")]
pub struct TargetDirectory {
    /// Its path, existing or not.
    pub path: PathBuf,
    /// Whether it exists already.
    pub exists: bool,
    /// The entries that an interrupted restore left.
    pub leftovers: Vec<String>,
    /// The other entries.
    pub foreign: Vec<String>,
    /// Whether another restore holds its lock.
    pub is_in_use: bool,
    /// Whether it is inside the repository.
    pub is_in_repository: bool,
    /// Whether files of the repository can be linked into it.
    pub is_on_same_mount: bool,
    /// Whether files of its filesystem can share blocks with those of the repository, judged by its type.
    pub shares_blocks: bool,
    /// The room for this user on its filesystem.
    pub room: Room,
}

/// How a restore into a directory may place files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// Whether files may be linked.
    pub may_link: bool,
    /// Whether files may be copied.
    pub may_copy: bool,
    /// Whether parts that are noted as damaged are restored.
    pub with_damaged: bool,
}

/// Why nothing can be restored into a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryObstacle {
    /// It is inside the repository.
    InRepository,
    /// It is not empty; one of its entries.
    NotEmpty(String),
    /// Another restore is working in it.
    InUse,
    /// Only links are allowed, and it cannot be reached by links.
    OtherFilesystem,
}

impl DirectoryObstacle {
    /// Its stable name in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InRepository => "in_repository",
            Self::NotEmpty(_) => "not_empty",
            Self::InUse => "in_use",
            Self::OtherFilesystem => "other_filesystem",
        }
    }
}

impl fmt::Display for DirectoryObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRepository => f.write_str("the directory is inside the repository"),
            Self::NotEmpty(entry) => write!(f, "the directory is not empty: it holds {entry:?}"),
            Self::InUse => f.write_str("another restore is running in the directory"),
            Self::OtherFilesystem => f.write_str("the directory is on another filesystem, which links do not reach"),
        }
    }
}

/// The action for a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryAction {
    /// Its parts are placed in this way, as far as the filesystem allows.
    Place(Placement),
    /// It has no parts of its own: only its definition is written.
    Define,
    /// Nothing of it is written, for this reason.
    Refuse(String),
}

/// A table of the snapshot.
#[derive(Clone, Debug)]
pub struct DirectoryItem {
    /// The table.
    pub item: SourceItem,
    /// Whether its definition is in the snapshot, readable or not.
    pub has_definition: bool,
}

/// The plan of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryTable {
    /// Its name.
    pub name: TableName,
    /// Its engine.
    pub engine: String,
    /// The action for it.
    pub action: DirectoryAction,
    /// The parts to place.
    pub amount: Amount,
    /// The warnings about it.
    pub warnings: Vec<Warning>,
}

/// The plan of a restore into a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryPlan {
    /// The directory.
    pub path: PathBuf,
    /// Whether it is created.
    pub makes_directory: bool,
    /// Entries that an interrupted restore left there, which are removed first.
    pub leftovers: Vec<String>,
    /// The tables.
    pub tables: Vec<DirectoryTable>,
    /// Why nothing can be restored; the restore fails with the first obstacle.
    pub obstacles: Vec<DirectoryObstacle>,
    /// Bytes available to this user on the directory's filesystem.
    pub free_bytes: u64,
    /// The statements that attach the tables to `clickhouse local`.
    pub script: AttachScript,
    /// The additions for ClickHouse's own `RESTORE`, if the tree is for it.
    pub native: Option<NativePlan>,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
}

impl DirectoryPlan {
    /// The parts to place of all tables.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.sum(|action| matches!(action, DirectoryAction::Place(_)))
    }

    /// The parts to place in this way.
    #[must_use]
    pub fn placed(&self, placement: Placement) -> Amount {
        self.sum(|action| *action == DirectoryAction::Place(placement))
    }

    /// All warnings, each with the name of its object: with any of these the exit code is 3.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        let of_table = |table: &DirectoryTable| {
            let refusal = match &table.action {
                DirectoryAction::Refuse(reason) => Some(Warning::new(WarningKind::TableNotRestored, reason.clone())),
                DirectoryAction::Place(_) | DirectoryAction::Define => None,
            };
            let warnings: Vec<Warning> =
                refusal.iter().chain(&table.warnings).map(|warning| warning.naming(&table.name)).collect();
            warnings
        };
        self.warnings.iter().cloned().chain(self.tables.iter().flat_map(of_table)).collect()
    }

    fn sum(&self, counts: impl Fn(&DirectoryAction) -> bool) -> Amount {
        let counted = self.tables.iter().filter(|table| counts(&table.action));
        counted.fold(Amount::default(), |sum, table| Amount {
            parts: sum.parts.saturating_add(table.amount.parts),
            rows: sum.rows.saturating_add(table.amount.rows),
            bytes: sum.bytes.saturating_add(table.amount.bytes),
        })
    }
}

/// Plans a restore of these tables into a directory.
#[must_use]
pub fn plan_directory(items: &[DirectoryItem], target: &TargetDirectory, options: DirectoryOptions) -> DirectoryPlan {
    let placement = if options.may_link && target.is_on_same_mount {
        Placement::Linked
    } else if target.shares_blocks {
        Placement::Reflinked
    } else {
        Placement::Copied
    };
    let mut plan = DirectoryPlan {
        path: target.path.clone(),
        makes_directory: !target.exists,
        leftovers: target.leftovers.clone(),
        tables: items.iter().map(|item| plan_table(item, placement, options.with_damaged)).collect(),
        obstacles: obstacles(target, options),
        free_bytes: target.room.free_bytes,
        script: AttachScript::default(),
        native: None,
        warnings: Vec::new(),
    };
    let is_placed = |table: &DirectoryTable| matches!(table.action, DirectoryAction::Place(_));
    let with_tables = items.iter().zip(&plan.tables);
    let attached: Vec<AttachItem<'_>> = with_tables
        .map(|(DirectoryItem { item, .. }, table)| AttachItem { item, is_placed: is_placed(table) })
        .collect();
    plan.script = attach_script(&attached);
    let mut need = RoomNeed::default();
    items.iter().zip(&plan.tables).for_each(|(item, table)| need += needed(item, &table.action, target.room));
    plan.warnings.extend(low_room_warning(target.room, need));
    plan
}

/// The least room for a table: a directory for each of its parts, and the files that are copied.
fn needed(DirectoryItem { item, has_definition }: &DirectoryItem, action: &DirectoryAction, room: Room) -> RoomNeed {
    let mut need = RoomNeed::default();
    if matches!(action, DirectoryAction::Refuse(_)) {
        return need;
    }
    if *has_definition {
        need += room.of_files(1, 1);
    }
    if let Some(dump) = &item.dump {
        need += room.of_files(dump.files.len() as u64, dump.bytes);
    }
    let (DirectoryAction::Place(placement), Some(data)) = (action, &item.data) else { return need };
    need += room.of_directory(data.amount.parts);
    let files_each = data.files.checked_div(data.amount.parts).unwrap_or(0);
    let of_part = room.of_directory(files_each);
    need += RoomNeed {
        bytes: of_part.bytes.saturating_mul(data.amount.parts),
        inodes: of_part.inodes.saturating_mul(data.amount.parts),
    };
    match placement {
        Placement::Copied => need += room.of_files(data.files, data.amount.bytes),
        // They share the blocks of the snapshot's files.
        Placement::Reflinked => need += RoomNeed { bytes: 0, inodes: data.files },
        _ => {}
    }
    need
}

fn obstacles(target: &TargetDirectory, options: DirectoryOptions) -> Vec<DirectoryObstacle> {
    let mut obstacles = Vec::new();
    if target.is_in_repository {
        obstacles.push(DirectoryObstacle::InRepository);
    }
    if let Some(entry) = target.foreign.first() {
        obstacles.push(DirectoryObstacle::NotEmpty(entry.clone()));
    }
    if target.is_in_use {
        obstacles.push(DirectoryObstacle::InUse);
    }
    if !options.may_copy && !target.is_on_same_mount {
        obstacles.push(DirectoryObstacle::OtherFilesystem);
    }
    obstacles
}

fn plan_table(
    DirectoryItem { item, has_definition }: &DirectoryItem,
    placement: Placement,
    with_damaged: bool,
) -> DirectoryTable {
    let mut table = DirectoryTable {
        name: item.name.clone(),
        engine: item.engine.clone(),
        action: DirectoryAction::Define,
        amount: Amount::default(),
        warnings: Vec::new(),
    };
    match &item.data {
        Some(data) => {
            let damaged = data.damaged.len();
            match data.damaged.first() {
                Some(first) if !with_damaged => {
                    table.action = DirectoryAction::Refuse(format!(
                        "{damaged} of its parts are noted as damaged ({first}); --damaged restores them as they are"
                    ));
                    return table;
                }
                Some(_) => table.warnings.push(noted_damaged(damaged)),
                None => {}
            }
            table.warnings.extend(data.copies());
            table.warnings.extend(not_run_warning(&not_run(data, &item.name)));
            (table.action, table.amount) = (DirectoryAction::Place(placement), data.amount);
        }
        None => {
            if let Err(reason) = &item.definition
                && !has_definition
            {
                table.action = DirectoryAction::Refuse(reason.clone());
            }
        }
    }
    table
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use super::*;
    use crate::plan::{ParsedDefinition, SourceData};

    const AUTO: DirectoryOptions = DirectoryOptions { may_link: true, may_copy: true, with_damaged: false };

    fn item(name: &str, parts: u64) -> DirectoryItem {
        let item = SourceItem {
            name: TableName::new("lab", name),
            engine: "MergeTree".to_owned(),
            uuid: None,
            definition: Ok(
                ParsedDefinition::parse("ATTACH TABLE _ (k UInt8) ENGINE = MergeTree ORDER BY k").expect("one")
            ),
            data: (parts > 0).then(|| SourceData {
                amount: Amount { parts, rows: 10 * parts, bytes: 100 * parts },
                files: 4 * parts,
                ..SourceData::default()
            }),
            dump: None,
            data_left: None,
            skipped: None,
            is_detached: false,
            detachment: None,
            inner_of: None,
        };
        DirectoryItem { item, has_definition: true }
    }

    fn here() -> TargetDirectory {
        let room = Room { free_bytes: 1000, ..Room::default() };
        TargetDirectory { exists: true, is_on_same_mount: true, room, ..TargetDirectory::default() }
    }

    #[test]
    fn files_are_linked_where_links_reach_and_else_share_blocks_or_are_copied() {
        let there = TargetDirectory { is_on_same_mount: false, ..here() };
        let clones = TargetDirectory { shares_blocks: true, ..here() };
        let copy = DirectoryOptions { may_link: false, ..AUTO };
        for (target, options, expected) in [
            (here(), AUTO, Placement::Linked),
            (clones.clone(), AUTO, Placement::Linked),
            (clones, copy, Placement::Reflinked),
            (here(), copy, Placement::Copied),
            (there, AUTO, Placement::Copied),
        ] {
            let plan = plan_directory(&[item("a", 2), item("b", 0)], &target, options);
            assert_eq!(plan.placed(expected), Amount { parts: 2, rows: 20, bytes: 200 }, "{target:?}");
            assert_eq!(plan.amount(), plan.placed(expected));
            assert!(plan.obstacles.is_empty() && plan.warnings.is_empty());
        }
    }

    #[test]
    fn every_obstacle_is_named_and_the_first_is_the_gravest() {
        let target = TargetDirectory {
            foreign: vec!["x".to_owned()],
            is_in_use: true,
            is_in_repository: true,
            is_on_same_mount: false,
            ..here()
        };
        let link = DirectoryOptions { may_copy: false, ..AUTO };
        let all = [
            DirectoryObstacle::InRepository,
            DirectoryObstacle::NotEmpty("x".to_owned()),
            DirectoryObstacle::InUse,
            DirectoryObstacle::OtherFilesystem,
        ];
        assert_eq!(plan_directory(&[], &target, link).obstacles, all);
        assert_eq!(plan_directory(&[], &target, AUTO).obstacles, all[..3]);
    }

    #[test]
    fn a_copy_that_does_not_fit_is_a_warning_and_links_always_fit() {
        let of = |room: Room, options| {
            let target = TargetDirectory { room, ..here() };
            let warnings = plan_directory(&[item("a", 2)], &target, options).warnings;
            warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
        };
        let full = Room { free_bytes: 199, ..Room::default() };
        let copy = DirectoryOptions { may_link: false, ..AUTO };
        assert_eq!(of(full, AUTO), [""; 0]);
        assert_eq!(of(full, copy), ["201 B are copied, and 199 B are free there"]);
        // Of eight small files each takes a block, the definition too; two parts and their table have directories.
        let blocks = |count: u64| Room {
            free_bytes: count * 1024,
            block_bytes: 1024,
            directory_block_bytes: Some(1024),
            ..Room::default()
        };
        assert_eq!((of(blocks(12), copy).len(), of(blocks(11), copy).len()), (0, 1));
        assert_eq!((of(blocks(4), AUTO).len(), of(blocks(3), AUTO).len()), (0, 1), "directories are no links");
        let inodes = |count: u64| Room { free_bytes: 10_000, free_inodes: Some(count), ..Room::default() };
        assert_eq!((of(inodes(12), copy).len(), of(inodes(4), AUTO).len()), (0, 0));
        assert_eq!(of(inodes(11), copy), ["12 files and directories are made, and 11 inodes are free there"]);
    }

    #[test]
    fn parts_that_are_noted_as_damaged_are_restored_only_if_that_is_wanted() {
        let mut damaged = item("a", 2);
        damaged.item.data.as_mut().expect("data").damaged = vec!["all_1_1_0".to_owned().try_into().expect("a name")];
        let plan = plan_directory(&[damaged.clone(), item("b", 1)], &here(), AUTO);
        assert!(matches!(&plan.tables[0].action, DirectoryAction::Refuse(reason) if reason.contains("all_1_1_0")));
        assert_eq!(plan.amount().parts, 1);
        let plan = plan_directory(&[damaged], &here(), DirectoryOptions { with_damaged: true, ..AUTO });
        assert_eq!((plan.amount().parts, plan.tables[0].warnings.len()), (2, 1));
    }

    #[test]
    fn a_definition_is_written_also_where_it_cannot_be_read_and_one_that_is_missing_is_a_reason() {
        let mut odd = item("view", 0);
        odd.item.definition = Err("no definition".to_owned());
        assert_eq!(plan_directory(&[odd.clone()], &here(), AUTO).tables[0].action, DirectoryAction::Define);
        odd.has_definition = false;
        let reason = DirectoryAction::Refuse("no definition".to_owned());
        assert_eq!(plan_directory(&[odd], &here(), AUTO).tables[0].action, reason);
    }
}
