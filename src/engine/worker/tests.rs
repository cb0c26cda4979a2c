use super::*;
use crate::engine::InspectionResult;

fn trace() -> Trace {
    let text = include_str!("../../../assets/traces/france-pins.trace.jsonl");
    Trace::from_json_lines(text).unwrap()
}

fn generate(run: u64) -> Command {
    Command::Generate {
        run,
        prompt: Prompt::Text("hello".into()),
        settings: Box::new(Settings::default()),
    }
}

fn request() -> SearchRequest {
    SearchRequest {
        question: "Which?".into(),
        expected: crate::engine::Expected::Number {
            text: "5".into(),
            tokens: 3,
        },
        simulations: 2,
        seed: 1,
    }
}

#[test]
fn every_command_is_answered_and_panics_are_caught() {
    let (worker, mut events) = Worker::spawn(|_, _, _, _| Ok(()), |_, _, _, _| Ok(()));
    worker.send(generate(1));
    worker.send(Command::Stop);
    worker.send(Command::Routers(RouterChoice::None));
    worker.send(Command::Load(LoadRequest {
        model: Some("./nosuch.gguf".into()),
        ..LoadRequest::default()
    }));
    let mut heard = Vec::new();
    worker.send(Command::Ask {
        ask: 4,
        question: InspectionRequest::Inspect {
            trace: Box::new(trace()),
            position: 3,
            top: 3,
            follow: 0,
            also: None,
        },
    });
    worker.send(Command::Branch {
        run: 5,
        kept: Box::new(trace()),
        forced: Prompt::Ids(vec![1]),
        settings: Box::default(),
    });
    worker.send(Command::Search {
        search: 6,
        request: Box::new(request()),
    });
    for _ in 0..6 {
        heard.push(events.blocking_recv().unwrap());
    }
    assert!(matches!(&heard[0], WorkerEvent::Failed { run: 1, message } if message.contains("no model is loaded")));
    assert!(matches!(&heard[1], WorkerEvent::RoutersFailed(message) if message.contains("no model is loaded")));
    assert!(matches!(&heard[2], WorkerEvent::LoadFailed(message) if message.contains("nosuch.gguf")));
    let refused = |m: &String| m.contains("no model is loaded");
    assert!(matches!(&heard[3], WorkerEvent::Answered { ask: 4, answer: InspectionResult::Refused(m) } if refused(m)));
    assert!(matches!(&heard[4], WorkerEvent::Failed { run: 5, message } if refused(message)));
    let SearchEnd::Failed(message) = (match &heard[5] {
        WorkerEvent::SearchEnded { search: 6, end } => end,
        other => panic!("{other:?}"),
    }) else {
        panic!("searched without a model")
    };
    assert!(refused(message));
    let caught = caught(|| -> Result<()> { panic!("on purpose") })
        .unwrap_err()
        .to_string();
    assert!(caught.contains("on purpose"), "{caught}");
}

#[test]
fn an_end_reaches_its_own_run_and_no_load() {
    let (worker, _events) = Worker::spawn(|_, _, _, _| Ok(()), |_, _, _, _| Ok(()));
    let flags = |worker: &Worker| {
        let under_way = worker.under_way.lock().unwrap();
        (under_way.run.clone(), under_way.load.clone())
    };
    worker.send(Command::Load(LoadRequest {
        model: Some("./nosuch.gguf".into()),
        ..LoadRequest::default()
    }));
    worker.send(generate(1));
    let (first, load) = flags(&worker);
    worker.send(generate(2));
    let (second, _) = flags(&worker);
    let set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
    assert_eq!((set(&first), set(&second), set(&load)), (true, false, false));
    // A search is ended as a run is, and ends one.
    worker.send(Command::Search {
        search: 1,
        request: Box::new(request()),
    });
    let (third, _) = flags(&worker);
    assert_eq!((set(&second), set(&third)), (true, false));
    worker.send(generate(2));
    let (second, _) = flags(&worker);
    assert_eq!((set(&second), set(&third)), (false, true));
    // A question ends the one before, and no run.
    let ask = |ask| Command::Ask {
        ask,
        question: InspectionRequest::Divergence {
            traces: Box::new([trace(), trace()]),
        },
    };
    worker.send(ask(1));
    let asked = worker.under_way.lock().unwrap().ask.clone();
    assert_eq!((set(&second), set(&asked)), (false, false));
    worker.send(ask(2));
    assert_eq!((set(&second), set(&asked)), (false, true));
    let asked = worker.under_way.lock().unwrap().ask.clone();
    worker.send(Command::Stop);
    assert!(set(&second) && set(&asked) && !set(&load));
}
