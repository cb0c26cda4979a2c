//! The lines of the tree: every program under the one it was edited from.

use super::watched::Watched;

/// A line of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRow {
    /// Index into [`Watched::nodes`].
    pub node: usize,
    /// Edits from the root.
    pub depth: usize,
    /// The node it stands under.
    pub parent: Option<usize>,
    /// Edits lead here too, but its own line stands elsewhere, under who reached it first.
    pub again: bool,
}

/// The lines that are not folded away, in the order in which the search went to them.
pub fn rows(watched: &Watched) -> Vec<TreeRow> {
    let mut out = Vec::new();
    if watched.nodes.is_empty() {
        return out;
    }
    let mut stack = vec![TreeRow {
        node: 0,
        depth: 0,
        parent: None,
        again: false,
    }];
    while let Some(row) = stack.pop() {
        out.push(row);
        if row.again || watched.folded.contains(&row.node) {
            continue;
        }
        let children = watched.nodes[row.node].children.iter().rev();
        stack.extend(children.map(|&node| TreeRow {
            node,
            depth: row.depth + 1,
            parent: Some(row.node),
            again: watched.nodes[node].parent != Some(row.node),
        }));
    }
    out
}
