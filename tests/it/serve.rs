//! `serve` over real HTTP: numbers are those of a direct run, and whatever else is sent is refused in words.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use candle_core::Device;
use drllm::engine::sequence::Sequence;
use drllm::model::{Model, catalog, logsumexp};
use drllm::program::Program;
use serde_json::{Value, json};

use crate::common::{self, ModelFolder};

/// A server of the tiny model (4 layers, a token a byte).
struct Server {
    process: Child,
    address: String,
    folder: ModelFolder,
}

impl Server {
    fn new(options: &[&str]) -> Server {
        let folder = ModelFolder::new();
        let model = folder.path("model");
        Server::of(folder, model.to_str().unwrap(), options)
    }

    fn of(folder: ModelFolder, model: &str, options: &[&str]) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_drllm-tui"))
            .args(["serve", "--port", "0", "--model", model])
            .args(options)
            .env("DRLLM_DATA_DIR", folder.path("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/v1/completions"));
        let address = address
            .unwrap_or_else(|| panic!("the server's first line is {line:?}"))
            .to_owned();
        Server {
            process,
            address,
            folder,
        }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        socket
    }

    /// Sends bytes as they are; the status and the body.
    fn raw(&self, request: &str) -> (u16, String) {
        let mut socket = self.connect();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that closes without reading all resets the connection behind its answer.
        let _ = socket.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        (
            status.unwrap_or_else(|| panic!("{request:.200}: {answer:?}")),
            body.to_owned(),
        )
    }

    fn request(&self, line: &str, headers: &str, body: &str) -> (u16, Value) {
        let (address, length) = (&self.address, body.len());
        let (status, body) = self.raw(&format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ));
        (
            status,
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{line}: {e}: {body}")),
        )
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.request(&format!("GET {path}"), "", "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request(
            &format!("POST {path}"),
            "Content-Type: application/json\r\n",
            &body.to_string(),
        )
    }

    fn ok(&self, body: Value) -> Value {
        let (status, answer) = self.post("/v1/completions", &body);
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    }

    /// A completion that is refused; what the message says.
    fn refused(&self, status: u16, body: &Value, said: &str) {
        let (found, answer) = self.post("/v1/completions", body);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(said), "{body}: {found}: {answer}");
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn model(server: &Server) -> Model {
    let stop = AtomicBool::new(false);
    let path = server.folder.path("model");
    let located = catalog::locate(path.to_str(), &mut |_| {}, &stop).unwrap();
    Model::load(&located, String::new(), &Device::Cpu, false, &mut |_| {}).unwrap()
}

/// ln p of each token but the first, and the likeliest id in its place, a token at a time.
fn direct(model: &Model, program: &str, ids: &[u32]) -> Vec<(f64, u32)> {
    let program = Program::parse(program, model.info.layers).unwrap();
    let stop = AtomicBool::new(false);
    let mut sequence = Sequence::new(&model.decoder, &stop);
    let pairs = ids.windows(2).map(|pair| {
        let logits: Vec<f32> = sequence.run_program(&pair[..1], &program).unwrap().to_vec1().unwrap();
        let likeliest = (0u32..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        (f64::from(logits[pair[1] as usize]) - logsumexp(&logits), likeliest)
    });
    pairs.collect()
}

#[test]
fn echoed_log_probabilities_are_those_of_a_direct_run() {
    let server = Server::new(&[]);
    let model = model(&server);
    let text = "A fox, 7 crows\nand \u{e9}";
    let ids = model.prompt_ids(text, true).unwrap();
    for (name, program) in [
        ("none", "0-3"),
        ("0 2x2 3", "0 2x2 3"),
        ("(1-2)x2", "(1-2)x2"),
        ("0 1x2~0.5", "0 1x2~0.5"),
    ] {
        let expected = direct(&model, program, &ids);
        for prompt in [json!(text), json!(ids), json!([ids, ids])] {
            let answer = server.ok(json!({
                "model": format!("drllm:{name}"), "prompt": prompt, "max_tokens": 1, "echo": true, "logprobs": 1,
                "temperature": 0, "seed": 1,
            }));
            for choice in answer["choices"].as_array().unwrap() {
                let lists = &choice["logprobs"];
                let found = lists["token_logprobs"].as_array().unwrap();
                // As lm-eval reads them: the prompt's, then exactly one that was generated.
                assert_eq!(found.len(), ids.len() + 1);
                assert!(found[0].is_null() && lists["top_logprobs"][0].is_null());
                for (at, (log_prob, likeliest)) in expected.iter().enumerate() {
                    let found = found[at + 1].as_f64().unwrap();
                    assert!(
                        (found - log_prob).abs() < 1e-4,
                        "{program} at {at}: {found} for {log_prob}"
                    );
                    let top: Vec<f64> = lists["top_logprobs"][at + 1]
                        .as_object()
                        .unwrap()
                        .values()
                        .map(|v| v.as_f64().unwrap())
                        .collect();
                    let is_greedy = top.iter().all(|&other| other <= found);
                    assert_eq!(is_greedy, *likeliest == ids[at + 1], "{program} at {at}");
                }
                assert!(choice["text"].as_str().unwrap().starts_with(text));
                assert_eq!(choice["mean_depth"], Program::parse(program, 4).unwrap().depth() as f64);
                // The two bytes of é are no characters by themselves.
                let tokens: Vec<&str> = lists["tokens"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|t| t.as_str().unwrap())
                    .collect();
                assert_eq!(tokens[ids.len() - 2..ids.len()], ["bytes:\\xc3", "bytes:\\xa9"]);
                assert_eq!(lists["text_offset"][ids.len() - 1], text.chars().count() - 1);
            }
            assert_eq!(
                answer["usage"]["prompt_tokens"],
                answer["choices"].as_array().unwrap().len() * ids.len()
            );
        }
    }
    let read = server.ok(json!({"model": "drllm:none", "prompt": ids, "max_tokens": 0, "echo": true, "logprobs": 0}));
    assert_eq!(
        read["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(),
        ids.len()
    );
    assert_eq!(
        (&read["choices"][0]["text"], &read["usage"]["completion_tokens"]),
        (&json!(text), &json!(0))
    );
}

#[test]
fn answers_are_those_of_run() {
    let server = Server::new(&[]);
    let body =
        json!({"model": "drllm:0 2-3", "prompt": "Once", "max_tokens": 12, "temperature": 0, "ignore_eos": true});
    let args = "run Once --model model --routers none --raw --ignore-eos --max-tokens 12 --temperature 0 --program";
    let args: Vec<&str> = args.split(' ').chain(["0 2-3"]).collect();
    let run = common::drllm()
        .current_dir(server.folder.folder())
        .args(args)
        .output()
        .unwrap();
    let run = String::from_utf8_lossy(&run.stdout).into_owned();
    let answer = server.ok(body.clone());
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert_eq!(text, run.trim_end_matches('\n'));
    assert_eq!(
        (
            &answer["choices"][0]["finish_reason"],
            &answer["usage"]["completion_tokens"]
        ),
        (&json!("length"), &json!(12))
    );
    // The same in pieces.
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let streamed = streamed.to_string();
    let (status, events) = server.raw(&format!(
        "POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{streamed}",
        streamed.len()
    ));
    assert_eq!(status, 200);
    let events: Vec<&str> = events
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .collect();
    let (done, pieces) = events.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let pieces: Vec<Value> = pieces
        .iter()
        .map(|piece| serde_json::from_str(piece).unwrap())
        .collect();
    let joined: String = pieces
        .iter()
        .map(|piece| piece["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(joined, text);
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "length");
    // A stop text ends the answer before itself.
    let stop: String = text.chars().skip(4).take(2).collect();
    let mut stopped = body.clone();
    stopped["stop"] = json!([stop]);
    let stopped = server.ok(stopped);
    assert_eq!(
        stopped["choices"][0]["text"].as_str().unwrap(),
        text.split(&stop).next().unwrap()
    );
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    // Drawn with one seed it is one text, with another another.
    let drawn = |seed: u64| {
        let mut body = body.clone();
        body["temperature"] = 1.5.into();
        body["seed"] = seed.into();
        server.ok(body)["choices"][0]["text"].clone()
    };
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
}

#[test]
fn the_tokenizer_is_served_as_harnesses_ask_for_it() {
    let server = Server::new(&[]);
    assert_eq!(server.get("/tokenizer_info").1["eos_token"], "<|end|>");
    let (_, tokens) = server.post(
        "/tokenize",
        &json!({"prompt": "fox<|end|>", "add_special_tokens": false}),
    );
    assert_eq!(tokens["tokens"], json!([102, 111, 120, 256]));
    let (_, text) = server.post("/detokenize", &json!({"tokens": [102, 111, 120]}));
    assert_eq!(text["prompt"], "fox");
    let (status, refused) = server.post("/detokenize", &json!({"tokens": [257]}));
    assert!(
        status == 400
            && refused["error"]["message"]
                .as_str()
                .unwrap()
                .contains("there is no token 257")
    );
    let (_, models) = server.get("/v1/models");
    assert_eq!(models["data"][0]["id"], "drllm:none");
    assert_eq!(server.get("/health").1["status"], "ok");
}

#[test]
fn bad_requests_are_refused_in_words() {
    let server = Server::new(&["--max-body", "20000", "--max-tokens", "100"]);
    let with = |field: &str, value: Value| {
        let mut body = json!({"model": "drllm:none", "prompt": "p", "max_tokens": 1});
        body[field] = value;
        body
    };
    server.refused(404, &with("model", json!("gpt-4")), "there is no model 'gpt-4'");
    server.refused(400, &with("model", json!("drllm:0-4")), "there is no layer 4");
    server.refused(
        400,
        &with("model", json!("drllm:built-in")),
        "no routers ship for model",
    );
    server.refused(400, &with("model", json!("drllm:dr-llm")), "no routers ship for");
    server.refused(
        400,
        &with("prompt", json!([1, 257])),
        "there is no token 257; this model has 0-256",
    );
    server.refused(
        400,
        &with("prompt", json!("x".repeat(256))),
        "256 tokens and max_tokens 1 are more than the model's context",
    );
    server.refused(400, &with("max_tokens", json!(101)), "at most 100");
    server.refused(400, &with("temperature", json!(-1)), "the temperature is -1");
    server.refused(400, &with("top_p", json!(7)), "top-p is 7");
    server.refused(400, &with("repetition_penalty", json!(1e-40)), "expected 0.001 or more");
    server.refused(400, &with("echoes", json!(true)), "unknown field `echoes`");
    let mut split = with("echo", json!(true));
    split["logprobs"] = 1.into();
    split["prompt_tokens"] = 9.into();
    server.refused(400, &split, "expected 1 to the 1 tokens");
    server.refused(
        413,
        &with("prompt", json!("x".repeat(20_000))),
        "larger than the 20000 bytes",
    );
    let json = "Content-Type: application/json\r\n";
    for (line, headers, body, status, said) in [
        ("POST /v1/completions", json, "{", 400, "EOF while parsing"),
        ("POST /v1/completions", json, "\u{1b}[31m", 400, "expected value"),
        ("POST /v1/completions", "", "{}", 415, "Content-Type: application/json"),
        (
            "POST /v1/completions",
            "Content-Type: text/plain\r\n",
            "{}",
            415,
            "Content-Type: application/json",
        ),
        (
            "GET /v1/completions",
            "",
            "",
            405,
            "GET is not answered at /v1/completions",
        ),
        ("OPTIONS /v1/completions", "", "", 405, "OPTIONS is not answered"),
        (
            "POST /v1/chat/completions",
            json,
            "{}",
            404,
            "there is nothing at /v1/chat/completions",
        ),
        ("GET /../etc/passwd", "", "", 404, "there is nothing at"),
    ] {
        let (found, answer) = server.request(line, headers, body);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(found == status && message.contains(said), "{line}: {found} {answer}");
    }
    // What is no HTTP at all ends its own connection alone.
    let mut socket = server.connect();
    socket.write_all(&[0xff; 4096]).unwrap();
    let _ = socket.read_to_end(&mut Vec::new());
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn pages_of_other_sites_are_refused() {
    let server = Server::new(&[]);
    let ask = |host: &str, headers: &str| {
        let (status, body) = server.raw(&format!(
            "GET /v1/models HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n"
        ));
        (
            status,
            serde_json::from_str::<Value>(&body).unwrap()["error"]["message"].to_string(),
        )
    };
    let own = format!("Host: {}\r\n", server.address);
    assert_eq!(ask(&own, "").0, 200);
    assert_eq!(ask("Host: localhost:1\r\n", "Origin: http://127.0.0.1:8000\r\n").0, 200);
    for (host, headers, status, said) in [
        (
            "Host: evil.example\r\n",
            "",
            403,
            "the host 'evil.example' is not this machine's loopback address",
        ),
        ("Host: 127.0.0.1.evil.example\r\n", "", 403, "the host"),
        ("", "", 400, "expected one Host header"),
        (
            &*own,
            "Origin: https://evil.example\r\n",
            403,
            "the origin 'https://evil.example' may not use this server",
        ),
        (&*own, "Origin: null\r\n", 403, "the origin 'null'"),
        (&*own, "Host: evil.example\r\n", 400, "expected one Host header"),
    ] {
        let (found, message) = ask(host, headers);
        assert!(
            found == status && message.contains(said),
            "{host}{headers}: {found} {message}"
        );
    }
}

#[test]
fn a_looped_model_runs_its_loop_as_often_as_asked() {
    let layers = |iterations: &str| {
        let server = Server::of(ModelFolder::new(), "loopmoe", &["--iterations", iterations]);
        server.get("/health").1["layers"].as_u64().unwrap()
    };
    let [two, three, four] = ["2", "3", "4"].map(layers);
    assert!(two < three && three - two == four - three, "{two} {three} {four}");
    let folder = ModelFolder::new();
    folder.refused(2, "serve --model model --port 0 --iterations 2", "has no loop");
    folder.refused(2, "serve --model loopmoe --port 0 --iterations 9", "1 to 8");
}

#[test]
fn addresses_that_others_reach_are_refused() {
    let folder = ModelFolder::new();
    for host in ["0.0.0.0", "192.168.0.7", "::", "[::ffff:10.0.0.1]", "example.org", ""] {
        let run = common::drllm()
            .args(["serve", "--host", host, "--model", "nosuch"])
            .current_dir(folder.folder())
            .output();
        let run = run.unwrap();
        let err = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(
            run.status.code() == Some(2) && err.contains("expected a loopback address"),
            "{host}: {err}"
        );
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    folder.refused(
        1,
        &format!("serve --model model --port {port}"),
        "choose another --port, 0 for any",
    );
    folder.refused(2, "serve --model model --queue 0", "expected a whole number from 1");
    folder.refused(
        1,
        "serve --model model --port 0 --routers model/config.json",
        "config.json",
    );
}

/// A request that takes a while: many prompts to the end of the context.
fn long(server: &Server, prompts: usize) -> TcpStream {
    let body = json!({
        "model": "drllm:none", "prompt": vec!["a"; prompts], "max_tokens": 250, "ignore_eos": true, "temperature": 0,
    });
    let body = body.to_string();
    let mut socket = server.connect();
    let address = &server.address;
    let length = body.len();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}"
    );
    socket.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    socket
}

#[test]
fn a_full_queue_says_so_and_a_client_that_goes_away_ends_its_run() {
    let server = Server::new(&["--queue", "1"]);
    let short = json!({"model": "drllm:none", "prompt": "a", "max_tokens": 1});
    let started = Instant::now();
    // How long such a request takes, when it is waited for.
    let mut answer = String::new();
    long(&server, 16).read_to_string(&mut answer).unwrap();
    let takes = started.elapsed();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
    let waiting: Vec<TcpStream> = (0..8).map(|_| long(&server, 16)).collect();
    // One runs and one waits; no room is left for this one, whenever the others came.
    let deadline = Instant::now() + takes;
    let refused = loop {
        let (status, answer) = server.post("/v1/completions", &short);
        if status == 429 || Instant::now() > deadline {
            break (status, answer);
        }
    };
    assert_eq!(refused.0, 429, "{}", refused.1);
    assert!(
        refused.1["error"]["message"]
            .as_str()
            .unwrap()
            .contains("1 requests are waiting already")
    );
    // Their clients leave: neither is run to its end.
    let started = Instant::now();
    drop(waiting);
    while server.post("/v1/completions", &short).0 != 200 {
        assert!(
            started.elapsed() < takes.max(Duration::from_secs(5)),
            "the runs of clients that are gone go on"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_takes_too_long_is_given_up() {
    let server = Server::new(&["--timeout", "1"]);
    let started = Instant::now();
    let mut answers: Vec<TcpStream> = (0..12).map(|_| long(&server, 64)).collect();
    let statuses: Vec<String> = answers
        .iter_mut()
        .map(|socket| {
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer.chars().skip(9).take(3).collect()
        })
        .collect();
    assert!(
        statuses.contains(&"504".to_owned()),
        "{statuses:?} after {:?}",
        started.elapsed()
    );
    assert_eq!(server.get("/health").0, 200);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_server_after_what_is_in_work() {
    use rustix::process::Signal;
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::new(&[]);
        let mut socket = long(&server, 2);
        // It is asked before the signal comes.
        assert_eq!(server.get("/health").0, 200);
        server.signal(signal);
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
        assert_eq!(server.process.wait().unwrap().code(), Some(0));
        assert!(TcpStream::connect(&server.address).is_err());
    }
}

#[test]
fn routers_are_named_and_score_as_an_evaluation_does() {
    let folder = ModelFolder::new();
    let path = common::default_model();
    let server = Server::of(folder, path.to_str().unwrap(), &[]);
    let (_, models) = server.get("/v1/models");
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["drllm:none", "drllm:built-in", "drllm:verifier", "drllm:dr-llm"]
    );
    let model = common::fast_model();
    let question = "Question: Which one is a planet?\nAnswer:";
    let prompt = model.prompt_ids(question, true).unwrap().len();
    let score = |name: &str| {
        let answer = server.ok(json!({
            "model": name, "prompt": format!("{question} Mars, the red one"), "max_tokens": 1, "echo": true, "logprobs": 1,
            "temperature": 0, "prompt_tokens": prompt,
        }));
        let choice = &answer["choices"][0];
        let log_probs: Vec<f64> = choice["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap_or(0.0))
            .collect();
        (log_probs, choice["mean_depth"].as_f64().unwrap())
    };
    let (base, whole) = score("drllm:none");
    let (routed, depth) = score("drllm:built-in depth 26");
    assert_eq!((whole, base.len()), (30.0, routed.len()));
    // Depth routers leave the prompt whole and shorten what comes after it.
    assert!((0..prompt).all(|at| (base[at] - routed[at]).abs() < 1e-3));
    assert!(depth < 30.0 && base[prompt..] != routed[prompt..], "{depth}");
    // Those of the paper's recipe decide once, on the prompt.
    let (_, decided) = score("drllm:dr-llm");
    assert_eq!(decided.fract(), 0.0);
    server.refused(400, &json!({"model": "drllm:built-in depth 3", "prompt": "a"}), "depth");
}
