//! The ways to train routers, and which options of `train` each of them reads.

/// What routers are made from, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Layer routers, from the records of a search.
    Records,
    /// A token verifier, from questions.
    Verifier,
    /// Depth routers, from texts.
    Depth,
    /// A predictor of programs, from the records of a search.
    Polar,
}

impl Way {
    /// As a message names it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Records => "layer routers from --records",
            Way::Verifier => "--verifier-spans",
            Way::Depth => "--method depth",
            Way::Polar => "--method polar",
        }
    }
}

/// Which options are read by some ways to train and not by all, by the names of their fields.
pub const OPTIONS: &[(&str, &[Way])] = &[
    ("skip_damaged", &[Way::Records, Way::Polar]),
    ("verifier_spans", &[Way::Verifier]),
    ("spare", &[Way::Verifier]),
    ("epochs", &[Way::Records, Way::Polar]),
    ("patience", &[Way::Records]),
    ("lr", &[Way::Records, Way::Depth, Way::Polar]),
    ("batch", &[Way::Records, Way::Depth, Way::Polar]),
    ("validation", &[Way::Records, Way::Verifier, Way::Polar]),
    ("windows", &[Way::Records, Way::Verifier]),
    ("width", &[Way::Records, Way::Depth, Way::Polar]),
    ("linear_layers", &[Way::Records]),
    ("input", &[Way::Records]),
    ("loss", &[Way::Records]),
    ("gamma", &[Way::Records]),
    ("raw", &[Way::Records]),
    ("standardise", &[Way::Records]),
    ("corrected_share", &[Way::Records]),
    ("metrics", &[Way::Records, Way::Depth, Way::Polar]),
    ("curves", &[Way::Records, Way::Depth, Way::Polar]),
    ("features", &[Way::Records]),
    ("resume", &[Way::Records, Way::Depth, Way::Polar]),
    ("ablate", &[Way::Records]),
    ("format", &[Way::Records]),
    ("prompts", &[Way::Depth]),
    ("from", &[Way::Depth]),
    ("texts", &[Way::Depth]),
    ("held_out", &[Way::Depth]),
    ("answer_tokens", &[Way::Depth]),
    ("steps", &[Way::Depth]),
    ("price", &[Way::Depth]),
    ("spread", &[Way::Depth]),
    ("neutral", &[Way::Depth]),
    ("noise", &[Way::Depth]),
    ("feature_layer", &[Way::Polar]),
    ("programs_a_question", &[Way::Polar]),
    ("standard_weight", &[Way::Polar]),
    ("layer_price", &[Way::Polar]),
    ("targets", &[Way::Polar]),
    ("contrast", &[Way::Polar]),
];
