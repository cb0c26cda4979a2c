//! The screen: state ([`app`]), events that change it ([`update`]), and what it looks like
//! ([`view`]). The main loop is [`run`].

pub mod action;
pub mod app;
pub mod color;
pub mod diff;
#[cfg(test)]
#[path = "../../tests/fixture/mod.rs"]
pub(crate) mod fixture;
pub mod grid;
pub mod highlight;
pub mod keymap;
pub mod layout;
pub mod overrides;
pub mod prompt;
pub mod recordings;
pub mod run;
pub mod settings;
pub mod term;
pub mod theme;
pub mod transcript;
pub mod update;
pub mod view;
pub mod widgets;
