//! The parts of the screen a theme gives a look.

use ratatui::style::Modifier;

macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $role:ident, $name:literal, parent $parent:expr, plain $plain:expr;)+) => {
        /// What a piece of the screen is; a theme says how it looks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Role {
            $($(#[doc = $doc])+ $role,)+
        }

        impl Role {
            /// Every role, in the order of the discriminants.
            pub const ALL: [Role; [$(Role::$role),+].len()] = [$(Role::$role),+];

            /// The role's name in theme files.
            pub fn name(self) -> &'static str {
                match self { $(Role::$role => $name,)+ }
            }

            /// The role whose look this one has in themes that leave it out.
            pub fn parent(self) -> Option<Role> {
                match self { $(Role::$role => $parent,)+ }
            }

            /// How the role stands out without colours.
            pub fn plain(self) -> Modifier {
                match self { $(Role::$role => $plain,)+ }
            }
        }
    };
}

const NONE: Modifier = Modifier::empty();
const BOLD: Modifier = Modifier::BOLD;
const DIM: Modifier = Modifier::DIM;
const REVERSED: Modifier = Modifier::REVERSED;
const UNDERLINED: Modifier = Modifier::UNDERLINED;

roles! {
    /// The whole screen, under everything.
    Background, "background", parent None, plain NONE;
    /// Ordinary text.
    Text, "text", parent None, plain NONE;
    /// Text of second rank: hints, units, what is inactive.
    Muted, "muted", parent Some(Role::Text), plain DIM;
    /// What should catch the eye.
    Accent, "accent", parent Some(Role::Text), plain BOLD;
    /// Lines around panes.
    Border, "border", parent Some(Role::Muted), plain DIM;
    /// Lines around the pane that hears the keys.
    BorderFocused, "border-focused", parent Some(Role::Accent), plain BOLD;
    /// Titles of panes.
    Title, "title", parent Some(Role::Accent), plain BOLD;
    /// The line at the top.
    StatusBar, "status-bar", parent Some(Role::Text), plain REVERSED;
    /// A key in the key bar and in the help.
    KeyBarKey, "key-bar-key", parent Some(Role::Accent), plain BOLD;
    /// What a key does.
    KeyBarText, "key-bar-text", parent Some(Role::Muted), plain NONE;
    /// A layer left out.
    Skip, "skip", parent Some(Role::Muted), plain DIM;
    /// A layer run once.
    Execute, "execute", parent Some(Role::Text), plain NONE;
    /// A layer run twice.
    Repeat, "repeat", parent Some(Role::Accent), plain BOLD;
    /// A decision the user made.
    Pin, "pin", parent Some(Role::Accent), plain BOLD.union(UNDERLINED);
    /// A decision the budget made.
    Budget, "budget", parent Some(Role::Warning), plain UNDERLINED;
    /// A decision the dial made.
    Dial, "dial", parent Some(Role::Accent), plain NONE;
    /// The router would have decided otherwise.
    Disagree, "disagree", parent Some(Role::Warning), plain UNDERLINED;
    /// What is selected.
    Selection, "selection", parent None, plain REVERSED;
    /// The cell or character at the cursor.
    Cursor, "cursor", parent Some(Role::Selection), plain REVERSED.union(BOLD);
    /// What went wrong.
    Error, "error", parent Some(Role::Text), plain REVERSED.union(BOLD);
    /// What the user should know.
    Warning, "warning", parent Some(Role::Error), plain BOLD;
    /// What went well.
    Success, "success", parent Some(Role::Text), plain BOLD;
    /// Tokens of the chat template.
    SpecialToken, "special-token", parent Some(Role::Muted), plain DIM;
    /// Tokens of the least depth; tokens between are mixed.
    DepthLow, "depth-low", parent Some(Role::Skip), plain NONE;
    /// Tokens of the greatest depth.
    DepthHigh, "depth-high", parent Some(Role::Repeat), plain NONE;
    /// In a comparison, what only the later run has.
    Added, "added", parent Some(Role::Success), plain BOLD;
    /// In a comparison, what only the earlier run has.
    Removed, "removed", parent Some(Role::Error), plain UNDERLINED;
    /// The filled part of progress bars and probabilities.
    Gauge, "gauge", parent Some(Role::Accent), plain NONE;
    /// Sparklines and rates.
    Chart, "chart", parent Some(Role::Accent), plain NONE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_of_parents_ends() {
        for role in Role::ALL {
            let chain = std::iter::successors(Some(role), |r| r.parent());
            assert!(chain.take(Role::ALL.len()).count() < 6, "{}", role.name());
            assert_eq!(Role::ALL[role as usize], role);
        }
    }
}
