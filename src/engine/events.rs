//! What the screen asks of the worker thread, and what it hears back.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::divergence::Divergence;
use super::flip::Flip;
use super::inspect::Inspection;
use super::intervention::Intervention;
use super::loop_map::{LoopMapRequest, LoopMapStep};
use super::search::{SearchEnd, SearchId, SearchRequest, SearchStep};
use crate::model::ActivationBits;
use crate::program::Action;
use crate::trace::{Header, ModelInfo, RouterInfo, Settings, Step, Summary, Trace};

/// Identifies a run; events of an abandoned run carry an older number and are dropped.
pub type RunId = u64;

/// Identifies a question; a later one takes the place of one that is not answered yet.
pub type AskId = u64;

/// Which model to load, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadRequest {
    /// A catalog name, a file, a folder or a hub name; the catalog's default if absent.
    pub model: Option<String>,
    pub routers: RouterChoice,
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: String,
    /// f32 arithmetic throughout.
    pub exact: bool,
    pub threads: Option<usize>,
    /// How often the loop of a looped model runs; as in its training if absent.
    pub iterations: Option<usize>,
    /// To how many bits activations are rounded on the CPU, where not `exact`.
    pub activations: ActivationBits,
}

impl Default for LoadRequest {
    fn default() -> Self {
        LoadRequest {
            model: None,
            routers: RouterChoice::BuiltIn,
            device: "auto".into(),
            exact: false,
            threads: None,
            iterations: None,
            activations: ActivationBits::default(),
        }
    }
}

/// Where routers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouterChoice {
    /// Those that ship for the model, if there are any: the best ones.
    #[default]
    BuiltIn,
    /// Those that ship for the model and judge each token of an answer by itself: a verifier of choices.
    Verifier,
    /// Those that ship for the model and were made by Dr.LLM's recipe.
    DrLlm,
    None,
    File(PathBuf),
}

impl From<&str> for RouterChoice {
    /// `built-in`, `verifier`, `dr-llm`, `none` or a path.
    fn from(text: &str) -> RouterChoice {
        match text {
            "built-in" => RouterChoice::BuiltIn,
            "verifier" => RouterChoice::Verifier,
            "dr-llm" => RouterChoice::DrLlm,
            "none" => RouterChoice::None,
            path => RouterChoice::File(PathBuf::from(path)),
        }
    }
}

impl fmt::Display for RouterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouterChoice::BuiltIn => f.write_str("built-in"),
            RouterChoice::Verifier => f.write_str("verifier"),
            RouterChoice::DrLlm => f.write_str("dr-llm"),
            RouterChoice::None => f.write_str("none"),
            RouterChoice::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is run: a prompt's text or its token ids.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// To the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Loads a model, pulling it first if need be. The last one loaded stays until it succeeds.
    Load(LoadRequest),
    /// Replaces the routers of the loaded model.
    Routers(RouterChoice),
    /// Starts a run; one under way is abandoned.
    Generate {
        run: RunId,
        prompt: Prompt,
        settings: Box<Settings>,
    },
    /// Starts a run that goes on from another one, whose trace as far as it is kept this is: first
    /// with the tokens of `forced`, then with what is drawn. Its steps begin with the kept ones.
    Branch {
        run: RunId,
        kept: Box<Trace>,
        forced: Prompt,
        settings: Box<Settings>,
    },
    /// Asks about a run, finished or under way; the run under way goes on meanwhile.
    Ask { ask: AskId, question: InspectionRequest },
    /// Searches the programs that answer a question; a run or a search under way is abandoned.
    Search {
        search: SearchId,
        request: Box<SearchRequest>,
    },
    /// Runs every block of layers twice, one at a time, on questions; what is under way is abandoned.
    LoopMap {
        map: SearchId,
        request: Box<LoopMapRequest>,
    },
    /// Holds the run under way, or the next one's start, before its next token.
    Pause,
    /// Lets a held run go on.
    Resume,
    /// Lets a held run compute one token.
    Step,
    /// Ends the run or the search under way after the step in work, its summary or its end still comes;
    /// ends the question too.
    Stop,
}

/// What can be asked about runs, given their traces as far as they are known.
#[derive(Clone, Debug, PartialEq)]
pub enum InspectionRequest {
    /// What happened inside the token at a position; `top` tokens are named at each stage.
    Inspect {
        trace: Box<Trace>,
        position: usize,
        top: usize,
        /// How many of the likeliest next tokens are followed over the stages.
        follow: usize,
        /// The first token of this text is followed too.
        also: Option<String>,
    },
    /// As [`InspectionRequest::Inspect`], for neighbouring tokens.
    InspectRange {
        trace: Box<Trace>,
        positions: Range<usize>,
        top: usize,
    },
    /// What another action at (layer, position) would change in the next token; `frozen` with everything
    /// else as it ran.
    Flip {
        trace: Box<Trace>,
        layer: usize,
        position: usize,
        action: Action,
        top: usize,
        frozen: bool,
    },
    /// The next token of a run that is held, as it is and with `layer` pinned to `action` there.
    Intervene {
        trace: Box<Trace>,
        layer: usize,
        action: Action,
        top: usize,
    },
    /// How far two runs' next-token distributions lie apart at each token.
    Divergence { traces: Box<[Trace; 2]> },
}

/// Why a question has no answer that another command ended.
pub const ENDED: &str = "ended before there was an answer: ask again";

/// What came of a [`InspectionRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum InspectionResult {
    Inspected(Box<Inspection>),
    InspectedRange(Vec<Inspection>),
    Flipped(Box<Flip>),
    Intervened(Box<Intervention>),
    Diverged(Divergence),
    /// Why there is none.
    Refused(String),
}

/// From the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerEvent {
    /// Bytes of the model pulled so far; `what` is a line for the user.
    Pulling {
        what: String,
        done: u64,
        total: Option<u64>,
    },
    /// A stage of loading, in words.
    Loading(String),
    /// The model inside this program runs prompts until the one that has to be pulled is there.
    Meanwhile(Box<ModelInfo>),
    Loaded {
        model: Box<ModelInfo>,
        routers: Option<RouterInfo>,
        device: String,
        /// Whether the model has a chat template.
        chat: bool,
        /// What the user should know, such as a context that was cut.
        note: Option<String>,
    },
    /// No model: what went wrong and what to do.
    LoadFailed(String),
    /// The routers were replaced.
    RoutersChanged(Option<RouterInfo>),
    /// Routers could not be replaced; the ones before stay.
    RoutersFailed(String),
    /// Layers of a prompt that was read so far, or executions of a fixed program.
    Reading {
        run: RunId,
        done: usize,
        of: usize,
    },
    Started {
        run: RunId,
        header: Box<Header>,
    },
    Stepped {
        run: RunId,
        step: Box<Step>,
    },
    Finished {
        run: RunId,
        summary: Summary,
    },
    Answered {
        ask: AskId,
        answer: InspectionResult,
    },
    /// A simulation of a search is done.
    Searched {
        search: SearchId,
        step: Box<SearchStep>,
    },
    SearchEnded {
        search: SearchId,
        end: SearchEnd,
    },
    /// A cell of a loop map is scored on one more question.
    Mapped {
        map: SearchId,
        step: LoopMapStep,
    },
    LoopMapEnded {
        map: SearchId,
        end: SearchEnd,
    },
    /// The run could not start or broke off.
    Failed {
        run: RunId,
        message: String,
    },
}

impl WorkerEvent {
    /// The run an event belongs to, if any.
    pub fn run(&self) -> Option<RunId> {
        match self {
            WorkerEvent::Reading { run, .. }
            | WorkerEvent::Started { run, .. }
            | WorkerEvent::Stepped { run, .. }
            | WorkerEvent::Finished { run, .. }
            | WorkerEvent::Failed { run, .. } => Some(*run),
            _ => None,
        }
    }
}
