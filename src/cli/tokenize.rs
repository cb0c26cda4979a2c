//! `tokenize`: token ids of a text.

use super::output;
use crate::files;
use crate::model::tokenizer::Tokenizer;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

/// Arguments of `tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// The text, or - to read it from standard input
    #[arg(value_name = "TEXT")]
    text: String,
    /// Print JSON: a list of {"id", "text"}
    #[arg(long)]
    json: bool,
    /// Take special tokens written out in the text as ordinary text
    #[arg(long)]
    plain: bool,
    /// A name from `models list`, a .gguf file, a model folder or a hub name
    #[arg(long, value_name = "NAME|PATH")]
    pub model: Option<String>,
}

/// Runs `tokenize`. Ids are printed with commas between them, as `run --ids` takes them.
pub fn run(args: TokenizeArgs) -> Result<()> {
    let text = if args.text == "-" { stdin()? } else { args.text };
    let located = output::locate(args.model.as_deref())?;
    let tokenizer = Tokenizer::open(&located.location)?;
    let ids = if args.plain {
        tokenizer.encode_plain(&text)?
    } else {
        tokenizer.encode(&text)?
    };
    if args.json {
        let tokens: Vec<_> = ids
            .iter()
            .map(|&id| json!({"id": id, "text": tokenizer.decode_piece(id)}))
            .collect();
        return output::print_json(&tokens.into(), false);
    }
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    output::print(&format!("{}\n", ids.join(",")))
}

/// All of standard input, which must be UTF-8: replacing broken bytes would give other tokens.
fn stdin() -> Result<String> {
    let bytes = files::read_from(std::io::stdin(), files::TEXT).context("cannot read standard input")?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("standard input is not UTF-8 text at byte {at}; convert it first")
    })
}
