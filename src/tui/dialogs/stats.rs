//! The statistics of the open runs, and the file of prompts that is run for them.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, TYPED, closed, help, scrolled, stays, typing};
use crate::text::escape_controls;
use crate::tui::action::UiAction::{
    self, Accept, Close, Dismiss, Down, Help, Left, LoadPrompts, PageLeft, PageRight, Right, Stop, Toggle, Up,
};
use crate::tui::app::{App, ModelState};
use crate::tui::files::{FileReport, FileRequest};
use crate::tui::line_edit::LineEdit;
use crate::tui::overrides::plural;
use crate::tui::stats::{Of, StatsDialog};
use crate::tui::{update, view};

impl Dialog for StatsDialog {
    fn context(&self, _app: &App) -> &'static str {
        match self.edit {
            Some(_) => "command",
            None => "overlay",
        }
    }

    fn keys(&self, app: &App) -> Vec<Offer> {
        if self.edit.is_some() {
            return TYPED.to_vec();
        }
        let mut keys = vec![
            (Close, "close"),
            (Up, "scroll"),
            (Down, "scroll"),
            (PageLeft, "page"),
            (PageRight, "page"),
            (Left, "section"),
            (Right, "section"),
            (LoadPrompts, "run a file of prompts"),
        ];
        if app.batch.is_some() {
            let other = if self.prompts {
                "the open runs"
            } else {
                "the file's runs"
            };
            keys.push((Toggle, other));
        }
        if app.is_busy() {
            keys.push((Stop, "stop"));
        }
        keys.push((Help, "help"));
        keys
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        if let Some(edit) = self.edit.take() {
            self.typed(app, edit, action);
            return stays(self);
        }
        match action {
            UiAction::Stats => return closed(),
            Help => return help(),
            LoadPrompts => self.edit = Some(LineEdit::default()),
            Toggle if app.batch.is_some() => {
                (self.prompts, self.scroll) = (!self.prompts, 0);
                self.count(app);
            }
            Toggle => app.info("there is no file of prompts yet to turn to"),
            Left | Right => self.turn(app, action == Right),
            action => match scrolled(self.scroll, action) {
                Some(scroll) => self.scroll = scroll,
                None => return closed(),
            },
        }
        stays(self)
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        self.edit.as_mut()
    }

    fn scroll(&mut self, _app: &mut App, lines: isize) {
        self.scroll = self.scroll.saturating_add_signed(lines);
    }

    fn report(mut self, app: &mut App, report: FileReport) -> Handled {
        let begun = match report {
            FileReport::Loaded { path, text } => update::stats::begin(app, path, &text),
            FileReport::Failed(message) => Err(message),
            // Nothing is written here.
            FileReport::Saved(_) | FileReport::Exists(_) | FileReport::Session(_) => return stays(self),
        };
        match begun {
            Ok(commands) => {
                self.edit = None;
                (self.prompts, self.counted, self.scroll) = (true, None, 0);
                (Some(self.into()), commands)
            }
            Err(message) => {
                if let Some(edit) = &mut self.edit {
                    edit.refuse(message);
                }
                stays(self)
            }
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::stats::draw(app, self, place.body, buffer)
    }

    fn words(&self, app: &App) -> String {
        if let Some(edit) = &self.edit {
            return typing("statistics, a file of prompts", edit);
        }
        let progress = app.batch.as_ref().filter(|_| self.prompts);
        let progress = progress.map(|batch| format!("{} of {} prompts", batch.done, batch.prompts.len()));
        let Some(counted) = &self.counted else {
            return format!(
                "statistics: {}",
                progress.unwrap_or_else(|| "nothing to count yet".to_owned())
            );
        };
        let report = &counted.report;
        let n = report.runs;
        let what = progress.unwrap_or_else(|| match counted.of {
            Of::Recordings => format!("{n} recording{}", plural(n)),
            Of::Runs | Of::Prompts => format!("{n} run{}", plural(n)),
        });
        let rates = report
            .all_answers
            .or(report.all_prompts)
            .map_or(String::new(), |[skip, execute, repeat]| {
                let percent = |rate: f64| 100.0 * rate;
                format!(
                    ": skipped {:.1} %, executed {:.1} %, repeated {:.1} %",
                    percent(skip),
                    percent(execute),
                    percent(repeat)
                )
            });
        let depth = report.depth.as_ref().map_or(String::new(), |depth| {
            format!(", depth {:.1} of {}", depth.mean, report.layers.len())
        });
        format!(
            "statistics of {what} of {}{rates}{depth}",
            escape_controls(&report.model)
        )
    }
}

impl StatsDialog {
    /// Goes to the next section, or to the one before.
    fn turn(&mut self, app: &App, forward: bool) {
        let Some(counted) = &self.counted else { return };
        let starts = view::stats::starts(app, counted);
        let at = self.scroll;
        self.scroll = match forward {
            true => starts.into_iter().find(|start| *start > at).unwrap_or(at),
            false => starts.into_iter().rfind(|start| *start < at).unwrap_or(0),
        };
    }

    /// While the name of a file is typed.
    fn typed(&mut self, app: &mut App, mut edit: LineEdit, action: UiAction) {
        match action {
            Close | Dismiss => return,
            Accept => {
                let path = edit.text.trim().to_owned();
                let problem = match &app.model {
                    _ if path.is_empty() => Some("expected the name of a file: a prompt a line, or JSON lines"),
                    ModelState::Loading { .. } => Some("the model is on its way: accept again when it is ready"),
                    ModelState::Missing(_) => Some("there is no model to run prompts with"),
                    ModelState::Ready { .. } => None,
                };
                match problem {
                    Some(problem) => edit.refuse(problem.to_owned()),
                    None => app.file = Some(FileRequest::Load { path }),
                }
            }
            _ => {}
        }
        self.edit = Some(edit);
    }
}
