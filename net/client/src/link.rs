//! One connection as the core sees it: greeted or not, what waits for it, what is on its way.

use std::collections::VecDeque;
use std::sync::Arc;

use base::limits::{CLIENT_FRAME_BYTES_MAX, WIRE_FRAME_BYTES_MAX};
use base::{Mono, NodeId};
use wire::{FrameClass, FrameReader, FrameWriter, Link as Language};

use crate::operation::ClientOptions;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkState {
    /// The driver makes it.
    Connecting,
    /// Our hello is sent, theirs is awaited.
    Greeting,
    /// Requests may be sent.
    Ready,
}

/// One connection.
pub(crate) struct Link {
    pub(crate) address: Arc<str>,
    /// Whose it is: first as the map says, then as the hello says.
    pub(crate) node: Option<NodeId>,
    /// It carries watches only, so that closing it ends them.
    pub(crate) is_watch: bool,
    pub(crate) state: LinkState,
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    /// Requests to be sent on it.
    pub(crate) waiting: VecDeque<u64>,
    /// How many requests were sent on it without a last reply; they have it for their place.
    pub(crate) in_flight: usize,
    pub(crate) opened: Mono,
    /// When bytes last came, or when the first request was sent after an idle time.
    pub(crate) heard: Mono,
    /// A Ping was sent since.
    pub(crate) is_pinged: bool,
}

impl Link {
    pub(crate) fn new(address: Arc<str>, node: Option<NodeId>, is_watch: bool, now: Mono) -> Link {
        Link {
            address,
            node,
            is_watch,
            state: LinkState::Connecting,
            reader: Link::empty_reader(),
            writer: FrameWriter::new(FrameClass::Request, CLIENT_FRAME_BYTES_MAX),
            waiting: VecDeque::new(),
            in_flight: 0,
            opened: now,
            heard: now,
            is_pinged: false,
        }
    }

    pub(crate) fn empty_reader() -> FrameReader {
        FrameReader::new(Language::Client, WIRE_FRAME_BYTES_MAX)
    }

    /// When [`Link::is_due`] may next be true.
    pub(crate) fn deadline(&self, options: &ClientOptions) -> Option<Mono> {
        match self.state {
            LinkState::Connecting | LinkState::Greeting => Some(self.opened + options.link_deadline),
            LinkState::Ready if self.in_flight == 0 => None,
            LinkState::Ready if self.is_pinged => {
                Some(self.heard + options.silence + options.silence + options.silence)
            }
            LinkState::Ready => Some(self.heard + options.silence),
        }
    }

    /// It has been silent too long.
    pub(crate) fn is_due(&self, options: &ClientOptions, now: Mono) -> bool {
        self.deadline(options).is_some_and(|deadline| deadline <= now)
    }

    /// True when nothing waits for it and nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }
}
