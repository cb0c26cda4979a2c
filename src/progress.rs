//! How far long work is, told by the library to whoever shows it.

/// A step of some work: `done` of `total`.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The work in words; the bar of another one begins anew.
    pub what: &'a str,
    /// How much of it is done.
    pub done: usize,
    /// How much there is to do.
    pub total: usize,
    /// Words behind the figures; may be empty.
    pub note: &'a str,
}

impl<'a> Progress<'a> {
    /// A step without a note.
    pub fn new(what: &'a str, done: usize, total: usize) -> Self {
        Progress {
            what,
            done,
            total,
            note: "",
        }
    }
}

/// Takes each step. The first one of a work says how much of it was done before.
pub type Tell<'t> = &'t mut dyn FnMut(Progress);
