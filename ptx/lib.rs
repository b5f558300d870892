//! The ops.
