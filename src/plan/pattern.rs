//! Patterns that name tables: `database.table`, with globs on both sides of the first dot.

use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use crate::model::TableName;

/// `db.glob`, split at the first dot that no backslash precedes: what is before it names databases, what is behind
/// it tables, dots and all. `*`, `?`, `[…]` and `{…}` as in a shell; `*` also matches dots and slashes.
#[derive(Clone, Debug)]
pub struct TablePattern {
    text: String,
    database: GlobMatcher,
    table: GlobMatcher,
}

/// A text is not a pattern for tables.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} does not name tables: {reason}")]
pub struct InvalidTablePattern {
    text: String,
    reason: String,
}

impl TablePattern {
    /// Whether the pattern names this table.
    #[must_use]
    pub fn matches(&self, name: &TableName) -> bool {
        self.database.is_match(&name.database) && self.table.is_match(&name.table)
    }

    /// Whether the pattern names tables of this database.
    #[must_use]
    pub fn matches_database(&self, database: &str) -> bool {
        self.database.is_match(database)
    }

    /// The pattern of this one table, whatever stands in its name.
    #[must_use]
    pub fn exactly(name: &TableName) -> Self {
        let glob = |text: &str| {
            GlobBuilder::new(&globset::escape(text))
                .literal_separator(false)
                .backslash_escape(false)
                .build()
                .map(|glob| glob.compile_matcher())
                .expect("an escaped text is a pattern")
        };
        let (database, table) = (glob(&name.database), glob(&name.table));
        Self { text: name.to_string(), database, table }
    }

    /// Whether the pattern asks for the server's own database by name.
    #[must_use]
    pub fn names_system(&self) -> bool {
        self.text.starts_with("system.")
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Braces in braces: more than anyone writes, and few enough for what reads them one within the other.
const NESTING_LIMIT: usize = 32;

/// How many braces stand open at once, at most.
fn nesting(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for letter in text.bytes() {
        match letter {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Whether braces stand in each other more often than anyone writes it.
pub(super) fn is_nested_too_deeply(text: &str) -> bool {
    nesting(text) > NESTING_LIMIT
}

fn first_plain_dot(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(index, letter)| {
        let found = letter == '.' && !escaped;
        escaped = letter == '\\' && !escaped;
        found.then_some(index)
    })
}

impl FromStr for TablePattern {
    type Err = InvalidTablePattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| InvalidTablePattern { text: text.to_owned(), reason };
        if is_nested_too_deeply(text) {
            return Err(invalid(format!("more than {NESTING_LIMIT} braces stand in each other")));
        }
        let glob = |part: &str| {
            GlobBuilder::new(part)
                .literal_separator(false)
                .backslash_escape(true)
                .build()
                .map(|glob| glob.compile_matcher())
                .map_err(|error| invalid(error.kind().to_string()))
        };
        let dot = first_plain_dot(text)
            .ok_or_else(|| invalid("write database.table, for example 'default.events' or '*.events'".to_owned()))?;
        let (database, table) = (text.get(..dot).unwrap_or_default(), text.get(dot + 1..).unwrap_or_default());
        if database.is_empty() || table.is_empty() {
            return Err(invalid("both the database and the table must be named".to_owned()));
        }
        Ok(Self { text: text.to_owned(), database: glob(database)?, table: glob(table)? })
    }
}

#[cfg(test)]
mod tests {
    use super::TablePattern;
    use crate::model::TableName;

    fn matches(pattern: &str, database: &str, table: &str) -> bool {
        pattern.parse::<TablePattern>().expect("a valid pattern").matches(&TableName::new(database, table))
    }

    #[test]
    fn the_first_dot_parts_database_from_table() {
        assert!(matches("db.events", "db", "events"));
        assert!(matches("db.*", "db", ".inner.mv"));
        assert!(matches("*.events", "x/y", "events"));
        assert!(matches(r"a\.b.c", "a.b", "c"));
        assert!(matches("d{1,2}.t?", "d2", "t9"));
        assert!(!matches("db.*", "db2", "t"));
        assert!(!matches("db.t", "db", "tt"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "events", ".t", "db.", "db.[", r"a\.b"] {
            assert!(text.parse::<TablePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn braces_may_stand_in_braces_but_not_without_end() {
        let nested = |depth: usize| format!("db.{}a{}", "{".repeat(depth), "}".repeat(depth));
        assert!(matches(&nested(20), "db", "a"));
        assert!(nested(100_000).parse::<TablePattern>().is_err());
        assert!("db.{".repeat(100_000).parse::<TablePattern>().is_err());
    }
}
