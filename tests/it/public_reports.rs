//! Files as people have them, from public reports on neighbouring programs: what transformers and llama.cpp load loads and
//! gives the numbers of an exact forward pass (float64, numpy), and what would give others is refused by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::{Device, Tensor};
use drllm::engine::sequence::Sequence;
use drllm::eval::{ChoiceScorer, EncodedQuestion, Scoring, Task};
use drllm::model::{Model, catalog};
use drllm::program::Program;
use serde_json::json;

/// Of the prompt's last token, the logits of these ids are compared.
const PROBED: [usize; 3] = [5, 77, 200];

fn inputs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports")
}

fn load(path: &Path) -> Result<Model> {
    let stop = AtomicBool::new(false);
    let located = catalog::locate(path.to_str(), &mut |_| {}, &stop)?;
    Model::load(&located, String::new(), &Device::Cpu, true, &mut |_| {})
}

fn refused(path: &Path) -> String {
    format!("{:#}", load(path).err().expect("the model was to be refused"))
}

fn logits(model: &Model) -> [f32; 3] {
    let ids: Vec<u32> = [40, 60, 80, 100, 33, 70, 91, 12, 200, 45].repeat(4);
    let stop = AtomicBool::new(false);
    let program = Program::standard(model.decoder.config().layers);
    let all = Sequence::new(&model.decoder, &stop)
        .run_program(&ids, &program)
        .unwrap();
    let all: Vec<f32> = all.to_vec1().unwrap();
    PROBED.map(|id| all[id])
}

fn check(what: &str, model: Result<Model>, expected: [f32; 3]) {
    let found = logits(&model.unwrap_or_else(|e| panic!("{what}: {e:#}")));
    let near = found
        .iter()
        .zip(expected)
        .all(|(found, expected)| (found - expected).abs() < 1e-3);
    assert!(near, "{what}: {found:?} for {expected:?}");
}

/// A folder of small weights, `weights` of tests/reports, whose config.json has these fields besides; null takes one away.
fn folder(weights: &str, fields: serde_json::Value) -> tempfile::TempDir {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": 262, "hidden_act": "silu",
        "tie_word_embeddings": false, "torch_dtype": "float32",
    });
    let all = config.as_object_mut().unwrap();
    for (name, value) in fields.as_object().unwrap() {
        match value.is_null() {
            true => all.remove(name),
            false => all.insert(name.clone(), value.clone()),
        };
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(inputs().join(weights), dir.path().join("model.safetensors")).unwrap();
    std::fs::copy(inputs().join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

const PLAIN: [f32; 3] = [1.1813, 0.0701, 1.5493];
const HALF_AS_FAST: [f32; 3] = [0.8281, -0.1039, 1.2247];

#[test]
fn activations_are_those_that_config_json_names() {
    for (name, expected) in [
        ("relu", [1.0990, 0.3511, 1.6001]),
        ("gelu", [1.1803, 0.1547, 1.5570]),
        ("gelu_pytorch_tanh", [1.1805, 0.1545, 1.5570]),
        ("gelu_new", [1.1805, 0.1545, 1.5570]),
        ("swish", PLAIN),
        ("silu", PLAIN),
    ] {
        let dir = folder("llama.safetensors", json!({"hidden_act": name}));
        check(name, load(dir.path()), expected);
    }
    let other = refused(folder("llama.safetensors", json!({"hidden_act": "xielu"})).path());
    assert!(other.contains("hidden_act") && other.contains("xielu"), "{other}");
}

#[test]
fn fields_may_be_left_out_null_or_in_another_spelling() {
    for fields in [
        json!({"rms_norm_eps": null}),
        json!({"max_position_embeddings": null}),
        json!({"rope_theta": null}),
        json!({"hidden_act": null, "tie_word_embeddings": null, "torch_dtype": null, "architectures": null}),
        json!({"rms_norm_eps": null, "max_position_embeddings": null}),
        json!({"rope_theta": 10000, "num_hidden_layers": 2.0, "tie_word_embeddings": 0}),
        json!({"rope_scaling": {}, "rope_parameters": {"rope_theta": 10000.0}, "rope_theta": 7.0}),
    ] {
        let dir = folder("llama.safetensors", fields.clone());
        check(&fields.to_string(), load(dir.path()), PLAIN);
    }
    let text = r#"{"rope_scaling": null, "head_dim": null, "sliding_window": null, "layer_types": null, "#;
    let dir = folder("llama.safetensors", json!({}));
    let path = dir.path().join("config.json");
    let given = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}{text}{}", &given[1..])).unwrap();
    check("nulls behind a byte-order mark", load(dir.path()), PLAIN);
    for (field, value) in [
        ("rms_norm_eps", json!("1e-5")),
        ("num_hidden_layers", json!(2.5)),
        ("rope_theta", json!([1])),
        ("tie_word_embeddings", json!("no")),
        ("rope_scaling", json!("linear")),
    ] {
        let said = refused(folder("llama.safetensors", json!({field: value})).path());
        assert!(said.contains(field) && said.contains("expected"), "{said}");
    }
}

#[test]
fn the_type_of_rope_may_stand_under_either_name_or_both() {
    for fields in [
        json!({"rope_scaling": {"factor": 2.0, "rope_type": "linear", "type": "linear"}}),
        json!({"rope_scaling": {"factor": 2, "type": "linear"}}),
        json!({"rope_scaling": {"factor": 2.0, "rope_type": "linear"}}),
        json!({"rope_theta": null, "rope_parameters": {"factor": 2.0, "rope_theta": 10000.0, "rope_type": "linear", "type": "linear"}}),
    ] {
        let dir = folder("llama.safetensors", fields.clone());
        check(&fields.to_string(), load(dir.path()), HALF_AS_FAST);
    }
    for fields in [
        json!({"rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]}}),
        json!({"rope_theta": 7.0, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}),
    ] {
        let dir = folder("llama.safetensors", fields.clone());
        check(&fields.to_string(), load(dir.path()), PLAIN);
    }
    let base = json!({"rope_theta": null, "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}});
    check(
        "base within",
        load(folder("llama.safetensors", base).path()),
        [0.7376, 0.0821, 1.3945],
    );
    let said = refused(
        folder(
            "llama.safetensors",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}),
        )
        .path(),
    );
    assert!(said.contains("yarn") && said.contains("llama3"), "{said}");
}

#[test]
fn fields_that_change_the_computation_are_refused_or_told() {
    for fields in [
        json!({"partial_rotary_factor": 0.5}),
        json!({"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.25}}),
        json!({"num_local_experts": 8}),
        json!({"final_logit_softcapping": 30.0}),
        json!({"attention_multiplier": 0.01}),
        json!({"residual_multiplier": 0.2}),
        json!({"logits_scaling": 8.0}),
        json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
        json!({"quantization": {"group_size": 64, "bits": 4}}),
        json!({"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}}),
    ] {
        let said = refused(folder("llama.safetensors", fields.clone()).path());
        let names = fields.as_object().unwrap().keys().next().unwrap().clone();
        assert!(said.contains(&names) && said.contains("config.json"), "{said}");
    }
    // What asks for nothing is no reason to refuse, and what is not known is told.
    let dir = folder(
        "llama.safetensors",
        json!({"partial_rotary_factor": 1.0, "num_local_experts": 0, "residual_multiplier": 1, "pretraining_tp": 2,
               "rope_interleaved": false, "some_new_thing": 3}),
    );
    let model = load(dir.path()).unwrap();
    assert_eq!(model.notes.len(), 1);
    assert!(
        model.notes[0].contains("some_new_thing") && !model.notes[0].contains("pretraining_tp"),
        "{:?}",
        model.notes
    );
    check("neutral values", Ok(model), PLAIN);
}

#[test]
fn eight_bits_are_multiplied_with_their_scales() {
    let qwen = json!({
        "model_type": "qwen3",
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
    });
    let block = folder("fp8-block.safetensors", qwen);
    check("a scale a block", load(block.path()), [0.8807, 0.7800, 1.8433]);
    let config = json!({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized"}});
    let row = folder("fp8-row.safetensors", config.clone());
    check("a scale a row", load(row.path()), [1.1872, 0.1438, 1.6680]);
    // The same in other layouts: of rows that all have one scale, one for the tensor, and one for each half of a row.
    let path = row.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let module = "model.layers.0.mlp.up_proj";
    let scales = |tensor: Tensor| HashMap::from([(format!("{module}.weight_scale"), tensor)]);
    let of = |tensors: &HashMap<String, Tensor>, changed: HashMap<String, Tensor>| {
        let mut all = tensors.clone();
        all.extend(changed);
        candle_core::safetensors::save(&all, &path).unwrap();
        load(row.path()).map(|model| logits(&model))
    };
    let rows = 24;
    tensors.extend(scales(Tensor::full(0.01f32, (rows, 1), &Device::Cpu).unwrap()));
    let expected = of(&tensors, HashMap::new()).unwrap();
    for one in [
        Tensor::full(0.01f32, (), &Device::Cpu),
        Tensor::full(0.01f32, (1, 1), &Device::Cpu),
    ] {
        assert_eq!(of(&tensors, scales(one.unwrap())).unwrap(), expected);
    }
    let odd = of(&tensors, scales(Tensor::full(0.01f32, (3, 5), &Device::Cpu).unwrap()));
    assert!(format!("{:#}", odd.unwrap_err()).contains("weight_scale"));
    // What a weight has beside it in a form that is not read is not passed over.
    for name in ["weight_zero_point", "absmax", "lora_A.weight", "g_idx"] {
        let other = HashMap::from([(
            format!("{module}.{name}"),
            Tensor::ones(rows, candle_core::DType::F32, &Device::Cpu).unwrap(),
        )]);
        let said = format!("{:#}", of(&tensors, other).unwrap_err());
        assert!(said.contains(&format!("{module}.{name}")), "{said}");
    }
    let input = HashMap::from([(
        format!("{module}.input_scale"),
        Tensor::ones(1, candle_core::DType::F32, &Device::Cpu).unwrap(),
    )]);
    assert_eq!(of(&tensors, input).unwrap(), expected);
}

#[test]
fn tensors_that_belong_to_no_part_are_told() {
    let dir = folder("llama.safetensors", json!({}));
    let path = dir.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    for layer in 0..2 {
        for name in ["self_attn.q_norm.weight", "self_attn.rotary_emb.inv_freq"] {
            let one = Tensor::ones(8, candle_core::DType::F32, &Device::Cpu).unwrap();
            tensors.insert(format!("model.layers.{layer}.{name}"), one);
        }
    }
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let notes = load(dir.path()).unwrap().notes;
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].contains("model.layers.*.self_attn.q_norm.weight;"),
        "{notes:?}"
    );
    tensors.remove("lm_head.weight");
    candle_core::safetensors::save(&tensors, &path).unwrap();
    assert!(load(dir.path()).unwrap().notes[0].contains("its embeddings are the head"));
}

/// The GGUF file of tests/reports with other metadata: `None` takes an entry away.
fn gguf(dir: &Path, changes: &[(&str, Option<Value>)]) -> PathBuf {
    let path = dir.join("m.gguf");
    write(&path, changes, |_| true);
    path
}

fn write(path: &Path, changes: &[(&str, Option<Value>)], keep: impl Fn(usize) -> bool) {
    let mut reader = std::fs::File::open(inputs().join("llama.gguf")).unwrap();
    let content = gguf_file::Content::read(&mut reader).unwrap();
    let mut metadata: HashMap<String, Value> = content.metadata.clone();
    for key in ["llama.rope.scaling.type", "llama.rope.scaling.factor"] {
        metadata.remove(key);
    }
    for (key, value) in changes {
        match value {
            Some(value) => metadata.insert((*key).to_owned(), value.clone()),
            None => metadata.remove(*key),
        };
    }
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let tensors: Vec<(&str, QTensor)> = names
        .iter()
        .enumerate()
        .filter(|(index, _)| keep(*index))
        .map(|(_, name)| (name.as_str(), content.tensor(&mut reader, name, &Device::Cpu).unwrap()))
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    gguf_file::write(&mut std::fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

const GGUF: [f32; 3] = [2.6704, 1.7779, -0.1161];
const GGUF_LINEAR: [f32; 3] = [1.0606, 2.0313, -0.3782];

fn text(text: &str) -> Option<Value> {
    Some(Value::String(text.to_owned()))
}

#[test]
fn rope_scaling_is_found_under_each_key_that_llama_cpp_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (kind, factor, old) = (
        "llama.rope.scaling.type",
        "llama.rope.scaling.factor",
        "llama.rope.scale_linear",
    );
    let four = || Some(Value::F32(4.0));
    for (what, changes, expected) in [
        ("the older key", vec![(old, four())], GGUF_LINEAR),
        ("no type", vec![(factor, four())], GGUF_LINEAR),
        ("both", vec![(kind, text("linear")), (factor, four())], GGUF_LINEAR),
        ("a whole number", vec![(factor, Some(Value::U32(4)))], GGUF_LINEAR),
        ("type none", vec![(kind, text("none")), (factor, four())], GGUF),
        ("none", vec![], GGUF),
        ("factor 0", vec![(factor, Some(Value::F32(0.0)))], GGUF),
        (
            "the newer before the older",
            vec![(factor, Some(Value::F32(1.0))), (old, four())],
            GGUF,
        ),
    ] {
        check(what, load(&gguf(dir.path(), &changes)), expected);
    }
    for (key, value, said) in [
        (kind, text("yarn"), "yarn"),
        (kind, Some(Value::U32(1)), "expected a text"),
        (factor, text("4"), "expected a number"),
        ("llama.rope.freq_base", text("1e4"), "expected a number"),
    ] {
        let message = refused(&gguf(dir.path(), &[(key, value)]));
        assert!(message.contains(key) && message.contains(said), "{message}");
    }
}

#[test]
fn numbers_may_be_lists_of_one_for_each_layer() {
    let dir = tempfile::tempdir().unwrap();
    let list = |numbers: &[i32]| Some(Value::Array(numbers.iter().map(|&n| Value::I32(n)).collect()));
    for changes in [
        vec![("llama.attention.head_count_kv", list(&[1, 1]))],
        vec![("llama.feed_forward_length", list(&[24, 24]))],
        vec![
            ("llama.attention.head_count", list(&[2, 2])),
            ("llama.block_count", Some(Value::U64(2))),
        ],
        vec![("llama.attention.layer_norm_rms_epsilon", Some(Value::F64(1e-5)))],
    ] {
        check(&format!("{changes:?}"), load(&gguf(dir.path(), &changes)), GGUF);
    }
    for (key, value, said) in [
        (
            "llama.attention.head_count_kv",
            list(&[1, 2]),
            "1 in layer 0 and 2 in layer 1",
        ),
        ("llama.feed_forward_length", list(&[24]), "1 numbers for 2 layers"),
        ("llama.feed_forward_length", list(&[24, -1]), "expected whole numbers"),
        ("llama.attention.head_count", text("2"), "expected a whole number"),
    ] {
        let message = refused(&gguf(dir.path(), &[(key, value)]));
        assert!(message.contains(key) && message.contains(said), "{message}");
    }
}

#[test]
fn metadata_that_changes_the_computation_is_refused_or_told() {
    let dir = tempfile::tempdir().unwrap();
    for (key, value) in [
        ("llama.rope.dimension_count", Value::U32(4)),
        ("llama.attention.value_length", Value::U32(4)),
        ("llama.expert_count", Value::U32(8)),
        ("llama.logit_scale", Value::F32(0.5)),
        ("llama.final_logit_softcapping", Value::F32(30.0)),
        ("llama.attention.causal", Value::Bool(false)),
        ("llama.attention.sliding_window", Value::U32(16)),
    ] {
        let message = refused(&gguf(dir.path(), &[(key, Some(value))]));
        let name = key.trim_start_matches("llama.");
        assert!(message.contains(name), "{message}");
    }
    let harmless = [
        ("llama.rope.dimension_count", Value::U32(8)),
        ("llama.expert_count", Value::U32(0)),
        ("llama.attention.causal", Value::U8(1)),
        ("llama.vocab_size", Value::U32(262)),
        ("llama.something.new", Value::Array(vec![Value::U8(3)])),
        ("general.author", Value::Bool(true)),
    ];
    let model = load(&gguf(dir.path(), &harmless.map(|(key, value)| (key, Some(value))))).unwrap();
    assert_eq!(model.notes.len(), 1);
    assert!(model.notes[0].contains(": something.new;"), "{:?}", model.notes);
    check("harmless", Ok(model), GGUF);
    let scale = ("llama.attention.scale", Some(Value::F32(8f32.sqrt().recip())));
    check("the usual scale, written out", load(&gguf(dir.path(), &[scale])), GGUF);
    let other = load(&gguf(dir.path(), &[("llama.attention.scale", Some(Value::F32(1.0)))])).unwrap();
    assert!((logits(&other)[0] - GGUF[0]).abs() > 1e-3);
}

#[test]
fn types_that_are_not_read_are_named_and_nothing_is_called_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = gguf(dir.path(), &[]);
    let whole = std::fs::read(&path).unwrap();
    let name = b"blk.0.ffn_down.weight";
    // The number of dimensions and two lengths stand between a tensor's name and its type.
    let at = whole.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    for (number, kind) in [(39u32, "MXFP4"), (19, "IQ1_S"), (4, "Q4_2"), (99, "number 99")] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let message = refused(&path);
        assert!(
            message.contains("blk.0.ffn_down.weight") && message.contains(kind),
            "{message}"
        );
        assert!(
            message.contains("Q4_K") && !message.contains("corrupt") && !message.contains("delete"),
            "{message}"
        );
    }
}

#[test]
fn parts_of_a_split_model_load_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let part = |n: usize| dir.path().join(format!("m-{n:05}-of-00003.gguf"));
    let split = |number: usize| {
        vec![
            ("split.no", Some(Value::U16(number as u16))),
            ("split.count", Some(Value::U16(3))),
            ("split.tensors.count", Some(Value::I32(21))),
        ]
    };
    for n in 1..=3 {
        write(&part(n), &split(n - 1), |index| index % 3 == n - 1);
    }
    for n in 1..=3 {
        check(&format!("given part {n}"), load(&part(n)), GGUF);
    }
    let sum = |path: &Path| {
        let located = catalog::locate(path.to_str(), &mut |_| {}, &AtomicBool::new(false)).unwrap();
        located.sha256(&mut |_| {}, &AtomicBool::new(false)).unwrap()
    };
    assert_eq!(sum(&part(1)), sum(&part(3)));
    // A part that is another one's, that has the same tensors, or that is not there.
    let second = std::fs::read(part(2)).unwrap();
    std::fs::copy(part(3), part(2)).unwrap();
    assert!(refused(&part(1)).contains("split.no is 2, 1 was expected"));
    write(&part(2), &split(1), |index| index % 3 == 0);
    assert!(refused(&part(1)).contains("is in another part, too"));
    write(&part(2), &split(1), |index| index == 1);
    assert!(refused(&part(1)).contains("declares 21"));
    std::fs::remove_file(part(2)).unwrap();
    assert!(refused(&part(1)).contains("m-00002-of-00003.gguf"));
    // By another name nothing says where the others are.
    std::fs::write(dir.path().join("m.gguf"), second).unwrap();
    assert!(refused(&dir.path().join("m.gguf")).contains("-00001-of-00003.gguf"));
}

/// The margins by which the right choice leads, as lm-evaluation-harness scores them.
#[test]
fn choices_are_scored_as_harnesses_do_it_under_sentencepiece() {
    let model = load(&inputs().join("sentencepiece.gguf")).unwrap();
    let task = Task::load(&inputs().join("choices.jsonl")).unwrap();
    let program = Program::standard(model.decoder.config().layers);
    let expected = [1.3416, 8.3024, -11.0320, -2.2082, 3.1893, -1.2259];
    assert_eq!(task.questions.len(), expected.len());
    for (question, expected) in task.questions.iter().zip(expected) {
        let encoded = EncodedQuestion::for_model(question, &model, Scoring::Sum).unwrap();
        let score = ChoiceScorer::new(&model.decoder, &encoded)
            .unwrap()
            .run(&program, Scoring::Sum)
            .unwrap();
        assert!(
            (score.margin - expected).abs() < 1e-3,
            "{}: {} for {expected}",
            question.id,
            score.margin
        );
    }
}
