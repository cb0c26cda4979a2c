//! The Hugging Face hub.
//!
//! What the hub answers decides neither where a file goes nor who hears the token. A file is written
//! to one fixed name in the staging folder; of the answer's words a check sum of 64 hexadecimal digits
//! is used and nothing else. The token goes to the endpoint itself, over https, and to no other host
//! that it redirects to.
//!
//! Calls run on a thread of their own and are given up when nothing has come for a while, or when the
//! pull is cancelled. A thread that was given up ends at the next bytes it gets.

use super::staging::Staging;
use super::{Failure, Job};
use crate::files;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

const POLL: Duration = Duration::from_millis(50);
const ENDPOINT: &str = "https://huggingface.co";
const MOST_REDIRECTS: usize = 8;
const CHUNK: usize = 1 << 16;

pub(super) struct Hub {
    endpoint: String,
    token: Option<String>,
    /// How long to wait for the first answer.
    first: Duration,
    /// How long to wait for more once bytes have come.
    stall: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        let named = std::env::var("HF_ENDPOINT").ok();
        Self {
            endpoint: named
                .filter(|endpoint| !endpoint.is_empty())
                .unwrap_or_else(|| ENDPOINT.to_owned()),
            token: token(),
            first: Duration::from_secs(8),
            stall: Duration::from_secs(30),
        }
    }
}

/// A file as the hub delivered it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    /// The sum the hub states for large files.
    pub(super) sha256: Option<String>,
}

enum Event<T> {
    Size(u64),
    More(u64),
    Done(Result<T, Broken>),
}

/// Why a call came to nothing.
#[derive(Debug)]
enum Broken {
    /// Here, on the disk.
    Disk(io::Error),
    /// There, or on the way.
    Hub(String),
}

impl Hub {
    #[cfg(test)]
    pub(super) fn at(endpoint: String, patience: Duration) -> Self {
        Self {
            endpoint,
            token: None,
            first: patience,
            stall: patience,
        }
    }

    #[cfg(test)]
    pub(super) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// A file, of which at most `limit` bytes and one more come.
    pub(super) fn fetch(
        &self,
        repo: &str,
        file: &str,
        limit: Option<u64>,
        staging: &Staging,
        job: &mut Job,
    ) -> Result<Fetched, Failure> {
        let path = staging.folder("hub")?.join("file");
        let client = self.client()?;
        let url = client.url(&["", repo, "resolve/main", file]);
        let what = format!("pulling {file} from the Hugging Face hub");
        let most = limit.map_or(u64::MAX, |limit| limit.saturating_add(1));
        let place = path.clone();
        let sha256 = self.guarded(&what, job, staging, move |bar| {
            let (response, sum) = client.get(&url)?;
            let mut out = File::create(&place).map_err(Broken::Disk)?;
            copy(response, &mut out, most, bar)?;
            Ok(sum)
        })?;
        Ok(Fetched { path, sha256 })
    }

    /// The names of a repository's files.
    pub(super) fn list(&self, repo: &str, staging: &Staging, job: &mut Job) -> Result<Vec<String>, Failure> {
        let what = format!("asking the Hugging Face hub for {repo}");
        let client = self.client()?;
        let url = client.url(&["api/models", repo, "revision/main"]);
        let bytes = self.guarded(&what, job, staging, move |bar| {
            let (response, _) = client.get(&url)?;
            let mut bytes = Vec::new();
            copy(response, &mut bytes, files::TEXT, bar)?;
            Ok(bytes)
        })?;
        let info: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| Failure::Source(format!("its list of files: {error}")))?;
        let listed = info["siblings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = listed.iter().filter_map(|file| file["rfilename"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn client(&self) -> Result<Client, Failure> {
        let endpoint = self.endpoint.trim_end_matches('/').to_owned();
        let wrong = || {
            Failure::Source(format!(
                "its address is {endpoint}; HF_ENDPOINT must be one like {ENDPOINT}"
            ))
        };
        let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?.to_string();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() || authority.contains('@') {
            return Err(wrong());
        }
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(self.first))
            // For a thread that was given up: who waits has given it up long before.
            .timeout_per_read(Some(2 * self.stall.max(self.first)))
            .user_agent(concat!("drllm-tui/", env!("CARGO_PKG_VERSION")));
        Ok(Client {
            agent: config.build().into(),
            endpoint,
            authority,
            token: self.token.clone(),
        })
    }

    /// Runs `work` on a thread until it ends, says nothing for too long, or is cancelled.
    fn guarded<T: Send + 'static>(
        &self,
        what: &str,
        job: &mut Job,
        staging: &Staging,
        work: impl FnOnce(&Bar<T>) -> Result<T, Broken> + Send + 'static,
    ) -> Result<T, Failure> {
        let (events, received) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let bar = Bar {
            events,
            given_up: given_up.clone(),
        };
        job.report(what, 0, None);
        std::thread::spawn(move || {
            let done = work(&bar);
            // The receiver is gone when the work was given up.
            let _ = bar.events.send(Event::Done(done));
        });
        let (mut done, mut total) = (0, None);
        let mut patience = self.first;
        let mut heard = Instant::now();
        let end = loop {
            match received.recv_timeout(POLL) {
                Ok(Event::Done(result)) => {
                    break result.map_err(|broken| match broken {
                        Broken::Disk(error) => staging.failure(error),
                        Broken::Hub(reason) => Failure::Source(reason),
                    });
                }
                Ok(Event::Size(size)) => (done, total) = (0, Some(size)),
                Ok(Event::More(count)) => done += count,
                Err(RecvTimeoutError::Timeout) => {
                    if job.is_cancelled() {
                        break Err(Failure::cancelled());
                    }
                    if heard.elapsed() > patience {
                        let seconds = patience.as_secs_f32().ceil();
                        break Err(Failure::Source(format!("no answer within {seconds} seconds")));
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(Failure::Source("the download stopped unexpectedly".to_owned()));
                }
            }
            (heard, patience) = (Instant::now(), self.stall);
            if job.is_cancelled() {
                break Err(Failure::cancelled());
            }
            job.report(what, done, total);
        };
        given_up.store(true, Ordering::Relaxed);
        end
    }
}

/// Asks the endpoint.
struct Client {
    agent: Agent,
    endpoint: String,
    /// Host and port of the endpoint.
    authority: String,
    token: Option<String>,
}

impl Client {
    /// An address of the endpoint; what is no plain letter in the parts is escaped.
    fn url(&self, parts: &[&str]) -> String {
        let parts = parts.iter().filter(|part| !part.is_empty());
        let parts = parts.map(|part| part.split('/').map(escaped).collect::<Vec<_>>().join("/"));
        format!("{}/{}", self.endpoint, parts.collect::<Vec<_>>().join("/"))
    }

    /// What stands at an address, after redirects, and the sum that the endpoint states for it.
    fn get(&self, url: &str) -> Result<(Response<Body>, Option<String>), Broken> {
        let hub = |reason: String| Broken::Hub(reason);
        let mut uri: Uri = url.parse().map_err(|_| hub(format!("{url} is no address")))?;
        let mut sum = None;
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.agent.get(uri.clone());
            let at_home = uri.authority().is_some_and(|a| *a.as_str() == *self.authority);
            if let Some(token) = self
                .token
                .as_ref()
                .filter(|_| at_home && uri.scheme_str() == Some("https"))
            {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| hub(error.to_string()))?;
            if at_home {
                sum = stated_sum(response.headers()).or(sum);
            }
            let status = response.status();
            if status.is_success() {
                return Ok((response, sum));
            }
            if !status.is_redirection() {
                let next = match status.as_u16() {
                    401 | 403 | 404 if self.token.is_some() && !self.endpoint.starts_with("https://") => {
                        "; check the name (the token is not sent: HF_ENDPOINT is no https address)"
                    }
                    401 | 403 | 404 => "; check the name, and set HF_TOKEN if the repository is not public",
                    _ => "",
                };
                return Err(hub(format!("it answers {}{next}", status.as_u16())));
            }
            uri = redirected(&uri, response.headers()).map_err(hub)?;
        }
        Err(hub(format!("it redirects more than {MOST_REDIRECTS} times")))
    }
}

/// Where an answer redirects to: another path, or another host; from https to https only.
fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
    let place = place.ok_or("it redirects to nowhere")?;
    let wrong = || format!("it redirects to {place}, an http or https address was expected");
    let text = match (from.scheme_str(), from.authority()) {
        (Some(scheme), Some(_)) if place.starts_with("//") => format!("{scheme}:{place}"),
        (Some(scheme), Some(authority)) if place.starts_with('/') => format!("{scheme}://{authority}{place}"),
        _ => place.to_owned(),
    };
    let to: Uri = text.parse().map_err(|_| wrong())?;
    match (from.scheme_str(), to.scheme_str()) {
        _ if to.authority().is_none() => Err(wrong()),
        (Some("https"), Some("https")) | (Some("http"), Some("http" | "https")) => Ok(to),
        (Some("https"), Some("http")) => Err(format!("it redirects from https to {place}")),
        _ => Err(wrong()),
    }
}

/// The hub's etag of a large file is its sum.
fn stated_sum(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get("x-linked-etag").or_else(|| headers.get("etag"))?;
    let etag = etag.to_str().ok()?.trim_start_matches("W/").trim_matches('"');
    let is_sum = etag.len() == 64 && etag.bytes().all(|c| c.is_ascii_hexdigit());
    is_sum.then(|| etag.to_ascii_lowercase())
}

/// A part of a path, as addresses have it.
fn escaped(part: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let bytes = part.bytes();
    let text = bytes.map(|byte| match plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    text.collect()
}

/// Copies an answer's body, at most `most` bytes of it.
fn copy<T>(response: Response<Body>, out: &mut dyn Write, most: u64, bar: &Bar<T>) -> Result<(), Broken> {
    let size = response.headers().get(CONTENT_LENGTH);
    let size: Option<u64> = size.and_then(|size| size.to_str().ok()?.parse().ok());
    if let Some(size) = size {
        bar.tell(Event::Size(size))?;
    }
    let mut body = response.into_body().into_reader().take(most);
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let count = match body.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| Broken::Hub(error.to_string()))?,
        };
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count]).map_err(Broken::Disk)?;
        done += count as u64;
        bar.tell(Event::More(count as u64))?;
    }
    match size {
        Some(size) if done < size.min(most) => Err(Broken::Hub(format!("it ended after {done} of {size} bytes"))),
        _ => Ok(()),
    }
}

/// An access token, for repositories that want one: of HF_TOKEN, or of the file where the hub's own
/// tools keep it.
fn token() -> Option<String> {
    let from_env = std::env::var("HF_TOKEN").ok();
    let token = from_env.filter(|token| !token.is_empty()).or_else(|| {
        let named = std::env::var_os("HF_TOKEN_PATH").map(PathBuf::from);
        let home = std::env::var_os("HF_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(directories::BaseDirs::new()?.home_dir().join(".cache/huggingface")));
        let path = named.or_else(|| Some(home?.join("token")))?;
        token_in(&path)
    })?;
    let token = token.trim();
    // Of nothing else can a header be made.
    let sound = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| token.to_owned())
}

fn token_in(path: &Path) -> Option<String> {
    files::read_text(path, 1 << 12).ok()
}

/// Tells how far a call is; an error once the call was given up.
struct Bar<T> {
    events: Sender<Event<T>>,
    given_up: Arc<AtomicBool>,
}

impl<T> Bar<T> {
    fn tell(&self, event: Event<T>) -> Result<(), Broken> {
        let heard = !self.given_up.load(Ordering::Relaxed) && self.events.send(event).is_ok();
        heard.then_some(()).ok_or_else(|| Broken::Hub("given up".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(from: &str, place: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, place.parse().unwrap());
        redirected(&from.parse().unwrap(), &headers).map(|uri| uri.to_string())
    }

    #[test]
    fn redirects_stay_on_the_web_and_on_https() {
        assert_eq!(to("https://a/x", "/y?z=1").unwrap(), "https://a/y?z=1");
        assert_eq!(to("https://a/x", "//b/y").unwrap(), "https://b/y");
        assert_eq!(to("https://a/x", "https://b/y").unwrap(), "https://b/y");
        assert_eq!(to("http://a/x", "http://b/y").unwrap(), "http://b/y");
        for place in ["http://a/x", "file:///etc/passwd", "ftp://b/y", "y", "", "https://"] {
            assert!(to("https://a/x", place).is_err(), "{place}");
        }
    }

    #[test]
    fn addresses_and_sums_are_plain() {
        let hub = Hub::at("http://a/".to_owned(), POLL);
        let client = hub.client().unwrap();
        assert_eq!(
            client.url(&["", "org/name", "resolve/main", "s p?#%.gguf"]),
            "http://a/org/name/resolve/main/s%20p%3F%23%25.gguf"
        );
        for endpoint in ["a", "file:///x", "http://", "http://a?b", "https://user@a"] {
            assert!(Hub::at(endpoint.to_owned(), POLL).client().is_err(), "{endpoint}");
        }
        let sum = |etag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("etag", etag.parse().unwrap());
            stated_sum(&headers)
        };
        let digits = "AB".repeat(32);
        assert_eq!(sum(&format!("\"{digits}\"")), Some(digits.to_lowercase()));
        for etag in ["\"/etc/passwd\"", "\"../../x\"", "", "\"abc\""] {
            assert_eq!(sum(etag), None);
        }
    }
}
