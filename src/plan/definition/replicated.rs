//! Replicated engines: their path in Keeper, and the plain engines of the same kind.

use super::literal::quote;
use super::parsed::ParsedDefinition;
use super::tokens::{Token, TokenKind, tokens};

/// The place of a replicated table's state in Keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaArguments {
    /// The path that all replicas share; with macros (`{shard}`), as in the definition, or expanded.
    pub path: String,
    /// The name of this replica, likewise.
    pub replica: String,
}

/// The parsed engine of a definition: the definition is `before`, `name`, and `behind`.
struct Engine<'a> {
    before: String,
    name: &'a str,
    arguments: Option<ReplicaArguments>,
    /// Whether its arguments are in brackets.
    is_open: bool,
    /// The text after path and replica, or after the opening bracket.
    behind: String,
}

impl ParsedDefinition {
    /// Whether its table, or its inner table, is replicated.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        engine(&self.tail).is_some()
    }

    /// The path and the replica name among the engine's arguments; `None` if the server chooses them.
    #[must_use]
    pub fn replica(&self) -> Option<ReplicaArguments> {
        engine(&self.tail)?.arguments
    }

    /// The same definition with the corresponding engine without `Replicated`.
    #[must_use]
    pub fn as_plain(&self) -> Self {
        let Some(engine) = engine(&self.tail) else { return self.clone() };
        let name = engine.name.trim_start_matches("Replicated");
        // Servers print no empty brackets.
        let arguments = match engine.behind.trim_start().strip_prefix(')') {
            Some(rest) if engine.is_open => rest.to_owned(),
            _ if engine.is_open => format!("({}", engine.behind),
            _ => engine.behind,
        };
        self.with_tail(format!("{}{name}{arguments}", engine.before))
    }

    /// The same definition with another path and replica name.
    #[must_use]
    pub fn with_replica(&self, arguments: &ReplicaArguments) -> Self {
        let Some(engine) = engine(&self.tail) else { return self.clone() };
        let (path, replica) = (quote(&arguments.path, '\''), quote(&arguments.replica, '\''));
        let rest = match engine.behind.trim_start().starts_with(')') {
            _ if !engine.is_open => format!("){}", engine.behind),
            true => engine.behind,
            false => format!(", {}", engine.behind),
        };
        self.with_tail(format!("{}{}({path}, {replica}{rest}", engine.before, engine.name))
    }

    /// The same definition for a database of the engine Replicated, which chooses path and name itself.
    #[must_use]
    pub fn without_replica(&self) -> Self {
        let Some(engine) = engine(&self.tail) else { return self.clone() };
        let bracket = if engine.is_open { "(" } else { "" };
        self.with_tail(format!("{}{}{bracket}{}", engine.before, engine.name, engine.behind))
    }
}

/// Parses `ReplicatedXMergeTree('path', 'replica', …)`.
fn engine(sql: &str) -> Option<Engine<'_>> {
    let tokens = tokens(sql);
    let at = place_of_engine(&tokens)?;
    let text = |range: &[Token<'_>]| range.iter().map(|token| token.text).collect::<String>();
    let (before, rest) = tokens.split_at(at);
    let (engine, behind) = rest.split_first()?;
    let solid: Vec<(usize, &Token<'_>)> =
        behind.iter().enumerate().filter(|(_, token)| token.kind != TokenKind::Space).take(6).collect();
    let is = |number: usize, mark: &str| solid.get(number).is_some_and(|(_, token)| token.is_mark(mark));
    let value = |number: usize| {
        solid.get(number).filter(|(_, token)| token.kind == TokenKind::Text).and_then(|(_, token)| token.value())
    };
    let place = |number: usize| solid.get(number).map_or(behind.len(), |(at, _)| *at);
    let is_open = is(0, "(");
    let arguments = match (value(1), value(3)) {
        (Some(path), Some(replica)) if is_open && is(2, ",") => Some(ReplicaArguments { path, replica }),
        _ => None,
    };
    let rest = match (&arguments, is_open) {
        (Some(_), _) if is(4, ",") => place(5),
        (Some(_), _) => place(4),
        (None, true) => place(1),
        (None, false) => 0,
    };
    Some(Engine {
        before: text(before),
        name: engine.text,
        arguments,
        is_open,
        behind: text(behind.get(rest..).unwrap_or_default()),
    })
}

/// The position of the engine's name.
fn place_of_engine(tokens: &[Token<'_>]) -> Option<usize> {
    let is_engine = |token: &Token<'_>| {
        token.kind == TokenKind::Word && token.text.starts_with("Replicated") && token.text.ends_with("MergeTree")
    };
    let follows = |at: usize| {
        let before = tokens.get(..at).unwrap_or_default().iter().rev();
        let last = before.filter(|token| token.kind != TokenKind::Space).find(|token| !token.is_mark("="));
        last.is_some_and(|token| token.is("ENGINE"))
    };
    (0..tokens.len()).find(|at| tokens.get(*at).is_some_and(is_engine) && follows(*at))
}
