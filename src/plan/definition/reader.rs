//! Reads a statement from left to right.

use super::error::DefinitionError;
use super::tokens::{Token, solid_tokens};

/// The tokens of a statement without whitespace, and the reading position.
pub(super) struct TokenReader<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> TokenReader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, tokens: solid_tokens(text), at: 0 }
    }

    /// Looks ahead by a number of tokens.
    pub(super) fn ahead(&self, count: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + count).copied()
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.ahead(0)
    }

    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }

    /// Whether these keywords come next.
    pub(super) fn sees(&self, keywords: &[&str]) -> bool {
        keywords.iter().enumerate().all(|(count, keyword)| self.ahead(count).is_some_and(|token| token.is(keyword)))
    }

    /// Reads these keywords, if they come next.
    pub(super) fn takes(&mut self, keywords: &[&str]) -> bool {
        let found = self.sees(keywords);
        if found {
            self.at += keywords.len();
        }
        found
    }

    /// Reads this mark, if it comes next.
    pub(super) fn takes_mark(&mut self, mark: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_mark(mark));
        self.at += usize::from(found);
        found
    }

    /// Reads a name.
    ///
    /// # Errors
    /// If no name comes next.
    pub(super) fn name(&mut self) -> Result<String, DefinitionError> {
        self.next().and_then(|token| token.name()).ok_or(DefinitionError::Expected("a name"))
    }

    /// Reads `name` or `name.name`.
    ///
    /// # Errors
    /// If no name comes next.
    pub(super) fn qualified_name(&mut self) -> Result<(Option<String>, String), DefinitionError> {
        let first = self.name()?;
        if self.takes_mark(".") { Ok((Some(first), self.name()?)) } else { Ok((None, first)) }
    }

    /// Reads the value of a setting: a literal, a number, a word, or one of them followed by brackets.
    ///
    /// # Errors
    /// If no value comes next.
    pub(super) fn value(&mut self) -> Result<(), DefinitionError> {
        let _ = self.takes_mark("-") || self.takes_mark("+");
        let mut depth = 0;
        loop {
            let token = self.next().ok_or(DefinitionError::Expected("the value of a setting"))?;
            depth += token.depth();
            let opens = self.peek().is_some_and(|next| next.depth() > 0) && token.name().is_some();
            if depth <= 0 && !opens {
                return Ok(());
            }
        }
    }

    /// The byte offset of the next token, or of the end of the text.
    pub(super) fn offset(&self) -> usize {
        self.peek().map_or(self.text.len(), |token| token.start)
    }

    /// The text read since an offset, without surrounding whitespace.
    pub(super) fn since(&self, offset: usize) -> &'a str {
        self.text.get(offset..self.offset()).unwrap_or_default().trim()
    }

    /// The text that has not been read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.offset()..).unwrap_or_default().trim()
    }
}
