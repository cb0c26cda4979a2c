//! A completions endpoint on this machine: programs and routers behind the interface that evaluation harnesses speak.
//!
//! [`http`] takes requests, [`sender`] checks where they come from, [`request`] and [`method_name`] check what they ask, [`work`] is
//! the one thread that runs the model, [`score`] the log-probabilities of a given text, [`reply`] the form of answers.
//! One request runs at a time; the others wait in a queue of bounded length.

pub mod http;
pub mod method_name;
pub mod reply;
pub mod request;
pub mod score;
pub mod sender;
pub mod work;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc::channel;

use crate::model::Model;
use work::ServeWorker;

/// Most of everything that a request may ask for, and that all together may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServeLimits {
    /// Requests that wait while one runs.
    pub queue: usize,
    /// Open connections.
    pub connections: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Prompts of a request.
    pub prompts: usize,
    /// Tokens to generate after each prompt. Prompts are bounded by the model's context.
    pub max_tokens: usize,
    /// From a request's last byte to its answer's, the time in the queue included.
    pub time: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        ServeLimits {
            queue: 32,
            connections: 64,
            body: 4 << 20,
            prompts: 64,
            max_tokens: 1024,
            time: Duration::from_secs(300),
        }
    }
}

/// Why a request is refused or failed, as HTTP says it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    /// The status code.
    pub status: u16,
    /// The interface's name of the kind: `invalid_request_error`, `server_error`.
    pub kind: &'static str,
    /// What is wrong, and what was expected.
    pub message: String,
    /// The field of the request that is at fault.
    pub field: Option<&'static str>,
}

impl ServeError {
    /// An error of no one field; below status 500 it is the client's (`invalid_request_error`), else the server's.
    pub fn new(status: u16, message: impl Into<String>) -> ServeError {
        ServeError {
            status,
            kind: if status < 500 {
                "invalid_request_error"
            } else {
                "server_error"
            },
            message: message.into(),
            field: None,
        }
    }

    /// A field that asks for something else than it may.
    pub fn field(field: &'static str, message: impl Into<String>) -> ServeError {
        ServeError {
            field: Some(field),
            ..ServeError::new(400, format!("{field}: {}", message.into()))
        }
    }
}

/// Serves a model until `stop` is set; `ready` hears of the names that stand for something once requests are taken.
/// `routers` is the checkpoint behind the name `drllm:routers`.
///
/// # Errors
/// Routers that cannot be read or are another model's, and what the system refuses.
pub fn serve(
    model: &Model,
    routers: Option<PathBuf>,
    limits: ServeLimits,
    listener: TcpListener,
    stop: &AtomicBool,
    ready: &mut dyn FnMut(&[String]),
) -> Result<()> {
    let mut worker = ServeWorker::new(model, routers, limits);
    let names = worker.names()?;
    let (jobs, queue) = channel(limits.queue);
    let state = Arc::new(http::ServeState {
        jobs,
        limits,
        models: reply::models(&names, &model.info),
        health: reply::health(&model.info),
        tokenizer: reply::tokenizer(&model.tokenizer),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("serve".to_owned());
        let thread = thread.spawn_scoped(scope, move || worker.run(queue))?;
        ready(&names);
        let served = runtime.block_on(http::serve(listener, state, stop));
        // With the runtime go the connections, and with them the last that can ask.
        drop(runtime);
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that runs the model has failed"))?;
        served
    })
}
