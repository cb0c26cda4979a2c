//! What sharing saves a search: `cargo bench --bench search -- QUESTIONS.jsonl [QUESTIONS] [SIMULATIONS]`.
//!
//! Searches the first questions (20, with 50 simulations), then runs the same programs again from the
//! embeddings on: the question and its choices as one chunk, and every choice by itself after its
//! question, as evaluation harnesses do. One thread, one process; prints programs per second and
//! ratios, and fails if sharing changes a margin by a bit in exact mode.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use drllm::engine::{LoadRequest, load_model};
use drllm::eval::{ChoiceScorer, EncodedQuestion, Scoring, Task};
use drllm::model::Model;
use drllm::program::Program;
use drllm::search::evaluator::DEFAULT_CACHE_BYTES;
use drllm::search::{ProgramEvaluator, SearchSettings, search};

#[derive(Default)]
struct Seconds {
    shared: f64,
    one_chunk: f64,
    by_choice: f64,
    programs: usize,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let Some(path) = args.next().map(PathBuf::from) else {
        println!("search: no questions given, nothing to search");
        return Ok(());
    };
    let mut number = |default: usize| {
        args.next()
            .map_or(Ok(default), |a| a.parse().context("expected a number"))
    };
    let (questions, simulations) = (number(20)?, number(50)?);
    let mut task = Task::load(&path)?;
    task.questions.truncate(questions);
    let settings = SearchSettings {
        simulations,
        ..SearchSettings::default()
    };
    for exact in [false, true] {
        let request = LoadRequest {
            exact,
            ..LoadRequest::default()
        };
        let model = load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &AtomicBool::new(false))?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        let seconds = pool.install(|| measure(&model, &task, &settings, exact))?;
        let rate = |seconds_spent: f64| seconds.programs as f64 / seconds_spent;
        println!(
            "exact={exact}: {} programs on {} questions; shared {:.1}/s, from scratch {:.1}/s as one chunk and {:.1}/s \
             choice by choice: {:.2} and {:.2} times as fast",
            seconds.programs,
            task.questions.len(),
            rate(seconds.shared),
            rate(seconds.one_chunk),
            rate(seconds.by_choice),
            seconds.one_chunk / seconds.shared,
            seconds.by_choice / seconds.shared
        );
    }
    Ok(())
}

fn measure(model: &Model, task: &Task, settings: &SearchSettings, exact: bool) -> Result<Seconds> {
    let mut seconds = Seconds::default();
    for question in &task.questions {
        let encoded = EncodedQuestion::for_model(question, model, Scoring::Sum)?;
        let scorer = ChoiceScorer::new(&model.decoder, &encoded)?;
        let started = Instant::now();
        let mut evaluator = ProgramEvaluator::new(&scorer, Scoring::Sum, DEFAULT_CACHE_BYTES)?;
        let (layers, stop) = (model.info.layers, AtomicBool::new(false));
        let found = search(&question.id, layers, settings, &mut evaluator, &stop)?.context("nobody stops it")?;
        seconds.shared += started.elapsed().as_secs_f64();
        seconds.programs += found.evaluated.len();
        let started = Instant::now();
        for (program, evaluation) in &found.evaluated {
            let alone = scorer.run(program, Scoring::Sum)?;
            ensure!(
                !exact || alone.margin.to_bits() == evaluation.margin.to_bits(),
                "question {}, program {program}: sharing changed the margin",
                question.id
            );
        }
        seconds.one_chunk += started.elapsed().as_secs_f64();
        let started = Instant::now();
        for (program, _) in &found.evaluated {
            encoded
                .choices
                .iter()
                .try_for_each(|choice| by_itself(model, &encoded.prompt, choice, program))?;
        }
        seconds.by_choice += started.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// The logits of a choice's tokens after its question.
fn by_itself(model: &Model, prompt: &[u32], choice: &[u32], program: &Program) -> Result<()> {
    let ids = [prompt, &choice[..choice.len() - 1]].concat();
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let chunk = model.decoder.chunk(&positions)?;
    let mut hidden = model.decoder.embed(&ids)?;
    for &layer in program.layers() {
        hidden = model.decoder.run_block(layer, &hidden, &chunk, None)?;
    }
    let rows = hidden.narrow(0, prompt.len() - 1, choice.len())?;
    std::hint::black_box(model.decoder.logits(&rows)?);
    Ok(())
}
