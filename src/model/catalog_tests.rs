use super::*;

fn never(_: PullProgress) {}

fn unresolved(name: &str) -> String {
    resolve(Some(name)).unwrap_err().to_string()
}

#[test]
fn the_catalog_is_sound() {
    for entry in entries() {
        assert_eq!(entry.sha256.len(), 64);
        assert!(entry.sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
        assert!(crate::model::gguf::SUPPORTED_ARCHITECTURES.contains(&entry.architecture.as_str()));
        assert!(!entry.file.contains(['/', '\\']) && entry.file.ends_with(".gguf"));
        assert!(!entry.sources.is_empty() && entry.bytes > 0);
        for source in &entry.sources {
            let numbered = match source {
                ModelSource::Hub { file, .. } => file.contains("{n}"),
                ModelSource::Pypi { package, member, .. } => package.contains("{n}") && member.contains("{n"),
            };
            assert!(
                (1..1000).contains(&source.parts()) && numbered == (source.parts() > 1),
                "{source}"
            );
        }
        let same = entries()
            .iter()
            .filter(|other| other.name.eq_ignore_ascii_case(&entry.name));
        assert_eq!(same.count(), 1);
    }
    let default = default_entry();
    assert_eq!(default.bytes, 98_362_432);
    assert!(
        matches!(default.sources[0], ModelSource::Hub { .. }) && matches!(default.sources[1], ModelSource::Pypi { .. })
    );
}

#[test]
fn names_are_read_in_any_case() {
    assert_eq!(resolve(None).unwrap(), ModelRequest::Entry(default_entry()));
    assert_eq!(
        resolve(Some("smollm2-135m-INSTRUCT")).unwrap(),
        ModelRequest::Entry(default_entry())
    );
}

#[test]
fn unknown_names_get_a_suggestion() {
    assert!(unresolved("smollm2-135m").contains("did you mean SmolLM2-135M-Instruct?"));
    let strange = unresolved("qq\x1b[31m");
    assert!(
        !strange.contains("did you mean") && !strange.contains('\x1b'),
        "{strange}"
    );
}

#[test]
fn missing_paths_are_called_so() {
    for path in [
        "./nosuch.gguf",
        "nosuch.safetensors",
        "/nowhere/m.gguf",
        "nosuch.gguf",
        "../no-such-file-95da33",
        "~/m.gguf",
        "org/.hidden",
        "a//b",
    ] {
        let message = unresolved(path);
        assert!(
            message.contains("no file or folder") && message.contains(path),
            "{message}"
        );
    }
}

#[test]
fn hub_names_are_repositories_or_files_in_them() {
    let folder = resolve(Some("HuggingFaceTB/SmolLM2-135M")).unwrap();
    assert_eq!(
        folder,
        ModelRequest::HubFolder {
            repo: "HuggingFaceTB/SmolLM2-135M".to_owned()
        }
    );
    let file = resolve(Some("org/name/sub/m.Q4_1.gguf")).unwrap();
    assert_eq!(
        file,
        ModelRequest::HubFile {
            repo: "org/name".to_owned(),
            file: "sub/m.Q4_1.gguf".to_owned()
        }
    );
}

fn write(dir: &Path, names: &[(&str, &str)]) {
    for (name, text) in names {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn folders_need_their_three_kinds_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let missing = |what: &str| {
        let message = unresolved(path);
        assert!(message.contains(what), "{message}");
    };
    missing("config.json is missing");
    write(dir.path(), &[("m.gguf", "")]);
    missing("m.gguf");
    write(dir.path(), &[("config.json", "{}")]);
    missing("tokenizer.json is missing");
    write(dir.path(), &[("tokenizer.json", "{}")]);
    missing("no *.safetensors file");
    write(dir.path(), &[("model.safetensors", "")]);
    assert_eq!(
        resolve(Some(path)).unwrap(),
        ModelRequest::Local(ModelLocation::Folder(dir.path().to_path_buf()))
    );

    let index =
        r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    write(
        dir.path(),
        &[("model.safetensors.index.json", index), ("model-1.safetensors", "")],
    );
    missing("model-2.safetensors is missing");
    write(dir.path(), &[("model-2.safetensors", "")]);
    let files = folder::weight_files(dir.path()).unwrap();
    assert_eq!(
        files,
        [
            dir.path().join("model-1.safetensors"),
            dir.path().join("model-2.safetensors")
        ]
    );

    for hostile in [
        r#"{"weight_map": {"a": "../m.safetensors"}}"#,
        r#"{"weight_map": {"a": 3}}"#,
        "{}",
        "nonsense",
    ] {
        write(dir.path(), &[("model.safetensors.index.json", hostile)]);
        missing("model.safetensors.index.json");
    }
}

#[test]
fn sums_of_local_models_change_with_their_weights_only() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            ("a.safetensors", "x"),
            ("b.safetensors", "y"),
        ],
    );
    let sum = || {
        let located = locate(dir.path().to_str(), &mut never, &AtomicBool::new(false)).unwrap();
        located.sha256(&mut never, &AtomicBool::new(false)).unwrap()
    };
    // printf x | sha256sum and so on, then sha256sum of the two lines.
    let lines = format!(
        "{:x}  a.safetensors\n{:x}  b.safetensors\n",
        Sha256::digest("x"),
        Sha256::digest("y")
    );
    let first = sum();
    assert_eq!(first, format!("{:x}", Sha256::digest(lines)));
    write(dir.path(), &[("config.json", "{ }")]);
    assert_eq!(sum(), first);
    write(dir.path(), &[("b.safetensors", "longer")]);
    assert_ne!(sum(), first);
}

#[test]
fn cancelled_work_says_so() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("m.gguf", "GGUF and so on")]);
    let path = dir.path().join("m.gguf");
    let located = locate(path.to_str(), &mut never, &AtomicBool::new(false)).unwrap();
    assert_eq!(located.name, "m.gguf");
    let cancelled = located.sha256(&mut never, &AtomicBool::new(true));
    assert!(matches!(cancelled, Err(CatalogError::Cancelled)));
}
