//! Token ids on the default model, held against those of the model's own tokenizer.

use crate::common;
use drllm::model::chat::{ChatRole, ChatTemplate, Message};
use drllm::model::gguf;
use drllm::model::tokenizer::{StreamDecoder, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
}

fn goldens() -> Vec<Golden> {
    serde_json::from_str(include_str!("../goldens/tokenizer.json")).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_gguf(&gguf::open(&common::default_model()).unwrap()).unwrap()
}

#[test]
fn ids_are_those_of_the_model_s_own_tokenizer() {
    let tokenizer = tokenizer();
    let goldens = goldens();
    assert_eq!(goldens.len(), 16);
    for golden in goldens {
        assert_eq!(tokenizer.encode(&golden.text).unwrap(), golden.ids, "{:?}", golden.text);
        assert_eq!(
            tokenizer.encode_prompt(&golden.text).unwrap(),
            golden.ids,
            "no token is added"
        );
        assert_eq!(tokenizer.decode(&golden.ids), golden.text);
    }
}

#[test]
fn streams_give_the_texts_back() {
    let tokenizer = tokenizer();
    for golden in goldens() {
        let mut stream = StreamDecoder::new(&tokenizer);
        let streamed: String = golden.ids.iter().map(|&id| stream.push(id)).collect();
        assert_eq!(streamed, golden.text);
        assert_eq!(stream.flush(), "");
    }
}

#[test]
fn the_chat_template_opens_the_assistant_s_turn() {
    let file = gguf::open(&common::default_model()).unwrap();
    let tokenizer = tokenizer();
    let (bos, eos) = tokenizer.bos_eos_texts();
    assert_eq!((bos.as_str(), eos.as_str()), ("<|im_start|>", "<|im_end|>"));
    let template = ChatTemplate::from_gguf(&file).unwrap().expect("the model has one");
    let prompt = template
        .render(&[Message::new(ChatRole::User, "Hi")], &bos, &eos)
        .unwrap();
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    assert_eq!((ids[0], &ids[ids.len() - 3..]), (1, &[1, 520, 9531, 198][1..]));
    assert_eq!(tokenizer.decode(&ids), prompt);
    assert!(tokenizer.eos_ids().contains(&2) && tokenizer.eos_ids().contains(&0));
    assert_eq!(tokenizer.vocab_size(), 49152);
}
