//! The hands of a core: io_uring, mapped segments, buffers, inboxes, the clock. The only crate with `unsafe`.

pub mod io;
