//! Every statement that chsnap sends, in one place; those that ask only for explanations stand in `explain.rs`.

use crate::model::{FreezeName, PartName, PartitionId, TableName};

use super::features::Features;
use super::rows::PartRow;

/// Databases that belong to the server itself and are left out.
pub const SYSTEM_DATABASES: [&str; 4] =
    ["system", "INFORMATION_SCHEMA", "information_schema", "_temporary_and_external_tables"];

/// A name in backticks. Source: `backQuote` in ClickHouse's `src/Common/quoteString.cpp`.
#[must_use]
pub fn quote_name(name: &str) -> String {
    format!("`{}`", escape(name, '`'))
}

/// A string literal.
#[must_use]
pub fn quote_text(text: &str) -> String {
    format!("'{}'", escape(text, '\''))
}

fn escape(text: &str, quote: char) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\0' => escaped.push_str("\\0"),
            letter if letter == quote => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A table's name as statements take it.
#[must_use]
pub fn quote_table(name: &TableName) -> String {
    format!("{}.{}", quote_name(&name.database), quote_name(&name.table))
}

/// The column where the server has it, else `otherwise` under its name.
pub(super) fn column(features: &Features, table: &str, name: &str, otherwise: &str) -> String {
    if features.has_column(table, name) { name.to_owned() } else { format!("{otherwise} AS {name}") }
}

fn not_system(databases: &[&str]) -> String {
    let list: Vec<String> = databases.iter().map(|name| quote_text(name)).collect();
    format!("database NOT IN ({})", list.join(", "))
}

fn left_out(with_system: bool) -> String {
    not_system(if with_system { &SYSTEM_DATABASES[1..] } else { &SYSTEM_DATABASES })
}

/// All tables with their definitions.
#[must_use]
pub fn tables(features: &Features, with_system: bool) -> String {
    tables_where(features, &left_out(with_system))
}

/// The table of one name with its definition.
#[must_use]
pub fn table(features: &Features, table: &TableName) -> String {
    let condition = format!("database = {} AND name = {}", quote_text(&table.database), quote_text(&table.table));
    tables_where(features, &condition)
}

fn tables_where(features: &Features, condition: &str) -> String {
    let data_paths =
        if features.has_column("tables", "data_paths") { "data_paths" } else { "[data_path] AS data_paths" };
    format!(
        "SELECT database, name, engine, metadata_path, create_table_query, {data_paths}, {}, {}, {} FROM system.tables \
         WHERE database != '' AND {condition}",
        column(features, "tables", "uuid", "''"),
        column(features, "tables", "storage_policy", "''"),
        column(features, "tables", "has_own_data", "CAST(NULL AS Nullable(UInt8))"),
    )
}

/// The active parts of these tables; of all where none is named.
#[must_use]
pub fn parts(features: &Features, with_system: bool, only: &[TableName]) -> String {
    let only: Vec<String> = only.iter().map(|name| format!("({})", is_table(name))).collect();
    let only = if only.is_empty() { String::new() } else { format!(" AND ({})", only.join(" OR ")) };
    format!(
        "SELECT database, table, partition_id, name, path, rows, bytes_on_disk, {MODIFIED} AS modified, {}, {}, {} \
         FROM system.parts WHERE active AND {}{only}",
        column(features, "parts", "disk_name", "'default'"),
        column(features, "parts", "hash_of_all_files", "''"),
        column(features, "parts", "files", "0"),
        left_out(with_system),
    )
}

/// When a part was made, as far as a server tells; in seconds since 1970.
const MODIFIED: &str = "toUInt32(modification_time)";

/// How many active parts each table has, and a sum over them: [`listed`] says of what.
#[must_use]
pub fn listings(features: &Features, with_system: bool) -> String {
    let disk = if features.has_column("parts", "disk_name") { "disk_name" } else { "'default'" };
    format!(
        "SELECT database, table, toString(count()) AS parts, toString(sum(cityHash64(concat(name, '\\n', {disk}, '\\n', \
         toString(rows), '\\n', toString(bytes_on_disk), '\\n', toString({MODIFIED}))))) AS sum \
         FROM system.parts WHERE active AND {} GROUP BY database, table",
        left_out(with_system),
    )
}

/// What [`listings`] has the server hash of a part.
#[must_use]
pub(super) fn listed(row: &PartRow) -> String {
    let PartRow { name, disk_name, rows, bytes_on_disk, modified, .. } = row;
    format!("{name}\n{disk_name}\n{rows}\n{bytes_on_disk}\n{modified}")
}

/// All mutations that the server still lists.
#[must_use]
pub fn mutations(with_system: bool) -> String {
    mutations_where(&left_out(with_system))
}

/// The mutations of one table that the server still lists.
#[must_use]
pub fn mutations_of(table: &TableName) -> String {
    mutations_where(&is_table(table))
}

fn mutations_where(condition: &str) -> String {
    format!("SELECT database, table, mutation_id, is_done FROM system.mutations WHERE {condition}")
}

/// All disks; servers without `system.disks` have one.
#[must_use]
pub fn disks(features: &Features) -> String {
    format!(
        "SELECT name, path, {}, {} FROM system.disks",
        column(features, "disks", "type", "'local'"),
        column(features, "disks", "is_encrypted", "0"),
    )
}

/// All databases.
#[must_use]
pub fn databases(features: &Features) -> String {
    let list: Vec<String> = SYSTEM_DATABASES.iter().map(|name| quote_text(name)).collect();
    format!(
        "SELECT name, engine, data_path, metadata_path, {}, {} FROM system.databases WHERE name NOT IN ({})",
        column(features, "databases", "uuid", "''"),
        column(features, "databases", "engine_full", "engine"),
        list.join(", "),
    )
}

/// Detached tables; `None` where the server does not list them.
#[must_use]
pub fn detached_tables(features: &Features) -> Option<String> {
    features.has_table("detached_tables").then(|| {
        format!(
            "SELECT database, table, metadata_path, {} FROM system.detached_tables",
            column(features, "detached_tables", "uuid", "''")
        )
    })
}

/// Where the server keeps its own tables: tells its data path where `system.disks` does not.
#[must_use]
pub fn system_database() -> String {
    "SELECT name, engine, data_path, metadata_path, '' AS uuid, engine AS engine_full FROM system.databases \
     WHERE name = 'system'"
        .to_owned()
}

/// What the server is, told by those of [`IDENTITY_FUNCTIONS`] that it has.
#[must_use]
pub fn identity(functions: &[&str]) -> String {
    let call = |name: &str| if functions.contains(&name) { format!("toString({name}())") } else { "''".to_owned() };
    format!(
        "SELECT version() AS version, {} AS host_name, {} AS timezone, {} AS uuid",
        call("hostName"),
        call("timezone"),
        call("serverUUID"),
    )
}

/// The functions that [`identity`] would call.
pub const IDENTITY_FUNCTIONS: [&str; 3] = ["hostName", "timezone", "serverUUID"];

/// Those of [`IDENTITY_FUNCTIONS`] that the server has. The list of functions is long, and takes a server longer than
/// all else that is asked here: only one that lacks one of them is asked for it.
pub const KNOWN_FUNCTIONS: &str =
    "SELECT name FROM system.functions WHERE name IN ('hostName', 'timezone', 'serverUUID')";

/// Functions that were made by `CREATE FUNCTION`; `None` where the server has none such.
#[must_use]
pub fn functions(features: &Features) -> Option<String> {
    (features.has_column("functions", "origin") && features.has_column("functions", "create_query"))
        .then(|| "SELECT name, create_query FROM system.functions WHERE origin = 'SQLUserDefined'".to_owned())
}

/// Freezes a whole table.
#[must_use]
pub fn freeze_table(table: &TableName, name: &FreezeName) -> String {
    format!("ALTER TABLE {} FREEZE WITH NAME '{name}'", quote_table(table))
}

/// Freezes some partitions of a table, in one statement.
#[must_use]
pub fn freeze_partitions(table: &TableName, partitions: &[&PartitionId], name: &FreezeName) -> String {
    let freeze =
        |partition: &&PartitionId| format!("FREEZE PARTITION ID {} WITH NAME '{name}'", quote_text(&partition.0));
    let commands: Vec<String> = partitions.iter().map(freeze).collect();
    format!("ALTER TABLE {} {}", quote_table(table), commands.join(", "))
}

fn freezing(name: &FreezeName) -> String {
    // By the statement and not by its query id alone: a bridge in between may not hand the id on. LIKE takes `_`
    // for any letter; `position` does not.
    format!("position(query, 'FREEZE') > 0 AND position(query, '{name}') > 0 AND position(query, 'ALTER TABLE') = 1")
}

/// Statements that still freeze under this name.
#[must_use]
pub fn running_freezes(name: &FreezeName) -> String {
    format!("SELECT query_id, elapsed FROM system.processes WHERE {}", freezing(name))
}

/// Asks the server to stop every statement that freezes under this name.
#[must_use]
pub fn kill_freezes(name: &FreezeName) -> String {
    format!("KILL QUERY WHERE {} ASYNC", freezing(name))
}

/// A word of a statement that speaks of this table, by its name alone: it may stand without its database.
fn speaks_of(table: &TableName) -> String {
    format!("position(query, {}) > 0", quote_text(&table.table))
}

/// Other statements that speak of a table, the longest first.
#[must_use]
pub fn queries_on(table: &TableName, name: &FreezeName) -> String {
    format!(
        "SELECT user, elapsed, substring(query, 1, 200) AS text FROM system.processes WHERE {} AND NOT ({}) AND \
         position(query, 'system.processes') = 0 ORDER BY elapsed DESC",
        speaks_of(table),
        freezing(name),
    )
}

/// Statements that have run for a second, the longest first; our own lists of tables are not among them.
#[must_use]
pub fn long_queries() -> String {
    "SELECT user, elapsed, substring(query, 1, 200) AS text FROM system.processes WHERE elapsed >= 1 AND \
     position(query, 'FROM system.') = 0 ORDER BY elapsed DESC"
        .to_owned()
}

/// Mutations of a table that are not done.
#[must_use]
pub fn unfinished_mutations(features: &Features, table: &TableName) -> String {
    format!(
        "SELECT mutation_id, {} FROM system.mutations WHERE is_done = 0 AND database = {} AND table = {}",
        column(features, "mutations", "latest_fail_reason", "''"),
        quote_text(&table.database),
        quote_text(&table.table),
    )
}

/// DDL for a table that waits in the queue of a cluster.
#[must_use]
pub fn queued_ddl(table: &TableName) -> String {
    format!(
        "SELECT entry, toString(host) AS host, toString(status) AS status FROM system.distributed_ddl_queue \
         WHERE status != 'Finished' AND {}",
        speaks_of(table),
    )
}

/// Where the threads of a table's freeze stand, innermost first: the frames that have a symbol. A freeze of many
/// partitions is several statements, numbered behind the same id.
#[must_use]
pub fn stack_traces(query_id: &str) -> String {
    format!(
        "SELECT thread_name AS thread, arrayStringConcat(arraySlice(arrayFilter(name -> name != '', \
         arrayMap(frame -> demangle(addressToSymbol(frame)), trace)), 1, 12), ' < ') AS frames, \
         length(trace) AS depth FROM system.stack_trace WHERE notEmpty(trace) AND query_id IN \
         (SELECT initial_query_id FROM system.processes WHERE query_id = {} OR startsWith(query_id, {})) \
         ORDER BY depth DESC",
        quote_text(query_id),
        quote_text(&format!("{query_id}-")),
    )
}

/// Whether a freeze can be told how many threads to take.
pub const THREADS_SETTING: &str = "SELECT value FROM system.settings WHERE name = 'max_threads'";
/// The disks of each volume of each storage policy.
pub const STORAGE_POLICIES: &str =
    "SELECT policy_name, disks FROM system.storage_policies ORDER BY policy_name, volume_priority";

/// Names of all named collections.
pub const NAMED_COLLECTIONS: &str = "SELECT name AS text FROM system.named_collections";

/// UUIDs and names of users, roles …; policies have their table in the name.
#[must_use]
pub fn access_entities(system_table: &str, is_policy: bool) -> String {
    let name = if is_policy { "concat(short_name, ' ON ', database, '.', if(table = '', '*', table))" } else { "name" };
    format!("SELECT toString(id) AS id, {name} AS name FROM system.{system_table} ORDER BY name")
}

/// UUIDs of a system table that lists tables.
#[must_use]
pub fn uuids(system_table: &str) -> String {
    format!("SELECT toString(uuid) AS text FROM system.{system_table}")
}

pub(super) fn is_table(table: &TableName) -> String {
    format!("database = {} AND table = {}", quote_text(&table.database), quote_text(&table.table))
}

/// All parts of one table, active or not.
#[must_use]
pub fn parts_of(features: &Features, table: &TableName) -> String {
    let hash = column(features, "parts", "hash_of_all_files", "''");
    format!(
        "SELECT name, partition_id, rows, bytes_on_disk, active, {hash} FROM system.parts WHERE {}",
        is_table(table)
    )
}

/// The columns of a table.
#[must_use]
pub fn columns_of(table: &TableName) -> String {
    format!("SELECT name, type, default_kind FROM system.columns WHERE {}", is_table(table))
}

/// What parts of a table are divided and sorted by, and its engine.
#[must_use]
pub fn keys_of(table: &TableName) -> String {
    format!(
        "SELECT engine, partition_key, sorting_key, primary_key FROM system.tables \
         WHERE database = {} AND name = {}",
        quote_text(&table.database),
        quote_text(&table.table),
    )
}

/// A hash of all values of a row. As text, because the hash takes neither every type nor NULL; `ifNull` is not of the
/// value's own type then, so that a NULL is told from every text but this one.
#[must_use]
pub fn digest_expression(columns: &[&str]) -> String {
    let value = |name: &&str| format!("ifNull(toString({}), '\\\\N')", quote_name(name));
    let values: Vec<String> = columns.iter().map(value).collect();
    // A statement of earlier versions gave `_part` the alias `part`, and summed that instead of a column of this name.
    let mark = if columns.contains(&"part") { "'columns', " } else { "" };
    format!("cityHash64({mark}{})", values.join(", "))
}

/// Names for the results of a statement over a table, none of which is the name of a column.
///
/// An alias stands for its expression everywhere in a statement, also where a column of its name is meant.
fn free_names<const N: usize>(columns: &[&str], wanted: [&str; N]) -> [String; N] {
    wanted.map(|name| {
        let mut name = format!("chsnap_{name}");
        while columns.contains(&name.as_str()) {
            name.push('_');
        }
        name
    })
}

/// Sums an expression over the rows of each active part of a table with these columns; of `parts` alone, where there are
/// some.
#[must_use]
pub fn part_sums(table: &TableName, columns: &[&str], expression: &str, parts: &[&PartName]) -> String {
    let names: Vec<String> = parts.iter().map(|part| quote_text(part.as_str())).collect();
    let only = if names.is_empty() { String::new() } else { format!(" WHERE _part IN ({})", names.join(", ")) };
    let [part, rows, sum] = free_names(columns, ["part", "rows", "sum"]);
    format!(
        "SELECT {part} AS part, {rows} AS rows, {sum} AS sum FROM (SELECT _part AS {part}, count() AS {rows}, \
         toString(sum({expression})) AS {sum} FROM {}{only} GROUP BY _part)",
        quote_table(table)
    )
}

/// Sums an expression over all rows of a table with these columns, and counts them.
#[must_use]
pub fn table_sum(table: &TableName, columns: &[&str], expression: &str) -> String {
    let [rows, sum] = free_names(columns, ["rows", "sum"]);
    format!(
        "SELECT {rows} AS rows, {sum} AS sum FROM (SELECT count() AS {rows}, toString(sum({expression})) AS {sum} FROM {})",
        quote_table(table)
    )
}

/// Takes away merges from a table: what is restored for a trial is to stay as it came.
#[must_use]
pub fn stop_merges(table: &TableName) -> String {
    format!("SYSTEM STOP MERGES {}", quote_table(table))
}

/// How many mutations of a table are not done.
#[must_use]
pub fn count_unfinished_mutations(table: &TableName) -> String {
    format!("SELECT count() AS count FROM system.mutations WHERE is_done = 0 AND {}", is_table(table))
}

/// How many statements run in which this word stands; not this one.
#[must_use]
pub fn count_running_with(word: &str) -> String {
    format!(
        "SELECT count() AS count FROM system.processes WHERE position(query, {}) > 0 AND \
         position(query, 'system.processes') = 0",
        quote_text(word)
    )
}

/// Names that a system table lists.
#[must_use]
pub fn names(system_table: &str) -> String {
    format!("SELECT name AS text FROM system.{system_table}")
}

/// Settings that decide whether a definition is taken, with their values.
pub const DEFINITION_SETTINGS: &str = "SELECT name, value FROM system.settings WHERE name LIKE 'allow_suspicious_%' OR \
     name LIKE 'allow_experimental_%' OR name LIKE 'allow_deprecated_%' OR name LIKE 'enable_%_type' OR \
     name LIKE 'enable_%_codec' OR name LIKE 'enable_%_index' OR name IN ('max_query_size', 'max_ast_elements', \
     'max_expanded_ast_elements', 'max_ast_depth', 'max_parser_depth', 'max_parser_backtracks', 'flatten_nested', \
     'data_type_default_nullable', 'allow_materialized_view_with_bad_select')";

/// How many settings there are of these names.
#[must_use]
pub fn count_settings(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
    format!("SELECT count() AS count FROM system.settings WHERE name IN ({})", names.join(", "))
}

/// Whether the user may only read.
pub const READONLY_SETTING: &str = "SELECT value FROM system.settings WHERE name = 'readonly'";

/// Whether the user may freeze everything; servers before 24 do not know the question.
pub const CHECK_FREEZE_GRANT: &str = "CHECK GRANT ALTER FREEZE PARTITION ON *.*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_so_that_nothing_in_them_ends_the_quotes() {
        assert_eq!(quote_name("a`b\\c"), "`a\\`b\\\\c`");
        assert_eq!(quote_text("it's\n"), "'it\\'s\\n'");
        assert_eq!(quote_table(&TableName::new("d", "t.x")), "`d`.`t.x`");
    }

    #[test]
    fn partitions_are_frozen_by_one_statement() {
        let name = "chsnap_0123abcd_20261122020000_89abcdef".parse().expect("a name");
        let [a, b] = ["202601", "it's"].map(|id| PartitionId(id.into()));
        assert_eq!(
            freeze_partitions(&TableName::new("d", "t"), &[&a, &b], &name),
            format!(
                "ALTER TABLE `d`.`t` FREEZE PARTITION ID '202601' WITH NAME '{name}', \
                 FREEZE PARTITION ID 'it\\'s' WITH NAME '{name}'"
            )
        );
    }

    #[test]
    fn no_result_of_a_sum_has_the_name_of_a_column() {
        let table = TableName::new("d", "t");
        let columns = ["rows", "chsnap_sum", "chsnap_sum_"];
        let sql = part_sums(&table, &columns, "cityHash64(`rows`)", &[]);
        assert_eq!(
            sql,
            "SELECT chsnap_part AS part, chsnap_rows AS rows, chsnap_sum__ AS sum FROM (SELECT _part AS chsnap_part, \
             count() AS chsnap_rows, toString(sum(cityHash64(`rows`))) AS chsnap_sum__ FROM `d`.`t` GROUP BY _part)"
        );
        assert!(table_sum(&table, &columns, "1").contains("toString(sum(1)) AS chsnap_sum__ FROM"));
    }

    #[test]
    fn only_the_sum_that_was_wrong_before_is_another_one_now() {
        assert_eq!(
            digest_expression(&["k", "rows"]),
            r"cityHash64(ifNull(toString(`k`), '\\N'), ifNull(toString(`rows`), '\\N'))"
        );
        assert_eq!(digest_expression(&["part"]), r"cityHash64('columns', ifNull(toString(`part`), '\\N'))");
    }

    #[test]
    fn columns_that_a_server_lacks_get_a_neutral_value() {
        let old = Features::of(&[("tables", "data_path")]);
        let sql = tables(&old, false);
        assert!(sql.contains("[data_path] AS data_paths") && sql.contains("'' AS uuid"), "{sql}");
        let new = Features::of(&[("tables", "data_paths"), ("tables", "uuid")]);
        assert!(tables(&new, false).contains(" data_paths, uuid,"));
        assert!(identity(&IDENTITY_FUNCTIONS).contains("toString(serverUUID()) AS uuid"));
        assert!(identity(&["hostName"]).contains("'' AS uuid"));
    }
}
