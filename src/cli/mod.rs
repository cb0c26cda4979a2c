//! Subcommands, one file each.

pub mod models;
pub mod output;
pub mod tokenize;
