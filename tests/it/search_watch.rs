//! The worker searches a question while someone watches, on a tiny model.

use std::sync::atomic::AtomicBool;

use drllm::engine::loop_map::{LoopMapRequest, LoopMapStep};
use drllm::engine::{
    Command, Expected, InspectionRequest, InspectionResult, LoadRequest, SearchEnd, SearchRequest, SearchStep, Worker,
    WorkerEvent, load_model,
};
use drllm::eval::{self, Question, Scoring, Task};
use drllm::search::evaluator::DEFAULT_CACHE_BYTES;
use drllm::search::loop_map::{Cell, score_question};
use drllm::search::{SearchSettings, search_question, watch};
use drllm::testing::tiny_model;
use drllm::trace::Trace;
use tokio::sync::mpsc::UnboundedReceiver;

const CHOICES: [&str; 3] = ["ab", "cde", "f"];

struct Watching {
    worker: Worker,
    events: UnboundedReceiver<WorkerEvent>,
    load: LoadRequest,
    _folder: tempfile::TempDir,
}

impl Watching {
    /// A worker with the tiny model in memory.
    fn start() -> Watching {
        let folder = tempfile::tempdir().unwrap();
        tiny_model::write(folder.path(), 7);
        let load = LoadRequest {
            model: Some(folder.path().to_str().unwrap().to_owned()),
            device: "cpu".into(),
            exact: true,
            ..LoadRequest::default()
        };
        let (worker, events) = Worker::spawn(watch::watch, drllm::search::loop_map::watch::watch);
        worker.send(Command::Load(load.clone()));
        let mut watching = Watching {
            worker,
            events,
            load,
            _folder: folder,
        };
        loop {
            match watching.next() {
                WorkerEvent::Loaded { .. } => return watching,
                WorkerEvent::LoadFailed(message) => panic!("{message}"),
                _ => {}
            }
        }
    }

    fn next(&mut self) -> WorkerEvent {
        self.events.blocking_recv().expect("the worker lives")
    }

    fn search(&self, search: u64, request: SearchRequest) {
        let request = Box::new(request);
        self.worker.send(Command::Search { search, request });
    }

    /// What the cells of a loop map came to, and how it ended; `stop_after` that many it is stopped.
    fn mapped(&mut self, map: u64, stop_after: usize) -> (Vec<LoopMapStep>, SearchEnd) {
        let mut steps = Vec::new();
        loop {
            match self.next() {
                WorkerEvent::Mapped { map: m, step } if m == map => steps.push(step),
                WorkerEvent::LoopMapEnded { map: m, end } if m == map => return (steps, end),
                other => panic!("{other:?}"),
            }
            if steps.len() == stop_after {
                self.worker.send(Command::Stop);
            }
        }
    }

    /// What the search's simulations came to, and how it ended.
    fn heard(&mut self, search: u64) -> (Vec<SearchStep>, SearchEnd) {
        let mut steps = Vec::new();
        loop {
            match self.next() {
                WorkerEvent::Searched { search: s, step } if s == search => steps.push(*step),
                WorkerEvent::SearchEnded { search: s, end } if s == search => return (steps, end),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn request(right: usize, simulations: usize) -> SearchRequest {
    SearchRequest {
        question: "Which?".into(),
        expected: Expected::Choice {
            texts: CHOICES.map(String::from).to_vec(),
            right,
        },
        simulations,
        seed: 3,
    }
}

#[test]
fn what_is_watched_is_the_search_itself() {
    let mut watching = Watching::start();
    let stop = AtomicBool::new(false);
    let model = load_model(&watching.load, &mut |_, _, _| {}, &mut |_| {}, &stop).unwrap();
    let settings = SearchSettings {
        simulations: 30,
        seed: 3,
        ..SearchSettings::default()
    };
    let mut kinds = [false; 2];
    for right in 0..CHOICES.len() {
        watching.search(right as u64, request(right, 30));
        let (steps, end) = watching.heard(right as u64);
        assert_eq!(end, SearchEnd::Done);
        let question = Question {
            id: watch::ID.into(),
            question: "Which?".into(),
            answer: eval::Answer::Choice {
                choices: CHOICES.map(String::from).to_vec(),
                right,
            },
        };
        let judged = (Scoring::Sum, None);
        let found = search_question(&model, &question, judged, &settings, DEFAULT_CACHE_BYTES, &stop);
        let found = found.unwrap().unwrap();
        let tried = steps.iter().filter_map(|step| step.tried.as_ref());
        let tried: Vec<_> = tried
            .map(|t| (t.program.clone(), t.correct, t.margin.to_bits()))
            .collect();
        let expected: Vec<_> = found
            .evaluated
            .iter()
            .map(|(program, e)| (program.clone(), e.correct, e.margin.to_bits()))
            .collect();
        assert_eq!(tried, expected);
        assert_eq!(steps.last().unwrap().simulation, found.simulations);
        assert!(steps.is_sorted_by(|a, b| a.ms <= b.ms));
        kinds[usize::from(found.baseline.correct)] = true;
    }
    assert_eq!(kinds, [true; 2], "right and wrong from the start");
}

#[test]
fn it_stops_at_once_and_answers_questions_meanwhile() {
    let mut watching = Watching::start();
    // The one choice that is right from the start is searched to the end.
    let mut right = 0;
    let search = loop {
        watching.search(10 + right, request(right as usize, usize::MAX));
        match watching.next() {
            WorkerEvent::Searched { step, .. } if step.tried.as_ref().unwrap().correct => break 10 + right,
            _ => watching.worker.send(Command::Stop),
        }
        watching.heard(10 + right);
        right += 1;
    };
    let text = include_str!("../../assets/traces/france-pins.trace.jsonl");
    watching.worker.send(Command::Ask {
        ask: 4,
        question: InspectionRequest::Inspect {
            trace: Box::new(Trace::from_json_lines(text).unwrap()),
            position: 3,
            top: 3,
            follow: 0,
            also: None,
        },
    });
    let answer = loop {
        match watching.next() {
            WorkerEvent::Answered { ask: 4, answer } => break answer,
            WorkerEvent::Searched { .. } => {}
            other => panic!("the search ended before the answer: {other:?}"),
        }
    };
    assert!(matches!(answer, InspectionResult::Refused(why) if why.contains("was made with the model")));
    watching.worker.send(Command::Stop);
    assert_eq!(watching.heard(search).1, SearchEnd::Stopped);
    // What cannot be asked is said, and the worker lives on.
    let long = SearchRequest {
        question: "?".repeat(300),
        ..request(0, 5)
    };
    watching.search(20, long);
    let (_, end) = watching.heard(20);
    assert!(
        matches!(&end, SearchEnd::Failed(why) if why.contains("the model's context is 256")),
        "{end:?}"
    );
    watching.search(21, request(0, 5));
    assert_eq!(watching.heard(21).1, SearchEnd::Done);
}

#[test]
fn numbers_are_written() {
    let mut watching = Watching::start();
    let number = SearchRequest {
        expected: Expected::Number {
            text: "18".into(),
            tokens: 3,
        },
        ..request(0, 2)
    };
    watching.search(1, number);
    let (steps, end) = watching.heard(1);
    assert_eq!((steps.len(), end), (3, SearchEnd::Done));
    assert!(steps.iter().filter_map(|s| s.tried.as_ref()).all(|t| t.margin == -1.0));
}

#[test]
fn a_loop_map_is_told_cell_by_cell() {
    let mut watching = Watching::start();
    let stop = AtomicBool::new(false);
    let model = load_model(&watching.load, &mut |_, _, _| {}, &mut |_| {}, &stop).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("q.jsonl");
    let line = |i: usize| {
        format!(
            r#"{{"id": "q{i}", "question": "{i}?", "choices": ["a", "bc", "d"], "answer": {}}}"#,
            i % 3
        )
    };
    std::fs::write(&data, (0..5).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let request = |data: &std::path::Path| LoopMapRequest {
        data: Some(data.to_path_buf()),
        limit: 4,
        damping: "0.5".parse().unwrap(),
    };
    let begin = |watching: &Watching, map: u64, request: LoopMapRequest| {
        let request = Box::new(request);
        watching.worker.send(Command::LoopMap { map, request });
    };
    begin(&watching, 1, request(&data));
    let (steps, end) = watching.mapped(1, usize::MAX);
    assert_eq!(end, SearchEnd::Done);
    let cells = Cell::all(model.info.layers, usize::MAX);
    assert_eq!(steps.len(), 4 * (1 + cells.len()));
    let task = Task::load(&data).unwrap();
    for (index, (question, steps)) in task.questions.iter().zip(steps.chunks(1 + cells.len())).enumerate() {
        let settings = (&cells[..], "0.5".parse().unwrap());
        let expected = score_question(&model, question, (Scoring::Sum, None), settings, &stop, &mut |_, _| {});
        let expected = expected.unwrap().unwrap();
        let scores: Vec<_> = steps.iter().map(|s| (s.correct, s.margin, s.log_likelihood)).collect();
        let all = std::iter::once(&expected.standard).chain(&expected.cells);
        assert_eq!(
            scores,
            all.map(|s| (s.correct, s.margin, s.log_likelihood)).collect::<Vec<_>>()
        );
        assert!(steps.iter().all(|step| (step.question, step.questions) == (index, 4)));
        assert_eq!(steps[0].cell, None);
        let told: Vec<Cell> = steps[1..].iter().map(|step| step.cell.unwrap().into()).collect();
        assert_eq!(told, cells);
    }
    begin(&watching, 2, request(&data));
    let (some, end) = watching.mapped(2, 3);
    assert_eq!(end, SearchEnd::Stopped);
    assert!(some.len() >= 3 && some.len() < steps.len());
    // What cannot be read is said, and the worker lives on.
    begin(&watching, 3, request(&folder.path().join("none.jsonl")));
    let (_, end) = watching.mapped(3, usize::MAX);
    assert!(
        matches!(&end, SearchEnd::Failed(why) if why.contains("none.jsonl")),
        "{end:?}"
    );
    std::fs::write(&data, r#"{"question": "One and one?", "answer": "It is #### 2"}"#).unwrap();
    begin(&watching, 4, request(&data));
    let (_, end) = watching.mapped(4, usize::MAX);
    assert!(
        matches!(&end, SearchEnd::Failed(why) if why.contains("search map")),
        "{end:?}"
    );
}
