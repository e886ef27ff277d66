//! The paths of a snapshot's files, relative to its directory: `docs/format.md` is the source.

use std::path::{Path, PathBuf};

use crate::model::{PartName, TableName, escape_for_file_name};

/// The directory of all parts: `data`.
pub const DATA: &str = "data";

/// The names of the two directories below [`DATA`] that lead to a table's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDirNames {
    /// The database's directory.
    pub database: String,
    /// The table's directory in it.
    pub table: String,
}

impl From<&TableName> for TableDirNames {
    fn from(name: &TableName) -> Self {
        Self { database: escape_for_file_name(&name.database), table: escape_for_file_name(&name.table) }
    }
}

impl TableDirNames {
    /// The path relative to [`DATA`].
    fn below_data(&self) -> PathBuf {
        Path::new(&self.database).join(&self.table)
    }

    /// The path relative to the snapshot.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DATA).join(self.below_data())
    }
}

/// `<database>/<table>`: the directory of a table's parts, relative to [`DATA`].
#[must_use]
pub fn table_below_data(name: &TableName) -> PathBuf {
    TableDirNames::from(name).below_data()
}

/// `data/<database>/<table>`: the directory of a table's parts and of the mutation files stored with them.
#[must_use]
pub fn table_path(name: &TableName) -> PathBuf {
    TableDirNames::from(name).path()
}

/// `data/<database>/<table>/<part>`.
#[must_use]
pub fn part_path(name: &TableName, part: &PartName) -> PathBuf {
    table_path(name).join(part.as_str())
}

/// `metadata/<database>/<table>.sql`.
#[must_use]
pub fn definition_path(name: &TableName) -> PathBuf {
    let file = format!("{}.sql", escape_for_file_name(&name.table));
    Path::new("metadata").join(escape_for_file_name(&name.database)).join(file)
}

/// `metadata/<database>.sql`.
#[must_use]
pub fn database_definition_path(database: &str) -> PathBuf {
    Path::new("metadata").join(format!("{}.sql", escape_for_file_name(database)))
}

/// `dumps/<database>/<table>.native.zst`: the rows of a table that were read.
#[must_use]
pub fn dump_path(name: &TableName) -> PathBuf {
    let file = format!("{}.native.zst", escape_for_file_name(&name.table));
    Path::new("dumps").join(escape_for_file_name(&name.database)).join(file)
}

/// `dumps/<database>/<table>`: the directory of the files of a `Set` or `Join` table.
#[must_use]
pub fn dump_directory(name: &TableName) -> PathBuf {
    Path::new("dumps").join(table_below_data(name))
}

/// Whether a file of a `Set` or `Join` table holds rows: `N.bin`. Source: `StorageSetOrJoinBase::restore`.
#[must_use]
pub fn is_data_file(name: &str) -> bool {
    let number = name.strip_suffix(".bin").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{database_definition_path, definition_path, dump_directory, dump_path, part_path};
    use crate::model::{PartName, TableName};

    #[test]
    fn names_are_escaped_as_clickhouse_escapes_them() {
        let (name, part) =
            (TableName::new("my-db", "t.x"), PartName::try_from("all_1_1_0".to_owned()).expect("a part"));
        assert_eq!(part_path(&name, &part), Path::new("data/my%2Ddb/t%2Ex/all_1_1_0"));
        assert_eq!(definition_path(&name), Path::new("metadata/my%2Ddb/t%2Ex.sql"));
        assert_eq!(dump_path(&name), Path::new("dumps/my%2Ddb/t%2Ex.native.zst"));
        assert_eq!(dump_directory(&name), Path::new("dumps/my%2Ddb/t%2Ex"));
        assert_eq!(database_definition_path("my-db"), Path::new("metadata/my%2Ddb.sql"));
    }
}
