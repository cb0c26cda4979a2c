//! A loop map, in words.

use super::super::loop_map::{Field, LoopMap, SearchPage, WatchedLoopMap};
use super::super::overrides::plural;
use crate::program::Damping;
use crate::search::loop_map::picture::{block, interval};
use crate::search::loop_map::report::Shade;
use crate::text::escape_controls;

/// The cell at the cursor: what it does, and how sure that is.
pub fn cell(watched: &WatchedLoopMap) -> String {
    let program = watched.program();
    let block = block(watched.cursor);
    let Some(known) = watched.selected() else {
        return format!("{block} twice: not run yet; depth {}", program.depth());
    };
    let measure = watched.measure;
    let sure = match known.shade {
        Shade::Survives => "better on the other half of the questions too".to_owned(),
        Shade::Gains => {
            // An interval of 95 % lies above 0 by chance once in 40 times.
            let cells = watched.cells().len();
            let chance = (cells as f64 / 40.0).round().max(1.0);
            format!("the interval is above 0, as by chance about {chance} of {cells} are")
        }
        Shade::Unclear if known.difference.interval.is_none() => "too few questions for an interval".to_owned(),
        Shade::Unclear => "not sure: the interval holds 0".to_owned(),
        Shade::Loses(_) => "worse".to_owned(),
    };
    format!(
        "{block} twice: {} {} {}{} on {} question{}, {} became right, {} wrong; {sure}; depth {}",
        measure.name(),
        interval(measure, known.difference),
        measure.unit(),
        if known.difference.interval.is_some() {
            " (95 %)"
        } else {
            ""
        },
        known.questions,
        plural(known.questions),
        known.fixed,
        known.broken,
        program.depth()
    )
}

/// What is asked, in a line.
pub fn asked(watched: &WatchedLoopMap) -> String {
    let request = &watched.request;
    let damped = match request.damping == Damping::NONE {
        true => String::new(),
        false => format!(", the second time damped by {}", request.damping),
    };
    let questions = match &request.data {
        Some(path) => escape_controls(&path.display().to_string()),
        None => "built-in questions".to_owned(),
    };
    format!("{questions}: every block of layers twice{damped}")
}

/// The dialog in words: the cell at the cursor, or the field of the form that has the keys.
pub fn dialog(map: &LoopMap, page: SearchPage) -> String {
    match (page, &map.watched) {
        (SearchPage::Watch, Some(watched)) => {
            let (_, asked) = watched.right();
            format!("loop map, question {asked} of {}; {}", watched.questions, cell(watched))
        }
        _ => {
            let form = &map.form;
            let text = match form.field {
                Field::File if form.file.text.is_empty() => "file of questions: none, the built-in ones".to_owned(),
                Field::File => format!("file of questions: {}", form.file.text),
                Field::Questions => format!("questions: {}", form.questions.text),
                Field::Damping => format!("damping: {}", form.damping.text),
                Field::Start => "start the map".to_owned(),
            };
            let error = form.error.as_ref().map_or(String::new(), |error| format!("{error}. "));
            escape_controls(&format!("loop map: {error}{text}"))
        }
    }
}
