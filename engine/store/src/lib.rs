//! The state store behind meta: an LSM tree without a log of its own, and its in-memory twin.
