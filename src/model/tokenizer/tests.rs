use super::*;
use candle_core::quantized::gguf_file::{Content, Value, VersionedMagic};
use proptest::prelude::*;

fn content(entries: Vec<(&str, Value)>) -> Content {
    Content {
        magic: VersionedMagic::GgufV3,
        metadata: entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        tensor_infos: Default::default(),
        tensor_data_offset: 0,
    }
}

fn strings<T: AsRef<str>>(texts: &[T]) -> Value {
    Value::Array(
        texts
            .iter()
            .map(|text| Value::String(text.as_ref().to_owned()))
            .collect(),
    )
}

/// Every byte, a few merges, two control tokens and one that users define.
fn byte_level_content(pre: &str) -> Content {
    let alphabet = byte_alphabet();
    let mut bytes: Vec<(u8, char)> = alphabet.into_iter().map(|(c, byte)| (byte, c)).collect();
    bytes.sort_unstable();
    let mut tokens: Vec<String> = bytes.iter().map(|(_, c)| c.to_string()).collect();
    tokens.extend(["he", "ll", "hell", "hello", "Ġhello", "Ġ1", "12"].map(str::to_owned));
    let normal = tokens.len();
    tokens.extend(["<|im_start|>", "<|im_end|>", "<think>"].map(str::to_owned));
    let mut types = vec![Value::I32(1); normal];
    types.extend([3, 3, 4].map(Value::I32));
    content(vec![
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String(pre.to_owned())),
        ("tokenizer.ggml.tokens", strings(&tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        (
            "tokenizer.ggml.merges",
            strings(&["h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ 1", "1 2"]),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(normal as u32)),
        ("tokenizer.ggml.eos_token_id", Value::U32(normal as u32 + 1)),
    ])
}

fn byte_level(pre: &str) -> Tokenizer {
    Tokenizer::from_content(&byte_level_content(pre), "test").unwrap()
}

/// A SentencePiece vocabulary: unknown, control, all bytes, some pieces.
fn sentence_piece(space_prefix: Option<bool>) -> Tokenizer {
    Tokenizer::from_content(&content(sentence_piece_entries(space_prefix)), "test").unwrap()
}

fn sentence_piece_entries(space_prefix: Option<bool>) -> Vec<(&'static str, Value)> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let pieces = [
        "▁t", "he", "▁the", "▁a", "in", "▁", "e", "t", "a", "h", "i", "n", "o", "s", "▁th",
    ];
    let mut types: Vec<Value> = [2, 3, 3].map(Value::I32).to_vec();
    types.extend(vec![Value::I32(6); 256]);
    types.extend(vec![Value::I32(1); pieces.len()]);
    let mut scores = vec![Value::F32(0.0); 259];
    scores.extend((0..pieces.len()).map(|rank| Value::F32(-(rank as f32))));
    tokens.extend(pieces.map(str::to_owned));
    let mut entries = vec![
        ("tokenizer.ggml.model", Value::String("llama".to_owned())),
        ("tokenizer.ggml.tokens", strings(&tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.scores", Value::Array(scores)),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
    ];
    if let Some(prefix) = space_prefix {
        entries.push(("tokenizer.ggml.add_space_prefix", Value::Bool(prefix)));
    }
    entries
}

fn texts(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text).unwrap();
    ids.iter().map(|&id| tokenizer.decode_piece(id)).collect()
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = StreamDecoder::from_start(tokenizer);
    let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
    text.push_str(&stream.flush());
    text
}

#[test]
fn special_tokens_are_parsed_only_when_asked() {
    let tokenizer = byte_level("smollm");
    let start = tokenizer.bos().unwrap();
    let text = "<|im_start|>hello<|im_end|>";
    let parsed = tokenizer.encode(text).unwrap();
    assert_eq!(parsed.len(), 3);
    assert_eq!((parsed[0], parsed[2]), (start, tokenizer.eos_ids()[0]));
    assert!(tokenizer.is_special(start) && !tokenizer.is_special(parsed[1]));

    let plain = tokenizer.encode_plain(text).unwrap();
    assert!(plain.iter().all(|&id| !tokenizer.is_special(id)));
    assert_eq!(tokenizer.decode(&plain), text);
    assert_eq!(tokenizer.encode(text).unwrap(), parsed, "plain holds for one text only");
}

#[test]
fn families_split_numbers_and_words_as_their_own_files_do() {
    assert_eq!(texts(&byte_level("smollm"), "hello 12"), ["hello", " ", "1", "2"]);
    assert_eq!(texts(&byte_level("gpt-2"), "hello 12"), ["hello", " 1", "2"]);
    assert_eq!(texts(&byte_level("llama-bpe"), "hello 12"), ["hello", " ", "12"]);
    assert_eq!(texts(&byte_level("qwen2"), "hello 12"), ["hello", " ", "1", "2"]);
    // Qwen2 composes accents first, Llama 3 leaves them.
    assert_eq!(byte_level("qwen2").encode("e\u{301}").unwrap().len(), 2);
    assert_eq!(byte_level("llama-bpe").encode("e\u{301}").unwrap().len(), 3);
}

#[test]
fn beginning_of_text_is_added_once_and_only_where_wanted() {
    let plain = byte_level("smollm");
    assert!(!plain.add_bos());
    assert_eq!(plain.encode_prompt("he").unwrap(), plain.encode("he").unwrap());
    let llama = byte_level("llama-bpe");
    let bos = llama.bos().unwrap();
    assert_eq!(llama.encode_prompt("he").unwrap()[0], bos);
    assert_eq!(llama.encode_prompt("<|im_start|>he").unwrap().len(), 2);
    assert_eq!(llama.encode_prompt("").unwrap(), [bos]);
}

#[test]
fn sentence_piece_joins_by_score_and_falls_back_on_bytes() {
    let tokenizer = sentence_piece(None);
    // "▁t" and "he" score best, so "▁the" comes from them and never from "▁th" and "e".
    assert_eq!(texts(&tokenizer, "the"), [" the"]);
    assert_eq!(texts(&tokenizer, "the in"), [" the", " ", "in"]);
    let euro = tokenizer.encode("€").unwrap();
    assert_eq!(euro.len(), 4, "a space and three bytes");
    assert_eq!(tokenizer.decode(&euro), "€");
    assert_eq!(texts(&tokenizer, "<s>the</s>"), ["<s>", " the", "</s>"]);
    assert!(tokenizer.add_bos());
    assert_eq!(texts(&sentence_piece(Some(false)), "the"), ["t", "he"]);
}

#[test]
fn a_continuation_keeps_its_first_space() {
    let tokenizer = sentence_piece(None);
    let ids = tokenizer.encode("the").unwrap();
    assert_eq!(tokenizer.decode(&ids), "the");
    assert_eq!(StreamDecoder::new(&tokenizer).push(ids[0]), " the");
    let with_bos = tokenizer.encode_prompt("the").unwrap();
    assert_eq!(tokenizer.decode(&with_bos), "<s>the");
}

#[test]
fn half_characters_wait_and_broken_ones_do_not_stall() {
    let tokenizer = byte_level("smollm");
    let ids = tokenizer.encode("😀").unwrap();
    assert_eq!(ids.len(), 4);
    let mut stream = StreamDecoder::new(&tokenizer);
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(pieces, ["", "", "", "😀"]);
    // Three continuation bytes that no character begins with.
    let broken: Vec<String> = ids[1..].iter().map(|&id| stream.push(id)).collect();
    assert_eq!(broken, ["\u{fffd}"; 3]);
    // A character cut off by another one, then by the end.
    assert_eq!(stream.push(ids[0]), "");
    assert_eq!(stream.push(tokenizer.encode("h").unwrap()[0]), "\u{fffd}h");
    assert_eq!(
        (stream.push(ids[0]), stream.push(ids[1])),
        (String::new(), String::new())
    );
    assert_eq!(stream.flush(), "\u{fffd}");
    assert_eq!(stream.flush(), "");
}

#[test]
fn unknown_ids_are_shown_and_do_no_harm() {
    let tokenizer = byte_level("smollm");
    assert_eq!(tokenizer.decode_piece(u32::MAX), "<4294967295>");
    assert_eq!(tokenizer.decode(&[u32::MAX]), "");
    assert_eq!(tokenizer.vocab_size(), 266);
}

#[test]
fn damaged_metadata_is_named() {
    let without = |key: &str| {
        let mut content = byte_level_content("smollm");
        content.metadata.remove(key);
        Tokenizer::from_content(&content, "m.gguf")
            .err()
            .map(|error| error.to_string())
    };
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
        assert!(without(key).unwrap().contains(key));
    }
    assert!(without("tokenizer.ggml.model").unwrap().contains("gpt2"));
    assert!(without("tokenizer.ggml.pre").is_none());

    let unknown = Tokenizer::from_content(&byte_level_content("no\x1bsuch"), "m.gguf")
        .err()
        .unwrap()
        .to_string();
    assert!(unknown.contains("smollm") && !unknown.contains('\x1b'), "{unknown}");

    let mut content = byte_level_content("smollm");
    content
        .metadata
        .insert("tokenizer.ggml.merges".to_owned(), strings(&["nosuch pieces"]));
    assert!(Tokenizer::from_content(&content, "m.gguf").is_err());
}

#[test]
fn long_texts_are_tokenised_whole() {
    let tokenizer = byte_level("llama-bpe");
    for text in [
        " ".repeat(300_000),
        "\n".repeat(300_000),
        "hello ".repeat(50_000),
        "x".repeat(300_000),
    ] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()), text);
    }
}

fn write_folder(entries: &[(&str, serde_json::Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in entries {
        std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    }
    dir
}

#[test]
fn a_folder_gives_the_same_tokenizer_as_the_metadata() {
    let from_gguf = byte_level("smollm");
    let Inner::Library(inner) = &from_gguf.inner else {
        panic!("a GGUF file has no list of words");
    };
    let mut inner = inner.write().unwrap();
    inner.with_decoder(Some(tokenizers::decoders::byte_level::ByteLevel::default()));
    let json = serde_json::to_value(&*inner).unwrap();
    drop(inner);
    let dir = write_folder(&[
        ("tokenizer.json", json),
        (
            "tokenizer_config.json",
            serde_json::json!({"bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>"}),
        ),
        ("generation_config.json", serde_json::json!({"eos_token_id": [264, 5]})),
    ]);
    let folder = Tokenizer::from_folder(dir.path()).unwrap();
    let text = "<|im_start|>hello, 12 é 😀<think><|im_end|>";
    assert_eq!(folder.encode(text).unwrap(), from_gguf.encode(text).unwrap());
    assert_eq!(folder.decode(&folder.encode(text).unwrap()), text);
    assert_eq!(folder.bos(), from_gguf.bos());
    assert_eq!(folder.eos_ids(), [264, 5]);
    assert!(!folder.add_bos());
}

#[test]
fn broken_folders_are_named() {
    let dir = write_folder(&[("tokenizer.json", serde_json::json!({"model": 3}))]);
    let error = Tokenizer::from_folder(dir.path()).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    assert!(Tokenizer::from_folder(&dir.path().join("nowhere")).is_err());
}

proptest! {
    #[test]
    fn streaming_gives_every_text_back(text in any::<String>(), more in "[the hello12<|_>😀€é\n]{0,40}") {
        for (tokenizer, text) in [
            (byte_level("smollm"), &text),
            (byte_level("llama-bpe"), &more),
            (sentence_piece(None), &text),
            (sentence_piece(Some(false)), &more),
        ] {
            let ids = tokenizer.encode_plain(text).unwrap();
            prop_assert_eq!(&streamed(&tokenizer, &ids), text);
        }
    }

    #[test]
    fn streaming_any_ids_equals_decoding_their_bytes_at_once(ids in prop::collection::vec(0u32..270, 0..40)) {
        let tokenizer = byte_level("smollm");
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.piece(id).unwrap_or_default().to_vec()).collect();
        prop_assert_eq!(streamed(&tokenizer, &ids), String::from_utf8_lossy(&bytes).into_owned());
    }
}

/// The vocabulary of [`byte_level_content`] with another text and type for its last token.
fn with_last(text: &str, kind: i32) -> Tokenizer {
    let mut content = byte_level_content("smollm");
    for (key, value) in [
        ("tokenizer.ggml.tokens", Value::String(text.to_owned())),
        ("tokenizer.ggml.token_type", Value::I32(kind)),
    ] {
        let Some(Value::Array(values)) = content.metadata.get_mut(key) else {
            panic!("a list was expected");
        };
        *values.last_mut().unwrap() = value;
    }
    Tokenizer::from_content(&content, "test").unwrap()
}

#[test]
fn names_that_end_turns_do_so_whatever_their_type() {
    let last = 265;
    for name in [
        "<|eot_id|>",
        "<|end|>",
        "<|endoftext|>",
        "<end_of_turn>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "</s>",
        "<|return|>",
        "<EOT>",
        "<|fim_pad|>",
        "<|file_sep|>",
    ] {
        // Normal, control, user-defined.
        for kind in [1, 3, 4] {
            let tokenizer = with_last(name, kind);
            assert!(tokenizer.eos_ids().contains(&last), "{name} of type {kind}");
            assert!(tokenizer.is_special(last), "{name} of type {kind}");
            assert_eq!(tokenizer.encode(&format!("he{name}")).unwrap(), [256, last]);
            assert!(!tokenizer.encode_plain(name).unwrap().contains(&last));
            // What the file names comes first.
            assert_eq!(tokenizer.eos_ids()[0], 264);
        }
    }
    let ordinary = with_last("<think>", 4);
    assert!(!ordinary.eos_ids().contains(&last) && !ordinary.is_special(last));
}

#[test]
fn a_message_that_ends_does_not_end_the_turn_where_calls_do() {
    let has = |names: &'static [&str]| move |name: &str| names.contains(&name);
    assert!(is_end("<|end|>", &has(&["<|end|>"])));
    assert!(is_end("<|end|>", &has(&["<|end|>", "<|call|>"])));
    assert!(!is_end("<|end|>", &has(&["<|end|>", "<|call|>", "<|return|>"])));
    assert!(is_end("<|call|>", &has(&["<|end|>", "<|call|>", "<|return|>"])));
    assert!(!is_end("</s>", &has(&["</s>", "<|tool_response>"])));
}

#[test]
fn whether_a_begin_token_is_added_where_the_file_does_not_say_depends_on_the_split() {
    for (split, adds) in [
        ("llama-bpe", true),
        ("falcon3", true),
        ("tekken", true),
        ("lfm2", true),
        ("smollm", false),
        ("qwen2", false),
        ("gpt-2", false),
    ] {
        assert_eq!(byte_level(split).add_bos(), adds, "{split}");
    }
    let said = |value: Value| {
        let mut content = byte_level_content("smollm");
        content
            .metadata
            .insert("tokenizer.ggml.add_bos_token".to_owned(), value);
        Tokenizer::from_content(&content, "test").map(|tokenizer| tokenizer.add_bos())
    };
    assert!(said(Value::Bool(true)).unwrap() && said(Value::U8(1)).unwrap());
    assert!(!said(Value::I32(0)).unwrap());
    let wrong = said(Value::String("yes".to_owned())).unwrap_err().to_string();
    assert!(wrong.contains("add_bos_token"), "{wrong}");
}

#[test]
fn sentence_piece_has_its_usual_begin_and_end_where_the_file_does_not_say() {
    let mut tokenizer = sentence_piece_entries(None);
    tokenizer.retain(|(key, _)| !key.ends_with("bos_token_id") && !key.ends_with("eos_token_id"));
    let tokenizer = Tokenizer::from_content(&content(tokenizer), "test").unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos_ids()), (Some(1), &[2][..]));
}

/// A tokenizer.json of bytes, `<s>` and `</s>`, and files beside it.
fn folder_with(own: &[&str], files: &[(&str, serde_json::Value)]) -> tempfile::TempDir {
    let added: Vec<serde_json::Value> = own
        .iter()
        .enumerate()
        .map(|(n, text)| {
            serde_json::json!({"id": 256 + n, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                               "normalized": false, "special": true})
        })
        .collect();
    let vocabulary: serde_json::Map<String, serde_json::Value> = byte_alphabet()
        .into_iter()
        .map(|(c, byte)| (c.to_string(), byte.into()))
        .collect();
    let level =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": added, "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let mut all = vec![("tokenizer.json", json)];
    all.extend(files.iter().cloned());
    write_folder(&all)
}

/// As transformers 5.24 encodes them.
#[test]
fn tokens_beside_tokenizer_json_are_added() {
    use serde_json::json;
    let token = |text: &str| json!({"content": text, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true});
    let (begin, end) = ("<s>", "</s>");
    let config = |more: serde_json::Value| {
        let mut config = json!({"bos_token": begin, "eos_token": end});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ("tokenizer_config.json", config)
    };
    let decoder = config(json!({"added_tokens_decoder": {
        "256": token(begin), "257": token(end), "258": token("<|im_start|>"), "259": token("<|im_end|>")}}));
    let list = config(json!({"additional_special_tokens": ["<|im_start|>", token("<|im_end|>")]}));
    let extra = config(json!({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}));
    let plain = config(json!({}));
    let file = ("added_tokens.json", json!({"<|im_end|>": 259, "<|im_start|>": 258}));
    let map = (
        "special_tokens_map.json",
        json!({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}),
    );
    let expected: Vec<u32> = [258]
        .into_iter()
        .chain("user\nhi".bytes().map(u32::from))
        .chain([259])
        .collect();
    for files in [
        vec![decoder.clone()],
        vec![list],
        vec![extra],
        vec![plain.clone(), file.clone()],
        vec![file.clone()],
        vec![plain, map],
        // What added_tokens.json says counts for nothing beside a decoder.
        vec![decoder, ("added_tokens.json", json!({"user": 300}))],
    ] {
        let dir = folder_with(&[begin, end], &files);
        let tokenizer = Tokenizer::from_folder(dir.path()).unwrap();
        assert_eq!(
            tokenizer.encode("<|im_start|>user\nhi<|im_end|>").unwrap(),
            expected,
            "{files:?}"
        );
        assert_eq!((tokenizer.own_size(), tokenizer.vocab_size()), (258, 260));
        assert!(tokenizer.eos_ids().contains(&259), "the turn ends there");
    }
    // An end token that tokenizer.json does not have.
    let config = json!({"bos_token": begin, "eos_token": "<|im_end|>", "pad_token": {"content": "<pad>"}});
    let dir = folder_with(&[begin], &[("tokenizer_config.json", config)]);
    let tokenizer = Tokenizer::from_folder(dir.path()).unwrap();
    assert_eq!(tokenizer.encode("a<|im_end|><pad>").unwrap(), [97, 257, 258]);
    assert_eq!(tokenizer.eos_ids(), [257]);
    assert!(tokenizer.is_special(257) && tokenizer.is_special(258));
}
