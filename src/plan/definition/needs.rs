//! Functions and named collections that a definition needs.

use super::calls::{calls, pairs};
use super::object::ObjectKind;
use super::parsed::ParsedDefinition;
use super::reach::is_foreign;
use super::tokens::{Token, solid_tokens};

impl ParsedDefinition {
    /// Whether it calls this function, or passes this named collection to an engine, a table function or a source. A
    /// column can have the same name. An object of another kind is needed if its name occurs.
    #[must_use]
    pub fn needs(&self, kind: ObjectKind, name: &str) -> bool {
        let text = self.behind_name();
        let tokens = solid_tokens(&text);
        let is_it = |at: usize| tokens.get(at).and_then(Token::name).is_some_and(|found| found == name);
        let keyword_before = |at: usize, keywords: &[&str]| {
            at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|before| before.is_any(keywords))
        };
        match kind {
            ObjectKind::Function => calls(&tokens).iter().any(|call| is_it(call.at)),
            ObjectKind::NamedCollection => calls(&tokens).iter().any(|call| {
                let is_engine = call.at.checked_sub(1).and_then(|at| tokens.get(at)).is_some_and(|t| t.is_mark("="));
                // After a comma a table function looks like any other function.
                let is_table = is_foreign(&call.name) || keyword_before(call.at, &["FROM", "JOIN", "AS", "FUNCTION"]);
                let is_source = || pairs(&tokens, call.inside()).iter().any(|(key, at)| key == "NAME" && is_it(*at));
                (is_engine || is_table) && call.single(0).is_some_and(is_it) || is_source()
            }),
            _ => self.mentions(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{ObjectKind, ParsedDefinition};

    fn needs(text: &str, kind: ObjectKind) -> bool {
        ParsedDefinition::parse(text).expect("a definition").needs(kind, "x")
    }

    #[test]
    fn only_a_call_needs_a_function() {
        for text in [
            "CREATE TABLE a.t (`x` UInt8, y UInt8 DEFAULT x) ENGINE = MergeTree ORDER BY (x)",
            "CREATE VIEW a.v AS SELECT x, 'x(1)' FROM a.t",
            "CREATE VIEW a.v AS SELECT x AS y /* x(1) */ FROM a.x",
        ] {
            assert!(!needs(text, ObjectKind::Function), "{text}");
        }
        for text in [
            "CREATE VIEW a.v AS SELECT x(y) FROM a.t",
            "CREATE TABLE a.t (y UInt8 DEFAULT `x`()) ENGINE = MergeTree ORDER BY y",
        ] {
            assert!(needs(text, ObjectKind::Function), "{text}");
        }
    }

    #[test]
    fn only_arguments_of_an_engine_or_a_source_need_a_named_collection() {
        for text in [
            "CREATE TABLE a.t (`x` UInt8, y UInt8 DEFAULT abs(x)) ENGINE = MergeTree ORDER BY abs(x)",
            "CREATE VIEW a.v AS SELECT sum(x) FROM a.t",
        ] {
            assert!(!needs(text, ObjectKind::NamedCollection), "{text}");
        }
        for text in [
            "CREATE TABLE a.t (y UInt8) ENGINE = S3(x, format = 'CSV')",
            "CREATE VIEW a.v AS SELECT y FROM s3(`x`)",
            "CREATE VIEW a.v AS SELECT y FROM a.t, s3(x)",
            "CREATE DICTIONARY a.d (y UInt8) PRIMARY KEY y SOURCE(CLICKHOUSE(NAME x TABLE 't')) LAYOUT(FLAT())",
        ] {
            assert!(needs(text, ObjectKind::NamedCollection), "{text}");
        }
    }
}
