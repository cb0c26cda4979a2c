use clap::{Parser, Subcommand};
use drllm::cli::{models, tokenize};
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List, pull and inspect models
    Models(models::ModelsArgs),
    /// Print the token ids of a text
    Tokenize(tokenize::TokenizeArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Models(args) => models::run(args),
        Command::Tokenize(args) => tokenize::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
