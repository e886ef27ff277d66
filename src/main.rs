//! The `chsnap` command.

fn main() {}
