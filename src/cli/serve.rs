//! `serve`: programs and routers behind the interface of OpenAI's completions, for programs of this machine.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::UsageError;
use super::args::{device_name, iterations};
use super::run::{load, stop_on_signals};
use crate::config::Config;
use crate::engine::RouterChoice;
use crate::model::{ActivationBits, KvBits};
use crate::serve::sender::is_loopback;
use crate::serve::{ServeLimits, serve};

/// Serve completions to programs of this machine: the interface that lm-evaluation-harness calls local-completions, with
/// programs and routers chosen by the model's name (docs/serve.md).
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The model to load.
    #[command(flatten)]
    pub model: ServedModelArgs,
    /// The loopback address to listen on; others are refused
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// 0 takes any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Requests that may wait while one runs
    #[arg(long, value_name = "N", default_value_t = ServeLimits::default().queue, value_parser = positive)]
    queue: usize,
    /// Open connections
    #[arg(long, value_name = "N", default_value_t = ServeLimits::default().connections, value_parser = positive)]
    max_connections: usize,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = ServeLimits::default().body, value_parser = positive)]
    max_body: usize,
    /// Prompts of a request
    #[arg(long, value_name = "N", default_value_t = ServeLimits::default().prompts, value_parser = positive)]
    max_prompts: usize,
    /// Tokens that are generated after a prompt
    #[arg(long, value_name = "N", default_value_t = ServeLimits::default().max_tokens, value_parser = positive)]
    max_tokens: usize,
    /// Seconds that a request may take, its time in the queue included
    #[arg(long, value_name = "SECONDS", default_value_t = ServeLimits::default().time.as_secs(), value_parser = seconds)]
    timeout: u64,
}

/// The one model that is served.
#[derive(Args, Clone, Debug, Default)]
pub struct ServedModelArgs {
    /// Catalog name, GGUF file, Hugging Face folder or hub name; the default model if absent
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// A router checkpoint (safetensors), which the name drllm:routers then stands for
    #[arg(long, value_name = "FILE")]
    routers: Option<PathBuf>,
    /// auto, cpu, cuda:N or metal
    #[arg(long, value_name = "DEVICE", value_parser = device_name)]
    device: Option<String>,
    /// f32 arithmetic throughout
    #[arg(long)]
    exact: bool,
    /// Bits that activations are rounded to on the CPU, beside a scale for each 32 [default: 15]
    #[arg(long, value_enum, value_name = "BITS", conflicts_with = "exact")]
    activations: Option<ActivationBits>,
    /// Bits of a number of keys and values on the CPU [default: 16]
    #[arg(long, value_enum, value_name = "BITS")]
    kv_bits: Option<KvBits>,
    /// How often the loop of a looped model runs, 1 to 8; as in its training if absent
    #[arg(long, value_name = "K", value_parser = iterations)]
    iterations: Option<usize>,
    /// Threads of matrix products; all cores if absent
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=1 << 30).contains(n));
    number.ok_or_else(|| "expected a whole number from 1 to 1073741824".to_owned())
}

fn seconds(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|n| (1..=86_400).contains(n));
    number.ok_or_else(|| "expected 1 to 86400 seconds".to_owned())
}

/// Runs the command until it is interrupted; prints the address once it listens.
///
/// # Errors
/// [`UsageError`] for an address that others can reach; a port that is taken; what loading says.
pub fn run(args: &ServeArgs, config: &Config) -> Result<()> {
    let address = address(&args.host)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    // Before the model is loaded: a port that is taken shows at once.
    let wanted = SocketAddr::new(address, args.port);
    let listener = TcpListener::bind(wanted);
    let listener = listener.with_context(|| format!("cannot listen on {wanted}; choose another --port, 0 for any"))?;
    let mut request = config.load_request();
    request.model = args.model.model.clone().or(request.model.take());
    request.routers = RouterChoice::None;
    request.exact &= args.model.activations.is_none();
    request.exact |= args.model.exact;
    request.iterations = args.model.iterations;
    request.activations = args.model.activations.unwrap_or(request.activations);
    request.kv_bits = args.model.kv_bits.unwrap_or(request.kv_bits);
    if let Some(device) = &args.model.device {
        request.device.clone_from(device);
    }
    let (model, _) = load(&request, &stop)?;
    let limits = ServeLimits {
        queue: args.queue,
        connections: args.max_connections,
        body: args.max_body,
        prompts: args.max_prompts,
        max_tokens: args.max_tokens,
        time: Duration::from_secs(args.timeout),
    };
    let at = listener.local_addr()?;
    serve(
        &model,
        args.model.routers.clone(),
        limits,
        listener,
        &stop,
        &mut |names| {
            let mut out = std::io::stdout();
            // Whoever started this may wait for the line, and not read on.
            let _ = writeln!(out, "http://{at}/v1/completions").and_then(|()| out.flush());
            crate::note!(
                "{} as {}, drllm:PROGRAM; Ctrl-C ends it",
                model.info.name,
                names.join(", ")
            );
        },
    )
}

/// # Errors
/// [`UsageError`] for what is no loopback address.
fn address(host: &str) -> Result<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    let address = host.trim_matches(['[', ']']).parse().ok();
    let address = address.filter(|&address| is_loopback(address));
    let message = || {
        format!(
            "--host {}: expected a loopback address (127.0.0.1, ::1), since whoever reaches the server may use the model; \
             from another machine, forward the port (ssh -L 8080:127.0.0.1:8080)",
            host.escape_debug()
        )
    };
    Ok(address.ok_or_else(|| UsageError::new(message()))?)
}
