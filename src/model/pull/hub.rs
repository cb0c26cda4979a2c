//! The Hugging Face hub, by crate hf-hub.
//!
//! The crate sets no time-outs, so its calls run on a thread of their own and are given up when
//! nothing has come for a while. A thread that was given up ends at the next bytes it gets.

use super::staging::Staging;
use super::{Failure, Job};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);

pub(super) struct Hub {
    endpoint: Option<String>,
    /// How long to wait for the first answer.
    first: Duration,
    /// How long to wait for more once bytes have come.
    stall: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            endpoint: std::env::var("HF_ENDPOINT")
                .ok()
                .filter(|endpoint| !endpoint.is_empty()),
            first: Duration::from_secs(8),
            stall: Duration::from_secs(30),
        }
    }
}

/// A file as the hub delivered it.
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    /// The sum the hub states for large files.
    pub(super) sha256: Option<String>,
}

enum Event<T> {
    Size(u64),
    More(u64),
    Done(Result<T, ApiError>),
}

impl Hub {
    #[cfg(test)]
    pub(super) fn at(endpoint: String, patience: Duration) -> Self {
        Self {
            endpoint: Some(endpoint),
            first: patience,
            stall: patience,
        }
    }

    pub(super) fn fetch(&self, repo: &str, file: &str, staging: &Staging, job: &mut Job) -> Result<Fetched, Failure> {
        let cache = staging.folder("hub")?;
        let api = self.api(Cache::new(cache))?;
        let (repo, file) = (Repo::new(repo.to_owned(), RepoType::Model), file.to_owned());
        let what = format!("pulling {file} from the Hugging Face hub");
        let pointer = self.guarded(&what, job, staging, move |bar| {
            api.repo(repo).download_with_progress(&file, bar)
        })?;
        // hf-hub keeps a file under its etag, and for large files that is the sum.
        let path = pointer.canonicalize().map_err(|error| staging.failure(error))?;
        let etag = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_sum = etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit());
        Ok(Fetched {
            sha256: is_sum.then(|| etag.to_ascii_lowercase()),
            path,
        })
    }

    /// The names of a repository's files.
    pub(super) fn list(&self, repo: &str, staging: &Staging, job: &mut Job) -> Result<Vec<String>, Failure> {
        let api = self.api(Cache::new(staging.folder("hub")?))?;
        let what = format!("asking the Hugging Face hub for {repo}");
        let repo = Repo::new(repo.to_owned(), RepoType::Model);
        let info = self.guarded(&what, job, staging, move |_| api.repo(repo).info())?;
        Ok(info.siblings.into_iter().map(|file| file.rfilename).collect())
    }

    fn api(&self, cache: Cache) -> Result<Api, Failure> {
        let mut builder = ApiBuilder::from_cache(cache).with_progress(false).with_token(token());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        builder.build().map_err(|error| Failure::Source(error.to_string()))
    }

    /// Runs `work` on a thread until it ends, says nothing for too long, or is cancelled.
    fn guarded<T: Send + 'static>(
        &self,
        what: &str,
        job: &mut Job,
        staging: &Staging,
        work: impl FnOnce(Bar<T>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (events, received) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let bar = Bar {
            events: events.clone(),
            given_up: given_up.clone(),
        };
        job.report(what, 0, None);
        std::thread::spawn(move || {
            // The receiver is gone when the work was given up.
            let _ = events.send(Event::Done(work(bar)));
        });
        let (mut done, mut total) = (0, None);
        let mut patience = self.first;
        let mut heard = Instant::now();
        let end = loop {
            match received.recv_timeout(POLL) {
                Ok(Event::Done(result)) => break result.map_err(|error| explain(error, staging)),
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

/// An access token, for repositories that want one.
fn token() -> Option<String> {
    let from_env = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
    from_env.or_else(|| {
        // hf-hub panics without a home folder.
        let has_home = std::env::var_os("HF_HOME").is_some() || directories::BaseDirs::new().is_some();
        has_home.then(|| Cache::from_env().token()).flatten()
    })
}

fn explain(error: ApiError, staging: &Staging) -> Failure {
    match error {
        ApiError::IoError(error) => staging.failure(error),
        error => {
            let text = error.to_string();
            let refused = ["401", "403", "404"].iter().any(|status| text.ends_with(status));
            let next = if refused {
                "; check the name, and set HF_TOKEN if the repository is not public"
            } else {
                ""
            };
            Failure::Source(format!("{text}{next}"))
        }
    }
}

/// Passes hf-hub's counts on.
struct Bar<T> {
    events: Sender<Event<T>>,
    given_up: Arc<AtomicBool>,
}

impl<T> Bar<T> {
    fn send(&self, event: Event<T>) {
        if self.given_up.load(Ordering::Relaxed) || self.events.send(event).is_err() {
            // The only way to end a download of this crate from inside. Unlike a panic this calls
            // no hook and prints nothing.
            std::panic::resume_unwind(Box::new("given up"));
        }
    }
}

impl<T> Progress for Bar<T> {
    fn init(&mut self, size: usize, _file: &str) {
        self.send(Event::Size(size as u64));
    }

    fn update(&mut self, count: usize) {
        self.send(Event::More(count as u64));
    }

    fn finish(&mut self) {}
}
