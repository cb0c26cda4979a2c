//! `\boxed{…}`.

/// The contents of the `\boxed{…}` (or `\fbox{…}`) that begins last and is closed. Braces may nest;
/// escaped ones count for nothing. One pass, whatever the text.
pub fn last(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    // Boxes that are open: (start of the contents, depth of braces around them).
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut found: Option<(usize, usize)> = None;
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => match box_start(text, at) {
                Some(start) => {
                    open.push((start, depth));
                    depth += 1;
                    at = start;
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

/// Where the contents begin, if a box begins at `at`.
fn box_start(text: &str, at: usize) -> Option<usize> {
    let rest = &text.as_bytes()[at + 1..];
    let name = [&b"boxed"[..], b"fbox"].into_iter().find(|n| rest.starts_with(n))?;
    let spaces = rest[name.len()..].iter().take_while(|b| **b == b' ').count();
    let brace = 1 + name.len() + spaces;
    (text.as_bytes().get(at + brace) == Some(&b'{')).then_some(at + brace + 1)
}
