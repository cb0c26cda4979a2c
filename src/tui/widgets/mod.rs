//! Small pieces that panes are drawn from.

pub mod bar;
pub mod flow;
