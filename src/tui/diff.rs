//! Two runs of the screen held against each other, see [`crate::trace::diff`].

use super::describe::quoted;
use super::dial;
use super::next_run;
use super::overrides::plural;
use super::run::{Run, RunProgress};
use super::settings::rounded;
use crate::program::Program;
pub use crate::trace::diff::{Comparison, LayerChange, Side, Totals};
use crate::trace::{Header, StopReason};

/// Of a run all that was computed, however far it is played.
impl<'a> From<&'a Run> for Side<'a> {
    fn from(run: &'a Run) -> Side<'a> {
        Side {
            header: &run.trace.header,
            steps: &run.trace.steps,
            ended: !run.is_running(),
            tokens_per_second: run.tokens_per_second(),
        }
    }
}

/// What two runs were asked otherwise, the first one's first: `scope token → prompt`.
pub fn asked_otherwise(before: &Run, after: &Run) -> Vec<String> {
    let headers = [before, after].map(|run| &run.trace.header);
    let settings = headers.map(|header| &header.settings);
    let mut out = Vec::new();
    let mut compare = |name: &str, values: [String; 2]| {
        if values[0] != values[1] {
            out.push(format!("{name} {} → {}", values[0], values[1]));
        }
    };
    let of = |value: fn(&Header) -> String| headers.map(value);
    // Traces of other versions may call the same file's weights otherwise.
    if headers[0].model.sha256 != headers[1].model.sha256 {
        compare("model", of(|h| format!("{} {}", h.model.name, h.model.quantisation)));
    }
    compare(
        "iterations",
        of(|h| {
            h.model
                .looped
                .map_or("none".to_owned(), |looped| looped.iterations.to_string())
        }),
    );
    compare("device", of(|h| h.device.clone()));
    compare(
        "program",
        of(|h| match &h.settings.program {
            None if h.routers.is_some() => format!("by routers {}", next_run::name(h.routers.as_ref())),
            // Without routers every layer runs.
            None => "every layer".to_owned(),
            Some(program) if *program == Program::standard(h.model.layers) => "every layer".to_owned(),
            Some(_) => "fixed".to_owned(),
        }),
    );
    // A fixed program takes the place of all these.
    if settings.iter().all(|s| s.program.is_none()) {
        if headers[0].routers != headers[1].routers
            && next_run::name(headers[0].routers.as_ref()) == next_run::name(headers[1].routers.as_ref())
        {
            compare(
                "routers' sha256",
                of(|h| {
                    h.routers
                        .as_ref()
                        .map_or(String::new(), |r| r.sha256.chars().take(8).collect())
                }),
            );
        }
        compare("scope", of(|h| h.settings.scope.to_string()));
        // With what was measured of it, but for a dial that is the same and measured for one of the two alone.
        let same_dial = settings[0].dial == settings[1].dial;
        let measured = headers.map(|h| dial::calibration(&h.settings, h.routers.as_ref()));
        let of_dial = |at: usize| {
            let dial = rounded(settings[at].dial);
            match measured[at] {
                Some(table) if !(same_dial && measured.contains(&None)) => {
                    format!("{dial} ({})", dial::words(table, settings[at].dial))
                }
                _ => dial,
            }
        };
        compare("dial", [of_dial(0), of_dial(1)]);
    }
    compare("kv", of(|h| h.settings.kv.to_string()));
    compare(
        "budget",
        of(|h| h.settings.budget.map_or("none".to_owned(), |b| b.to_string())),
    );
    compare(
        "pins",
        of(|h| match h.settings.pins.len() {
            0 => "none".to_owned(),
            _ => h
                .settings
                .pins
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        }),
    );
    compare(
        "excluded experts",
        of(|h| match h.settings.excluded_experts.as_slice() {
            [] => "none".to_owned(),
            experts => experts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        }),
    );
    compare("seed", of(|h| h.settings.sampling.seed.to_string()));
    compare("temperature", of(|h| h.settings.sampling.temperature.to_string()));
    compare("max tokens", of(|h| h.settings.max_tokens.to_string()));
    out
}

/// The first token of the answers, from 0, that differs; where both have ended, one may just be longer. How far they are
/// played is of no account.
pub fn first_difference(before: &Run, after: &Run) -> Option<usize> {
    let (a, b) = (&before.trace.steps, &after.trace.steps);
    let same = a.iter().zip(b).take_while(|(a, b)| a.id == b.id).count();
    let ended = |run: &Run| !run.is_running();
    let least = a.len().min(b.len());
    (same < least || (a.len() != b.len() && ended(before) && ended(after))).then_some(same)
}

/// What a rerun of the same prompt changed, then what was asked otherwise; `None` where there is nothing to compare.
pub fn in_a_line(before: &Run, after: &Run) -> Option<String> {
    let ids = |run: &Run| run.trace.header.prompt.iter().map(|token| token.id).collect::<Vec<_>>();
    if ids(before) != ids(after) {
        return None;
    }
    // Tokens that were put there instead of drawn, and where.
    let forced = |run: &Run| {
        let branch = run.trace.header.branch.as_ref().filter(|branch| branch.forced > 0);
        branch.map(|branch| (branch.at, branch.forced))
    };
    let asked = asked_otherwise(before, after);
    let asked = match asked.len() {
        0 if forced(before) != forced(after) => "the same settings, but for the token that was put in".to_owned(),
        0 => "the same settings".to_owned(),
        1..=3 => asked.join(", "),
        n => format!("{}, and {} more", asked[..2].join(", "), n - 2),
    };
    let text = parting(before, after);
    Some(match depths(before, after) {
        Some(depths) => format!("{text}; {depths} ({asked})"),
        None => format!("{text} ({asked})"),
    })
}

/// Where the second text leaves the first, in words.
fn parting(before: &Run, after: &Run) -> String {
    let Some(at) = first_difference(before, after) else {
        return "the same text".to_owned();
    };
    let same = match at {
        0 => "from the first token on".to_owned(),
        at => format!("same text for {at} token{}, then", plural(at)),
    };
    let said = |run: &Run| run.trace.steps.get(at).map(|step| quoted(&step.text));
    match (said(before), said(after)) {
        (Some(was), Some(is)) => format!("{same} {was} became {is}"),
        (None, Some(is)) => format!("{same} {is}, where the run before {}", end(before)),
        (Some(was), None) => format!("{same} this run {} before {was}", end(after)),
        (None, None) => "no token in either run".to_owned(),
    }
}

/// How a run came to have no more tokens.
pub fn end(run: &Run) -> &'static str {
    match run.trace.summary.as_ref().map(|summary| summary.stop) {
        _ if matches!(run.progress, RunProgress::Failed(_)) => "failed",
        Some(StopReason::EndToken | StopReason::StopString) => "ended",
        Some(StopReason::MaxTokens) => "reached its token limit",
        Some(StopReason::ContextFull) => "filled the context",
        Some(StopReason::Stopped) | None => "was stopped",
    }
}

/// Whether a run came to the end of its answer by itself.
fn has_ended(run: &Run) -> bool {
    let stop = run.trace.summary.as_ref().map(|summary| summary.stop);
    matches!(stop, Some(StopReason::EndToken | StopReason::StopString))
}

/// The mean depths of both answers; of the tokens that both have where one of unequal length was broken off. `None` where
/// there are none.
fn depths(before: &Run, after: &Run) -> Option<String> {
    let counts = [before, after].map(|run| run.trace.steps.len());
    let least = counts[0].min(counts[1]);
    let broken_off = [before, after].into_iter().any(|run| !has_ended(run));
    let parts = counts[0] != counts[1] && broken_off;
    if parts && least == 0 {
        return None;
    }
    let depths = [before, after].map(|run| match parts {
        true => {
            run.trace.steps[..least]
                .iter()
                .map(|step| step.depth as f64)
                .sum::<f64>()
                / least as f64
        }
        false => run.trace.mean_depth(),
    });
    let of = match parts {
        true => format!(" of the first {least} token{}", plural(least)),
        false => String::new(),
    };
    let [was, is] = depths.map(|depth| format!("{depth:.1}"));
    Some(match was == is {
        true => format!("depth{of} {is} as before"),
        false => format!("depth{of} {was} → {is}"),
    })
}

/// Tokens below which a speed is noise.
const LEAST_TOKENS: usize = 50;

/// Whether the runs' speeds can be held against each other: computed here, on one device with one model, long enough.
pub fn speeds_compare(before: &Run, after: &Run) -> bool {
    let [a, b] = [before, after].map(|run| &run.trace.header);
    let measured = |run: &Run| !run.is_recording() && run.trace.steps.len() >= LEAST_TOKENS;
    measured(before) && measured(after) && a.device == b.device && a.model.is_same(&b.model)
}

/// Tokens that both answers have at the same place, before and after the first that differs.
pub fn equal_tokens(before: &Run, after: &Run) -> (usize, usize) {
    let pairs = || {
        before
            .trace
            .steps
            .iter()
            .zip(&after.trace.steps)
            .map(|(a, b)| a.id == b.id)
    };
    let first = pairs().take_while(|equal| *equal).count();
    (first, pairs().skip(first).filter(|equal| *equal).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Action;
    use crate::tui::fixture;
    use crate::tui::run::Origin;

    fn run(edit: impl FnOnce(&mut Run)) -> Run {
        let trace = fixture::trace(7, 12);
        let mut run = Run::started(1, Origin::Live, None, trace.header.clone());
        run.trace = trace;
        run.progress = RunProgress::Finished;
        edit(&mut run);
        run
    }

    #[test]
    fn a_repeat_that_is_damped_otherwise_is_counted() {
        let under = |program: &str| run(|run| run.trace.header.program = Program::parse(program, 30).unwrap());
        let (whole, half) = (under("0-6 7x2 8-29"), under("0-6 7x2~0.5 8-29"));
        assert_eq!(Comparison::damped_otherwise(&whole, &half), 1);
        assert_eq!(Comparison::damped_otherwise(&half, &half), 0);
        assert_eq!(
            Comparison::damped_otherwise(&under("0-29"), &half),
            0,
            "that is another action"
        );
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let comparison = Comparison::new(&run(|_| {}), &run(|_| {}));
        assert_eq!(comparison.diverges, None);
        assert!(comparison.same_prompt);
        assert_eq!(comparison.changed_at_prompt(), 0);
        assert!(comparison.layers.iter().all(|l| l.share == 0.0));
        assert_eq!(comparison.before, comparison.after);
    }

    #[test]
    fn texts_part_at_the_first_other_token_or_at_an_end() {
        let other = run(|r| r.trace.steps[4].id += 1);
        assert_eq!(Comparison::new(&run(|_| {}), &other).diverges, Some(4));
        let shorter = run(|r| r.trace.steps.truncate(9));
        assert_eq!(Comparison::new(&run(|_| {}), &shorter).diverges, Some(9));
        let running = run(|r| {
            r.trace.steps.truncate(9);
            r.progress = RunProgress::Running;
        });
        assert_eq!(Comparison::new(&run(|_| {}), &running).diverges, None);
    }

    #[test]
    fn changed_decisions_are_counted_by_layer() {
        let was = run(|_| {}).trace.header.decisions[3].action;
        let to = if was == Action::Skip {
            Action::Execute
        } else {
            Action::Skip
        };
        let other = run(|r| {
            r.trace.header.decisions[3].action = to;
            for (i, step) in r.trace.steps.iter_mut().enumerate() {
                let action = &mut step.decisions[5].action;
                if i % 2 == 0 {
                    *action = if *action == Action::Repeat {
                        Action::Skip
                    } else {
                        Action::Repeat
                    };
                }
            }
        });
        let comparison = Comparison::new(&run(|_| {}), &other);
        assert_eq!(comparison.changed_at_prompt(), 1);
        assert_eq!((comparison.layers[3].before, comparison.layers[3].after), (was, to));
        assert_eq!(comparison.layers[5].share, 0.5);
    }

    #[test]
    fn how_the_shorter_run_came_to_have_no_more_is_said() {
        let whole = run(|_| {});
        let short = |stop| {
            run(|r| {
                r.trace.steps.truncate(5);
                r.trace.summary.as_mut().unwrap().stop = stop;
            })
        };
        let is = quoted(&whole.trace.steps[5].text);
        for (stop, end) in [
            (StopReason::Stopped, "was stopped"),
            (StopReason::MaxTokens, "reached its token limit"),
            (StopReason::ContextFull, "filled the context"),
            (StopReason::StopString, "ended"),
        ] {
            let line = in_a_line(&short(stop), &whole).unwrap();
            let begins = format!("same text for 5 tokens, then {is}, where the run before {end}; depth");
            assert!(line.starts_with(&begins), "{line}");
            let line = in_a_line(&whole, &short(stop)).unwrap();
            let begins = format!("same text for 5 tokens, then this run {end} before {is}; depth");
            assert!(line.starts_with(&begins), "{line}");
        }
        // What was broken off is held against as many tokens.
        let mut deep = run(|_| {});
        deep.trace.steps[5..].iter_mut().for_each(|step| step.depth = 60);
        let line = in_a_line(&short(StopReason::Stopped), &deep).unwrap();
        assert!(
            line.contains("; depth of the first 5 tokens ") && line.contains(" as before ("),
            "{line}"
        );
        let none = run(|r| {
            r.trace.steps.clear();
            r.trace.summary.as_mut().unwrap().stop = StopReason::Stopped;
        });
        assert!(!in_a_line(&none, &whole).unwrap().contains("depth"));
        let mut failed = short(StopReason::Stopped);
        failed.progress = RunProgress::Failed("no memory".into());
        assert!(
            in_a_line(&failed, &whole)
                .unwrap()
                .contains("where the run before failed")
        );
    }

    #[test]
    fn what_was_asked_otherwise_is_named() {
        let depth = |edit: fn(&mut Run)| {
            let mut run = Run::recording("a".into(), None, fixture::depth_trace(60), None);
            run.origin = Origin::Live;
            edit(&mut run);
            run
        };
        let same = depth(|_| {});
        assert!(asked_otherwise(&same, &depth(|_| {})).is_empty());
        let turned = depth(|r| r.trace.header.settings.dial = -0.4);
        let said = asked_otherwise(&same, &turned);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("dial -0.5 (expected 26.1 layers,") && said[0].contains("→ -0.4 (expected 27.2"));
        let whole = depth(|r| r.trace.header.settings.program = Some(Program::standard(30)));
        assert_eq!(
            asked_otherwise(&whole, &same),
            ["program every layer → by routers depth"]
        );
        let pinned = depth(|r| r.trace.header.settings.pins = vec!["7=skip".parse().unwrap()]);
        assert_eq!(asked_otherwise(&same, &pinned), ["pins none → 7=skip"]);

        assert!(speeds_compare(&same, &turned));
        let short = depth(|r| r.trace.steps.truncate(49));
        let recorded = depth(|r| r.origin = Origin::Recording("a".into()));
        let elsewhere = depth(|r| r.trace.header.device = "cuda:0".into());
        for other in [short, recorded, elsewhere] {
            assert!(!speeds_compare(&same, &other) && !speeds_compare(&other, &same));
        }
        assert_eq!(first_difference(&same, &same), None);
        let line = in_a_line(&same, &pinned).unwrap();
        assert!(
            line.starts_with("the same text; depth 2") && line.ends_with(" as before (pins none → 7=skip)"),
            "{line}"
        );
        let other = depth(|r| {
            r.trace.steps[3].id += 1;
            r.trace.steps[3].text = "\u{1b}[31m".into();
        });
        assert_eq!(first_difference(&same, &other), Some(3));
        let line = in_a_line(&same, &other).unwrap();
        assert!(
            line.starts_with("same text for 3 tokens, then \"") && line.ends_with("(the same settings)"),
            "{line}"
        );
        assert!(line.contains("became \"␛[31m\""), "{line}");
        let asked = depth(|r| r.trace.header.prompt[0].id += 1);
        assert_eq!(in_a_line(&same, &asked), None);
        let without = depth(|r| r.trace.header.routers = None);
        assert!(asked_otherwise(&whole, &without).is_empty(), "every layer runs in both");
        assert_eq!(
            asked_otherwise(&without, &same),
            ["program every layer → by routers depth"]
        );
        let parted = depth(|r| r.trace.steps[17].id += 1);
        assert_eq!(equal_tokens(&same, &parted), (17, 42));
    }
}
