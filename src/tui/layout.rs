//! Where the panes are: a pure function of the state and the terminal's size.
//!
//! ```text
//!  wide (160 columns and more)              two columns (100 and more)     folded
//! ┌ status ─────────────────────────────┐  ┌ status ──────────────────┐  ┌ status ──────┐
//! │ legend, messages                    │  │ legend, messages         │  │ legend       │
//! ├ prompt ─────┬ map ──────┬ detail ───┤  ├ prompt ───┬ map ─────────┤  ├ prompt ──────┤
//! │             │           │           │  ├ answer ───┤              │  ├ tabs ────────┤
//! ├ answer ─────┤           │           │  │           │              │  │ map, answer  │
//! │             │           │           │  ├ detail ───┤              │  │ or detail    │
//! └ keys ───────┴───────────┴───────────┘  └ keys ─────┴──────────────┘  └ keys ────────┘
//! ```

use ratatui::layout::{Constraint, Layout, Position, Rect};

use super::app::App;
use super::lesson;
use super::panes::{LEAST_HEIGHT, LEAST_WIDTH, within};
use super::run::Run;
use super::ui::Focus;
use super::view::{notice, spoken};

/// The least columns of a terminal there is a screen for.
pub const MIN_WIDTH: u16 = 40;
/// The least rows of a terminal there is a screen for.
pub const MIN_HEIGHT: u16 = 12;

/// From here on there are two, or three, columns of panes.
const TWO_COLUMNS: (u16, u16) = (100, 26);
const THREE_COLUMNS: (u16, u16) = (160, 30);

/// Rows of a pane's border.
const BORDER: u16 = 2;

/// Rows that a map keeps that has the newest words under it.
const LEAST_MAP: u16 = 9;

/// Columns of a tape of 30 layers with all its parts, borders included, and the least that prompt and answer keep for it.
const TAPE_WIDTH: u16 = 76;
const LEAST_LEFT: u16 = 38;

/// Rows that the detail needs, borders included.
const DETAIL_HEIGHT: u16 = 14;

/// The rectangles of the screen. Panes that are folded away have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The line at the top: the model, the run and how far it is.
    pub status: Rect,
    /// The selection in words, for screen readers.
    pub spoken: Option<Rect>,
    /// Messages, the model's progress and the legend, a line each or more.
    pub notice: Rect,
    /// The lesson under way.
    pub lesson: Option<Rect>,
    /// Titles of the panes that share a place, on a folded screen.
    pub tabs: Option<Rect>,
    /// The prompt editor.
    pub prompt: Option<Rect>,
    /// The answer, or the whole sequence.
    pub answer: Option<Rect>,
    /// The unmodified answer, under the answer.
    pub twin: Option<Rect>,
    /// The map, or the tape in its place.
    pub map: Option<Rect>,
    /// What is known of the selected cell.
    pub detail: Option<Rect>,
    /// Where a trace that is played stands; above the keys.
    pub playback: Option<Rect>,
    /// The key bar at the bottom.
    pub keys: Rect,
}

impl Screen {
    /// Lays the screen out; `None` where the terminal is too small.
    pub fn new(app: &App, area: Rect) -> Option<Screen> {
        if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
            return None;
        }
        let playing = app.held || app.shown.as_ref().is_some_and(Run::is_partway);
        let lesson = lesson::height(app, area.width, area.height);
        let words = spoken::height(app, area.width);
        let [status, speech, notice, course, body, playback, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(words),
            Constraint::Length(notice::height(app, area)),
            Constraint::Length(lesson),
            Constraint::Fill(1),
            Constraint::Length(u16::from(playing)),
            Constraint::Length(1),
        ])
        .areas(area);
        let bars = Screen {
            status,
            spoken: (words > 0).then_some(speech),
            notice,
            lesson: (lesson > 0).then_some(course),
            playback: playing.then_some(playback),
            keys,
            ..Screen::default()
        };
        let fits = |(width, height): (u16, u16)| area.width >= width && area.height >= height;
        let screen = match () {
            () if fits(THREE_COLUMNS) => bars.three_columns(app, body),
            () if fits(TWO_COLUMNS) => bars.two_columns(app, body),
            () => bars.folded(app, body),
        };
        Some(if app.ui.twin { screen.with_twin() } else { screen })
    }

    /// Gives the lower half of the answer to the unmodified one, where there is room for both.
    fn with_twin(self) -> Screen {
        let Some(answer) = self.answer.filter(|answer| answer.height >= 2 * LEAST_HEIGHT) else {
            return self;
        };
        let half = answer.height / 2;
        let [answer, twin] = Layout::vertical([Constraint::Fill(1), Constraint::Length(half)]).areas(answer);
        Screen {
            answer: Some(answer),
            twin: Some(twin),
            ..self
        }
    }

    fn three_columns(self, app: &App, body: Rect) -> Screen {
        let detail = within(
            app.ui.panes.detail_width.unwrap_or(44),
            LEAST_WIDTH,
            body.width - 2 * LEAST_WIDTH,
        );
        let left = app.ui.panes.left.unwrap_or(left_width(body.width, 34, detail));
        let left = Constraint::Length(within(left, LEAST_WIDTH, body.width - detail - LEAST_WIDTH));
        let [left, map, detail] =
            Layout::horizontal([left, Constraint::Fill(1), Constraint::Length(detail)]).areas(body);
        let prompt = prompt_height(app, left.width, left.height / 3);
        let prompt = app.ui.panes.prompt.unwrap_or(prompt);
        let prompt = within(prompt, LEAST_HEIGHT, left.height.saturating_sub(LEAST_HEIGHT));
        let [prompt, answer] = Layout::vertical([Constraint::Length(prompt), Constraint::Fill(1)]).areas(left);
        Screen {
            prompt: Some(prompt),
            answer: Some(answer),
            map: Some(map),
            detail: Some(detail),
            ..self
        }
    }

    fn two_columns(self, app: &App, body: Rect) -> Screen {
        let left = app.ui.panes.left.unwrap_or(left_width(body.width, 42, 0));
        let left = Constraint::Length(within(left, LEAST_WIDTH, body.width - LEAST_WIDTH));
        let [left, map] = Layout::horizontal([left, Constraint::Fill(1)]).areas(body);
        let detail = DETAIL_HEIGHT.min(left.height / 2);
        let detail = app.ui.panes.detail_height.unwrap_or(detail);
        let detail = within(detail, LEAST_HEIGHT, left.height.saturating_sub(2 * LEAST_HEIGHT));
        let prompt = prompt_height(app, left.width, left.height / 4);
        let prompt = app.ui.panes.prompt.unwrap_or(prompt);
        let most = left.height.saturating_sub(detail + LEAST_HEIGHT);
        let prompt = within(prompt, LEAST_HEIGHT, most);
        let [prompt, answer, detail] = Layout::vertical([
            Constraint::Length(prompt),
            Constraint::Fill(1),
            Constraint::Length(detail),
        ])
        .areas(left);
        Screen {
            prompt: Some(prompt),
            answer: Some(answer),
            map: Some(map),
            detail: Some(detail),
            ..self
        }
    }

    fn folded(self, app: &App, body: Rect) -> Screen {
        // The prompt is a line without a border unless it is edited.
        let room = match app.ui.focus {
            Focus::Prompt => prompt_height(app, body.width, (body.height / 2).min(8)),
            _ => 1,
        };
        let [prompt, tabs, pane] =
            Layout::vertical([Constraint::Length(room), Constraint::Length(1), Constraint::Fill(1)]).areas(body);
        let mut screen = Screen {
            prompt: Some(prompt),
            tabs: Some(tabs),
            ..self
        };
        match app.ui.folded {
            Focus::Answer => screen.answer = Some(pane),
            Focus::Detail => screen.detail = Some(pane),
            // The newest words stay in sight under the map, where they do not hide its layers or were asked for.
            Focus::Map | Focus::Prompt if words_under_map(app, pane.height) => {
                let least = if app.ui.twin { 2 * LEAST_HEIGHT } else { LEAST_HEIGHT };
                let words = app.ui.panes.words.unwrap_or(3).max(least);
                let words = within(words, LEAST_HEIGHT, pane.height - LEAST_MAP.min(pane.height - least));
                let [map, answer] = Layout::vertical([Constraint::Fill(1), Constraint::Length(words)]).areas(pane);
                screen.map = Some(map);
                screen.answer = Some(answer);
            }
            Focus::Map | Focus::Prompt => screen.map = Some(pane),
        }
        screen
    }

    /// The rectangle of a pane, if it is shown.
    pub fn pane(&self, pane: Focus) -> Option<Rect> {
        match pane {
            Focus::Prompt => self.prompt,
            Focus::Answer => self.answer,
            Focus::Map => self.map,
            Focus::Detail => self.detail,
        }
    }

    /// The pane at a place on the screen.
    pub fn pane_at(&self, at: Position) -> Option<Focus> {
        let holds = |pane: &Focus| self.pane(*pane).is_some_and(|r| r.contains(at));
        Focus::ALL.into_iter().find(holds)
    }

    /// The pane whose tab is at a place on the screen.
    pub fn tab_at(&self, app: &App, at: Position) -> Option<Focus> {
        let tabs = self.tabs.filter(|r| r.contains(at))?;
        let mut x = tabs.x;
        TABS.into_iter().find(|pane| {
            x += tab_width(app, *pane);
            at.x < x
        })
    }
}

/// Columns of prompt and answer in `width`, `detail` of which are the detail's: a share of them, less where the tape
/// would have no room for its next tokens.
fn left_width(width: u16, percent: u16, detail: u16) -> u16 {
    let share = (u32::from(width) * u32::from(percent) / 100) as u16;
    let rest = width.saturating_sub(detail + TAPE_WIDTH);
    share.min(rest.max(LEAST_LEFT))
}

/// Whether the map of a folded screen keeps the newest words under it, in a pane of `height` lines.
fn words_under_map(app: &App, height: u16) -> bool {
    let asked = app.ui.panes.words.is_some() || app.ui.twin || app.ui.map.shows_tape();
    let layers = app.shown.as_ref().map_or(0, Run::layers);
    let lines = layers.div_ceil(2).min(usize::from(u16::MAX)) as u16;
    let is_whole = |height: u16| lines.saturating_add(BORDER) <= height;
    let keeps = is_whole(height.saturating_sub(LEAST_HEIGHT + 1)) || !is_whole(height);
    height >= 14 && !app.ui.map.lens && (asked || keeps)
}

/// The panes that have a tab.
pub const TABS: [Focus; 3] = [Focus::Map, Focus::Answer, Focus::Detail];

/// Columns of a tab: its title between spaces and a line.
pub fn tab_width(app: &App, pane: Focus) -> u16 {
    app.tab_title(pane).len() as u16 + 3
}

/// Rows of the prompt pane: its lines and borders, from 3 to `most`.
fn prompt_height(app: &App, width: u16, most: u16) -> u16 {
    let lines = app.prompt.draw(width.saturating_sub(4)).lines.len();
    (lines.min(60) as u16 + 2).clamp(3, most.max(3))
}

/// What is inside a pane's border, with a column of space on either side.
pub fn inner(pane: Rect) -> Rect {
    Rect {
        x: pane.x.saturating_add(2).min(pane.right()),
        y: pane.y.saturating_add(1).min(pane.bottom()),
        width: pane.width.saturating_sub(4),
        height: pane.height.saturating_sub(2),
    }
}

/// Where dialogs lie: in the middle, with a margin where there is room.
pub fn dialog(area: Rect, width: u16, height: u16) -> Rect {
    let width = width.min(area.width);
    let height = height.min(area.height);
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use crate::tui::panes::Edge;

    #[test]
    fn panes_neither_overlap_nor_leave_the_screen() {
        let mut app = fixture::app();
        for (width, height) in [
            (40, 12),
            (80, 24),
            (99, 60),
            (100, 26),
            (120, 40),
            (160, 30),
            (200, 60),
            (300, 12),
        ] {
            let sizes = [None, Some(0), Some(9), Some(70), Some(u16::MAX)];
            for (focus, size) in Focus::ALL.into_iter().flat_map(|f| sizes.map(|s| (f, s))) {
                app.ui.focus = focus;
                for edge in Edge::ALL {
                    *app.ui.panes.size(edge) = size;
                }
                let area = Rect::new(0, 0, width, height);
                let screen = Screen::new(&app, area).unwrap();
                let panes = Focus::ALL.into_iter().filter_map(|f| screen.pane(f));
                let all: Vec<Rect> = panes
                    .chain([screen.status, screen.notice, screen.keys])
                    .chain(screen.tabs)
                    .collect();
                for pane in Focus::ALL.into_iter().filter_map(|f| screen.pane(f)) {
                    assert!(
                        pane.width >= LEAST_WIDTH && pane.height >= 1,
                        "{width}×{height} {pane:?}"
                    );
                }
                for (i, a) in all.iter().enumerate() {
                    assert_eq!(a.intersection(area), *a, "{width}×{height}");
                    assert!(
                        all[i + 1..].iter().all(|b| !a.intersects(*b)),
                        "{width}×{height} {all:?}"
                    );
                }
            }
        }
        assert_eq!(Screen::new(&app, Rect::new(0, 0, 39, 12)), None);
        assert_eq!(Screen::new(&app, Rect::new(0, 0, 40, 11)), None);
    }

    #[test]
    fn tabs_are_found_by_their_place() {
        let app = fixture::app();
        let screen = Screen::new(&app, Rect::new(0, 0, 80, 24)).unwrap();
        let tabs = screen.tabs.unwrap();
        assert_eq!(screen.tab_at(&app, Position::new(tabs.x + 1, tabs.y)), Some(Focus::Map));
        assert_eq!(
            screen.tab_at(&app, Position::new(tabs.x + 7, tabs.y)),
            Some(Focus::Answer)
        );
        assert_eq!(screen.tab_at(&app, Position::new(tabs.x + 79, tabs.y)), None);
    }
}
