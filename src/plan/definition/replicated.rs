//! Replicated engines, and what stands in their place.

use super::tokens::{Token, TokenKind, tokens};

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

/// Replaces `ReplicatedXMergeTree('path', 'replica', …)`.
pub(super) fn with_engine(sql: &str, replicated: Replicated) -> String {
    if replicated == Replicated::Keep {
        return sql.to_owned();
    }
    let tokens = tokens(sql);
    let Some(at) = engine(&tokens) else { return sql.to_owned() };
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
    let name = match replicated {
        Replicated::AsMergeTree => engine.text.trim_start_matches("Replicated"),
        _ => engine.text,
    };
    let rest = text(behind.get(arguments..).unwrap_or_default());
    let path = if replicated == Replicated::NewPath { "'/clickhouse/tables/{uuid}/{shard}', '{replica}'" } else { "" };
    let joined = match (opened, path.is_empty()) {
        (true, true) => format!("{name}({rest}"),
        (true, false) if rest.trim_start().starts_with(')') => format!("{name}({path}{rest}"),
        (true, false) => format!("{name}({path}, {rest}"),
        (false, true) => format!("{name}{rest}"),
        (false, false) => format!("{name}({path}){rest}"),
    };
    text(before) + &joined
}

/// The place of the engine's name.
fn engine(tokens: &[Token<'_>]) -> Option<usize> {
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
