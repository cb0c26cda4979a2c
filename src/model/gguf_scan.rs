//! A walk over a GGUF header that believes no count. It allocates nothing, unless the parts are asked for.

/// More than any model has; each costs candle's reader a few hundred bytes.
const MAX_ENTRIES: u64 = 1 << 16;
/// Array elements in all: the largest vocabularies (some 260,000 tokens with scores, types and
/// merges) need 1.3 million. Each costs candle's reader 32 bytes.
const MAX_ELEMENTS: u64 = 1 << 22;
const MAX_DIMENSIONS: u32 = 4;
const MAX_NESTING: u32 = 2;

/// What the header declares, once it is known to fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) metadata: u64,
    pub(super) tensors: u64,
    /// Tensors of type [`IQ4_NL`], and where in the file their type's number stands.
    pub(super) iq4_nl: Vec<(String, usize)>,
    /// One more than the header's last byte, padding aside.
    pub(super) end: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Magic,
    Version(u32),
    /// The header asks for bytes up to `expected`, beyond the end of the file.
    Truncated {
        what: String,
        expected: u64,
    },
    Absurd(String),
    /// A tensor is of a type that is not read: its name, escaped, and the type's.
    Type {
        tensor: String,
        kind: String,
    },
}

/// ggml's tensor types by number, with an empty name where there is none (any more), and whether this program reads them.
const TYPES: [(&str, bool); 41] = [
    ("F32", true),
    ("F16", true),
    ("Q4_0", true),
    ("Q4_1", true),
    ("Q4_2", false),
    ("Q4_3", false),
    ("Q5_0", true),
    ("Q5_1", true),
    ("Q8_0", true),
    ("Q8_1", true),
    ("Q2_K", true),
    ("Q3_K", true),
    ("Q4_K", true),
    ("Q5_K", true),
    ("Q6_K", true),
    ("Q8_K", true),
    ("IQ2_XXS", false),
    ("IQ2_XS", false),
    ("IQ3_XXS", false),
    ("IQ1_S", false),
    (IQ4_NL, true),
    ("IQ3_S", false),
    ("IQ2_S", false),
    ("IQ4_XS", false),
    ("I8", false),
    ("I16", false),
    ("I32", false),
    ("I64", false),
    ("F64", false),
    ("IQ1_M", false),
    ("BF16", true),
    ("Q4_0_4_4", false),
    ("Q4_0_4_8", false),
    ("Q4_0_8_8", false),
    ("TQ1_0", false),
    ("TQ2_0", false),
    ("IQ4_NL_4_4", false),
    ("IQ4_NL_4_8", false),
    ("IQ4_NL_8_8", false),
    ("MXFP4", false),
    ("NVFP4", false),
];

/// A type that candle does not know, in blocks of Q4_0's size.
pub(super) const IQ4_NL: &str = "IQ4_NL";

/// The names of the tensor types that are read.
pub(super) fn supported_types() -> String {
    let read = TYPES.iter().filter(|(_, read)| *read).map(|(name, _)| *name);
    read.collect::<Vec<_>>().join(", ")
}

/// The number of a type.
pub(super) fn number_of(name: &str) -> u32 {
    let at = TYPES.iter().position(|(known, _)| *known == name);
    at.expect("a type of the table") as u32
}

/// One entry of the metadata as it stands in the file.
pub(super) struct RawEntry<'a> {
    pub(super) key: &'a [u8],
    /// Its type's number.
    pub(super) kind: u32,
    /// Without key and type.
    pub(super) value: &'a [u8],
}

/// What the header says of a tensor, as it stands in the file.
pub(super) struct RawTensor<'a> {
    pub(super) name: &'a [u8],
    /// Number of dimensions, shape and type: what lies between name and offset.
    pub(super) form: &'a [u8],
}

/// The parts of a header, in the file's order.
pub(super) struct RawHeader<'a> {
    pub(super) version: u32,
    pub(super) entries: Vec<RawEntry<'a>>,
    pub(super) tensors: Vec<RawTensor<'a>>,
}

/// Checks that everything the header declares lies within `bytes`.
pub(super) fn scan(bytes: &[u8]) -> Result<Declared, Flaw> {
    walk(bytes, |_| (), |_| ()).map(|(_, declared)| declared)
}

/// As [`scan`], and what the header is made of.
pub(super) fn raw_header(bytes: &[u8]) -> Result<RawHeader<'_>, Flaw> {
    let (mut entries, mut tensors) = (Vec::new(), Vec::new());
    let (version, _) = walk(bytes, |entry| entries.push(entry), |tensor| tensors.push(tensor))?;
    Ok(RawHeader {
        version,
        entries,
        tensors,
    })
}

/// The version of the file, and what its header declares; `on_entry` and `on_tensor` hear of each part.
fn walk<'a>(
    bytes: &'a [u8],
    mut on_entry: impl FnMut(RawEntry<'a>),
    mut on_tensor: impl FnMut(RawTensor<'a>),
) -> Result<(u32, Declared), Flaw> {
    if !bytes.starts_with(b"GGUF") {
        return Err(Flaw::Magic);
    }
    let mut scanner = Scanner {
        bytes,
        at: 4,
        wide: true,
        elements: 0,
        iq4_nl: Vec::new(),
    };
    let version = scanner.u32("the version")?;
    if !(1..=3).contains(&version) {
        return Err(Flaw::Version(version));
    }
    scanner.wide = version > 1;
    let tensors = scanner.length("the number of tensors")?;
    let metadata = scanner.length("the number of metadata entries")?;
    for (count, what) in [(tensors, "tensors"), (metadata, "metadata entries")] {
        if count > MAX_ENTRIES {
            return Err(Flaw::Absurd(format!(
                "its header declares {count} {what}, at most {MAX_ENTRIES} are plausible"
            )));
        }
    }
    for _ in 0..metadata {
        on_entry(scanner.entry()?);
    }
    for _ in 0..tensors {
        on_tensor(scanner.tensor()?);
    }
    let declared = Declared {
        metadata,
        tensors,
        iq4_nl: scanner.iq4_nl,
        end: scanner.at,
    };
    Ok((version, declared))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Lengths are 64 bits wide since version 2.
    wide: bool,
    /// Array elements met so far.
    elements: u64,
    iq4_nl: Vec<(String, usize)>,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], Flaw> {
        let expected = (self.at as u64).saturating_add(count);
        if expected > self.bytes.len() as u64 {
            return Err(Flaw::Truncated {
                what: format!("{what} at byte {}", self.at),
                expected,
            });
        }
        let taken = &self.bytes[self.at..expected as usize];
        self.at = expected as usize;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32, Flaw> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    fn u64(&mut self, what: &str) -> Result<u64, Flaw> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    fn length(&mut self, what: &str) -> Result<u64, Flaw> {
        if self.wide {
            self.u64(what)
        } else {
            self.u32(what).map(u64::from)
        }
    }

    fn string(&mut self, what: &str) -> Result<&'a [u8], Flaw> {
        let length = self.length(what)?;
        self.take(length, what)
    }

    fn entry(&mut self) -> Result<RawEntry<'a>, Flaw> {
        let key = self.string("a metadata key")?;
        let kind = self.u32("a metadata type")?;
        let at = self.at;
        self.value(kind, 0)?;
        let value = &self.bytes[at..self.at];
        // candle's reader divides by the alignment; the format wants a power of two.
        if key == b"general.alignment" {
            let alignment = value
                .iter()
                .rev()
                .fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            if kind > 5 || !alignment.is_power_of_two() || alignment > 1 << 20 {
                return Err(Flaw::Absurd(format!(
                    "its alignment (general.alignment, type {kind}) is {alignment}, a power of two was expected"
                )));
            }
        }
        Ok(RawEntry { key, kind, value })
    }

    fn value(&mut self, kind: u32, nesting: u32) -> Result<(), Flaw> {
        match (kind, fixed_width(kind)) {
            (_, Some(width)) => self.take(width, "a metadata value").map(|_| ()),
            (8, _) => self.string("a metadata string").map(|_| ()),
            (9, _) => self.array(nesting),
            _ => Err(Flaw::Absurd(format!(
                "unknown metadata type {kind} at byte {}",
                self.at - 4
            ))),
        }
    }

    fn array(&mut self, nesting: u32) -> Result<(), Flaw> {
        if nesting == MAX_NESTING {
            return Err(Flaw::Absurd(format!(
                "metadata arrays are nested more than {MAX_NESTING} deep at byte {}",
                self.at
            )));
        }
        let kind = self.u32("an array's type")?;
        let count = self.length("an array's length")?;
        self.elements = self.elements.saturating_add(count);
        if self.elements > MAX_ELEMENTS {
            return Err(Flaw::Absurd(format!(
                "an array of {count} elements before byte {} brings the metadata beyond {MAX_ELEMENTS}",
                self.at
            )));
        }
        if let Some(width) = fixed_width(kind) {
            return self.take(count * width, "a metadata array").map(|_| ());
        }
        for _ in 0..count {
            self.value(kind, nesting + 1)?;
        }
        Ok(())
    }

    fn tensor(&mut self) -> Result<RawTensor<'a>, Flaw> {
        let name = self.string("a tensor's name")?;
        let at = self.at;
        let dimensions = self.u32("a tensor's number of dimensions")?;
        if dimensions > MAX_DIMENSIONS {
            return Err(Flaw::Absurd(format!(
                "tensor \"{}\" has {dimensions} dimensions, at most {MAX_DIMENSIONS} are possible",
                name.escape_ascii()
            )));
        }
        for _ in 0..dimensions {
            self.length("a tensor's shape")?;
        }
        let kind = self.u32("a tensor's type")?;
        let form = &self.bytes[at..self.at];
        if TYPES.get(kind as usize).is_some_and(|(name, _)| *name == IQ4_NL) {
            // A name that is no text candle refuses.
            self.iq4_nl
                .push((String::from_utf8_lossy(name).into_owned(), self.at - 4));
        }
        self.u64("a tensor's offset")?;
        let known = TYPES.get(kind as usize);
        if known.is_none_or(|(_, read)| !read) {
            return Err(Flaw::Type {
                tensor: name.escape_ascii().to_string(),
                kind: known.map_or_else(|| format!("number {kind}"), |(name, _)| (*name).to_owned()),
            });
        }
        Ok(RawTensor { name, form })
    }
}

/// Bytes of a metadata value by its type number; strings (8) and arrays (9) have no fixed width.
fn fixed_width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
