//! The tokens of a statement, as ClickHouse's own lexer finds them (`src/Parsers/Lexer.cpp`).

use super::literal::{closing, unquote};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A bare word: a keyword, a name, a number.
    Word,
    /// A name in backticks or double quotes.
    Name,
    /// A string literal.
    Text,
    /// One other character.
    Mark,
    /// White space and comments.
    Space,
}

/// One token, with its position in the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// Its start, in bytes.
    pub(super) start: usize,
    /// Whether its quote or comment is closed.
    pub(super) is_closed: bool,
}

impl Token<'_> {
    /// Its end, in bytes.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this keyword, ignoring case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is one of these keywords.
    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == TokenKind::Mark && self.text == mark
    }

    /// The change of the bracket depth after it.
    pub(super) fn depth(&self) -> isize {
        match (self.kind, self.text) {
            (TokenKind::Mark, "(" | "[" | "{") => 1,
            (TokenKind::Mark, ")" | "]" | "}") => -1,
            _ => 0,
        }
    }

    /// The name that it spells, if it can be a name.
    pub(super) fn name(&self) -> Option<String> {
        match self.kind {
            TokenKind::Word if !self.text.starts_with(|first: char| first.is_ascii_digit()) => {
                Some(self.text.to_owned())
            }
            TokenKind::Name => Some(unquote(self.text)),
            _ => None,
        }
    }

    /// The value of a string literal.
    pub(super) fn value(&self) -> Option<String> {
        (self.kind == TokenKind::Text).then(|| unquote(self.text))
    }
}

/// Splits a statement. Together the tokens are the whole text, whatever it contains.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = sql.get(start..).and_then(|rest| rest.chars().next()) {
        let rest = sql.get(start..).unwrap_or_default();
        let (kind, length, is_closed) = first_token(rest, first);
        let text = rest.get(..length).unwrap_or(rest);
        tokens.push(Token { kind, text, start, is_closed });
        start += text.len();
    }
    tokens
}

/// The tokens without whitespace.
pub(super) fn solid_tokens(sql: &str) -> Vec<Token<'_>> {
    tokens(sql).into_iter().filter(|token| token.kind != TokenKind::Space).collect()
}

fn first_token(rest: &str, first: char) -> (TokenKind, usize, bool) {
    let closed = |kind, length| (kind, length, true);
    match first {
        '`' | '"' | '“' => quoted(TokenKind::Name, rest, first),
        '\'' | '‘' => quoted(TokenKind::Text, rest, first),
        letter if letter.is_whitespace() => closed(TokenKind::Space, run(rest, char::is_whitespace)),
        '-' if rest.starts_with("--") => closed(TokenKind::Space, line(rest)),
        '#' if rest.starts_with("# ") || rest.starts_with("#!") => closed(TokenKind::Space, line(rest)),
        '/' if rest.starts_with("/*") => match rest.get(2..).and_then(|inner| inner.find("*/")) {
            Some(end) => closed(TokenKind::Space, end + 4),
            None => (TokenKind::Space, rest.len(), false),
        },
        '$' => heredoc_length(rest).map_or((TokenKind::Mark, 1, true), |length| closed(TokenKind::Text, length)),
        letter if letter.is_ascii_digit() => closed(TokenKind::Word, number(rest)),
        letter if is_word(letter) => closed(TokenKind::Word, run(rest, is_word)),
        letter => closed(TokenKind::Mark, letter.len_utf8()),
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn run(text: &str, belongs: fn(char) -> bool) -> usize {
    text.find(|letter| !belongs(letter)).unwrap_or(text.len())
}

fn line(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

/// The length of a number: `8192`, `1.5`, `0x1f`.
fn number(text: &str) -> usize {
    let whole = run(text, is_word);
    let fraction = text.get(whole..).and_then(|rest| rest.strip_prefix('.'));
    match fraction.map(|rest| run(rest, is_word)) {
        Some(length) if fraction.is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit())) => {
            whole + 1 + length
        }
        _ => whole,
    }
}

/// The length of `$tag$ … $tag$`.
fn heredoc_length(text: &str) -> Option<usize> {
    let tag_length = run(text.get(1..)?, is_word);
    let tag = text.get(..tag_length + 2).filter(|tag| tag.ends_with('$'))?;
    let end = text.get(tag.len()..)?.find(tag)?;
    Some(end + 2 * tag.len())
}

fn quoted(kind: TokenKind, text: &str, opening: char) -> (TokenKind, usize, bool) {
    let quote = closing(opening);
    let has_escapes = quote == opening;
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && has_escapes {
            letters.next();
        } else if letter == quote {
            if has_escapes && letters.peek().is_some_and(|(_, next)| *next == quote) {
                letters.next();
            } else {
                return (kind, at + quote.len_utf8(), true);
            }
        }
    }
    (kind, text.len(), false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{TokenKind, tokens};

    fn joined(text: &str) -> String {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn together_the_tokens_are_the_text() {
        for text in [
            "CREATE TABLE a.`b``c\\`d` (x String DEFAULT 'it''s \\' not', y UInt8) -- end\n /* ' */ ENGINE = Log",
            "'unfinished",
            "`",
            "é'ü'\"ö\"",
            "",
            "/* open",
            "/*/",
            "$a$ ' $a$ $ $b$ 1.5.6 0x1f ‘ö’ # x",
        ] {
            assert_eq!(joined(text), text);
        }
    }

    proptest! {
        #[test]
        fn together_the_tokens_are_any_text(text in "([a-z0-9.;(){}'\"`$\\\\/*# \n-]|\\PC){0,40}") {
            prop_assert_eq!(joined(&text), text);
        }
    }

    #[test]
    fn quotes_end_where_the_server_ends_them() {
        let found = tokens(r"'a\'b''c' `d\`e`");
        let kinds: Vec<TokenKind> = found.iter().map(|token| token.kind).collect();
        assert_eq!(kinds, [TokenKind::Text, TokenKind::Space, TokenKind::Name]);
        assert_eq!(found.first().and_then(super::Token::value).as_deref(), Some("a'b'c"));
        assert_eq!(found.last().and_then(super::Token::name).as_deref(), Some("d`e"));
    }

    #[test]
    fn a_quote_within_a_heredoc_or_a_comment_opens_nothing() {
        for text in ["$$ ' $$ ;", "# '\n;", "-- '\n;", "/* ' */;", "‘ ' ’;"] {
            let found = tokens(text);
            assert!(found.last().is_some_and(|last| last.is_mark(";")), "{text}");
            assert!(found.iter().all(|token| token.is_closed), "{text}");
        }
        assert!(!tokens("/*/").iter().all(|token| token.is_closed));
    }
}
