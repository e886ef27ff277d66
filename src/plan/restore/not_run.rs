//! Mutations that were unfinished when a snapshot was made, and that a restore does not execute.

use crate::model::{LackedMutation, PartName, TableName, Warning, WarningKind, count};
use crate::plan::definition::quote;

use super::source::SourceData;

/// A mutation that only Keeper had: a person decides whether to execute it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRun {
    /// Its id.
    pub id: String,
    /// The statement that executes it on the restored table; `None` if the snapshot does not have it.
    pub statement: Option<String>,
    /// The restored parts that lack it. The others include it, so a statement that has another result if executed twice
    /// (`n = n + 1`) must be limited to the partitions of these.
    pub parts: Vec<PartName>,
}

/// The mutations that parts restored to this table lack.
pub(super) fn not_run(data: &SourceData, to: &TableName) -> Vec<NotRun> {
    let of_data = |mutation: &LackedMutation| {
        let is_restored = |part: &&PartName| data.parts.iter().any(|state| state.name == **part);
        let parts: Vec<PartName> = mutation.parts.iter().filter(is_restored).cloned().collect();
        // If nothing is known of a mutation, any part may lack it.
        if parts.is_empty() && !mutation.parts.is_empty() {
            return None;
        }
        let statement = (!mutation.command.is_empty()).then(|| {
            let (database, table) = (quote(&to.database, '`'), quote(&to.table, '`'));
            format!("ALTER TABLE {database}.{table} {}", mutation.command)
        });
        Some(NotRun { id: mutation.id.clone(), statement, parts })
    };
    data.keeper_mutations.iter().filter_map(of_data).collect()
}

/// The warning about them.
pub(super) fn warning(not_run: &[NotRun]) -> Option<Warning> {
    if not_run.is_empty() {
        return None;
    }
    let message = format!(
        "{} that only Keeper had and that its parts lack: none is run (show has the commands)",
        count(not_run.len() as u64, "unfinished mutation")
    );
    Some(Warning::new(WarningKind::MutationsInKeeper, message))
}

#[cfg(test)]
mod tests {
    use super::{not_run, warning};
    use crate::model::{LackedMutation, PartName, PartitionId, TableName};
    use crate::plan::{PartState, SourceData};

    fn part(name: &str) -> PartName {
        PartName::try_from(name.to_owned()).expect("a valid part name")
    }

    #[test]
    fn only_mutations_that_restored_parts_lack_are_shown() {
        let lacked = |id: &str, command: &str, parts: &[&str]| LackedMutation {
            id: id.to_owned(),
            command: command.to_owned(),
            parts: parts.iter().map(|name| part(name)).collect(),
        };
        let data = SourceData {
            parts: vec![PartState {
                name: part("1_0_0_0"),
                partition: PartitionId("1".into()),
                fingerprint: None,
                rows: None,
                bytes: 1,
                is_active: true,
            }],
            keeper_mutations: vec![
                lacked("7", "UPDATE v = 1 WHERE 1", &["1_0_0_0", "2_0_0_0"]),
                lacked("8", "DELETE WHERE 1", &["2_0_0_0"]),
                lacked("9", "", &[]),
            ],
            ..SourceData::default()
        };
        let found = not_run(&data, &TableName::new("a`b", "t"));
        let texts: Vec<_> =
            found.iter().map(|mutation| (mutation.id.as_str(), mutation.statement.as_deref())).collect();
        assert_eq!(texts, [("7", Some("ALTER TABLE `a\\`b`.`t` UPDATE v = 1 WHERE 1")), ("9", None)]);
        assert_eq!(found.first().map(|mutation| mutation.parts.as_slice()), Some(&[part("1_0_0_0")][..]));
        assert!(warning(&found).is_some() && warning(&[]).is_none());
    }
}
