//! What can be copied. It goes to the system's clipboard by OSC 52: the terminal does it, so it works
//! over SSH too, where the terminal allows it.

use super::action::UiAction;
use super::app::App;
use super::describe;
use crate::text::escape_controls_multiline;

/// Most bytes that are sent. Terminals drop what is longer than about 100,000 characters of base64.
pub const MAX_BYTES: usize = 74_000;

/// A text on its way to the clipboard, and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Without characters that a terminal would obey when it is pasted.
    pub text: String,
    /// What was copied, in words, with how much it is.
    pub message: String,
}

/// What `action` copies.
///
/// # Errors
/// When there is nothing to copy, in words.
pub fn copy(app: &App, action: UiAction) -> Result<Copied, &'static str> {
    const NOTHING: &str = "there is nothing to copy yet: run a prompt, or open a recording";
    let run = app.shown.as_ref().ok_or(NOTHING)?;
    let (what, text) = match action {
        UiAction::CopyAnswer => {
            let plain = run.steps().iter().filter(|s| !s.special);
            ("the answer", plain.map(|s| s.text.as_str()).collect())
        }
        UiAction::CopyProgram => {
            let own = run.step(app.ui.cursor.token).map(|s| &s.program);
            (
                "the token's program",
                own.unwrap_or(&run.trace.header.program).to_string(),
            )
        }
        _ => ("the selected cell", describe::cell(app).ok_or(NOTHING)?),
    };
    if text.is_empty() {
        return Err("there is nothing to copy: it is empty");
    }
    let safe = escape_controls_multiline(&text);
    let end = (0..=MAX_BYTES.min(safe.len()))
        .rev()
        .find(|i| safe.is_char_boundary(*i));
    let text = safe[..end.unwrap_or(0)].to_owned();
    let count = text.chars().count();
    let message = match text.len() < safe.len() {
        false => format!("{what} went to the terminal's clipboard ({count} characters)"),
        true => format!("the first {count} characters of {what} went to the terminal's clipboard: it takes no more"),
    };
    Ok(Copied { text, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn what_is_copied_is_bounded_and_harmless() {
        let mut app = fixture::app();
        let answer = copy(&app, UiAction::CopyAnswer).unwrap();
        assert!(answer.text.starts_with("The sky appears blue") && answer.text.contains('\n'));
        assert!(!answer.text.contains('\u{1b}'));
        app.ui.cursor.token = 20;
        let program = copy(&app, UiAction::CopyProgram).unwrap();
        assert_eq!(
            program.text,
            app.shown.as_ref().unwrap().step(20).unwrap().program.to_string()
        );
        assert!(copy(&app, UiAction::CopyCell).unwrap().text.starts_with("layer "));
        app.shown.as_mut().unwrap().trace.steps[0].text = "日".repeat(MAX_BYTES);
        let cut = copy(&app, UiAction::CopyAnswer).unwrap();
        assert!(cut.text.len() <= MAX_BYTES && cut.text.len() > MAX_BYTES - 3);
        assert!(cut.message.starts_with("the first 24666 characters"), "{}", cut.message);
        app.shown = None;
        assert!(copy(&app, UiAction::CopyAnswer).is_err());
    }
}
