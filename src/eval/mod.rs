//! Tasks, grading and reports.
