//! What is to be searched, as it is typed: the question, its answers, how long.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent};
use math_grading::numbers::is_number;

use super::examples::{ExampleQuestion, examples_for, recorded};
use crate::engine::{Expected, SearchRequest, SearchStep};
use crate::search::SearchSettings;
use crate::tui::line_edit::LineEdit;
use crate::tui::prompt::PromptEditor;

/// Stands before the right choice.
pub const MARK: char = '*';

/// Most simulations that can be asked for: the tree stays one that can be looked at.
const MOST_SIMULATIONS: usize = 2000;

/// Tokens of a written answer, at most: enough for a sentence that ends with the number.
const NUMBER_TOKENS: usize = 24;

/// What the prompt of a question begins and ends with, see [`crate::eval::prompts::plain`].
const AROUND: (&str, &str) = ("Question:", "Answer:");

/// What has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchField {
    /// The text of the question.
    Question,
    /// The answers, one a line.
    Answers,
    /// How many simulations there are.
    Simulations,
    /// The seed of the search.
    Seed,
    /// The line that begins the search.
    Start,
}

impl SearchField {
    /// In the order of the Tab key.
    pub const ALL: [SearchField; 5] = [
        SearchField::Question,
        SearchField::Answers,
        SearchField::Simulations,
        SearchField::Seed,
        SearchField::Start,
    ];
}

/// The form.
#[derive(Clone, Debug)]
pub struct Form {
    /// The text of the question.
    pub question: PromptEditor,
    /// One a line, the right one marked with [`MARK`]; a number alone is one that the model writes.
    pub answers: PromptEditor,
    /// A number from 1 to 2000.
    pub simulations: LineEdit,
    /// A whole number, from 0.
    pub seed: LineEdit,
    /// Where the keys go.
    pub field: SearchField,
    /// Why the search cannot begin.
    pub error: Option<String>,
    /// The example that stands in it, of [`Self::examples`].
    pub example: Option<usize>,
    /// Of the model in memory; absent while there is none.
    pub architecture: Option<String>,
    /// The prompt that it was filled with last.
    prompt: String,
}

impl Default for Form {
    fn default() -> Form {
        let settings = SearchSettings::default();
        Form {
            question: PromptEditor::default(),
            answers: PromptEditor::default(),
            simulations: LineEdit::new(settings.simulations.to_string()),
            seed: LineEdit::new(settings.seed.to_string()),
            field: SearchField::Question,
            error: None,
            example: None,
            architecture: None,
            prompt: String::new(),
        }
    }
}

impl Form {
    /// Takes over the prompt in front of the user, unless it was the same one the last time; where there
    /// is none, an example.
    pub fn fill(&mut self, prompt: &str) {
        let question = bare(prompt);
        self.error = None;
        if question.is_empty() {
            if self.question.is_blank() {
                self.next_example();
            }
        } else if question != self.prompt {
            self.prompt = question.to_owned();
            self.question.set(question);
            self.answers.clear();
            self.example = None;
            self.field = SearchField::Answers;
        }
    }

    /// The examples for the model.
    pub fn examples(&self) -> Vec<ExampleQuestion> {
        examples_for(self.architecture.as_deref())
    }

    /// Puts the next example in.
    pub fn next_example(&mut self) {
        let examples = self.examples();
        let at = self.example.map_or(0, |at| (at + 1) % examples.len());
        let ExampleQuestion { text, answers, .. } = &examples[at];
        self.question.set(text);
        self.answers.set(answers);
        self.example = Some(at);
        self.error = None;
        self.field = SearchField::Start;
    }

    /// Goes `by` fields on.
    pub fn turn(&mut self, by: usize) {
        let at = SearchField::ALL.iter().position(|f| *f == self.field).unwrap_or(0);
        self.field = SearchField::ALL[(at + by) % SearchField::ALL.len()];
        match self.field {
            SearchField::Simulations => self.simulations.select(),
            SearchField::Seed => self.seed.select(),
            _ => {}
        }
    }

    /// Goes a field back.
    pub fn turn_back(&mut self) {
        self.turn(SearchField::ALL.len() - 1);
    }

    /// Types a key that has no other meaning.
    pub fn key(&mut self, key: KeyEvent) {
        let leaves = |editor: Option<&PromptEditor>, up| editor.is_none_or(|editor| editor.at_edge(up));
        match key.code {
            KeyCode::Up if leaves(self.text(), true) => return self.turn_back(),
            KeyCode::Down if leaves(self.text(), false) => return self.turn(1),
            _ => {}
        }
        let typed = match self.field {
            SearchField::Question => self.question.key(key),
            SearchField::Answers => self.answers.key(key),
            SearchField::Simulations => {
                self.simulations.key(key);
                Ok(())
            }
            SearchField::Seed => {
                self.seed.key(key);
                Ok(())
            }
            SearchField::Start => Ok(()),
        };
        self.typed(typed);
    }

    /// Inserts what was pasted.
    pub fn paste(&mut self, text: &str) {
        let typed = match self.field {
            SearchField::Question => self.question.paste(text),
            SearchField::Answers => self.answers.paste(text),
            SearchField::Simulations => {
                self.simulations.insert(text);
                Ok(())
            }
            SearchField::Seed => {
                self.seed.insert(text);
                Ok(())
            }
            SearchField::Start => Ok(()),
        };
        self.typed(typed);
    }

    fn typed(&mut self, typed: Result<(), String>) {
        self.error = typed.err();
        // What was changed is an example no more.
        let examples = self.examples();
        let is_example = |at: &usize| {
            let Some(example) = examples.get(*at) else { return false };
            self.question.text() == example.text && self.answers.text() == example.answers
        };
        self.example = self.example.filter(is_example);
    }

    /// Begins a new line where there can be several.
    pub fn new_line(&mut self) {
        match self.field {
            SearchField::Question => self.question.new_line(),
            SearchField::Answers => self.answers.new_line(),
            _ => {}
        }
        self.typed(Ok(()));
    }

    /// Empties the field.
    pub fn clear(&mut self) {
        match self.field {
            SearchField::Question => self.question.clear(),
            SearchField::Answers => self.answers.clear(),
            SearchField::Simulations => self.simulations.clear(),
            SearchField::Seed => self.seed.clear(),
            SearchField::Start => {}
        }
        self.typed(Ok(()));
    }

    fn text(&self) -> Option<&PromptEditor> {
        match self.field {
            SearchField::Question => Some(&self.question),
            SearchField::Answers => Some(&self.answers),
            _ => None,
        }
    }

    /// The example in it, where its recording is what would be searched.
    pub fn recorded(&self) -> Option<VecDeque<SearchStep>> {
        let plain = Form::default();
        let same = self.simulations.text == plain.simulations.text && self.seed.text == plain.seed.text;
        let example = self.examples().into_iter().nth(self.example.filter(|_| same)?)?;
        recorded(&example)
    }

    /// What is to be searched.
    ///
    /// # Errors
    /// The field that is wrong, and what to do.
    pub fn request(&self) -> Result<SearchRequest, (SearchField, String)> {
        let question = self.question.text().trim().to_owned();
        if question.is_empty() {
            return Err((
                SearchField::Question,
                "the question is empty: type it, or take an example".into(),
            ));
        }
        let expected = expected(&self.answers.text()).map_err(|why| (SearchField::Answers, why))?;
        let simulations = number(&self.simulations.text).filter(|n| (1..=MOST_SIMULATIONS as u64).contains(n));
        let simulations = simulations.ok_or_else(|| {
            let message = format!("simulations: expected a number from 1 to {MOST_SIMULATIONS}, like 50");
            (SearchField::Simulations, message)
        })?;
        let seed = number(&self.seed.text).ok_or_else(|| {
            (
                SearchField::Seed,
                "the seed: expected a whole number from 0, like 42".into(),
            )
        })?;
        Ok(SearchRequest {
            question,
            expected,
            simulations: simulations as usize,
            seed,
        })
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The question of a prompt that is written as the search writes it.
pub fn bare(prompt: &str) -> &str {
    let text = prompt.trim();
    let inside = text.strip_prefix(AROUND.0).and_then(|text| text.strip_suffix(AROUND.1));
    inside.unwrap_or(text).trim()
}

/// Reads the answers: choices, one a line, the right one marked; or a number alone.
///
/// # Errors
/// What is wrong, and what to do.
fn expected(answers: &str) -> Result<Expected, String> {
    let lines: Vec<&str> = answers.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let choice = |line: &&str| line.trim_start_matches(MARK).trim().to_owned();
    let texts: Vec<String> = lines.iter().map(choice).collect();
    let marked: Vec<usize> = (0..lines.len()).filter(|&i| lines[i].starts_with(MARK)).collect();
    match (lines.as_slice(), marked.as_slice()) {
        ([], _) => Err(
            "no answer is given: type the choices, one a line, with * before the right one; or a number \
             alone, which the model then has to write"
                .into(),
        ),
        ([_], [_]) => Err("there is one choice only: add a wrong one on a line of its own".into()),
        ([line], []) if is_number(line) => Ok(Expected::Number {
            text: (*line).to_owned(),
            tokens: NUMBER_TOKENS,
        }),
        ([_], []) => Err(
            "a single answer has to be a number, like 18: for words give choices, one a line, with * \
             before the right one"
                .into(),
        ),
        (_, []) => Err("no choice is marked as right: put * before it".into()),
        (_, [right]) => {
            if let Some(line) = texts.iter().position(String::is_empty) {
                return Err(format!("choice {} is empty: write its text behind *", line + 1));
            }
            let twice = (1..texts.len()).find(|&i| texts[..i].contains(&texts[i]));
            if let Some(i) = twice {
                return Err(format!(
                    "choice {} stands there twice: the choices have to differ",
                    i + 1
                ));
            }
            Ok(Expected::Choice { texts, right: *right })
        }
        (_, several) => Err(format!(
            "{} choices are marked as right: leave * before one of them",
            several.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(answers: &str) -> String {
        expected(answers).unwrap_err()
    }

    #[test]
    fn answers_are_choices_or_a_number() {
        let choices = expected("autumn\n\n  * spring \nsummer\n").unwrap();
        let texts = ["autumn", "spring", "summer"].map(String::from).to_vec();
        assert_eq!(choices, Expected::Choice { texts, right: 1 });
        assert_eq!(choices.text(), "spring");
        let number = expected(" 18 ").unwrap();
        assert!(
            matches!(&number, Expected::Number { text, .. } if text == "18"),
            "{number:?}"
        );
        assert_eq!(number.text(), "18");
    }

    #[test]
    fn what_is_wrong_says_what_to_do() {
        for (answers, message) in [
            (" \n ", "no answer is given: type the choices"),
            ("* spring", "add a wrong one"),
            ("Paris", "has to be a number"),
            ("autumn\nspring", "put * before it"),
            ("* autumn\n*spring", "2 choices are marked"),
            ("*\nspring", "choice 1 is empty"),
            ("* spring\nspring", "choice 2 stands there twice"),
        ] {
            assert!(refused(answers).contains(message), "{answers:?}: {}", refused(answers));
        }
        let mut form = Form::default();
        assert_eq!(form.request().unwrap_err().0, SearchField::Question);
        form.next_example();
        assert!(form.request().is_ok());
        for (text, right) in [("0", false), ("2001", false), ("x", false), ("2000", true)] {
            form.simulations = LineEdit::new(text.to_owned());
            assert_eq!(form.request().is_ok(), right, "{text}");
        }
        form.seed = LineEdit::new("-1".to_owned());
        assert_eq!(form.request().unwrap_err().0, SearchField::Seed);
    }

    #[test]
    fn a_model_without_a_language_has_examples_of_its_own() {
        let mut form = Form {
            architecture: Some("loopmoe".into()),
            ..Form::default()
        };
        let words = crate::model::loopmoe::WordList::default();
        for _ in form.examples() {
            form.next_example();
            let request = form.request().unwrap();
            assert!(request.question.ends_with(" ="), "{}", request.question);
            words.encode(&request.question).unwrap();
            let crate::engine::Expected::Choice { texts, .. } = request.expected else {
                panic!("a choice is asked as it stands")
            };
            texts.iter().for_each(|text| drop(words.encode(text).unwrap()));
            assert!(form.recorded().is_none());
        }
        assert!(form.examples().len() >= 2);
        form.architecture = Some("llama".into());
        assert_eq!(form.examples(), examples_for(None));
    }

    #[test]
    fn every_example_can_be_searched() {
        let examples = examples_for(None);
        let mut form = Form::default();
        for example in &examples {
            form.next_example();
            assert_eq!(form.request().unwrap().question, example.text);
            assert!(!example.about.is_empty());
            assert!(form.recorded().is_some());
        }
        form.next_example();
        assert_eq!(form.example, Some(0));
    }

    #[test]
    fn the_prompt_is_taken_over_once() {
        let mut form = Form::default();
        form.fill("Question: Which?\nAnswer:");
        assert_eq!(
            (form.question.text().as_str(), form.field),
            ("Which?", SearchField::Answers)
        );
        form.answers.set("* a\nb");
        form.fill("Which?");
        assert_eq!(form.answers.text(), "* a\nb", "the same prompt");
        form.fill("Why?");
        assert_eq!(
            (form.question.text().as_str(), form.answers.text().as_str()),
            ("Why?", "")
        );
        let mut form = Form::default();
        form.fill("");
        assert_eq!(form.example, Some(0));
        form.fill("");
        assert_eq!(form.example, Some(0));
        form.key(KeyEvent::from(KeyCode::Up));
        form.key(KeyEvent::from(KeyCode::Up));
        form.key(KeyEvent::from(KeyCode::Up));
        form.key(KeyEvent::from(KeyCode::Char('x')));
        assert_eq!((form.field, form.example), (SearchField::Answers, None));
        assert_eq!(form.recorded(), None);
    }
}
