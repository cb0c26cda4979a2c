//! The HTTP side: connections, routes, bodies and answers.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::request::{CompletionRequest, read_json};
use super::sender::{check_sender, is_loopback};
use super::work::{Asked, Job, ServeAnswer};
use super::{ServeError, ServeLimits};
use crate::text::escape_controls;

/// A client that has not sent its headers, or its body, by then is gone. Longer than clients keep idle connections.
const SENDING: Duration = Duration::from_secs(30);
/// What answers in work get before the program ends.
const GRACE: Duration = Duration::from_secs(10);
/// How often the flag that ends the server is looked at.
const TICK: Duration = Duration::from_millis(50);

/// What the routes share.
pub struct ServeState {
    /// To the thread that runs the model.
    pub jobs: Sender<Job>,
    /// What a request may ask for, and how much of everything there may be at once.
    pub limits: ServeLimits,
    /// Answer of `/v1/models`.
    pub models: Value,
    /// Answer of `/health`.
    pub health: Value,
    /// Answer of `/tokenizer_info`.
    pub tokenizer: Value,
}

/// Serves until `stop` is set; what is in work then has some seconds to end.
///
/// # Errors
/// When the system refuses to listen.
pub async fn serve(listener: TcpListener, state: Arc<ServeState>, stop: &AtomicBool) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
    let free = Arc::new(Semaphore::new(state.limits.connections));
    let routes = routes(state);
    let connections = GracefulShutdown::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while !stop.load(Ordering::Relaxed) {
        let accepted = tokio::select! {
            _ = ticks.tick() => {
                while tasks.try_join_next().is_some() {}
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, from)) = accepted else {
            // No descriptors left, say: some will be.
            tokio::time::sleep(TICK).await;
            continue;
        };
        // One too many is closed at once, as is one that came round a firewall.
        let Ok(place) = free.clone().try_acquire_owned() else {
            continue;
        };
        if !is_loopback(SocketAddr::ip(&from)) {
            continue;
        }
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(SENDING);
        let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes.clone()));
        let connection = connections.watch(connection);
        tasks.spawn(async move {
            // A client that breaks off is no failure of the server.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(GRACE, connections.shutdown()).await;
    tasks.shutdown().await;
    Ok(())
}

fn routes(state: Arc<ServeState>) -> Router {
    Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(|State(state): Shared| async move { ok(&state.models) }))
        .route("/health", get(|State(state): Shared| async move { ok(&state.health) }))
        .route("/tokenizer_info", get(|State(state): Shared| async move { ok(&state.tokenizer) }))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .fallback(|uri: Uri| async move {
            let path = escape_controls(&uri.path().chars().take(80).collect::<String>());
            let message = format!(
                "there is nothing at {path}: expected POST /v1/completions, /tokenize or /detokenize, or GET /v1/models, \
                 /tokenizer_info or /health"
            );
            refuse(&ServeError::new(404, message))
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            refuse(&ServeError::new(405, format!("{method} is not answered at {}", uri.path())))
        })
        .layer(from_fn(own_clients_only))
        .with_state(state)
}

type Shared = State<Arc<ServeState>>;

/// Refuses what a page of another site may send.
async fn own_clients_only(request: Request, next: Next) -> Response {
    match check_sender(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => refuse(&error),
    }
}

async fn completions(State(state): Shared, request: Request) -> Response {
    let asked = match body(&state, request).await {
        Ok(body) => CompletionRequest::parse(&body, &state.limits),
        Err(error) => Err(error),
    };
    match asked {
        Ok(asked) if asked.stream => stream(&state, asked),
        Ok(asked) => answer(&state, Asked::Completion(Box::new(asked))).await,
        Err(error) => refuse(&error),
    }
}

/// The fields of vLLM's endpoint, which evaluation harnesses ask for tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizeBody {
    prompt: String,
    #[serde(default = "yes")]
    add_special_tokens: bool,
    #[serde(rename = "model")]
    _model: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetokenizeBody {
    tokens: Vec<u32>,
    #[serde(rename = "model")]
    _model: Option<String>,
}

async fn tokenize(State(state): Shared, request: Request) -> Response {
    let read = body(&state, request)
        .await
        .and_then(|body| read_json::<TokenizeBody>(&body));
    match read {
        Ok(asked) => {
            let (text, special) = (asked.prompt, asked.add_special_tokens);
            answer(&state, Asked::Tokenize { text, special }).await
        }
        Err(error) => refuse(&error),
    }
}

async fn detokenize(State(state): Shared, request: Request) -> Response {
    let read = body(&state, request)
        .await
        .and_then(|body| read_json::<DetokenizeBody>(&body));
    match read {
        Ok(asked) => answer(&state, Asked::Detokenize(asked.tokens)).await,
        Err(error) => refuse(&error),
    }
}

/// A request's body.
async fn body(state: &ServeState, request: Request) -> Result<Bytes, ServeError> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(ServeError::new(
            415,
            "expected a body of JSON, with Content-Type: application/json",
        ));
    }
    let most = state.limits.body;
    match timeout(SENDING, to_bytes(request.into_body(), most)).await {
        Err(_) => Err(ServeError::new(
            408,
            format!("the body took over {} seconds to come", SENDING.as_secs()),
        )),
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_long(&error) => Err(ServeError::new(
            413,
            format!("the body is larger than the {most} bytes that this server takes (serve --max-body)"),
        )),
        Ok(Err(error)) => Err(ServeError::new(
            400,
            format!("the body cannot be read: {}", escape_controls(&error.to_string())),
        )),
    }
}

/// Whether a body was refused for its length, and not broken off.
fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Tells the model's thread, when it is dropped, that nobody waits any more.
struct GoneOnDrop(Arc<AtomicBool>);

impl Drop for GoneOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts a question into the queue.
fn ask(state: &ServeState, asked: Asked) -> Result<(UnboundedReceiver<ServeAnswer>, GoneOnDrop), ServeError> {
    let (answers, receive) = unbounded_channel();
    let gone = Arc::new(AtomicBool::new(false));
    let job = Job {
        asked,
        gone: gone.clone(),
        answers,
    };
    match state.jobs.try_send(job) {
        Ok(()) => Ok((receive, GoneOnDrop(gone))),
        Err(TrySendError::Full(_)) => {
            let waiting = state.limits.queue;
            let message =
                format!("{waiting} requests are waiting already, which is all that may; ask again in a second");
            Err(ServeError {
                kind: "rate_limit_error",
                ..ServeError::new(429, message)
            })
        }
        Err(TrySendError::Closed(_)) => Err(ServeError::new(503, "the server is ending")),
    }
}

async fn answer(state: &ServeState, asked: Asked) -> Response {
    let (mut answers, _waiting) = match ask(state, asked) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    let time = state.limits.time;
    let late = || {
        let seconds = time.as_secs_f64();
        let message =
            format!("it took over {seconds} seconds, the queue included (serve --timeout); ask for less at once");
        refuse(&ServeError::new(504, message))
    };
    match timeout(time, answers.recv()).await {
        Err(_) => late(),
        Ok(Some(ServeAnswer::Done(value) | ServeAnswer::Piece(value))) => ok(&value),
        Ok(Some(ServeAnswer::Failed(error))) => refuse(&error),
        Ok(None) => refuse(&ServeError::new(503, "the server is ending")),
    }
}

/// An answer a token at a time, as server-sent events.
fn stream(state: &ServeState, asked: CompletionRequest) -> Response {
    let (answers, waiting) = match ask(state, Asked::Completion(Box::new(asked))) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    let event = move |answer| {
        // Held as long as the stream is read.
        let _waiting = &waiting;
        let text = match answer {
            ServeAnswer::Piece(value) => format!("data: {value}\n\n"),
            ServeAnswer::Done(value) => format!("data: {value}\n\ndata: [DONE]\n\n"),
            ServeAnswer::Failed(error) => format!("data: {}\n\n", error.to_json()),
        };
        Ok::<_, Infallible>(text)
    };
    let body = Body::from_stream(UnboundedReceiverStream::new(answers).map(event));
    respond(StatusCode::OK, "text/event-stream", body)
}

fn ok(value: &Value) -> Response {
    respond(StatusCode::OK, "application/json", Body::from(value.to_string()))
}

fn refuse(error: &ServeError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, "application/json", Body::from(error.to_json().to_string()));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
