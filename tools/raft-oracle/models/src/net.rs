//! The network of a model: a set of messages that were ever sent. Each may arrive at any time, any number of times, or
//! never, so loss, duplicates and any order need no action of their own.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base::{NodeId, mix64};
use ours::Body;

use crate::log::Entry;

/// A message with its entries.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its sender.
    pub from: NodeId,
    /// The life of the sender that sent it.
    pub incarnation: u64,
    /// Its receiver.
    pub to: NodeId,
    /// What it says.
    pub body: Body,
    /// Beside an AppendEntries.
    pub entries: Vec<Arc<Entry>>,
    /// Names it.
    pub print: u64,
}

impl Message {
    /// Names the message by what it says.
    #[must_use]
    pub fn new(from: NodeId, incarnation: u64, to: NodeId, body: Body, entries: Vec<Arc<Entry>>) -> Message {
        let print = print(&(from, incarnation, to, &body, &entries));
        Message { from, incarnation, to, body, entries, print }
    }
}

/// The messages, ascending by name.
#[derive(Clone, Debug, Default)]
pub struct Net {
    messages: Vec<Arc<Message>>,
}

impl Net {
    /// A message that was sent before changes nothing.
    pub fn send(&mut self, message: Message) {
        if let Err(at) = self.messages.binary_search_by_key(&message.print, |message| message.print) {
            self.messages.insert(at, Arc::new(message));
        }
    }

    /// Forgets messages that can do nothing any more.
    pub fn retain(&mut self, keep: impl Fn(&Message) -> bool) {
        self.messages.retain(|message| keep(message));
    }

    /// Was it sent?
    #[must_use]
    pub fn holds(&self, print: u64) -> bool {
        self.messages.binary_search_by_key(&print, |message| message.print).is_ok()
    }

    /// The messages under way.
    #[must_use]
    pub fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }
}

impl Hash for Net {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.messages.iter().for_each(|message| state.write_u64(message.print));
    }
}

/// A fingerprint that is the same in every run: the mixer of `base`, over the bytes that `Hash` gives.
pub fn print(value: &impl Hash) -> u64 {
    struct Mixer(u64);
    impl Hasher for Mixer {
        fn write(&mut self, bytes: &[u8]) {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
            }
        }
        fn write_u64(&mut self, word: u64) {
            self.0 = mix64(self.0 ^ word).rotate_left(23);
        }
        fn finish(&self) -> u64 {
            mix64(self.0)
        }
    }
    let mut mixer = Mixer(0);
    value.hash(&mut mixer);
    mixer.finish()
}
