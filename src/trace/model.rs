//! What a trace says of the model.

use serde::{Deserialize, Serialize};

/// The model that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Catalog name or file stem.
    pub name: String,
    /// sha256 of the GGUF file; of a folder, of its safetensors index or file. Hexadecimal.
    pub sha256: String,
    /// `llama`, `qwen2`, `qwen3`, `gemma3` or `loopmoe`.
    pub architecture: String,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Width of the hidden state, d.
    pub hidden_size: usize,
    /// Tokens it knows.
    pub vocab_size: usize,
    /// Greatest number of positions.
    pub context: usize,
    /// What the weights are held in: the mix that a GGUF file names of itself, `Q4_K_M`, else the commonest tensor type, as
    /// GGUF names it: `Q4_1`, `F16`.
    pub quantisation: String,
    /// Of a model whose layers are executions of fewer ones; absent elsewhere.
    #[serde(default, rename = "loop", skip_serializing_if = "Option::is_none")]
    pub looped: Option<Loop>,
    /// How products are computed; absent where as usual, and in older files.
    #[serde(default, skip_serializing_if = "Arithmetic::is_usual")]
    pub arithmetic: Arithmetic,
    /// Bits of a number of keys and values, where that is not the usual 16; absent in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_bits: Option<u8>,
}

/// How products with the weights are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// As the weights are run by default: where they are packed for the CPU, activations are rounded to 15 bits beside a scale
    /// for each 32.
    #[default]
    Usual,
    /// To eight bits.
    EightBits,
    /// To eight bits where weights are in blocks of 32, as usual before the others.
    EightBitsInPart,
    /// f32 throughout.
    Exact,
}

impl Arithmetic {
    /// Of products whose activations are rounded to eight bits or not.
    pub fn of_rounded(products: impl Iterator<Item = bool>) -> Arithmetic {
        let (mut any, mut all) = (false, true);
        for is_rounded in products {
            any |= is_rounded;
            all &= is_rounded;
        }
        match (any, all) {
            (false, _) => Arithmetic::Usual,
            (true, true) => Arithmetic::EightBits,
            (true, false) => Arithmetic::EightBitsInPart,
        }
    }

    fn is_usual(&self) -> bool {
        *self == Arithmetic::Usual
    }
}

impl ModelInfo {
    /// Whether both are the same weights, run equally often where they are looped.
    pub fn is_same(&self, other: &ModelInfo) -> bool {
        self.sha256 == other.sha256 && self.layers == other.layers
    }

    /// Its name, with the number of iterations where that is not the one of its training, and what of its arithmetic is not as
    /// usual.
    pub fn title(&self) -> String {
        let mut title = self.name.clone();
        match self.other_iterations() {
            Some(1) => title += ", 1 iteration",
            Some(iterations) => title += &format!(", {iterations} iterations"),
            None => {}
        }
        title += match self.arithmetic {
            Arithmetic::Usual => "",
            Arithmetic::EightBits => ", 8-bit activations",
            Arithmetic::EightBitsInPart => ", 8-bit activations in part",
            Arithmetic::Exact => ", exact",
        };
        if let Some(bits) = self.kv_bits {
            title += &format!(", {bits}-bit keys and values");
        }
        title
    }

    /// How often its loop runs, where that is not the number of its training.
    pub fn other_iterations(&self) -> Option<usize> {
        let looped = self.looped.filter(|looped| looped.trained.is_some());
        looped.map(|looped| looped.iterations)
    }
}

/// How the layers of a looped model come about: those before `first` run once, then `layers` of them run `iterations`
/// times, and what is left runs once. Each execution counts as a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loop {
    /// The first execution of the loop.
    pub first: usize,
    /// Layers that are looped.
    pub layers: usize,
    /// How often they run.
    pub iterations: usize,
    /// How often they ran in the training, where that is another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained: Option<usize>,
}

impl Loop {
    /// One more than the last execution of the loop.
    pub fn end(&self) -> usize {
        self.first + self.layers * self.iterations
    }

    /// The layer with weights of its own that an execution runs, and the iteration from 1, which is absent outside the loop.
    pub fn execution(&self, index: usize) -> (usize, Option<usize>) {
        match index {
            i if i < self.first => (i, None),
            i if i < self.end() => {
                let inside = i - self.first;
                (self.first + inside % self.layers, Some(inside / self.layers + 1))
            }
            i => (i - self.layers * (self.iterations - 1), None),
        }
    }

    /// The executions of an iteration, counted from 1.
    pub fn iteration(&self, iteration: usize) -> std::ops::Range<usize> {
        let start = self.first + self.layers * (iteration - 1);
        start..start + self.layers
    }

    /// Whether the executions lie within `layers` of them, as a file that is read may not have it.
    pub fn fits(&self, layers: usize) -> bool {
        let looped = self.layers.checked_mul(self.iterations);
        let end = looped.and_then(|looped| looped.checked_add(self.first));
        self.layers > 0 && self.iterations > 0 && end.is_some_and(|end| end <= layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_in_part_are_called_so() {
        let title = |products: &[bool]| {
            let arithmetic = Arithmetic::of_rounded(products.iter().copied());
            let name = "m".to_owned();
            let model = ModelInfo {
                name,
                arithmetic,
                ..ModelInfo::default()
            };
            model.title()
        };
        assert_eq!(title(&[true, true]), "m, 8-bit activations");
        assert_eq!(title(&[false, true, true]), "m, 8-bit activations in part");
        assert_eq!(title(&[true, false]), "m, 8-bit activations in part");
        assert_eq!([title(&[false]), title(&[])], ["m", "m"]);
        let written = serde_json::to_string(&Arithmetic::EightBitsInPart).unwrap();
        assert_eq!(written, "\"eight-bits-in-part\"");
    }

    #[test]
    fn executions_count_through_the_iterations() {
        let looped = Loop {
            first: 2,
            layers: 2,
            iterations: 3,
            trained: None,
        };
        let all: Vec<(usize, Option<usize>)> = (0..10).map(|i| looped.execution(i)).collect();
        let expected = [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 1),
            (2, 2),
            (3, 2),
            (2, 3),
            (3, 3),
            (4, 0),
            (5, 0),
        ];
        assert_eq!(all, expected.map(|(layer, k)| (layer, (k > 0).then_some(k))));
        assert_eq!((looped.iteration(2), looped.end()), (4..6, 8));
        assert!(looped.fits(8) && looped.fits(10) && !looped.fits(7));
        let absurd = Loop {
            layers: usize::MAX,
            ..looped
        };
        assert!(!absurd.fits(10));
    }
}
