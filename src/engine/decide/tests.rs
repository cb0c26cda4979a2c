use std::sync::atomic::AtomicBool;

use super::*;
use crate::eval::testing::{HIDDEN, LAYERS, tiny_decoder, tiny_routers};
use crate::router::{MlpRouter, RouterSet};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Routers of two classes that hear the state a little: the log-odds of execute are near those given. The first
/// and the last layer always run.
fn depth_routers(log_odds: [f32; LAYERS]) -> RouterSet {
    let mut routers = tiny_routers();
    for (layer, (router, odds)) in routers.layers.iter_mut().zip(log_odds).enumerate() {
        let always = layer == 0 || layer == LAYERS - 1;
        *router = MlpRouter {
            w1: vec![0.01; 2 * HIDDEN],
            b1: vec![0.0; 2],
            w2: vec![0.0, 0.0, 0.01, 0.01, 0.0, 0.0],
            b2: if always {
                vec![-1e9, 0.0, -1e9]
            } else {
                vec![0.0, odds, -1e9]
            },
        };
        if always {
            router.w2.fill(0.0);
        }
    }
    routers.info.prompt = Some(PromptRouting::Full);
    routers
}

fn settings(change: impl Fn(&mut Settings)) -> Settings {
    let mut settings = Settings {
        scope: Scope::Token,
        ..Settings::default()
    };
    change(&mut settings);
    settings
}

const PROMPT: [u32; 4] = [3, 1, 4, 1];

#[test]
fn a_whole_prompt_runs_every_layer_and_asks_nobody() {
    let (decoder, routers) = (tiny_decoder(), depth_routers([0.0, -1.0, -1.0, 0.0]));
    let settings = settings(|s| {
        s.budget = Some(2);
        s.pins = vec!["1@0-2=skip".parse().unwrap(), "2=repeat".parse().unwrap()];
    });
    let unpinned = Settings {
        pins: Vec::new(),
        ..settings.clone()
    };
    let mut policy = DecisionPolicy::new(&unpinned, Some(&routers), LAYERS).unwrap();
    let mut sequence = Sequence::new(&decoder, &GO_ON);
    let prompt = policy.prompt(&mut sequence, &PROMPT).unwrap();
    assert_eq!(prompt.program, Program::standard(LAYERS), "whatever the budget");
    let by_program = |d: &Decision| d.by == DecidedBy::Program && d.probs.is_none() && d.shadow.is_none();
    assert!(prompt.decisions.iter().all(by_program));
    let mut plain = Sequence::new(&decoder, &GO_ON);
    let expected = plain.run_program(&PROMPT, &prompt.program).unwrap();
    assert_eq!(
        prompt.logits.to_vec1::<f32>().unwrap(),
        expected.to_vec1::<f32>().unwrap()
    );
    // From there on routers decide, and the budget holds.
    for id in 5..9 {
        let token = policy.token(&mut sequence, id).unwrap();
        assert!(token.program.depth() <= 2 && token.decisions.iter().all(|d| d.probs.is_some()));
        assert!(token.decisions.iter().all(|d| d.by != DecidedBy::Program));
    }
    // Pins hold in the prompt too.
    let settings = Settings {
        budget: None,
        ..settings
    };
    let mut policy = DecisionPolicy::new(&settings, Some(&routers), LAYERS).unwrap();
    let prompt = policy.prompt(&mut Sequence::new(&decoder, &GO_ON), &PROMPT).unwrap();
    assert_eq!(prompt.decisions[2].by, DecidedBy::Pin);
    assert_eq!(prompt.program, Program::from_layers([0, 1, 2, 2, 3]));
    // In scope prompt the same routers decide there, as any do.
    let asked = Settings {
        scope: Scope::Prompt,
        pins: Vec::new(),
        ..settings
    };
    let mut policy = DecisionPolicy::new(&asked, Some(&routers), LAYERS).unwrap();
    let prompt = policy.prompt(&mut Sequence::new(&decoder, &GO_ON), &PROMPT).unwrap();
    assert_eq!(prompt.program, Program::from_layers([0, 3]));
}

#[test]
fn from_the_first_token_on_a_budget_leaves_out_the_least_log_odds() {
    let decoder = tiny_decoder();
    for (log_odds, kept) in [([0.0, 3.0, 0.5, 0.0], [0, 1, 3]), ([0.0, 0.5, 3.0, 0.0], [0, 2, 3])] {
        let routers = depth_routers(log_odds);
        let settings = settings(|s| s.budget = Some(3));
        let mut policy = DecisionPolicy::new(&settings, Some(&routers), LAYERS).unwrap();
        let mut sequence = Sequence::new(&decoder, &GO_ON);
        policy.prompt(&mut sequence, &PROMPT).unwrap();
        for id in 5..9 {
            let token = policy.token(&mut sequence, id).unwrap();
            assert_eq!(token.program, Program::from_layers(kept), "token {id}");
        }
    }
}

#[test]
fn a_branch_of_several_rows_keeps_to_the_budget_under_fill() {
    let (decoder, routers) = (tiny_decoder(), depth_routers([0.0, 0.2, 0.3, 0.0]));
    let settings = settings(|s| s.budget = Some(3));
    let mut policy = DecisionPolicy::new(&settings, Some(&routers), LAYERS).unwrap();
    let mut sequence = Sequence::new(&decoder, &GO_ON).with_kv(crate::trace::KvMode::Fill);
    policy.prompt(&mut sequence, &PROMPT).unwrap();
    let (_, actions) = policy.branches(&mut sequence, &[&[5, 6, 7], &[8]]).unwrap();
    assert_eq!(actions.len(), 4);
    for actions in actions {
        assert!(Program::from_actions(&actions).depth() <= 3, "{actions:?}");
    }
}

/// A router of a few lines: it leaves every layer from `from` on out, where the state that enters it is large. Early exit
/// is no other kind of decision than any.
struct ExitRouter {
    from: usize,
    info: RouterInfo,
}

impl Router for ExitRouter {
    fn info(&self) -> &RouterInfo {
        &self.info
    }

    fn probabilities(&self, layer: usize, hidden: &Tensor, _fast: bool) -> Result<[f32; 3]> {
        let exits = layer >= self.from && hidden.sqr()?.sum_all()?.to_scalar::<f32>()? > 0.0;
        Ok(if exits { [0.9, 0.1, 0.0] } else { [0.1, 0.9, 0.0] })
    }
}

#[test]
fn another_kind_of_router_is_one_implementation() {
    let decoder = tiny_decoder();
    let exit = ExitRouter {
        from: LAYERS - 2,
        info: RouterInfo {
            name: "exit".into(),
            ..RouterInfo::default()
        },
    };
    let run = |settings: &Settings| {
        let mut sequence = Sequence::new(&decoder, &GO_ON);
        let mut policy = DecisionPolicy::new(settings, Some(&exit), LAYERS).unwrap();
        policy.prompt(&mut sequence, &[1, 2, 3]).unwrap();
        policy.token(&mut sequence, 4).unwrap()
    };
    for scope in Scope::ALL {
        let settings = Settings {
            scope,
            ..Settings::default()
        };
        let chunk = run(&settings);
        assert_eq!(chunk.program, Program::from_layers(0..LAYERS - 2));
        assert!(chunk.decisions.iter().all(|d| d.by == DecidedBy::Router));
        assert_eq!(chunk.decisions[LAYERS - 1].probs, Some([0.9, 0.1, 0.0]));
        // Pins, the dial and a budget hold as for any other.
        let pinned = run(&Settings {
            pins: vec![format!("{}=execute", LAYERS - 1).parse().unwrap()],
            ..settings.clone()
        });
        assert_eq!(pinned.program.layers().last(), Some(&(LAYERS - 1)));
        assert_eq!(pinned.decisions[LAYERS - 1].by, DecidedBy::Pin);
        let capped = run(&Settings {
            budget: Some(1),
            ..settings.clone()
        });
        assert_eq!(capped.program.depth(), 1);
        let dialled = run(&Settings { dial: 0.5, ..settings });
        assert!(dialled.program.depth() > chunk.program.depth());
    }
}

/// A damped repeat that is pinned is the program that has it: at the prompt, at its tokens, in branches.
#[test]
fn a_pinned_damped_repeat_is_its_program() {
    let decoder = tiny_decoder();
    let program = Program::parse("0 1x2~0.5 2-3", LAYERS).unwrap();
    let pinned = settings(|s| s.pins = vec!["1=repeat~0.5".parse().unwrap()]);
    let given = settings(|s| s.program = Some(program.clone()));
    let run = |settings: &Settings| {
        let mut policy = DecisionPolicy::new(settings, None, LAYERS).unwrap();
        let mut sequence = Sequence::new(&decoder, &GO_ON);
        let mut chunks = vec![policy.prompt(&mut sequence, &PROMPT).unwrap()];
        chunks.extend([5, 6].map(|id| policy.token(&mut sequence, id).unwrap()));
        (chunks, sequence)
    };
    let floats = |chunk: &RoutedChunk| chunk.logits.to_vec1::<f32>().unwrap();
    let ((pins, mut sequence), (programs, _)) = (run(&pinned), run(&given));
    let whole = run(&settings(|s| s.pins = vec!["1=repeat".parse().unwrap()])).0;
    for ((by_pin, by_program), whole) in pins.iter().zip(&programs).zip(&whole) {
        assert_eq!(by_pin.program, program);
        assert_eq!(by_pin.decisions[1].by, DecidedBy::Pin);
        for (a, b) in floats(by_pin).iter().zip(floats(by_program)) {
            assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        }
        assert_ne!(floats(by_pin), floats(whole));
    }
    // A branch whose second token alone has the pin.
    let from = sequence.len();
    let one = settings(|s| s.pins = vec![format!("1@{}=repeat~0.5", from + 1).parse().unwrap()]);
    let policy = DecisionPolicy::new(&one, None, LAYERS).unwrap();
    let (logits, actions) = policy.branches(&mut sequence, &[&[7, 8]]).unwrap();
    assert_eq!(actions[0][1], Action::Execute);
    let expected = {
        sequence.run_program(&[7], &Program::standard(LAYERS)).unwrap();
        sequence.run_program(&[8], &program).unwrap().to_vec1::<f32>().unwrap()
    };
    for (a, b) in logits.to_vec2::<f32>().unwrap()[1].iter().zip(expected) {
        assert!((a - b).abs() < 1e-4, "{a} is not {b}");
    }
}

#[test]
fn a_damped_repeat_of_a_part_of_the_prompt_is_refused() {
    let decoder = tiny_decoder();
    let settings = settings(|s| s.pins = vec!["1@0-2=repeat~0.5".parse().unwrap()]);
    let mut policy = DecisionPolicy::new(&settings, None, LAYERS).unwrap();
    let refused = policy
        .prompt(&mut Sequence::new(&decoder, &GO_ON), &PROMPT)
        .err()
        .unwrap();
    assert_eq!(
        refused.to_string(),
        "layer 1 is pinned to damped repeats at some tokens of the prompt: pin it for the whole prompt (positions 0 to 3), \
         or from the answer on (from 4)"
    );
}
