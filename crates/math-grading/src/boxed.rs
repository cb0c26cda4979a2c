//! `\boxed{…}`.

/// The contents of the `\boxed{…}` (or `\fbox{…}`) that begins last and is closed; braces may nest,
/// and escaped ones count for nothing. A box without braces, as in `\boxed 5$`, goes to the end of
/// the formula, the line or the sentence. One pass, whatever the text.
pub fn last(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    // Boxes that are open: (start of the contents, depth of braces around them).
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut found: Option<(usize, usize)> = None;
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => match box_start(text, at) {
                Some((start, true)) => {
                    open.push((start, depth));
                    depth += 1;
                    at = start;
                    continue;
                }
                Some((start, false)) => {
                    let end = start + bare_end(&bytes[start..]);
                    if !text[start..end].trim().is_empty() {
                        found = Some((start, end));
                    }
                    at = end;
                    continue;
                }
                // The escaped character is skipped too.
                None => at += 1,
            },
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if open.last().is_some_and(|&(_, d)| d >= depth) {
                    let (start, _) = open.pop().expect("it was just looked at");
                    if found.is_none_or(|(begin, _)| start > begin) {
                        found = Some((start, at));
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.map(|(start, end)| text[start..end].trim())
}

/// Where the contents begin and whether behind a brace, if a box begins at `at`.
fn box_start(text: &str, at: usize) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let rest = &bytes[at + 1..];
    let name = [&b"boxed"[..], b"fbox"].into_iter().find(|n| rest.starts_with(n))?;
    let after = at + 1 + name.len();
    let spaces = bytes[after..].iter().take_while(|b| **b == b' ').count();
    match bytes.get(after + spaces) {
        Some(b'{') => Some((after + spaces + 1, true)),
        Some(b) if spaces > 0 || !b.is_ascii_alphabetic() => Some((after + spaces, false)),
        _ => None,
    }
}

/// Where a box without braces ends.
fn bare_end(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    for (at, &b) in rest.iter().enumerate() {
        let next = rest.get(at + 1).copied();
        match (b, next) {
            (b'$' | b'\n', _) | (b'\\', Some(b')' | b']')) => return at,
            // `\boxed` again: the other box is looked at by itself.
            (b'\\', _) if rest[at..].starts_with(b"\\boxed") || rest[at..].starts_with(b"\\fbox") => return at,
            (b'.', None | Some(b' ' | b'\n')) => return at,
            (b'{', _) => depth += 1,
            (b'}', _) if depth == 0 => return at,
            (b'}', _) => depth -= 1,
            _ => {}
        }
    }
    rest.len()
}
