use super::*;
use crate::model::config::fields::Kind;

const ALL: [&[&str]; 4] = [READ, READ_SLIDING, READ_GEMMA3, HARMLESS];

#[test]
fn a_field_is_of_one_kind() {
    let names: Vec<&str> = ALL
        .concat()
        .into_iter()
        .chain(REFUSED.iter().map(|(name, _)| *name))
        .collect();
    for name in &names {
        assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
    }
    assert!(matches!(kind(Architecture::Qwen2, "sliding_window"), Some(Kind::Read)));
    assert!(kind(Architecture::Llama, "sliding_window").is_none());
    assert!(matches!(kind(Architecture::Llama, "_anything"), Some(Kind::Harmless)));
    assert!(kind(Architecture::Llama, "anything").is_none());
}

/// What transformers 5.24 makes of a config.json that says only what it is.
#[test]
fn what_is_left_out_is_as_transformers_has_it() {
    let config = |kind: &str, head: Option<usize>| {
        let raw = serde_json::json!({"model_type": kind});
        read(raw.as_object().unwrap(), || head).unwrap().0
    };
    let shape = |c: &ModelConfig| {
        (
            c.layers,
            c.hidden_size,
            c.intermediate_size,
            c.heads,
            c.kv_heads,
            c.head_dim,
        )
    };
    let llama = config("llama", None);
    assert_eq!(shape(&llama), (32, 4096, 11_008, 32, 32, 128));
    assert_eq!(
        (llama.vocab_size, llama.context, llama.rms_norm_eps),
        (32_000, 2048, 1e-6)
    );
    assert_eq!((llama.rope_theta, llama.tied_embeddings), (10_000.0, false));
    assert_eq!(llama.details, Details::default());
    assert_eq!(shape(&config("qwen2", None)), (32, 4096, 22_016, 32, 32, 128));
    assert_eq!(config("qwen3", None).head_dim, 128);
    assert_eq!(config("qwen3", Some(64)).head_dim, 64);
    let gemma = config("gemma3_text", None);
    assert_eq!(shape(&gemma), (26, 2304, 9216, 8, 4, 256));
    assert_eq!(
        (gemma.vocab_size, gemma.context, gemma.tied_embeddings),
        (262_208, 131_072, true)
    );
    assert_eq!((gemma.rope_theta, gemma.attention_scale()), (1_000_000.0, 0.0625));
    assert_eq!(
        (gemma.details.activation, gemma.details.embedding_scale),
        (Activation::GeluTanh, Some(48.0))
    );
    let sliding = gemma.details.sliding.unwrap();
    assert_eq!(
        (sliding.window, sliding.rope),
        (4096, Some((10_000.0, RopeScaling::None)))
    );
    let full: Vec<usize> = (0..26).filter(|&layer| !sliding.layers[layer]).collect();
    assert_eq!(full, [5, 11, 17, 23]);
}

#[test]
fn windows_of_qwen_are_used_only_where_the_file_says_so() {
    let sliding = |fields: serde_json::Value| {
        let mut raw = serde_json::json!({"model_type": "qwen2", "num_hidden_layers": 4, "sliding_window": 9});
        raw.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (config, _) = read(raw.as_object().unwrap(), || None).unwrap();
        config.details.sliding.map(|sliding| (sliding.window, sliding.layers))
    };
    assert_eq!(sliding(serde_json::json!({})), None);
    assert_eq!(sliding(serde_json::json!({"use_sliding_window": true})), None);
    let last = Some((9, vec![false, false, true, true]));
    assert_eq!(
        sliding(serde_json::json!({"use_sliding_window": true, "max_window_layers": 2})),
        last
    );
    let types = [
        "full_attention",
        "full_attention",
        "sliding_attention",
        "sliding_attention",
    ];
    assert_eq!(
        sliding(serde_json::json!({"use_sliding_window": true, "layer_types": types})),
        last
    );
    assert_eq!(
        sliding(serde_json::json!({"use_sliding_window": false, "layer_types": types})),
        None
    );
}
