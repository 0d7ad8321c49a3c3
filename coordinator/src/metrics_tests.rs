//! Metrics of a coordinator: what moves them.
