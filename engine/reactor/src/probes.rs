//! Static probes (USDT) for tracers: provider `dropstone`. A probe that nobody watches is one instruction that does nothing.
//!
//! | probe | arguments |
//! | --- | --- |
//! | `turn` | core, requests taken, nanoseconds |
//! | `sync` | core, nanoseconds |
//! | `request_done` | index, class, nanoseconds |
//! | `stall` | core, step, nanoseconds |
//!
//! `bpftrace -e 'usdt:./dropstone:dropstone:sync { @us = hist(arg1 / 1000); }'`

/// A turn that had work has ended.
#[inline]
pub fn turn(core: u16, requests: u64, ns: u64) {
    probe::probe!(dropstone, turn, core, requests, ns);
}

/// A durable write of the log has ended.
#[inline]
pub fn sync(core: u16, ns: u64) {
    probe::probe!(dropstone, sync, core, ns);
}

/// Requests have left that shared one time.
#[inline]
pub fn request_done(index: u64, class: u8, ns: u64) {
    probe::probe!(dropstone, request_done, index, class, ns);
}

/// A core stands still.
#[inline]
pub fn stall(core: u16, step: u64, ns: u64) {
    probe::probe!(dropstone, stall, core, step, ns);
}
