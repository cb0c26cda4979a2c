//! Training routers from search records (spec §5).
