//! The verifier of the spans' first layer: what its networks say together, and from where on a token skips.

use anyhow::Result;

use super::fit::{Scale, penalty, quantile, shape, unit};
use super::{EffectTable, NO_REPEAT, VerifierSettings};
use crate::router::MlpRouter;
use crate::train::network::{Parameters, RouterShape};

/// A fitted verifier.
pub(super) struct Ensemble {
    /// The networks side by side as one, whose first logit is the mean of theirs; the second is 0. It reads
    /// standardised states.
    pub parameters: Parameters,
    pub shape: RouterShape,
    /// The same, which reads states as they are.
    network: MlpRouter,
    /// For each span, ascending, what the network says at least of a token that leaves it out.
    pub thresholds: Vec<f32>,
}

impl Ensemble {
    /// From the members' parameters. A token leaves out the span whose mean cost is nearest to its penalty, less that
    /// which spares the share of the training rows that is to be spared.
    pub fn new(
        members: &[Parameters],
        table: &EffectTable,
        rows: &[usize],
        scale: &Scale,
        settings: &VerifierSettings,
    ) -> Result<Self> {
        let parameters = merged(members, shape(table, settings));
        let shape = RouterShape {
            width: settings.width(),
            ..shape(table, settings)
        };
        let network = shape.router(&parameters, &scale.mean, &scale.deviation)?;
        let said: Vec<f32> = rows.iter().map(|&row| network.logits(table.state(row))[0]).collect();
        let costs = table.span_costs();
        let unit = unit(&costs);
        let spared = penalty(quantile(&said, settings.spared), unit);
        let mut below = 0.0;
        let threshold = |cost: f32| {
            let middle = (below + cost) / 2.0;
            below = cost;
            says_at((spared + middle) / unit)
        };
        Ok(Ensemble {
            parameters,
            shape,
            network,
            thresholds: costs.into_iter().map(threshold).collect(),
        })
    }

    /// How many of the spans' thresholds a token of this state is above: 0 runs every layer, k leaves out the k-th span.
    pub fn level(&self, state: &[f32]) -> usize {
        let says = self.network.logits(state)[0];
        self.thresholds.partition_point(|&threshold| threshold < says)
    }

    /// The router of the spans' first layer, which skips for the tokens that leave out any of them.
    pub fn router(&self) -> MlpRouter {
        let mut router = self.network.clone();
        router.b2[0] -= self.thresholds[0];
        router
    }
}

/// What a network says for a penalty of so many units, above 0: ln(eᵘ − 1).
fn says_at(units: f32) -> f32 {
    units + (-(-units).exp()).ln_1p()
}

/// The mean of several networks' first logit as one network: their hidden layers side by side.
fn merged(members: &[Parameters], shape: RouterShape) -> Parameters {
    let (inputs, width) = (shape.inputs, shape.width);
    let part = |from: usize, length: usize| members.iter().flat_map(move |m| m[from..from + length].iter().copied());
    let second = width * (inputs + 1);
    let count = members.len() as f32;
    let mut all: Parameters = part(0, width * inputs).collect();
    all.extend(part(width * inputs, width));
    all.extend(part(second, width).map(|w| w / count));
    all.extend(std::iter::repeat_n(0.0, 2 * width * members.len()));
    let bias = part(second + 3 * width, 1).sum::<f32>() / count;
    all.extend([bias, 0.0, NO_REPEAT]);
    all
}
