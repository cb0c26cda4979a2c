//! `drllm-tui man`: the manual, made from the arguments themselves.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_mangen::Man;

use super::output::{self, write_whole};

/// Print the manual page, for `man -l -`; with --out, write one for every command.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// A folder for the pages, like ~/.local/share/man/man1; files of their names are replaced
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command for the pages of `command`.
///
/// # Errors
/// When a page cannot be written.
pub fn run(args: &ManArgs, command: Command) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.out else {
        return output::print(&String::from_utf8_lossy(&page(&Man::new(command))));
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for man in pages(command) {
        write_whole(&folder.join(man.get_filename()), |out| out.write_all(&page(&man)))?;
    }
    Ok(())
}

/// The pages of a command and all below it.
fn pages(command: Command) -> Vec<Man> {
    let visible = command.get_subcommands().filter(|s| !s.is_hide_set()).cloned();
    let mut all: Vec<Man> = visible.flat_map(pages).collect();
    all.push(Man::new(command));
    all
}

fn page(man: &Man) -> Vec<u8> {
    let mut out = Vec::new();
    man.render(&mut out).expect("memory takes everything that is written");
    out
}
