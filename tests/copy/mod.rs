//! Copies to another filesystem: equal to their sources in everything that can be kept, or an error that names the
//! file.

mod faults;
mod files;
mod parts;
mod support;
