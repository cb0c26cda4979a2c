//! Subcommands, one file each.

pub mod config;
