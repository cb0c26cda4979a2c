//! Words for people on standard error and standard output, which may both be gone.
//!
//! `eprintln!` panics where standard error has no reader, and so would end hours of work over a
//! progress line. Nothing here fails, and nothing reaches a terminal that it would obey: the text is
//! escaped, newlines and tabs stay.

use std::fmt::Arguments;
use std::io::Write;

use crate::text::escape_controls_multiline;

/// Writes a line to standard error; for [`note!`](crate::note).
pub fn note(words: Arguments<'_>) {
    let line = escape_controls_multiline(&words.to_string()) + "\n";
    // In one piece, so that lines of several threads do not mix. Without a reader there is no one to tell.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// A line on standard error, formatted as by `format!`, escaped, never a panic.
#[macro_export]
macro_rules! note {
    ($($words:tt)*) => { $crate::say::note(::std::format_args!($($words)*)) };
}
