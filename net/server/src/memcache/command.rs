//! One command of a connection from its bytes to its reply, with memory that is used again.

use std::ops::Range;

use base::limits::MEMCACHE_COMMAND_KEPT_BYTES;
use base::{Mono, NodeId};
use shard::{MetadataAnswer, MetadataKind};
use wire::memcache::{Item, Keys, MetaGet, Refusal, put_debug, put_end, put_meta_hit, put_meta_miss, put_value};

/// What is asked for, and how it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `get`, `gets`.
    Get { has_cas: bool },
    /// `mg`. Behind the key come its flags.
    MetaGet { is_base64: bool },
    /// `me`.
    Debug { is_base64: bool },
    /// The bytes are the reply.
    Literal,
    /// The connection closes.
    Quit,
}

/// Why a command is refused when its turn comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// By a fixed line.
    Line(Refusal),
    /// The node leads the group.
    NotLeader(NodeId),
}

/// A key of a command.
#[derive(Clone, Debug)]
struct Looked {
    /// In the command's text.
    key: Range<u32>,
    /// What it names; `None` is nothing, or not known yet.
    item: Option<Found>,
}

#[derive(Clone, Debug)]
struct Found {
    flags: u32,
    cas: u64,
    is_fetched: bool,
    /// In the command's values.
    value: Range<u32>,
}

/// One command.
#[derive(Debug)]
pub(super) struct Command {
    pub kind: Kind,
    /// When one of its keys was last looked up or answered.
    pub moved: Mono,
    /// The keys of a `get`; else the key, a space and the flags.
    text: Vec<u8>,
    /// Where the text goes on behind the keys that are being looked up.
    next: usize,
    keys: Vec<Looked>,
    /// Lookups that are on their way.
    waiting: usize,
    refused: Option<Refused>,
    values: Vec<u8>,
}

impl Command {
    pub(super) fn new() -> Command {
        Command {
            kind: Kind::Literal,
            moved: Mono(0),
            text: Vec::new(),
            next: 0,
            keys: Vec::new(),
            waiting: 0,
            refused: None,
            values: Vec::new(),
        }
    }

    /// Begins anew, with its keys.
    pub(super) fn begin(&mut self, kind: Kind, key: &[u8], flags: &[u8]) {
        debug_assert!(self.text.is_empty() && self.keys.is_empty() && self.values.is_empty());
        self.kind = kind;
        self.text.extend_from_slice(key);
        if matches!(kind, Kind::MetaGet { .. }) {
            self.text.push(b' ');
            self.text.extend_from_slice(flags);
        }
    }

    /// Nothing in it; the memory stays, unless it is much.
    pub(super) fn clear(&mut self) {
        for bytes in [&mut self.text, &mut self.values] {
            bytes.clear();
            if bytes.capacity() > MEMCACHE_COMMAND_KEPT_BYTES {
                *bytes = Vec::new();
            }
        }
        self.keys.clear();
        if self.keys.capacity() * size_of::<Looked>() > MEMCACHE_COMMAND_KEPT_BYTES {
            self.keys = Vec::new();
        }
        (self.next, self.waiting, self.refused) = (0, 0, None);
    }

    /// Where a reply that is known already is written.
    pub(super) fn literal(&mut self) -> &mut Vec<u8> {
        &mut self.values
    }

    /// The next key to be looked up, and its place; `None` after the last.
    pub(super) fn take_key(&mut self) -> Option<(usize, &[u8])> {
        if self.refused.is_some() || matches!(self.kind, Kind::Literal | Kind::Quit) {
            return None;
        }
        let is_get = matches!(self.kind, Kind::Get { .. });
        if !is_get && !self.keys.is_empty() {
            return None;
        }
        let rest = &self.text[self.next..];
        let key = Keys { text: rest }.next()?;
        let start = self.next + (key.as_ptr() as usize - rest.as_ptr() as usize);
        let range = start..start + key.len();
        self.next = range.end;
        self.keys.push(Looked { key: range.start as u32..range.end as u32, item: None });
        self.waiting += 1;
        Some((self.keys.len() - 1, &self.text[range]))
    }

    /// Some of its keys are being looked up.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0 && self.refused.is_none()
    }

    /// Are the keys base64?
    pub(super) fn is_base64(&self) -> bool {
        matches!(self.kind, Kind::MetaGet { is_base64: true } | Kind::Debug { is_base64: true })
    }

    /// A key's answer has come, and whether it was there for others before. False when it is of no use any more.
    pub(super) fn take_answer(&mut self, key: usize, answer: &MetadataAnswer<'_>, is_fetched: bool) -> bool {
        if !self.take_lookup(key) {
            return false;
        }
        match answer.kind {
            MetadataKind::Absent => {}
            MetadataKind::TooDeep => self.refuse(Refused::Line(Refusal::TooDeep)),
            MetadataKind::Malformed => self.refuse(Refused::Line(Refusal::BadKey)),
            kind @ (MetadataKind::File | MetadataKind::Folder | MetadataKind::Mount) => {
                let start = self.values.len() as u32;
                self.values.extend_from_slice(answer.json);
                let value = start..self.values.len() as u32;
                self.keys[key].item =
                    Some(Found { flags: u32::from(kind as u8), cas: answer.as_of.0, is_fetched, value });
            }
        }
        true
    }

    /// A key will not be answered. False when that is of no use any more.
    pub(super) fn take_refusal(&mut self, key: usize, refused: Refused) -> bool {
        let is_wanted = self.take_lookup(key);
        if is_wanted {
            self.refuse(refused);
        }
        is_wanted
    }

    fn take_lookup(&mut self, key: usize) -> bool {
        let is_wanted = self.refused.is_none() && key < self.keys.len() && self.waiting > 0;
        self.waiting -= usize::from(is_wanted);
        is_wanted
    }

    /// The whole command is refused, whatever else comes.
    pub(super) fn refuse(&mut self, refused: Refused) {
        if self.refused.is_none() {
            self.refused = Some(refused);
            self.values.clear();
        }
    }

    /// Nothing more is to be looked up, nor waited for.
    pub(super) fn is_done(&self) -> bool {
        if self.refused.is_some() || matches!(self.kind, Kind::Literal | Kind::Quit) {
            return true;
        }
        self.waiting == 0 && !self.keys.is_empty() && self.is_last_key()
    }

    fn is_last_key(&self) -> bool {
        !matches!(self.kind, Kind::Get { .. }) || self.text[self.next..].iter().all(|byte| *byte == b' ')
    }

    /// Why it is refused, if it is.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Bytes of keys and flags held.
    pub(super) fn asked_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes of values held.
    pub(super) fn value_bytes(&self) -> usize {
        self.values.len()
    }

    /// Hits and misses of a command that was not refused.
    pub(super) fn hits_and_misses(&self) -> (u64, u64) {
        let hits = self.keys.iter().filter(|looked| looked.item.is_some()).count() as u64;
        (hits, self.keys.len() as u64 - hits)
    }

    /// Writes the reply of a command that is done and not refused.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self.kind {
            Kind::Literal => out.extend_from_slice(&self.values),
            Kind::Quit => {}
            Kind::Get { has_cas } => {
                for looked in &self.keys {
                    if let Some(item) = self.item(looked) {
                        put_value(self.key(looked), &item, has_cas, out);
                    }
                }
                put_end(out);
            }
            Kind::MetaGet { .. } => {
                let looked = &self.keys[0];
                let get = MetaGet::parse(self.key(looked), &self.text[looked.key.end as usize..]);
                let get = get.expect("its flags were judged when it came");
                match self.item(looked) {
                    Some(item) => put_meta_hit(&get, &item, out),
                    None => put_meta_miss(&get, out),
                }
            }
            Kind::Debug { .. } => put_debug(self.key(&self.keys[0]), self.item(&self.keys[0]).as_ref(), out),
        }
    }

    fn key(&self, looked: &Looked) -> &[u8] {
        &self.text[looked.key.start as usize..looked.key.end as usize]
    }

    fn item(&self, looked: &Looked) -> Option<Item<'_>> {
        let Found { flags, cas, is_fetched, value } = looked.item.as_ref()?;
        let value = &self.values[value.start as usize..value.end as usize];
        Some(Item { flags: *flags, cas: *cas, is_fetched: *is_fetched, value })
    }
}
