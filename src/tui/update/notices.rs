//! Messages that go away by themselves: once their time is over, and as soon as what they speak of is another.

use std::time::Duration;

use super::super::app::App;
use super::super::override_list::Off;
use super::super::ui::{LensContents, Level, MapMode, NOTICE_TIME};
use crate::engine::{RouterChoice, RunId};
use crate::trace::{Loop, Settings};

/// What a passing message may speak of.
#[derive(PartialEq)]
struct Subject {
    run: Option<RunId>,
    settings: Settings,
    off: Vec<Off>,
    routers: RouterChoice,
    asked_loop: Option<Loop>,
    map: (MapMode, bool, bool, LensContents),
    twin: bool,
}

impl Subject {
    fn new(app: &App) -> Subject {
        let map = &app.ui.map;
        Subject {
            run: app.shown.as_ref().map(|run| run.id),
            settings: app.settings.clone(),
            off: app.off.clone(),
            routers: app.routers.clone(),
            asked_loop: app.asked_loop,
            map: (map.mode, map.tape, map.lens, map.lens_shows),
            twin: app.ui.twin,
        }
    }
}

/// A passing message before something happens.
pub(super) struct Passing {
    subject: Subject,
    said: usize,
}

/// The passing message that stands, if one does.
pub(super) fn passing(app: &App) -> Option<Passing> {
    let stands = app.ui.notice.as_ref().is_some_and(|notice| notice.level == Level::Info);
    stands.then(|| Passing {
        subject: Subject::new(app),
        said: app.ui.said,
    })
}

/// Drops the message that stood before, if what it speaks of is another now; a new one stays.
pub(super) fn drop_stale(app: &mut App, before: Option<Passing>) {
    if let Some(before) = before
        && app.ui.said == before.said
        && Subject::new(app) != before.subject
    {
        app.ui.notice = None;
    }
    // A dialog that opens later lies over it.
    if app.ui.overlay.is_none() {
        app.ui.said_under = app.ui.said;
    }
}

/// Drops a passing message whose time is over.
pub(super) fn expire(app: &mut App, now: Duration) {
    let over = |level, since: Duration| level == Level::Info && now.saturating_sub(since) > NOTICE_TIME;
    if app.ui.notice.as_ref().is_some_and(|n| over(n.level, n.since)) {
        app.ui.notice = None;
    }
}
