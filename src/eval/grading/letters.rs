//! The letter of a choice.

/// The letter of the choice at an index from 0; there are 26.
pub fn letter(index: usize) -> Option<char> {
    (index < 26).then(|| char::from(b'A' + index as u8))
}

/// The index of the choice whose letter `text` is, of `choices` choices.
///
/// Dr.LLM's reward (arXiv 2510.12773, spec §4): the text is optionally `Answer:`, then one capital
/// letter, optionally in parentheses or with a dot or a closing parenthesis behind it, and nothing
/// else but white space. A sentence with a letter in it is no answer.
pub fn read(text: &str, choices: usize) -> Option<usize> {
    let text = text.trim();
    let prefix = text.get(..6).filter(|p| p.eq_ignore_ascii_case("answer"));
    let text = match prefix.and_then(|_| text[6..].trim_start().strip_prefix(':')) {
        Some(rest) => rest.trim_start(),
        None => text,
    };
    let (text, opened) = match text.strip_prefix('(') {
        Some(rest) => (rest.trim_start(), true),
        None => (text, false),
    };
    let letter = text.chars().next().filter(char::is_ascii_uppercase)?;
    let rest = text[1..].trim_start();
    let rest = match opened {
        true => rest.strip_prefix(')')?,
        false => rest.strip_prefix(')').unwrap_or(rest),
    };
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let index = usize::from(letter as u8 - b'A');
    (rest.is_empty() && index < choices).then_some(index)
}
