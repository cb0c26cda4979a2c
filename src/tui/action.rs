//! Everything a key can do. Key bar, help and keymaps are made from this table.

use super::keymap::KeyAction;

macro_rules! actions {
    ($($group:literal { $($action:ident, $name:literal, $label:literal, $description:literal;)+ })+) => {
        /// What the user can ask for by a key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum UiAction {
            $($(#[doc = $description] $action,)+)+
        }

        impl UiAction {
            /// Every action, in the order of the help.
            pub const ALL: &'static [UiAction] = &[$($(UiAction::$action,)+)+];

            /// One or two words for the key bar.
            pub fn label(self) -> &'static str {
                match self { $($(UiAction::$action => $label,)+)+ }
            }
        }

        impl KeyAction for UiAction {
            fn all() -> &'static [Self] {
                UiAction::ALL
            }

            fn name(self) -> &'static str {
                match self { $($(UiAction::$action => $name,)+)+ }
            }

            fn description(self) -> &'static str {
                match self { $($(UiAction::$action => $description,)+)+ }
            }

            fn group(self) -> &'static str {
                match self { $($(UiAction::$action => $group,)+)+ }
            }
        }
    };
}

actions! {
    "Run" {
        Run, "run", "run", "Run the prompt";
        Rerun, "rerun", "rerun", "Run again from the start: same prompt and seed";
        Stop, "stop", "stop", "Stop the run under way";
        Compare, "compare", "compare", "Compare the last two runs";
        Branch, "branch", "branch", "Run on from this token with what you changed; what stands before is kept";
        Force, "force", "other token", "Put another token here and run on from it";
        Runs, "runs", "runs", "The runs of this session and their branches: open one, compare any two";
        Stats, "stats", "statistics", "What the open runs have in common: layers, depths, confidences, programs";
        Baseline, "baseline", "vs. unmodified", "Compare with the unmodified model: every layer once";
        TrainRouters, "train-routers", "train", "Train depth routers for this model, beside the explorer";
        Settings, "settings", "settings", "Settings: budget, dial, program, tokens, temperature, seed";
        RestoreSession, "restore-session", "last session", "Bring back the session that was kept last: runs, settings, prompts";
        NextRecording, "next-recording", "recordings", "Open the next recording";
    }
    "Play" {
        PlayPause, "play-pause", "play/pause", "Play, pause or replay a trace; hold a run before its next token";
        StepBack, "step-back", "token", "One token back in a trace";
        StepToken, "step-token", "token", "One token on: of a trace, or of a run that is held";
        StepLayerBack, "step-layer-back", "layer", "One layer back in a trace";
        StepLayer, "step-layer", "layer", "One layer on: the newest column fills layer by layer";
        PlaySlower, "play-slower", "speed", "Play at half the speed";
        PlayFaster, "play-faster", "speed", "Play at twice the speed";
        JumpToken, "jump-token", "jump", "Jump to a token by its number, or to a share like 50%";
    }
    "Decide" {
        PinSkip, "pin-skip", "skip", "Pin the layer, or the marked cells, to skip";
        PinExecute, "pin-execute", "execute", "Pin the layer, or the marked cells, to execute";
        PinRepeat, "pin-repeat", "repeat", "Pin the layer, or the marked cells, to repeat";
        PinDamped, "pin-damped", "damp", "Pin the layer, or the marked cells, to a damped repeat: by a half, by a quarter, whole again";
        PinAuto, "pin-auto", "auto", "Take pins off the layer, or the marked cells";
        EndLoop, "end-loop", "end loop", "In a looped model: end the loop after the iteration at the cursor, or run all of them";
        MoreIterations, "more-iterations", "iterations", "In a looped model: run the loop once more than now, up to 8 times; new executions have no routers";
        FewerIterations, "fewer-iterations", "iterations", "In a looped model: run the loop once less than now";
        Mark, "mark", "mark", "Begin or end marking a range of tokens and layers";
        Overrides, "overrides", "overrides", "The list of overrides: edit, switch off and on, take out";
        ClearPins, "clear-pins", "clear all", "Clear every override: pins, program, budget, dial, scope";
        BudgetMore, "budget-more", "budget", "Raise the budget by one layer";
        BudgetLess, "budget-less", "budget", "Lower the budget by one layer";
        DialMore, "dial-more", "dial", "Turn the dial towards more layers: half a layer where that was measured";
        DialLess, "dial-less", "dial", "Turn the dial towards fewer layers: half a layer where that was measured";
        ToggleScope, "toggle-scope", "scope", "Decide once at the prompt, or at every token";
        EditProgram, "edit-program", "program", "Type a whole program, like 0-11 13-29";
        EditBudget, "edit-budget", "budget", "Type the budget";
        EditDial, "edit-dial", "dial", "Type the dial, or the mean depth that it should come to";
        EditRouters, "edit-routers", "routers", "Choose the routers: built-in, dr-llm, verifier, none or a file";
    }
    "Look inside" {
        Inside, "inside", "inside", "Inside this token: what it would say at each layer, how far each layer moves it";
        Lens, "lens", "lens map", "The map as a logit lens: the token that each layer would say, and from where on it is the final one; of a looped model then its experts";
        Flips, "flips", "flips", "The least confident decisions: try the alternative at once";
        FollowNext, "follow-next", "follow a token", "Inside a token: follow a likely next token over the layers, then the next likely one";
        ExcludeExpert, "exclude-expert", "exclude expert", "Inside a token of a looped model: the next run does without the selected layer's foremost expert";
        FollowTyped, "follow-typed", "type it", "Inside a token: type the next token that is followed over the layers";
        Freeze, "freeze", "freeze", "In the flips: everything else as it ran, or later layers decide anew";
        Candidates, "candidates", "candidates", "The programs that a predictor proposed: run one and compare";
        Search, "search", "search", "Watch a search: programs tried on a question, right ones, the shortest";
        LoopMap, "loop-map", "loop map", "The loop map: every block of layers run twice on questions, which blocks gain";
        Intervene, "intervene", "next token", "While a run is held: skip, execute or repeat a layer at the next token, and see both ways first";
        Divergence, "divergence", "KL by token", "In a comparison: how far the next-token distributions lie apart";
    }
    "Move" {
        Left, "left", "left", "Previous token";
        Right, "right", "right", "Next token";
        Up, "up", "up", "Up: a later layer, an earlier line";
        Down, "down", "down", "Down: an earlier layer, a later line";
        PageLeft, "page-left", "page left", "A screen of tokens back";
        PageRight, "page-right", "page right", "A screen of tokens on";
        FirstToken, "first-token", "first", "First token";
        LastToken, "last-token", "last", "Newest token";
        TopLayer, "top-layer", "top", "Last layer; the beginning of a list";
        BottomLayer, "bottom-layer", "bottom", "First layer; the end of a list";
        NextUncertain, "next-uncertain", "unsure", "The next least confident decision at this token";
        Follow, "follow", "follow", "Follow the newest token, or stay";
    }
    "View" {
        FocusNext, "focus-next", "next pane", "Next pane";
        FocusPrevious, "focus-previous", "previous pane", "Previous pane";
        FocusPrompt, "focus-prompt", "edit prompt", "Edit the prompt";
        PaneWider, "pane-wider", "wider", "Make the pane wider; dragging its border does it too";
        PaneNarrower, "pane-narrower", "narrower", "Make the pane narrower";
        PaneTaller, "pane-taller", "taller", "Make the pane taller";
        PaneShorter, "pane-shorter", "shorter", "Make the pane shorter";
        PanesReset, "panes-reset", "pane sizes", "Give all panes their own sizes again; a double click on a border does it for that one";
        MapMode, "map-mode", "map shows", "Map: decisions, confidence or who decided";
        Twin, "twin", "twin", "The unmodified model's answer under this one, with the first token that differs";
        FoldPrompt, "fold-prompt", "fold prompt", "Fold the prompt's columns of the map to a strip, or unfold them";
        Tape, "tape", "tape/map", "The tape, a line a token, or the map of layers × tokens";
        Zoom, "zoom", "zoom", "Width of the map's columns";
        Template, "template", "template", "Show or hide the prompt and the chat template's special tokens";
        Palette, "palette", "commands", "Find anything by typing a part of it: actions, keys, recordings, prompts";
        SaveRun, "save-run", "save", "Save the run: its trace, or as SVG, HTML, CSV, JSON or text";
        CopyAnswer, "copy-answer", "copy answer", "Copy the answer to the system's clipboard";
        CopyProgram, "copy-program", "copy program", "Copy the selected token's program to the system's clipboard";
        CopyCell, "copy-cell", "copy cell", "Copy the selected cell, in words, to the system's clipboard";
        Help, "help", "help", "What the keys do and what the screen shows";
        Dismiss, "dismiss", "dismiss", "Dismiss a message, a mark, a dialog";
        Suspend, "suspend", "suspend", "Leave the terminal to the shell; fg comes back";
        Quit, "quit", "quit", "Quit";
        Interrupt, "interrupt", "stop or quit", "Stop what runs; where nothing does, quit";
    }
    "Lessons" {
        Lessons, "lessons", "lessons", "Guided tours through the screen";
        LessonNext, "lesson-next", "next step", "The next page or step of the lesson";
        LessonPrevious, "lesson-previous", "last step", "The page or step of the lesson before";
        GuessShallow, "guess-shallow", "shallow", "Guess that the next token of a trace is shallower than its mean, and see it";
        GuessDeep, "guess-deep", "deep", "Guess that the next token of a trace is deeper than its mean, and see it";
        LessonLeave, "lesson-leave", "leave lesson", "Leave the lesson";
    }
    "Prompt" {
        NewLine, "new-line", "new line", "Begin a new line";
        HistoryPrevious, "history-previous", "history", "The prompt before";
        HistoryNext, "history-next", "history", "The prompt after";
        ClearPrompt, "clear-prompt", "clear", "Clear the prompt";
    }
    "Dialogs" {
        Accept, "accept", "accept", "Edit the setting; accept what was typed";
        Toggle, "toggle", "toggle", "Switch the setting on or off";
        Add, "add", "add", "Type one more override";
        SearchExample, "search-example", "example", "In the search: the next example question";
        SearchSort, "search-sort", "sort", "In the search: another order of the programs";
        LoopBest, "loop-best", "best", "In the loop map: the block of greatest gain, then the next one";
        LoopMeasure, "loop-measure", "measure", "In the loop map: compare by margin, log-likelihood or accuracy";
        Remove, "remove", "remove", "Take the override out of the list";
        SaveOverrides, "save-overrides", "save", "Save the list of overrides to a file";
        LoadOverrides, "load-overrides", "load", "Load the list of overrides from a file";
        LoadPrompts, "load-prompts", "prompts file", "In the statistics: run every prompt of a file, one after the other";
        Close, "close", "close", "Close, without accepting what was typed";
    }
}

#[cfg(test)]
mod tests {
    use super::super::keymap::Keymap;
    use super::*;

    #[test]
    fn every_action_has_a_key_and_a_name_of_its_own() {
        let keymap = Keymap::<UiAction>::with_defaults(&[]).unwrap();
        assert_eq!(keymap.unbound(), []);
        let mut names: Vec<_> = UiAction::ALL.iter().map(|a| a.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), UiAction::ALL.len());
    }

    #[test]
    fn no_plain_letter_is_taken_from_who_types() {
        let keymap = Keymap::<UiAction>::with_defaults(&[]).unwrap();
        for context in ["prompt", "command", "palette", "search-form", "loop-map-form"] {
            for (action, keys) in keymap.help(context) {
                let typed = keys.iter().find(|key| key.chars().count() == 1 && key.is_ascii());
                assert_eq!(typed, None, "{} in {context}", action.name());
            }
        }
    }
}
