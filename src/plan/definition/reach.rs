//! Whether a definition stays within one database.
//!
//! A drill never creates a definition that does not: a view would receive the inserts of a live table, a queue would
//! take messages, a table on another server would be queried. So a definition that is not known to stay within counts
//! as reaching outside.

use std::collections::BTreeSet;

use super::head::DefinitionKind;
use super::mapping::Mapping;
use super::parsed::ParsedDefinition;
use super::tokens::{Token, solid_tokens};

/// Engines of tables that hold their data themselves, generate it, or pass it on within a database.
const OWN_ENGINES: [&str; 10] =
    ["Memory", "Null", "Log", "TinyLog", "StripeLog", "Set", "Join", "Buffer", "GenerateRandom", ROCKS];

/// Its directory is its own unless its arguments give one.
const ROCKS: &str = "EmbeddedRocksDB";

/// Table functions that read only their arguments.
const OWN_TABLE_FUNCTIONS: [&str; 14] = [
    "format",
    "generaterandom",
    "generateseries",
    "generate_series",
    "null",
    "numbers",
    "numbers_mt",
    "primes",
    "values",
    "view",
    "viewifpermitted",
    "viewexplain",
    "zeros",
    "zeros_mt",
];

/// Prefixes of the names of functions that query other servers or read files, for ordinary functions and for table
/// functions: `s3`, `s3Cluster`, `icebergS3` …
const FOREIGN_FUNCTIONS: [&str; 31] = [
    "ai",
    "arrowflight",
    "azureblobstorage",
    "catboostevaluate",
    "cluster",
    "cosn",
    "deltalake",
    "executable",
    "file",
    "filesystem",
    "gcs",
    "hdfs",
    "hive",
    "hudi",
    "iceberg",
    "input",
    "jdbc",
    "meilisearch",
    "mongodb",
    "mysql",
    "odbc",
    "oss",
    "paimon",
    "postgresql",
    "redis",
    "remote",
    "reversednsquery",
    "s3",
    "sqlite",
    "url",
    "ytsaurus",
];

/// Functions with such a prefix that stay within the server.
const HARMLESS_FUNCTIONS: [&str; 5] =
    ["urlhash", "urlhierarchy", "urlpathhierarchy", "filesystemavailable", "filesystemcapacity"];

/// Whether a text contains the name of a table in this database.
fn names_table_of(text: &str, database: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    ["", "`", "\""].iter().any(|quote| {
        let dotted = format!("{quote}{database}{quote}.");
        let mut found = text.match_indices(&dotted).map(|(at, _)| text.get(..at));
        found.any(|before| !before.is_some_and(|text| text.ends_with(is_letter)))
    })
}

/// The database in which a definition is created, and all others.
#[derive(Clone, Copy, Debug)]
pub struct DefinitionScope<'a> {
    /// The database in which it is created.
    pub own: &'a str,
    /// All other databases, of the server and of the snapshot.
    pub others: &'a BTreeSet<String>,
}

impl ParsedDefinition {
    /// Why it reaches outside its database once it is rewritten by `mapping`, if it does; `statement` is the creating
    /// statement. A definition that is not known to stay within counts as reaching outside.
    #[must_use]
    pub fn reach(&self, statement: &str, mapping: &Mapping, surroundings: &DefinitionScope<'_>) -> Option<String> {
        of_kind(self)
            .or_else(|| self.unresolved(mapping).first().map(|name| format!("it names {name}")))
            .or_else(|| self.names_session_database().then(|| "it names currentDatabase()".to_owned()))
            .or_else(|| of_words(self.kind, &solid_tokens(statement), surroundings))
    }
}

fn of_kind(definition: &ParsedDefinition) -> Option<String> {
    let engine = definition.engine();
    let is_own = |engine: &str| engine.ends_with("MergeTree") || OWN_ENGINES.contains(&engine);
    match definition.kind {
        DefinitionKind::Database => Some("it is a database".to_owned()),
        DefinitionKind::OtherView => Some("live and window views work as soon as they are made".to_owned()),
        DefinitionKind::MaterializedView if definition.is_refreshable() => {
            Some("a refreshable view runs its query as soon as it is made".to_owned())
        }
        DefinitionKind::Table if engine.is_none() => Some("no engine is named".to_owned()),
        _ => engine
            .filter(|engine| !is_own(engine))
            .map(|engine| format!("the engine {engine} reaches outside, or is not known to stay within")),
    }
}

/// Whether the arguments of the engine contain a directory: `EmbeddedRocksDB(ttl, directory, read_only)`.
fn names_directory(words: &[Token<'_>]) -> bool {
    let engine = words.iter().position(|word| word.is(ROCKS));
    let behind = engine.and_then(|at| words.get(at + 1..)).unwrap_or_default();
    let arguments = behind.iter().skip(1).take_while(|word| !word.is_mark(")"));
    behind.first().is_some_and(|word| word.is_mark("(")) && arguments.into_iter().any(|word| word.value().is_some())
}

fn of_words(kind: DefinitionKind, words: &[Token<'_>], surroundings: &DefinitionScope<'_>) -> Option<String> {
    if names_directory(words) {
        return Some(format!("the engine {ROCKS} names a directory"));
    }
    if kind == DefinitionKind::Dictionary {
        let source = words.iter().position(|word| word.is("SOURCE")).and_then(|at| words.get(at + 2));
        if !source.is_some_and(|source| source.is("CLICKHOUSE") || source.is("NULL")) {
            return Some("the source of the dictionary is not a table of this server".to_owned());
        }
        let has = |keys: &[&str]| keys.iter().any(|key| words.iter().any(|word| word.is(key)));
        if has(&["TABLE"]) && !has(&["DB", "DATABASE"]) {
            return Some("the source of the dictionary names no database".to_owned());
        }
    }
    (0..words.len()).find_map(|at| of_word(kind, words, at, surroundings))
}

fn of_word(kind: DefinitionKind, words: &[Token<'_>], at: usize, surroundings: &DefinitionScope<'_>) -> Option<String> {
    let word = words.get(at)?;
    let before = |back: usize| at.checked_sub(back).and_then(|at| words.get(at));
    let next_is = |mark: &str| words.get(at + 1).is_some_and(|next| next.is_mark(mark));
    // A column may have the name of a database.
    let is_key = before(1).is_some_and(|word| word.is_any(&["DB", "DATABASE"]));
    if let Some(text) = word.value() {
        return of_text(&text, before(1), is_key, surroundings);
    }
    let name = word.name()?;
    let is_buffers = before(1).is_some_and(|word| word.is_mark("(")) && before(2).is_some_and(|word| word.is("Buffer"));
    if (next_is(".") || is_key || is_buffers) && surroundings.others.contains(&name) {
        return Some(format!("it names the database {name}"));
    }
    if kind == DefinitionKind::Dictionary && word.is("HOST") {
        let host = words.get(at + 1).and_then(|word| word.value().or_else(|| word.name()));
        if !host.is_some_and(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1")) {
            return Some("the source of the dictionary is another server".to_owned());
        }
    }
    let is_table = before(1).is_some_and(|word| word.is_any(&["FROM", "JOIN", "IN"]));
    let function = name.to_lowercase();
    if next_is("(") {
        return of_function(&function, is_table && !before(1)?.is("IN"), words.get(at + 2), surroundings);
    }
    let is_defined = || is_common_expression(words, &name);
    (is_table && !next_is(".") && !is_defined()).then(|| format!("it names {name}, of no database"))
}

/// Why a string literal reaches outside; `before` is the preceding token.
fn of_text(text: &str, before: Option<&Token<'_>>, is_key: bool, surroundings: &DefinitionScope<'_>) -> Option<String> {
    if before.is_some_and(|word| word.is_any(&["COMMENT", "USER", "PASSWORD"])) {
        return None;
    }
    if before.and_then(Token::name).is_some_and(|name| name.ends_with("QUERY")) {
        return of_words(DefinitionKind::View, &solid_tokens(text), surroundings);
    }
    let is_argument = is_key || before.is_some_and(|word| word.is_mark("(") || word.is_mark(","));
    let is_named = |database: &&String| *database == text && is_argument || names_table_of(text, database);
    let found = surroundings.others.iter().find(is_named);
    found.map(|database| format!("it names the database {database}"))
}

/// Whether a function, by its name in lower case, reads or writes outside the server.
pub(super) fn is_foreign(function: &str) -> bool {
    FOREIGN_FUNCTIONS.iter().any(|foreign| function.starts_with(foreign)) && !HARMLESS_FUNCTIONS.contains(&function)
}

fn of_function(
    function: &str,
    is_table: bool,
    first_argument: Option<&Token<'_>>,
    surroundings: &DefinitionScope<'_>,
) -> Option<String> {
    if is_foreign(function) || (is_table && !OWN_TABLE_FUNCTIONS.contains(&function)) {
        return Some(format!("the function {function} reaches outside, or is not known to stay within"));
    }
    let takes_name = function.starts_with("dict") || function.starts_with("joinget");
    let is_own = first_argument.is_some_and(|argument| match argument.value() {
        Some(text) => text.split_once('.').is_some_and(|(database, _)| database == surroundings.own),
        None => argument.name().is_some_and(|name| name == surroundings.own),
    });
    (takes_name && !is_own).then(|| format!("the function {function} reads something outside"))
}

/// Whether a name is that of a common table expression: `WITH name AS (`.
fn is_common_expression(words: &[Token<'_>], name: &str) -> bool {
    words.windows(3).any(|window| match window {
        [first, second, third] => {
            third.is_mark("(") && second.is("AS") && first.name().is_some_and(|first| first == name)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::DefinitionScope;
    use crate::model::TableName;
    use crate::plan::{Mapping, ParsedDefinition, Verb};

    /// Why the definition is left out of the drill, which contains `lab.src` and `lab.dict`.
    fn reason(text: &str) -> Option<String> {
        let definition = ParsedDefinition::parse(text).expect("a definition");
        let to = |table: &str| TableName::new("chsnap_drill_x", table);
        let mapping = Mapping {
            tables: [(TableName::new("lab", "src"), to("t0")), (TableName::new("lab", "dict"), to("t1"))].into(),
            ..Mapping::default()
        };
        let statement = definition.statement(Verb::Create, "`chsnap_drill_x`.`t9`", (None, None), &mapping);
        let others: BTreeSet<String> = ["lab", "other", "system", "default"].map(str::to_owned).into();
        definition.reach(&statement, &mapping, &DefinitionScope { own: "chsnap_drill_x", others: &others })
    }

    #[test]
    fn a_drill_makes_definitions_that_name_only_its_own_tables() {
        for text in [
            "ATTACH VIEW _ (`k` UInt8) AS SELECT k FROM lab.src",
            "CREATE VIEW lab.v AS WITH q AS (SELECT 1 AS k) SELECT k FROM lab.src INNER JOIN q USING (k)",
            "CREATE VIEW lab.v AS SELECT k, 'in other words' AS url FROM (SELECT k FROM lab.src WHERE k IN (1, 2))"
                .replace("other", "more")
                .as_str(),
            "CREATE VIEW lab.v AS SELECT lab, other FROM lab.src WHERE k = 'default' OR k = 'other words'",
            "CREATE VIEW lab.v AS SELECT dictGet('lab.dict', 'v', k) AS v, URLHash(v) FROM lab.src, numbers(3)",
            "CREATE MATERIALIZED VIEW lab.v TO lab.src AS SELECT k FROM lab.src",
            "CREATE MATERIALIZED VIEW lab.v (`k` UInt8) ENGINE = SummingMergeTree ORDER BY k AS SELECT k FROM lab.src",
            "CREATE TABLE lab.m (`k` UInt8 DEFAULT 1) ENGINE = Memory COMMENT 'of the other one'",
            "CREATE TABLE lab.r (`k` UInt8) ENGINE = EmbeddedRocksDB PRIMARY KEY k COMMENT 'with a text'",
            "CREATE TABLE lab.r (`k` UInt8) ENGINE = EmbeddedRocksDB(60) PRIMARY KEY k COMMENT 'with a text'",
            "CREATE DICTIONARY lab.d (`k` UInt64, `v` String) PRIMARY KEY k SOURCE(CLICKHOUSE(USER 'default' DB 'lab' \
             TABLE 'src')) LAYOUT(FLAT())",
            "CREATE DICTIONARY lab.d (`k` UInt64) PRIMARY KEY k \
             SOURCE(CLICKHOUSE(QUERY 'SELECT k FROM lab.src')) LAYOUT(FLAT())",
        ] {
            assert_eq!(reason(text), None, "{text}");
        }
    }

    #[test]
    fn a_drill_makes_no_definition_that_reaches_outside() {
        for text in [
            "CREATE VIEW lab.v AS SELECT k FROM lab.gone",
            "CREATE VIEW lab.v AS SELECT k FROM other.src",
            "CREATE VIEW lab.v AS SELECT k FROM src",
            "CREATE VIEW lab.v AS SELECT k FROM lab.src WHERE k IN some_set",
            "CREATE VIEW lab.v AS SELECT name FROM system.tables",
            "CREATE VIEW lab.v AS SELECT * FROM remote('h', 'x', 'y')",
            "CREATE VIEW lab.v AS SELECT * FROM lab.src, s3Cluster('c', 'http://x')",
            "CREATE VIEW lab.v AS SELECT * FROM merge('lab', '^src$')",
            "CREATE VIEW lab.v AS SELECT * FROM merge(REGEXP('.*'), 'src')",
            "CREATE VIEW lab.v AS SELECT * FROM somethingNew('x')",
            "CREATE VIEW lab.v AS SELECT file('/etc/passwd') FROM lab.src",
            "CREATE VIEW lab.v AS SELECT dictGet('geo', 'v', k) FROM lab.src",
            "CREATE VIEW lab.v AS SELECT dictGet('other.geo', 'v', k) FROM lab.src",
            "CREATE MATERIALIZED VIEW lab.v TO lab.gone AS SELECT k FROM lab.src",
            "CREATE MATERIALIZED VIEW lab.v TO lab.src AS SELECT k FROM other.queue",
            "CREATE MATERIALIZED VIEW lab.v REFRESH EVERY 1 DAY TO lab.src AS SELECT k FROM lab.src",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = Kafka('h:9092', 't', 'g', 'CSV')",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = Distributed('c', 'lab', 'src')",
            "CREATE VIEW lab.v AS SELECT hasColumnInTable('other', 'x', 'y')",
            "CREATE VIEW lab.v AS SELECT f('`other`.x')",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = Buffer('other', 'x', 1, 1, 1, 1, 1, 1, 1)",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = Buffer(other, x, 1, 1, 1, 1, 1, 1, 1)",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = Merge('lab', '^src$')",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = Buffer(currentDatabase(), 'src', 1, 1, 1, 1, 1, 1, 1)",
            "CREATE TABLE lab.q (`k` UInt8) ENGINE = EmbeddedRocksDB(0, '/var/lib/rocks', 1) PRIMARY KEY k",
            "CREATE TABLE lab.q (`k` UInt8)",
            "CREATE DICTIONARY lab.d (`k` UInt64) PRIMARY KEY k SOURCE(HTTP(URL 'http://x' FORMAT 'CSV')) LAYOUT(FLAT())",
            "CREATE DICTIONARY lab.d (`k` UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(HOST 'h' DB 'x' TABLE 'y')) LAYOUT(FLAT())",
            "CREATE DICTIONARY lab.d (`k` UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 'src')) LAYOUT(FLAT())",
            "CREATE DICTIONARY lab.d (`k` UInt64) PRIMARY KEY k \
             SOURCE(CLICKHOUSE(QUERY 'SELECT k FROM other.src')) LAYOUT(FLAT())",
            "CREATE DICTIONARY lab.d (`k` UInt64) PRIMARY KEY k \
             SOURCE(CLICKHOUSE(QUERY 'SELECT k FROM src')) LAYOUT(FLAT())",
        ] {
            assert!(reason(text).is_some(), "{text}");
        }
    }
}
