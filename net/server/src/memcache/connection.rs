//! One connection: its bytes in, its commands in order, its bytes out.

use std::collections::VecDeque;

use base::limits::{
    MEMCACHE_ASKED_BYTES_SOFT, MEMCACHE_COMMANDS_MAX, MEMCACHE_LOOKUPS_MAX, MEMCACHE_OUT_BYTES_MAX,
    MEMCACHE_OUT_BYTES_SOFT,
};
use base::{Jid, Mono, NodeId, group_of};
use reactor::SocketId;
use reactor::io::Io;
use shard::{MetadataAnswer, MetadataKind};
use wire::memcache::{Decoder, PATH_BUFFER, Refusal, decode_key};

use super::Reach;
use super::command::{Command, Refused};

/// What became of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answered<'a> {
    /// A [`MetadataAnswer`].
    Body(&'a [u8]),
    /// Another node leads, or (0) nobody that is known.
    NotLeader(NodeId),
    /// A queue is full.
    Overloaded,
    /// Not now.
    NotReady,
}

/// An answer that was cached.
fn answer_of<'v>(hit: &cache::Hit<'v>) -> MetadataAnswer<'v> {
    let kind = match hit.kind {
        cache::Kind::File => MetadataKind::File,
        cache::Kind::Folder => MetadataKind::Folder,
        cache::Kind::Mount => MetadataKind::Mount,
        cache::Kind::Absent | cache::Kind::Row => MetadataKind::Absent,
    };
    MetadataAnswer { kind, as_of: Jid(hit.as_of), json: hit.value }
}

pub(super) struct Connection {
    pub socket: SocketId,
    pub decoder: Decoder,
    /// Bytes that came and are not taken yet.
    pub input: Vec<u8>,
    pub out: Vec<u8>,
    spare: Vec<u8>,
    /// Not answered, in order. Invariant: at most `MEMCACHE_COMMANDS_MAX`, and one that was taken before the bound.
    commands: VecDeque<Box<Command>>,
    /// The number of the front command.
    first: u64,
    /// The first command that may have keys to be looked up.
    looking: u64,
    /// Keys that are being looked up. Invariant: at most `MEMCACHE_LOOKUPS_MAX`.
    lookups: usize,
    /// Bytes of keys and flags that commands hold.
    asked_bytes: usize,
    /// Bytes of values that commands hold.
    held_bytes: usize,
    is_sending: bool,
    is_closing: bool,
    /// Nothing is read any more; what was asked is answered.
    pub has_ended: bool,
    /// Bytes are left that may not be taken yet.
    pub is_stalled: bool,
    is_paused: bool,
    pub is_queued: bool,
    pub last_command: Mono,
}

impl Connection {
    pub(super) fn new(socket: SocketId, now: Mono) -> Connection {
        Connection {
            socket,
            decoder: Decoder::default(),
            input: Vec::new(),
            out: Vec::new(),
            spare: Vec::new(),
            commands: VecDeque::new(),
            first: 0,
            looking: 0,
            lookups: 0,
            asked_bytes: 0,
            held_bytes: 0,
            is_sending: false,
            is_closing: false,
            has_ended: false,
            is_stalled: false,
            is_paused: false,
            is_queued: false,
            last_command: now,
        }
    }

    /// May another command be taken?
    pub(super) fn has_place(&self) -> bool {
        self.commands.len() < MEMCACHE_COMMANDS_MAX
            && self.asked_bytes < MEMCACHE_ASKED_BYTES_SOFT
            && self.out.len() < MEMCACHE_OUT_BYTES_SOFT
    }

    /// Closes once what is written has left.
    pub(super) fn close_after_flush(&mut self) {
        (self.is_closing, self.has_ended) = (true, true);
        self.input = Vec::new();
    }

    /// True while commands wait for answers.
    pub(super) fn is_waiting(&self) -> bool {
        !self.commands.is_empty()
    }

    pub(super) fn push(&mut self, command: Box<Command>) {
        self.asked_bytes += command.asked_bytes();
        self.held_bytes += command.value_bytes();
        self.commands.push_back(command);
    }

    /// All commands, of a connection that is gone.
    pub(super) fn into_commands(self) -> impl Iterator<Item = Box<Command>> {
        self.commands.into_iter()
    }

    /// Begins lookups, as many as may be on their way. True when the shard of this core was asked.
    pub(super) fn look_up(&mut self, name: u64, groups: u32, now: Mono, reach: &mut Reach<'_>) -> bool {
        let mut has_asked = false;
        while self.looking < self.first + self.commands.len() as u64 && self.lookups < MEMCACHE_LOOKUPS_MAX {
            let number = self.looking;
            let command = &mut self.commands[(number - self.first) as usize];
            let is_base64 = command.is_base64();
            command.moved = now;
            let Some((place, key)) = command.take_key() else {
                self.looking += 1;
                continue;
            };
            let mut buffer = PATH_BUFFER;
            let (nsid, path) = decode_key(key, is_base64, &mut buffer).expect("keys are judged when they come");
            let group = group_of(nsid, groups);
            if self.held_bytes + self.out.len() <= MEMCACHE_OUT_BYTES_MAX
                && let Some(hit) = reach.cached(now, group, nsid, path)
            {
                let before = command.value_bytes();
                command.take_answer(place, &answer_of(&hit), hit.was_used);
                self.held_bytes = self.held_bytes + command.value_bytes() - before;
                continue;
            }
            // What follows is the way of a miss.
            if reach.look_up((name, number << 16 | place as u64), group, nsid, path) {
                self.lookups += 1;
                has_asked = true;
            } else {
                self.held_bytes -= command.value_bytes();
                command.take_refusal(place, Refused::Line(Refusal::Overloaded));
            }
        }
        has_asked
    }

    /// A lookup has ended.
    pub(super) fn handle_answer(&mut self, request: u64, answered: Answered<'_>, now: Mono) {
        self.lookups -= 1;
        let (number, place) = (request >> 16, (request & 0xFFFF) as usize);
        // A command that was refused meanwhile wants no answer.
        let Some(at) = number.checked_sub(self.first).filter(|at| *at < self.commands.len() as u64) else { return };
        let is_full = self.held_bytes + self.out.len() > MEMCACHE_OUT_BYTES_MAX;
        let command = &mut self.commands[at as usize];
        command.moved = now;
        let before = command.value_bytes();
        let refused = match answered {
            Answered::Body(body) => match MetadataAnswer::parse(body) {
                Some(answer) if !is_full => {
                    command.take_answer(place, &answer, false);
                    None
                }
                Some(_) => Some(Refused::Line(Refusal::Overloaded)),
                None => Some(Refused::Line(Refusal::NotReady)),
            },
            Answered::NotLeader(NodeId(0)) => Some(Refused::Line(Refusal::NoLeader)),
            Answered::NotLeader(leader) => Some(Refused::NotLeader(leader)),
            Answered::Overloaded => Some(Refused::Line(Refusal::Overloaded)),
            Answered::NotReady => Some(Refused::Line(Refusal::NotReady)),
        };
        if let Some(refused) = refused {
            command.take_refusal(place, refused);
        }
        let after = command.value_bytes();
        self.held_bytes = self.held_bytes + after - before;
    }

    /// Takes the front command if it is done; its reply is to be written before the next is taken.
    pub(super) fn take_done(&mut self) -> Option<Box<Command>> {
        let command = self.commands.pop_front_if(|command| command.is_done())?;
        self.first += 1;
        self.looking = self.looking.max(self.first);
        self.asked_bytes -= command.asked_bytes();
        self.held_bytes -= command.value_bytes();
        Some(command)
    }

    /// Refuses commands that have waited for an answer since `moved` or longer. A long `get` may take its time, as long as
    /// its keys are answered.
    pub(super) fn refuse_stuck(&mut self, moved: Mono, refusal: Refusal) {
        let is_stuck = |command: &&mut Box<Command>| command.is_waiting() && command.moved <= moved;
        for command in self.commands.iter_mut().filter(is_stuck) {
            self.held_bytes -= command.value_bytes();
            command.refuse(Refused::Line(refusal));
        }
    }

    /// Refuses all that is not answered.
    pub(super) fn refuse_all(&mut self, refusal: Refusal) {
        for command in self.commands.iter_mut().filter(|command| !command.is_done()) {
            self.held_bytes -= command.value_bytes();
            command.refuse(Refused::Line(refusal));
        }
    }

    /// The buffer of the last send comes back.
    pub(super) fn handle_sent(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() <= MEMCACHE_OUT_BYTES_SOFT {
            self.spare = buffer;
        }
        self.is_sending = false;
    }

    /// True when bytes wait and none are on their way.
    pub(super) fn wants_flush(&self) -> bool {
        !self.is_sending && (!self.out.is_empty() || self.is_closing)
    }

    /// Sends what waits, and closes once all has left if that was asked for. Returns the bytes sent.
    pub(super) fn flush(&mut self, io: &mut impl Io) -> usize {
        if self.is_sending {
            return 0;
        }
        if self.out.is_empty() {
            if self.is_closing {
                io.close(self.socket);
            }
            return 0;
        }
        self.is_sending = true;
        let next = std::mem::take(&mut self.spare);
        let bytes = std::mem::replace(&mut self.out, next);
        let count = bytes.len();
        io.send(self.socket, bytes);
        count
    }

    /// The socket is read only while bytes of it can be taken.
    pub(super) fn pause_or_resume(&mut self, io: &mut impl Io) {
        if self.is_stalled != self.is_paused && !self.is_closing {
            self.is_paused = self.is_stalled;
            if self.is_paused { io.pause(self.socket) } else { io.resume(self.socket) }
        }
    }
}
