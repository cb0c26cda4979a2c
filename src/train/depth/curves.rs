//! The curves of a training of depth routers, as SVG.

use super::DepthStepReport;
use crate::plot::{self, Curve, Joined, Panel, PanelGrid, PlotPoint, Scale};

/// Steps whose mean is a point of the curves.
const SMOOTHED: usize = 10;

/// KL and depth over steps, as SVG.
pub fn svg(reports: &[DepthStepReport]) -> String {
    plot::svg(&panels(reports), GRID)
}

/// Of the SVG.
const GRID: PanelGrid = PanelGrid {
    width: 420.0,
    height: 280.0,
    across: 2,
    legend_columns: 4,
};

/// KL and depth over steps.
fn panels(reports: &[DepthStepReport]) -> [Panel; 2] {
    let points = |value: &dyn Fn(&DepthStepReport) -> f64| -> Vec<PlotPoint> {
        let point = |reports: &[DepthStepReport]| PlotPoint {
            x: reports.last().map_or(0.0, |r| r.step as f64),
            y: reports.iter().map(value).sum::<f64>() / reports.len() as f64,
            ..PlotPoint::default()
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
