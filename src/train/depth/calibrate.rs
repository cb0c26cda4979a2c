//! What the dial comes to on held-out texts, and the checkpoint that carries it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};

use super::routers::DepthShape;
use super::state::DepthKey;
use super::trainer::ThresholdMeasures;
use super::{DepthSettings, TrainedDepth};
use crate::engine::SCOPE;
use crate::eval::text::Text;
use crate::model::Model;
use crate::model::gradient::FrozenModel;
use crate::progress::{Progress, Tell};
use crate::router::{InputNorm, Router, RouterSet};
use crate::trace::Scope;
use crate::train::checkpoint;
use crate::train::trainer::TRAINING;

/// The dial is looked for between thresholds of −REACH and REACH, on a few texts.
const REACH: f64 = 5.0;
const LOOKED_AT: usize = 41;
const FEW_TEXTS: usize = 6;

/// It is calibrated at so many thresholds, from where all but a few layers run to where a third is left out.
const THRESHOLDS: usize = 21;
const MOST_SHARE: f64 = 0.996;
const LEAST_SHARE: f64 = 0.66;

/// Measures trained routers on held-out texts at thresholds over the depths that are worth it; `None` where it was stopped.
///
/// # Errors
/// Those of the model.
pub fn calibrate(
    trained: &TrainedDepth,
    model: &FrozenModel,
    held_out: &[Text],
    (layers, threads, stop): (usize, usize, &AtomicBool),
    tell: Tell,
) -> Result<Option<Table>> {
    let few = &held_out[..FEW_TEXTS.min(held_out.len())];
    let total = few.len() + held_out.len();
    let mut done = |done| tell(Progress::new("calibration", done, total));
    done(0);
    let wide = thresholds(-REACH, REACH, LOOKED_AT);
    let Some(found) = trained.measure(model, few, &wide, threads, stop, &mut done)? else {
        return Ok(None);
    };
    let (least, most) = range(&found, layers);
    let offsets = thresholds(least, most, THRESHOLDS);
    let measured = trained.measure(model, held_out, &offsets, threads, stop, |n| done(few.len() + n))?;
    Ok(measured.map(|measured| Table {
        measured,
        texts: held_out.len(),
        tokens: held_out.iter().map(|text| text.answer.len()).sum(),
    }))
}

/// `count` thresholds from `least` to `most`.
fn thresholds(least: f64, most: f64, count: usize) -> Vec<f64> {
    let step = (most - least) / (count - 1) as f64;
    (0..count).map(|i| least + step * i as f64).collect()
}

/// The thresholds between which the depth is worth calibrating, from those measured by ascending threshold.
fn range(measured: &[ThresholdMeasures], layers: usize) -> (f64, f64) {
    let share = |m: &&ThresholdMeasures| m.depth / layers as f64;
    let deep = measured.iter().take_while(|m| share(m) >= MOST_SHARE).last();
    let shallow = measured.iter().find(|m| share(m) <= LEAST_SHARE);
    let least = deep.map_or(-REACH, |m| m.offset);
    let most = shallow.map_or(REACH, |m| m.offset);
    if least < most { (least, most) } else { (-REACH, REACH) }
}

/// The parameters of the routers that a training begins with, and the file's checksum.
///
/// # Errors
/// Routers of another kind, width or model.
pub fn begin_with(path: &Path, settings: &DepthSettings, model: &Model) -> Result<(Vec<f32>, String)> {
    let routers = RouterSet::load(path)?;
    let config = model.decoder.config();
    routers.check(&model.info.name, config.layers, config.hidden_size)?;
    ensure!(
        routers.info.method.as_deref() == Some("depth"),
        "{} holds no depth routers: --from goes on with what `train --method depth` made",
        path.display()
    );
    let shape = DepthShape::new(config.layers, config.hidden_size, settings.width);
    let parameters = shape.parameters_of(&routers.layers);
    let parameters = parameters.with_context(|| {
        format!(
            "the routers in {} have width {}, this training makes ones of {}: set --width",
            path.display(),
            routers.width,
            settings.width
        )
    })?;
    Ok((parameters, routers.info.sha256))
}

/// What the dial comes to on held-out texts.
pub struct Table {
    /// By ascending threshold.
    measured: Vec<ThresholdMeasures>,
    texts: usize,
    tokens: usize,
}

impl Table {
    /// The threshold of a mean depth, between those that were measured.
    pub fn offset_of(&self, depth: f64) -> f64 {
        let pairs = self.measured.windows(2);
        let between = pairs.filter(|pair| (pair[1].depth..=pair[0].depth).contains(&depth));
        let between = between.min_by(|a, b| a[0].offset.abs().total_cmp(&b[0].offset.abs()));
        match between {
            Some([a, b]) if a.depth > b.depth => {
                a.offset + (a.depth - depth) / (a.depth - b.depth) * (b.offset - a.offset)
            }
            Some([a, ..]) => a.offset,
            _ if self.measured.first().is_some_and(|m| m.depth < depth) => self.measured[0].offset,
            _ => self.measured.last().map_or(0.0, |m| m.offset),
        }
    }

    /// The table as text, thresholds beside the neutral one.
    pub fn print(&self, neutral: f64) -> String {
        let rows = self.measured.iter().map(|m| {
            format!(
                "{:>8.2}  {:>5.2}  {:>6.4}  {:>5.1} %\n",
                m.offset - neutral,
                m.depth,
                m.kl,
                100.0 * m.agreement
            )
        });
        format!(
            "held out: {} answers, {} tokens\n  offset  depth      KL  same top token\n{}",
            self.texts,
            self.tokens,
            rows.collect::<String>()
        )
    }

    /// The table of a checkpoint: ascending dial, so descending threshold, each depth once. `None` where the dial changes
    /// nothing.
    fn json(&self, neutral: f64) -> Option<String> {
        let mut points: Vec<serde_json::Value> = Vec::new();
        let mut last = f64::NEG_INFINITY;
        for m in self.measured.iter().rev().filter(|m| m.depth.is_finite()) {
            if m.depth <= last {
                continue;
            }
            last = m.depth;
            points.push(serde_json::json!({
                "dial": crate::router::policy::dial_of_offset(m.offset - neutral),
                "depth": m.depth,
                "kl": m.kl,
                "agreement": m.agreement,
            }));
        }
        let table = serde_json::json!({"texts": self.texts, "tokens": self.tokens, "points": points});
        (points.len() > 1).then(|| table.to_string())
    }
}

/// The checkpoint of trained routers whose neutral dial is the threshold `neutral`.
///
/// # Errors
/// Settings that are no JSON, which there are none of.
pub fn checkpoint(
    trained: &TrainedDepth,
    table: &Table,
    neutral: f64,
    (settings, key): (&DepthSettings, &DepthKey),
    model: &Model,
) -> Result<RouterSet> {
    let entries = [
        ("format", "1".to_owned()),
        ("method", "depth".to_owned()),
        (SCOPE, Scope::Token.to_string()),
        ("prompt", "full".to_owned()),
        ("kv", "fill".to_owned()),
        ("input_norm", "rms".to_owned()),
        ("windows", "1".to_owned()),
        ("width", settings.width.to_string()),
        ("data_sha256", key.prompts_sha256.clone()),
        (TRAINING, serde_json::to_string(settings)?),
    ];
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    let mut metadata: HashMap<String, String> = entries.into_iter().chain(checkpoint::base_model(model)).collect();
    metadata.extend(table.json(neutral).map(|json| ("calibration".to_owned(), json)));
    let size = (1, settings.width);
    let layers = trained.routers(neutral);
    Ok(checkpoint::routers(layers, size, InputNorm::Rms, metadata, model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let measured = [(-1.0, 29.0), (0.0, 28.0), (1.0, 26.0), (2.0, 26.0)];
        Table {
            measured: measured
                .map(|(offset, depth)| ThresholdMeasures {
                    offset,
                    depth,
                    kl: 0.1,
                    agreement: 0.9,
                })
                .to_vec(),
            texts: 2,
            tokens: 9,
        }
    }

    #[test]
    fn the_range_is_where_the_depth_changes() {
        let measured = &table().measured;
        assert_eq!(range(measured, 29), (-1.0, REACH));
        assert_eq!(range(measured, 40), (-REACH, 1.0));
        let wide = thresholds(-1.0, 1.0, 5);
        assert_eq!(wide, [-1.0, -0.5, 0.0, 0.5, 1.0]);
    }

    #[test]
    fn the_neutral_threshold_is_that_of_the_depth() {
        assert_eq!(table().offset_of(27.0), 0.5);
        assert_eq!(table().offset_of(30.0), -1.0);
        assert_eq!(table().offset_of(3.0), 2.0);
    }

    #[test]
    fn the_table_ascends_and_holds_no_depth_twice() {
        let json: serde_json::Value = serde_json::from_str(&table().json(0.5).unwrap()).unwrap();
        let points = json["points"].as_array().unwrap();
        let of = |name: &str| points.iter().map(|p| p[name].as_f64().unwrap()).collect::<Vec<_>>();
        assert_eq!(of("depth"), [26.0, 28.0, 29.0]);
        assert!(of("dial").is_sorted());
        let flat = Table {
            measured: table().measured[2..].to_vec(),
            ..table()
        };
        assert_eq!(flat.json(0.5), None);
    }
}
