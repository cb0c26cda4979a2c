use super::*;
use crate::model::weights::WeightSource;
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

/// A small but complete file: strings, numbers, arrays, two tensors.
fn synthetic(extra: &[(&str, Value)]) -> Vec<u8> {
    let tensor = Tensor::arange(0f32, 4.0 * 64.0, &Device::Cpu)
        .unwrap()
        .reshape((4, 64))
        .unwrap();
    let quantised = QTensor::quantize(&tensor, GgmlDType::Q4_1).unwrap();
    let full = QTensor::quantize(&tensor, GgmlDType::F32).unwrap();
    let mut metadata = vec![
        ("general.architecture", Value::String("llama".to_owned())),
        ("llama.block_count", Value::U32(2)),
        ("general.file_type", Value::I32(3)),
        ("llama.rope.freq_base", Value::F32(10000.0)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        (
            "tokenizer.ggml.tokens",
            Value::Array(["a", "b", "ab"].map(|text| Value::String(text.to_owned())).to_vec()),
        ),
        ("tokenizer.ggml.token_type", Value::Array(vec![Value::I32(1); 3])),
    ];
    let own = |key: &str| extra.iter().all(|(other, _)| *other != key);
    metadata.retain(|(key, _)| *key != "general.file_type" || own(key));
    metadata.extend(extra.iter().cloned());
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(
        &mut file,
        &metadata,
        &[("blk.0.attn_q.weight", &quantised), ("output.weight", &full)],
    )
    .unwrap();
    file.into_inner()
}

fn parse(bytes: &[u8]) -> Result<Content, GgufError> {
    super::parse(bytes, "m.gguf").map(|(content, _)| content)
}

fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn the_mix_that_a_file_names_is_believed_where_its_type_is_there() {
    let mixed = |kind: u32| {
        let bytes = synthetic(&[("general.file_type", Value::U32(kind))]);
        let (_dir, path) = on_disk(&bytes);
        WeightSource::Gguf(Box::new(open(&path).unwrap())).quantisation()
    };
    assert_eq!(mixed(3), "Q4_1");
    // There are as many weights in F32, and nothing in Q4_K.
    assert_eq!([mixed(15), mixed(999)], [mixed(8), mixed(8)]);
    assert_eq!(file_type_name(15), Some("Q4_K_M"));
    assert!(is_mix_of("Q4_K_M", &type_name(GgmlDType::Q4K)) && is_mix_of("Q5_0", "Q5_0"));
    assert!(!is_mix_of("Q4_K_M", "Q5_0") && !is_mix_of("Q4_K_M", "Q4"));
}

#[test]
fn a_sound_file_opens() {
    let (_dir, path) = on_disk(&synthetic(&[]));
    let file = open(&path).unwrap();
    assert_eq!(file.architecture(), "llama");
    assert_eq!(file.own("block_count"), Some(2));
    assert_eq!(file.integer("general.file_type"), Some(3));
    // Q4_1 holds 32 weights in 20 bytes.
    assert_eq!(
        file.tensor_bytes("blk.0.attn_q.weight").unwrap().len(),
        4 * 64 / 32 * 20
    );
    let floats = file.tensor_bytes("output.weight").unwrap();
    assert_eq!(floats[4..8], 1f32.to_le_bytes());
    assert!(file.tensor_bytes("missing").is_none());
}

#[test]
fn missing_empty_and_renamed_files_are_named() {
    let missing = open(Path::new("/nonexistent/m.gguf")).err().unwrap().to_string();
    assert!(missing.contains("/nonexistent/m.gguf"), "{missing}");

    let (dir, path) = on_disk(b"");
    assert!(matches!(open(&path), Err(GgufError::Empty { .. })));
    assert!(matches!(open(dir.path()), Err(GgufError::Io { .. })));

    let (_dir, path) = on_disk(b"PK\x03\x04 this is a zip file");
    let renamed = open(&path).err().unwrap().to_string();
    assert!(
        renamed.contains("not a GGUF file") && renamed.contains(r"PK\x03\x04"),
        "{renamed}"
    );
}

#[test]
fn truncated_tensors_are_named_with_expected_and_actual_bytes() {
    let whole = synthetic(&[]);
    // The last tensor's data fills a multiple of 32 bytes: no padding follows it.
    let cut = &whole[..whole.len() - 1];
    match parse(cut).err().unwrap() {
        GgufError::Truncated {
            what, expected, actual, ..
        } => {
            assert_eq!(what, "tensor output.weight");
            assert_eq!((expected, actual), (whole.len() as u64, cut.len() as u64));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    let whole = synthetic(&[]);
    for (at, what) in [(8, "tensors"), (16, "metadata entries")] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let message = parse(&bytes).err().unwrap().to_string();
        assert!(
            message.contains(what) && message.contains("18446744073709551615"),
            "{message}"
        );
    }
    // The first key's length, then the length of an array of strings.
    let mut bytes = whole.clone();
    bytes[24..32].copy_from_slice(&(1u64 << 62).to_le_bytes());
    assert!(matches!(parse(&bytes), Err(GgufError::Truncated { .. })));

    let key = b"tokenizer.ggml.tokens";
    let at = whole.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 8;
    let mut bytes = whole.clone();
    bytes[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let message = parse(&bytes).err().unwrap().to_string();
    assert!(message.contains("array of 1099511627776 elements"), "{message}");
}

#[test]
fn zero_alignment_and_deep_nesting_are_refused() {
    let zero = parse(&synthetic(&[("general.alignment", Value::U32(0))]))
        .err()
        .unwrap();
    assert!(zero.to_string().contains("power of two"), "{zero}");
    assert!(parse(&synthetic(&[("general.alignment", Value::U32(32))])).is_ok());

    let mut nested = Value::Array(vec![Value::U8(1)]);
    for _ in 0..5 {
        nested = Value::Array(vec![nested]);
    }
    let deep = parse(&synthetic(&[("x", nested)])).err().unwrap();
    assert!(deep.to_string().contains("nested"), "{deep}");
}

#[test]
fn duplicates_are_refused() {
    let twice = parse(&synthetic(&[("llama.block_count", Value::U32(9))]))
        .err()
        .unwrap();
    assert!(twice.to_string().contains("same name"), "{twice}");
}

#[test]
fn unsupported_architectures_are_named_with_the_supported_list() {
    let mut bytes = synthetic(&[]);
    let at = bytes.windows(5).position(|window| window == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"ma\x1bba");
    let message = parse(&bytes).err().unwrap().to_string();
    assert!(message.contains("llama, qwen2, qwen3, gemma3"), "{message}");
    assert!(!message.contains('\x1b'), "{message:?}");
}

#[test]
fn parts_of_a_model_are_named() {
    assert!(parse(&synthetic(&[("split.count", Value::U16(1))])).is_ok());
    let part = parse(&synthetic(&[("split.count", Value::U16(3))])).err().unwrap();
    assert!(part.to_string().contains("one of 3 parts"), "{part}");
}

#[test]
fn other_versions_are_refused() {
    let mut bytes = synthetic(&[]);
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert!(matches!(parse(&bytes), Err(GgufError::Version { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damage_never_panics_and_never_passes_the_end(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        header in prop::collection::vec((0usize..400, any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = synthetic(&[]);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in header {
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        match parse(&bytes) {
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
            Ok(content) => {
                for info in content.tensor_infos.values() {
                    let end = content.tensor_data_offset + info.offset + tensor_size(info).unwrap();
                    prop_assert!(end <= bytes.len() as u64);
                }
            }
        }
    }
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    let mut bytes = synthetic(&[]);
    let name = b"output.weight";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap() + name.len();
    // After the name: the number of dimensions, the two of them, the type; then the offset.
    let offset = at + 4 + 16 + 4;
    for (shared, is_sound) in [(32u64, false), (0, false), (160, true)] {
        bytes[offset..offset + 8].copy_from_slice(&shared.to_le_bytes());
        match parse(&bytes) {
            Ok(_) => assert!(is_sound, "{shared}"),
            Err(error) => {
                let error = error.to_string();
                let told = error.contains("blk.0.attn_q.weight and output.weight share bytes");
                let either = told || error.contains("output.weight and blk.0.attn_q.weight share bytes");
                assert!(!is_sound && either, "{shared}: {error}");
            }
        }
    }
}

#[test]
fn a_type_that_candle_does_not_know_is_read_exactly() {
    let (bytes, config) = crate::model::testing::iq4_nl_file();
    let (content, iq4_nl) = super::parse(&bytes, "m.gguf").unwrap();
    assert_eq!(iq4_nl.len(), 14);
    assert_eq!(
        content.tensor_infos["blk.0.attn_q.weight"].ggml_dtype,
        GgmlDType::Q4_0,
        "what candle is told"
    );
    let exact = crate::model::testing::decoder_of_file(&bytes, config.clone(), true);
    let packed = crate::model::testing::decoder_of_file(&bytes, config.clone(), false);
    assert!(packed.by_kernels());
    let logits = |decoder: &crate::model::Decoder| -> Vec<f32> {
        let chunk = decoder.chunk(&[0, 1, 2]).unwrap();
        let mut hidden = decoder.embed(&[5, 9, 60]).unwrap();
        for layer in 0..config.layers {
            hidden = decoder.run_block(layer, &hidden, &chunk, None).unwrap();
        }
        decoder
            .logits(&hidden)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    };
    let (found, expected) = (logits(&packed), logits(&exact));
    assert!(expected.iter().any(|x| x.abs() > 0.1));
    let off = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    let greatest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    assert!(off < 2e-3 * greatest, "{off} of {greatest}");

    // By its name, and beside the type that it takes the place of.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let file = open(&path).unwrap();
    let name = |tensor: &str| file.type_name(tensor, &file.content.tensor_infos[tensor]);
    assert_eq!(
        (name("blk.1.ffn_up.weight"), name("token_embd.weight")),
        ("IQ4_NL".into(), "Q8_0".into())
    );
    let device = candle_core::Device::Cpu;
    let values = file
        .quantised("blk.1.ffn_up.weight", &device)
        .unwrap()
        .dequantize(&device)
        .unwrap();
    let block = file.tensor_bytes("blk.1.ffn_up.weight").unwrap();
    let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
    const VALUES: [f32; 16] = [
        -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
    ];
    let first: Vec<f32> = values.get(0).unwrap().to_vec1().unwrap();
    for (column, value) in first[..32].iter().enumerate() {
        let place = block[2 + column % 16] >> (4 * (column / 16)) & 15;
        assert_eq!(*value, scale * VALUES[usize::from(place)], "column {column}");
    }
}
