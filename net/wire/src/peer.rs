//! Peer frames, read: one frame per turn and pair of cores, with messages of all their groups (docs/design/raft.md 15).
//!
//! ```text
//! header, 32 B   0 u32 magic "DSPF"   4 u8 version   5 u8 class (1 raft, 2 snapshot)   6 u16 message_count
//!                8 u32 frame_bytes   12 u32 crc32c  16 u16 source_core   18 u16 target_core   20 u32 link_seq
//!               24 u64 send_mono
//! prefix, 16 B   0 u32 group   4 u8 kind   5 u8 flags   6 u16 entry_count   8 u64 term
//! ```
//! The frame's crc covers header (crc field zero), prefixes, fields and items. The bodies of AppendEntries,
//! EntryFetchResp and SnapshotPart are outside it, since each record and each part has a crc of its own.

use base::bytes::{align_up, get_u16, get_u32, get_u64};
use base::checksum::{crc32c, crc32c_append};
use base::record::{RecordError, Records};
use base::{CoreId, GroupId, LogIndex, Mono, Term, mutate};
use raft::{Body, Health};

use crate::frame::FrameError;
use crate::reader::{Link, frame_bytes};

/// Bytes of a peer frame before its messages.
pub const PEER_FRAME_HEADER_BYTES: usize = 32;
/// First four bytes of a peer frame.
pub const PEER_FRAME_MAGIC: u32 = u32::from_le_bytes(*b"DSPF");
/// Bytes of every message before its own fields.
pub const PREFIX_BYTES: usize = 16;

/// The kinds on the wire.
pub(crate) mod kind {
    pub(crate) const APPEND_ENTRIES: u8 = 1;
    pub(crate) const APPEND_RESP: u8 = 2;
    pub(crate) const HEARTBEAT_LIST: u8 = 3;
    pub(crate) const HEARTBEAT_ACK: u8 = 4;
    pub(crate) const PRE_VOTE: u8 = 5;
    pub(crate) const REQUEST_VOTE: u8 = 6;
    pub(crate) const PRE_VOTE_RESP: u8 = 7;
    pub(crate) const VOTE_RESP: u8 = 8;
    pub(crate) const TIMEOUT_NOW: u8 = 9;
    pub(crate) const READ_INDEX: u8 = 10;
    pub(crate) const READ_INDEX_RESP: u8 = 11;
    pub(crate) const ENTRY_FETCH: u8 = 12;
    pub(crate) const ENTRY_FETCH_RESP: u8 = 13;
    pub(crate) const SNAPSHOT_PART: u8 = 14;
    pub(crate) const SNAPSHOT_ACK: u8 = 15;
    pub(crate) const REMOVED: u8 = 16;
    pub(crate) const STATE_HASH: u8 = 17;
}

/// The flags of a prefix.
pub(crate) mod flag {
    pub(crate) const REJECTED: u8 = 1;
    pub(crate) const FORCED: u8 = 2;
    pub(crate) const BUSY: u8 = 4;
    pub(crate) const FAULTY: u8 = 8;
    pub(crate) const LAST: u8 = 16;
    pub(crate) const ABSENT: u8 = 32;
}

/// The flag of a heartbeat item.
pub(crate) const ITEM_QUIESCE: u32 = 1;
/// Bytes of a heartbeat and of its ack.
pub(crate) const HEARTBEAT_ITEM_BYTES: usize = 32;
/// See above.
pub(crate) const ACK_ITEM_BYTES: usize = 24;

/// Why bytes are not a peer frame, or a message in one is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFrameError {
    /// The framing is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A kind that was not agreed on.
    #[error("peer frame has a message of the unknown kind {0}")]
    Kind(u8),
    /// A message's field has a value that no writer gives.
    #[error("message of kind {kind} has a bad {field}")]
    Field {
        /// The message's kind.
        kind: u8,
        /// Which field.
        field: &'static str,
    },
    /// Entries are not what their message says.
    #[error("entries of a peer frame: {0}")]
    Entries(#[from] RecordError),
}

/// One message of a peer frame.
#[derive(Clone, Copy)]
pub struct PeerMessage<'a> {
    /// Whose it is.
    pub group: GroupId,
    /// What it is.
    pub kind: PeerKind<'a>,
}

/// What a peer says.
#[derive(Clone, Copy)]
pub enum PeerKind<'a> {
    /// For the consensus core.
    Raft {
        /// The message. `send_mono` is the frame's.
        body: Body,
        /// Of an AppendEntries or an EntryFetchResp, checked whole; empty otherwise.
        entries: Records<'a>,
    },
    /// A part of a snapshot.
    Snapshot(SnapshotPart<'a>),
    /// The receiver's answer to parts.
    SnapshotAck(SnapshotAck),
    /// The end of a beat's HeartbeatList: the groups that rest between the two cores, as their leader counts them. It
    /// comes after the items of its list; the message's group is 0.
    Rest(RestPair),
    /// The follower's count, as it was when it compared; `pair.mono` is the echo of that list.
    RestAck {
        /// What it had.
        pair: RestPair,
        /// Its disk is too slow for it to lead.
        is_slow: bool,
    },
    /// What the sender's state of the group is behind an entry; between nodes that both have
    /// [`crate::peer_feature::STATE_HASH`].
    StateHash(StateHash),
}

/// The state of a replica behind an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateHash {
    /// The entry.
    pub index: LogIndex,
    /// The rolling hash of all that was written up to it.
    pub hash: u64,
}

/// The groups that rest between two cores, led by one of them: enough to see that both mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RestPair {
    /// How many.
    pub count: u32,
    /// The wrapping sum of their shares (`raft::Raft::rest_hash`).
    pub hash: u64,
    /// The `send_mono` of the list's frame.
    pub mono: Mono,
}

/// A part of a snapshot. Part 0 carries the machine's row, the others rows of the store; both opaque here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotPart<'a> {
    /// The sender's term.
    pub leader_term: Term,
    /// The snapshot's last entry.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Tells one transfer from another.
    pub snapshot_id: u64,
    /// Counted from 0.
    pub part: u32,
    /// No part follows.
    pub last: bool,
    /// The part's bytes; their crc was checked.
    pub body: &'a [u8],
}

/// The receiver's answer to snapshot parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotAck {
    /// The receiver's term.
    pub term: Term,
    /// As in the parts.
    pub snapshot_id: u64,
    /// All parts before this one have arrived.
    pub next_part: u32,
    /// How many from there on may be sent.
    pub credit_parts: u32,
    /// The receiver will not take this snapshot.
    pub rejected: bool,
}

/// One peer frame whose header, structure and crc were checked.
#[derive(Clone, Copy, Debug)]
pub struct PeerFrame<'a> {
    /// The core that sent it.
    pub source_core: CoreId,
    /// The core that it is for.
    pub target_core: CoreId,
    /// Counted per connection; a gap closes it.
    pub link_seq: u32,
    /// The sender's clock at its turn; opaque, echoed.
    pub send_mono: Mono,
    message_count: u16,
    messages: &'a [u8],
}

impl<'a> PeerFrame<'a> {
    /// Checks that `bytes` are exactly one frame: header, the bounds of every message, and the crc.
    ///
    /// Errors: [`PeerFrameError`]; the connection is to be closed.
    pub fn parse(bytes: &'a [u8]) -> Result<PeerFrame<'a>, PeerFrameError> {
        let need = match frame_bytes(Link::Peer, bytes, bytes.len().max(PEER_FRAME_HEADER_BYTES)) {
            Ok(length) => length.unwrap_or(PEER_FRAME_HEADER_BYTES),
            // The bound given is what is there, so beyond it means that bytes are missing.
            Err(FrameError::TooLarge { found, .. }) => found,
            Err(error) => return Err(error.into()),
        };
        if bytes.len() < need {
            base::mark::hit!("wire.peer.cut");
            return Err(FrameError::NeedMore { have: bytes.len(), need }.into());
        }
        if bytes.len() > need {
            return Err(FrameError::Length { found: need }.into());
        }
        let (header, messages) = bytes.split_at(PEER_FRAME_HEADER_BYTES);
        if mutate!(MUT_34A, false, u16::from(header[4]) != crate::WIRE_VERSION) {
            let (core, send_mono) = (CoreId(0), Mono(0));
            return Ok(PeerFrame {
                source_core: core,
                target_core: core,
                link_seq: 0,
                send_mono,
                message_count: 0,
                messages: &[],
            });
        }
        if !matches!(header[5], 1 | 2) {
            base::mark::hit!("wire.peer.bad_class");
            return Err(FrameError::Field("class").into());
        }
        let message_count = u16::from_le_bytes([header[6], header[7]]);
        let found = get_u32(header, 12).expect("the header is whole");
        let computed = checked_crc(header, messages, message_count)?;
        if found != computed {
            base::mark::hit!("wire.peer.bad_crc");
            return Err(FrameError::Crc { found, computed }.into());
        }
        let header_u16 = |offset| get_u16(header, offset).expect("the header is whole");
        Ok(PeerFrame {
            source_core: CoreId(header_u16(16)),
            target_core: CoreId(header_u16(18)),
            link_seq: get_u32(header, 20).expect("the header is whole"),
            send_mono: Mono(get_u64(header, 24).expect("the header is whole")),
            message_count,
            messages,
        })
    }

    /// The messages, in order, lists taken apart into one message per group. After an error there are no more, and the
    /// connection is to be closed; those before it were good.
    #[must_use]
    pub fn messages(&self) -> PeerMessages<'a> {
        PeerMessages { send_mono: self.send_mono, left: self.message_count, rest: self.messages, list: List::None }
    }
}

/// Iterates the messages of a frame.
pub struct PeerMessages<'a> {
    send_mono: Mono,
    left: u16,
    rest: &'a [u8],
    list: List<'a>,
}

/// Items of the list that is being taken apart.
#[derive(Clone, Copy)]
enum List<'a> {
    None,
    Heartbeats(&'a [u8], Option<RestPair>),
    Acks(&'a [u8], Mono, Option<(RestPair, bool)>),
}

impl<'a> Iterator for PeerMessages<'a> {
    type Item = Result<PeerMessage<'a>, PeerFrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.read().transpose()?;
        if message.is_err() {
            (self.left, self.list) = (0, List::None);
        }
        Some(message)
    }
}

impl<'a> PeerMessages<'a> {
    fn read(&mut self) -> Result<Option<PeerMessage<'a>>, PeerFrameError> {
        loop {
            if let Some(item) = self.next_item()? {
                return Ok(Some(item));
            }
            if self.left == 0 {
                return Ok(None);
            }
            self.left -= 1;
            let (fields_bytes, body_bytes) = message_layout(self.rest)?;
            let (message, rest) = self.rest.split_at(fields_bytes + align_up(body_bytes, 8));
            self.rest = rest;
            let (fields, body) = message.split_at(fields_bytes);
            let fields = Fields { bytes: fields, kind: fields[4] };
            match fields.kind {
                kind::HEARTBEAT_LIST => {
                    let items = fields.list_items(32, flag::LAST)?;
                    let pair = fields.pair(16, self.send_mono)?;
                    self.list = List::Heartbeats(items, pair);
                }
                kind::HEARTBEAT_ACK => {
                    let items = fields.list_items(40, flag::LAST | flag::BUSY)?;
                    let echo_mono = Mono(fields.u64(16));
                    let is_slow = fields.bytes[5] & flag::BUSY != 0;
                    let pair = fields.pair(24, echo_mono)?;
                    if is_slow && pair.is_none() {
                        return Err(fields.bad("flags"));
                    }
                    self.list = List::Acks(items, echo_mono, pair.map(|pair| (pair, is_slow)));
                }
                _ => return fields.message(body, body_bytes, self.send_mono).map(Some),
            }
        }
    }

    fn next_item(&mut self) -> Result<Option<PeerMessage<'a>>, PeerFrameError> {
        let (item, body, rest) = match self.list {
            List::Heartbeats(items, pair) if !items.is_empty() => {
                let (item, rest) = items.split_at(HEARTBEAT_ITEM_BYTES);
                let fields = Fields { bytes: item, kind: kind::HEARTBEAT_LIST };
                let body = Body::Heartbeat {
                    term: fields.term()?,
                    commit_index: fields.index(16, "commit_index")?,
                    read_position: fields.u64(24),
                    quiesce: fields.quiesce()?,
                    send_mono: self.send_mono,
                };
                (fields, body, List::Heartbeats(rest, pair))
            }
            List::Acks(items, echo_mono, pair) if !items.is_empty() => {
                let (item, rest) = items.split_at(ACK_ITEM_BYTES);
                let fields = Fields { bytes: item, kind: kind::HEARTBEAT_ACK };
                let body = Body::HeartbeatAck {
                    term: fields.term()?,
                    read_position: fields.u64(16),
                    quiesce: fields.quiesce()?,
                    echo_mono,
                };
                (fields, body, List::Acks(rest, echo_mono, pair))
            }
            List::Heartbeats(_, Some(pair)) => return Ok(Some(self.end_list(PeerKind::Rest(pair)))),
            List::Acks(_, _, Some((pair, is_slow))) => {
                return Ok(Some(self.end_list(PeerKind::RestAck { pair, is_slow })));
            }
            _ => return Ok(None),
        };
        self.list = rest;
        Ok(Some(PeerMessage { group: item.group(), kind: PeerKind::Raft { body, entries: Records::EMPTY } }))
    }
}

impl<'a> PeerMessages<'a> {
    fn end_list(&mut self, kind: PeerKind<'a>) -> PeerMessage<'a> {
        self.list = List::None;
        PeerMessage { group: GroupId(0), kind }
    }
}

/// Bytes of the message at the start of `bytes`: (prefix, fields and items; body unpadded). All of them, with the body's
/// padding, are there.
fn message_layout(bytes: &[u8]) -> Result<(usize, usize), PeerFrameError> {
    let prefix = bytes.get(..PREFIX_BYTES).ok_or(FrameError::Field("message count"))?;
    let kind = prefix[4];
    let count = usize::from(u16::from_le_bytes([prefix[6], prefix[7]]));
    let (fields, body_at) = match kind {
        kind::APPEND_ENTRIES => (56, Some(52)),
        kind::APPEND_RESP => (56, None),
        kind::HEARTBEAT_LIST => (32 + HEARTBEAT_ITEM_BYTES * count, None),
        kind::HEARTBEAT_ACK => (40 + ACK_ITEM_BYTES * count, None),
        kind::PRE_VOTE | kind::REQUEST_VOTE | kind::READ_INDEX_RESP => (40, None),
        kind::PRE_VOTE_RESP | kind::VOTE_RESP | kind::TIMEOUT_NOW | kind::REMOVED => (24, None),
        kind::READ_INDEX | kind::SNAPSHOT_ACK | kind::STATE_HASH => (32, None),
        kind::ENTRY_FETCH => (48, None),
        kind::ENTRY_FETCH_RESP => (48, Some(40)),
        kind::SNAPSHOT_PART => (56, Some(44)),
        _ => return Err(PeerFrameError::Kind(kind)),
    };
    let short = PeerFrameError::Field { kind, field: "length" };
    if bytes.len() < fields {
        return Err(short);
    }
    let body = match body_at {
        Some(offset) => get_u32(bytes, offset).ok_or(short)? as usize,
        None => 0,
    };
    // Compared with what is left before it is added to anything.
    if body > bytes.len() - fields || align_up(body, 8) > bytes.len() - fields {
        base::mark::hit!("wire.peer.body_too_long");
        return Err(short);
    }
    Ok((fields, body))
}

/// Walks the messages and sums what the frame's crc covers.
fn checked_crc(header: &[u8], messages: &[u8], message_count: u16) -> Result<u32, PeerFrameError> {
    let mut crc = crc32c_append(crc32c_append(crc32c(&header[..12]), &[0; 4]), &header[16..]);
    let mut rest = messages;
    for _ in 0..message_count {
        let (fields, body) = message_layout(rest)?;
        crc = crc32c_append(crc, &rest[..fields]);
        if rest[fields + body..fields + align_up(body, 8)].iter().any(|byte| *byte != 0) {
            base::mark::hit!("wire.peer.bad_padding");
            return Err(PeerFrameError::Field { kind: rest[4], field: "padding" });
        }
        rest = &rest[fields + align_up(body, 8)..];
    }
    if rest.is_empty() { Ok(crc) } else { Err(FrameError::Field("message count").into()) }
}

/// The fixed part of a message or of a list's item, whose length was checked.
struct Fields<'a> {
    bytes: &'a [u8],
    kind: u8,
}

impl<'a> Fields<'a> {
    fn bad(&self, field: &'static str) -> PeerFrameError {
        PeerFrameError::Field { kind: self.kind, field }
    }

    fn u32(&self, offset: usize) -> u32 {
        get_u32(self.bytes, offset).expect("the layout was checked")
    }

    fn u64(&self, offset: usize) -> u64 {
        get_u64(self.bytes, offset).expect("the layout was checked")
    }

    fn group(&self) -> GroupId {
        GroupId(self.u32(0))
    }

    /// Half the range is kept free, so that no sum of the receiver can wrap.
    fn half(&self, offset: usize, field: &'static str) -> Result<u64, PeerFrameError> {
        let value = self.u64(offset);
        if value < 1 << 63 { Ok(value) } else { Err(self.bad(field)) }
    }

    fn index(&self, offset: usize, field: &'static str) -> Result<LogIndex, PeerFrameError> {
        self.half(offset, field).map(LogIndex)
    }

    fn term(&self) -> Result<Term, PeerFrameError> {
        self.half(8, "term").map(Term)
    }

    fn quiesce(&self) -> Result<bool, PeerFrameError> {
        match self.u32(4) {
            0 => Ok(false),
            ITEM_QUIESCE => Ok(true),
            _ => Err(self.bad("flags")),
        }
    }

    fn list_items(&self, header_bytes: usize, allowed: u8) -> Result<&'a [u8], PeerFrameError> {
        if self.group() != GroupId(0) || self.bytes[5] & !allowed != 0 || self.u64(8) != 0 {
            return Err(self.bad("list prefix"));
        }
        Ok(&self.bytes[header_bytes..])
    }

    /// Count and hash of the resting groups at `offset`, in the last list of a beat; zeros in all others.
    fn pair(&self, offset: usize, mono: Mono) -> Result<Option<RestPair>, PeerFrameError> {
        let pair = RestPair { count: self.u32(offset), hash: self.u64(offset + 8), mono };
        if self.u32(offset + 4) != 0 {
            return Err(self.bad("reserved field"));
        }
        if self.bytes[5] & flag::LAST != 0 {
            return Ok(Some(pair));
        }
        if (pair.count, pair.hash) != (0, 0) { Err(self.bad("resting groups")) } else { Ok(None) }
    }

    fn message(
        &self,
        body_space: &'a [u8],
        body_bytes: usize,
        send_mono: Mono,
    ) -> Result<PeerMessage<'a>, PeerFrameError> {
        let (flags, count) = (self.bytes[5], u16::from_le_bytes([self.bytes[6], self.bytes[7]]));
        let allowed = match self.kind {
            kind::APPEND_RESP => flag::REJECTED | flag::BUSY | flag::FAULTY,
            kind::ENTRY_FETCH_RESP => flag::REJECTED | flag::ABSENT,
            kind::REMOVED => flag::FAULTY,
            kind::REQUEST_VOTE => flag::FORCED,
            kind::PRE_VOTE_RESP | kind::VOTE_RESP | kind::READ_INDEX_RESP | kind::SNAPSHOT_ACK => flag::REJECTED,
            kind::SNAPSHOT_PART => flag::LAST,
            _ => 0,
        };
        if flags & !allowed != 0 {
            return Err(self.bad("flags"));
        }
        if count != 0 && !matches!(self.kind, kind::APPEND_ENTRIES | kind::ENTRY_FETCH_RESP) {
            return Err(self.bad("entry_count"));
        }
        let body = &body_space[..body_bytes];
        let kind = match self.kind {
            kind::SNAPSHOT_PART => PeerKind::Snapshot(self.snapshot_part(flags, body)?),
            kind::SNAPSHOT_ACK => PeerKind::SnapshotAck(SnapshotAck {
                term: self.term()?,
                snapshot_id: self.u64(16),
                next_part: self.u32(24),
                credit_parts: self.u32(28),
                rejected: flags & flag::REJECTED != 0,
            }),
            kind::STATE_HASH => PeerKind::StateHash(self.state_hash()?),
            kind::APPEND_ENTRIES => self.append_entries(count, body, send_mono)?,
            kind::ENTRY_FETCH_RESP => self.entry_fetch_resp(flags, count, body)?,
            _ => PeerKind::Raft { body: self.body(flags)?, entries: Records::EMPTY },
        };
        Ok(PeerMessage { group: self.group(), kind })
    }

    fn append_entries(&self, count: u16, body: &'a [u8], send_mono: Mono) -> Result<PeerKind<'a>, PeerFrameError> {
        let prev_index = self.index(16, "prev_index")?;
        let entries = Records::check_entries(body, count, self.group(), prev_index.next())?;
        let body = Body::AppendEntries {
            term: self.term()?,
            prev_index,
            prev_term: Term(self.half(24, "prev_term")?),
            prev_crc: self.u32(48),
            commit_index: self.index(32, "commit_index")?,
            read_position: self.u64(40),
            count,
            send_mono,
        };
        Ok(PeerKind::Raft { body, entries })
    }

    fn entry_fetch_resp(&self, flags: u8, count: u16, body: &'a [u8]) -> Result<PeerKind<'a>, PeerFrameError> {
        let first_index = self.index(16, "first_index")?;
        let entries = Records::check_entries(body, count, self.group(), first_index)?;
        let (rejected, absent) = (flags & flag::REJECTED != 0, flags & flag::ABSENT != 0);
        if rejected && absent || (rejected || absent) && count != 0 {
            return Err(self.bad("flags"));
        }
        let body = Body::EntryFetchResp {
            term: self.term()?,
            first_index,
            last_index: self.index(24, "last_index")?,
            last_term: Term(self.half(32, "last_term")?),
            health: Health::from_u32(self.u32(44)).ok_or_else(|| self.bad("health"))?,
            count,
            rejected,
            absent,
        };
        Ok(PeerKind::Raft { body, entries })
    }

    fn state_hash(&self) -> Result<StateHash, PeerFrameError> {
        if self.u64(8) != 0 {
            return Err(self.bad("term"));
        }
        let index = self.index(16, "index")?;
        // There is no state behind nothing.
        if index == LogIndex(0) {
            return Err(self.bad("index"));
        }
        Ok(StateHash { index, hash: self.u64(24) })
    }

    fn snapshot_part(&self, flags: u8, body: &'a [u8]) -> Result<SnapshotPart<'a>, PeerFrameError> {
        if self.u32(48) != crc32c(body) {
            return Err(self.bad("body crc"));
        }
        if self.u32(52) != 0 {
            return Err(self.bad("reserved field"));
        }
        Ok(SnapshotPart {
            leader_term: self.term()?,
            index: self.index(16, "index")?,
            term: Term(self.half(24, "term")?),
            snapshot_id: self.u64(32),
            part: self.u32(40),
            last: flags & flag::LAST != 0,
            body,
        })
    }

    fn body(&self, flags: u8) -> Result<Body, PeerFrameError> {
        let term = self.term()?;
        let rejected = flags & flag::REJECTED != 0;
        Ok(match self.kind {
            kind::APPEND_RESP => Body::AppendResp {
                term,
                index: self.index(16, "index")?,
                rejected,
                busy: flags & flag::BUSY != 0,
                faulty: flags & flag::FAULTY != 0,
                hint_index: self.index(24, "hint_index")?,
                hint_term: Term(self.half(32, "hint_term")?),
                read_position: self.u64(40),
                echo_mono: Mono(self.u64(48)),
            },
            kind::PRE_VOTE => Body::PreVote {
                term,
                last_index: self.index(16, "last_index")?,
                last_term: Term(self.half(24, "last_term")?),
                incarnation: self.u64(32),
            },
            kind::REQUEST_VOTE => Body::RequestVote {
                term,
                last_index: self.index(16, "last_index")?,
                last_term: Term(self.half(24, "last_term")?),
                incarnation: self.u64(32),
                forced: flags & flag::FORCED != 0,
            },
            kind::PRE_VOTE_RESP => Body::PreVoteResp { term, rejected, incarnation: self.u64(16) },
            kind::VOTE_RESP => Body::VoteResp { term, rejected, incarnation: self.u64(16) },
            kind::TIMEOUT_NOW => Body::TimeoutNow { term, read_position: self.u64(16) },
            kind::READ_INDEX => Body::ReadIndex { term, read_id: self.u64(16), incarnation: self.u64(24) },
            kind::READ_INDEX_RESP => Body::ReadIndexResp {
                term,
                read_id: self.u64(16),
                incarnation: self.u64(24),
                read_index: self.index(32, "read_index")?,
                rejected,
            },
            kind::ENTRY_FETCH => Body::EntryFetch {
                term,
                first_index: self.index(16, "first_index")?,
                last_index: self.index(24, "last_index")?,
                doubt_term: Term(self.half(32, "doubt_term")?),
                first_term: Term(self.half(40, "first_term")?),
            },
            kind::REMOVED if flags & flag::FAULTY != 0 => {
                Body::Amnesia { term, acked_index: self.index(16, "acked_index")? }
            }
            kind::REMOVED => Body::Removed { term, config_index: self.index(16, "config_index")? },
            other => return Err(PeerFrameError::Kind(other)),
        })
    }
}
