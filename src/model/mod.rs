//! The frozen decoder.
