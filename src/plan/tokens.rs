//! The words of a statement, as far as names in it can be found and replaced without understanding the rest.

/// What a token is.
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

/// One token, by its place in the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
}

impl Token<'_> {
    /// Whether it is this keyword, which is in capitals.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == TokenKind::Mark && self.text == mark
    }

    /// The name that it stands for, if it can be one.
    pub(super) fn name(&self) -> Option<String> {
        match self.kind {
            TokenKind::Word => Some(self.text.to_owned()),
            TokenKind::Name => Some(unquote(self.text)),
            _ => None,
        }
    }

    /// The value of a string literal.
    pub(super) fn value(&self) -> Option<String> {
        (self.kind == TokenKind::Text).then(|| unquote(self.text))
    }
}

/// Takes the quotes away, with their escapes. Source: `readAnyQuotedString` in ClickHouse's `src/IO/ReadHelpers.cpp`.
fn unquote(text: &str) -> String {
    let mut letters = text.chars();
    let quote = letters.next().unwrap_or_default();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('t') => plain.push('\t'),
                Some('0') => plain.push('\0'),
                Some('b') => plain.push('\u{8}'),
                Some('f') => plain.push('\u{c}'),
                Some(other) => plain.push(other),
                None => {}
            },
            letter if letter == quote => {
                // Doubled, it stands for itself; else it is the end.
                if letters.next() == Some(quote) {
                    plain.push(quote);
                }
            }
            letter => plain.push(letter),
        }
    }
    plain
}

/// Splits a statement. Together the tokens are the whole text, whatever it is.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            '`' | '"' => (TokenKind::Name, quoted_length(rest, first)),
            '\'' => (TokenKind::Text, quoted_length(rest, first)),
            letter if letter.is_whitespace() => (TokenKind::Space, run(rest, char::is_whitespace)),
            '-' if rest.starts_with("--") => (TokenKind::Space, rest.find('\n').map_or(rest.len(), |end| end + 1)),
            '/' if rest.starts_with("/*") => (TokenKind::Space, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            letter if is_word(letter) => (TokenKind::Word, run(rest, is_word)),
            letter => (TokenKind::Mark, letter.len_utf8()),
        };
        let (text, behind) = rest.split_at(length);
        tokens.push(Token { kind, text });
        rest = behind;
    }
    tokens
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn run(text: &str, belongs: fn(char) -> bool) -> usize {
    text.find(|letter| !belongs(letter)).unwrap_or(text.len())
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            if letters.peek().is_some_and(|(_, next)| *next == quote) {
                letters.next();
            } else {
                return at + quote.len_utf8();
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{TokenKind, tokens};

    #[test]
    fn together_the_tokens_are_the_text() {
        for text in [
            "CREATE TABLE a.`b``c\\`d` (x String DEFAULT 'it''s \\' not', y UInt8) -- end\n /* ' */ ENGINE = Log",
            "'unfinished",
            "`",
            "é'ü'\"ö\"",
            "",
            "/* open",
        ] {
            let joined: String = tokens(text).iter().map(|token| token.text).collect();
            assert_eq!(joined, text);
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
}
