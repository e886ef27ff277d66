//! Definitions as snapshots hold them, made into statements for other names and UUIDs.

use std::ops::Range;

use crate::model::TableUuid;

use super::alike::are_alike;
use super::clauses::{Clause, Clauses};
use super::error::DefinitionError;
use super::head::{DefinitionKind, Head};
use super::literal::quote;
use super::mapping::Mapping;
use super::tokens::solid_tokens;

/// A definition: its head taken apart, the rest as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it defines.
    pub kind: DefinitionKind,
    /// The UUID in it.
    pub uuid: Option<TableUuid>,
    /// The UUID of the inner table of a materialized view.
    pub inner_uuid: Option<TableUuid>,
    /// The words for the kind: `LIVE VIEW`.
    words: &'static str,
    /// `REFRESH …` and whatever else stands before the target of a view.
    pub(super) schedule: String,
    is_refreshable: bool,
    /// `TO database.table`.
    pub(super) target_text: String,
    target: Option<(Option<String>, String)>,
    /// All behind the head.
    pub(super) tail: String,
}

/// Which words begin a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// What is there on disk is taken as it is, and little is checked.
    Attach,
    /// It is made, and checked.
    Create,
}

impl Definition {
    /// Takes the head of a definition apart: `ATTACH TABLE _ UUID '…'`, `CREATE VIEW a.b`, `ATTACH DATABASE x` ….
    ///
    /// # Errors
    /// If it does not begin like one, or is not exactly one statement with closed quotes, comments and brackets.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let head = Head::parse(text)?;
        let (target_text, target) = head.target.map(|(text, names)| (text, Some(names))).unwrap_or_default();
        Ok(Self {
            kind: head.kind,
            uuid: head.uuid,
            inner_uuid: head.inner_uuid,
            words: head.words,
            schedule: head.schedule,
            is_refreshable: head.is_refreshable,
            target_text,
            target,
            tail: head.tail,
        })
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
        // A dictionary is attached by its name alone: its definition needs CREATE.
        let verb_word = match verb {
            Verb::Attach if self.kind != DefinitionKind::Dictionary => "ATTACH",
            Verb::Attach | Verb::Create => "CREATE",
        };
        let uuid = uuid.map(|uuid| format!("UUID '{uuid}'")).unwrap_or_default();
        let inner = inner_uuid.map(|uuid| format!("TO INNER UUID '{uuid}'")).unwrap_or_default();
        let schedule = mapping.rewrite(&self.schedule);
        let target = mapping.rewrite(&self.target_text);
        let tail = match verb {
            Verb::Attach => mapping.rewrite(&self.tail),
            Verb::Create => mapping.rewrite(&self.creatable_tail(mapping)),
        };
        let words = [verb_word, self.words, quoted_name, &uuid, &schedule, &target, &inner, &tail];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Whether it defines the same as another one, whatever their names and UUIDs are. A hidden secret on either side
    /// equals whatever the other side has there.
    #[must_use]
    pub fn is_like(&self, other: &Self, mapping: &Mapping) -> bool {
        self.kind == other.kind
            && self.words == other.words
            && are_alike(&mapping.rewrite(&self.comparable().behind_name()), &other.comparable().behind_name())
    }

    /// The same definition in the form that servers of all versions print: without the UUIDs of the inner tables of a
    /// TimeSeries table, which only files have, and with the names that an engine takes (`Merge(db, 'regexp')`) as texts.
    fn comparable(&self) -> Self {
        let clauses = self.clauses();
        let mut changes: Vec<(Range<usize>, String)> =
            clauses.inner_uuids().into_iter().map(|(range, _)| (range, String::new())).collect();
        if let Some(range) = clauses.range(Clause::Engine).filter(|_| self.kind == DefinitionKind::Table) {
            changes.extend(names_as_texts(self.tail.get(range.clone()).unwrap_or_default(), range.start));
        }
        changes.sort_by_key(|(range, _)| range.start);
        let mut tail = self.tail.clone();
        for (range, text) in changes.into_iter().rev() {
            tail.replace_range(range, &text);
        }
        self.with_tail(tail)
    }

    /// Whether it is a view that writes to a table of another name: `TO database.table`.
    #[must_use]
    pub fn has_target(&self) -> bool {
        self.target.is_some()
    }

    /// The database, where one is named, and the table that a view writes to.
    #[must_use]
    pub fn target(&self) -> Option<(Option<String>, String)> {
        self.target.clone()
    }

    /// Whether it is a materialized view with a schedule: `REFRESH …`.
    #[must_use]
    pub fn is_refreshable(&self) -> bool {
        self.is_refreshable
    }

    /// Whether CREATE would run a query to fill what it makes: `CREATE TABLE … AS SELECT`, `CLONE AS`, `POPULATE`. No server
    /// keeps a definition with one of these (`cleanupObjectDefinitionFromTemporaryFlags` in ClickHouse's
    /// `src/Databases/DatabasesCommon.cpp`).
    #[must_use]
    pub fn runs_query(&self) -> bool {
        let clauses = self.clauses();
        let select = clauses.body(Clause::Select).map(solid_tokens).unwrap_or_default();
        // What is left is a table function, which is the table.
        let calls = matches!(select.as_slice(), [name, bracket, ..] if name.name().is_some() && bracket.is_mark("("));
        let fills = self.kind == DefinitionKind::Table && clauses.has(Clause::Select) && !calls;
        fills || clauses.has(Clause::Populate)
    }

    /// The name of the engine, where one is named: of a table, of a database, or of a view's inner table.
    #[must_use]
    pub fn engine(&self) -> Option<String> {
        let clauses = self.clauses();
        let engine = clauses.body(Clause::Engine)?;
        solid_tokens(engine).into_iter().find(|token| !token.is_mark("=")).and_then(|token| token.name())
    }

    /// Whether this word, a name say, stands anywhere in it.
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        solid_tokens(&self.behind_name()).iter().any(|token| token.name().is_some_and(|name| name == word))
    }

    /// The same definition, which a refreshable view follows from its next scheduled time on: it is not refreshed as
    /// soon as it is there.
    #[must_use]
    pub fn starting_empty(&self) -> Self {
        let clauses = self.clauses();
        let has_start = clauses.has(Clause::Empty) || clauses.has(Clause::Populate);
        let select = clauses.range(Clause::Select).filter(|_| self.is_refreshable && !has_start);
        let Some(select) = select else { return self.clone() };
        let (before, behind) = self.tail.split_at(select.start);
        self.with_tail(format!("{before}EMPTY {behind}"))
    }

    /// The UUIDs of the inner tables of a TimeSeries table.
    #[must_use]
    pub fn inner_uuids(&self) -> Vec<TableUuid> {
        let texts = self.clauses().inner_uuids().into_iter();
        texts.filter_map(|(_, text)| TableUuid::from_server(&text).ok().flatten()).collect()
    }

    /// What stands behind the head in a statement that CREATE takes: a table of the engine Alias may not name its
    /// columns, and inner tables of a TimeSeries table get UUIDs that are free.
    fn creatable_tail(&self, mapping: &Mapping) -> String {
        let clauses = self.clauses();
        let mut gone: Vec<Range<usize>> = Vec::new();
        if self.engine().is_some_and(|engine| engine == "Alias") {
            gone.extend(clauses.range(Clause::Columns));
        }
        let is_mapped = |text: &str| mapping.uuids.keys().any(|uuid| uuid.as_str() == text);
        gone.extend(clauses.inner_uuids().into_iter().filter(|(_, uuid)| !is_mapped(uuid)).map(|(range, _)| range));
        let mut tail = self.tail.clone();
        for range in gone.into_iter().rev() {
            tail.replace_range(range, "");
        }
        tail
    }

    pub(super) fn clauses(&self) -> Clauses<'_> {
        Clauses::new(&self.tail, self.kind)
    }

    /// The text that this definition was read from, with what stands behind the head as in `changed`.
    #[must_use]
    pub fn replaced_in(&self, text: &str, changed: &Self) -> Option<String> {
        let (before, behind) = text.rsplit_once(self.tail.as_str())?;
        Some(format!("{before}{}{behind}", changed.tail))
    }

    pub(super) fn with_tail(&self, tail: String) -> Self {
        Self { tail, ..self.clone() }
    }

    /// All that names and UUIDs do not change.
    pub(super) fn behind_name(&self) -> String {
        let texts = [&self.schedule, &self.target_text, &self.tail];
        texts.into_iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

/// The names that are arguments of an engine by themselves, as texts. `start` is where the clause begins.
fn names_as_texts(clause: &str, start: usize) -> Vec<(Range<usize>, String)> {
    let tokens = solid_tokens(clause);
    let mut depth = 0;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let stands_alone = before.is_some_and(|before| before.is_mark("(") || before.is_mark(","))
            && tokens.get(at + 1).is_some_and(|next| next.is_mark(")") || next.is_mark(","));
        if depth == 1
            && stands_alone
            && let Some(name) = token.name()
        {
            found.push((start + token.start..start + token.end(), quote(&name, '\'')));
        }
        depth += token.depth();
    }
    found
}
