//! The statements that attach a directory of restored files to `clickhouse local`.
//!
//! Tried on ClickHouse 26.9: a table in a database of the engine Ordinary has its data in `data/<database>/<table>`
//! below the path that `clickhouse local` is started with, without a UUID. The tool's own database `default` has
//! another engine, so tables of a database of that name are attached in another one.

use std::collections::BTreeMap;

use crate::model::{TableName, escape_for_file_name};
use crate::plan::definition::quote;
use crate::plan::{DefinitionKind, Mapping, ParsedDefinition, Verb};

use super::hold::hold;
use super::source::SourceItem;

/// The database that `clickhouse local` creates itself.
const OWN_DATABASE: &str = "default";
/// The database that replaces it.
const OWN_DATABASE_TABLES: &str = "default_restored";
/// Settings that name disks, which do not exist here.
const STORAGE_SETTINGS: [&str; 3] = ["storage_policy", "disk", "table_disk"];

/// A script, and the data directories that it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachScript {
    /// Its statements; a comment names each object that is left out.
    pub text: String,
    /// Directories in `data/`: the name that the statements use for each, and its actual name. Empty if no table has
    /// data.
    pub databases: BTreeMap<String, String>,
}

/// A table, view, dictionary … of the snapshot, as input of a script.
#[derive(Clone, Copy, Debug)]
pub struct AttachItem<'a> {
    /// The object.
    pub item: &'a SourceItem,
    /// Whether its parts are in the directory.
    pub is_placed: bool,
}

/// The script for the tables with data, held so that nothing in them is merged or expires, and for the views.
/// Replicated tables are attached as plain ones.
#[must_use]
pub fn attach_script(items: &[AttachItem<'_>]) -> AttachScript {
    let mapping = mapping(items);
    let name_here = |name: &TableName| mapping.tables.get(name).unwrap_or(name).clone();
    let (mut databases, mut tables, mut views, mut left_out) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
    for AttachItem { item, is_placed } in items {
        let name = name_here(&item.name);
        let quoted = format!("{}.{}", quote(&name.database, '`'), quote(&name.table, '`'));
        let statement = |definition: &ParsedDefinition| {
            let name = format!("IF NOT EXISTS {quoted}");
            definition.statement(Verb::Attach, &name, (None, None), &mapping) + ";"
        };
        match &item.definition {
            _ if item.name.database == "system" => {}
            Ok(definition) if *is_placed && definition.kind == DefinitionKind::Table => {
                let own = escape_for_file_name(&item.name.database);
                databases.insert(escape_for_file_name(&name.database), own);
                tables.push((
                    name.database.clone(),
                    statement(&hold(&definition.as_plain().without_settings(&STORAGE_SETTINGS))),
                ));
                continue;
            }
            Ok(definition) if definition.kind == DefinitionKind::View => {
                views.push((name.database.clone(), statement(definition)));
                continue;
            }
            _ => {}
        }
        left_out.push(format!("-- not attached: {quoted} ({})", quote(&item.engine, '\'')));
    }
    if tables.is_empty() {
        return AttachScript::default();
    }
    let mut names: Vec<&String> = tables.iter().chain(&views).map(|(database, _)| database).collect();
    names.sort_unstable();
    names.dedup();
    let make =
        names.iter().map(|name| format!("CREATE DATABASE IF NOT EXISTS {} ENGINE = Ordinary;", quote(name, '`')));
    let mut lines = vec!["SET allow_deprecated_database_ordinary = 1;".to_owned()];
    lines.extend(make);
    lines.extend(tables.into_iter().chain(views).map(|(_, statement)| statement));
    lines.extend(left_out);
    AttachScript { text: lines.join("\n") + "\n", databases }
}

fn mapping(items: &[AttachItem<'_>]) -> Mapping {
    let own = items.iter().map(|item| &item.item.name).filter(|name| name.database == OWN_DATABASE);
    Mapping {
        tables: own.map(|name| (name.clone(), TableName::new(OWN_DATABASE_TABLES, name.table.clone()))).collect(),
        databases: [(OWN_DATABASE.to_owned(), OWN_DATABASE_TABLES.to_owned())].into(),
        ..Mapping::default()
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use super::*;
    use crate::plan::SourceData;

    fn script(all: &[(&str, &str, &str)]) -> AttachScript {
        let item = |(database, table, definition): &(&str, &str, &str)| {
            let definition = ParsedDefinition::parse(definition).expect("a definition");
            SourceItem {
                name: TableName::new(*database, *table),
                engine: definition.engine().unwrap_or_else(|| "View".to_owned()),
                uuid: None,
                data: definition.engine().map(|_| SourceData::default()),
                definition: Ok(definition),
                dump: None,
                data_left: None,
                skipped: None,
                is_detached: false,
                detachment: None,
                inner_of: None,
            }
        };
        let items: Vec<SourceItem> = all.iter().map(item).collect();
        let items: Vec<AttachItem<'_>> =
            items.iter().map(|item| AttachItem { item, is_placed: item.data.is_some() }).collect();
        attach_script(&items)
    }

    const UUID: &str = "UUID '11111111-1111-4111-8111-111111111111'";

    #[test]
    fn tables_are_attached_held_without_uuid_keeper_and_policy_and_views_after_them() {
        let view = format!("ATTACH VIEW _ {UUID} (`c` UInt64) AS SELECT count() AS c FROM default.t");
        let table = format!(
            "ATTACH TABLE _ {UUID} (`k` UInt8) ENGINE = ReplicatedMergeTree('/p', 'r') ORDER BY k \
             SETTINGS storage_policy = 'cold', index_granularity = 8192"
        );
        let script = script(&[("default", "seen", &view), ("default", "t", &table), ("a-b", "t`1", &table)]);
        let lines: Vec<String> =
            script.text.split_inclusive(";\n").map(|line| line.trim_end().replace('\n', " ")).collect();
        assert_eq!(
            lines[..3],
            [
                "SET allow_deprecated_database_ordinary = 1;",
                "CREATE DATABASE IF NOT EXISTS `a-b` ENGINE = Ordinary;",
                "CREATE DATABASE IF NOT EXISTS `default_restored` ENGINE = Ordinary;",
            ]
        );
        assert!(lines[3].starts_with("ATTACH TABLE IF NOT EXISTS `default_restored`.`t` (`k` UInt8)"), "{}", lines[3]);
        assert!(lines[4].starts_with("ATTACH TABLE IF NOT EXISTS `a-b`.`t\\`1` (`k` UInt8)"), "{}", lines[4]);
        for word in ["UUID", "Replicated", "storage_policy"] {
            assert!(!script.text.contains(word), "{word}: {}", script.text);
        }
        assert!(lines[3].contains("index_granularity = 8192") && lines[3].contains("max_number_of_merges_with_ttl"));
        assert!(lines[5].starts_with("ATTACH VIEW IF NOT EXISTS `default_restored`.`seen`"), "{}", lines[5]);
        assert!(lines[5].ends_with("FROM `default_restored`.`t`;"), "{}", lines[5]);
        let databases = [("a%2Db", "a%2Db"), ("default_restored", "default")];
        assert_eq!(script.databases, databases.map(|(here, own)| (here.to_owned(), own.to_owned())).into());
    }

    #[test]
    fn omitted_objects_are_named_on_one_line_and_without_tables_there_is_no_script() {
        let view = "ATTACH MATERIALIZED VIEW _ TO a.b (`c` UInt8) AS SELECT c FROM a.c";
        assert_eq!(script(&[("a", "mv", view)]), AttachScript::default());
        let table = "ATTACH TABLE _ (`k` UInt8) ENGINE = MergeTree ORDER BY k";
        let script = script(&[("a", "mv\nDROP", view), ("a", "t", table)]);
        assert_eq!(script.text.lines().last(), Some("-- not attached: `a`.`mv\\nDROP` ('View')"));
    }
}
