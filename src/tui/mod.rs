//! The screen.

pub mod color;
pub mod highlight;
pub mod keymap;
pub mod term;
pub mod theme;
