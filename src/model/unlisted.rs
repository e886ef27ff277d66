//! Tables that a server has but does not list.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Blocks, PartName, PartitionId, Table, Warning, WarningKind};

/// Why a table that has a definition file is not in the server's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The server lists it as detached.
    Detached,
    /// Its database is not in the list either.
    WithDatabase,
    /// The server gives no reason.
    Unexplained,
    /// The server lists it now: it was created or attached after the list was read.
    Since,
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detached => "it is detached",
            Self::WithDatabase => {
                "the server does not list its database, which is detached, failed to load, or is hidden from this user"
            }
            Self::Since => "it was detached for a moment at least",
            Self::Unexplained => {
                "the server does not list it: it is detached, failed to load, or is hidden from this user"
            }
        })
    }
}

/// For how long a table is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detachment {
    /// Until the server starts the next time: `DETACH TABLE`.
    UntilStart,
    /// Until somebody attaches it: `DETACH TABLE … PERMANENTLY`.
    Permanent,
}

/// A table that the server does not list, as described by its definition file and its directories.
#[derive(Clone, Debug)]
pub struct UnlistedTable {
    /// The table. Its parts are those in its directories that no other part there supersedes.
    pub table: Table,
    /// Why it is not listed.
    pub reason: Unlisted,
    /// How permanently it is detached; `None` if that is unknown, or if it may not be detached at all.
    pub detachment: Option<Detachment>,
    /// Why its parts cannot be read, if they cannot.
    pub trouble: Option<String>,
}

impl UnlistedTable {
    /// The warning about it.
    #[must_use]
    pub fn warning(&self) -> Warning {
        let Self { table, reason, trouble, .. } = self;
        let what = match trouble {
            Some(trouble) if table.is_merge_tree() => format!("and {trouble}"),
            None if table.is_merge_tree() => "its parts are linked from its directory".to_owned(),
            _ => "its definition alone is kept".to_owned(),
        };
        let message = format!("{} is not in the server's list of tables, {what}: {reason}", table.name());
        Warning::of_table(WarningKind::NotListed, table.name(), message)
    }
}

/// A database that the server does not list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlistedDatabase {
    /// Its name.
    pub name: String,
    /// Its engine, by its definition.
    pub engine: String,
    /// Its UUID, if it has one.
    pub uuid: String,
}

/// The parts that no other part of the list supersedes: those that become active when the table is attached. Names that
/// do not have the form of a part name are left out.
pub fn active_by_name(names: impl IntoIterator<Item = PartName>) -> Vec<PartName> {
    let mut partitions: BTreeMap<PartitionId, Vec<(Blocks, PartName)>> = BTreeMap::new();
    for name in names {
        if let (Some(partition), Some(blocks)) = (name.partition(), name.blocks()) {
            partitions.entry(partition).or_default().push((blocks, name));
        }
    }
    let mut active = Vec::new();
    for mut parts in partitions.into_values() {
        // A part sorts before those that it supersedes, and those are next to it.
        parts.sort_by(|(a, _), (b, _)| (a.min, b.max, b.level, b.mutation).cmp(&(b.min, a.max, a.level, a.mutation)));
        let mut last: Option<Blocks> = None;
        for (blocks, name) in parts {
            if !last.is_some_and(|last| last.supersede(&blocks)) {
                last = Some(blocks);
                active.push(name);
            }
        }
    }
    active
}

#[cfg(test)]
mod tests {
    use super::active_by_name;
    use crate::model::PartName;

    fn active(names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| PartName::try_from((*name).to_owned()).expect("one plain name"));
        active_by_name(names).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_part_that_was_merged_into_another_is_superseded() {
        let names = ["all_1_1_0", "all_2_2_0", "all_1_2_1", "all_3_3_0", "all_3_3_0_4", "b_1_1_0"];
        assert_eq!(active(&names), ["all_1_2_1", "all_3_3_0_4", "b_1_1_0"]);
        assert_eq!(active(&["all_1_4_2", "all_2_2_0", "all_3_4_1", "all_5_5_0"]), ["all_1_4_2", "all_5_5_0"]);
        // A mutation has overtaken a merge: neither part is made from the other.
        assert_eq!(active(&["all_1_1_0_5", "all_1_2_1"]), ["all_1_2_1", "all_1_1_0_5"]);
    }

    #[test]
    fn patches_are_partitions_of_their_own_and_what_is_no_part_is_left_out() {
        let names =
            ["202601_1_1_0", "patch-0a-202601_2_2_0", "patch-0a-202601_2_3_1", "detached", "tmp_merge_all_1_2_1"];
        assert_eq!(active(&names), ["202601_1_1_0", "patch-0a-202601_2_3_1"]);
        assert_eq!(active(&["delete_tmp_all_1_1_0", "format_version.txt", "moving"]), [""; 0]);
    }
}
