//! `--rename 'a.b=c.d'` and `--rename-db a=b`: the new names of restored tables.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::model::TableName;

/// A text is not a rename.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} renames nothing: write {wanted}; put a backslash before a dot or an equals sign that is part of a name"
)]
pub struct InvalidRename {
    text: String,
    wanted: &'static str,
}

/// A new name for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRename {
    from: TableName,
    to: TableName,
}

/// A new database for all tables of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRename {
    from: String,
    to: String,
}

impl TableRename {
    /// Creates a rename from one name to another.
    #[must_use]
    pub fn new(from: TableName, to: TableName) -> Self {
        Self { from, to }
    }
}

/// The two sides of a rename. A second equals sign must have a backslash: which of the two separates the sides would be
/// a guess.
fn sides(text: &str) -> Option<(&str, &str)> {
    split(text, '=').filter(|(_, to)| split(to, '=').is_none())
}

/// Splits at the first `mark` without a preceding backslash, and removes the backslashes.
fn split(text: &str, mark: char) -> Option<(&str, &str)> {
    let mut escaped = false;
    let at = text.char_indices().find_map(|(index, letter)| {
        let found = letter == mark && !escaped;
        escaped = letter == '\\' && !escaped;
        found.then_some(index)
    })?;
    Some((text.get(..at)?, text.get(at + mark.len_utf8()..)?))
}

fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        // Before any other letter a backslash belongs to the name.
        let is_escape = letter == '\\' && letters.as_str().starts_with(['.', '=', '\\']);
        plain.push(if is_escape { letters.next().unwrap_or(letter) } else { letter });
    }
    plain
}

fn table(text: &str) -> Option<TableName> {
    let (database, table) = split(text, '.')?;
    (!database.is_empty() && !table.is_empty()).then(|| TableName::new(plain(database), plain(table)))
}

impl FromStr for TableRename {
    type Err = InvalidRename;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = sides(text).and_then(|(from, to)| Some(Self { from: table(from)?, to: table(to)? }));
        parsed.ok_or_else(|| InvalidRename { text: text.to_owned(), wanted: "database.table=database.table" })
    }
}

impl FromStr for DatabaseRename {
    type Err = InvalidRename;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = sides(text).filter(|(from, to)| !from.is_empty() && !to.is_empty());
        parsed
            .map(|(from, to)| Self { from: plain(from), to: plain(to) })
            .ok_or_else(|| InvalidRename { text: text.to_owned(), wanted: "database=database" })
    }
}

/// All renames of one restore.
#[derive(Clone, Debug, Default)]
pub struct Renames {
    tables: BTreeMap<TableName, TableName>,
    databases: BTreeMap<String, String>,
}

impl Renames {
    /// Combines these renames; that of a table takes precedence over that of its database.
    #[must_use]
    pub fn new(tables: Vec<TableRename>, databases: Vec<DatabaseRename>) -> Self {
        Self {
            tables: tables.into_iter().map(|rename| (rename.from, rename.to)).collect(),
            databases: databases.into_iter().map(|rename| (rename.from, rename.to)).collect(),
        }
    }

    /// The databases that are renamed as a whole.
    #[must_use]
    pub fn databases(&self) -> &BTreeMap<String, String> {
        &self.databases
    }

    /// Whether nothing is renamed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.databases.is_empty()
    }

    /// Whether this table itself is renamed.
    #[must_use]
    pub fn names_table(&self, table: &TableName) -> bool {
        self.tables.contains_key(table)
    }

    /// The new name of a database.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        self.databases.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The new name of a table.
    #[must_use]
    pub fn table(&self, name: &TableName) -> TableName {
        let renamed = self.tables.get(name).cloned();
        renamed.unwrap_or_else(|| TableName::new(self.database(&name.database), name.table.clone()))
    }

    /// The names to be renamed that match nothing in `tables` and `databases`.
    #[must_use]
    pub fn unmatched(&self, tables: &[TableName], databases: &[&str]) -> Vec<String> {
        let of_tables = self.tables.keys().filter(|name| !tables.contains(name)).map(|name| format!("table {name}"));
        let has = |database: &String| {
            databases.contains(&database.as_str()) || tables.iter().any(|name| name.database == *database)
        };
        let of_databases = self.databases.keys().filter(|name| !has(name)).map(|name| format!("database {name:?}"));
        of_tables.chain(of_databases).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{DatabaseRename, Renames, TableRename};
    use crate::model::TableName;

    #[test]
    fn a_table_is_renamed_before_its_database() {
        let tables: Vec<TableRename> =
            vec![r"a.b=c.d".parse().expect("a rename"), r"a.x\=y=a\.b.z".parse().expect("one")];
        let databases: Vec<DatabaseRename> = vec!["a=n".parse().expect("a rename")];
        let renames = Renames::new(tables, databases);
        let now = |database: &str, table: &str| renames.table(&TableName::new(database, table)).to_string();
        assert_eq!(now("a", "b"), "c.d");
        assert_eq!(now("a", "x=y"), "a.b.z");
        assert_eq!(now("a", "other"), "n.other");
        assert_eq!(now("b", "b"), "b.b");
        let unmatched = renames.unmatched(&[TableName::new("a", "b")], &[]);
        assert_eq!(unmatched, ["table a.x=y"]);
    }

    #[test]
    fn a_backslash_before_any_other_letter_is_one_of_the_names() {
        let rename: TableRename = r"a.b\c=d.e\\f".parse().expect("a rename");
        assert_eq!((rename.from.table.as_str(), rename.to.table.as_str()), (r"b\c", r"e\f"));
    }

    #[test]
    fn names_with_equals_signs_are_written_with_backslashes_on_either_side() {
        let rename: TableRename = r"a\=b.c\=d=e\=f.g\.h\=\=".parse().expect("a rename");
        assert_eq!((&rename.from, &rename.to), (&TableName::new("a=b", "c=d"), &TableName::new("e=f", "g.h==")));
        let rename: DatabaseRename = r"a\=b=c\=".parse().expect("a rename");
        assert_eq!((rename.from.as_str(), rename.to.as_str()), ("a=b", "c="));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "a.b", "a=b", "a.b=", "=a.b", ".b=c.d", "a.=c.d", r"a\.b=c.d", "a.b=x=c.d", "a.b=c.d=e"] {
            assert!(text.parse::<TableRename>().is_err(), "{text}");
        }
        for text in ["", "a", "=a", "a=", "a=b=c"] {
            assert!(text.parse::<DatabaseRename>().is_err(), "{text}");
        }
    }
}
