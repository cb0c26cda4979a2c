use super::*;
use crate::program::Action;
use crate::trace::Scope;
use crate::tui::fixture;

fn of(traces: &[Trace]) -> TraceStatistics {
    let mut aggregate = Aggregate::new(fixture::model());
    traces.iter().for_each(|t| aggregate.add(t).unwrap());
    aggregate.report(3)
}

/// A run in which every router says `prompt` at the prompt and `answer` at the two answer tokens.
fn uniform(prompt: [f32; 3], answer: [f32; 3]) -> Trace {
    let mut trace = fixture::trace(7, 2);
    let decide = |decision: &mut Decision, probs| {
        decision.probs = Some(probs);
        decision.action = argmax(prompt);
        decision.shadow = Some(argmax(probs));
        decision.by = DecidedBy::Router;
    };
    trace.header.decisions.iter_mut().for_each(|d| decide(d, prompt));
    let actions: Vec<Action> = trace.header.decisions.iter().map(|d| d.action).collect();
    trace.header.program = Program::from_actions(&actions);
    for step in &mut trace.steps {
        step.decisions.iter_mut().for_each(|d| decide(d, answer));
        step.program = trace.header.program.clone();
        step.depth = step.program.depth();
    }
    trace
}

const SURE: [f32; 3] = [0.05, 0.93, 0.02];
const UNSURE: [f32; 3] = [0.55, 0.35, 0.1];

#[test]
fn rates_and_depths_are_those_of_the_runs() {
    let mut skipping = uniform(UNSURE, UNSURE);
    skipping.steps.pop();
    let report = of(&[uniform(SURE, SURE), skipping]);
    assert_eq!((report.runs, report.prompt_tokens, report.answer_tokens), (2, 24, 3));
    assert_eq!(report.layers.len(), 30);
    assert_eq!(report.layers[7].prompts, Some([0.5, 0.5, 0.0]));
    let third = 1.0 / 3.0;
    assert_eq!(report.layers[7].answers, Some([third, 2.0 * third, 0.0]));
    assert_eq!(report.all_answers, report.layers[7].answers);
    let depth = report.depth.unwrap();
    assert_eq!(
        (depth.mean, depth.median, depth.least, depth.greatest),
        (20.0, 30.0, 0, 30)
    );
    let router = report.decided_by.iter().find(|n| n.name == "router").unwrap();
    assert_eq!(router.count, 90);
}

#[test]
fn agreement_is_between_prompt_and_answer() {
    let mut token = uniform(SURE, UNSURE);
    token.header.settings.scope = Scope::Token;
    let report = of(&[
        uniform(SURE, SURE),
        uniform(SURE, UNSURE),
        uniform(UNSURE, UNSURE),
        token,
    ]);
    let scope = |name| report.agreement.iter().find(|a| a.scope == name).unwrap();
    let prompt = scope("prompt");
    assert_eq!(
        (prompt.pairs, prompt.cells_asked, prompt.cells_otherwise),
        (180, 180, 60)
    );
    assert!((prompt.agreement.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    let bin = |from: f64| prompt.bins.iter().find(|b| b.from == from).unwrap();
    assert_eq!((bin(0.9).pairs, bin(0.9).agreement), (120, Some(0.5)));
    assert_eq!((bin(0.5).pairs, bin(0.5).agreement), (60, Some(1.0)));
    assert_eq!((bin(0.3).pairs, bin(0.3).agreement), (0, None));
    let error = (120.0 * (0.93 - 0.5) + 60.0 * (1.0 - 0.55)) / 180.0;
    assert!((prompt.calibration_error.unwrap() - error).abs() < 1e-6);
    assert_eq!(scope("token").agreement, Some(0.0));
    let decisions = |from: f64| report.confidence.iter().find(|b| b.from == from).unwrap().decisions;
    // Three sure prompts, one sure answer of two tokens.
    assert_eq!((decisions(0.9), decisions(0.5)), (30 * (3 + 2), 30 * (1 + 6)));
}

#[test]
fn programs_are_ranked_by_tokens() {
    let mut other = uniform(SURE, SURE);
    other
        .steps
        .iter_mut()
        .for_each(|s| s.program = Program::from_layers([1]));
    let report = of(&[uniform(SURE, SURE), uniform(SURE, SURE), other, uniform(UNSURE, SURE)]);
    let ranked: Vec<(String, usize, usize)> = report
        .programs
        .iter()
        .map(|p| (p.program.to_string(), p.prompts, p.tokens))
        .collect();
    let expected = [("0-29", 3, 4), ("", 1, 2), ("1", 0, 2)];
    assert_eq!(ranked, expected.map(|(p, n, t)| (p.to_owned(), n, t)));
    assert_eq!(report.distinct_programs, 3);
}

#[test]
fn runs_without_answer_or_routers_are_counted() {
    let mut trace = fixture::trace(7, 0);
    trace.header.routers = None;
    trace
        .header
        .decisions
        .iter_mut()
        .for_each(|d| (d.probs, d.shadow) = (None, None));
    let report = of(&[trace]);
    assert_eq!((report.depth, report.all_answers), (None, None));
    assert_eq!(report.routers[0].name, "none");
    assert!(report.confidence.iter().all(|b| b.decisions == 0));
    assert_eq!(report.agreement[0].agreement, None);
}

#[test]
fn another_model_is_refused() {
    let mut trace = fixture::trace(7, 2);
    trace.header.model.sha256 = "ff".into();
    let error = Aggregate::new(fixture::model()).add(&trace).unwrap_err().to_string();
    assert!(error.contains("sha256 ff") && error.contains("one model"), "{error}");
}

#[test]
fn every_confidence_has_a_bin() {
    let bins = [0.0, 0.3333, 0.4, 0.95, 1.0, 2.0, f32::INFINITY].map(bin);
    assert_eq!(bins, [0, 0, 1, 6, 6, 6, 6]);
}

#[test]
fn a_branch_is_counted_from_where_it_parts() {
    let run = uniform(SURE, SURE);
    let mut branch = run.clone();
    branch.header.branch = Some(crate::trace::BranchPoint {
        at: branch.header.prompt.len() + 1,
        forced: 0,
    });
    let report = of(&[run.clone(), branch.clone()]);
    assert_eq!((report.runs, report.prompt_tokens, report.answer_tokens), (2, 12, 3));
    // One that kept more than there is counts nothing.
    branch.header.branch.as_mut().unwrap().at = usize::MAX;
    let report = of(&[run, branch]);
    assert_eq!((report.prompt_tokens, report.answer_tokens), (12, 2));
}
