//! The clauses after the head of a definition.
//!
//! A word begins a clause only at bracket depth 0 and where an expression can end, because ClickHouse prints columns
//! named `TTL` or `SETTINGS` without quotes (`TTL TTL + toIntervalDay(1)`). Source of the order of clauses:
//! `ASTCreateQuery::formatQueryImpl`.

use std::ops::Range;

use super::head::DefinitionKind;
use super::tokens::{Token, TokenKind, solid_tokens};

/// A clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clause {
    /// The columns, with their brackets.
    Columns,
    /// `ENGINE = …`.
    Engine,
    /// `PARTITION BY`, `PRIMARY KEY`, `ORDER BY`, `UNIQUE KEY`, `SAMPLE BY`.
    Key,
    /// `TTL …`.
    Ttl,
    /// `SETTINGS …` of the storage.
    Settings,
    /// The inner tables, with other names or engines, of a TimeSeries table or a window view.
    InnerTables,
    /// `SOURCE(…)`, `LAYOUT(…)` and so on of a dictionary.
    Dictionary,
    /// `WATERMARK`, `ALLOWED_LATENESS`, `TABLE OVERRIDE`.
    Other,
    /// `POPULATE`.
    Populate,
    /// `EMPTY`.
    Empty,
    /// `DEFINER = …`, `SQL SECURITY …`.
    Security,
    /// `COMMENT '…'`.
    Comment,
    /// `AS SELECT …`, `AS function(…)`: the rest of the text.
    Select,
}

/// The clauses of a text, in order.
pub(super) struct Clauses<'a> {
    text: &'a str,
    found: Vec<FoundClause>,
}

struct FoundClause {
    clause: Clause,
    /// The whole clause, with trailing whitespace.
    range: Range<usize>,
    /// The end of its keywords.
    body: usize,
}

impl<'a> Clauses<'a> {
    pub(super) fn new(text: &'a str, kind: DefinitionKind) -> Self {
        let tokens = solid_tokens(text);
        let mut found: Vec<FoundClause> = Vec::new();
        let mut scan = ClauseScan { tokens: &tokens, kind, is_time_series: false, is_behind_storage: false };
        let (mut at, mut depth, mut can_begin) = (0, 0, true);
        while let Some(token) = tokens.get(at) {
            let begun = if depth == 0 && can_begin { scan.clause(at) } else { None };
            if let Some((clause, words)) = begun {
                let behind = tokens.get(at + words).map_or(text.len(), |next| next.start);
                if let Some(last) = found.last_mut() {
                    last.range.end = token.start;
                }
                found.push(FoundClause { clause, range: token.start..text.len(), body: behind });
                if clause == Clause::Select {
                    break;
                }
                at += words;
                can_begin = words > 0 && matches!(clause, Clause::Populate | Clause::Empty);
                if words > 0 {
                    continue;
                }
            }
            depth += token.depth();
            can_begin = depth == 0 && ends_operand(&tokens, at, can_begin);
            at += 1;
        }
        Self { text, found }
    }

    pub(super) fn has(&self, clause: Clause) -> bool {
        self.range(clause).is_some()
    }

    /// The place of the first such clause, with trailing whitespace.
    pub(super) fn range(&self, clause: Clause) -> Option<Range<usize>> {
        self.found.iter().find(|found| found.clause == clause).map(|found| found.range.clone())
    }

    /// Whether one of the keys is a `UNIQUE KEY`.
    pub(super) fn has_unique_key(&self) -> bool {
        let mut keys = self.found.iter().filter(|found| found.clause == Clause::Key);
        keys.any(|found| {
            let words = self.text.get(found.range.clone()).unwrap_or_default();
            words.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("UNIQUE"))
        })
    }

    /// The text after the keywords of the first such clause.
    pub(super) fn body(&self, clause: Clause) -> Option<&'a str> {
        let found = self.found.iter().find(|found| found.clause == clause)?;
        self.text.get(found.body..found.range.end).map(str::trim)
    }

    /// The places of `SAMPLES INNER UUID '…'` and the like, with the UUIDs.
    pub(super) fn inner_uuids(&self) -> Vec<(Range<usize>, String)> {
        let inner = self.found.iter().filter(|found| found.clause == Clause::InnerTables);
        let uuid = |found: &FoundClause| {
            let tokens = solid_tokens(self.text.get(found.body..found.range.end)?);
            let is_uuid = matches!(tokens.as_slice(), [inner, uuid, _] if inner.is("INNER") && uuid.is("UUID"));
            tokens.last().filter(|_| is_uuid).and_then(Token::value).map(|uuid| (found.range.clone(), uuid))
        };
        inner.filter_map(uuid).collect()
    }

    /// The end of the storage clauses that precede its settings; `None` without storage.
    pub(super) fn storage_end(&self) -> Option<usize> {
        let is_storage = |found: &&FoundClause| matches!(found.clause, Clause::Engine | Clause::Key | Clause::Ttl);
        self.found.iter().rfind(is_storage).map(|found| found.range.end)
    }
}

struct ClauseScan<'a> {
    tokens: &'a [Token<'a>],
    kind: DefinitionKind,
    is_time_series: bool,
    is_behind_storage: bool,
}

/// Clauses that begin with these keywords in definitions of every kind.
const STORAGE: [(&[&str], Clause); 8] = [
    (&["ENGINE"], Clause::Engine),
    (&["PARTITION", "BY"], Clause::Key),
    (&["PRIMARY", "KEY"], Clause::Key),
    (&["ORDER", "BY"], Clause::Key),
    (&["UNIQUE", "KEY"], Clause::Key),
    (&["SAMPLE", "BY"], Clause::Key),
    (&["TTL"], Clause::Ttl),
    (&["SETTINGS"], Clause::Settings),
];

const DICTIONARY: [(&[&str], Clause); 6] = [
    (&["PRIMARY", "KEY"], Clause::Dictionary),
    (&["SOURCE"], Clause::Dictionary),
    (&["LIFETIME"], Clause::Dictionary),
    (&["LAYOUT"], Clause::Dictionary),
    (&["RANGE"], Clause::Dictionary),
    (&["SETTINGS"], Clause::Dictionary),
];

const INNER_TABLES: [&[&str]; 6] =
    [&["RECENT", "SAMPLES"], &["SAMPLES"], &["DATA"], &["TAGS"], &["METRIC", "FAMILIES"], &["METRICS"]];

const LAST: [(&[&str], Clause); 7] = [
    (&["POPULATE"], Clause::Populate),
    (&["EMPTY"], Clause::Empty),
    (&["DEFINER"], Clause::Security),
    (&["SQL", "SECURITY"], Clause::Security),
    (&["COMMENT"], Clause::Comment),
    (&["CLONE", "AS"], Clause::Select),
    (&["AS"], Clause::Select),
];

impl ClauseScan<'_> {
    /// The clause that begins at a token, and the number of its keywords.
    fn clause(&mut self, at: usize) -> Option<(Clause, usize)> {
        let token = |ahead: usize| self.tokens.get(at + ahead);
        if at == 0 && token(0).is_some_and(|token| token.is_mark("(")) {
            return Some((Clause::Columns, 0));
        }
        let sees = |words: &[&str]| {
            words.iter().enumerate().all(|(ahead, word)| token(ahead).is_some_and(|token| token.is(word)))
        };
        let of = |table: &[(&[&str], Clause)]| {
            table.iter().find(|(words, _)| sees(words)).map(|(words, clause)| (*clause, words.len()))
        };
        if let Some((clause, words)) = of(&LAST) {
            let next = token(words);
            let is_clause = match clause {
                Clause::Comment => next.is_some_and(|next| next.kind == TokenKind::Text),
                Clause::Security => next.is_some_and(|next| next.is_mark("=") || next.kind != TokenKind::Mark),
                Clause::Empty | Clause::Populate => {
                    next.is_none_or(|next| next.is_any(&["AS", "DEFINER", "SQL", "COMMENT"]))
                }
                _ => true,
            };
            return is_clause.then_some((clause, words));
        }
        if self.kind == DefinitionKind::Dictionary {
            return of(&DICTIONARY);
        }
        if sees(&["INNER", "ENGINE"]) || sees(&["INNER", "COLUMNS"]) {
            self.is_behind_storage = true;
            return Some((Clause::InnerTables, 2));
        }
        let inner = INNER_TABLES.iter().find(|words| self.is_time_series && sees(words));
        if let Some(words) = inner {
            self.is_behind_storage = true;
            return Some((Clause::InnerTables, words.len()));
        }
        if sees(&["WATERMARK"]) || sees(&["ALLOWED_LATENESS"]) || sees(&["TABLE", "OVERRIDE"]) {
            return Some((Clause::Other, 1));
        }
        if self.is_behind_storage {
            return None;
        }
        let found = of(&STORAGE);
        if matches!(found, Some((Clause::Engine, _))) {
            let name = usize::from(token(1).is_some_and(|next| next.is_mark("="))) + 1;
            self.is_time_series |= token(name).is_some_and(|token| token.is("TimeSeries"));
        }
        found
    }
}

/// Words that must be followed by an operand if one precedes them.
const INFIX: [&str; 20] = [
    "AND",
    "OR",
    "IN",
    "NOT",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "IS",
    "DIV",
    "MOD",
    "WHERE",
    "SET",
    "TO",
    "GROUP",
    "DEFAULT",
    "MATERIALIZED",
    "ALIAS",
    "EPHEMERAL",
    "RECOMPRESS",
    "GLOBAL",
];

/// Whether an expression can end with a token; `before` is the answer for the token before it.
pub(super) fn ends_operand(tokens: &[Token<'_>], at: usize, before: bool) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    match token.kind {
        TokenKind::Name | TokenKind::Text => true,
        TokenKind::Mark => matches!(token.text, ")" | "]" | "}"),
        TokenKind::Space => before,
        TokenKind::Word => {
            let is_by =
                token.is("BY") && at.checked_sub(1).and_then(|at| tokens.get(at)).is_some_and(|t| t.is("GROUP"));
            !(is_by || before && token.is_any(&INFIX))
        }
    }
}
