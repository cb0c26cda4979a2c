//! What the static controls are chosen by, on texts that nothing is measured on: the layers that are missed least, one
//! after the other, and the influence of each block.

use anyhow::Result;
use candle_core::{DType, Tensor};
use serde::Serialize;

use super::exits::LensTable;
use super::reading::{Reference, logits_of};
use super::sweep::{TextSweep, each};
use super::{Text, routed};
use crate::eval::controls::cosine;
use crate::program::Action;
use crate::progress::Tell;

/// Layers left out greedily.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RemovalOrder {
    /// The first is missed least, the second least where the first is gone, and so on.
    pub order: Vec<usize>,
    /// KL(full ‖ without these) in nats, mean over the tokens of the texts, after each.
    pub kl: Vec<f64>,
    /// What each routable layer costs by itself: the layer, KL(full ‖ without it).
    pub alone: Vec<(usize, f64)>,
    /// Texts that candidates were measured on.
    pub texts: usize,
    /// Tokens of their answers.
    pub tokens: usize,
}

/// Leaves out up to `count` routable layers, one after the other, each time the one without which the mean KL over the
/// tokens of `texts` is least, the lowest of equals. `None` where it was stopped.
///
/// A candidate differs from what is left out already at one layer, and runs from there on.
///
/// # Errors
/// Those of the model.
pub fn remove(job: &TextSweep, texts: &[Text], count: usize, tell: Tell) -> Result<Option<RemovalOrder>> {
    let layers = job.decoder.config().layers;
    let mut removal = RemovalOrder {
        texts: texts.len(),
        tokens: texts.iter().map(|text| text.answer.len()).sum(),
        ..RemovalOrder::default()
    };
    while removal.order.len() < count {
        let candidates: Vec<usize> = routed(layers).filter(|l| !removal.order.contains(l)).collect();
        if candidates.is_empty() {
            break;
        }
        let what = format!("best static: layer {} of {count}", removal.order.len() + 1);
        let sums = each(job, texts.len(), &what, tell, |index| {
            costs(job, &texts[index], &removal.order, &candidates)
        })?;
        let Some(sums) = sums else { return Ok(None) };
        let mean = |at: usize| sums.iter().map(|of| of[at]).sum::<f64>() / removal.tokens.max(1) as f64;
        let means: Vec<f64> = (0..candidates.len()).map(mean).collect();
        let best = (0..candidates.len()).min_by(|&a, &b| means[a].total_cmp(&means[b]));
        let best = best.expect("there is a candidate");
        if removal.order.is_empty() {
            removal.alone = candidates.iter().copied().zip(means.iter().copied()).collect();
        }
        removal.order.push(candidates[best]);
        removal.kl.push(means[best]);
    }
    Ok(Some(removal))
}

/// Σ over tokens of KL(full ‖ without `skipped` and a candidate) for each of `candidates`.
fn costs(job: &TextSweep, text: &Text, skipped: &[usize], candidates: &[usize]) -> Result<Vec<f64>> {
    let reference = Reference::new(job.decoder, text, job.stop, |_, _| Ok(()))?;
    let does = |is_left_out: bool| if is_left_out { Action::Skip } else { Action::Execute };
    let mut entering: Vec<Tensor> = Vec::with_capacity(job.decoder.config().layers);
    reference.run(job.kv, |layer, states| {
        entering.push(states.clone());
        Ok(does(skipped.contains(&layer)).into())
    })?;
    let cost = |&candidate: &usize| {
        let states = reference.from(candidate, entering[candidate].clone(), job.kv, |layer, _| {
            Ok(does(layer == candidate || skipped.contains(&layer)).into())
        })?;
        let reading = reference.compare(logits_of(job.decoder, &states)?, Vec::new());
        Ok(reading.kl.iter().sum())
    };
    candidates.iter().map(cost).collect()
}

/// What the whole model's states on the texts say.
pub struct Observed {
    /// Routable layers by their block influence, the least first: the mean over tokens of 1 − cos(h, B(h)) (ShortGPT,
    /// arXiv 2403.03853 §3.2).
    pub by_influence: Vec<usize>,
    /// What the logit lens says at each layer of each token, for exits by confidence.
    pub lens: LensTable,
}

/// Reads the texts once with the whole model. `None` where it was stopped.
///
/// # Errors
/// Those of the model.
pub fn observe(job: &TextSweep, texts: &[Text], tell: Tell) -> Result<Option<Observed>> {
    let layers = job.decoder.config().layers;
    let one = |index: usize| {
        let (mut lens, mut influence) = (LensTable::default(), vec![0.0; layers]);
        let mut before: Vec<Vec<f32>> = Vec::new();
        Reference::new(job.decoder, &texts[index], job.stop, |layer, states| {
            lens.look(job.decoder, layer, states)?;
            let rows = states.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            if let Some(layer) = layer.checked_sub(1) {
                let pairs = before.iter().zip(&rows);
                influence[layer] = pairs.map(|(h, after)| 1.0 - cosine(h, after)).sum::<f64>();
            }
            before = rows;
            Ok(())
        })?;
        Ok((lens, influence))
    };
    let Some(found) = each(job, texts.len(), "block influence, logit lens", tell, one)? else {
        return Ok(None);
    };
    let (mut lens, mut sums) = (LensTable::default(), vec![0.0; layers]);
    for (of_text, influence) in found {
        lens.extend(of_text);
        sums.iter_mut().zip(influence).for_each(|(sum, i)| *sum += i);
    }
    let mut by_influence: Vec<usize> = routed(layers).collect();
    by_influence.sort_by(|&a, &b| sums[a].total_cmp(&sums[b]));
    Ok(Some(Observed { by_influence, lens }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, tiny_decoder};
    use crate::eval::text::reading::tests::{GO_ON, text};
    use crate::model::Decoder;
    use crate::model::testing::packed_decoder;
    use crate::trace::KvMode;

    fn job(decoder: &Decoder) -> TextSweep<'_> {
        TextSweep {
            decoder,
            routers: None,
            kv: KvMode::Fill,
            threads: 2,
            stop: &GO_ON,
            seed: 1,
        }
    }

    fn texts() -> Vec<Text> {
        let of = |shift: u32| Text {
            answer: text().answer.iter().map(|id| (id + shift) % 60).collect(),
            ..text()
        };
        (0..3).map(of).collect()
    }

    #[test]
    fn layers_are_removed_by_what_their_absence_costs() {
        const MANY: usize = 6;
        let decoder = packed_decoder(MANY);
        let removal = remove(&job(&decoder), &texts(), 9, &mut |_| {}).unwrap().unwrap();
        assert_eq!((removal.texts, removal.tokens), (3, 24));
        let mut sorted = removal.order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, routed(MANY).collect::<Vec<_>>(), "no more than there are");
        // The same by whole runs.
        let kl = |skipped: &[usize]| -> f64 {
            let of = |text: &Text| -> f64 {
                let reference = Reference::new(&decoder, text, &GO_ON, |_, _| Ok(())).unwrap();
                let programs = super::super::programs::without(MANY, skipped, text.answer.len());
                reference.under(&programs, KvMode::Fill).unwrap().kl.iter().sum()
            };
            texts().iter().map(of).sum::<f64>() / 24.0
        };
        for (count, found) in (1..).zip(&removal.kl) {
            let (before, chosen) = removal.order[..count].split_at(count - 1);
            let cost = |layer: usize| kl(&[before, &[layer]].concat());
            assert!((cost(chosen[0]) - found).abs() < 1e-4);
            let others = routed(MANY).filter(|l| !before.contains(l));
            assert!(others.map(cost).all(|other| other > found - 1e-4), "{removal:?}");
        }
    }

    #[test]
    fn a_layer_that_does_nothing_goes_first_and_has_no_influence() {
        const MANY: usize = 6;
        let decoder = crate::model::testing::decoder_with_idle_layer(MANY, 3);
        let removal = remove(&job(&decoder), &texts(), 1, &mut |_| {}).unwrap().unwrap();
        assert_eq!(removal.order, [3]);
        assert!(removal.kl[0] < 1e-6, "{removal:?}");
        let observed = observe(&job(&decoder), &texts(), &mut |_| {}).unwrap().unwrap();
        assert_eq!((observed.by_influence[0], observed.by_influence.len()), (3, 3));
    }

    #[test]
    fn influence_orders_the_routable_layers() {
        let decoder = tiny_decoder();
        let observed = observe(&job(&decoder), &texts(), &mut |_| {}).unwrap().unwrap();
        assert_eq!(observed.by_influence, routed(LAYERS).collect::<Vec<_>>());
    }
}
