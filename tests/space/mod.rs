//! What `usage` says, held against walks over every file and against what removals really free.

mod commands;
mod figures;
mod pruned;
mod removed;
