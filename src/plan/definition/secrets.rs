//! Hides secrets in statements as ClickHouse does, and hides values that may be secrets as well.
//!
//! Source: `FunctionSecretArgumentsFinder` and the `SETTINGS_TO_HIDE` of its storages in ClickHouse.

use std::collections::BTreeSet;
use std::ops::Range;

use super::alike::HIDDEN;
use super::calls::{Call, calls, pairs};
use super::literal::quote;
use super::secret_rules::{Argument, hide_within, is_secret_name, nested_values, positions, takes_columns};
use super::tokens::{Token, TokenKind, tokens};

/// The kind of statement, which decides what is secret in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretContext {
    /// `CREATE DATABASE`: engines have other arguments there.
    Database,
    /// `CREATE NAMED COLLECTION`: every value is a secret.
    NamedCollection,
    /// Everything else.
    Other,
}

/// A statement without its secrets.
pub(super) struct Masked {
    /// On one line, without comments.
    pub(super) text: String,
    /// The values that were hidden.
    pub(super) secrets: Vec<String>,
}

/// Whether a secret is hidden in the statement, by ClickHouse or by its author.
pub(super) fn has_hidden(sql: &str) -> bool {
    let solid: Vec<Token<'_>> = tokens(sql).into_iter().filter(|token| token.kind != TokenKind::Space).collect();
    let in_literal = |token: &Token<'_>| token.value().is_some_and(|value| value.contains(HIDDEN));
    let is_bare = |three: &[Token<'_>]| matches!(three, [open, word, close] if open.is_mark("[") && word.is("HIDDEN") && close.is_mark("]"));
    solid.iter().any(in_literal) || solid.windows(3).any(is_bare)
}

/// A statement on one line, without comments.
pub(super) fn one_line(sql: &str) -> String {
    let mut text = String::new();
    for token in tokens(sql) {
        match (token.kind, token.value()) {
            (TokenKind::Space, _) if text.is_empty() || text.ends_with(' ') => {}
            (TokenKind::Space, _) => text.push(' '),
            (_, Some(value)) if token.text.contains(['\n', '\r']) => text.push_str(&quote(&value, '\'')),
            (TokenKind::Name, _) if token.text.contains(['\n', '\r']) => {
                text.push_str(&quote(&token.name().unwrap_or_default(), '`'));
            }
            _ => text.push_str(token.text),
        }
    }
    text.trim_end().to_owned()
}

/// Hides the secrets of a statement.
pub(super) fn mask(sql: &str, context: SecretContext) -> Masked {
    let all = tokens(sql);
    let solid: Vec<Token<'_>> = all.iter().filter(|token| token.kind != TokenKind::Space).copied().collect();
    let hidden = Finder { tokens: &solid, context, whole: BTreeSet::new() }.find();
    let mut secrets = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    for token in &all {
        if token.kind == TokenKind::Space {
            if !text.is_empty() && !text.ends_with(' ') {
                text.push(' ');
            }
            continue;
        }
        if hidden.contains(&at) {
            secrets.push(token.value().or_else(|| token.name()).unwrap_or_else(|| token.text.to_owned()));
            text.push_str(&quote(HIDDEN, '\''));
        } else if let Some(value) = token.value() {
            let follows_query = at.checked_sub(1).and_then(|at| solid.get(at)).is_some_and(|before| {
                before.kind == TokenKind::Word && before.text.to_ascii_uppercase().ends_with("QUERY")
            });
            let (shown, found) = masked_value(&value, follows_query);
            text.push_str(&if shown == value && !token.text.contains(['\n', '\r']) {
                token.text.to_owned()
            } else {
                quote(&shown, '\'')
            });
            secrets.extend(found);
        } else {
            text.push_str(&token.text.replace(['\n', '\r'], " "));
        }
        at += 1;
    }
    let mut known = BTreeSet::new();
    secrets.retain(|secret| !secret.is_empty() && secret != HIDDEN && known.insert(secret.clone()));
    Masked { text: text.trim_end().to_owned(), secrets }
}

/// The value of a literal, without the secrets in it.
fn masked_value(value: &str, is_query: bool) -> (String, Vec<String>) {
    if is_query {
        let inner = mask(value, SecretContext::Other);
        if !inner.secrets.is_empty() {
            return (inner.text, inner.secrets);
        }
    }
    hide_within(value)
}

/// Finds the tokens that are secrets.
struct Finder<'t, 's> {
    tokens: &'t [Token<'s>],
    context: SecretContext,
    whole: BTreeSet<usize>,
}

impl Finder<'_, '_> {
    fn find(mut self) -> BTreeSet<usize> {
        let calls = calls(self.tokens);
        for call in &calls {
            self.call(call, &calls);
        }
        self.named_values();
        self.identified();
        self.whole
    }

    fn is_value(&self, at: usize) -> bool {
        let is_number = |token: &Token<'_>| token.text.starts_with(|first: char| first.is_ascii_digit());
        self.tokens.get(at).is_some_and(|token| token.kind == TokenKind::Text || is_number(token))
    }

    /// Hides all literals among some tokens, and also a single name, which engines accept as a literal.
    fn hide(&mut self, range: Range<usize>) {
        if range.len() == 1 && self.tokens.get(range.start).is_some_and(|token| token.name().is_some()) {
            self.whole.insert(range.start);
        }
        let literals: Vec<usize> = range.filter(|at| self.is_value(*at)).collect();
        self.whole.extend(literals);
    }

    fn call(&mut self, call: &Call, calls: &[Call]) {
        let is_engine = call.at.checked_sub(1).and_then(|at| self.tokens.get(at)).is_some_and(|t| t.is_mark("="));
        let positional: Vec<Range<usize>> =
            call.arguments.iter().filter(|argument| !self.is_named(argument)).cloned().collect();
        let arguments: Vec<Argument> = positional.iter().map(|argument| self.argument(argument)).collect();
        let is_database = self.context == SecretContext::Database;
        for number in positions(&call.name, &arguments, is_engine, is_database) {
            let Some(argument) = positional.get(number) else { continue };
            if takes_columns(&call.name) {
                let is_text = |at: &usize| self.tokens.get(*at).is_some_and(|token| token.kind == TokenKind::Text);
                let texts: Vec<usize> = argument.clone().filter(is_text).collect();
                self.whole.extend(texts);
            } else {
                self.hide(argument.clone());
            }
        }
        if let Some(kept) = nested_values(&call.name) {
            for value in self.values_except(call, kept) {
                self.hide(value);
            }
        }
        let is_within = |outer: &Call| outer.name == "source" && outer.inside().contains(&call.at);
        if calls.iter().any(is_within) {
            let is_header = call.name == "header";
            for (key, at) in pairs(self.tokens, call.inside()) {
                if is_secret_name(&key) || (is_header && key == "VALUE") {
                    self.hide(at..at + 1);
                }
            }
        }
    }

    fn is_named(&self, argument: &Range<usize>) -> bool {
        let second = self.tokens.get(argument.start + 1).filter(|_| argument.len() > 2);
        let is_map = self.tokens.get(argument.start).is_some_and(|token| {
            token.is_any(&["headers", "extra_credentials"]) && second.is_some_and(|second| second.is_mark("("))
        });
        is_map || second.is_some_and(|second| second.is_mark("="))
    }

    fn argument(&self, argument: &Range<usize>) -> Argument {
        let tokens = self.tokens.get(argument.clone()).unwrap_or_default();
        match tokens {
            [only] => match (only.value(), only.name()) {
                (Some(value), _) => Argument::Text(value),
                (None, Some(name)) => Argument::Name(name),
                (None, None) => Argument::Other,
            },
            [database, dot, table] if dot.is_mark(".") && database.name().and(table.name()).is_some() => {
                Argument::Qualified
            }
            [name, open, .., close] if open.is_mark("(") && close.is_mark(")") => {
                name.name().map_or(Argument::Other, |name| Argument::Call(name.to_lowercase()))
            }
            _ => Argument::Other,
        }
    }

    /// The values of `key = value` among the arguments of a call, except for some keys.
    fn values_except(&self, call: &Call, kept: &[&str]) -> Vec<Range<usize>> {
        let value = |argument: &Range<usize>| {
            let key = self.tokens.get(argument.start).and_then(|key| key.value().or_else(|| key.name()))?;
            let is_pair = self.tokens.get(argument.start + 1).is_some_and(|mark| mark.is_mark("="));
            (is_pair && !kept.contains(&key.to_ascii_lowercase().as_str())).then(|| argument.start + 2..argument.end)
        };
        call.arguments.iter().filter_map(value).collect()
    }

    /// Hides the values in `password = '…'`, `'password': '…'`, `PASSWORD '…'`; in a named collection every value.
    fn named_values(&mut self) {
        let mut found: Vec<usize> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let Some(name) = token.name().or_else(|| token.value()) else { continue };
            let is_mark = |mark| self.tokens.get(at + 1).is_some_and(|next| next.is_mark(mark));
            let is_secret = is_secret_name(&name);
            if is_mark("=") && (is_secret || self.context == SecretContext::NamedCollection)
                || is_mark(":") && is_secret
            {
                let is_sign = self.tokens.get(at + 2).is_some_and(|next| next.is_mark("-") || next.is_mark("+"));
                let value = at + 2 + usize::from(is_sign);
                let is_word = self.context == SecretContext::NamedCollection
                    && self.tokens.get(value).is_some_and(|value| value.kind == TokenKind::Word);
                if self.is_value(value) || is_word {
                    found.push(value);
                }
            } else if is_secret && token.kind == TokenKind::Word {
                let literal = self.tokens.get(at + 1).filter(|next| next.kind == TokenKind::Text);
                found.extend(literal.map(|_| at + 1));
            }
        }
        self.whole.extend(found);
    }

    /// Hides the secrets in `IDENTIFIED WITH sha256_hash BY '…' SALT '…'`.
    fn identified(&mut self) {
        let Some(start) = self.tokens.iter().position(|token| token.is("IDENTIFIED")) else { return };
        let mut found: Vec<usize> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate().skip(start) {
            let before = at.checked_sub(1).and_then(|at| self.tokens.get(at));
            if token.kind == TokenKind::Text && before.is_some_and(|before| before.is_any(&["BY", "SALT", "KEY"])) {
                found.push(at);
            }
        }
        self.whole.extend(found);
    }
}
