//! The curves of a training of a predictor, as SVG.

use super::trainer::PolarEpochReport;
use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};

/// Of the SVG.
const GRID: PanelGrid = PanelGrid {
    width: 420.0,
    height: 280.0,
    across: 2,
    legend_columns: 4,
};

/// Losses, and how many held-out questions have a known right program among the predicted ones.
pub fn svg(reports: &[PolarEpochReport]) -> String {
    let curve = |name: &str, colour, value: &dyn Fn(&PolarEpochReport) -> f64| Curve {
        name: name.into(),
        colour,
        joined: Joined::Always,
        symbol: None,
        points: reports
            .iter()
            .map(|r| PlotPoint {
                x: r.epoch as f64,
                y: value(r),
                ..PlotPoint::default()
            })
            .collect(),
    };
    let panel = |title: &str, name, curves| Panel {
        title: title.into(),
        x: Scale {
            name: "epoch",
            decimals: 0,
        },
        y: Scale { name, decimals: 2 },
        curves,
    };
    let panels = [
        panel(
            "loss",
            "loss",
            vec![
                curve("training", "#8a8a8a", &|r| r.train_loss),
                curve("held out", "#0072b2", &|r| r.validation.loss),
            ],
        ),
        panel(
            "share of held-out questions",
            "share",
            vec![
                curve("first known right", "#0072b2", &|r| r.validation.known_first),
                curve("one of five known right", "#009e73", &|r| r.validation.known_any),
                curve("first is the standard program", "#d55e00", &|r| r.validation.standard),
            ],
        ),
    ];
    plot::svg(&panels, GRID)
}
