//! Where files live and what the user configured.
