//! Every statement that chsnap sends, in one place; those that only explain something are in `explain.rs`.

use crate::model::{FreezeName, PartName, PartitionId, TableName};

use super::features::Features;
use super::list::List;
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

/// The column if the server has it, else the expression `otherwise` under its name.
pub(super) fn column(features: &Features, table: &str, name: &str, otherwise: &str) -> String {
    if features.has_column(table, name) { name.to_owned() } else { format!("{otherwise} AS {name}") }
}

fn not_in(databases: &[&str]) -> String {
    let list: Vec<String> = databases.iter().map(|name| quote_text(name)).collect();
    format!("database NOT IN ({})", list.join(", "))
}

fn left_out(with_system: bool) -> String {
    not_in(if with_system { &SYSTEM_DATABASES[1..] } else { &SYSTEM_DATABASES })
}

/// All tables with their definitions, except those of the remote databases.
#[must_use]
pub fn tables(features: &Features, with_system: bool, remote: &[&str]) -> List {
    let tables = tables_with(features).only(left_out(with_system));
    // The server queries only the databases that pass this condition for their tables.
    if remote.is_empty() { tables } else { tables.only(not_in(remote)) }
}

/// The table of one name with its definition.
#[must_use]
pub fn table(features: &Features, table: &TableName) -> List {
    let condition = format!("database = {} AND name = {}", quote_text(&table.database), quote_text(&table.table));
    tables_with(features).only(condition)
}

fn tables_with(features: &Features) -> List {
    let data_paths =
        if features.has_column("tables", "data_paths") { "data_paths" } else { "[data_path] AS data_paths" };
    let columns = format!(
        "database, name, engine, metadata_path, create_table_query, {data_paths}, {}, {}, {}",
        column(features, "tables", "uuid", "''"),
        column(features, "tables", "storage_policy", "''"),
        column(features, "tables", "has_own_data", "CAST(NULL AS Nullable(UInt8))"),
    );
    List::of("tables", columns).only("database != ''")
}

/// The active parts of these tables; of all tables if `only` is empty.
#[must_use]
pub fn parts(features: &Features, with_system: bool, only: &[TableName]) -> List {
    let columns = format!(
        "database, table, partition_id, name, path, rows, bytes_on_disk, {MODIFIED} AS modified, {}, {}, {}",
        column(features, "parts", "disk_name", "'default'"),
        column(features, "parts", "hash_of_all_files", "''"),
        column(features, "parts", "files", "0"),
    );
    let parts = active_parts(&columns, with_system);
    let only: Vec<String> = only.iter().map(|name| format!("({})", is_table(name))).collect();
    if only.is_empty() { parts } else { parts.only(format!("({})", only.join(" OR "))) }
}

fn active_parts(columns: &str, with_system: bool) -> List {
    List::of("parts", columns).only("active").only(left_out(with_system))
}

/// When a part was created, to the precision that a server gives; in seconds since 1970.
const MODIFIED: &str = "toUInt32(modification_time)";

/// The number of active parts of each table, and a sum over them: [`listed`] defines its content.
#[must_use]
pub fn listings(features: &Features, with_system: bool) -> List {
    let columns =
        format!("database, table, toString(count()) AS parts, toString(sum({})) AS sum", hash_of_part(features));
    active_parts(&columns, with_system).ending("GROUP BY database, table")
}

/// The same for the active parts of each table, and for those that are not active.
#[must_use]
pub fn states_of_parts(features: &Features, with_system: bool) -> List {
    let hash = hash_of_part(features);
    let columns = format!(
        "database, table, toString(countIf(active = 1)) AS active_parts, toString(sumIf({hash}, active = 1)) AS active_sum, \
         toString(countIf(active = 0)) AS inactive_parts, toString(sumIf({hash}, active = 0)) AS inactive_sum"
    );
    List::of("parts", columns).only(left_out(with_system)).ending("GROUP BY database, table")
}

/// A hash of the text that [`listed`] builds for a part.
fn hash_of_part(features: &Features) -> String {
    let disk = if features.has_column("parts", "disk_name") { "disk_name" } else { "'default'" };
    format!(
        "cityHash64(concat(name, '\\n', {disk}, '\\n', toString(rows), '\\n', toString(bytes_on_disk), '\\n', \
         toString({MODIFIED})))"
    )
}

/// One setting of MergeTree tables, which applies unless a table overrides it.
#[must_use]
pub fn merge_tree_setting(name: &str) -> List {
    List::of("merge_tree_settings", "value").only(format!("name = {}", quote_text(name)))
}

/// The text that [`listings`] and [`states_of_parts`] have the server hash for a part.
#[must_use]
pub(super) fn listed(row: &PartRow) -> String {
    let PartRow { name, disk_name, rows, bytes_on_disk, modified, .. } = row;
    format!("{name}\n{disk_name}\n{rows}\n{bytes_on_disk}\n{modified}")
}

/// All mutations that the server still lists.
#[must_use]
pub fn mutations(features: &Features, with_system: bool) -> List {
    listed_mutations(features).only(left_out(with_system))
}

/// The mutations of one table that the server still lists.
#[must_use]
pub fn mutations_of(features: &Features, table: &TableName) -> List {
    listed_mutations(features).only(is_table(table))
}

/// Unfinished mutations for which the server has no file.
#[must_use]
pub fn mutations_in_keeper(features: &Features) -> List {
    listed_mutations(features).only("is_done = 0").only("mutation_id NOT LIKE 'mutation_%'")
}

/// Keeper's data about a mutation is listed only for unfinished mutations of replicated tables: servers list the last
/// hundred mutations of each table, with every partition.
fn listed_mutations(features: &Features) -> List {
    let is_carried = "is_done != 0 OR mutation_id LIKE 'mutation_%'";
    let in_keeper = if features.has_column("mutations", "block_numbers.number") {
        format!(
            "if({is_carried}, '', command) AS command, \
             if({is_carried}, emptyArrayString(), block_numbers.partition_id) AS partitions, \
             if({is_carried}, emptyArrayString(), arrayMap(number -> toString(number), block_numbers.number)) AS versions"
        )
    } else {
        "'' AS command, emptyArrayString() AS partitions, emptyArrayString() AS versions".to_owned()
    };
    List::of("mutations", format!("database, table, mutation_id, is_done, {in_keeper}"))
}

/// The replicated tables, with the columns that a server knows by itself: for other columns it asks Keeper, which may
/// be unreachable.
#[must_use]
pub fn replicas() -> List {
    List::of(
        "replicas",
        "database, table, zookeeper_path, replica_name, is_readonly, is_session_expired, toString(absolute_delay) AS delay",
    )
}

/// The queues of all replicated tables.
#[must_use]
pub fn replication_queue() -> List {
    List::of("replication_queue", "database, table, node_name, type, new_part_name, last_exception")
}

/// The values of the names in braces in the definitions of replicated tables.
#[must_use]
pub fn macros() -> List {
    List::of("macros", "macro AS name, substitution")
}

/// Lets a replicated table catch up with its peers.
#[must_use]
pub fn sync_replica(table: &TableName) -> String {
    format!("SYSTEM SYNC REPLICA {}", quote_table(table))
}

/// The same without waiting for merges and mutations.
#[must_use]
pub fn sync_replica_lightweight(table: &TableName) -> String {
    sync_replica(table) + " LIGHTWEIGHT"
}

/// Makes a server that supports EXPLAIN parse a [`sync_replica_lightweight`] statement without running it.
pub const KNOWS_LIGHTWEIGHT_SYNC: &str = "EXPLAIN AST SYSTEM SYNC REPLICA a.b LIGHTWEIGHT";

/// Asks the server to stop the statements of this id.
#[must_use]
pub fn kill_query(query_id: &str) -> String {
    format!("KILL QUERY WHERE query_id = {} ASYNC", quote_text(query_id))
}

/// Tables of these engines with their rows; `None` if the server does not count them.
#[must_use]
pub fn rows_in_memory(features: &Features, with_system: bool, engines: &[&str]) -> Option<List> {
    features.has_column("tables", "total_rows").then(|| {
        let engines: Vec<String> = engines.iter().map(|engine| format!("'{engine}'")).collect();
        let columns = "database, name AS table, engine, ifNull(total_rows, 0) AS rows, ifNull(total_bytes, 0) AS bytes";
        List::of("tables", columns).only(left_out(with_system)).only(format!("engine IN ({})", engines.join(", ")))
    })
}

/// The data that tables of the engine `Distributed` have not sent yet; `None` if the server does not list them.
#[must_use]
pub fn distribution_queue(features: &Features, with_system: bool) -> Option<List> {
    let broken = |name: &str| {
        let known = features.has_column("distribution_queue", name);
        if known { name.to_owned() } else { "0".to_owned() }
    };
    features.has_column("distribution_queue", "data_files").then(|| {
        let columns = format!(
            "database, table, data_files + {} AS files, data_compressed_bytes + {} AS bytes",
            broken("broken_data_files"),
            broken("broken_data_compressed_bytes"),
        );
        List::of("distribution_queue", columns).only(left_out(with_system))
    })
}

/// All disks; servers without `system.disks` have one.
#[must_use]
pub fn disks(features: &Features) -> List {
    let columns = format!(
        "name, path, {}, {}",
        column(features, "disks", "type", "'local'"),
        column(features, "disks", "is_encrypted", "0"),
    );
    List::of("disks", columns)
}

/// All databases.
#[must_use]
pub fn databases(features: &Features) -> List {
    let list: Vec<String> = SYSTEM_DATABASES.iter().map(|name| quote_text(name)).collect();
    let columns = format!("name, engine, data_path, metadata_path, {}", column(features, "databases", "uuid", "''"));
    List::of("databases", columns).only(format!("name NOT IN ({})", list.join(", ")))
}

/// The engines of these databases with their arguments.
#[must_use]
pub fn database_engines(features: &Features, names: &[&str]) -> List {
    let columns = format!("name, {}", column(features, "databases", "engine_full", "engine"));
    let list: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
    List::of("databases", columns).only(format!("name IN ({})", list.join(", ")))
}

/// Detached tables, except those of the remote databases; `None` if the server does not list detached tables.
#[must_use]
pub fn detached_tables(features: &Features, remote: &[&str]) -> Option<List> {
    features.has_table("detached_tables").then(|| {
        let uuid = column(features, "detached_tables", "uuid", "''");
        let tables = List::of("detached_tables", format!("database, table, metadata_path, {uuid}"));
        if remote.is_empty() { tables } else { tables.only(not_in(remote)) }
    })
}

/// Where the server keeps its own tables: this gives its data path on servers without `system.disks`.
#[must_use]
pub fn system_database() -> List {
    List::of("databases", "name, engine, data_path, metadata_path, '' AS uuid").only("name = 'system'")
}

/// The identity of the server, from those of [`IDENTITY_FUNCTIONS`] that it has.
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
/// all other queries here, so it is queried only if the server lacks one of them.
#[must_use]
pub fn known_functions() -> List {
    List::of("functions", "name").only("name IN ('hostName', 'timezone', 'serverUUID')")
}

/// Functions that were created by `CREATE FUNCTION`; `None` if the server has no such functions.
#[must_use]
pub fn functions(features: &Features) -> Option<List> {
    (features.has_column("functions", "origin") && features.has_column("functions", "create_query"))
        .then(|| List::of("functions", "name, create_query").only("origin = 'SQLUserDefined'"))
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
    // By the statement and not by its query id alone: a bridge in between may not forward the id. LIKE takes `_` for
    // any letter; `position` does not.
    format!("position(query, 'FREEZE') > 0 AND position(query, '{name}') > 0 AND position(query, 'ALTER TABLE') = 1")
}

/// Statements that are still freezing under this name.
#[must_use]
pub fn running_freezes(name: &FreezeName) -> List {
    List::of("processes", "query_id, elapsed").only(freezing(name))
}

/// Asks the server to stop every statement that freezes under this name.
#[must_use]
pub fn kill_freezes(name: &FreezeName) -> String {
    format!("KILL QUERY WHERE {} ASYNC", freezing(name))
}

/// A word of every statement that refers to this table: its name alone, because the database may be omitted.
fn word_for(table: &TableName) -> String {
    format!("position(query, {}) > 0", quote_text(&table.table))
}

/// Other statements that refer to a table, the longest-running first.
#[must_use]
pub fn queries_on(table: &TableName, name: &FreezeName) -> List {
    List::of("processes", QUERY)
        .only(word_for(table))
        .only(format!("NOT ({})", freezing(name)))
        .only("position(query, 'system.processes') = 0")
        .ending("ORDER BY elapsed DESC")
}

/// The columns that are shown of a running statement.
const QUERY: &str = "user, elapsed, substring(query, 1, 200) AS text";

/// Statements that have been running for at least a second, the longest-running first; our own lists of tables are left
/// out.
#[must_use]
pub fn long_queries() -> List {
    List::of("processes", QUERY)
        .only("elapsed >= 1")
        .only("position(query, 'FROM system.') = 0")
        .ending("ORDER BY elapsed DESC")
}

/// Mutations of a table that are not done.
#[must_use]
pub fn unfinished_mutations(features: &Features, table: &TableName) -> List {
    let reason = column(features, "mutations", "latest_fail_reason", "''");
    List::of("mutations", format!("mutation_id, {reason}")).only("is_done = 0").only(is_table(table))
}

/// DDL statements for a table that wait in the queue of a cluster.
#[must_use]
pub fn queued_ddl(table: &TableName) -> List {
    List::of("distributed_ddl_queue", "entry, toString(host) AS host, toString(status) AS status")
        .only("status != 'Finished'")
        .only(word_for(table))
}

/// The stacks of the threads of a table's freeze, innermost frame first: only frames that have a symbol. A freeze of
/// many partitions is several statements, whose ids are the same id followed by a number.
#[must_use]
pub fn stack_traces(query_id: &str) -> List {
    let columns = "thread_name AS thread, arrayStringConcat(arraySlice(arrayFilter(name -> name != '', \
                   arrayMap(frame -> demangle(addressToSymbol(frame)), trace)), 1, 12), ' < ') AS frames, \
                   length(trace) AS depth";
    let ids = format!(
        "query_id IN (SELECT initial_query_id FROM system.processes WHERE query_id = {} OR startsWith(query_id, {}))",
        quote_text(query_id),
        quote_text(&format!("{query_id}-")),
    );
    List::of("stack_trace", columns).only("notEmpty(trace)").only(ids).ending("ORDER BY depth DESC")
}

/// The value of one setting.
#[must_use]
pub fn setting(name: &str) -> List {
    List::of("settings", "value").only(format!("name = {}", quote_text(name)))
}

/// The disks of each volume of each storage policy.
#[must_use]
pub fn storage_policies() -> List {
    List::of("storage_policies", "policy_name, disks").ending("ORDER BY policy_name, volume_priority")
}

/// UUIDs and names of users, roles …; policies have their table in the name.
#[must_use]
pub fn access_entities(system_table: &str, is_policy: bool) -> List {
    let name = if is_policy { "concat(short_name, ' ON ', database, '.', if(table = '', '*', table))" } else { "name" };
    List::of(system_table, format!("toString(id) AS id, {name} AS name")).ending("ORDER BY name")
}

/// UUIDs of a system table that lists tables, except those of the remote databases.
#[must_use]
pub fn uuids(system_table: &str, remote: &[&str]) -> List {
    let uuids = List::of(system_table, "toString(uuid) AS text");
    if remote.is_empty() { uuids } else { uuids.only(not_in(remote)) }
}

pub(super) fn is_table(table: &TableName) -> String {
    format!("database = {} AND table = {}", quote_text(&table.database), quote_text(&table.table))
}

/// All parts of one table, active or not.
#[must_use]
pub fn parts_of(features: &Features, table: &TableName) -> List {
    let hash = column(features, "parts", "hash_of_all_files", "''");
    List::of("parts", format!("name, partition_id, rows, bytes_on_disk, active, {hash}")).only(is_table(table))
}

/// The columns of a table.
#[must_use]
pub fn columns_of(table: &TableName) -> List {
    List::of("columns", "name, type, default_kind").only(is_table(table))
}

/// All rows of a table with these columns, in the order in which one thread reads them.
#[must_use]
pub fn select_columns(table: &TableName, columns: &[&str]) -> String {
    format!("SELECT {} FROM {}", quoted(columns), quote_table(table))
}

/// How many rows a table has.
#[must_use]
pub fn count_rows(table: &TableName) -> String {
    format!("SELECT toUInt64(count()) AS count FROM {}", quote_table(table))
}

/// The server's own count of the rows of a table; `None` if it has none.
#[must_use]
pub fn total_rows(features: &Features, table: &TableName) -> Option<List> {
    features.has_column("tables", "total_rows").then(|| {
        List::of("tables", "toUInt64(ifNull(total_rows, 0)) AS count, isNotNull(total_rows) AS is_known").only(format!(
            "database = {} AND name = {}",
            quote_text(&table.database),
            quote_text(&table.table)
        ))
    })
}

/// Rows in all tables of the engine `Buffer`.
pub const BUFFERED_ROWS: &str =
    "SELECT toUInt64(value) AS count FROM system.metrics WHERE metric = 'StorageBufferRows'";

/// The statement that adds rows with these columns to a table; without columns, with all of the table's.
#[must_use]
pub fn insert_columns(table: &TableName, columns: &[&str]) -> String {
    let columns = if columns.is_empty() { String::new() } else { format!("({}) ", quoted(columns)) };
    format!("INSERT INTO {} {columns}FORMAT Native", quote_table(table))
}

fn quoted(columns: &[&str]) -> String {
    columns.iter().map(|column| quote_name(column)).collect::<Vec<_>>().join(", ")
}

/// The partition key and the sorting key of a table, and its engine.
#[must_use]
pub fn keys_of(table: &TableName) -> List {
    List::of("tables", "engine, partition_key, sorting_key, primary_key")
        .only(format!("database = {}", quote_text(&table.database)))
        .only(format!("name = {}", quote_text(&table.table)))
}

/// A hash of all values of a row. The values are converted to text, because the hash accepts neither every type nor
/// NULL; `ifNull` then yields text for every type, so that a NULL differs from every text except this one.
#[must_use]
pub fn digest_expression(columns: &[&str]) -> String {
    let value = |name: &&str| format!("ifNull(toString({}), '\\\\N')", quote_name(name));
    let values: Vec<String> = columns.iter().map(value).collect();
    // Earlier versions gave `_part` the alias `part`, and summed that up instead of a column of this name.
    let mark = if columns.contains(&"part") { "'columns', " } else { "" };
    format!("cityHash64({mark}{})", values.join(", "))
}

/// Names for the results of a statement over a table that differ from the names of all columns.
///
/// An alias replaces its name everywhere in a statement, even where a column of that name is meant.
fn free_names<const N: usize>(columns: &[&str], wanted: [&str; N]) -> [String; N] {
    wanted.map(|name| {
        let mut name = format!("chsnap_{name}");
        while columns.contains(&name.as_str()) {
            name.push('_');
        }
        name
    })
}

/// Sums up an expression over the rows of each active part of a table with these columns; only over `parts`, unless it
/// is empty.
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

/// Sums up an expression over all rows of a table with these columns, and counts them.
#[must_use]
pub fn table_sum(table: &TableName, columns: &[&str], expression: &str) -> String {
    let [rows, sum] = free_names(columns, ["rows", "sum"]);
    format!(
        "SELECT {rows} AS rows, {sum} AS sum FROM (SELECT count() AS {rows}, toString(sum({expression})) AS {sum} FROM {})",
        quote_table(table)
    )
}

/// Stops merges of a table: tables that a drill restores must stay as they are.
#[must_use]
pub fn stop_merges(table: &TableName) -> String {
    format!("SYSTEM STOP MERGES {}", quote_table(table))
}

/// Mutations of a table that are not done; only their count is used.
#[must_use]
pub fn undone_mutations(table: &TableName) -> List {
    List::of("mutations", "mutation_id").only("is_done = 0").only(is_table(table))
}

/// Running statements that contain this word, without this one; only their count is used.
#[must_use]
pub fn running_with(word: &str) -> List {
    List::of("processes", "query_id")
        .only(format!("position(query, {}) > 0", quote_text(word)))
        .only("position(query, 'system.processes') = 0")
}

/// Names that a system table lists.
#[must_use]
pub fn names(system_table: &str) -> List {
    List::of(system_table, "name AS text")
}

/// Settings of the server that define where it keeps state other than tables.
#[must_use]
pub fn state_settings() -> List {
    List::of("server_settings", "name, value").only(
        "name IN ('user_defined_path', 'user_defined_zookeeper_path', 'workload_path', 'workload_zookeeper_path', \
         'named_collections_storage.type', 'named_collections_storage.path', 'access_control_path', \
         'user_defined_executable_functions_config', 'dynamic_user_defined_executable_functions_path', \
         'user_scripts_path', 'config-file')",
    )
}

/// The places where the server keeps its users.
#[must_use]
pub fn user_directories() -> List {
    List::of("user_directories", "name, type AS kind, toString(params) AS params")
}

/// The names in a system table that come from one of the server's places of users.
#[must_use]
pub fn access_names(system_table: &str, storage: &str) -> List {
    names(system_table).only(format!("storage = {}", quote_text(storage)))
}

/// Functions that run a program; `None` if the server does not report the kind of a function.
#[must_use]
pub fn executable_functions(features: &Features) -> Option<List> {
    features.has_column("functions", "origin").then(|| names("functions").only("origin = 'ExecutableUserDefined'"))
}

/// Settings that decide whether a definition is accepted, with their values.
#[must_use]
pub fn definition_settings() -> List {
    List::of("settings", "name, value").only(
        "(name LIKE 'allow_suspicious_%' OR name LIKE 'allow_experimental_%' OR name LIKE 'allow_deprecated_%' OR \
         name LIKE 'enable_%_type' OR name LIKE 'enable_%_codec' OR name LIKE 'enable_%_index' OR name IN \
         ('max_query_size', 'max_ast_elements', 'max_expanded_ast_elements', 'max_ast_depth', 'max_parser_depth', \
         'max_parser_backtracks', 'flatten_nested', 'data_type_default_nullable', \
         'allow_materialized_view_with_bad_select'))",
    )
}

/// Settings of these names; only their count is used.
#[must_use]
pub fn settings(names: &[&str]) -> List {
    let names: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
    List::of("settings", "name").only(format!("name IN ({})", names.join(", ")))
}

/// The path and the name of a replicated table whose engine names none.
#[must_use]
pub fn default_replica() -> List {
    List::of("server_settings", "name, value").only("name IN ('default_replica_path', 'default_replica_name')")
}

/// The state of a replicated table relative to its other replicas.
#[must_use]
pub fn replica_status(table: &TableName) -> List {
    List::of("replicas", "is_readonly, total_replicas, active_replicas, queue_size").only(is_table(table))
}

/// The nodes below a node of Keeper: `/a/b`, or `keeper:/a/b` for another Keeper than the server's own.
#[must_use]
pub fn keeper_nodes(path: &str) -> List {
    let nodes = List::of("zookeeper", "name, value, toString(czxid) AS created");
    match path.split_once(":/") {
        Some((keeper, path)) => nodes
            .only(format!("zookeeperName = {}", quote_text(keeper)))
            .only(format!("path = {}", quote_text(&format!("/{path}")))),
        None => nodes.only(format!("path = {}", quote_text(path))),
    }
}

/// A right of this name, if the server knows it.
#[must_use]
pub fn privilege(name: &str) -> List {
    List::of("privileges", "privilege").only(format!("toString(privilege) = {}", quote_text(name)))
}

/// Tables that were dropped but still exist internally.
#[must_use]
pub fn dropped_tables() -> List {
    List::of("dropped_tables", DROPPED)
}

const DROPPED: &str = "hostName() AS host, database, table, toString(uuid) AS uuid, engine, \
                       toUInt64(toUnixTimestamp(table_dropped_time)) AS gone_at";

/// A table function of this name; only the count is used.
#[must_use]
pub fn table_function(name: &str) -> List {
    List::of("table_functions", "name").only(format!("name = {}", quote_text(name)))
}

/// The cluster of each host that the server is configured with.
#[must_use]
pub fn clusters() -> List {
    List::of("clusters", "cluster AS text")
}

/// The clusters that have several hosts and of which this server is one.
#[must_use]
pub fn own_clusters() -> List {
    List::of("clusters", "cluster AS text").ending("GROUP BY cluster HAVING max(is_local) = 1 AND count() > 1")
}

/// [`dropped_tables`] of all hosts of a cluster.
#[must_use]
pub fn dropped_in_cluster(cluster: &str) -> String {
    format!("SELECT {DROPPED} FROM clusterAllReplicas({}, system.dropped_tables)", quote_text(cluster))
}

/// The hosts of a cluster.
#[must_use]
pub fn cluster_hosts(cluster: &str) -> List {
    List::of("clusters", "host_name, port").only(format!("cluster = {}", quote_text(cluster)))
}

/// The table function that reads a system table of all hosts of a cluster.
#[must_use]
pub fn all_replicas(cluster: &str, table: &str) -> String {
    format!("clusterAllReplicas({}, system.{table})", quote_text(cluster))
}

/// The table function that reads a system table of one host.
#[must_use]
pub fn remote(address: &str, table: &str) -> String {
    format!("remote({}, system.{table})", quote_text(address))
}

/// The hosts of a cluster that answer.
#[must_use]
pub fn answering_hosts(cluster: &str) -> String {
    format!("SELECT {HOST} FROM {}", all_replicas(cluster, "one"))
}

/// A host's own name when it answers together with others.
pub const HOST: &str = "concat(hostName(), ':', toString(tcpPort())) AS host";

fn is_one_of(column: &str, tables: &[TableName]) -> String {
    let names: Vec<String> =
        tables.iter().map(|table| format!("({}, {})", quote_text(&table.database), quote_text(&table.table))).collect();
    format!("(database, {column}) IN ({})", names.join(", "))
}

/// The databases of a server.
#[must_use]
pub fn database_names() -> List {
    List::of("databases", "name")
}

/// The tables among these that a server has.
#[must_use]
pub fn tables_among(tables: &[TableName]) -> List {
    List::of("tables", "database, name AS table").only(is_one_of("name", tables))
}

/// The UUIDs of those of these tables that a server has.
#[must_use]
pub fn uuids_among(tables: &[TableName]) -> List {
    List::of("tables", "database, name AS table, toString(uuid) AS uuid").only(is_one_of("name", tables))
}

/// The tables of a server at these paths in Keeper.
#[must_use]
pub fn replicas_at(paths: &[String]) -> List {
    let paths: Vec<String> = paths.iter().map(|path| quote_text(path)).collect();
    List::of("replicas", "database, table, zookeeper_path, replica_name")
        .only(format!("zookeeper_path IN ({})", paths.join(", ")))
}

/// The active parts of these tables, with their rows and a digest of their content, which is the same on all replicas
/// that have the part; empty from a server that does not report one.
#[must_use]
pub fn parts_of_tables(features: &Features, tables: &[TableName]) -> List {
    // Of the uncompressed content: replicas may compress differently.
    let digest = if features.has_column("parts", "uncompressed_hash_of_compressed_files") {
        "concat(hash_of_uncompressed_files, uncompressed_hash_of_compressed_files)"
    } else {
        "''"
    };
    List::of("parts", format!("database, table, name, toString(rows) AS rows, {digest} AS digest"))
        .only("active")
        .only(is_one_of("table", tables))
}

/// Removes an inactive replica from a table's path in Keeper; with the last replica, the path is removed as well.
#[must_use]
pub fn drop_replica(name: &str, path: &str) -> String {
    format!("SYSTEM DROP REPLICA {} FROM ZKPATH {}", quote_text(name), quote_text(path))
}

/// Whether the user may freeze everything; servers before 24 do not know the statement.
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
    fn only_the_formerly_wrong_sum_has_changed() {
        assert_eq!(
            digest_expression(&["k", "rows"]),
            r"cityHash64(ifNull(toString(`k`), '\\N'), ifNull(toString(`rows`), '\\N'))"
        );
        assert_eq!(digest_expression(&["part"]), r"cityHash64('columns', ifNull(toString(`part`), '\\N'))");
    }

    #[test]
    fn remote_databases_are_not_asked_for_their_tables() {
        let features = Features::default();
        let sql = tables(&features, false, &["pgd", "it's"]);
        for sql in [sql.rows(), sql.count(), uuids("tables", &["pgd", "it's"]).rows()] {
            assert!(sql.ends_with("database NOT IN ('pgd', 'it\\'s')"), "{sql}");
        }
        assert!(!tables(&features, false, &[]).rows().contains("pgd"));
    }

    #[test]
    fn columns_that_a_server_lacks_get_a_neutral_value() {
        let old = Features::of(&[("tables", "data_path")]);
        let sql = tables(&old, false, &[]).rows();
        assert!(sql.contains("[data_path] AS data_paths") && sql.contains("'' AS uuid"), "{sql}");
        let new = Features::of(&[("tables", "data_paths"), ("tables", "uuid")]);
        assert!(tables(&new, false, &[]).rows().contains(" data_paths, uuid,"));
        assert!(identity(&IDENTITY_FUNCTIONS).contains("toString(serverUUID()) AS uuid"));
        assert!(identity(&["hostName"]).contains("'' AS uuid"));
    }
}
