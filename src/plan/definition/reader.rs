//! Reads a statement from left to right.

use super::error::DefinitionError;
use super::tokens::{Token, solid_tokens};

/// The tokens of a statement that are no space, and how far it was read.
pub(super) struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Reader<'a> {
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
    /// If none comes next.
    pub(super) fn name(&mut self) -> Result<String, DefinitionError> {
        self.next().and_then(|token| token.name()).ok_or(DefinitionError::Expected("a name"))
    }

    /// Reads `name` or `name.name`.
    ///
    /// # Errors
    /// If none comes next.
    pub(super) fn qualified_name(&mut self) -> Result<(Option<String>, String), DefinitionError> {
        let first = self.name()?;
        if self.takes_mark(".") { Ok((Some(first), self.name()?)) } else { Ok((None, first)) }
    }

    /// Reads the value of a setting: a literal, a number, a word, or one of them with brackets behind.
    ///
    /// # Errors
    /// If none comes next.
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

    /// Where the next token begins, in bytes; behind the last one the text ends.
    pub(super) fn offset(&self) -> usize {
        self.peek().map_or(self.text.len(), |token| token.start)
    }

    /// What was read since an offset, without the space around it.
    pub(super) fn since(&self, offset: usize) -> &'a str {
        self.text.get(offset..self.offset()).unwrap_or_default().trim()
    }

    /// All that was not read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.offset()..).unwrap_or_default().trim()
    }
}
