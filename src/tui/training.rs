//! Depth routers for the model that is loaded, trained by a command beside the screen.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::job::{JobEvent, JobRequest};
use crate::engine::trained_routers;
use crate::trace::ModelInfo;

/// Lines of the command that are kept.
const LINES: usize = 12;

/// The training of this session, and what the next one is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouterTraining {
    /// How the model was named at the start; the default model if absent.
    pub model: Option<String>,
    /// How much the next training is of.
    pub size: Size,
    /// How far the last training is.
    pub state: TrainingState,
    /// What the command said last, the newest line at the end.
    pub lines: VecDeque<String>,
    /// Where the routers of the last training go, and the sha256 of their model.
    pub out: Option<(PathBuf, String)>,
}

/// How much is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// For a first look: few answers and steps.
    #[default]
    Quick,
    /// The command's own numbers.
    Full,
}

/// How far the training is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainingState {
    /// None was begun in this session.
    #[default]
    Idle,
    /// The command is under way.
    Running,
    /// It was asked to end, and keeps what it has.
    Stopping,
    /// It ended early, as asked; the same training goes on from there when it is started again.
    Stopped,
    /// The command could not be started, or ended with an error.
    Failed,
    /// The routers are there.
    Trained,
}

impl Size {
    /// Both of them.
    pub const ALL: [Size; 2] = [Size::Quick, Size::Full];

    /// `quick` or `full`.
    pub fn name(self) -> &'static str {
        match self {
            Size::Quick => "quick",
            Size::Full => "full",
        }
    }

    /// What is trained, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Size::Quick => "160 answers of the model, 80 steps of 8",
            Size::Full => "960 answers, 360 steps of 16: six to nine times as long",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Size::Quick => &["--texts", "160", "--held-out", "32", "--steps", "80", "--batch", "8"],
            Size::Full => &[],
        }
    }
}

impl RouterTraining {
    /// Whether the command is under way.
    pub fn is_running(&self) -> bool {
        matches!(self.state, TrainingState::Running | TrainingState::Stopping)
    }

    /// The arguments of the command for a model, and where the routers go.
    ///
    /// # Errors
    /// Where there is no folder for them.
    pub fn command(&self, model: &ModelInfo) -> Result<(Vec<String>, PathBuf), String> {
        let out = trained_routers(model, self.size.name()).map_err(|error| error.to_string())?;
        let mut args: Vec<String> = ["train", "--method", "depth"].map(str::to_owned).into();
        args.extend(self.model.iter().flat_map(|name| ["--model".to_owned(), name.clone()]));
        let iterations = model.other_iterations().into_iter();
        args.extend(iterations.flat_map(|k| ["--iterations".to_owned(), k.to_string()]));
        args.extend(self.size.options().iter().map(|option| (*option).to_owned()));
        args.extend(["--out".to_owned(), out.display().to_string(), "--resume".to_owned()]);
        Ok((args, out))
    }

    /// Begins, or goes on.
    ///
    /// # Errors
    /// Those of [`Self::command`].
    pub fn start(&mut self, model: &ModelInfo) -> Result<JobRequest, String> {
        let (args, out) = self.command(model)?;
        self.state = TrainingState::Running;
        self.lines.clear();
        let folder = out.parent().map(PathBuf::from).unwrap_or_default();
        self.out = Some((out, model.sha256.clone()));
        Ok(JobRequest::Start { args, folder })
    }

    /// Takes up what the command says.
    pub fn handle(&mut self, event: JobEvent) {
        match event {
            JobEvent::Line(line) => {
                if self.lines.len() == LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            }
            JobEvent::Ended { well: true } => self.state = TrainingState::Trained,
            JobEvent::Ended { well: false } if self.state == TrainingState::Stopping => {
                self.state = TrainingState::Stopped
            }
            JobEvent::Ended { well: false } => self.state = TrainingState::Failed,
            JobEvent::Failed(message) => {
                self.state = TrainingState::Failed;
                self.lines.push_back(message);
            }
        }
    }

    /// What is counted and how far it is, like `steps 40/120`, from the newest line that says so.
    pub fn progress(&self) -> Option<&str> {
        fn counted(line: &str) -> Option<&str> {
            let (counted, _) = line.split_once(": ")?;
            let (_, numbers) = counted.split_once(' ')?;
            let (done, total) = numbers.split_once('/')?;
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (is_number(done) && is_number(total)).then_some(counted)
        }
        self.lines.iter().rev().find_map(|line| counted(line))
    }
}

/// A command as a shell takes it.
pub fn shell(args: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = |arg: &String| match !arg.is_empty() && arg.chars().all(plain) {
        true => arg.clone(),
        false => format!("'{}'", arg.replace('\'', r"'\''")),
    };
    let words: Vec<String> = args.iter().map(quoted).collect();
    format!("drllm-tui {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_count_is_the_progress() {
        let mut training = RouterTraining::default();
        for line in [
            "answers 3/288: 0.50/s, 9 minutes left",
            "288 answers of 20000 tokens to train on; 5 s so far",
        ] {
            training.handle(JobEvent::Line(line.to_owned()));
        }
        assert_eq!(training.progress(), Some("answers 3/288"));
        training.handle(JobEvent::Line(
            "steps 40/120: 0.1/s, 1 hour left; KL 0.3, 24.0 layers".to_owned(),
        ));
        assert_eq!(training.progress(), Some("steps 40/120"));
        for n in 0..100 {
            training.handle(JobEvent::Line(format!("line {n}")));
        }
        assert_eq!((training.lines.len(), training.progress()), (LINES, None));
    }

    #[test]
    fn commands_can_be_pasted_into_a_shell() {
        let args = ["train", "--model", "it's mine.gguf", "--out", "/a/b-1.safetensors"].map(str::to_owned);
        assert_eq!(
            shell(&args),
            r"drllm-tui train --model 'it'\''s mine.gguf' --out /a/b-1.safetensors"
        );
    }
}
