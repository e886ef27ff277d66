//! Definitions as snapshots hold them, made into statements for other names and UUIDs.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid};

use super::tokens::{Token, TokenKind, tokens};

/// What a definition defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionKind {
    /// `TABLE`.
    Table,
    /// `VIEW`.
    View,
    /// `MATERIALIZED VIEW`.
    MaterializedView,
    /// `LIVE VIEW` or `WINDOW VIEW`.
    OtherView,
    /// `DICTIONARY`.
    Dictionary,
    /// `DATABASE`.
    Database,
}

/// A definition: its head taken apart, the rest as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it defines.
    pub kind: DefinitionKind,
    /// The words for that: `LIVE VIEW`.
    words: String,
    /// The UUID in it.
    pub uuid: Option<TableUuid>,
    /// The UUID of the inner table of a materialized view.
    pub inner_uuid: Option<TableUuid>,
    /// All behind the head.
    tail: String,
}

/// A text is no definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its definition cannot be read: {reason}")]
pub struct DefinitionError {
    reason: String,
}

/// Which words begin a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// What is there on disk is taken as it is, and little is checked.
    Attach,
    /// It is made, and checked.
    Create,
}

/// What stands in the place of a Replicated engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replicated {
    /// The same engine with the same path and replica.
    #[default]
    Keep,
    /// The engine of the same name without `Replicated`.
    AsMergeTree,
    /// The same engine with a path of the table's new UUID.
    NewPath,
}

/// Which names and UUIDs stand for which.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Tables that have another name now.
    pub tables: BTreeMap<TableName, TableName>,
    /// UUIDs that are others now.
    pub uuids: BTreeMap<TableUuid, TableUuid>,
    /// What becomes of Replicated engines.
    pub replicated: Replicated,
}

/// Reads tokens that are no space.
struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<Token<'a>> {
        while self.tokens.get(self.at).is_some_and(|token| token.kind == TokenKind::Space) {
            self.at += 1;
        }
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn takes(&mut self, keywords: &[&str]) -> bool {
        let before = self.at;
        let found = keywords.iter().all(|keyword| self.next().is_some_and(|token| token.is(keyword)));
        if !found {
            self.at = before;
        }
        found
    }

    fn uuid(&mut self, keywords: &[&str]) -> Result<Option<TableUuid>, DefinitionError> {
        if !self.takes(keywords) {
            return Ok(None);
        }
        let text = self.next().and_then(|token| token.value()).unwrap_or_default();
        TableUuid::from_server(&text).map_err(|error| DefinitionError { reason: error.to_string() })
    }
}

const KINDS: [(&[&str], DefinitionKind); 7] = [
    (&["MATERIALIZED", "VIEW"], DefinitionKind::MaterializedView),
    (&["LIVE", "VIEW"], DefinitionKind::OtherView),
    (&["WINDOW", "VIEW"], DefinitionKind::OtherView),
    (&["VIEW"], DefinitionKind::View),
    (&["DICTIONARY"], DefinitionKind::Dictionary),
    (&["DATABASE"], DefinitionKind::Database),
    (&["TABLE"], DefinitionKind::Table),
];

impl Definition {
    /// Takes the head of a definition apart: `ATTACH TABLE _ UUID '…'`, `CREATE VIEW a.b`, `ATTACH DATABASE x` ….
    ///
    /// # Errors
    /// If it does not begin like one.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let unknown = |what: &str| DefinitionError { reason: format!("{what} is not where it should be") };
        let mut reader = Reader { tokens: tokens(text), at: 0 };
        if !reader.takes(&["ATTACH"]) && !reader.takes(&["CREATE"]) {
            return Err(unknown("ATTACH or CREATE"));
        }
        reader.takes(&["OR", "REPLACE"]);
        let found = KINDS.iter().find(|(keywords, _)| reader.takes(keywords));
        let (keywords, kind) = found.ok_or_else(|| unknown("TABLE, VIEW, DICTIONARY or DATABASE"))?;
        reader.takes(&["IF", "NOT", "EXISTS"]);
        let name = |reader: &mut Reader<'_>| reader.next().and_then(|token| token.name()).map(drop);
        name(&mut reader).ok_or_else(|| unknown("a name"))?;
        if reader.peek().is_some_and(|token| token.is_mark(".")) {
            reader.next();
            name(&mut reader).ok_or_else(|| unknown("a name"))?;
        }
        let uuid = reader.uuid(&["UUID"])?;
        let inner_uuid = reader.uuid(&["TO", "INNER", "UUID"])?;
        let tail: String = reader.tokens.get(reader.at..).unwrap_or_default().iter().map(|token| token.text).collect();
        Ok(Self { kind: *kind, words: keywords.join(" "), uuid, inner_uuid, tail: tail.trim().to_owned() })
    }

    /// The statement that makes it under another name, already quoted, and with these UUIDs.
    #[must_use]
    pub fn statement(
        &self,
        verb: Verb,
        quoted_name: &str,
        (uuid, inner_uuid): (Option<&TableUuid>, Option<&TableUuid>),
        mapping: &Mapping,
    ) -> String {
        let verb = match verb {
            Verb::Attach => "ATTACH",
            Verb::Create => "CREATE",
        };
        let uuid = uuid.map(|uuid| format!(" UUID '{uuid}'")).unwrap_or_default();
        let inner = inner_uuid.map(|uuid| format!(" TO INNER UUID '{uuid}'")).unwrap_or_default();
        format!("{verb} {} {quoted_name}{uuid}{inner} {}", self.words, mapping.rewrite(&self.tail))
    }

    /// Whether it defines the same as another one, whatever their names and UUIDs are.
    #[must_use]
    pub fn is_like(&self, other: &Self, mapping: &Mapping) -> bool {
        self.kind == other.kind && normal(&mapping.rewrite(&self.tail)) == normal(&other.tail)
    }

    /// Whether this word, a name say, stands anywhere in it.
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        tokens(&self.tail).iter().any(|token| token.name().is_some_and(|name| name == word))
    }
}

/// Statements are printed on one line or on many.
fn normal(sql: &str) -> Vec<&str> {
    tokens(sql).into_iter().filter(|token| token.kind != TokenKind::Space).map(|token| token.text).collect()
}

impl Mapping {
    /// Replaces, in what stands behind the head of a definition, the names and UUIDs that are others now.
    ///
    /// Names are found where one stands behind another with a dot between them: `database.table`. A column with the
    /// alias of a table before it looks the same; only the names of renamed tables are replaced.
    #[must_use]
    pub fn rewrite(&self, sql: &str) -> String {
        let tokens = tokens(sql);
        let mut texts: Vec<String> = tokens.iter().map(|token| token.text.to_owned()).collect();
        let solid: Vec<usize> = (0..tokens.len())
            .filter(|at| tokens.get(*at).is_some_and(|token| token.kind != TokenKind::Space))
            .collect();
        let mut set = |position: Option<&usize>, text: String| {
            if let Some(place) = position.and_then(|at| texts.get_mut(*at)) {
                *place = text;
            }
        };
        let token = |position: usize| solid.get(position).and_then(|at| tokens.get(*at));
        for position in 0..solid.len() {
            self.rewrite_literal(position, &token, &mut |at, text| set(solid.get(at), text));
            self.rewrite_name(position, &token, &mut |at, text| set(solid.get(at), text));
        }
        let joined = texts.concat();
        if self.replicated == Replicated::Keep { joined } else { self.rewrite_engine(&joined) }
    }

    fn rewrite_name<'a>(
        &self,
        position: usize,
        token: &dyn Fn(usize) -> Option<&'a Token<'a>>,
        set: &mut dyn FnMut(usize, String),
    ) {
        let is_dot = |at: usize| token(at).is_some_and(|token| token.is_mark("."));
        if position > 0 && is_dot(position - 1) || !is_dot(position + 1) {
            return;
        }
        let name = |at: usize| token(at).and_then(Token::name);
        let (Some(database), Some(table)) = (name(position), name(position + 2)) else { return };
        if let Some(now) = self.table(&TableName::new(database, table)) {
            set(position, quote(&now.database, '`'));
            set(position + 2, quote(&now.table, '`'));
        }
    }

    fn rewrite_literal<'a>(
        &self,
        position: usize,
        token: &dyn Fn(usize) -> Option<&'a Token<'a>>,
        set: &mut dyn FnMut(usize, String),
    ) {
        let value = |at: usize| token(at).and_then(Token::value);
        let Some(text) = value(position) else { return };
        // A path of the table's old UUID.
        let mut changed = text.clone();
        for (old, new) in &self.uuids {
            changed = changed.replace(old.as_str(), new.as_str());
        }
        // `dictGet('database.dictionary', …)`.
        let is_argument = position >= 2
            && token(position - 1).is_some_and(|token| token.is_mark("("))
            && token(position - 2)
                .is_some_and(|token| token.text.starts_with("dict") || token.text.starts_with("joinGet"));
        if let Some((database, table)) = text.split_once('.').filter(|_| is_argument)
            && let Some(now) = self.table(&TableName::new(database, table))
        {
            changed = format!("{}.{}", now.database, now.table);
        }
        if changed != text {
            set(position, quote(&changed, '\''));
            return;
        }
        // `DB 'database' TABLE 'table'` of a dictionary; `'database', 'table'` of the engines Buffer and Distributed.
        let is_source = position >= 1 && token(position - 1).is_some_and(|token| token.is("DB"));
        let (second, is_pair) = if is_source {
            (position + 2, token(position + 1).is_some_and(|token| token.is("TABLE")))
        } else {
            (
                position + 2,
                token(position + 1).is_some_and(|token| token.is_mark(",")) && is_engine_with_names(position, token),
            )
        };
        if let Some(table) = value(second).filter(|_| is_pair)
            && let Some(now) = self.table(&TableName::new(text, table))
        {
            set(position, quote(&now.database, '\''));
            set(second, quote(&now.table, '\''));
        }
    }

    fn table(&self, name: &TableName) -> Option<TableName> {
        if let Some(now) = self.tables.get(name) {
            return Some(now.clone());
        }
        None
    }

    /// Replaces `ReplicatedXMergeTree('path', 'replica', …)`.
    fn rewrite_engine(&self, sql: &str) -> String {
        let tokens = tokens(sql);
        let is_engine = |token: &Token<'_>| {
            token.kind == TokenKind::Word && token.text.starts_with("Replicated") && token.text.ends_with("MergeTree")
        };
        let Some(at) = tokens.iter().position(is_engine) else { return sql.to_owned() };
        let text = |range: &[Token<'_>]| range.iter().map(|token| token.text).collect::<String>();
        let (before, rest) = tokens.split_at(at);
        let Some((engine, behind)) = rest.split_first() else { return sql.to_owned() };
        let solid: Vec<(usize, &Token<'_>)> =
            behind.iter().enumerate().filter(|(_, token)| token.kind != TokenKind::Space).take(6).collect();
        let is = |number: usize, mark: &str| solid.get(number).is_some_and(|(_, token)| token.is_mark(mark));
        let is_text = |number: usize| solid.get(number).is_some_and(|(_, token)| token.kind == TokenKind::Text);
        let place = |number: usize| solid.get(number).map_or(behind.len(), |(at, _)| *at);
        // Where the arguments behind path and replica begin, and whether there are any.
        let (opened, arguments) = if is(0, "(") && is_text(1) && is(2, ",") && is_text(3) {
            (true, if is(4, ",") { place(5) } else { place(4) })
        } else if is(0, "(") {
            (true, place(1))
        } else {
            (false, 0)
        };
        let name = match self.replicated {
            Replicated::AsMergeTree => engine.text.trim_start_matches("Replicated"),
            _ => engine.text,
        };
        let rest = text(behind.get(arguments..).unwrap_or_default());
        let path = if self.replicated == Replicated::NewPath {
            "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
        } else {
            ""
        };
        let joined = match (opened, path.is_empty()) {
            (true, true) => format!("{name}({rest}"),
            (true, false) if rest.trim_start().starts_with(')') => format!("{name}({path}{rest}"),
            (true, false) => format!("{name}({path}, {rest}"),
            (false, true) => format!("{name}{rest}"),
            (false, false) => format!("{name}({path}){rest}"),
        };
        text(before) + &joined
    }
}

/// Whether the literal is among the arguments of an engine that names a table by two literals.
fn is_engine_with_names<'a>(position: usize, token: &dyn Fn(usize) -> Option<&'a Token<'a>>) -> bool {
    // `Buffer('database', 'table', …)`, `Distributed('cluster', 'database', 'table', …)`.
    let is = |at: Option<usize>, engine: &str| at.and_then(token).is_some_and(|token| token.is(engine));
    is(position.checked_sub(2), "Buffer") || is(position.checked_sub(4), "Distributed")
}

fn quote(text: &str, quote: char) -> String {
    let mut quoted = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            letter if letter == quote => quoted.extend(['\\', letter]),
            letter => quoted.push(letter),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use super::{Definition, DefinitionKind, Mapping, Replicated, Verb};
    use crate::model::{TableName, TableUuid};

    const OLD: &str = "f881ab48-8e9e-4481-9367-dfdc03216dcb";
    const NEW: &str = "00000000-8e9e-4481-9367-dfdc03216dcb";

    fn uuid(text: &str) -> TableUuid {
        TableUuid::try_from(text.to_owned()).expect("a UUID")
    }

    fn mapping(tables: &[(&str, &str)]) -> Mapping {
        let name = |text: &str| text.split_once('.').map(|(a, b)| TableName::new(a, b)).expect("a name");
        let tables = tables.iter().map(|(from, to)| (name(from), name(to))).collect();
        Mapping { tables, uuids: [(uuid(OLD), uuid(NEW))].into(), replicated: Replicated::Keep }
    }

    #[test]
    fn heads_of_all_kinds_and_ages_are_read() {
        // Each was read from a server's own file.
        let cases = [
            (
                "ATTACH TABLE t\n(\n    d Date\n)\nENGINE = MergeTree",
                DefinitionKind::Table,
                "(\n    d Date\n)\nENGINE = MergeTree",
            ),
            ("ATTACH TABLE `.inner.mv`\n(\n v String)", DefinitionKind::Table, "(\n v String)"),
            (
                "CREATE DICTIONARY _ UUID 'f881ab48-8e9e-4481-9367-dfdc03216dcb'\n(\n`k` UInt64)",
                DefinitionKind::Dictionary,
                "(\n`k` UInt64)",
            ),
            (
                "ATTACH MATERIALIZED VIEW mvto TO lab.tgt\n(\n v String)",
                DefinitionKind::MaterializedView,
                "TO lab.tgt\n(\n v String)",
            ),
            ("CREATE VIEW lab.`v.w` (`n` UInt64) AS SELECT 1", DefinitionKind::View, "(`n` UInt64) AS SELECT 1"),
            (
                "ATTACH DATABASE _ UUID 'f881ab48-8e9e-4481-9367-dfdc03216dcb'\nENGINE = Atomic\n",
                DefinitionKind::Database,
                "ENGINE = Atomic",
            ),
        ];
        for (text, kind, tail) in cases {
            let definition = Definition::parse(text).expect(text);
            assert_eq!((definition.kind, definition.tail.as_str()), (kind, tail), "{text}");
            assert_eq!(definition.uuid.is_some(), text.contains("UUID"), "{text}");
        }
        for text in ["", "SELECT 1", "ATTACH", "ATTACH TABLE", "ATTACH TABLE (x)", "DROP TABLE x"] {
            assert!(Definition::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_statement_has_the_new_name_and_the_new_uuids() {
        let text =
            format!("ATTACH MATERIALIZED VIEW _ UUID '{OLD}' TO INNER UUID '{OLD}' (v String) AS SELECT v FROM lab.t");
        let definition = Definition::parse(&text).expect("a definition");
        let mapping = mapping(&[("lab.t", "b.it's")]);
        let new = uuid(NEW);
        let statement = definition.statement(Verb::Attach, "`b`.`mv`", (Some(&new), Some(&new)), &mapping);
        assert_eq!(
            statement,
            format!(
                "ATTACH MATERIALIZED VIEW `b`.`mv` UUID '{NEW}' TO INNER UUID '{NEW}' (v String) AS SELECT v FROM `b`.`it's`"
            )
        );
        assert!(
            definition
                .statement(Verb::Create, "x", (None, None), &mapping)
                .starts_with("CREATE MATERIALIZED VIEW x (v")
        );
    }

    #[test]
    fn names_are_replaced_where_they_are_names_of_tables() {
        let mapping = mapping(&[("lab.t", "b.u")]);
        for (before, after) in [
            ("SELECT t.x, 'lab.t' FROM lab.t AS t", "SELECT t.x, 'lab.t' FROM `b`.`u` AS t"),
            ("TO `lab`.\"t\" (x)", "TO `b`.`u` (x)"),
            ("SELECT lab . t . x FROM other.lab.t", "SELECT `b` . `u` . x FROM other.lab.t"),
            ("d DEFAULT dictGet('lab.t', 'v', k)", "d DEFAULT dictGet('b.u', 'v', k)"),
            ("SOURCE(CLICKHOUSE(DB 'lab' TABLE 't' USER 'x'))", "SOURCE(CLICKHOUSE(DB 'b' TABLE 'u' USER 'x'))"),
            ("ENGINE = Buffer('lab', 't', 16)", "ENGINE = Buffer('b', 'u', 16)"),
            ("ENGINE = Distributed('c', 'lab', 't')", "ENGINE = Distributed('c', 'b', 'u')"),
            ("x IN ('lab', 't')", "x IN ('lab', 't')"),
            ("-- lab.t\n/* lab.t */ lab.tt", "-- lab.t\n/* lab.t */ lab.tt"),
        ] {
            assert_eq!(mapping.rewrite(before), after);
        }
    }

    #[test]
    fn replicated_engines_keep_their_path_or_lose_it() {
        let with = |replicated| Mapping { replicated, ..mapping(&[]) };
        let engine =
            format!("ENGINE = ReplicatedReplacingMergeTree('/t/{OLD}/{{shard}}', '{{replica}}', v)\nORDER BY k");
        assert_eq!(with(Replicated::Keep).rewrite(&engine), engine.replace(OLD, NEW));
        assert_eq!(with(Replicated::AsMergeTree).rewrite(&engine), "ENGINE = ReplacingMergeTree(v)\nORDER BY k");
        let path = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'";
        let new = format!("ENGINE = ReplicatedReplacingMergeTree({path}, v)\nORDER BY k");
        assert_eq!(with(Replicated::NewPath).rewrite(&engine), new);
        for plain in ["ReplicatedMergeTree('/a', 'b')", "ReplicatedMergeTree()", "ReplicatedMergeTree"] {
            let as_plain = with(Replicated::AsMergeTree).rewrite(&format!("ENGINE = {plain} ORDER BY k"));
            assert_eq!(as_plain.replace("()", ""), "ENGINE = MergeTree ORDER BY k");
            let as_new = with(Replicated::NewPath).rewrite(&format!("ENGINE = {plain} ORDER BY k"));
            assert_eq!(as_new, format!("ENGINE = ReplicatedMergeTree({path}) ORDER BY k"));
        }
        let old_syntax = "ENGINE = ReplicatedMergeTree('/a', 'b', d, (k), 8192)";
        assert_eq!(with(Replicated::AsMergeTree).rewrite(old_syntax), "ENGINE = MergeTree(d, (k), 8192)");
    }

    #[test]
    fn definitions_are_alike_on_one_line_or_on_many() {
        let parse = |text: &str| Definition::parse(text).expect("a definition");
        let a = parse("ATTACH VIEW v\n(\n    n UInt64\n) AS\nSELECT 1 FROM lab.t ");
        let b = parse("CREATE VIEW x.y (n UInt64) AS SELECT 1 FROM b.u");
        assert!(!a.is_like(&b, &mapping(&[])));
        assert!(a.is_like(&parse("CREATE VIEW q (n UInt64) AS SELECT 1 FROM lab.t"), &mapping(&[])));
    }
}
