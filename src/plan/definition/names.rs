//! Replaces the names of renamed tables and databases in a statement.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{TableName, TableUuid};

use super::calls::{Call, calls, pairs};
use super::literal::quote;
use super::tokens::{Token, TokenKind, tokens};

/// The new names by the old ones.
#[derive(Clone, Copy)]
pub(super) struct NameMap<'a> {
    pub(super) tables: &'a BTreeMap<TableName, TableName>,
    pub(super) databases: &'a BTreeMap<String, String>,
    pub(super) uuids: &'a BTreeMap<TableUuid, TableUuid>,
}

/// A statement with the new names.
pub(super) struct Rewritten {
    pub(super) text: String,
    /// Old names that remain in it.
    pub(super) left: Vec<String>,
}

/// Functions and engines that take a database and a table as adjacent arguments, and the position of the first.
const TAKE_TWO: [(&str, usize); 12] = [
    ("buffer", 0),
    ("distributed", 1),
    ("alias", 0),
    ("hascolumnintable", 0),
    ("loop", 0),
    ("mergetreeindex", 0),
    ("mergetreeprojection", 0),
    ("timeseriesselector", 0),
    ("timeseriessamples", 0),
    ("timeseriesdata", 0),
    ("timeseriestags", 0),
    ("timeseriesmetrics", 0),
];

/// Functions and engines whose arguments name objects of other servers.
const REMOTE: [&str; 12] = [
    "remote",
    "remotesecure",
    "cluster",
    "clusterallreplicas",
    "mysql",
    "postgresql",
    "materializedpostgresql",
    "mongodb",
    "sqlite",
    "odbc",
    "jdbc",
    "externaldistributed",
];

/// The functions that return the database of the session.
const SESSION_DATABASE: [&str; 4] = ["currentdatabase", "current_database", "database", "schema"];

/// Whether a statement takes the database of an object from the session, as in `Merge(currentDatabase(), '…')`.
///
/// 18.16 stores such an engine as it was written. It then reads the database of the session that makes or attaches the
/// table, and `default` after each restart; in a view, that of the session that reads it. 26.9 stores engines with the
/// database's name.
pub(super) fn names_session_database(sql: &str) -> bool {
    let solid: Vec<Token<'_>> = tokens(sql).into_iter().filter(|token| token.kind != TokenKind::Space).collect();
    let is_session = |argument: &Range<usize>| match solid.get(argument.clone()) {
        Some([name, open, close]) => {
            let function = name.name().map(|name| name.to_lowercase()).unwrap_or_default();
            SESSION_DATABASE.contains(&function.as_str()) && open.is_mark("(") && close.is_mark(")")
        }
        _ => false,
    };
    let takes_database =
        |name: &str| name == "merge" || REMOTE.contains(&name) || TAKE_TWO.iter().any(|(takes, _)| *takes == name);
    calls(&solid).iter().any(|call| takes_database(&call.name) && call.arguments.iter().any(is_session))
}

impl NameMap<'_> {
    /// Replaces everything that is certainly a name, and lists the old names elsewhere.
    pub(super) fn rewrite(self, sql: &str) -> Rewritten {
        let all = tokens(sql);
        let solid: Vec<Token<'_>> = all.iter().filter(|token| token.kind != TokenKind::Space).copied().collect();
        let mut work = RenameWork {
            names: self,
            is_remote: vec![false; solid.len()],
            texts: vec![None; solid.len()],
            left: Vec::new(),
            tokens: solid,
        };
        work.run();
        let mut left: Vec<String> = Vec::new();
        work.left.sort_by_key(|(at, _)| *at);
        for (_, name) in work.left {
            if !left.contains(&name) {
                left.push(name);
            }
        }
        let mut texts = work.texts.into_iter();
        let text = all.iter().map(|token| {
            let changed = if token.kind == TokenKind::Space { None } else { texts.next().flatten() };
            changed.unwrap_or_else(|| token.text.to_owned())
        });
        Rewritten { text: text.collect(), left }
    }

    fn table(&self, database: &str, table: &str) -> Option<TableName> {
        self.tables.get(&TableName::new(database, table)).cloned()
    }

    /// The table's new name if two names certainly denote a table: its database may be renamed as a whole.
    fn certain_table(&self, database: &str, table: &str) -> Option<TableName> {
        self.table(database, table)
            .or_else(|| self.databases.get(database).map(|now| TableName::new(now.as_str(), table)))
    }

    /// The new `database.table`.
    fn dotted(&self, text: &str) -> Option<String> {
        let mut splits = text.match_indices('.').filter_map(|(at, _)| Some((text.get(..at)?, text.get(at + 1..)?)));
        let found = splits.find_map(|(database, table)| self.certain_table(database, table))?;
        Some(format!("{}.{}", found.database, found.table))
    }
}

struct RenameWork<'a, 'n> {
    names: NameMap<'n>,
    tokens: Vec<Token<'a>>,
    /// Whether a token is among the arguments for another server.
    is_remote: Vec<bool>,
    texts: Vec<Option<String>>,
    left: Vec<(usize, String)>,
}

impl RenameWork<'_, '_> {
    fn run(&mut self) {
        let calls = calls(&self.tokens);
        for call in &calls {
            let in_source = call.at.checked_sub(2).and_then(|at| self.tokens.get(at)).is_some_and(|t| t.is("SOURCE"));
            if REMOTE.contains(&call.name.as_str()) || (in_source && !self.is_local_source(call)) {
                for at in call.inside() {
                    if let Some(is_remote) = self.is_remote.get_mut(at) {
                        *is_remote = true;
                    }
                }
            }
        }
        for call in &calls {
            if !self.is_remote.get(call.at).is_some_and(|is_remote| *is_remote) {
                self.call(call);
            }
        }
        for at in 0..self.tokens.len() {
            self.dotted_name(at);
            self.literal(at);
        }
    }

    fn token(&self, at: usize) -> Option<&Token<'_>> {
        self.tokens.get(at)
    }

    fn is_mark(&self, at: usize, mark: &str) -> bool {
        self.token(at).is_some_and(|token| token.is_mark(mark))
    }

    fn name(&self, at: usize) -> Option<String> {
        self.token(at).and_then(Token::name)
    }

    fn value(&self, at: usize) -> Option<String> {
        self.token(at).and_then(Token::value)
    }

    /// A name, in any kind of quotes or without.
    fn any_name(&self, at: usize) -> Option<String> {
        self.value(at).or_else(|| self.name(at))
    }

    /// Replaces a name by another one, in the same kind of quotes.
    fn set_name(&mut self, at: usize, name: &str) {
        let mark = if self.token(at).is_some_and(|token| token.kind == TokenKind::Text) { '\'' } else { '`' };
        self.set(at, quote(name, mark));
    }

    fn set(&mut self, at: usize, text: String) {
        if let Some(place) = self.texts.get_mut(at) {
            *place = Some(text);
        }
    }

    fn is_set(&self, at: usize) -> bool {
        self.texts.get(at).is_some_and(Option::is_some)
    }

    fn set_pair(&mut self, first: usize, second: usize) {
        let (Some(database), Some(table)) = (self.any_name(first), self.any_name(second)) else { return };
        if let Some(now) = self.names.certain_table(&database, &table) {
            self.set_name(first, &now.database);
            self.set_name(second, &now.table);
        }
    }

    fn call(&mut self, call: &Call) {
        let count = call.arguments.len();
        if call.name == "merge" && count >= 2 {
            self.merge(call);
        }
        // With more arguments, hasColumnInTable asks another server.
        let is_long = call.name == "hascolumnintable" && count != 3;
        if let Some((_, start)) = TAKE_TWO.iter().find(|(name, _)| *name == call.name).filter(|_| !is_long)
            && let (Some(first), Some(second)) = (call.single(*start), call.single(start + 1))
        {
            self.set_pair(first, second);
        }
        let takes_one = call.name == "dictionary"
            || call.name.starts_with("dict")
            || call.name.starts_with("joinget")
            || (call.name == "alias" && count == 1);
        if let Some(at) = call.single(0).filter(|_| takes_one)
            && let Some(now) = self.value(at).and_then(|text| self.names.dotted(&text))
        {
            self.set(at, quote(&now, '\''));
        }
        if call.name == "clickhouse" && self.is_local_source(call) {
            self.source(call);
        }
    }

    fn merge(&mut self, call: &Call) {
        let Some(first) = call.single(0) else {
            // merge(REGEXP('…'), '…').
            let inside = call.arguments.first().cloned().unwrap_or_default();
            for at in inside {
                let Some(text) = self.value(at) else { continue };
                let found = self.names.databases.keys().find(|database| has_word(&text, database, |_| true));
                if let Some(database) = found {
                    self.left.push((at, database.clone()));
                }
            }
            return;
        };
        let Some(database) = self.any_name(first) else { return };
        if let Some(now) = self.names.databases.get(&database) {
            let now = now.clone();
            self.set_name(first, &now);
        } else if self.names.tables.keys().any(|table| table.database == database) {
            self.left.push((first, database));
        }
    }

    /// Whether a source of a dictionary is this server itself.
    fn is_local_source(&self, call: &Call) -> bool {
        let pairs = pairs(&self.tokens, call.inside());
        let host = pairs.iter().find(|(key, _)| key == "HOST").and_then(|(_, at)| self.any_name(*at));
        call.name == "clickhouse"
            && host.is_none_or(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1" | ""))
    }

    /// Rewrites `CLICKHOUSE(DB 'l' TABLE 't' WHERE '…' QUERY '…')`.
    fn source(&mut self, call: &Call) {
        let pairs = pairs(&self.tokens, call.inside());
        let place = |keys: &[&str]| pairs.iter().find(|(key, _)| keys.contains(&key.as_str())).map(|(_, at)| *at);
        match (place(&["DB", "DATABASE"]), place(&["TABLE"])) {
            (Some(database), Some(table)) => self.set_pair(database, table),
            (Some(database), None) => {
                let now = self.any_name(database).and_then(|name| self.names.databases.get(&name).cloned());
                if let Some(now) = now {
                    self.set_name(database, &now);
                }
            }
            _ => {}
        }
        for (_, at) in pairs.iter().filter(|(key, _)| key.ends_with("QUERY") || key == "WHERE") {
            let Some(inner) = self.value(*at) else { continue };
            let rewritten = self.names.rewrite(&inner);
            self.left.extend(rewritten.left.into_iter().map(|name| (*at, name)));
            let text = if rewritten.text == inner {
                self.token(*at).map(|token| token.text.to_owned()).unwrap_or_default()
            } else {
                quote(&rewritten.text, '\'')
            };
            self.set(*at, text);
        }
    }

    fn dotted_name(&mut self, at: usize) {
        let is_name = (at == 0 || !self.is_mark(at - 1, ".")) && !self.is_set(at);
        let Some(database) = self.name(at).filter(|_| is_name) else { return };
        if !self.is_mark(at + 1, ".") {
            // A single name is that of a database only where nothing else is allowed.
            let before = |keyword| at > 0 && self.token(at - 1).is_some_and(|token| token.is(keyword));
            let is_argument = self.is_remote.get(at) == Some(&true)
                && at > 0
                && (self.is_mark(at - 1, ",") || self.is_mark(at - 1, "("))
                && (self.is_mark(at + 1, ",") || self.is_mark(at + 1, ")"));
            if (is_argument || before("DB") || before("DATABASE")) && self.names.databases.contains_key(&database) {
                self.left.push((at, database));
            }
            return;
        }
        let table = self.name(at + 2);
        let now = table.as_ref().and_then(|table| self.names.table(&database, table));
        match now {
            Some(now) if self.is_remote.get(at) != Some(&true) => {
                self.set_name(at, &now.database);
                self.set_name(at + 2, &now.table);
            }
            Some(_) => self.left.push((at, format!("{database}.{}", table.unwrap_or_default()))),
            None if self.names.databases.contains_key(&database) => {
                let behind = table.or_else(|| self.token(at + 2).map(|token| token.text.to_owned()));
                self.left.push((at, format!("{database}.{}", behind.unwrap_or_default())));
            }
            None => {}
        }
    }

    fn literal(&mut self, at: usize) {
        let Some(text) = self.value(at).filter(|_| !self.is_set(at)) else { return };
        // A path with the table's old UUID.
        let mut changed = text.clone();
        for (old, new) in self.names.uuids {
            changed = changed.replace(old.as_str(), new.as_str());
        }
        if changed != text {
            self.set(at, quote(&changed, '\''));
        }
        if let Some(name) = self.pair_of_literals(at, &text) {
            self.left.push((at, name));
        } else if self.names.databases.contains_key(&text) {
            self.left.push((at, text));
        } else {
            let found = self.names.within(&text);
            self.left.extend(found.into_iter().map(|name| (at, name)));
        }
    }

    /// `'database', 'table'` and `DB 'database' TABLE 'table'` of a renamed table.
    fn pair_of_literals(&self, at: usize, database: &str) -> Option<String> {
        let is_pair = self.is_mark(at + 1, ",") || self.token(at + 1).is_some_and(|token| token.is("TABLE"));
        let table = self.any_name(at + 2).filter(|_| is_pair)?;
        self.names.table(database, &table).map(|_| format!("{database}.{table}"))
    }
}

impl NameMap<'_> {
    /// The old names within a literal.
    fn within(&self, text: &str) -> Vec<String> {
        let is_dot = |rest: &str| rest.trim_start_matches(['`', '"']).starts_with('.');
        let databases = self.databases.keys().filter(|database| has_word(text, database, is_dot)).cloned();
        let mut found: Vec<String> = databases.collect();
        let inner = tokens(text);
        for window in inner.windows(3) {
            if let [first, dot, second] = window
                && dot.is_mark(".")
                && let (Some(database), Some(table)) = (first.name(), second.name())
                && !found.contains(&database)
                && self.table(&database, &table).is_some()
            {
                found.push(format!("{database}.{table}"));
            }
        }
        found
    }
}

/// Whether a text contains a word as a whole; `may_follow` checks the text after it.
fn has_word(text: &str, word: &str, may_follow: impl Fn(&str) -> bool) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text.get(..at).unwrap_or_default();
            let behind = text.get(at + word.len()..).unwrap_or_default();
            !before.ends_with(is_word) && !behind.starts_with(is_word) && may_follow(behind)
        })
}
