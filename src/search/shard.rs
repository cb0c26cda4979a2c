//! One part of a search that several machines share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Shard `index` of `of`, printed and parsed as `index/of`. Question k, from 0, belongs to shard
/// k mod `of`: the shards' sizes differ by one at most, and files that get harder towards their
/// end are shared out evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: usize,
    of: usize,
}

/// Why a text or two numbers are no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// A text of another form.
    #[error("'{0}' is no shard; expected i/n, like 0/4 for the first of four, or all")]
    Form(String),
    /// No shards at all.
    #[error("0 shards hold nothing; expected i/n with n at least 1, or all")]
    None,
    /// An index beyond the last shard.
    #[error("shards count from 0: the last of {of} is {}/{of}, there is no {index}/{of}", of - 1)]
    Range {
        /// That was asked for.
        index: usize,
        /// How many shards there are.
        of: usize,
    },
}

impl Shard {
    /// The whole search.
    pub const ALL: Shard = Shard { index: 0, of: 1 };

    /// Shard `index`, from 0, of `of`.
    ///
    /// # Errors
    /// `of` of 0, and an index that is not below it.
    pub fn new(index: usize, of: usize) -> Result<Shard, ShardError> {
        match of {
            0 => Err(ShardError::None),
            _ if index >= of => Err(ShardError::Range { index, of }),
            _ => Ok(Shard { index, of }),
        }
    }

    /// From 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many shards there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Whether it is the whole search.
    pub fn is_all(self) -> bool {
        self.of == 1
    }

    /// How many of `questions` belong to this shard.
    pub fn share(self, questions: usize) -> usize {
        questions.saturating_sub(self.index).div_ceil(self.of)
    }

    /// The items of this shard, in their order.
    pub fn take<T>(self, items: Vec<T>) -> Vec<T> {
        items.into_iter().skip(self.index).step_by(self.of).collect()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Shard, ShardError> {
        if text == "all" {
            return Ok(Shard::ALL);
        }
        let numbers = text.split_once('/');
        let numbers = numbers.and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let (index, of) = numbers.ok_or_else(|| ShardError::Form(crate::text::escape_controls(text)))?;
        Shard::new(index, of)
    }
}

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Shard, ShardError> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_in_one_shard() {
        for (questions, of) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 1), (2, 8)] {
            let mut seen = Vec::new();
            for index in 0..of {
                let shard = Shard::new(index, of).unwrap();
                let taken = shard.take((0..questions).collect::<Vec<_>>());
                assert_eq!(taken.len(), shard.share(questions), "{shard} of {questions}");
                assert!(taken.iter().all(|k| k % of == index));
                seen.extend(taken);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..questions).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shards_read_as_they_print() {
        let shard: Shard = "3/4".parse().unwrap();
        assert_eq!((shard.index(), shard.of(), shard.to_string()), (3, 4, "3/4".to_owned()));
        assert_eq!("all".parse(), Ok(Shard::ALL));
        assert_eq!("0/1".parse(), Ok(Shard::ALL));
    }

    #[test]
    fn what_is_no_shard_says_what_would_be() {
        let error = |text: &str| text.parse::<Shard>().unwrap_err().to_string();
        assert!(error("4/4").contains("the last of 4 is 3/4"), "{}", error("4/4"));
        assert!(error("0/0").contains("at least 1"));
        for text in ["", "1", "1/", "/2", "-1/2", "1/2/3", "a/b", "1 / 2", "\u{1b}/2"] {
            let error = error(text);
            assert!(error.contains("expected i/n") && !error.contains('\u{1b}'), "{error}");
        }
    }
}
