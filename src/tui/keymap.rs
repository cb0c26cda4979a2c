//! Which key does what: contexts, the shipped keymap, the user's differences, and the way back from
//! an action to its keys for the key bar and the help.

mod key;

use crossterm::event::{KeyEvent, KeyEventKind};

use crate::config::source::suggestion;
use crate::config::{ConfigError, ConfigSource, KeyBinding, Place, bindings};
pub use key::Key;

/// The keymap that ships, as `drllm-tui config --keymap` prints it.
pub const DEFAULT_KEYMAP: &str = include_str!("../../assets/keymap.toml");

/// The context whose bindings hold in every other, unless that one says otherwise.
pub const GLOBAL: &str = "global";

/// The action name that frees a key.
const NONE: &str = "none";

/// What keys can be bound to.
pub trait KeyAction: Copy + Eq + 'static {
    /// Every action, in the order of the help.
    fn all() -> &'static [Self];
    /// The name in keymaps, in kebab-case.
    fn name(self) -> &'static str;
    /// A line for the help.
    fn description(self) -> &'static str;
    /// The heading it stands under in the help.
    fn group(self) -> &'static str;
}

/// What a key press came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<A> {
    /// The key is bound to this.
    Action(A),
    /// The first of two keys; the next press decides.
    Prefix,
    /// The key is bound to nothing here.
    Nothing,
}

#[derive(Clone, Debug)]
struct Binding<A> {
    /// One key or two in a row.
    keys: Vec<Key>,
    /// Absent where the user freed the key.
    action: Option<A>,
    /// As written, for errors.
    text: String,
    place: Place,
}

impl<A> Binding<A> {
    /// Whether the same press could mean both.
    fn clashes<B>(&self, other: &Binding<B>) -> bool {
        self.keys.starts_with(&other.keys) || other.keys.starts_with(&self.keys)
    }
}

#[derive(Clone, Debug)]
struct Context<A> {
    name: String,
    bindings: Vec<Binding<A>>,
}

/// Keys and their actions by context.
#[derive(Clone, Debug)]
pub struct Keymap<A> {
    contexts: Vec<Context<A>>,
}

impl<A: KeyAction> Keymap<A> {
    /// The shipped keymap with the user's `differences`.
    ///
    /// # Errors
    /// As [`Keymap::new`].
    pub fn with_defaults(differences: &[KeyBinding]) -> Result<Keymap<A>, ConfigError> {
        let source = ConfigSource {
            name: "assets/keymap.toml",
            text: DEFAULT_KEYMAP,
        };
        Keymap::new(source, differences)
    }

    /// A keymap from `[context]` tables of `"key" = "action"`, with `differences` laid over it.
    ///
    /// # Errors
    /// For unknown contexts, keys and actions, and for keys bound twice in one context; with file,
    /// line, column and the nearest valid name.
    pub fn new(base: ConfigSource<'_>, differences: &[KeyBinding]) -> Result<Keymap<A>, ConfigError> {
        let table = base.parse()?;
        let contexts = table.get_ref().keys().map(|name| Context {
            name: name.get_ref().to_string(),
            bindings: Vec::new(),
        });
        let mut keymap = Keymap {
            contexts: contexts.collect(),
        };
        keymap.lay(&bindings(base, table.get_ref())?)?;
        keymap.lay(differences)?;
        Ok(keymap)
    }

    /// Adds `written` bindings; they replace those that stand, but must not clash among themselves.
    fn lay(&mut self, written: &[KeyBinding]) -> Result<(), ConfigError> {
        let mut layer: Vec<Vec<Binding<A>>> = self.contexts.iter().map(|_| Vec::new()).collect();
        for entry in written {
            let at = self
                .contexts
                .iter()
                .position(|c| c.name == entry.context)
                .ok_or_else(|| {
                    let hint = suggestion(&entry.context, self.contexts.iter().map(|c| c.name.as_str()));
                    refuse(&entry.place, format!("unknown context '{}': {hint}", entry.context))
                })?;
            let binding = read(entry)?;
            if let Some(other) = layer[at].iter().find(|b| b.clashes(&binding)) {
                return Err(conflict(&binding, other, &entry.context));
            }
            layer[at].push(binding);
        }
        for (context, new) in self.contexts.iter_mut().zip(layer) {
            context.bindings.retain(|old| !new.iter().any(|b| b.clashes(old)));
            context.bindings.extend(new);
        }
        Ok(())
    }

    /// The action of a single key press in `context`, or else in every context.
    pub fn lookup(&self, context: &str, event: KeyEvent) -> Option<A> {
        match self.press(&mut None, context, event) {
            Lookup::Action(action) => Some(action),
            Lookup::Prefix | Lookup::Nothing => None,
        }
    }

    /// As [`Keymap::lookup`], with two keys in a row: `pending` holds the first between presses.
    /// A second key that continues nothing counts as pressed on its own.
    pub fn press(&self, pending: &mut Option<Key>, context: &str, event: KeyEvent) -> Lookup<A> {
        if event.kind == KeyEventKind::Release {
            return Lookup::Nothing;
        }
        let key = Key::pressed(event);
        if let Some(first) = pending.take()
            && let Some(action) = self.find(context, &[first, key])
        {
            return action.map_or(Lookup::Nothing, Lookup::Action);
        }
        if let Some(action) = self.find(context, &[key]) {
            return action.map_or(Lookup::Nothing, Lookup::Action);
        }
        if self.layers(context).any(|b| b.keys.first() == Some(&key)) {
            *pending = Some(key);
            return Lookup::Prefix;
        }
        Lookup::Nothing
    }

    /// The keys of `action` in `context` as people write them, own ones first: `Ctrl-c`, `gg`, `↑`.
    pub fn keys_for(&self, action: A, context: &str) -> Vec<String> {
        self.layers(context)
            .filter(|b| b.action == Some(action) && self.effective(context, b))
            .map(|b| key::display(&b.keys))
            .collect()
    }

    /// What can be done in `context` and with which keys, in the order of [`KeyAction::all`].
    pub fn help(&self, context: &str) -> Vec<(A, Vec<String>)> {
        let with_keys = A::all().iter().map(|action| (*action, self.keys_for(*action, context)));
        with_keys.filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// Names of the contexts, in the shipped keymap's order.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts.iter().map(|c| c.name.as_str())
    }

    /// Actions that no key reaches anywhere.
    pub fn unbound(&self) -> Vec<A> {
        let bound = |a: &A| {
            self.contexts
                .iter()
                .flat_map(|c| &c.bindings)
                .any(|b| b.action == Some(*a))
        };
        A::all().iter().copied().filter(|a| !bound(a)).collect()
    }

    /// The bindings of `context`, then those of every context.
    fn layers(&self, context: &str) -> impl Iterator<Item = &Binding<A>> {
        let named = |name: &str| self.contexts.iter().find(|c| c.name == name);
        let own = named(context).filter(|c| c.name != GLOBAL);
        [own, named(GLOBAL)].into_iter().flatten().flat_map(|c| &c.bindings)
    }

    fn find(&self, context: &str, keys: &[Key]) -> Option<Option<A>> {
        // A prefix in the context hides a global key of its own.
        let first = self.layers(context).find(|b| b.keys.starts_with(keys))?;
        (first.keys == keys).then_some(first.action)
    }

    /// Whether no binding before it takes its keys.
    fn effective(&self, context: &str, binding: &Binding<A>) -> bool {
        let first = self.layers(context).find(|b| b.clashes(binding));
        first.is_some_and(|b| std::ptr::eq(b, binding))
    }
}

/// Checks a binding's key and action.
fn read<A: KeyAction>(entry: &KeyBinding) -> Result<Binding<A>, ConfigError> {
    let action = match A::all().iter().find(|a| a.name() == entry.action) {
        Some(action) => Some(*action),
        None if entry.action == NONE => None,
        None => {
            let names = A::all().iter().map(|a| a.name()).chain([NONE]);
            let hint = suggestion(&entry.action, names);
            return Err(refuse(
                &entry.place,
                format!("unknown action '{}': {hint}", entry.action),
            ));
        }
    };
    Ok(Binding {
        keys: key::parse_sequence(&entry.key).map_err(|reason| refuse(&entry.place, reason))?,
        action,
        text: entry.key.clone(),
        place: entry.place.clone(),
    })
}

fn conflict<A>(new: &Binding<A>, old: &Binding<A>, context: &str) -> ConfigError {
    let line = old.place.line;
    let (new_text, old_text) = (&new.text, &old.text);
    let why = match new.keys.len().cmp(&old.keys.len()) {
        std::cmp::Ordering::Equal => format!("'{new_text}' is bound already, as '{old_text}'"),
        std::cmp::Ordering::Less => format!("'{new_text}' cannot do something and begin '{old_text}'"),
        std::cmp::Ordering::Greater => format!("'{new_text}' begins with '{old_text}', which is bound"),
    };
    refuse(
        &new.place,
        format!("{why} on line {line} of [{context}]; keep one of them"),
    )
}

fn refuse(place: &Place, message: String) -> ConfigError {
    ConfigError::Content {
        place: place.clone(),
        message: crate::text::escape_controls(&message),
    }
}

#[cfg(test)]
mod tests;
