//! Looking into a run, branching from it and flipping its decisions, on the default model.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::common;
use drllm::engine::inspector::Inspector;
use drllm::engine::sequence::Stopped;
use drllm::engine::worker::Worker;
use drllm::engine::{
    Command, Generation, InspectionRequest, InspectionResult, LoadRequest, PrefixCache, Prompt, WorkerEvent, generate,
};
use drllm::model::Model;
use drllm::program::{Action, Program};
use drllm::router::Router;
use drllm::trace::{KvMode, Sampling, Scope, Settings, StopReason, Trace};

static GO: AtomicBool = AtomicBool::new(false);

const PROMPT: &str = "Name three primary colours.";

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings {
        max_tokens: 10,
        ignore_eos: true,
        logits: 5,
        ..Settings::default()
    };
    change(&mut settings);
    settings
}

fn routers() -> Option<&'static dyn Router> {
    Some(common::routers())
}

/// A whole run; what it left is kept.
fn ran(model: &Model, settings: &Settings, kept: &mut PrefixCache) -> Trace {
    let prompt = Prompt::Text(PROMPT.into());
    let (mut generation, header) = Generation::start(model, routers(), &prompt, settings, &GO).unwrap();
    let mut trace = Trace::new(header);
    while let Some(step) = generation.step().unwrap() {
        trace.steps.push(step);
    }
    kept.put(trace.clone(), generation.into_sequence().into_cache());
    trace
}

fn inspector<'m, 'k>(model: &'m Model, kept: &'k mut PrefixCache) -> Inspector<'m, 'k> {
    Inspector {
        model,
        routers: routers(),
        kept,
        live: None,
        stop: &GO,
    }
}

/// A branch of `trace` at its `at`-th token, and the blocks that were run for it.
fn branch(
    model: &Model,
    kept: &mut PrefixCache,
    trace: &Trace,
    at: usize,
    forced: &[u32],
    settings: &Settings,
) -> (Trace, usize) {
    let before = trace.first(trace.header.prompt.len() + at);
    let sequence = inspector(model, kept).sequence(&before, at).unwrap();
    let (mut generation, header) =
        Generation::resume(model, routers(), &before, sequence, forced.to_vec(), settings).unwrap();
    let mut out = Trace {
        header,
        ..before.clone()
    };
    while let Some(step) = generation.step().unwrap() {
        out.steps.push(step);
    }
    assert_eq!(generation.summary().tokens, out.steps.len());
    (out, generation.sequence().blocks_run())
}

/// Ids, programs, decisions and reported logits of two traces agree to the bit from step `from` on.
fn assert_same(a: &Trace, b: &Trace, from: usize) {
    assert_eq!(a.steps.len(), b.steps.len());
    for (a, b) in a.steps[from..].iter().zip(&b.steps[from..]) {
        assert_eq!((a.id, a.position, &a.text), (b.id, b.position, &b.text));
        assert_eq!(a.program, b.program, "at {}", a.position);
        assert_eq!(a.decisions, b.decisions, "at {}", a.position);
        assert_eq!(a.logits, b.logits, "at {}", a.position);
    }
}

#[test]
fn a_look_inside_says_what_the_run_said() {
    for (model, exact) in [(common::fast_model(), false), (common::exact_model(), true)] {
        for change in [
            |_: &mut Settings| {},
            |s: &mut Settings| (s.scope, s.dial) = (Scope::Token, -0.55),
            |s: &mut Settings| {
                s.pins = ["3=skip", "7@2-4=skip", "9@12=repeat"]
                    .map(|p| p.parse().unwrap())
                    .into()
            },
            |s: &mut Settings| s.budget = Some(24),
            |s: &mut Settings| s.program = Some(Program::parse("0-11 (9-12)x2 20-29", 30).unwrap()),
            |s: &mut Settings| s.program = Some(Program::parse("0-8 (9-12)x2~0.5 13x3~-0.25 14-29", 30).unwrap()),
        ] {
            let settings = settings(change);
            let mut kept = PrefixCache::default();
            let trace = ran(model, &settings, &mut kept);
            let prompt = trace.header.prompt.len();
            // With what the run left, and from the trace alone.
            for kept in [&mut kept, &mut PrefixCache::new(0)] {
                for (position, said) in [
                    (prompt - 1, &trace.header.logits),
                    (prompt, &trace.steps[0].logits),
                    (prompt + 7, &trace.steps[7].logits),
                ] {
                    let inspection = inspector(model, kept).inspect(&trace, position, 5).unwrap();
                    assert_eq!(
                        Some(&inspection.logits),
                        said.as_ref(),
                        "exact {exact}, position {position}"
                    );
                    let top = &said.as_ref().unwrap().top[0];
                    assert_eq!(inspection.next.top[0].id, top.0);
                    let p = (top.1 - said.as_ref().unwrap().logsumexp).exp();
                    assert!((inspection.next.top[0].probability - p).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn every_boundary_has_a_lens_and_skipped_layers_what_they_would_have_done() {
    let model = common::fast_model();
    let settings = settings(|s| s.pins = ["5=skip", "8=repeat"].map(|p| p.parse().unwrap()).into());
    let mut kept = PrefixCache::default();
    let trace = ran(model, &settings, &mut kept);
    let position = trace.header.prompt.len() + 3;
    let inspection = inspector(model, &mut kept).inspect(&trace, position, 3).unwrap();
    let program = &trace.steps[3].program;
    let carried: Vec<usize> = inspection
        .stages
        .iter()
        .filter(|s| s.carried_out)
        .filter_map(|s| Some(s.block?.0))
        .collect();
    assert_eq!(carried, program.layers());
    let aside: Vec<usize> = inspection
        .stages
        .iter()
        .filter(|s| !s.carried_out)
        .filter_map(|s| Some(s.block?.0))
        .collect();
    let skipped: Vec<usize> = (0..30).filter(|l| !program.layers().contains(l)).collect();
    assert!(aside == skipped && skipped.contains(&5));
    let first = &inspection.stages[0];
    assert!(first.block.is_none() && first.moved.is_none());
    let last = inspection.stages.iter().rfind(|s| s.carried_out).unwrap();
    assert_eq!((last.kl, &last.lens), (0.0, &inspection.next));
    assert!(first.kl > 1.0, "the embedding does not know yet: {}", first.kl);
    for stage in &inspection.stages {
        assert!(stage.kl >= 0.0 && stage.lens.entropy >= 0.0 && stage.lens.top.len() == 3);
        assert!(stage.moved.is_none_or(|m| m.turn >= 0.0 && m.step > 0.0));
    }
    // What a skipped layer would have done is what it does when it runs at this token alone.
    let flip = inspector(model, &mut kept)
        .flip(&trace, 29, position, Action::Skip, 3, false)
        .unwrap();
    let before_last = inspection.stages.iter().filter(|s| s.carried_out).rev().nth(1).unwrap();
    assert_eq!(flip.from, Action::Execute);
    assert!(
        (before_last.lens.entropy - flip.entropy.1).abs() < 1e-4,
        "without its last layer it says what the lens said"
    );
}

#[test]
fn a_followed_token_stands_at_each_stage_where_the_lens_has_it() {
    let model = common::fast_model();
    let settings = settings(|s| s.pins = ["5=skip", "8=repeat"].map(|p| p.parse().unwrap()).into());
    let mut kept = PrefixCache::default();
    let trace = ran(model, &settings, &mut kept);
    let position = trace.header.prompt.len() + 3;
    let top = 40;
    let plain = inspector(model, &mut kept).inspect(&trace, position, top).unwrap();
    let mut following =
        |also: Option<&str>| inspector(model, &mut kept).inspect_following(&trace, position, top, 3, also);
    let inspection = following(Some(" banana split")).unwrap();
    let ids: Vec<u32> = inspection.followed.iter().map(|followed| followed.token.id).collect();
    let banana = model.tokenizer.encode(" banana split").unwrap()[0];
    let likeliest = plain.next.top[..3].iter().map(|candidate| candidate.id);
    assert_eq!(ids, std::iter::once(banana).chain(likeliest).collect::<Vec<u32>>());
    for followed in &inspection.followed {
        assert_eq!(followed.at.len(), inspection.stages.len());
        for (stage, standing) in inspection.stages.iter().zip(&followed.at) {
            let named = stage
                .lens
                .top
                .iter()
                .position(|candidate| candidate.id == followed.token.id);
            match named {
                Some(place) => {
                    assert_eq!(standing.rank, place + 1);
                    assert_eq!(standing.probability, stage.lens.top[place].probability);
                }
                None => assert!(standing.rank > top && standing.probability < stage.lens.top[top - 1].probability),
            }
        }
    }
    assert_eq!(inspection.leads(&inspection.followed[1]), inspection.settles());
    assert_eq!(inspection.leads(&inspection.followed[0]), None);
    // A token that is likely anyway is followed once, and nothing else changes.
    let again = following(Some(&plain.next.top[1].text)).unwrap();
    assert_eq!(again.followed.len(), 3);
    assert_eq!(again.followed[0].token, plain.next.top[1]);
    assert_eq!((again.stages, again.next), (plain.stages, plain.next));
    assert!(following(Some("")).is_err());
}

#[test]
fn looking_does_not_change_what_is_kept() {
    let model = common::fast_model();
    let settings = settings(|_| {});
    let mut kept = PrefixCache::default();
    let trace = ran(model, &settings, &mut kept);
    let prompt = trace.header.prompt.len();
    let before = inspector(model, &mut kept).inspect(&trace, prompt + 4, 3).unwrap();
    let bytes = kept.bytes();
    for position in [3, prompt + 1, prompt + 5, prompt + 3] {
        inspector(model, &mut kept).inspect(&trace, position, 3).unwrap();
        inspector(model, &mut kept)
            .flip(&trace, 4, position, Action::Skip, 3, false)
            .unwrap();
    }
    assert_eq!(kept.bytes(), bytes);
    assert_eq!(
        inspector(model, &mut kept).inspect(&trace, prompt + 4, 3).unwrap(),
        before
    );
}

#[test]
fn a_branch_equals_a_run_that_went_that_way_and_keeps_the_prefix() {
    for model in [common::fast_model(), common::exact_model()] {
        for (scope, budget, kv) in [
            (Scope::Prompt, None, KvMode::Ragged),
            (Scope::Token, None, KvMode::Fill),
            (Scope::Token, Some(26), KvMode::Ragged),
        ] {
            let base = settings(|s| {
                (s.scope, s.budget, s.kv) = (scope, budget, kv);
                (s.sampling.temperature, s.sampling.repetition_penalty) = (0.8, 1.1);
            });
            let mut kept = PrefixCache::default();
            let trace = ran(model, &base, &mut kept);
            let (prompt, at) = (trace.header.prompt.len(), 4);
            // From the branch on layer 6 is skipped and layer 9 repeated.
            let pins = |to: &str| {
                [
                    format!("6@{}-{to}=skip", prompt + at),
                    format!("9@{}-{to}=repeat", prompt + at),
                ]
            };
            let pinned = settings(|s| {
                *s = base.clone();
                s.budget = budget.map(|b| b + 2);
                s.pins = pins("99").map(|p| p.parse().unwrap()).into();
            });
            let wider = Settings {
                budget: pinned.budget,
                ..base.clone()
            };
            // A budget holds from the first token on, so the run to be continued has it too.
            let trace = if budget.is_some() {
                ran(model, &wider, &mut kept)
            } else {
                trace
            };
            let scratch = ran(model, &pinned, &mut PrefixCache::default());
            let (branched, blocks) = branch(model, &mut kept, &trace, at, &[trace.steps[at].id], &pinned);
            assert_same(&branched, &scratch, 0);
            let depth: usize = branched.steps[at..].iter().map(|s| s.depth).sum();
            assert_eq!(blocks, depth, "the prefix was not run again");
            assert_eq!(branched.header.branch.unwrap().at, prompt + at);
            // Without what was kept it is the same, for more work.
            let (replayed, more) = branch(
                model,
                &mut PrefixCache::new(0),
                &trace,
                at,
                &[trace.steps[at].id],
                &pinned,
            );
            assert_same(&replayed, &scratch, 0);
            assert!(more > blocks + trace.header.program.depth());
        }
    }
}

/// A run that skips layers, so that the KV mode matters.
fn skipping(kv: KvMode) -> Settings {
    settings(|s| {
        (s.scope, s.kv) = (Scope::Token, kv);
        // Now these, now those, in the prompt too.
        let pins = (0..80).step_by(2).map(|at| format!("5@{at}=skip"));
        let pins = pins.chain((0..80).step_by(3).map(|at| format!("9@{at}=skip")));
        s.pins = pins.map(|pin| pin.parse().unwrap()).collect();
    })
}

#[test]
fn a_branch_keeps_the_kv_mode_and_so_does_what_is_kept() {
    let model = common::fast_model();
    let mut kept = PrefixCache::default();
    let (filled, ragged) = (skipping(KvMode::Fill), skipping(KvMode::Ragged));
    let traces = [ran(model, &filled, &mut kept), ran(model, &ragged, &mut kept)];
    assert_ne!(traces[0].steps[5].logits, traces[1].steps[5].logits);
    // Neither is taken for the other, and each goes on as it ran.
    for (trace, settings) in traces.iter().zip([&filled, &ragged]) {
        let id = trace.steps[7].id;
        let (again, blocks) = branch(model, &mut kept, trace, 7, &[id], settings);
        assert_same(&again, trace, 0);
        assert_eq!(blocks, trace.steps[7..].iter().map(|s| s.depth).sum::<usize>());
        let (replayed, _) = branch(model, &mut PrefixCache::new(0), trace, 7, &[id], settings);
        assert_same(&replayed, trace, 0);
        let skips = trace.steps.iter().rposition(|step| step.depth < 30).unwrap();
        let position = trace.header.prompt.len() + skips;
        let inspection = inspector(model, &mut kept).inspect(trace, position, 5).unwrap();
        assert_eq!(Some(&inspection.logits), trace.steps[skips].logits.as_ref());
        assert!(inspection.stages.iter().any(|stage| !stage.carried_out));
    }
    let before = traces[0].first(traces[0].header.prompt.len() + 7);
    let sequence = inspector(model, &mut kept).sequence(&before, 7).unwrap();
    let refused = Generation::resume(
        model,
        routers(),
        &before,
        sequence,
        vec![traces[0].steps[7].id],
        &ragged,
    );
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("was made with kv fill and a branch keeps it"), "{error}");
}

#[test]
fn a_frozen_flip_changes_one_layer_and_needs_no_routers() {
    let model = common::fast_model();
    for kv in KvMode::ALL {
        let mut kept = PrefixCache::default();
        let mut base = skipping(kv);
        base.dial = -0.4;
        let trace = ran(model, &base, &mut kept);
        let position = trace.header.prompt.len() + 5;
        let flip = inspector(model, &mut kept)
            .flip(&trace, 12, position, Action::Skip, 5, true)
            .unwrap();
        assert!(flip.frozen && flip.note.is_none() && flip.others == 0 && flip.kl > 0.0);
        let mut actions = trace.steps[5].program.to_actions(30).unwrap();
        actions[12] = Action::Skip;
        assert_eq!(flip.program, Program::from_actions(&actions));
        // As if that program had been given from there on.
        let given = Settings {
            program: Some(flip.program.clone()),
            pins: Vec::new(),
            ..base.clone()
        };
        let (branched, _) = branch(model, &mut kept, &trace, 5, &[trace.steps[5].id], &given);
        let said = branched.steps[5].logits.as_ref().unwrap();
        let likeliest = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after)).unwrap();
        assert_eq!(likeliest.id, said.top[0].0);
        assert!((likeliest.after - (said.top[0].1 - said.logsumexp).exp()).abs() < 1e-5);
        // At the prompt all of its tokens do it.
        let prompt = inspector(model, &mut kept)
            .flip(&trace, 12, 3, Action::Skip, 5, true)
            .unwrap();
        assert_eq!(prompt.program.depth(), trace.header.program.depth() - 1);
        // Without the run's routers it is what is shown, whatever was asked.
        let mut alone = inspector(model, &mut kept);
        alone.routers = None;
        let fallen = alone.flip(&trace, 12, position, Action::Skip, 5, false).unwrap();
        assert!(fallen.frozen && fallen.note.as_ref().unwrap().contains("built-in, are not loaded"));
        assert_eq!((fallen.kl, &fallen.program), (flip.kl, &flip.program));
    }
    // A run without routers is settled anew without any.
    let mut kept = PrefixCache::default();
    let base = settings(|s| s.scope = Scope::Token);
    let prompt = Prompt::Text(PROMPT.into());
    let (mut generation, header) = Generation::start(model, None, &prompt, &base, &GO).unwrap();
    let mut trace = Trace::new(header);
    while let Some(step) = generation.step().unwrap() {
        trace.steps.push(step);
    }
    let position = trace.header.prompt.len() + 1;
    let mut flip = |frozen| {
        let flip = inspector(model, &mut kept).flip(&trace, 4, position, Action::Skip, 3, frozen);
        let flip = flip.unwrap();
        (flip.kl, flip.program, flip.others, flip.frozen)
    };
    let (kl, program, others, _) = flip(true);
    assert_eq!(flip(false), (kl, program, others, false));
}

#[test]
fn another_token_is_forced_and_the_run_it_left_stays() {
    let model = common::fast_model();
    let base = settings(|_| {});
    let mut kept = PrefixCache::default();
    let trace = ran(model, &base, &mut kept);
    let other = model.tokenizer.encode(" Purple and").unwrap();
    let (branched, _) = branch(model, &mut kept, &trace, 3, &other, &base);
    assert_eq!(
        branched.steps[3..3 + other.len()]
            .iter()
            .map(|s| s.id)
            .collect::<Vec<_>>(),
        other
    );
    assert_eq!(branched.header.branch.unwrap().forced, other.len());
    assert_ne!(branched.text(), trace.text());
    // The same prompt with the forced beginning as plain tokens: an equal sequence, differently cut.
    let mut twice = branched.clone();
    (twice, _) = branch(model, &mut kept, &twice, 9, &[twice.steps[9].id], &base);
    assert_same(&branched, &twice, 0);
    // The first run goes on as it did.
    let (again, blocks) = branch(model, &mut kept, &trace, 5, &[trace.steps[5].id], &base);
    assert_same(&again, &trace, 0);
    assert_eq!(blocks, trace.steps[5..].iter().map(|s| s.depth).sum::<usize>());
    // JSON lines keep where a branch left.
    let read = Trace::from_json_lines(&branched.to_json_lines()).unwrap();
    assert_eq!(read.header.branch, branched.header.branch);
}

#[test]
fn a_flip_shows_what_the_branch_then_says() {
    let model = common::fast_model();
    for scope in [Scope::Prompt, Scope::Token] {
        let base = settings(|s| s.scope = scope);
        let mut kept = PrefixCache::default();
        let trace = ran(model, &base, &mut kept);
        let position = trace.header.prompt.len() + 2;
        let flip = inspector(model, &mut kept)
            .flip(&trace, 12, position, Action::Repeat, 5, false)
            .unwrap();
        let settings = Settings {
            pins: vec![flip.pin],
            ..base.clone()
        };
        let (branched, _) = branch(model, &mut kept, &trace, 2, &[trace.steps[2].id], &settings);
        assert_eq!(branched.steps[2].program, flip.program);
        let said = branched.steps[2].logits.as_ref().unwrap();
        let likeliest = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after)).unwrap();
        assert_eq!(likeliest.id, said.top[0].0);
        assert!((likeliest.after - (said.top[0].1 - said.logsumexp).exp()).abs() < 1e-5);
        let was = trace.steps[2].logits.as_ref().unwrap();
        let likeliest = flip.shifts.iter().max_by(|a, b| a.before.total_cmp(&b.before)).unwrap();
        assert_eq!(likeliest.id, was.top[0].0);
        assert!(flip.kl > 0.0);
        // At the prompt all of its tokens are flipped together.
        let flip = inspector(model, &mut kept)
            .flip(&trace, 12, 3, Action::Skip, 5, false)
            .unwrap();
        let whole = match scope {
            Scope::Prompt => "12=skip".to_owned(),
            Scope::Token => format!("12@0-{}=skip", trace.header.prompt.len() - 1),
        };
        assert_eq!(flip.pin.to_string(), whole);
        let mut flipped = base.clone();
        flipped.pins = vec![flip.pin];
        let rerun = ran(model, &flipped, &mut PrefixCache::default());
        assert_eq!(rerun.header.program, flip.program);
        let likeliest = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after)).unwrap();
        assert_eq!(likeliest.id, rerun.header.logits.unwrap().top[0].0);
    }
}

#[test]
fn what_was_kept_from_another_run_is_not_flipped() {
    let model = common::fast_model();
    let mut kept = PrefixCache::default();
    let base = settings(|_| {});
    let trace = ran(model, &base, &mut kept);
    let (branched, _) = branch(model, &mut kept, &trace, 4, &[trace.steps[4].id], &base);
    let early = trace.header.prompt.len() + 1;
    let error = inspector(model, &mut kept)
        .flip(&branched, 4, early, Action::Skip, 3, false)
        .unwrap_err();
    assert!(error.to_string().contains("open that run"), "{error}");
    let error = inspector(model, &mut kept).inspect(&trace, 999, 3).unwrap_err();
    assert!(error.to_string().contains("no token at position 999"), "{error}");
    let mut foreign = trace.clone();
    foreign.header.model.sha256 = "other".into();
    let error = inspector(model, &mut kept).inspect(&foreign, 3, 3).unwrap_err();
    assert!(error.to_string().contains("load the former with --model"), "{error}");
}

#[test]
fn runs_are_apart_from_where_they_part() {
    let model = common::fast_model();
    let mut kept = PrefixCache::default();
    let base = settings(|_| {});
    let a = ran(model, &base, &mut kept);
    let pinned = settings(|s| s.pins = vec!["6=skip".parse().unwrap()]);
    let (b, _) = branch(model, &mut kept, &a, 4, &[a.steps[4].id], &pinned);
    let traces = [a.clone(), b];
    let divergence = inspector(model, &mut kept).divergence(&traces).unwrap();
    assert_eq!(divergence.by_token.len(), 10);
    // The branch's first token is drawn from what both share; the next one is not.
    assert_eq!(divergence.by_token[..5], [0.0; 5]);
    assert!(divergence.by_token[5..].iter().all(|d| *d > 0.0), "{divergence:?}");
    let from_traces = inspector(model, &mut PrefixCache::new(0)).divergence(&traces).unwrap();
    assert_eq!(from_traces, divergence);
    // Other programs at the prompt: apart from the first token on.
    let c = ran(model, &pinned, &mut kept);
    let divergence = inspector(model, &mut kept).divergence(&[a.clone(), c.clone()]).unwrap();
    assert!(divergence.by_token[0] > 0.0);
    // By hand, from the run's own logits: both report the five likeliest only, so it is a bound.
    let same = inspector(model, &mut kept).divergence(&[a.clone(), a.clone()]).unwrap();
    assert_eq!((same.mean(), same.by_token.len()), (0.0, 10));
}

#[test]
fn a_stopped_question_ends_and_keeps_nothing_damaged() {
    let model = common::fast_model();
    let mut kept = PrefixCache::default();
    let trace = ran(model, &settings(|_| {}), &mut kept);
    let stop = AtomicBool::new(true);
    let mut stopped = Inspector {
        stop: &stop,
        ..inspector(model, &mut kept)
    };
    let position = trace.header.prompt.len() + 4;
    assert!(stopped.inspect(&trace, position, 3).unwrap_err().is::<Stopped>());
    assert!(
        stopped
            .flip(&trace, 3, position, Action::Skip, 3, false)
            .unwrap_err()
            .is::<Stopped>()
    );
    stop.store(false, Ordering::Relaxed);
    assert!(stopped.inspect(&trace, position, 3).is_ok());
}

#[test]
fn the_least_used_is_forgotten_first() {
    let model = common::fast_model();
    let one = {
        let mut kept = PrefixCache::default();
        ran(model, &settings(|_| {}), &mut kept);
        kept.bytes()
    };
    let mut kept = PrefixCache::new(2 * one + one / 2);
    let pinned = |pin: &str| settings(|s| s.pins = vec![pin.parse().unwrap()]);
    let a = ran(model, &settings(|_| {}), &mut kept);
    ran(model, &pinned("3=skip"), &mut kept);
    // Used again, so the other one goes.
    inspector(model, &mut kept).inspect(&a, 5, 3).unwrap();
    ran(model, &pinned("4=skip"), &mut kept);
    assert!(kept.bytes() <= 2 * one + one / 2);
    let (_, blocks) = branch(model, &mut kept, &a, 9, &[a.steps[9].id], &settings(|_| {}));
    assert_eq!(blocks, a.steps[9].depth);
    let mut none = PrefixCache::new(one / 2);
    ran(model, &settings(|_| {}), &mut none);
    assert_eq!(none.bytes(), 0);
}

#[test]
fn a_plain_run_and_one_step_by_step_are_one() {
    let model = common::fast_model();
    let settings = settings(|s| {
        s.sampling = Sampling {
            temperature: 0.7,
            ..Sampling::default()
        }
    });
    let stepped = ran(model, &settings, &mut PrefixCache::default());
    let mut steps = Vec::new();
    let summary = generate(
        model,
        routers(),
        &Prompt::Text(PROMPT.into()),
        &settings,
        &GO,
        &mut |output| {
            if let drllm::engine::Output::Step(step) = output {
                steps.push(*step);
            }
        },
    );
    assert_eq!(summary.unwrap().tokens, steps.len());
    let plain = Trace {
        steps,
        ..stepped.clone()
    };
    assert_same(&plain, &stepped, 0);
}

#[test]
fn the_worker_answers_while_it_runs_and_branches_afterwards() {
    let (worker, mut events) = Worker::spawn(drllm::search::watch::watch, drllm::search::loop_map::watch::watch);
    let mut next = move || events.blocking_recv().expect("the worker lives");
    worker.send(Command::Load(LoadRequest::default()));
    while !matches!(next(), WorkerEvent::Loaded { .. }) {}
    let settings = settings(|s| (s.max_tokens, s.logits) = (400, 0));
    worker.send(Command::Generate {
        run: 1,
        prompt: Prompt::Text(PROMPT.into()),
        settings: Box::new(settings.clone()),
    });
    let header = loop {
        match next() {
            WorkerEvent::Reading { run: 1, .. } => {}
            WorkerEvent::Started { run: 1, header } => break header,
            other => panic!("the run starts, not {other:?}"),
        }
    };
    let mut trace = Trace::new(*header);
    while trace.steps.len() < 3 {
        if let WorkerEvent::Stepped { run: 1, step } = next() {
            trace.steps.push(*step);
        }
    }
    let inspect = |trace: &Trace, position| InspectionRequest::Inspect {
        trace: Box::new(trace.clone()),
        position,
        top: 3,
        follow: 0,
        also: None,
    };
    let position = trace.header.prompt.len() + 2;
    let question = inspect(&trace, position);
    worker.send(Command::Ask { ask: 7, question });
    let mut after = 0;
    let inspection = loop {
        match next() {
            WorkerEvent::Stepped { .. } => after += 1,
            WorkerEvent::Answered {
                ask: 7,
                answer: InspectionResult::Inspected(inspection),
            } => break inspection,
            other => panic!("the run went on to its end before the answer: {other:?}"),
        }
    };
    assert_eq!((inspection.position, inspection.stages.len() > 30), (position, true));
    assert!(after < 390, "{after}");
    worker.send(Command::Stop);
    let summary = loop {
        if let WorkerEvent::Finished { run: 1, summary } = next() {
            break summary;
        }
    };
    assert_eq!(summary.stop, StopReason::Stopped);
    // Another token after the first two, then on to the end.
    worker.send(Command::Branch {
        run: 2,
        kept: Box::new(trace.first(position)),
        forced: Prompt::Text(" Purple".into()),
        settings: Box::new(Settings {
            max_tokens: 6,
            ..settings.clone()
        }),
    });
    let mut steps = Vec::new();
    loop {
        match next() {
            WorkerEvent::Started { run: 2, header } => assert_eq!(header.branch.unwrap().at, position),
            WorkerEvent::Stepped { run: 2, step } => steps.push(*step),
            WorkerEvent::Finished { run: 2, summary } => {
                assert_eq!(summary.tokens, 6);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(steps[..2], trace.steps[..2]);
    assert_eq!(steps[2].text, " Purple");
    // What cannot be is said, and the worker lives on.
    worker.send(Command::Branch {
        run: 3,
        kept: Box::new(trace.first(position)),
        forced: Prompt::Text(String::new()),
        settings: Box::new(settings),
    });
    assert!(matches!(next(), WorkerEvent::Failed { run: 3, message } if message.contains("begins with a token")));
    worker.send(Command::Ask {
        ask: 8,
        question: inspect(&trace, 9999),
    });
    assert!(
        matches!(next(), WorkerEvent::Answered { ask: 8, answer: InspectionResult::Refused(m) } if m.contains("no token"))
    );
}

#[test]
fn neighbouring_tokens_are_looked_into_as_each_by_itself() {
    let model = common::fast_model();
    for change in [
        |s: &mut Settings| (s.scope, s.dial) = (Scope::Token, -0.55),
        |s: &mut Settings| s.pins = ["3=skip", "7@2-4=skip", "9=repeat"].map(|p| p.parse().unwrap()).into(),
    ] {
        let settings = settings(change);
        let mut kept = PrefixCache::default();
        let trace = ran(model, &settings, &mut kept);
        let prompt = trace.header.prompt.len();
        let together = inspector(model, &mut kept)
            .inspect_range(&trace, prompt - 2..prompt + 3, 3)
            .unwrap();
        assert_eq!(together.len(), 5);
        for inspection in &together {
            let alone = inspector(model, &mut kept)
                .inspect(&trace, inspection.position, 3)
                .unwrap();
            assert_eq!(inspection, &alone);
            let repeated = inspection.stages.iter().filter(|s| s.block.is_some_and(|(_, n)| n > 0));
            for stage in repeated {
                let since = stage.since.expect("there is an execution before");
                let turn = stage.moved.unwrap().turn;
                assert!((since.cosine - (1.0 - turn)).abs() < 1e-6 && since.kl >= 0.0);
            }
            let from = inspection.settles().expect("the last stage says what the run says");
            let says = |at: usize| inspection.stages[at].lens.top[0].id;
            let carried = (from..inspection.stages.len()).filter(|&at| inspection.stages[at].carried_out);
            assert!(carried.map(says).all(|id| id == inspection.next.top[0].id));
        }
        assert!(inspector(model, &mut kept).inspect_range(&trace, 5..5, 3).is_err());
        assert!(inspector(model, &mut kept).inspect_range(&trace, 5..900, 3).is_err());
    }
}

#[test]
fn the_next_token_of_a_run_is_seen_both_ways_before_it_goes_on() {
    let model = common::fast_model();
    for change in [
        |s: &mut Settings| s.scope = Scope::Token,
        |s: &mut Settings| s.sampling.temperature = 1.0,
        |s: &mut Settings| (s.scope, s.budget) = (Scope::Token, Some(27)),
    ] {
        let settings = settings(change);
        let mut kept = PrefixCache::default();
        let trace = ran(model, &settings, &mut kept);
        for at in [0, 1, 6] {
            let before = trace.first(trace.header.prompt.len() + at);
            let layer = 12;
            let tried = inspector(model, &mut kept)
                .intervene(&before, layer, Action::Skip, 5)
                .unwrap();
            let next = &trace.steps[at];
            assert_eq!((tried.token.id, tried.position), (next.id, next.position));
            assert_eq!(tried.program, next.program);
            assert_eq!(tried.flip.from, next.decisions[layer].action);
            // Going on with it is the branch that it promised.
            let mut pinned = settings.clone();
            pinned.pins.push(tried.flip.pin);
            let (went_on, _) = branch(model, &mut kept, &trace, at, &[next.id], &pinned);
            assert_eq!(went_on.steps[at].program, tried.flip.program);
            let said = went_on.steps[at].logits.as_ref().unwrap();
            let p = (said.top[0].1 - said.logsumexp).exp();
            let likeliest = tried.flip.shifts.iter().find(|s| s.id == said.top[0].0).unwrap();
            assert!((likeliest.after - p).abs() < 1e-5);
        }
        let whole = inspector(model, &mut kept).intervene(&trace, 3, Action::Skip, 5);
        assert!(whole.unwrap_err().to_string().contains("max tokens"));
        let outside = inspector(model, &mut kept).intervene(&trace.first(0), 99, Action::Skip, 5);
        assert!(outside.unwrap_err().to_string().contains("layers 0-29"));
    }
}
