//! Why a text is no definition.

/// A text is no definition, or not one that is safe to run. Never holds any of the text, which may have secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Another word or name has to stand there.
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
    /// It holds a NUL.
    #[error("cannot read the definition: expected text without NUL")]
    Nul,
}
