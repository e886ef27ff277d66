//! The tables that the query of a view reads.

use std::collections::BTreeSet;

use crate::model::TableName;

use super::clauses::Clause;
use super::head::DefinitionKind;
use super::literal::quote;
use super::mapping::Mapping;
use super::parsed::{ParsedDefinition, Verb};
use super::tokens::{Token, solid_tokens};

impl ParsedDefinition {
    /// The same definition with the new names; `None` if it cannot be read again.
    #[must_use]
    pub fn renamed(&self, mapping: &Mapping) -> Option<Self> {
        Self::parse(&self.statement(Verb::Create, &quote("_", '`'), (None, None), mapping)).ok()
    }

    /// The tables that the query of a view names as `database.table` after FROM or JOIN. A table that it names in
    /// another way is not among them.
    #[must_use]
    pub fn reads(&self) -> BTreeSet<TableName> {
        let is_view = matches!(self.kind, DefinitionKind::View | DefinitionKind::MaterializedView);
        let select = self.clauses().body(Clause::Select).filter(|_| is_view);
        let tokens = select.map(solid_tokens).unwrap_or_default();
        // FROM among the arguments of a function is no clause: `trim(LEADING 'x' FROM a.b)`.
        let mut is_query = vec![true];
        let mut found = BTreeSet::new();
        for (at, token) in tokens.iter().enumerate() {
            match token.depth() {
                1 => is_query.push(tokens.get(at + 1).is_some_and(|next| next.is_any(&["SELECT", "WITH", "FROM"]))),
                -1 if is_query.len() > 1 => drop(is_query.pop()),
                _ if is_query.last() == Some(&true) && begins_table(&tokens, at) => {
                    found.extend(table(tokens.get(at + 1..).unwrap_or_default()));
                }
                _ => {}
            }
        }
        found
    }
}

/// Whether a table follows: after FROM or JOIN, but not after ARRAY JOIN, which takes columns.
fn begins_table(tokens: &[Token<'_>], at: usize) -> bool {
    let is = |at: Option<usize>, word: &str| at.and_then(|at| tokens.get(at)).is_some_and(|token| token.is(word));
    is(Some(at), "FROM") || is(Some(at), "JOIN") && !is(at.checked_sub(1), "ARRAY")
}

/// `database.table` at the beginning, unless it is a view with parameters.
fn table(tokens: &[Token<'_>]) -> Option<TableName> {
    let [database, dot, table, rest @ ..] = tokens else { return None };
    let is_call = rest.first().is_some_and(|next| next.is_mark("(") || next.is_mark("."));
    (dot.is_mark(".") && !is_call).then_some(())?;
    Some(TableName::new(database.name()?, table.name()?))
}

#[cfg(test)]
mod tests {
    use crate::model::TableName;
    use crate::plan::{Mapping, ParsedDefinition};

    fn reads(text: &str) -> Vec<String> {
        let tables = ParsedDefinition::parse(text).expect("a definition").reads();
        tables.into_iter().map(|table| table.to_string()).collect()
    }

    #[test]
    fn tables_of_a_query_are_those_after_from_and_join() {
        for (query, wanted) in [
            ("SELECT k FROM a.t", vec!["a.t"]),
            ("SELECT k FROM (SELECT k FROM `a`.`t t` WHERE k IN (SELECT k FROM a.u)) AS x", vec!["a.t t", "a.u"]),
            ("SELECT k FROM a.t ANY LEFT JOIN b.u USING (k) ARRAY JOIN t.x AS y", vec!["a.t", "b.u"]),
            ("WITH q AS (SELECT 1 AS k) SELECT k FROM q, numbers(3)", vec![]),
            ("SELECT trim(LEADING 'x' FROM t.s), 'FROM a.b' FROM t", vec![]),
            ("SELECT k FROM a.parametrized(x = 1)", vec![]),
        ] {
            for head in ["CREATE VIEW a.v AS", "ATTACH MATERIALIZED VIEW _ TO a.w (`k` UInt8) AS"] {
                assert_eq!(reads(&format!("{head} {query}")), wanted, "{query}");
            }
        }
        assert!(reads("CREATE TABLE a.t (k UInt8) ENGINE = Merge('a', 'FROM b.c')").is_empty());
    }

    #[test]
    fn a_renamed_definition_names_the_new_tables() {
        let view = ParsedDefinition::parse("ATTACH MATERIALIZED VIEW _ TO a.w (`k` UInt8) AS SELECT k FROM a.t");
        let to = TableName::new("b", "w");
        let mapping = Mapping { tables: [(TableName::new("a", "w"), to)].into(), ..Mapping::default() };
        let renamed = view.expect("a definition").renamed(&mapping).expect("a definition");
        assert_eq!(renamed.target(), Some((Some("b".to_owned()), "w".to_owned())));
        assert_eq!(renamed.reads(), [TableName::new("a", "t")].into());
    }
}
