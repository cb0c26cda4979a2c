//! Reading traces that the command line names.

use std::path::Path;

use anyhow::{Context, Result};

use crate::files;
use crate::trace::Trace;

/// Reads a trace; `-` is standard input.
///
/// # Errors
/// Names the file when it cannot be read or is no trace.
pub fn read_trace(path: &Path) -> Result<Trace> {
    let cannot = || format!("cannot read the trace {}", path.display());
    let bytes = match path.as_os_str() == "-" {
        true => files::read_from(std::io::stdin(), files::DATA).with_context(cannot)?,
        false => files::read(path, files::DATA).with_context(cannot)?,
    };
    let trace = Trace::from_json_lines(&String::from_utf8_lossy(&bytes));
    trace.with_context(|| format!("{} is no trace of `run --json`", path.display()))
}
