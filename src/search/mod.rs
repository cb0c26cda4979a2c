//! Monte Carlo tree search over programs (spec §4).
