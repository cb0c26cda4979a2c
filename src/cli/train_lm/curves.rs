//! The curves of a training as SVG.

use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};
use crate::train::lm::LmStepReport;

const GRID: PanelGrid = PanelGrid {
    width: 420.0,
    height: 280.0,
    across: 2,
    legend_columns: 3,
};

/// Points of a curve at most; each is the mean of as many steps.
const POINTS: usize = 200;

/// Loss and accuracy over steps, side by side.
pub fn svg(reports: &[LmStepReport]) -> String {
    let points = |value: &dyn Fn(&LmStepReport) -> f64| -> Vec<PlotPoint> {
        let point = |reports: &[LmStepReport]| PlotPoint {
            x: reports.last().map_or(0.0, |r| r.step as f64),
            y: reports.iter().map(value).sum::<f64>() / reports.len() as f64,
            ..PlotPoint::default()
        };
        reports
            .chunks(reports.len().div_ceil(POINTS).max(1))
            .map(point)
            .collect()
    };
    let curve = |name: &str, colour, value: &dyn Fn(&LmStepReport) -> f64| Curve {
        name: name.into(),
        colour,
        joined: Joined::Always,
        symbol: None,
        points: points(value),
    };
    let panel = |title: &str, name, curves| Panel {
        title: title.into(),
        x: Scale {
            name: "step",
            decimals: 0,
        },
        y: Scale { name, decimals: 2 },
        curves,
    };
    let losses = vec![
        curve("answers", "#0072b2", &|r| r.answer_loss),
        curve("questions", "#8a8a8a", &|r| r.question_loss),
    ];
    let shares = vec![
        curve("answer tokens right", "#0072b2", &|r| r.answer_accuracy),
        curve("imbalance of experts", "#d55e00", &|r| r.imbalance),
    ];
    let panels = [
        panel("loss, nats a token", "nats", losses),
        panel("shares", "share", shares),
    ];
    plot::svg(&panels, GRID)
}
