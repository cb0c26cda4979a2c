//! A hub, a pip and a models folder for tests.

use super::*;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const BODY: &[u8] = b"GGUF, or so they say";
pub(super) const SOON: Duration = Duration::from_secs(2);

pub(super) fn sum(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A hub with the given files of one repository; paths are answered as the real one does.
pub(super) fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let files = files.clone();
            std::thread::spawn(move || answer(stream.unwrap(), &files));
        }
    });
    address
}

pub(super) fn answer(mut stream: TcpStream, files: &[(&str, Vec<u8>)]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    let mut first_byte_only = false;
    for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        first_byte_only |= line.eq_ignore_ascii_case("range: bytes=0-0");
    }
    let path = request.split(' ').nth(1).unwrap();
    let response = if path == "/api/models/org/name/revision/main" || path == "/api/models/org/name" {
        let siblings: Vec<_> = files
            .iter()
            .map(|(name, _)| serde_json::json!({"rfilename": name}))
            .collect();
        let body = serde_json::json!({"siblings": siblings, "sha": "c0ffee"}).to_string();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    } else {
        let name = path.strip_prefix("/org/name/resolve/main/").unwrap_or_default();
        match files.iter().find(|(known, _)| *known == name) {
            None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            Some((_, body)) => {
                let sent = if first_byte_only { &body[..1] } else { body };
                let mut response = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes 0-{}/{}\r\n\
                     ETag: \"{}\"\r\nX-Repo-Commit: c0ffee\r\nConnection: close\r\n\r\n",
                    sent.len(),
                    sent.len() - 1,
                    body.len(),
                    sum(body)
                )
                .into_bytes();
                response.extend_from_slice(sent);
                response
            }
        }
    };
    let _ = stream.write_all(&response);
}

/// A hub that takes connections and never answers.
pub(super) fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
        }
    });
    address
}

/// A stand-in for pip: a shell script that gets pip's arguments; `$D` is the folder after -d, `$P` the package.
pub(super) fn pip(dir: &Path, script: &str) -> Vec<String> {
    let path = dir.join("pip.sh");
    let find = r#"for P; do :; done; while [ $# -gt 0 ]; do [ "$1" = -d ] && D="$2"; shift; done"#;
    std::fs::write(&path, format!("{find}\n{script}\n")).unwrap();
    vec!["sh".to_owned(), path.to_str().unwrap().to_owned()]
}

pub(super) fn write_wheel(path: &Path, member: &str, body: &[u8]) {
    let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
    archive
        .start_file(member, zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(body).unwrap();
    archive.finish().unwrap();
}

pub(super) fn catalogued(sources: Vec<ModelSource>) -> CatalogEntry {
    CatalogEntry {
        name: "small".to_owned(),
        description: String::new(),
        architecture: "llama".to_owned(),
        file: "small.gguf".to_owned(),
        bytes: BODY.len() as u64,
        sha256: sum(BODY),
        licence: "Apache-2.0".to_owned(),
        sources,
    }
}

pub(super) fn hub_source() -> ModelSource {
    ModelSource::Hub {
        repo: "org/name".to_owned(),
        file: "m.gguf".to_owned(),
        parts: 1,
    }
}

pub(super) fn pypi_source() -> ModelSource {
    ModelSource::Pypi {
        package: "carrier".to_owned(),
        version: "1.0".to_owned(),
        member: "carrier/m.gguf".to_owned(),
        parts: 1,
    }
}

pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) puller: Puller,
    pub(super) said: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    pub(super) fn new(endpoint: String, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let puller = Puller {
            hub: Hub::at(endpoint, SOON),
            pip: Pip::with(vec![pip(dir.path(), script)], SOON),
        };
        write_wheel(&dir.path().join("good.whl"), "carrier/m.gguf", BODY);
        Self {
            dir,
            puller,
            said: Arc::default(),
        }
    }

    pub(super) fn models(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    pub(super) fn run<T>(&self, work: impl FnOnce(&Puller, &Path, &mut Job) -> T) -> T {
        let said = self.said.clone();
        let mut progress = move |progress: PullProgress| said.lock().unwrap().push(progress.what);
        let cancelled = AtomicBool::new(false);
        work(&self.puller, &self.models(), &mut Job::new(&mut progress, &cancelled))
    }

    pub(super) fn entry(&self, entry: &CatalogEntry) -> Result<PathBuf, CatalogError> {
        self.run(|puller, models, job| puller.entry(entry, models, job))
    }

    /// Everything in the models folder but the locks.
    pub(super) fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.models()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }

    pub(super) fn good_pip(&self) -> String {
        format!("cp '{}' \"$D/carrier.whl\"", self.dir.path().join("good.whl").display())
    }

    pub(super) fn with_pip(mut self, script: &str) -> Self {
        self.puller.pip = Pip::with(vec![pip(self.dir.path(), script)], SOON);
        self
    }
}
