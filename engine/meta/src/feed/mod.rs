//! One stream of changes over a root and what hangs in it (docs/design/metadata.md, "Feeds").
//!
//! The machine answers for one namespace at a time, since each lives in one group. [`Feed`] joins the answers for whoever
//! stands above the groups, a gateway or a client: it says what to ask where, and makes pages and cursors of what is
//! answered. Pure: it asks nobody itself.
//!
//! ```text
//! let mut feed = Feed::resume(cursor, String::new());
//! let end = loop {
//!     match feed.next() {
//!         Next::Ask(nsid, query) => feed.tell(ask(nsid, &query)),
//!         Next::End(end) => break end,
//!     }
//! };
//! ```

mod cursor;
mod driver;
mod page;
mod steps;

pub use cursor::{FeedCursor, Place, PlaceKind};
pub use driver::{Feed, Next};
pub use page::{End, FeedPage};
