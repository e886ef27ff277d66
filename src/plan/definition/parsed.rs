//! Definitions from snapshots, turned into statements for other names and UUIDs.

use std::ops::Range;

use crate::model::TableUuid;

use super::alike::are_alike;
use super::clauses::{Clause, Clauses};
use super::error::DefinitionError;
use super::head::{DefinitionHead, DefinitionKind};
use super::literal::quote;
use super::mapping::Mapping;
use super::tokens::solid_tokens;

/// A definition, with a parsed head and the rest as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedDefinition {
    /// The kind of object that it defines.
    pub kind: DefinitionKind,
    /// Its UUID.
    pub uuid: Option<TableUuid>,
    /// The UUID of the inner table of a materialized view.
    pub inner_uuid: Option<TableUuid>,
    /// The keywords of the kind: `LIVE VIEW`.
    words: &'static str,
    /// `REFRESH …` and everything else before the target of a view.
    pub(super) schedule: String,
    is_refreshable: bool,
    /// `TO database.table`.
    pub(super) target_text: String,
    target: Option<(Option<String>, String)>,
    /// Everything after the head.
    pub(super) tail: String,
}

/// The verb of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The files on disk are taken as they are, and little is checked.
    Attach,
    /// The object is created, and checked.
    Create,
}

impl ParsedDefinition {
    /// Parses the head of a definition: `ATTACH TABLE _ UUID '…'`, `CREATE VIEW a.b`, `ATTACH DATABASE x` ….
    ///
    /// # Errors
    /// If it does not begin like a definition, or is not exactly one statement with closed quotes, comments and
    /// brackets.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let head = DefinitionHead::parse(text)?;
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

    /// The statement that creates the object under another name, already quoted, and with these UUIDs.
    #[must_use]
    pub fn statement(
        &self,
        verb: Verb,
        quoted_name: &str,
        uuids: (Option<&TableUuid>, Option<&TableUuid>),
        mapping: &Mapping,
    ) -> String {
        self.assemble((verb, quoted_name, ""), uuids, mapping)
    }

    /// As [`ParsedDefinition::statement`], for all hosts of a cluster, whose name is quoted.
    #[must_use]
    pub fn statement_on_cluster(
        &self,
        verb: Verb,
        (quoted_name, quoted_cluster): (&str, &str),
        uuids: (Option<&TableUuid>, Option<&TableUuid>),
        mapping: &Mapping,
    ) -> String {
        self.assemble((verb, quoted_name, &format!("ON CLUSTER {quoted_cluster}")), uuids, mapping)
    }

    fn assemble(
        &self,
        (verb, quoted_name, hosts): (Verb, &str, &str),
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
        let words = [verb_word, self.words, quoted_name, &uuid, hosts, &schedule, &target, &inner, &tail];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Whether it defines the same object as another one, ignoring names and UUIDs. A hidden secret on either side
    /// equals any value on the other.
    #[must_use]
    pub fn is_like(&self, other: &Self, mapping: &Mapping) -> bool {
        self.kind == other.kind
            && self.words == other.words
            && are_alike(&mapping.rewrite(&self.comparable().behind_name()), &other.comparable().behind_name())
    }

    /// The same definition in a form that servers of all versions can print: without the UUIDs of the inner tables of a
    /// TimeSeries table, which only files have, and with names among an engine's arguments (`Merge(db, 'regexp')`) as
    /// string literals.
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

    /// The table that a view writes to, with its database if one is given.
    #[must_use]
    pub fn target(&self) -> Option<(Option<String>, String)> {
        self.target.clone()
    }

    /// Whether it is a materialized view with a schedule: `REFRESH …`.
    #[must_use]
    pub fn is_refreshable(&self) -> bool {
        self.is_refreshable
    }

    /// Whether CREATE would run a query to fill the object: `CREATE TABLE … AS SELECT`, `CLONE AS`, `POPULATE`. No
    /// server keeps a definition with one of these (`cleanupObjectDefinitionFromTemporaryFlags` in ClickHouse's
    /// `src/Databases/DatabasesCommon.cpp`).
    #[must_use]
    pub fn runs_query(&self) -> bool {
        let clauses = self.clauses();
        let select = clauses.body(Clause::Select).map(solid_tokens).unwrap_or_default();
        // Otherwise it is a table function, which is the table.
        let calls = matches!(select.as_slice(), [name, bracket, ..] if name.name().is_some() && bracket.is_mark("("));
        let fills = self.kind == DefinitionKind::Table && clauses.has(Clause::Select) && !calls;
        fills || clauses.has(Clause::Populate)
    }

    /// The name of the engine, if one is given: of a table, of a database, or of a view's inner table.
    #[must_use]
    pub fn engine(&self) -> Option<String> {
        let clauses = self.clauses();
        let engine = clauses.body(Clause::Engine)?;
        solid_tokens(engine).into_iter().find(|token| !token.is_mark("=")).and_then(|token| token.name())
    }

    /// Whether this word, for example a name, occurs anywhere in it.
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        solid_tokens(&self.behind_name()).iter().any(|token| token.name().is_some_and(|name| name == word))
    }

    /// The same definition for a refreshable view that starts empty: it is refreshed at its next scheduled time, and
    /// not right after its creation.
    #[must_use]
    pub fn starting_empty(&self) -> Self {
        let clauses = self.clauses();
        let has_start = clauses.has(Clause::Empty) || clauses.has(Clause::Populate);
        let select = clauses.range(Clause::Select).filter(|_| self.is_refreshable && !has_start);
        let Some(select) = select else { return self.clone() };
        let (before, behind) = self.tail.split_at(select.start);
        self.with_tail(format!("{before}EMPTY {behind}"))
    }

    /// A plain view with the query of this one, which writes nowhere: it shows whether a server accepts the query.
    #[must_use]
    pub fn as_plain_view(&self) -> Option<Self> {
        let select = self.clauses().range(Clause::Select)?;
        Some(Self {
            kind: DefinitionKind::View,
            uuid: None,
            inner_uuid: None,
            words: "VIEW",
            schedule: String::new(),
            is_refreshable: false,
            target_text: String::new(),
            target: None,
            tail: self.tail.get(select)?.to_owned(),
        })
    }

    /// The UUIDs of the inner tables of a TimeSeries table.
    #[must_use]
    pub fn inner_uuids(&self) -> Vec<TableUuid> {
        let texts = self.clauses().inner_uuids().into_iter();
        texts.filter_map(|(_, text)| TableUuid::from_server(&text).ok().flatten()).collect()
    }

    /// The text after the head, in a form that CREATE accepts: a table of the engine Alias may not list its columns,
    /// and inner tables of a TimeSeries table get unused UUIDs.
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

    /// The text that this definition was read from, with the part after the head replaced by that of `changed`.
    #[must_use]
    pub fn replaced_in(&self, text: &str, changed: &Self) -> Option<String> {
        let (before, behind) = text.rsplit_once(self.tail.as_str())?;
        Some(format!("{before}{}{behind}", changed.tail))
    }

    pub(super) fn with_tail(&self, tail: String) -> Self {
        Self { tail, ..self.clone() }
    }

    /// Everything that is independent of names and UUIDs.
    pub(super) fn behind_name(&self) -> String {
        let texts = [&self.schedule, &self.target_text, &self.tail];
        texts.into_iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

/// The names that are whole arguments of an engine, as string literals. `start` is where the clause begins.
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
