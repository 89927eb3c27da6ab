//! The block server: content in an object store.
