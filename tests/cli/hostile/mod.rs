//! Hostile or corrupted input: files, names, answers of a server, entries planted in the repository or in a shadow. It
//! is refused, or treated as the plain name that it is; nothing outside is changed, nothing hangs, and memory is
//! bounded.

mod answers;
mod arguments;
mod canary;
mod contents;
pub(super) mod person;
mod planted;
mod shadows;
