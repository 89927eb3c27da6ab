//! The memcached protocol, text and meta, as far as it is served: requests out of a stream of bytes, replies into a buffer
//! (docs/design/memcache.md).
//!
//! Incremental: whatever pieces the bytes come in, the same requests come out. Requests borrow from the bytes; nothing is
//! allocated. What is not served is parsed whole, its data block swallowed, and refused.

mod key;
mod quick;
mod reply;
mod request;

pub use key::{PATH_BUFFER, PathBuffer, decode_key, put_key};
pub use quick::{Quick, QuickForm, QuickKey};
pub use reply::{Item, Refusal, put_debug, put_end, put_line, put_meta_hit, put_meta_miss, put_stat, put_value};
pub use request::{Decoder, Keys, MetaGet, Request, Stats, Step};

/// Bytes of a key as sent.
pub const KEY_BYTES_MAX: usize = 250;
/// Bytes of a line, its end not counted.
pub const LINE_BYTES_MAX: usize = 2048;
/// Bytes of a line of `get` or `gets`, its end not counted.
pub const GET_LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of an opaque token with its letter, above which it is too long.
pub const OPAQUE_BYTES_MAX: usize = 32;
