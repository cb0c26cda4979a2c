//! Tests that need a process to themselves, since they count what it allocates or how much memory it has held.

// Mutated files of every kind; longer, and with other seeds, as SECURITY.md says.
mod mutants;
// Twenty thousand tokens on a screen: nothing grows but the trace.
mod tui_soak;
