//! How what is known is looked at: panes, cursor, map, messages.

use std::time::Duration;

use ratatui::layout::Rect;

use super::action::UiAction;
use super::code::Code;
use super::dialogs::Overlay;
use super::keymap::{Key, Keymap};
use super::lines::LineStarts;
use super::panes::{Edge, Panes};
use super::playback::Speed;
use super::theme::Theme;

/// How long a passing message stands.
pub const NOTICE_TIME: Duration = Duration::from_secs(6);

/// Which pane hears the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Focus {
    /// The prompt editor.
    Prompt,
    /// The answer, or the whole sequence.
    Answer,
    /// The map, or the tape in its place.
    Map,
    /// What is known of the selected cell.
    Detail,
}

impl Focus {
    /// In the order of the Tab key, where they stand beside each other.
    pub const ALL: [Focus; 4] = [Focus::Prompt, Focus::Answer, Focus::Map, Focus::Detail];

    /// As the pane's border and its tab have it.
    pub fn title(self) -> &'static str {
        match self {
            Focus::Prompt => "Prompt",
            Focus::Answer => "Answer",
            Focus::Map => "Map",
            Focus::Detail => "Detail",
        }
    }

    /// What lesson files call it.
    pub fn name(self) -> &'static str {
        match self {
            Focus::Prompt => "prompt",
            Focus::Answer => "answer",
            Focus::Map => "map",
            Focus::Detail => "detail",
        }
    }

    /// The keymap's context.
    pub fn context(self) -> &'static str {
        match self {
            Focus::Prompt => "prompt",
            Focus::Answer => "answer",
            Focus::Map | Focus::Detail => "grid",
        }
    }
}

/// A cell of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// From 0, the lowest.
    pub layer: usize,
    /// Position of the token, from 0 at the prompt's first one.
    pub token: usize,
}

/// What the map's cells show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapMode {
    /// What was carried out: skip, execute or repeat.
    #[default]
    Decisions,
    /// Deciles of the greatest probability.
    Confidence,
    /// Who decided: router, dial, budget, pin and others.
    DecidedBy,
}

impl MapMode {
    /// The mode after this one; after the last comes the first.
    pub fn next(self) -> MapMode {
        match self {
            MapMode::Decisions => MapMode::Confidence,
            MapMode::Confidence => MapMode::DecidedBy,
            MapMode::DecidedBy => MapMode::Decisions,
        }
    }

    /// In words, as the pane's title and session files have it.
    pub fn title(self) -> &'static str {
        match self {
            MapMode::Decisions => "decisions",
            MapMode::Confidence => "confidence",
            MapMode::DecidedBy => "decided by",
        }
    }
}

/// What part of the map is shown, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapState {
    /// Whether the tape stands in the place of the map: a line a token.
    pub tape: bool,
    /// Whether the map shows what the logit lens says; it goes before the tape.
    pub lens: bool,
    /// What stands in the lens' cells.
    pub lens_shows: LensContents,
    /// Width of the lens' columns: narrow, middle or wide.
    pub lens_zoom: LensZoom,
    /// What the cells show.
    pub mode: MapMode,
    /// Width of a column; chosen by the room there is if absent.
    pub zoom: Option<u16>,
    /// Whether the prompt, which one program holds for, is folded to a strip of the map or a line of the tape; so if
    /// absent.
    pub fold: Option<bool>,
    /// The leftmost token.
    pub first_token: usize,
    /// The lowest layer.
    pub first_layer: usize,
}

impl MapState {
    /// Columns of the screen that a token takes in the lens map: four experts of two digits have room, a word may be cut.
    pub fn lens_width(&self, contents: LensContents) -> u16 {
        match contents {
            LensContents::Words => self.lens_zoom.width(),
            LensContents::Experts => self.lens_zoom.width().max(LensZoom::Middle.width()),
        }
    }

    /// Whether the tape is on the screen.
    pub fn shows_tape(&self) -> bool {
        self.tape && !self.lens
    }
}

/// What stands in a cell of the lens map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LensContents {
    /// The token that it would say.
    #[default]
    Words,
    /// In a LoopMoE model, the experts that it went to.
    Experts,
}

/// Width of a column of the lens map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LensZoom {
    /// 9 columns of the screen.
    #[default]
    Narrow,
    /// 13 columns of the screen.
    Middle,
    /// 20 columns of the screen.
    Wide,
}

impl LensZoom {
    /// The width after this one; after the widest comes the narrowest.
    pub fn next(self) -> LensZoom {
        match self {
            LensZoom::Narrow => LensZoom::Middle,
            LensZoom::Middle => LensZoom::Wide,
            LensZoom::Wide => LensZoom::Narrow,
        }
    }

    /// Columns of the screen.
    pub fn width(self) -> u16 {
        match self {
            LensZoom::Narrow => 9,
            LensZoom::Middle => 13,
            LensZoom::Wide => 20,
        }
    }
}

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Goes away by itself.
    Info,
    /// Stays until dismissed.
    Error,
}

/// A message to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it goes away by itself.
    pub level: Level,
    /// In words; wrapped where it is drawn.
    pub text: String,
    /// When it was said.
    pub since: Duration,
}

/// How what is known is looked at.
pub struct Ui {
    /// The terminal's size.
    pub area: Rect,
    /// Time since the start, as the last tick said.
    pub now: Duration,
    /// How everything looks.
    pub theme: Theme,
    /// Which key does what.
    pub keymap: Keymap<UiAction>,
    /// Colours of the code in the answer.
    pub answer_code: Code,
    /// Colours of the code in the prompt.
    pub prompt_code: Code,
    /// The first of two keys.
    pub pending_key: Option<Key>,
    /// No spinners; recordings are shown whole.
    pub reduced_motion: bool,
    /// The selection in words, no borders and block characters.
    pub screen_reader: bool,
    /// How fast traces are played.
    pub speed: Speed,
    /// Whether the unmodified answer stands under the one on the screen.
    pub twin: bool,
    /// The pane that hears the keys.
    pub focus: Focus,
    /// The pane shown where there is room for one.
    pub folded: Focus,
    /// The selected cell.
    pub cursor: Cursor,
    /// The other corner of the marked cells.
    pub mark: Option<Cursor>,
    /// Whether the cursor goes on to every new token.
    pub follow: bool,
    /// How many less confident decisions were visited at the cursor's token.
    pub unsure: usize,
    /// What part of the map is shown, and how.
    pub map: MapState,
    /// Sizes the user gave the panes.
    pub panes: Panes,
    /// The edge between panes that is being dragged.
    pub drag: Option<Edge>,
    /// The edge that was clicked last, and when.
    pub clicked: Option<(Edge, Duration)>,
    /// Lines by which the answer is scrolled from where the selected token puts it.
    pub answer_scroll: isize,
    /// Show the prompt and special tokens with the answer.
    pub template: bool,
    /// Where the lines of the answer begin.
    pub lines: LineStarts,
    /// The dialog over the panes, if one is open.
    pub overlay: Option<Overlay>,
    /// The message to the user, if there is one.
    pub notice: Option<Notice>,
    /// How many messages there were so far.
    pub said: usize,
    /// How many there were before the last key of the dialog that is open; all where none is.
    pub said_under: usize,
}

impl Ui {
    pub(super) fn new(theme: Theme, keymap: Keymap<UiAction>) -> Ui {
        Ui {
            area: Rect::new(0, 0, 80, 24),
            now: Duration::ZERO,
            answer_code: Code::new(&theme),
            prompt_code: Code::new(&theme),
            theme,
            keymap,
            pending_key: None,
            reduced_motion: false,
            screen_reader: false,
            speed: Speed::default(),
            twin: false,
            focus: Focus::Prompt,
            folded: Focus::Map,
            cursor: Cursor::default(),
            mark: None,
            follow: true,
            unsure: 0,
            map: MapState::default(),
            panes: Panes::default(),
            drag: None,
            clicked: None,
            answer_scroll: 0,
            template: false,
            lines: LineStarts::default(),
            overlay: None,
            notice: None,
            said: 0,
            said_under: 0,
        }
    }
}
