//! Jinja2 as transformers sets it up, where minijinja differs.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use serde::Serialize;

/// Deepest value that is written out.
const MAX_DEPTH: usize = 64;

/// Teaches an environment transformers' tests, methods and filters, and how Python writes values.
pub(super) fn teach(environment: &mut Environment<'static>) {
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.add_filter("tojson", tojson);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(write_value);
}

/// A template's text as minijinja takes it: line ends are one character, and the tags that mark what an assistant says
/// for training, which mean nothing in a prompt, are blocks that always hold.
pub(super) fn prepared(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut text = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let mut raw = false;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let end = match tag.as_bytes().get(1) {
            Some(b'#') if !raw => tag.find("#}").map(|end| end + 2),
            Some(b'{') if !raw => end_of_tag(tag, "}}"),
            Some(b'%') => end_of_tag(tag, "%}"),
            _ => Some(1),
        };
        let Some(end) = end else {
            // Not closed: the parser says so.
            text.push_str(tag);
            return text;
        };
        let (tag, after) = tag.split_at(end);
        let name = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}"));
        let name = name.map(|name| name.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim());
        match name {
            Some("raw") => raw = true,
            Some("endraw") => raw = false,
            Some("generation") if !raw => {
                text.push_str(&tag.replace("generation", "if true"));
                rest = after;
                continue;
            }
            Some("endgeneration") if !raw => {
                text.push_str(&tag.replace("endgeneration", "endif"));
                rest = after;
                continue;
            }
            _ => {}
        }
        text.push_str(tag);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Where a tag ends that begins `text`, behind `close`, which may also stand in texts within it.
fn end_of_tag(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(2) {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if text[at..].starts_with(close) => return Some(at + close.len()),
            (None, _) => {}
        }
    }
    None
}

/// Python's `iter` takes it; Jinja2's undefined counts as empty.
fn is_iterable(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Undefined
            | ValueKind::String
            | ValueKind::Bytes
            | ValueKind::Seq
            | ValueKind::Map
            | ValueKind::Iterable
    )
}

/// It has a length and items.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Undefined | ValueKind::String | ValueKind::Bytes | ValueKind::Seq | ValueKind::Map
    )
}

/// Python's methods, those of text that are missing elsewhere among them. A width in a format is memory that no fuel
/// pays for, so it has at most four digits.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let format = value.as_str().filter(|_| name == "format").unwrap_or_default();
    if format
        .split(|c: char| !c.is_ascii_digit())
        .any(|number| number.len() > 4)
    {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a format asks for too wide a field",
        ));
    }
    let known = value.as_str().and_then(|text| text_method(text, name, args));
    known.unwrap_or_else(|| minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args))
}

/// A method of text; none where it is not of those here.
fn text_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
    let at = |found: Option<usize>| match found {
        Some(at) => Ok(Value::from(text[..at].chars().count())),
        None => Err(missing()),
    };
    let list = |parts: &[&str]| parts.iter().map(|part| Value::from(*part)).collect::<Value>();
    let three = |parts: Option<(&str, &str)>, separator: &str, whole_first: bool| match parts {
        Some((before, after)) => list(&[before, separator, after]),
        None if whole_first => list(&[text, "", ""]),
        None => list(&["", "", text]),
    };
    let one = || from_args::<(&str,)>(args).map(|(argument,)| argument);
    Some(match name {
        "removeprefix" => one().map(|prefix| text.strip_prefix(prefix).unwrap_or(text).into()),
        "removesuffix" => one().map(|suffix| text.strip_suffix(suffix).unwrap_or(text).into()),
        "partition" => one().map(|separator| three(text.split_once(separator), separator, true)),
        "rpartition" => one().map(|separator| three(text.rsplit_once(separator), separator, false)),
        "index" => one().and_then(|part| at(text.find(part))),
        "rindex" => one().and_then(|part| at(text.rfind(part))),
        "casefold" => Ok(text.to_lowercase().into()),
        "rsplit" => from_args::<(Option<&str>, Option<i64>)>(args).map(|(separator, most)| {
            let most = most
                .and_then(|most| usize::try_from(most).ok())
                .map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = match separator {
                Some(separator) => text.rsplitn(most, separator).collect(),
                None if most == usize::MAX => text.split_whitespace().rev().collect(),
                None => text.trim_end().rsplitn(most, char::is_whitespace).collect(),
            };
            parts.reverse();
            list(&parts)
        }),
        _ => return None,
    })
}

/// Writes a value as Python does: None, True and False, and lists as one would type them.
fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Map => {
            let mut text = String::new();
            python(value, &mut text, MAX_DEPTH)?;
            out.write_str(&text).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

fn python(value: &Value, text: &mut String, depth: usize) -> Result<(), Error> {
    if depth == 0 {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a value is nested too deep to be written",
        ));
    }
    let separated = |text: &mut String, first: &mut bool| {
        if !std::mem::take(first) {
            text.push_str(", ");
        }
    };
    let mut first = true;
    match value.kind() {
        ValueKind::None => text.push_str("None"),
        ValueKind::Bool => text.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), text),
        ValueKind::Seq => {
            text.push('[');
            for item in value.try_iter()? {
                separated(text, &mut first);
                python(&item, text, depth - 1)?;
            }
            text.push(']');
        }
        ValueKind::Map => {
            text.push('{');
            for key in value.try_iter()? {
                separated(text, &mut first);
                python(&key, text, depth - 1)?;
                text.push_str(": ");
                python(&value.get_item(&key)?, text, depth - 1)?;
            }
            text.push('}');
        }
        _ => write!(text, "{value}").map_err(Error::from)?,
    }
    Ok(())
}

/// A text as Python's `repr` writes it.
fn quoted(value: &str, text: &mut String) {
    let quote = if value.contains('\'') && !value.contains('"') {
        '"'
    } else {
        '\''
    };
    text.push(quote);
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            c if c == quote => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text.push(quote);
}

/// Python's `json.dumps` as transformers calls it: nothing escaped for HTML, no ASCII only unless asked for, spaces after
/// `,` and `:`.
fn tojson(value: &Value, positional: Rest<Value>, options: Kwargs) -> Result<String, Error> {
    let option = |name: &str, place: usize| match positional.get(place) {
        Some(value) => Ok(Some(value.clone())),
        None => options.get::<Option<Value>>(name),
    };
    let ascii = option("ensure_ascii", 0)?.is_some_and(|value| value.is_true());
    let indent = option("indent", 1)?.filter(|value| !value.is_none());
    let separators = option("separators", 2)?.filter(|value| !value.is_none());
    let sorted = option("sort_keys", 3)?.is_some_and(|value| value.is_true());
    options.assert_all_used()?;
    let indent = match indent {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) => Some(" ".repeat(usize::try_from(width).unwrap_or(0).min(16))),
    };
    let (comma, colon) = match separators {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(pair) => {
            let text =
                |at: usize| Ok::<_, Error>(pair.get_item(&Value::from(at))?.as_str().unwrap_or_default().to_owned());
            (text(0)?, text(1)?)
        }
    };
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut json = serde_json::to_value(value).map_err(failed)?;
    if sorted {
        json.sort_all_objects();
    }
    let layout = Layout {
        comma,
        colon,
        indent,
        ascii,
        depth: 0,
        filled: false,
    };
    let mut bytes = Vec::new();
    json.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, layout))
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// JSON as Python lays it out.
struct Layout {
    comma: String,
    colon: String,
    indent: Option<String>,
    ascii: bool,
    depth: usize,
    /// Whether the list or object that ends next has something in it.
    filled: bool,
}

type Written = std::io::Result<()>;

impl Layout {
    fn line<W: ?Sized + std::io::Write>(&self, writer: &mut W) -> Written {
        match &self.indent {
            Some(indent) => writer.write_all(format!("\n{}", indent.repeat(self.depth)).as_bytes()),
            None => Ok(()),
        }
    }

    fn open<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> Written {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> Written {
        self.depth -= 1;
        if std::mem::replace(&mut self.filled, true) {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> Written {
        if !first {
            writer.write_all(self.comma.as_bytes())?;
        }
        self.line(writer)
    }
}

impl serde_json::ser::Formatter for Layout {
    fn begin_array<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> Written {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> Written {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> Written {
        self.item(writer, first)
    }

    fn end_array_value<W: ?Sized + std::io::Write>(&mut self, _: &mut W) -> Written {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> Written {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> Written {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> Written {
        self.item(writer, first)
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> Written {
        writer.write_all(self.colon.as_bytes())
    }

    fn end_object_value<W: ?Sized + std::io::Write>(&mut self, _: &mut W) -> Written {
        self.filled = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, fragment: &str) -> Written {
        if !self.ascii || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            if c.is_ascii() {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                writer.write_all(format!("\\u{unit:04x}").as_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "jinja_tests.rs"]
mod tests;
