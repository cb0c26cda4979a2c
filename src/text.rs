//! Text from a model, a file or a user is hostile until escaped: a terminal obeys control
//! characters.

/// The bytes of a text file without the byte-order mark that some programs write in front.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// A number of things in words: `1 run`, `2 runs`.
pub fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Replaces what a terminal would obey or mis-measure by visible forms: C0 controls by their
/// pictures (␛, ␉), but a newline by ⏎, what else controls the order of text or cannot be seen by
/// `\u{…}`. Newlines and tabs too: callers that want them split lines first.
pub fn escape_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + c as u32).expect("control pictures")),
            '\u{7f}' => out.push('\u{2421}'),
            c if is_hostile(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Bytes that are no text by themselves: `<E2 80>`.
pub fn bytes_in_words(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("<{}>", words.join(" "))
}

/// As [`escape_controls`], but newlines and tabs stay: for text streamed to a terminal.
pub fn escape_controls_multiline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        match part.char_indices().next_back() {
            Some((at, c @ ('\n' | '\t'))) => {
                out.push_str(&escape_controls(&part[..at]));
                out.push(c);
            }
            _ => out.push_str(&escape_controls(part)),
        }
    }
    out
}

/// Finished JSON, with what a terminal would obey or mis-measure written as `\uXXXX`. Its meaning
/// is the same: such characters stand in strings only. Line feeds between values stay.
pub fn escape_json_controls(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}' => out.push_str("\\u007f"),
            c if is_hostile(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// Text for SVG and HTML, in elements and in quoted attributes: markup is escaped, and so is what
/// [`escape_controls`] escapes. The characters that XML does not know at all are replaced.
pub fn escape_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape_controls(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A CSV field: quoted where it has to be (RFC 4180).
pub fn csv_field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// What cannot be seen or changes what is seen: C1 controls, line and paragraph separators,
/// interlinear annotations, and Unicode's Bidi_Control and Default_Ignorable_Code_Point.
pub fn is_hostile(c: char) -> bool {
    if c < '\u{80}' {
        return false;
    }
    matches!(
        c,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_obeys_is_left() {
        let hostile = "a\u{1b}[31mb\r\n\t\u{7f}\u{9b}2J\u{202e}x";
        let escaped = escape_controls(hostile);
        assert!(escaped.chars().all(|c| !c.is_control()), "{escaped}");
        assert_eq!(escaped, "a␛[31mb␍⏎␉␡\\u{9b}2J\\u{202e}x");
        assert_eq!(escape_controls("日本語 é 😀"), "日本語 é 😀");
    }

    #[test]
    fn what_is_invisible_is_shown() {
        let invisible = "\u{ad}\u{34f}\u{61c}\u{115f}\u{17b4}\u{180e}\u{200b}\u{200d}\u{2060}\u{206a}\u{3164}\
                         \u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{1d173}\u{e0001}\u{e0041}\u{e01ef}";
        for c in invisible.chars() {
            assert_eq!(
                escape_controls(&format!("a{c}b")),
                format!("a\\u{{{:x}}}b", u32::from(c))
            );
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"é\u{202e}": ["\u{9b}2J\u{7f}\u{1b}\u{e0041}", 1]});
        let escaped = escape_json_controls(&format!("{value:#}"));
        assert!(
            escaped.chars().all(|c| c == '\n' || !(c.is_control() || is_hostile(c))),
            "{escaped}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }

    #[test]
    fn markup_is_text() {
        let hostile = "</title><script>alert('x')</script>&\"\u{1b}\u{202e}\u{ffff}\0";
        let escaped = escape_markup(hostile);
        assert!(
            !escaped.contains(['<', '>', '"', '\'', '\u{1b}', '\0', '\u{202e}', '\u{ffff}']),
            "{escaped}"
        );
        assert!(
            escaped.starts_with("&lt;/title&gt;&lt;script&gt;alert(&#39;x"),
            "{escaped}"
        );
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(csv_field("a b"), "a b");
        assert_eq!(csv_field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
    }

    #[test]
    fn lines_survive_in_streams() {
        assert_eq!(escape_controls_multiline("a\nb\t\u{1b}c\n"), "a\nb\t␛c\n");
    }
}
