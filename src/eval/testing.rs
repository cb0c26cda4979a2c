//! A decoder small enough for unit tests, with seeded random weights.

use std::collections::HashMap;

use candle_core::{DType, Device};

use super::multiple_choice::EncodedQuestion;
use super::tasks::{Answer, Question};
use crate::model::{Decoder, LoadOptions, ModelConfig, WeightSource};
use crate::router::{FastRouters, InputNorm, MlpRouter, RouterSet};
use crate::testing::tiny_model;
pub use crate::testing::tiny_model::{HIDDEN, LAYERS};
use crate::trace::RouterInfo;

/// A Llama of [`LAYERS`] layers; the same one at every call.
pub fn tiny_decoder() -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    tiny_model::write(folder.path(), 7);
    let config = ModelConfig::from_hf(&folder.path().join("config.json")).unwrap();
    let source = WeightSource::open_folder(folder.path()).unwrap();
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused: false,
    };
    Decoder::load(config, &source, place, &mut |_| {}).unwrap()
}

/// Routers of the tiny decoder whose biases alone decide: layer 1 is skipped, layer 2 repeated.
pub fn tiny_routers() -> RouterSet {
    let router = |layer: usize| MlpRouter {
        w1: vec![0.0; 2 * HIDDEN],
        b1: vec![0.0; 2],
        w2: vec![0.0; 6],
        b2: match layer {
            1 => vec![3.0, 1.0, 0.0],
            2 => vec![0.0, 1.0, 3.0],
            _ => vec![0.0, 1.0, 0.0],
        },
    };
    RouterSet {
        layers: (0..LAYERS).map(router).collect(),
        windows: 8,
        width: 2,
        hidden_size: HIDDEN,
        input_norm: InputNorm::None,
        metadata: HashMap::new(),
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    }
}

/// A question of three choices of 1, 2 and 5 tokens, one a byte.
pub fn question() -> EncodedQuestion {
    let question = Question {
        id: "tiny".into(),
        question: "Which?".into(),
        answer: Answer::Choice {
            choices: ["", "b", "cdef"].map(String::from).into(),
            right: 1,
        },
    };
    let encode = |text: &str| Ok(text.bytes().map(u32::from).collect());
    let prompt = question.prompt().bytes().map(u32::from).collect();
    EncodedQuestion::new(&question, 128, prompt, encode).unwrap()
}
