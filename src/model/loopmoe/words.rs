//! The tokenizer: a fixed list of words, digits, letters and symbols, each one token.

/// Begins every text that a model was trained on.
pub const START: &str = "<s>";
/// Ends every problem, and an answer.
pub const END: &str = ".";

const WORDS: &str = "<s> . = , ; : + - * < ( ) [ ] { } 0 1 2 3 4 5 6 7 8 9 a b c d e f g h i j k l m n o p \
                     calc where walk order close copy sort up down left right";

/// A word that no token stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is none of the {known} words that this model knows{hint}: it solves problems like 'sort 7 2 9 4 =' and knows no \
     language; its words are: {all}",
    word.escape_debug()
)]
pub struct UnknownWord {
    /// As it stands in the text.
    pub word: String,
    known: usize,
    hint: &'static str,
    all: String,
}

/// Words and their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordList(Vec<String>);

impl Default for WordList {
    fn default() -> Self {
        WordList(WORDS.split_whitespace().map(str::to_owned).collect())
    }
}

impl WordList {
    /// Words of a model's file, by id. `None` where two are the same or one could not be read back from a text.
    pub fn from_list(words: Vec<String>) -> Option<Self> {
        let distinct: std::collections::BTreeSet<&String> = words.iter().collect();
        let readable = |word: &String| !word.is_empty() && !word.contains(char::is_whitespace);
        let fits = distinct.len() == words.len() && words.iter().all(readable);
        (fits && words.iter().any(|w| w == START) && words.iter().any(|w| w == END)).then_some(WordList(words))
    }

    /// All words, by id.
    pub fn list(&self) -> &[String] {
        &self.0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The id of a word.
    pub fn id(&self, word: &str) -> Option<u32> {
        self.0.iter().position(|w| w == word).map(|at| at as u32)
    }

    /// The ids of a text whose words stand apart; what stands together and is no word, like `3+12`, is read character by
    /// character.
    ///
    /// # Errors
    /// A word or character without a token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, UnknownWord> {
        let mut ids = Vec::new();
        for piece in text.split_whitespace() {
            if let Some(id) = self.id(piece) {
                ids.push(id);
                continue;
            }
            let is_word = piece.chars().all(char::is_alphabetic);
            for character in piece.chars() {
                let known = (!is_word)
                    .then(|| self.id(character.encode_utf8(&mut [0; 4])))
                    .flatten();
                ids.push(known.ok_or_else(|| self.unknown(piece, is_word))?);
            }
        }
        Ok(ids)
    }

    fn unknown(&self, word: &str, is_word: bool) -> UnknownWord {
        UnknownWord {
            word: word.to_owned(),
            known: self.0.len(),
            hint: if is_word {
                ""
            } else {
                ", alone or character by character"
            },
            all: self.0.join(" "),
        }
    }

    /// The words of ids, one blank between them: what [`WordList::encode`] reads back as the same ids.
    pub fn decode(&self, ids: &[u32]) -> String {
        let word = |id: &u32| self.0.get(*id as usize).map_or("<?>", String::as_str);
        ids.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_round() {
        let words = WordList::default();
        for text in ["<s> calc 3 + 5 * 2 = 6 .", "walk 5 5 : up left =", ""] {
            assert_eq!(words.decode(&words.encode(text).unwrap()), text);
        }
        let all: Vec<u32> = (0..words.count() as u32).collect();
        assert_eq!(words.encode(&words.decode(&all)).unwrap(), all);
        // What stands together is read apart.
        assert_eq!(
            words.encode("calc 3+5=").unwrap(),
            words.encode("calc 3 + 5 =").unwrap()
        );
        assert_eq!(
            words.encode("sort 512 =").unwrap(),
            words.encode("sort 5 1 2 =").unwrap()
        );
    }

    #[test]
    fn unknown_words_are_refused_with_those_that_are_known() {
        let words = WordList::default();
        let said = words.encode("calc three + 5 =").unwrap_err().to_string();
        assert!(
            said.starts_with("'three' is none of the ") && said.contains("calc where walk"),
            "{said}"
        );
        let said = words.encode("calc 3/5").unwrap_err().to_string();
        assert!(
            said.starts_with("'3/5' is none") && said.contains("character by character"),
            "{said}"
        );
        // A word is not read letter by letter.
        assert!(words.encode("cab").is_err());
        assert!(words.encode("\u{1b}[2J").unwrap_err().to_string().contains("\\u{1b}"));
    }

    #[test]
    fn lists_that_do_not_serve() {
        let list = |text: &str| WordList::from_list(text.split(' ').map(str::to_owned).collect());
        assert_eq!(list("<s> . a").unwrap().count(), 3);
        assert!(list("<s> . a a").is_none() && list("<s> a").is_none() && list("<s> .  a").is_none());
        assert_eq!(
            WordList::from_list(WordList::default().list().to_vec()).unwrap(),
            WordList::default()
        );
    }
}
