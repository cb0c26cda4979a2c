//! JSON lines of a trace: read and written.

use anyhow::{Context, Result, bail, ensure};

use crate::text::escape_json_controls;

use crate::trace::{Decision, Record, SCHEMA, Trace};

/// See [`Trace::from_json_lines`].
pub(super) fn read(text: &str) -> Result<Trace> {
    let text = text.trim_start_matches('\u{feff}');
    let mut trace: Option<Trace> = None;
    let count = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() {
            continue;
        }
        let record: Record = match serde_json::from_str(line) {
            Ok(record) => record,
            Err(e) if number == count && !text.ends_with('\n') && e.is_eof() && trace.is_some() => break,
            Err(e) => return Err(e).with_context(|| format!("line {number} is no trace record")),
        };
        match (record, &mut trace) {
            (Record::Header(header), None) => {
                ensure!(
                    header.schema == SCHEMA,
                    "line {number}: trace schema {} is not supported, this program reads schema {SCHEMA}",
                    header.schema
                );
                let layers = header.model.layers;
                if header.model.looped.is_some_and(|looped| !looped.fits(layers)) {
                    bail!("line {number}: the model's loop does not lie within its {layers} layers");
                }
                check(&header.decisions, layers, header.program.layers(), number)?;
                let are_probabilities = header.boundaries.iter().all(|p| (0.0..=1.0).contains(p));
                if !are_probabilities || !(header.boundaries.is_empty() || header.boundaries.len() == layers) {
                    bail!("line {number}: the boundaries are not one probability for each of {layers} layers");
                }
                for candidate in &header.candidates {
                    check_program(candidate.program.layers(), layers, number)?;
                }
                trace = Some(Trace::new(*header));
            }
            (Record::Header(_), Some(_)) => bail!("line {number}: a second header; one file holds one run"),
            (_, None) => bail!("line {number}: a trace begins with its header line"),
            (_, Some(t)) if t.summary.is_some() => bail!("line {number}: lines after the summary"),
            (Record::Token(step), Some(t)) => {
                check(&step.decisions, t.layers(), step.program.layers(), number)?;
                let expected = t.header.prompt.len() + t.steps.len();
                ensure!(
                    step.position == expected,
                    "line {number}: position {} where {expected} follows",
                    step.position
                );
                t.steps.push(*step);
            }
            (Record::Summary(summary), Some(t)) => t.summary = Some(summary),
        }
    }
    trace.context("the file is empty; a trace begins with its header line")
}

fn check(decisions: &[Decision], layers: usize, program: &[usize], line: usize) -> Result<()> {
    ensure!(
        decisions.len() == layers,
        "line {line}: {} decisions for {layers} layers",
        decisions.len()
    );
    check_program(program, layers, line)
}

fn check_program(program: &[usize], layers: usize, line: usize) -> Result<()> {
    if let Some(layer) = program.iter().find(|&&l| l >= layers) {
        bail!("line {line}: the program runs layer {layer}, the model has {layers} layers");
    }
    Ok(())
}

/// See [`Trace::to_json_lines`].
pub(super) fn write(trace: &Trace) -> String {
    let header = std::iter::once(Record::Header(Box::new(trace.header.clone())));
    let steps = trace.steps.iter().map(|s| Record::Token(Box::new(s.clone())));
    let summary = trace.summary.clone().map(Record::Summary);
    header.chain(steps).chain(summary).map(|r| line(&r)).collect()
}

/// One record as a line with its newline.
pub fn line(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("trace records have string keys only");
    // Valid JSON either way; so that a line printed to a terminal does it no harm.
    escape_json_controls(&json) + "\n"
}
