//! `usage`, compared with walks over every file and with the effect of real removals.

mod commands;
mod figures;
mod pruned;
mod removed;
