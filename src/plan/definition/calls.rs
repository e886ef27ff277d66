//! Functions, engines and sources with their arguments, anywhere in a statement.

use std::ops::Range;

use super::tokens::{Token, TokenKind};

/// A name with arguments in brackets. All places are token indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The name, in lower case.
    pub(super) name: String,
    /// The place of the name.
    pub(super) at: usize,
    /// The arguments, without the commas between them.
    pub(super) arguments: Vec<Range<usize>>,
}

impl Call {
    /// Everything between the brackets.
    pub(super) fn inside(&self) -> Range<usize> {
        let start = self.arguments.first().map_or(self.at, |argument| argument.start);
        start..self.arguments.last().map_or(start, |argument| argument.end)
    }

    /// The place of an argument that is a single token.
    pub(super) fn single(&self, number: usize) -> Option<usize> {
        self.arguments.get(number).filter(|argument| argument.len() == 1).map(|argument| argument.start)
    }
}

struct OpenCall {
    name: Option<(String, usize)>,
    arguments: Vec<Range<usize>>,
    start: usize,
}

/// The calls among tokens without whitespace, inner ones first.
pub(super) fn calls(tokens: &[Token<'_>]) -> Vec<Call> {
    let mut open: Vec<OpenCall> = Vec::new();
    let mut calls = Vec::new();
    let mut finish = |mut last: OpenCall, end: usize| {
        if last.start < end || !last.arguments.is_empty() {
            last.arguments.push(last.start..end);
        }
        if let Some((name, at)) = last.name {
            calls.push(Call { name, at, arguments: last.arguments });
        }
    };
    for (at, token) in tokens.iter().enumerate() {
        match token.depth() {
            1 => {
                let before = at.checked_sub(1).and_then(|at| tokens.get(at)).filter(|_| token.is_mark("("));
                let name = before.and_then(Token::name).map(|name| (name.to_lowercase(), at - 1));
                open.push(OpenCall { name, arguments: Vec::new(), start: at + 1 });
            }
            -1 => {
                if let Some(last) = open.pop() {
                    finish(last, at);
                }
            }
            _ if token.is_mark(",") => {
                if let Some(last) = open.last_mut() {
                    last.arguments.push(last.start..at);
                    last.start = at + 1;
                }
            }
            _ => {}
        }
    }
    while let Some(last) = open.pop() {
        finish(last, tokens.len());
    }
    calls
}

/// Parses `KEY value KEY value (…)`, as in the sources of dictionaries. Returns the keys in upper case with the places
/// of the values that are single tokens.
pub(super) fn pairs(tokens: &[Token<'_>], inside: Range<usize>) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut at = inside.start;
    while at < inside.end {
        let Some(token) = tokens.get(at) else { break };
        depth += token.depth();
        let value = tokens.get(at + 1).filter(|value| value.kind != TokenKind::Mark && at + 1 < inside.end);
        if depth == 0 && token.kind == TokenKind::Word && value.is_some() {
            found.push((token.text.to_uppercase(), at + 1));
            at += 1;
        }
        at += 1;
    }
    found
}
