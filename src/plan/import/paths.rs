//! Resolves names in a foreign list to paths in a tree.

use std::path::{Component, Path, PathBuf};

use crate::model::{PartName, TableName, unescape_file_name};

/// A path beneath the tree; `None` if the text leads, or could lead, anywhere else.
///
/// Servers write no path that is longer than filesystems allow, absolute, or contains `..`, `.`, an empty component or
/// a NUL.
#[must_use]
pub fn relative_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_plain = !text.is_empty()
        && text.len() <= 4095
        && !text.contains('\0')
        && text.split('/').all(|part| !part.is_empty() && part.len() <= 255 && part != "." && part != "..")
        && path.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| path.to_owned())
}

/// The object that a path in a backup's tree belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathInTree {
    /// `metadata/<database>.sql`.
    Database(String),
    /// `metadata/<database>/<table>.sql`.
    Table(TableName),
    /// `data/<database>/<table>/<part>/<path>`.
    Part {
        /// The table whose name is in the path.
        table: TableName,
        /// The part.
        part: PartName,
        /// The path in the part.
        path: String,
    },
    /// `data/<database>/<table>/mutations/<file>`: a mutation that some part of the table lacks.
    Mutation(TableName),
    /// `data/system/functions/<name>.sql`, with the escaped name.
    Function(String),
    /// `data/<database>/<table>/<file>`, for a table without parts, and anything in a directory there that is no part.
    Data(TableName),
    /// Anything else: for example access entities.
    Other,
}

impl PathInTree {
    /// The table that it belongs to, if it belongs to one.
    #[must_use]
    pub fn table(self) -> Option<TableName> {
        match self {
            Self::Part { table, .. } | Self::Table(table) | Self::Data(table) | Self::Mutation(table) => Some(table),
            Self::Database(_) | Self::Function(_) | Self::Other => None,
        }
    }
}

/// The object that a path accepted by [`relative_path`] belongs to.
#[must_use]
pub fn place_in_tree(path: &str) -> PathInTree {
    let mut parts = path.split('/');
    let (top, first, second) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = |database: Option<&str>, table: &str| {
        Some(TableName::new(unescape_file_name(database?)?, unescape_file_name(table)?))
    };
    let rest: Vec<&str> = parts.collect();
    let stem = |name: &'_ str| name.strip_suffix(".sql").map(str::to_owned);
    match (top, first, second, rest.as_slice()) {
        ("metadata", Some(file), None, []) => {
            let database = stem(file).and_then(|stem| unescape_file_name(&stem));
            database.map_or(PathInTree::Other, PathInTree::Database)
        }
        ("metadata", database, Some(file), []) => {
            let table = stem(file).and_then(|stem| name(database, &stem));
            table.map_or(PathInTree::Other, PathInTree::Table)
        }
        ("data", Some("system"), Some("functions"), [file]) => {
            stem(file).map_or(PathInTree::Other, PathInTree::Function)
        }
        ("data", database, Some(table), ["mutations", _]) => {
            name(database, table).map_or(PathInTree::Other, PathInTree::Mutation)
        }
        ("data", database, Some(table), [_]) => name(database, table).map_or(PathInTree::Other, PathInTree::Data),
        ("data", database, Some(table), [part, path @ ..]) if !path.is_empty() => {
            let part = PartName::try_from((*part).to_owned()).ok();
            match name(database, table).zip(part) {
                Some((table, part)) if part.blocks().is_some() => {
                    PathInTree::Part { table, part, path: path.join("/") }
                }
                Some((table, _)) => PathInTree::Data(table),
                None => PathInTree::Other,
            }
        }
        _ => PathInTree::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PathInTree, place_in_tree, relative_path};
    use crate::model::TableName;

    #[test]
    fn paths_that_lead_anywhere_else_are_none() {
        for text in ["", "/etc/passwd", "../x", "data/../../x", "a//b", "./a", "a/.", "a/", "a\0b"] {
            assert_eq!(relative_path(text), None, "{text:?}");
        }
        assert_eq!(relative_path(&"a/".repeat(3000)), None);
        assert_eq!(relative_path(&"a".repeat(256)), None);
        assert!(relative_path("data/db/t%2Ex/all_1_1_0/..x").is_some());
    }

    #[test]
    fn places_are_recognized_by_their_paths() {
        let table = TableName::new("my-db", "a.b");
        assert_eq!(place_in_tree("metadata/my%2Ddb.sql"), PathInTree::Database("my-db".to_owned()));
        assert_eq!(place_in_tree("metadata/my%2Ddb/a%2Eb.sql"), PathInTree::Table(table.clone()));
        let PathInTree::Part { table: of, part, path } = place_in_tree("data/my%2Ddb/a%2Eb/all_1_1_0/p.proj/x.bin")
        else {
            panic!("a part");
        };
        assert_eq!((of, part.as_str(), path.as_str()), (table.clone(), "all_1_1_0", "p.proj/x.bin"));
        assert_eq!(place_in_tree("data/my%2Ddb/a%2Eb/sizes.json"), PathInTree::Data(table.clone()));
        assert_eq!(place_in_tree("data/my%2Ddb/a%2Eb/mutations/0000000003.txt"), PathInTree::Mutation(table.clone()));
        // As the inner tables of a TimeSeries table.
        assert_eq!(place_in_tree("data/my%2Ddb/a%2Eb/samples/all_1_1_0/x.bin"), PathInTree::Data(table));
        assert_eq!(place_in_tree("data/system/functions/f%2Dg.sql"), PathInTree::Function("f%2Dg".to_owned()));
        for other in
            ["access/x.txt", "metadata/a/b/c.sql", "data/a", "metadata/x", "data/a%2/t/p/f", "metadata/a.b.sql"]
        {
            assert_eq!(place_in_tree(other), PathInTree::Other, "{other}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_taken_leaves_the_tree(text in "[a./\\x00]{0,12}") {
            if let Some(path) = relative_path(&text) {
                prop_assert!(path.is_relative() && path.components().all(|part| part.as_os_str() != ".."));
                drop(place_in_tree(&text));
            }
        }
    }
}
