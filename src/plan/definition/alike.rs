//! Compares definitions: statements on one line or on many, with their secrets or without.

use super::tokens::{Token, TokenKind, solid_tokens};

/// The text that ClickHouse prints instead of a secret.
pub(super) const HIDDEN: &str = "[HIDDEN]";

/// Whether two statements have the same tokens. A hidden secret equals anything.
pub(super) fn are_alike(one: &str, other: &str) -> bool {
    let (one, other) = (solid_tokens(one), solid_tokens(other));
    let (mut at, mut there) = (0, 0);
    while let (Some(token), Some(twin)) = (one.get(at), other.get(there)) {
        if is_hidden(token) || is_hidden(twin) {
            // ClickHouse hides one literal, or all arguments from some position on: `encrypt('mode', '[HIDDEN]')`.
            let ends_call =
                |tokens: &[Token<'_>], next: usize| tokens.get(next).is_some_and(|token| token.is_mark(")"));
            let is_open =
                (is_hidden(token) && ends_call(&one, at + 1)) || (is_hidden(twin) && ends_call(&other, there + 1));
            at = skip(&one, at, is_open);
            there = skip(&other, there, is_open);
        } else if token.text == twin.text || is_same_name(token, twin) || is_partly_hidden_twin(token, twin) {
            at += 1;
            there += 1;
        } else {
            return false;
        }
    }
    at >= one.len() && there >= other.len()
}

fn is_hidden(token: &Token<'_>) -> bool {
    token.kind == TokenKind::Text && token.value().is_some_and(|value| value == HIDDEN)
}

/// The place after one value, or where the enclosing bracket closes.
fn skip(tokens: &[Token<'_>], from: usize, to_bracket: bool) -> usize {
    if !to_bracket {
        return from + 1;
    }
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(from) {
        depth += token.depth();
        if depth < 0 {
            return place;
        }
    }
    tokens.len()
}

/// Whether two tokens are the same name, with or without quotes.
fn is_same_name(one: &Token<'_>, other: &Token<'_>) -> bool {
    one.name().is_some_and(|name| other.name() == Some(name))
}

/// `http://user:[HIDDEN]@host` and `http://user:password@host`.
fn is_partly_hidden_twin(one: &Token<'_>, other: &Token<'_>) -> bool {
    let (Some(one), Some(other)) = (one.value(), other.value()) else { return false };
    one == other || fits(&one, &other) || fits(&other, &one)
}

/// Whether a pattern with hidden pieces matches a text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split(HIDDEN);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return false };
    for piece in pieces {
        match rest.find(piece).and_then(|at| rest.get(at + piece.len()..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::are_alike;

    #[test]
    fn a_hidden_secret_equals_any_secret() {
        for (one, other) in [
            ("PASSWORD '[HIDDEN]' DB 'l'", "PASSWORD 'dpw'  DB 'l'"),
            ("encrypt('m', '[HIDDEN]'), 1", "encrypt('m', text, concat('k', 'ey')), 1"),
            ("disk(path = '[HIDDEN]'), a = 1", "disk(path = '/x'), a = 1"),
            ("URL('http://u:[HIDDEN]@h/x', CSV)", "URL('http://u:p@h/x', CSV)"),
            ("S3('u', 'KEY', '[HIDDEN]', 'CSV')", "S3('u', 'KEY', 'x', 'CSV')"),
        ] {
            assert!(are_alike(one, other) && are_alike(other, one), "{one}");
        }
    }

    #[test]
    fn a_hidden_secret_hides_nothing_else() {
        for (one, other) in [
            ("PASSWORD '[HIDDEN]' DB 'l'", "PASSWORD 'dpw' DB 'm'"),
            ("f('[HIDDEN]', 1)", "f('a', 2)"),
            ("f('[HIDDEN]') x", "f('a') y"),
            ("URL('http://u:[HIDDEN]@h/x')", "URL('http://v:p@h/x')"),
            ("a '[HIDDEN]'", "a"),
            ("a", "a b"),
        ] {
            assert!(!are_alike(one, other) && !are_alike(other, one), "{one}");
        }
    }
}
