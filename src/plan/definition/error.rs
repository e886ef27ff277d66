//! Why a text is not a definition.

/// A text is not a definition, or not one that is safe to run. Never contains any of the text, which may have secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// A different word or name is required at this place.
    #[error("cannot read the definition: expected {0}")]
    Expected(&'static str),
    /// A second statement follows.
    #[error("cannot read the definition: expected one statement, found text after a semicolon")]
    SecondStatement,
    /// A quote or a comment is not closed.
    #[error("cannot read the definition: expected every quote and comment to be closed")]
    Unclosed,
    /// Brackets do not match.
    #[error("cannot read the definition: expected every bracket to have its counterpart")]
    Brackets,
    /// It contains a NUL.
    #[error("cannot read the definition: expected text without NUL")]
    Nul,
}
