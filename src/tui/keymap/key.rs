//! Key names: `ctrl-c`, `alt-enter`, `F5`, `G`, `g g`.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::config::source::suggestion;
use crate::text::escape_controls;

/// A key with its modifiers, in the one form that both names and terminals' events are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    modifiers: KeyModifiers,
}

/// Names in keymaps, what the terminal reports, and what the key bar shows.
const NAMED: [(&str, KeyCode, &str); 18] = [
    ("enter", KeyCode::Enter, "Enter"),
    ("esc", KeyCode::Esc, "Esc"),
    ("tab", KeyCode::Tab, "Tab"),
    ("backtab", KeyCode::BackTab, "Shift-Tab"),
    ("space", KeyCode::Char(' '), "Space"),
    ("backspace", KeyCode::Backspace, "Backspace"),
    ("delete", KeyCode::Delete, "Del"),
    ("insert", KeyCode::Insert, "Ins"),
    ("home", KeyCode::Home, "Home"),
    ("end", KeyCode::End, "End"),
    ("pageup", KeyCode::PageUp, "PgUp"),
    ("pagedown", KeyCode::PageDown, "PgDn"),
    ("up", KeyCode::Up, "↑"),
    ("down", KeyCode::Down, "↓"),
    ("left", KeyCode::Left, "←"),
    ("right", KeyCode::Right, "→"),
    ("escape", KeyCode::Esc, "Esc"),
    ("return", KeyCode::Enter, "Enter"),
];

const MODIFIERS: [(&str, KeyModifiers, &str); 3] = [
    ("ctrl-", KeyModifiers::CONTROL, "Ctrl-"),
    ("alt-", KeyModifiers::ALT, "Alt-"),
    ("shift-", KeyModifiers::SHIFT, "Shift-"),
];

/// Function keys terminals report.
const MAX_F: u8 = 24;

impl Key {
    /// The key of an event.
    pub fn pressed(event: KeyEvent) -> Key {
        let known = KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT;
        Key::normal(event.code, event.modifiers & known)
    }

    /// Terminals say the same thing in several ways: `G` with and without shift, back tab as shift
    /// and tab; and ctrl-i, ctrl-m and ctrl-[ are tab, enter and escape.
    fn normal(code: KeyCode, modifiers: KeyModifiers) -> Key {
        let (ctrl, shift) = (KeyModifiers::CONTROL, KeyModifiers::SHIFT);
        let (code, modifiers) = match code {
            KeyCode::Char(c) if modifiers.contains(ctrl) => match c.to_ascii_lowercase() {
                'i' => (KeyCode::Tab, modifiers - ctrl - shift),
                'm' => (KeyCode::Enter, modifiers - ctrl - shift),
                '[' => (KeyCode::Esc, modifiers - ctrl - shift),
                c => (KeyCode::Char(c), modifiers - shift),
            },
            KeyCode::Char(c) if modifiers.contains(shift) => (KeyCode::Char(upper(c)), modifiers - shift),
            KeyCode::Tab if modifiers.contains(shift) => (KeyCode::BackTab, modifiers - shift),
            KeyCode::BackTab => (KeyCode::BackTab, modifiers - shift),
            code => (code, modifiers),
        };
        Key { code, modifiers }
    }

    fn is_plain_char(self) -> bool {
        self.modifiers.is_empty() && matches!(self.code, KeyCode::Char(c) if c != ' ')
    }
}

/// The capital, where it is one character.
fn upper(c: char) -> char {
    let mut capital = c.to_uppercase();
    match (capital.next(), capital.next()) {
        (Some(c), None) => c,
        _ => c,
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let mut rest = text;
        let mut modifiers = KeyModifiers::NONE;
        while let Some((name, modifier, _)) = MODIFIERS.iter().find(|(name, ..)| starts_with(rest, name)) {
            modifiers |= *modifier;
            rest = &rest[name.len()..];
        }
        let code = code(rest).ok_or_else(|| unknown(text, rest))?;
        if let KeyCode::Char(c) = code
            && modifiers.contains(KeyModifiers::SHIFT)
        {
            if modifiers.contains(KeyModifiers::CONTROL) {
                return Err(format!(
                    "key '{text}': terminals do not tell shift with ctrl; leave shift out"
                ));
            }
            if upper(c) == c {
                return Err(format!(
                    "key '{text}': leave shift out and write the character that it gives"
                ));
            }
        }
        Ok(Key::normal(code, modifiers))
    }
}

/// Whether `text` begins with `prefix` and has more, whatever the case.
fn starts_with(text: &str, prefix: &str) -> bool {
    text.len() > prefix.len() && text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix))
}

fn code(name: &str) -> Option<KeyCode> {
    let mut chars = name.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        let typed = !c.is_control() && !c.is_whitespace() && escape_controls(name) == name;
        return typed.then_some(KeyCode::Char(c));
    }
    let lower = name.to_lowercase();
    if let Some((_, code, _)) = NAMED.iter().find(|(known, ..)| *known == lower) {
        return Some(*code);
    }
    let number = lower.strip_prefix('f').filter(|n| !n.starts_with('0'))?;
    let number = number.parse::<u8>().ok().filter(|n| (1..=MAX_F).contains(n))?;
    Some(KeyCode::F(number))
}

fn unknown(text: &str, rest: &str) -> String {
    let dashed = text.replace('+', "-");
    if text.contains('+') && dashed.parse::<Key>().is_ok() {
        return format!("unknown key '{text}': did you mean '{dashed}'?");
    }
    let hint = suggestion(rest, NAMED.iter().map(|(name, ..)| *name));
    let hint = hint.replace("expected one of", "expected a character, f1 to f24 or one of");
    format!("unknown key '{text}': {hint}")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, modifier, shown) in MODIFIERS {
            if self.modifiers.contains(modifier) {
                f.write_str(shown)?;
            }
        }
        if let Some((.., shown)) = NAMED.iter().find(|(_, code, _)| *code == self.code) {
            return f.write_str(shown);
        }
        match self.code {
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(n) => write!(f, "F{n}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// One key, or two with a space between.
///
/// # Errors
/// A sentence about what is wrong with the name.
pub(super) fn parse_sequence(text: &str) -> Result<Vec<Key>, String> {
    let keys: Vec<Key> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match keys.len() {
        1 | 2 => Ok(keys),
        0 => Err(format!("key '{text}' is empty; the space bar is 'space'")),
        _ => Err(format!("key '{text}': at most two keys in a row, like 'g g'")),
    }
}

/// As people write them: `Ctrl-x k`, but `gg`.
pub(super) fn display(keys: &[Key]) -> String {
    let between = if keys.iter().all(|k| k.is_plain_char()) {
        ""
    } else {
        " "
    };
    let shown: Vec<String> = keys.iter().map(Key::to_string).collect();
    shown.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        match parse_sequence(text) {
            Ok(keys) => display(&keys),
            Err(reason) => reason,
        }
    }

    #[test]
    fn names_and_their_display() {
        for (text, expected) in [
            ("s", "s"),
            ("G", "G"),
            ("shift-g", "G"),
            ("ctrl-C", "Ctrl-c"),
            ("Ctrl-Alt-Delete", "Ctrl-Alt-Del"),
            ("ctrl--", "Ctrl--"),
            ("-", "-"),
            ("+", "+"),
            ("shift-tab", "Shift-Tab"),
            ("backtab", "Shift-Tab"),
            ("shift-up", "Shift-↑"),
            ("alt-space", "Alt-Space"),
            ("f12", "F12"),
            ("ctrl-i", "Tab"),
            ("Return", "Enter"),
            ("é", "é"),
            ("g g", "gg"),
            ("ctrl-x k", "Ctrl-x k"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn wrong_names_say_what_to_write() {
        for (text, part) in [
            ("ctrl+c", "did you mean 'ctrl-c'?"),
            ("entr", "did you mean 'enter'?"),
            ("ctrl-escpe", "did you mean 'escape'?"),
            ("f0", "unknown key 'f0'"),
            ("f25", "unknown key 'f25'"),
            ("", "the space bar is 'space'"),
            (" ", "the space bar is 'space'"),
            ("a b c", "at most two keys"),
            ("ctrl-shift-p", "leave shift out"),
            ("shift-!", "write the character"),
            ("\u{7}", "unknown key"),
            ("\u{202e}", "unknown key"),
            ("ctrl-", "unknown key 'ctrl-'"),
            ("qqqqqqqqq", "expected a character, f1 to f24 or one of enter"),
        ] {
            assert!(shown(text).contains(part), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn events_and_names_agree() {
        use KeyCode::*;
        let (none, ctrl, shift) = (KeyModifiers::NONE, KeyModifiers::CONTROL, KeyModifiers::SHIFT);
        for (code, modifiers, name) in [
            (Char('G'), shift, "G"),
            (Char('G'), none, "G"),
            (Char('g'), shift, "shift-g"),
            (Char('?'), shift, "?"),
            (Char('c'), ctrl, "ctrl-c"),
            (Char('C'), ctrl | shift, "ctrl-c"),
            (BackTab, shift, "backtab"),
            (BackTab, none, "shift-tab"),
            (Tab, shift, "backtab"),
            (Char('m'), ctrl, "enter"),
            (Char(' '), none, "space"),
            (Enter, KeyModifiers::SUPER, "enter"),
        ] {
            let key = Key::pressed(KeyEvent::new(code, modifiers));
            assert_eq!(Ok(key), name.parse(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_names_never_panic(text in "\\PC{0,12}", tail in "(ctrl-|alt-|shift-){0,3}\\PC{0,3}") {
            for name in [text, tail] {
                let _ = parse_sequence(&name);
            }
        }

        #[test]
        fn what_is_shown_is_printable(c: char) {
            if let Ok(keys) = parse_sequence(&c.to_string()) {
                let shown = display(&keys);
                prop_assert_eq!(escape_controls(&shown), shown);
            }
        }
    }
}
