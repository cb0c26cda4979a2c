//! Models split into several GGUF files, `NAME-00001-of-0000N.gguf` and so on.

use std::path::{Path, PathBuf};

/// More than any model is split into.
const MAX_PARTS: usize = 1000;

/// The names of all parts, given one of them; none for a name that is no part's.
pub fn names(name: &str) -> Option<Vec<String>> {
    let (stem, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| {
        let sound = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| text.parse::<usize>().ok()).flatten()
    };
    let (number, count) = (digits(number)?, digits(count)?);
    let sound = (1..=MAX_PARTS).contains(&count) && (1..=count).contains(&number);
    sound.then(|| {
        (1..=count)
            .map(|n| format!("{stem}-{n:05}-of-{count:05}.gguf"))
            .collect()
    })
}

/// As [`names`], of a file on this machine.
pub fn paths(path: &Path) -> Option<Vec<PathBuf>> {
    let names = names(path.file_name()?.to_str()?)?;
    Some(names.into_iter().map(|name| path.with_file_name(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_names_all() {
        let all = [
            "a/m-00001-of-00003.gguf",
            "a/m-00002-of-00003.gguf",
            "a/m-00003-of-00003.gguf",
        ];
        for one in all {
            assert_eq!(names(one).unwrap(), all);
            assert_eq!(paths(Path::new(one)).unwrap(), all.map(PathBuf::from));
        }
        for other in [
            "m.gguf",
            "m-00001-of-00003",
            "m-1-of-3.gguf",
            "m-00000-of-00003.gguf",
            "m-00004-of-00003.gguf",
            "m-00001-of-99999.gguf",
            "m-+0001-of-00003.gguf",
        ] {
            assert_eq!(names(other), None, "{other}");
        }
    }
}
