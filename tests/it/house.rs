//! The rules of docs/architecture.md that a program can check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors, the highest first. Modules of one floor may use each other where they share a line.
const FLOORS: [&[&str]; 14] = [
    &["main"],
    &["cli"],
    &["tui"],
    &["serve"],
    &["train"],
    &["search"],
    &["eval"],
    &["config"],
    &["engine"],
    &["router"],
    &["model"],
    &["export"],
    &["trace"],
    &[
        "files",
        "guard",
        "line_file",
        "paths",
        "plot",
        "program",
        "progress",
        "say",
        "text",
    ],
];

/// Every file of the library and the binary but tests, with its text before its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["tests", "testing"].contains(&&*name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") && !name.ends_with("tests") && name != "testing" {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                sources.push((path, text));
            }
        }
    }
    sources
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap()
}

#[test]
fn imports_run_down_only() {
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for (path, text) in sources() {
        let inside = path.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let here = floor(module).unwrap_or_else(|| panic!("{module} is on no floor: name it in docs/architecture.md"));
        for (number, line) in text.lines().enumerate() {
            for used in code(line).split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if let Some(there) = floor(&used) {
                    checked += 1;
                    assert!(
                        there >= here,
                        "{}:{}: {module} uses {used}, which is above it",
                        path.display(),
                        number + 1
                    );
                }
            }
        }
    }
    assert!(checked > 500, "{checked} imports are too few to have read them all");
}

#[test]
fn no_public_type_name_stands_for_two_things() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (path, text) in sources() {
        for line in text.lines().map(|line| code(line).trim_start()) {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else {
                continue;
            };
            let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let places = places.entry(name).or_default();
            // One for each system, in one file.
            if places.last() != Some(&path) {
                places.push(path.clone());
            }
        }
    }
    assert!(
        places.len() > 300,
        "{} types are too few to have read them all",
        places.len()
    );
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
