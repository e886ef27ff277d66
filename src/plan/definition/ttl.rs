//! The TTL of a table and of its columns: removed, and restored.

use std::ops::Range;

use super::clauses::{Clause, ends_operand};
use super::head::DefinitionKind;
use super::mapping::Mapping;
use super::parsed::ParsedDefinition;
use super::tokens::{Token, solid_tokens};

/// The TTL of a column, by its position in the definition.
struct ColumnTtl<'a> {
    /// The column's name as it is written.
    name: &'a str,
    /// The range from the keyword on.
    range: Range<usize>,
    expression: &'a str,
}

impl ParsedDefinition {
    /// Whether rows or values of the table expire, move or are recompressed with time.
    #[must_use]
    pub fn has_ttl(&self) -> bool {
        self.table_ttl().is_some() || !self.column_ttls().is_empty()
    }

    /// The same definition without any TTL.
    #[must_use]
    pub fn without_ttl(&self) -> Self {
        let mut gone: Vec<Range<usize>> = self.column_ttls().into_iter().map(|column| column.range).collect();
        if self.table_ttl().is_some() {
            gone.extend(self.clauses().range(Clause::Ttl));
        }
        let mut tail = self.tail.clone();
        for range in gone.into_iter().rev() {
            let before = tail.get(..range.start).unwrap_or_default().trim_end();
            let behind = tail.get(range.end..).unwrap_or_default();
            let separator = if behind.is_empty() || behind.starts_with([',', ')']) { "" } else { "\n" };
            tail = format!("{before}{separator}{}", behind.trim_start());
        }
        self.with_tail(tail)
    }

    /// The statements that give a table, whose name is quoted, the TTL of this definition. With the query setting
    /// `materialize_ttl_after_modify = 0` they change only the definition.
    #[must_use]
    pub fn ttl_statements(&self, quoted_table: &str) -> Vec<String> {
        let columns = self.column_ttls().into_iter();
        let columns = columns.map(|column| format!("MODIFY COLUMN {} TTL {}", column.name, column.expression));
        let table = self.table_ttl().map(|ttl| format!("MODIFY TTL {ttl}"));
        columns.chain(table).map(|change| format!("ALTER TABLE {quoted_table} {change}")).collect()
    }

    /// Statements that give a table, whose name is quoted, the TTL in `stored` that this definition lacks. Empty if the
    /// two differ in anything but TTL.
    ///
    /// The comparison of two texts cannot show why a TTL is missing: `restore --hold-ttl` leaves it out, and so does
    /// `ALTER TABLE … REMOVE TTL`. A different TTL does not count as missing.
    #[must_use]
    pub fn missing_ttl(&self, stored: &Self, quoted_table: &str) -> Vec<String> {
        let columns = self.column_ttls();
        let lacks = |name: &str| !columns.iter().any(|column| is_same_name(column.name, name));
        let mut missing = Vec::new();
        for column in stored.column_ttls().into_iter().filter(|column| lacks(column.name)) {
            missing.push(format!("MODIFY COLUMN {} TTL {}", column.name, column.expression));
        }
        if self.table_ttl().is_none() {
            missing.extend(stored.table_ttl().map(|ttl| format!("MODIFY TTL {ttl}")));
        }
        if missing.is_empty() || !stored.without_ttl().is_like(&self.without_ttl(), &Mapping::default()) {
            return Vec::new();
        }
        missing.into_iter().map(|change| format!("ALTER TABLE {quoted_table} {change}")).collect()
    }

    fn can_have_ttl(&self) -> bool {
        // A view's own text may contain the TTL of its inner table, which has a definition of its own.
        self.kind == DefinitionKind::Table
    }

    fn table_ttl(&self) -> Option<&str> {
        self.clauses().body(Clause::Ttl).filter(|_| self.can_have_ttl())
    }

    fn column_ttls(&self) -> Vec<ColumnTtl<'_>> {
        if !self.can_have_ttl() || !self.clauses().has(Clause::Columns) {
            return Vec::new();
        }
        let tokens = solid_tokens(&self.tail);
        let mut found = Vec::new();
        let (mut depth, mut begin) = (0, 1);
        for (at, token) in tokens.iter().enumerate() {
            depth += token.depth();
            if depth == 0 || depth == 1 && token.is_mark(",") {
                let element = tokens.get(begin..at).unwrap_or_default();
                found.extend(column_ttl(&self.tail, element, token.start));
                begin = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
        found
    }
}

/// Whether two names are equal, ignoring quotes.
fn is_same_name(one: &str, other: &str) -> bool {
    let name = |text: &str| solid_tokens(text).first().and_then(Token::name);
    name(one) == name(other)
}

/// The TTL in one element of the list of columns, which ends at `end`.
///
/// Source of the order: `ASTColumnDeclaration::formatImpl`.
fn column_ttl<'a>(text: &'a str, element: &[Token<'a>], end: usize) -> Option<ColumnTtl<'a>> {
    let first = element.first()?;
    let is_named = element.get(1).is_some_and(|second| second.name().is_some());
    if is_named && first.is_any(&["INDEX", "CONSTRAINT", "PROJECTION"]) && element.len() > 3 {
        return None;
    }
    let (mut depth, mut can_begin) = (0, false);
    let mut start = None;
    for (at, token) in element.iter().enumerate() {
        if depth == 0 && can_begin && start.is_none() && token.is("TTL") {
            start = Some(token);
            can_begin = false;
            continue;
        }
        let next = element.get(at + 1);
        let ends = token.is("COLLATE")
            || token.is("SETTINGS") && next.is_some_and(|next| next.is_mark("("))
            || token.is("PRIMARY") && next.is_some_and(|next| next.is("KEY"));
        if let Some(keyword) = start.filter(|_| depth == 0 && can_begin && ends) {
            return Some(found(text, first, keyword, token.start));
        }
        depth += token.depth();
        can_begin = depth == 0 && at > 0 && ends_operand(element, at, can_begin);
    }
    start.map(|keyword| found(text, first, keyword, end))
}

fn found<'a>(text: &'a str, name: &Token<'a>, keyword: &Token<'a>, end: usize) -> ColumnTtl<'a> {
    ColumnTtl {
        name: name.text,
        range: keyword.start..end,
        expression: text.get(keyword.end()..end).unwrap_or_default().trim(),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::ParsedDefinition;

    fn missing(live: &str, stored: &str) -> Vec<String> {
        let parse = |text: &str| ParsedDefinition::parse(text).expect("a definition");
        parse(live).missing_ttl(&parse(stored), "`a`.`t`")
    }

    const STORED: &str = "CREATE TABLE a.t (`k` Date, `v` String TTL k + toIntervalDay(1)) ENGINE = MergeTree ORDER BY k \
                          TTL k + toIntervalMonth(1) SETTINGS index_granularity = 8192";

    #[test]
    fn a_ttl_that_was_left_out_is_missing_with_the_statements_that_bring_it_back() {
        let column = "ALTER TABLE `a`.`t` MODIFY COLUMN `v` TTL k + toIntervalDay(1)";
        let table = "ALTER TABLE `a`.`t` MODIFY TTL k + toIntervalMonth(1)";
        let without = ParsedDefinition::parse(STORED).expect("a definition").without_ttl();
        assert_eq!(
            without.missing_ttl(&ParsedDefinition::parse(STORED).expect("a definition"), "`a`.`t`"),
            [column, table]
        );
        let of_table = STORED.replace(" TTL k + toIntervalDay(1)", "");
        assert_eq!(missing(&of_table, STORED), [column]);
        let of_column = STORED.replace("TTL k + toIntervalMonth(1) ", "").replace("`v`", "v");
        assert_eq!(missing(&of_column, STORED), [table]);
    }

    #[test]
    fn a_ttl_that_is_another_one_or_new_is_not_missing() {
        for live in [
            STORED.to_owned(),
            STORED.replace("Month(1)", "Month(2)"),
            // A table that differs not only in its TTL.
            STORED.replace("TTL k + toIntervalMonth(1) ", "").replace("8192", "4096"),
        ] {
            assert!(missing(&live, STORED).is_empty(), "{live}");
        }
        assert!(missing(STORED, &STORED.replace("TTL k + toIntervalMonth(1) ", "")).is_empty());
        let view = "CREATE MATERIALIZED VIEW a.t (`k` Date) ENGINE = MergeTree ORDER BY k TTL k AS SELECT k FROM a.s";
        assert!(missing(&view.replace("TTL k ", ""), view).is_empty());
    }
}
