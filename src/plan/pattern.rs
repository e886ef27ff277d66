//! Patterns for table names: `database.table`, with globs on both sides of a dot.

use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use crate::model::TableName;

/// A pattern `db.glob`, with `*`, `?`, `[…]` and `{…}` as in a shell; `*` also matches dots and slashes.
///
/// Names of databases and of tables may contain dots themselves: the text is split at each of its dots in turn, and
/// matches the tables of all these readings. A backslash before a dot, and backquotes around a name, prevent a split at
/// that dot: `a\.b.c` and `` `a.b`.c `` are the table `c` of the database `a.b`. Text in backquotes is a name and no
/// glob.
#[derive(Clone, Debug)]
pub struct TablePattern {
    text: String,
    readings: Vec<PatternSplit>,
}

/// One way to split a pattern.
#[derive(Clone, Debug)]
struct PatternSplit {
    database: NamePattern,
    table: NamePattern,
}

/// The pattern for the name of a database or a table.
#[derive(Clone, Debug)]
struct NamePattern {
    /// The original text.
    text: String,
    glob: GlobMatcher,
}

/// A text is not a table pattern.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} does not name tables: {reason}")]
pub struct InvalidTablePattern {
    text: String,
    reason: String,
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("both the database and the table must be named".to_owned());
        }
        if let Some(name) = quoted(text).filter(|quoted| quoted.len() == text.len()) {
            let name = unquote(name);
            return if name.is_empty() { Self::parse("") } else { Ok(Self::exactly(&name)) };
        }
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
        let glob = glob.map_err(|error| error.kind().to_string())?;
        Ok(Self { text: text.to_owned(), glob: glob.compile_matcher() })
    }

    fn exactly(name: &str) -> Self {
        let glob = GlobBuilder::new(&globset::escape(name)).literal_separator(false).backslash_escape(false).build();
        let glob = glob.expect("an escaped text is a pattern").compile_matcher();
        Self { text: format!("`{}`", name.replace('\\', r"\\").replace('`', r"\`")), glob }
    }

    /// The text with a backslash before each of its dots.
    fn without_plain_dots(&self) -> String {
        if quoted(&self.text).is_some_and(|quoted| quoted.len() == self.text.len()) {
            return self.text.clone();
        }
        let mut text = String::with_capacity(self.text.len());
        let mut escaped = false;
        for letter in self.text.chars() {
            if letter == '.' && !escaped {
                text.push('\\');
            }
            escaped = letter == '\\' && !escaped;
            text.push(letter);
        }
        text
    }
}

impl TablePattern {
    /// Whether the pattern matches this table.
    #[must_use]
    pub fn matches(&self, name: &TableName) -> bool {
        let is_named = |reading: &PatternSplit| {
            reading.database.glob.is_match(&name.database) && reading.table.glob.is_match(&name.table)
        };
        self.readings.iter().any(is_named)
    }

    /// Whether the pattern matches tables of this database.
    #[must_use]
    pub fn matches_database(&self, database: &str) -> bool {
        self.readings.iter().any(|reading| reading.database.glob.is_match(database))
    }

    /// The pattern that matches exactly this table, whatever its name contains.
    #[must_use]
    pub fn exactly(name: &TableName) -> Self {
        let reading =
            PatternSplit { database: NamePattern::exactly(&name.database), table: NamePattern::exactly(&name.table) };
        Self { text: format!("{}.{}", reading.database.text, reading.table.text), readings: vec![reading] }
    }

    /// The patterns as they apply to these tables: a text that is the exact name of one or several tables matches only
    /// these, even if it is a glob. `t[1]` can be a table.
    #[must_use]
    pub fn resolve<'a>(patterns: &[Self], names: &(impl Iterator<Item = &'a TableName> + Clone)) -> Vec<Self> {
        let resolve = |pattern: &Self| {
            let exact: Vec<Self> =
                names.clone().filter(|name| name.to_string() == pattern.text).map(Self::exactly).collect();
            if exact.is_empty() { vec![pattern.clone()] } else { exact }
        };
        patterns.iter().flat_map(resolve).collect()
    }

    /// Whether the pattern contains the name of the server's own database.
    #[must_use]
    pub fn names_system(&self) -> bool {
        self.text.starts_with("system.") || self.text.starts_with("`system`.")
    }

    /// The original text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern as texts that can be split in only one way: for records, which [`TablePattern::recorded`] reads.
    #[must_use]
    pub fn to_record(&self) -> Vec<String> {
        let text = |reading: &PatternSplit| {
            format!("{}.{}", reading.database.without_plain_dots(), reading.table.without_plain_dots())
        };
        self.readings.iter().map(text).collect()
    }

    /// Parses a pattern from a record: it is split only at its first dot, as records have always been.
    ///
    /// # Errors
    /// If it is not a table pattern.
    pub fn recorded(text: &str) -> Result<Self, InvalidTablePattern> {
        let dot = dots(text).next();
        Self::split_at(text, dot.into_iter())
    }

    /// Parses a text that is split at these byte offsets. Splits that give no valid globs are ignored; at least one
    /// must remain.
    fn split_at(text: &str, dots: impl Iterator<Item = usize>) -> Result<Self, InvalidTablePattern> {
        let invalid = |reason: String| InvalidTablePattern { text: text.to_owned(), reason };
        if is_nested_too_deeply(text) {
            return Err(invalid(format!("more than {NESTING_LIMIT} braces stand in each other")));
        }
        let (mut readings, mut refused) = (Vec::new(), None);
        for (number, dot) in dots.enumerate() {
            if number == DOTS_LIMIT {
                return Err(invalid(format!("it has more than {DOTS_LIMIT} dots: write names in backquotes")));
            }
            let (database, table) = (text.get(..dot).unwrap_or_default(), text.get(dot + 1..).unwrap_or_default());
            match (NamePattern::parse(database), NamePattern::parse(table)) {
                (Ok(database), Ok(table)) => readings.push(PatternSplit { database, table }),
                (Err(reason), _) | (_, Err(reason)) => {
                    refused.get_or_insert(reason);
                }
            }
        }
        if readings.is_empty() {
            let usual = "write database.table, for example 'default.events' or '*.events'";
            return Err(invalid(refused.unwrap_or_else(|| usual.to_owned())));
        }
        Ok(Self { text: text.to_owned(), readings })
    }
}

/// More dots than names have in practice: each adds one reading of a pattern.
const DOTS_LIMIT: usize = 32;

/// The backquoted name at the start of a text, including the quotes; `None` unless a dot or the end follows it.
fn quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    let end = text.strip_prefix('`')?.char_indices().find_map(|(index, letter)| {
        let found = letter == '`' && !escaped;
        escaped = letter == '\\' && !escaped;
        found.then_some(index + 2)
    })?;
    let (quoted, rest) = text.split_at_checked(end)?;
    (rest.is_empty() || rest.starts_with('.')).then_some(quoted)
}

/// A name without its backquotes and escapes.
fn unquote(quoted: &str) -> String {
    let inner = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap_or(quoted);
    let mut name = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        name.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    name
}

/// The offsets at which a text can be split: its dots, except those after a backslash and in backquotes.
fn dots(text: &str) -> impl Iterator<Item = usize> {
    let (mut position, mut is_begin) = (0, true);
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(position..)?;
            if let Some(name) = quoted(rest).filter(|_| is_begin) {
                (position, is_begin) = (position + name.len(), false);
                continue;
            }
            let mut letters = rest.chars();
            let letter = letters.next()?;
            let at = position;
            position += letter.len_utf8();
            is_begin = letter == '.';
            if is_begin {
                return Some(at);
            }
            if letter == '\\' {
                position += letters.next().map_or(0, char::len_utf8);
            }
        }
    })
}

/// The largest nesting depth of braces: more than people write, and little enough for a recursive parser.
const NESTING_LIMIT: usize = 32;

/// The largest number of braces open at the same time.
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

/// Whether braces are nested too deeply.
pub(super) fn is_nested_too_deeply(text: &str) -> bool {
    nesting(text) > NESTING_LIMIT
}

impl FromStr for TablePattern {
    type Err = InvalidTablePattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::split_at(text, dots(text))
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
    fn a_dot_separates_database_from_table() {
        assert!(matches("db.events", "db", "events"));
        assert!(matches("db.*", "db", ".inner.mv"));
        assert!(matches("*.events", "x/y", "events"));
        assert!(matches(r"a\.b.c", "a.b", "c"));
        assert!(matches("d{1,2}.t?", "d2", "t9"));
        assert!(!matches("db.*", "db2", "t"));
        assert!(!matches("db.t", "db", "tt"));
    }

    #[test]
    fn each_dot_may_separate_database_from_table() {
        for (database, table, is_named) in
            [("a", "b.c", true), ("a.b", "c", true), ("a", "b", false), ("a.b.c", "c", false)]
        {
            assert_eq!(matches("a.b.c", database, table), is_named, "{database} {table}");
        }
        // A pattern that marks the separating dot means one of them.
        for (pattern, database, table) in [
            (r"a\.b.c", "a.b", "c"),
            (r"a.b\.c", "a", "b.c"),
            ("`a.b`.c", "a.b", "c"),
            ("a.`b.c`", "a", "b.c"),
            ("`a.b`.`c`", "a.b", "c"),
        ] {
            for (other, of_other) in [("a.b", "c"), ("a", "b.c")] {
                assert_eq!(
                    matches(pattern, other, of_other),
                    (other, of_other) == (database, table),
                    "{pattern}: {other}"
                );
            }
        }
        assert!(matches("`a.b`.*", "a.b", "c.d") && !matches("`a.b`.*", "a", "b.c"));
        assert!(matches("`a*`.t", "a*", "t") && !matches("`a*`.t", "ab", "t"));
        assert!(matches(r"`a\`\\b`.t", r"a`\b", "t"));
        assert!(matches("{a.b,c}.t", "a.b", "t"), "a dot in braces splits no glob");
        assert!(matches("db.back`tick", "db", "back`tick"), "one backquote is a letter");
    }

    #[test]
    fn the_name_of_a_table_wins_over_a_glob() {
        let names = [("a", "t[1]"), ("a", "t1"), ("a.b", "c"), ("a", "b.c"), ("a", "b")];
        let names = names.map(|(database, table)| TableName::new(database, table));
        let chosen = |text: &str| -> Vec<String> {
            let patterns = TablePattern::resolve(&[text.parse().expect("a pattern")], &names.iter());
            let is_named = |name: &&TableName| patterns.iter().any(|pattern| pattern.matches(name));
            names.iter().filter(is_named).map(|name| format!("{}|{}", name.database, name.table)).collect()
        };
        assert_eq!(chosen("a.t[1]"), ["a|t[1]"]);
        assert_eq!(chosen("a.t[12]"), ["a|t1"]);
        assert_eq!(chosen("a.b.c"), ["a.b|c", "a|b.c"]);
        assert_eq!(chosen("a.b"), ["a|b"]);
        assert_eq!(chosen("a.b*"), ["a|b.c", "a|b"]);
    }

    #[test]
    fn a_record_names_what_the_pattern_has_named() {
        let names = [("a", "b.c"), ("a.b", "c"), ("a", "b"), ("x.y", "z"), ("a`b", r"c\d")];
        for name in names.map(|(database, table)| TableName::new(database, table)) {
            for text in ["a.b.c", r"a\.b.c", "`a.b`.c", "*.b.*", "a.*", "*.*", r"`a\`b`.*", "x.[y].z"] {
                let pattern: TablePattern = text.parse().expect("a pattern");
                let records = pattern.to_record();
                let is_named =
                    records.iter().any(|text| TablePattern::recorded(text).is_ok_and(|read| read.matches(&name)));
                assert_eq!(is_named, pattern.matches(&name), "{text} {name}: {records:?}");
            }
            let exact = TablePattern::exactly(&name);
            assert!(exact.as_str().parse::<TablePattern>().is_ok_and(|read| read.matches(&name)), "{name}");
        }
        assert!(TablePattern::recorded("a.b.c").is_ok_and(|read| !read.matches(&TableName::new("a.b", "c"))));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "events", ".t", "db.", "db.[", r"a\.b", "`a.b`", "``.t", "db.``", &"a.".repeat(100_000)] {
            assert!(text.parse::<TablePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn braces_may_be_nested_to_a_limit() {
        let nested = |depth: usize| format!("db.{}a{}", "{".repeat(depth), "}".repeat(depth));
        assert!(matches(&nested(20), "db", "a"));
        assert!(nested(100_000).parse::<TablePattern>().is_err());
        assert!("db.{".repeat(100_000).parse::<TablePattern>().is_err());
    }
}
