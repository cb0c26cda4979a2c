//! Both sides of the comparison: what the looped model and its twin have and do.

use crate::cli::table::{self, Cell, Table};
use crate::model::loopmoe::LoopMoeConfig;
use crate::model::loopmoe::capacity::Capacity;
use crate::train::lm::settings::Preset;

/// Sizes and capacities, a column a model.
pub fn text(preset: Preset, looped: &LoopMoeConfig) -> String {
    let plain = preset.plain();
    let context = preset.context();
    let (p, l) = (
        Capacity::of(&plain, 1.0, context),
        Capacity::of(looped, preset.distinct(), context),
    );
    let sizes = |name: &str, of: fn(&LoopMoeConfig) -> usize| {
        vec![
            Cell::Text(name.into()),
            Cell::Count(of(&plain)),
            Cell::Count(of(looped)),
            Cell::Absent,
        ]
    };
    let row = |name: &str, plain: f64, looped: f64, decimals: usize| {
        vec![
            Cell::Text(name.into()),
            Cell::Number(plain, decimals),
            Cell::Number(looped, decimals),
            Cell::Number(100.0 * (looped / plain - 1.0), 2),
        ]
    };
    let capacities = Table {
        name: "capacity",
        title: format!(
            "what is equal, at {context} tokens of context and {:.0} % distinct experts over the iterations",
            100.0 * preset.distinct()
        ),
        headings: vec!["", "plain", "looped", "difference, %"],
        rows: vec![
            row("parameters", p.parameters as f64, l.parameters as f64, 0),
            row("FLOPs a token", p.flops, l.flops, 0),
            row("active attention", p.attention, l.attention, 0),
            row("active feed-forward", p.feed_forward, l.feed_forward, 0),
            row("attention : feed-forward", p.ratio(), l.ratio(), 4),
            row("cache, floats a token", p.cache as f64, l.cache as f64, 0),
        ],
    };
    let sizes = Table {
        name: "sizes",
        title: "sizes".into(),
        headings: vec!["", "plain", "looped", ""],
        rows: vec![
            sizes("depth", |c| c.depth(c.iterations)),
            sizes("layers of their own", LoopMoeConfig::unique_layers),
            sizes("q_lora_rank", |c| c.q_lora_rank),
            sizes("kv_lora_rank", |c| c.kv_lora_rank),
            sizes("moe_intermediate_size", |c| c.moe_intermediate_size),
            sizes("n_routed_experts", |c| c.n_routed_experts),
            sizes("intermediate_size", |c| c.intermediate_size),
            sizes("iter_condition_size", |c| c.iter_condition_size),
        ],
    };
    table::text(&[capacities, sizes])
}
