//! The dial where it was measured what each of its positions comes to (spec §8): steps of half a layer, what is expected,
//! a slider.

use super::run::Run;
use crate::trace::{Calibration, CalibrationPoint, RouterInfo, Scope, Settings, StopReason};

/// A step of the dial, in layers of the mean depth.
const STEP: f64 = 0.5;

/// From here on the mean depth with the token that ended an answer is told apart from that without it.
const END_MATTERS: f64 = 0.15;

/// Depths nearer than this are the same.
const SAME: f64 = 1e-6;

/// The table that holds for a run: that of its routers where they decide at every token and nothing takes their place.
pub fn calibration<'r>(settings: &Settings, routers: Option<&'r RouterInfo>) -> Option<&'r Calibration> {
    let measured = settings.scope == Scope::Token && settings.program.is_none();
    routers?.calibration.as_ref().filter(|_| measured)
}

/// The dial one step up or down the table: to the next half layer of expected depth, or to the table's end.
///
/// # Errors
/// At the end of the table; what to do there.
pub fn step(calibration: &Calibration, dial: f64, up: bool) -> Result<f64, String> {
    let ((least, most), (first, last)) = match (calibration.depths(), calibration.dials()) {
        (Some(depths), Some(dials)) => (depths, dials),
        _ => return Err("the calibration table of these routers is empty: D types the dial".to_owned()),
    };
    // From outside of the table its end comes first.
    if dial < first || dial > last {
        return match (up, dial < first) {
            (true, true) => Ok(first),
            (false, false) => Ok(last),
            _ => Err(at_end(least, most)),
        };
    }
    let here = calibration.expected(dial).map_or(least, |point| point.depth);
    let halves = here / STEP;
    let next = match up {
        true => ((halves + SAME).floor() + 1.0) * STEP,
        false => ((halves - SAME).ceil() - 1.0) * STEP,
    };
    let next = next.clamp(least, most);
    if (next - here).abs() < SAME {
        return Err(at_end(least, most));
    }
    // To the ends themselves: where several positions have one depth the outermost is meant.
    match next {
        d if d >= most - SAME => Ok(last),
        d => calibration.dial_for(d),
    }
}

fn at_end(least: f64, most: f64) -> String {
    format!("nothing was measured beyond this: these routers go from {least:.1} to {most:.1} layers; D types any dial")
}

/// Whether nothing but the routers decides, as when the table was made.
pub fn is_alone(settings: &Settings) -> bool {
    settings.budget.is_none() && settings.pins.is_empty() && settings.excluded_experts.is_empty()
}

/// What is expected of a position of the dial. Agreement is of the likeliest next tokens of the routed and of the
/// unmodified model where both read one given text: of two answers that they write it says nothing.
pub fn words(calibration: &Calibration, dial: f64) -> String {
    match calibration.expected(dial) {
        Some(point) => format!(
            "expected {:.1} layers, {} of next tokens agree on the same text, KL {:.2}",
            point.depth,
            percent(point.agreement),
            point.kl
        ),
        None => "nothing was measured here".to_owned(),
    }
}

/// The same where there is little room.
pub fn short(calibration: &Calibration, dial: f64) -> String {
    match calibration.expected(dial) {
        Some(CalibrationPoint { depth, agreement, .. }) => {
            format!("{depth:.1} layers, {} agree", percent(agreement))
        }
        None => "not measured".to_owned(),
    }
}

/// A share in per cent, never rounded up to all.
fn percent(share: f64) -> String {
    match format!("{:.0}", 100.0 * share).as_str() {
        "100" if share < 1.0 => ">99 %".to_owned(),
        rounded => format!("{rounded} %"),
    }
}

/// Mean depth of the answer without the token that ended it, as the tables count, where that token is shown and is not the
/// only one.
fn without_end_token(run: &Run) -> Option<f64> {
    let ended = run
        .trace
        .summary
        .as_ref()
        .is_some_and(|s| s.stop == StopReason::EndToken);
    let (_, before) = run.complete().split_last()?;
    let all = before.len() + 1 == run.trace.steps.len();
    let depth = before.iter().map(|step| step.depth as f64).sum::<f64>();
    (ended && all && !before.is_empty()).then(|| depth / before.len() as f64)
}

/// The mean depth of the tokens shown, at length and in short, beside what was expected of the run where that was measured
/// for its routers.
pub fn came_to(run: &Run) -> (String, String) {
    let (mean, layers) = (run.mean_depth(), run.layers());
    let settings = run.settings();
    let plain = match run.complete() {
        [] => format!("depth of the prompt {mean:.1}/{layers}"),
        _ => format!("depth {mean:.1}/{layers}"),
    };
    let Some(table) = calibration(settings, run.trace.header.routers.as_ref()) else {
        return (plain.clone(), plain);
    };
    let Some(point) = table.expected(settings.dial) else {
        return match run.complete() {
            [] => ("nothing was measured at this dial".to_owned(), plain),
            _ => (
                format!("nothing was measured at this dial, came to {mean:.1} of {layers}"),
                format!("depth {mean:.1} (not measured)"),
            ),
        };
    };
    beside(run, point.depth, plain)
}

/// What was expected beside the mean depth of the tokens shown, at length and in short.
fn beside(run: &Run, expected: f64, plain: String) -> (String, String) {
    let settings = run.settings();
    // The table is of the routers alone.
    let all_experts = settings.excluded_experts.is_empty();
    let but = match (settings.budget.is_some(), settings.pins.is_empty()) {
        (false, true) if all_experts => "",
        (false, true) => " with all experts",
        (false, false) => " without the pins",
        (true, _) => " without the budget",
    };
    let (mean, layers) = (run.mean_depth(), run.layers());
    if run.complete().is_empty() {
        let long = format!("expected {expected:.1} of {layers}{but}, no token yet");
        return match but {
            "" => (long, format!("depth expected {expected:.1}")),
            _ => (long, plain),
        };
    }
    // Of a long answer the end token is of no account.
    let without = without_end_token(run).filter(|depth| (depth - mean).abs() >= END_MATTERS);
    let without = without.map(|depth| format!("{depth:.1} without the end token"));
    let aside = without
        .as_ref()
        .map_or(String::new(), |without| format!(" ({without})"));
    let long = format!("expected {expected:.1}{but}, came to {mean:.1} of {layers}{aside}");
    let short = match (but, without) {
        ("", None) => format!("depth {mean:.1} (exp. {expected:.1})"),
        ("", Some(without)) => format!("depth {mean:.1} ({without}, exp. {expected:.1})"),
        _ => plain,
    };
    (long, short)
}

/// A bar from the table's least to its greatest depth with a mark where the dial stands, `width` columns long:
/// `21.3 ├───●──┤ 29.4`. Without a mark where nothing was measured.
pub fn slider(calibration: &Calibration, dial: f64, width: usize) -> Option<String> {
    let (least, most) = calibration.depths()?;
    let (low, high) = (format!("{least:.1} ├"), format!("┤ {most:.1}"));
    let track = width
        .checked_sub(low.chars().count() + high.chars().count())
        .filter(|n| *n > 1)?;
    let mut bar = vec!['─'; track];
    if let Some(point) = calibration.expected(dial) {
        let share = (point.depth - least) / (most - least).max(SAME);
        bar[(share * (track - 1) as f64).round() as usize] = '●';
    }
    Some(low + &bar.into_iter().collect::<String>() + &high)
}

/// What is typed for the dial: a position, or a mean depth, which is anything over 1 or with its unit (`26`,
/// `26.5 layers`).
///
/// # Errors
/// What is wrong with it and what may stand there.
pub fn parse(text: &str, calibration: Option<&Calibration>) -> Result<f64, String> {
    let unit = text.trim_end_matches(|c: char| c.is_alphabetic());
    let (number, layers) = match &text[unit.len()..] {
        "" => (text, false),
        "layers" | "layer" | "l" => (unit.trim_end(), true),
        _ => (text, false),
    };
    let expected = match calibration.and_then(Calibration::depths) {
        Some((least, most)) => format!("a number from -1 to 1, or a mean depth of {least:.1} to {most:.1} layers"),
        None => "a number from -1 to 1".to_owned(),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| format!("the dial is '{}': expected {expected}", text.escape_default()))?;
    if !layers && value <= 1.0 {
        return Ok(value);
    }
    match calibration {
        Some(table) => table
            .dial_for(value)
            .map_err(|_| format!("a mean depth of {value} was not measured: expected {expected}")),
        None => Err(format!(
            "the dial is {value}: expected -1 (skip all) to 1 (repeat all), -0.5 is the router itself; a mean depth needs \
             routers that it was measured for, in scope token without a fixed program"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn table() -> Calibration {
        fixture::depth_routers().calibration.unwrap()
    }

    fn depth(dial: f64) -> f64 {
        table().expected(dial).unwrap().depth
    }

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(
            [0.83, 0.996, 0.9999, 1.0].map(percent),
            ["83 %", ">99 %", ">99 %", "100 %"]
        );
    }

    /// A run of the tokens given, its end token 60 layers deep.
    fn ended(tokens: usize) -> Run {
        let mut app = fixture::app();
        app.open("depth".into(), None, fixture::depth_trace(tokens));
        let mut run = app.shown.take().unwrap();
        run.playback = None;
        run.trace.summary.as_mut().unwrap().stop = StopReason::EndToken;
        run.trace.steps.last_mut().unwrap().depth = 60;
        run
    }

    #[test]
    fn the_depth_is_that_of_the_tokens_shown() {
        let mut run = ended(20);
        for shown in 0..=20 {
            run.playback_mut().0.shown = shown;
            let (long, short) = came_to(&run);
            let depths = run.trace.steps[..shown].iter().map(|step| step.depth as f64);
            let mean = format!("{:.1}", depths.sum::<f64>() / shown as f64);
            let says = format!("came to {mean} of 30");
            match shown {
                0 => assert_eq!(
                    (long.as_str(), short.as_str()),
                    ("expected 26.1 of 30, no token yet", "depth expected 26.1")
                ),
                _ => assert!(
                    long.contains(&says) && short.starts_with(&format!("depth {mean} (")),
                    "{long} | {short}"
                ),
            }
            // It is left out where it is there.
            let left_out = long.contains("without the end token") && short.contains("without the end token");
            assert_eq!(left_out, shown == 20, "{long} | {short}");
        }
        run.playback_mut().0.layers = Some(3);
        assert!(!came_to(&run).0.contains("end token"), "its layers are not all shown");
    }

    #[test]
    fn an_end_token_is_left_out_where_one_ended_the_answer() {
        let mut run = ended(20);
        let before = run.trace.steps[..19].iter().map(|step| step.depth as f64).sum::<f64>() / 19.0;
        let (long, short) = came_to(&run);
        assert!(
            long.ends_with(&format!("({before:.1} without the end token)")),
            "{long}"
        );
        assert!(
            short.contains(&format!("({before:.1} without the end token, exp. 26.1)")),
            "{short}"
        );
        run.trace.summary.as_mut().unwrap().stop = StopReason::MaxTokens;
        let (long, short) = came_to(&run);
        assert!(
            !long.contains("end token") && short.ends_with("(exp. 26.1)"),
            "{long} | {short}"
        );
        run.trace.header.settings.excluded_experts = vec!["3:17".parse().unwrap()];
        let (long, short) = came_to(&run);
        assert!(
            long.contains("with all experts") && !short.contains("exp."),
            "{long} {short}"
        );
    }

    #[test]
    fn every_step_is_half_a_layer() {
        let table = table();
        let mut dial = -0.5;
        let mut depths = Vec::new();
        while let Ok(next) = step(&table, dial, true) {
            dial = next;
            depths.push((depth(dial) * 100.0).round() / 100.0);
        }
        assert_eq!(depths, [26.5, 27.0, 27.5, 28.0, 28.5, 29.0, 29.4]);
        let message = step(&table, dial, true).unwrap_err();
        assert!(message.contains("21.3 to 29.4 layers"), "{message}");
        let down = step(&table, dial, false).unwrap();
        assert!((depth(down) - 29.0).abs() < 1e-9);
        let lowest = (0..30).fold(-0.5, |dial, _| step(&table, dial, false).unwrap_or(dial));
        assert_eq!(lowest, -0.8);
    }

    #[test]
    fn from_outside_the_table_its_end_comes_first() {
        let table = table();
        assert_eq!(step(&table, 0.5, false), Ok(-0.1));
        assert_eq!(step(&table, -1.0, true), Ok(-0.8));
        assert!(step(&table, 0.5, true).is_err() && step(&table, -1.0, false).is_err());
        assert_eq!(words(&table, 0.5), "nothing was measured here");
        assert_eq!(short(&table, 0.5), "not measured");
        assert_eq!(
            words(&table, -0.5),
            "expected 26.1 layers, 79 % of next tokens agree on the same text, KL 0.17"
        );
        assert_eq!(short(&table, -0.5), "26.1 layers, 79 % agree");
    }

    #[test]
    fn the_slider_has_its_mark_where_the_depth_is() {
        let table = table();
        let bar = |dial| slider(&table, dial, 20).unwrap();
        assert_eq!(bar(-0.8), "21.3 ├●───────┤ 29.4");
        assert_eq!(bar(-0.1), "21.3 ├───────●┤ 29.4");
        assert_eq!(bar(0.7), "21.3 ├────────┤ 29.4");
        assert_eq!(slider(&table, -0.5, 12), None);
    }

    #[test]
    fn a_dial_or_a_mean_depth_is_typed() {
        let table = table();
        for (text, dial) in [
            ("-0.5", -0.5),
            ("1", 1.0),
            ("26.1", -0.5),
            ("24 layers", -0.62),
            ("24l", -0.62),
        ] {
            let found = parse(text, Some(&table)).unwrap();
            assert!((found - dial).abs() < 1e-9, "{text}: {found}");
        }
        for (text, part) in [
            ("12", "21.3 to 29.4 layers"),
            ("1 layer", "21.3 to 29.4"),
            ("much", "or a mean depth"),
        ] {
            let message = parse(text, Some(&table)).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        assert!(parse("26", None).unwrap_err().contains("in scope token"));
        assert!(parse("x", None).unwrap_err().ends_with("a number from -1 to 1"));
    }

    #[test]
    fn a_table_holds_where_its_routers_decide() {
        let routers = fixture::depth_routers();
        let mut settings = fixture::depth_trace(1).header.settings;
        assert!(calibration(&settings, Some(&routers)).is_some());
        settings.scope = Scope::Prompt;
        assert_eq!(calibration(&settings, Some(&routers)), None);
        settings.scope = Scope::Token;
        settings.program = Some(crate::program::Program::standard(30));
        assert_eq!(calibration(&settings, Some(&routers)), None);
        assert_eq!(calibration(&Settings::default(), None), None);
    }
}
