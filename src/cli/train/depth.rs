//! `drllm-tui train --method depth`: depth routers from prompts and the model alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::args::state_path;
use super::{TrainArgs, is_finished, of_model};
use crate::cli::chart::{self, Curve, Grid, Joined, Panel, Point, Scale};
use crate::cli::counter::Counter;
use crate::engine::{SCOPE, Scope};
use crate::line_file::Existing;
use crate::model::gradient::{FrozenModel, Precision};
use crate::router::{FastRouters, InputNorm, RouterInfo, RouterSet};
use crate::train::depth::routers::Shape;
use crate::train::depth::state::Key;
use crate::train::depth::trainer::{Job, Measured};
use crate::train::depth::{DepthSettings, Prompts, StepReport, Trained, texts, train};
use crate::train::state::write_whole;
use crate::train::trainer::TRAINING;

use super::log::Lines;

/// The dial is looked for between thresholds of −REACH and REACH, on a few texts.
const REACH: f64 = 5.0;
const LOOKED_AT: usize = 41;
const FEW_TEXTS: usize = 6;

/// It is calibrated at so many thresholds, from where all but a few layers run to where a third is left out.
const THRESHOLDS: usize = 21;
const MOST_SHARE: f64 = 0.996;
const LEAST_SHARE: f64 = 0.66;

/// Steps whose mean is a point of the curves.
const SMOOTHED: usize = 10;

/// Runs the command.
///
/// # Errors
/// A [`UsageError`](crate::cli::UsageError) for numbers out of range; prompts, files and models that do not serve.
pub fn run(args: &TrainArgs, threads: usize, stop: &AtomicBool) -> Result<()> {
    let settings = args.depth_settings()?;
    let prompts = match args.depth.prompts.as_slice() {
        [] => Prompts::shipped(),
        paths => Prompts::read(paths)?,
    };
    let out = args
        .out
        .as_ref()
        .expect("clap asks for --out where there is no --ablate");
    let model = args.model.load(stop)?;
    let from = args.depth.from.as_deref();
    let from = from.map(|path| begin_with(path, &settings, &model)).transpose()?;
    let (from, from_sha256) = from.unzip();
    let expected = [
        ("data_sha256", prompts.sha256.clone()),
        (TRAINING, serde_json::to_string(&settings)?),
    ];
    if is_finished(args, out, &model, &expected)? {
        return Ok(());
    }
    let started = Instant::now();
    let existing = match args.resume {
        true => Existing::Resume,
        false => Existing::Overwrite,
    };
    let (texts_at, state_at) = (texts_path(out), state_path(out));
    if !args.resume && state_at.exists() {
        std::fs::remove_file(&state_at)?;
    }
    let mut counter = Counter::new("answers", 0, settings.texts + settings.held_out);
    let texts = texts::write(
        &model,
        &prompts,
        &settings,
        (&texts_at, existing),
        threads,
        stop,
        |done| counter.done(done, ""),
    )?;
    counter.finish();
    let Some(texts) = texts else {
        bail!("stopped while the model wrote its answers; go on with --resume");
    };
    let tokens: usize = texts.training.iter().map(|text| text.answer.len()).sum();
    crate::note!(
        "{} answers of {tokens} tokens to train on, {} held out; {:.0} s so far",
        texts.training.len(),
        texts.held_out.len(),
        started.elapsed().as_secs_f64()
    );
    let key = Key {
        format: 2,
        settings: settings.clone(),
        model_sha256: model.info.sha256.clone(),
        prompts_sha256: prompts.sha256.clone(),
        from_sha256,
        exact: args.model.exact,
    };
    let frozen = FrozenModel::new(&model.decoder)?.with_precision(Precision::Coarse);
    let job = Job {
        model: &frozen,
        texts: &texts,
        settings: &settings,
        key: &key,
        threads,
        from,
        state: Some(&state_at),
    };
    let mut lines = Lines::new(args.metrics.as_deref())?;
    let mut counter: Option<Counter> = None;
    let mut reports = Vec::new();
    let trained = train(&job, stop, &mut |report| {
        reports.push(*report);
        let counter = counter.get_or_insert_with(|| Counter::new("steps", report.step - 1, settings.steps));
        let note = format!("; KL {:.3}, {:.1} layers", report.kl, report.depth);
        counter.done(report.step, &note);
        lines.write(&serde_json::to_string(report)?)
    })?;
    if let Some(counter) = counter {
        counter.finish();
    }
    let Some(trained) = trained else {
        bail!(
            "stopped after {} of {} steps; go on with --resume",
            reports.len(),
            settings.steps
        );
    };
    if let Some(path) = &args.curves {
        write_whole(path, chart::svg(&panels(&reports), GRID).as_bytes())?;
    }
    let frozen = frozen.with_precision(Precision::Full);
    let few = &texts.held_out[..FEW_TEXTS.min(texts.held_out.len())];
    let wide = thresholds(-REACH, REACH, LOOKED_AT);
    let mut counter = Counter::new("calibration", 0, few.len() + texts.held_out.len());
    let found = trained.measure(&frozen, few, &wide, threads, stop, |done| counter.done(done, ""))?;
    let measured = match &found {
        None => None,
        Some(found) => {
            let (least, most) = range(found, model.info.layers);
            let offsets = thresholds(least, most, THRESHOLDS);
            let held_out = &texts.held_out;
            trained.measure(&frozen, held_out, &offsets, threads, stop, |done| {
                counter.done(few.len() + done, "")
            })?
        }
    };
    counter.finish();
    let Some(measured) = measured else {
        bail!("stopped while calibrating; go on with --resume");
    };
    let tokens: usize = texts.held_out.iter().map(|text| text.answer.len()).sum();
    let table = Table {
        measured,
        texts: texts.held_out.len(),
        tokens,
    };
    let neutral = table.offset_of(settings.neutral_share * model.info.layers as f64);
    crate::note!("{}", table.print(neutral).trim_end());
    save(&trained, &table, neutral, (&settings, &key), &model, out)?;
    let _ = std::fs::remove_file(&state_at);
    crate::note!(
        "depth routers for scope token in {} after {:.0} min; the answers in {} may be removed",
        out.display(),
        started.elapsed().as_secs_f64() / 60.0,
        texts_at.display()
    );
    Ok(())
}

/// `count` thresholds from `least` to `most`.
fn thresholds(least: f64, most: f64, count: usize) -> Vec<f64> {
    let step = (most - least) / (count - 1) as f64;
    (0..count).map(|i| least + step * i as f64).collect()
}

/// The thresholds between which the depth is worth calibrating, from those measured by ascending threshold.
fn range(measured: &[Measured], layers: usize) -> (f64, f64) {
    let share = |m: &&Measured| m.depth / layers as f64;
    let deep = measured.iter().take_while(|m| share(m) >= MOST_SHARE).last();
    let shallow = measured.iter().find(|m| share(m) <= LEAST_SHARE);
    let least = deep.map_or(-REACH, |m| m.offset);
    let most = shallow.map_or(REACH, |m| m.offset);
    if least < most { (least, most) } else { (-REACH, REACH) }
}

/// The parameters of the routers that a training begins with, and the file's checksum.
fn begin_with(path: &Path, settings: &DepthSettings, model: &crate::model::Model) -> Result<(Vec<f32>, String)> {
    let routers = RouterSet::load(path)?;
    let config = model.decoder.config();
    routers.check(&model.info.name, config.layers, config.hidden_size)?;
    ensure!(
        routers.info.method.as_deref() == Some("depth"),
        "{} holds no depth routers: --from goes on with what `train --method depth` made",
        path.display()
    );
    let shape = Shape::new(config.layers, config.hidden_size, settings.width);
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

/// Where the answers lie, beside the routers.
fn texts_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".texts.jsonl");
    out.with_file_name(name)
}

/// What the dial comes to on held-out texts.
struct Table {
    /// By ascending threshold.
    measured: Vec<Measured>,
    texts: usize,
    tokens: usize,
}

impl Table {
    /// The threshold of a mean depth, between those that were measured.
    fn offset_of(&self, depth: f64) -> f64 {
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

    fn print(&self, neutral: f64) -> String {
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

fn save(
    trained: &Trained,
    table: &Table,
    neutral: f64,
    (settings, key): (&DepthSettings, &Key),
    model: &crate::model::Model,
    out: &Path,
) -> Result<()> {
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
    let mut metadata: HashMap<String, String> = entries.into_iter().chain(of_model(model)).collect();
    metadata.extend(table.json(neutral).map(|json| ("calibration".to_owned(), json)));
    let routers = RouterSet {
        layers: trained.routers(neutral),
        windows: 1,
        width: settings.width,
        hidden_size: model.decoder.config().hidden_size,
        input_norm: InputNorm::Rms,
        metadata,
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    };
    routers.save(out)
}

/// Of the SVG.
const GRID: Grid = Grid {
    width: 420.0,
    height: 280.0,
    across: 2,
    legend_columns: 4,
};

/// KL and depth over steps.
fn panels(reports: &[StepReport]) -> [Panel; 2] {
    let points = |value: &dyn Fn(&StepReport) -> f64| -> Vec<Point> {
        let point = |reports: &[StepReport]| Point {
            x: reports.last().map_or(0.0, |r| r.step as f64),
            y: reports.iter().map(value).sum::<f64>() / reports.len() as f64,
            ..Point::default()
        };
        reports.chunks(SMOOTHED).map(point).collect()
    };
    let panel = |title: &str, name, decimals, curves| Panel {
        title: title.into(),
        x: Scale {
            name: "step",
            decimals: 0,
        },
        y: Scale { name, decimals },
        curves,
    };
    let curve = |name: &str, colour, points| Curve {
        name: name.into(),
        colour,
        joined: Joined::Always,
        symbol: None,
        points,
    };
    [
        panel(
            "KL(full ‖ routed) and loss, nats a token",
            "nats",
            3,
            vec![
                curve("KL", "#0072b2", points(&|r| r.kl)),
                curve("loss", "#8a8a8a", points(&|r| r.loss)),
            ],
        ),
        panel(
            "mean depth",
            "layers",
            1,
            vec![curve("depth", "#d55e00", points(&|r| r.depth))],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let measured = [(-1.0, 29.0), (0.0, 28.0), (1.0, 26.0), (2.0, 26.0)];
        Table {
            measured: measured
                .map(|(offset, depth)| Measured {
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
