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
use crate::model::{ActivationBits, KvBits};
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
    /// Those that are loaded with it.
    pub routers: RouterChoice,
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: String,
    /// f32 arithmetic throughout.
    pub exact: bool,
    /// Threads of matrix products, 1 to 1024, which the program sets before it loads; as many as cores if absent.
    pub threads: Option<usize>,
    /// How often the loop of a looped model runs; as in its training if absent.
    pub iterations: Option<usize>,
    /// To how many bits activations are rounded on the CPU, where not `exact`.
    pub activations: ActivationBits,
    /// Bits of a number of keys and values on the CPU.
    pub kv_bits: KvBits,
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
            kv_bits: KvBits::default(),
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
    /// No routers: every token runs the standard program, or one that is given.
    None,
    /// A file of routers.
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
    /// A message for the model's chat template, or raw text.
    Text(String),
    /// Token ids, without a template.
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
        /// The number that its events carry.
        run: RunId,
        /// What the model reads.
        prompt: Prompt,
        /// Sampling, program or routers, pins and limits.
        settings: Box<Settings>,
    },
    /// Starts a run that goes on from another one, whose trace as far as it is kept this is: first
    /// with the tokens of `forced`, then with what is drawn. Its steps begin with the kept ones.
    Branch {
        /// The number that its events carry.
        run: RunId,
        /// The run before the branch, as far as it is kept.
        kept: Box<Trace>,
        /// Tokens that stand after the kept ones; may be empty.
        forced: Prompt,
        /// Of the tokens after the kept ones.
        settings: Box<Settings>,
    },
    /// Asks about a run, finished or under way; the run under way goes on meanwhile.
    Ask {
        /// The number that the answer carries.
        ask: AskId,
        /// What is asked, with the traces it is about.
        question: InspectionRequest,
    },
    /// Searches the programs that answer a question; a run or a search under way is abandoned.
    Search {
        /// The number that its events carry.
        search: SearchId,
        /// The question, and how long to search.
        request: Box<SearchRequest>,
    },
    /// Runs every block of layers twice, one at a time, on questions; what is under way is abandoned.
    LoopMap {
        /// The number that its events carry.
        map: SearchId,
        /// The questions, and how they are asked.
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
        /// The run, as far as it is known.
        trace: Box<Trace>,
        /// In the run, from 0; the prompt's tokens count.
        position: usize,
        /// How many of the likeliest tokens are named at each stage.
        top: usize,
        /// How many of the likeliest next tokens are followed over the stages.
        follow: usize,
        /// The first token of this text is followed too.
        also: Option<String>,
    },
    /// As [`InspectionRequest::Inspect`], for neighbouring tokens.
    InspectRange {
        /// The run, as far as it is known.
        trace: Box<Trace>,
        /// In the run, from 0; the prompt's tokens count.
        positions: Range<usize>,
        /// How many of the likeliest tokens are named at each stage.
        top: usize,
    },
    /// What another action at (layer, position) would change in the next token; `frozen` with everything
    /// else as it ran.
    Flip {
        /// The run, as far as it is known.
        trace: Box<Trace>,
        /// From 0.
        layer: usize,
        /// In the run, from 0; one of the prompt stands for all of the prompt's tokens.
        position: usize,
        /// What the layer does instead.
        action: Action,
        /// How many of the likeliest next tokens are named of either side.
        top: usize,
        /// Whether this token's other layers do what they did; else routers and budget settle the later ones anew.
        frozen: bool,
    },
    /// The next token of a run that is held, as it is and with `layer` pinned to `action` there.
    Intervene {
        /// The run, as far as it is computed.
        trace: Box<Trace>,
        /// From 0.
        layer: usize,
        /// What the layer is pinned to at the next token.
        action: Action,
        /// How many of the likeliest tokens after it are named of either side.
        top: usize,
    },
    /// How far two runs' next-token distributions lie apart at each token.
    Divergence {
        /// The two runs.
        traces: Box<[Trace; 2]>,
    },
}

/// Why a question has no answer that another command ended.
pub const ENDED: &str = "ended before there was an answer: ask again";

/// What came of a [`InspectionRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum InspectionResult {
    /// To [`InspectionRequest::Inspect`].
    Inspected(Box<Inspection>),
    /// To [`InspectionRequest::InspectRange`], one a position, in ascending order.
    InspectedRange(Vec<Inspection>),
    /// To [`InspectionRequest::Flip`].
    Flipped(Box<Flip>),
    /// To [`InspectionRequest::Intervene`].
    Intervened(Box<Intervention>),
    /// To [`InspectionRequest::Divergence`].
    Diverged(Divergence),
    /// Why there is none.
    Refused(String),
}

/// From the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerEvent {
    /// Bytes of the model pulled so far; `what` is a line for the user.
    Pulling {
        /// Which file, and where from.
        what: String,
        /// In bytes.
        done: u64,
        /// In bytes; absent where the source does not say.
        total: Option<u64>,
    },
    /// A stage of loading, in words.
    Loading(String),
    /// The model inside this program runs prompts until the one that has to be pulled is there.
    Meanwhile(Box<ModelInfo>),
    /// The model and its routers are in memory.
    Loaded {
        /// The model.
        model: Box<ModelInfo>,
        /// Absent where none were asked for or none ship for the model.
        routers: Option<RouterInfo>,
        /// The device that the model runs on.
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
        /// The run whose prompt is read.
        run: RunId,
        /// Layers or executions that are done.
        done: usize,
        /// Layers or executions in all.
        of: usize,
    },
    /// The prompt is read.
    Started {
        /// The run that begins.
        run: RunId,
        /// Prompt, settings, and what was decided at the prompt.
        header: Box<Header>,
    },
    /// A token is computed.
    Stepped {
        /// The run that it belongs to.
        run: RunId,
        /// The token, its program and its decisions.
        step: Box<Step>,
    },
    /// The run is at its end: nothing more of it comes.
    Finished {
        /// The run that ended.
        run: RunId,
        /// Why it ended, depths and times.
        summary: Summary,
    },
    /// A question has its answer.
    Answered {
        /// The question's number.
        ask: AskId,
        /// What came of it.
        answer: InspectionResult,
    },
    /// A simulation of a search is done.
    Searched {
        /// The search's number.
        search: SearchId,
        /// What the simulation came to.
        step: Box<SearchStep>,
    },
    /// A search is at its end: nothing more of it comes.
    SearchEnded {
        /// The search's number.
        search: SearchId,
        /// Why it ended.
        end: SearchEnd,
    },
    /// A cell of a loop map is scored on one more question.
    Mapped {
        /// The loop map's number.
        map: SearchId,
        /// The cell, and what the question came to there.
        step: LoopMapStep,
    },
    /// A loop map is at its end: nothing more of it comes.
    LoopMapEnded {
        /// The loop map's number.
        map: SearchId,
        /// Why it ended.
        end: SearchEnd,
    },
    /// The run could not start or broke off.
    Failed {
        /// The run's number.
        run: RunId,
        /// What went wrong and what to do.
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
