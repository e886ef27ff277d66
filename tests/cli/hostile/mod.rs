//! Input of those who mean harm, or of a disk gone mad: files, names, answers of a server, and what somebody has
//! planted in the repository or in a shadow. It is refused, or treated as the plain name that it is; nothing outside is
//! touched, nothing hangs, and memory is bounded.

mod answers;
mod arguments;
mod canary;
mod contents;
mod person;
mod planted;
mod shadows;
