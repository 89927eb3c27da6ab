//! Peer frames, written: messages go in one by one, heartbeats and their acks leave as lists.
//!
//! Per turn and link: `begin`, `push` ..., `finish`; when `push` says [`FrameFull`], `finish`, `begin` with the next
//! `link_seq`, and push again. All memory is reused.

use base::bytes::{align_up, put_u16, put_u32, put_u64};
use base::checksum::{crc32c, crc32c_append};
use base::{CoreId, GroupId, Mono};
use raft::Body;

use crate::WIRE_VERSION;
use crate::peer::{
    ACK_ITEM_BYTES, HEARTBEAT_ITEM_BYTES, ITEM_QUIESCE, PEER_FRAME_HEADER_BYTES, PEER_FRAME_MAGIC, PREFIX_BYTES,
    RestPair, SnapshotAck, SnapshotPart, StateHash, flag, kind,
};

/// The message does not fit the open frame; nothing was added. Finish it and push into the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("peer frame is full: {bytes} bytes with this message, at most {max}; finish it and begin another")]
pub struct FrameFull {
    /// Bytes that the frame would have.
    pub bytes: usize,
    /// The bound.
    pub max: usize,
}

/// An ack that waits to join the list of its `echo_mono`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ack {
    echo_mono: Mono,
    group: GroupId,
    quiesce: bool,
    term: u64,
    read_position: u64,
}

/// Builds peer frames in one reused buffer.
#[derive(Debug)]
pub struct PeerFrameWriter {
    frame_bytes_max: usize,
    bytes: Vec<u8>,
    /// Where the open frame begins.
    start: usize,
    is_open: bool,
    is_snapshot: bool,
    source_core: CoreId,
    target_core: CoreId,
    link_seq: u32,
    send_mono: Mono,
    messages: usize,
    /// Items of the HeartbeatList to come.
    heartbeats: Vec<u8>,
    acks: Vec<Ack>,
    /// The resting groups that the lists to come name, and with those of the ack whether the disk is slow.
    rest: Option<RestPair>,
    rest_ack: Option<(RestPair, bool)>,
    /// Ranges of `bytes` that the frame's crc leaves out, padding included.
    bodies: Vec<(usize, usize)>,
}

impl PeerFrameWriter {
    /// A writer of frames of at most `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> PeerFrameWriter {
        PeerFrameWriter {
            frame_bytes_max,
            bytes: Vec::new(),
            start: 0,
            is_open: false,
            is_snapshot: false,
            source_core: CoreId(0),
            target_core: CoreId(0),
            link_seq: 0,
            send_mono: Mono(0),
            messages: 0,
            heartbeats: Vec::new(),
            acks: Vec::new(),
            rest: None,
            rest_ack: None,
            bodies: Vec::new(),
        }
    }

    /// Begins a frame. `send_mono` is the turn's `now`; the messages' own `send_mono` is not sent. Panics if one is open.
    pub fn begin(&mut self, source_core: CoreId, target_core: CoreId, link_seq: u32, send_mono: Mono) {
        assert!(!self.is_open, "the frame before was not finished");
        self.start = self.bytes.len();
        self.bytes.resize(self.start + PEER_FRAME_HEADER_BYTES, 0);
        (self.is_open, self.is_snapshot, self.messages) = (true, false, 0);
        (self.source_core, self.target_core, self.link_seq) = (source_core, target_core, link_seq);
        self.send_mono = send_mono;
    }

    /// Adds a message of `group`. For an AppendEntries and an EntryFetchResp `records` appends the records as the log stores them, exactly
    /// `count` of them; for all others it is not called.
    ///
    /// Errors: [`FrameFull`]. Panics when no frame is open.
    pub fn push(&mut self, group: GroupId, body: &Body, records: impl FnOnce(&mut Vec<u8>)) -> Result<(), FrameFull> {
        assert!(self.is_open, "a message needs a frame begun");
        match *body {
            Body::Heartbeat { term, commit_index, read_position, quiesce, send_mono: _ } => {
                self.check_room(HEARTBEAT_ITEM_BYTES)?;
                let item = grow(&mut self.heartbeats, HEARTBEAT_ITEM_BYTES);
                put_u32(item, 0, group.0);
                put_u32(item, 4, if quiesce { ITEM_QUIESCE } else { 0 });
                put_u64(item, 8, term.0);
                put_u64(item, 16, commit_index.0);
                put_u64(item, 24, read_position);
                Ok(())
            }
            Body::HeartbeatAck { term, read_position, quiesce, echo_mono } => {
                // Room for a list of its own: nobody knows yet how many share an echo.
                self.check_room(40 + ACK_ITEM_BYTES)?;
                self.acks.push(Ack { echo_mono, group, quiesce, term: term.0, read_position });
                Ok(())
            }
            _ => self.push_message(group, body, records),
        }
    }

    /// Ends the beat's HeartbeatList: the groups that rest between the two cores. Pushed after the items; `pair.mono` is
    /// not sent, the frame's `send_mono` is. A list without items is still sent.
    ///
    /// Errors: [`FrameFull`]. Panics when no frame is open.
    pub fn push_rest(&mut self, pair: &RestPair) -> Result<(), FrameFull> {
        assert!(self.is_open, "a message needs a frame begun");
        self.check_room(32)?;
        self.rest = Some(*pair);
        Ok(())
    }

    /// Adds the answer to [`PeerFrameWriter::push_rest`]: it joins the list of acks whose echo is `pair.mono`. Of two in
    /// one frame the newer one stands.
    ///
    /// Errors: [`FrameFull`]. Panics when no frame is open.
    pub fn push_rest_ack(&mut self, pair: &RestPair, is_slow: bool) -> Result<(), FrameFull> {
        assert!(self.is_open, "a message needs a frame begun");
        self.check_room(40)?;
        self.rest_ack = Some((*pair, is_slow));
        Ok(())
    }

    /// Adds a part of a snapshot of `group`.
    ///
    /// Errors: [`FrameFull`]. Panics when no frame is open.
    pub fn push_snapshot(&mut self, group: GroupId, part: &SnapshotPart<'_>) -> Result<(), FrameFull> {
        assert!(self.is_open, "a message needs a frame begun");
        self.check_room(56 + align_up(part.body.len(), 8))?;
        let flags = if part.last { flag::LAST } else { 0 };
        let fields = self.message(group, kind::SNAPSHOT_PART, flags, 0, part.leader_term.0, 56);
        put_u64(fields, 16, part.index.0);
        put_u64(fields, 24, part.term.0);
        put_u64(fields, 32, part.snapshot_id);
        put_u32(fields, 40, part.part);
        put_u32(fields, 44, u32::try_from(part.body.len()).expect("the room was checked"));
        put_u32(fields, 48, crc32c(part.body));
        let body = self.bytes.len();
        self.bytes.extend_from_slice(part.body);
        self.bytes.resize(body + align_up(part.body.len(), 8), 0);
        self.bodies.push((body, self.bytes.len()));
        self.is_snapshot = true;
        Ok(())
    }

    /// Adds the answer to snapshot parts of `group`.
    ///
    /// Errors: [`FrameFull`]. Panics when no frame is open.
    pub fn push_snapshot_ack(&mut self, group: GroupId, ack: &SnapshotAck) -> Result<(), FrameFull> {
        assert!(self.is_open, "a message needs a frame begun");
        self.check_room(32)?;
        let flags = if ack.rejected { flag::REJECTED } else { 0 };
        let fields = self.message(group, kind::SNAPSHOT_ACK, flags, 0, ack.term.0, 32);
        put_u64(fields, 16, ack.snapshot_id);
        put_u32(fields, 24, ack.next_part);
        put_u32(fields, 28, ack.credit_parts);
        Ok(())
    }

    /// Adds the hash of a state of `group`. Only for who has [`crate::peer_feature::STATE_HASH`]: others close the link.
    ///
    /// Errors: [`FrameFull`]. Panics when no frame is open.
    pub fn push_state_hash(&mut self, group: GroupId, state: &StateHash) -> Result<(), FrameFull> {
        assert!(self.is_open, "a message needs a frame begun");
        self.check_room(32)?;
        let fields = self.message(group, kind::STATE_HASH, 0, 0, 0, 32);
        put_u64(fields, 16, state.index.0);
        put_u64(fields, 24, state.hash);
        Ok(())
    }

    /// Writes the lists and the header of the open frame. True when there is a frame, false when nothing was pushed: then
    /// nothing will be sent and its `link_seq` is still free. Panics when no frame is open.
    pub fn finish(&mut self) -> bool {
        assert!(self.is_open, "only an open frame can be finished");
        self.write_heartbeats();
        self.write_acks();
        self.is_open = false;
        if self.messages == 0 {
            self.bytes.truncate(self.start);
            return false;
        }
        let count = u16::try_from(self.messages).expect("check_room bounds the messages");
        let frame = &mut self.bytes[self.start..];
        let bytes = u32::try_from(frame.len()).expect("frames are bounded far below 4 GiB");
        put_u32(frame, 0, PEER_FRAME_MAGIC);
        frame[4] = WIRE_VERSION as u8;
        frame[5] = if self.is_snapshot { 2 } else { 1 };
        put_u16(frame, 6, count);
        put_u32(frame, 8, bytes);
        put_u16(frame, 16, self.source_core.0);
        put_u16(frame, 18, self.target_core.0);
        put_u32(frame, 20, self.link_seq);
        put_u64(frame, 24, self.send_mono.0);
        let mut crc = 0;
        let mut from = self.start;
        for (start, end) in self.bodies.drain(..) {
            crc = crc32c_append(crc, &self.bytes[from..start]);
            from = end;
        }
        crc = crc32c_append(crc, &self.bytes[from..]);
        put_u32(&mut self.bytes, self.start + 12, crc);
        true
    }

    /// Gives out all finished frames; `spare` is emptied and collects from now on. Panics when a frame is open.
    #[must_use]
    pub fn take(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        assert!(!self.is_open, "the open frame was not finished");
        spare.clear();
        std::mem::replace(&mut self.bytes, spare)
    }

    /// Bytes that the open frame would have if finished now; 0 when none is open.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        if !self.is_open {
            return 0;
        }
        let has_list = !self.heartbeats.is_empty() || self.rest.is_some();
        let heartbeats = if has_list { 32 + self.heartbeats.len() } else { 0 };
        let rest_ack = if self.rest_ack.is_some() { 40 } else { 0 };
        // Each ack counts as a list of its own, which is the most it can take.
        self.bytes.len() - self.start + heartbeats + rest_ack + self.acks.len() * (40 + ACK_ITEM_BYTES)
    }

    /// Bytes of finished frames and of the open one.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn check_room(&self, more: usize) -> Result<(), FrameFull> {
        // 32: the first heartbeat brings its list's header. Three messages are kept for lists; acks may need one each.
        let bytes = self.frame_bytes() + more + 32;
        let messages = self.messages + self.acks.len() + 3;
        let items = self.heartbeats.len() / HEARTBEAT_ITEM_BYTES;
        if bytes > self.frame_bytes_max || messages > usize::from(u16::MAX) || items >= usize::from(u16::MAX) {
            return Err(FrameFull { bytes, max: self.frame_bytes_max });
        }
        Ok(())
    }

    /// Appends prefix and zeroed fields of a message and returns them.
    fn message(&mut self, group: GroupId, kind: u8, flags: u8, count: u16, term: u64, bytes: usize) -> &mut [u8] {
        debug_assert!(bytes >= PREFIX_BYTES);
        self.messages += 1;
        let fields = grow(&mut self.bytes, bytes);
        put_u32(fields, 0, group.0);
        fields[4] = kind;
        fields[5] = flags;
        put_u16(fields, 6, count);
        put_u64(fields, 8, term);
        fields
    }

    fn push_message(
        &mut self,
        group: GroupId,
        body: &Body,
        records: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), FrameFull> {
        self.check_room(56)?;
        let term = body.term().0;
        let refused = |rejected: bool| if rejected { flag::REJECTED } else { 0 };
        match *body {
            Body::AppendEntries { prev_index, prev_term, prev_crc, commit_index, read_position, count, .. } => {
                let (start, messages) = (self.bytes.len(), self.messages);
                let fields = self.message(group, kind::APPEND_ENTRIES, 0, count, term, 56);
                put_u64(fields, 16, prev_index.0);
                put_u64(fields, 24, prev_term.0);
                put_u64(fields, 32, commit_index.0);
                put_u64(fields, 40, read_position);
                put_u32(fields, 48, prev_crc);
                self.write_records(start, messages, 52, records)?;
            }
            Body::AppendResp {
                index, rejected, busy, faulty, hint_index, hint_term, read_position, echo_mono, ..
            } => {
                let busy = if busy { flag::BUSY } else { 0 };
                let flags = refused(rejected) | busy | if faulty { flag::FAULTY } else { 0 };
                let fields = self.message(group, kind::APPEND_RESP, flags, 0, term, 56);
                put_u64(fields, 16, index.0);
                put_u64(fields, 24, hint_index.0);
                put_u64(fields, 32, hint_term.0);
                put_u64(fields, 40, read_position);
                put_u64(fields, 48, echo_mono.0);
            }
            Body::PreVote { last_index, last_term, incarnation, .. } => {
                let fields = self.message(group, kind::PRE_VOTE, 0, 0, term, 40);
                put_u64(fields, 16, last_index.0);
                put_u64(fields, 24, last_term.0);
                put_u64(fields, 32, incarnation);
            }
            Body::RequestVote { last_index, last_term, incarnation, forced, .. } => {
                let flags = if forced { flag::FORCED } else { 0 };
                let fields = self.message(group, kind::REQUEST_VOTE, flags, 0, term, 40);
                put_u64(fields, 16, last_index.0);
                put_u64(fields, 24, last_term.0);
                put_u64(fields, 32, incarnation);
            }
            Body::PreVoteResp { rejected, incarnation, .. } => {
                let fields = self.message(group, kind::PRE_VOTE_RESP, refused(rejected), 0, term, 24);
                put_u64(fields, 16, incarnation);
            }
            Body::VoteResp { rejected, incarnation, .. } => {
                let fields = self.message(group, kind::VOTE_RESP, refused(rejected), 0, term, 24);
                put_u64(fields, 16, incarnation);
            }
            Body::TimeoutNow { read_position, .. } => {
                let fields = self.message(group, kind::TIMEOUT_NOW, 0, 0, term, 24);
                put_u64(fields, 16, read_position);
            }
            Body::ReadIndex { read_id, incarnation, .. } => {
                let fields = self.message(group, kind::READ_INDEX, 0, 0, term, 32);
                put_u64(fields, 16, read_id);
                put_u64(fields, 24, incarnation);
            }
            Body::ReadIndexResp { read_id, incarnation, read_index, rejected, .. } => {
                let fields = self.message(group, kind::READ_INDEX_RESP, refused(rejected), 0, term, 40);
                put_u64(fields, 16, read_id);
                put_u64(fields, 24, incarnation);
                put_u64(fields, 32, read_index.0);
            }
            Body::EntryFetch { first_index, first_term, last_index, doubt_term, .. } => {
                let fields = self.message(group, kind::ENTRY_FETCH, 0, 0, term, 48);
                put_u64(fields, 16, first_index.0);
                put_u64(fields, 24, last_index.0);
                put_u64(fields, 32, doubt_term.0);
                put_u64(fields, 40, first_term.0);
            }
            Body::EntryFetchResp { first_index, last_index, last_term, health, count, rejected, absent, .. } => {
                let (start, messages) = (self.bytes.len(), self.messages);
                let flags = refused(rejected) | if absent { flag::ABSENT } else { 0 };
                let fields = self.message(group, kind::ENTRY_FETCH_RESP, flags, count, term, 48);
                put_u64(fields, 16, first_index.0);
                put_u64(fields, 24, last_index.0);
                put_u64(fields, 32, last_term.0);
                put_u32(fields, 44, health as u32);
                self.write_records(start, messages, 40, records)?;
            }
            Body::Amnesia { acked_index, .. } => {
                let fields = self.message(group, kind::REMOVED, flag::FAULTY, 0, term, 24);
                put_u64(fields, 16, acked_index.0);
            }
            Body::Removed { config_index, .. } => {
                let fields = self.message(group, kind::REMOVED, 0, 0, term, 24);
                put_u64(fields, 16, config_index.0);
            }
            Body::Heartbeat { .. } | Body::HeartbeatAck { .. } => unreachable!("push keeps these for the lists"),
        }
        Ok(())
    }

    /// Appends the records of the message at `start` and their length at `length_at` in it; takes all of it back, to
    /// `messages` of them, when the frame has no room.
    fn write_records(
        &mut self,
        start: usize,
        messages: usize,
        length_at: usize,
        records: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), FrameFull> {
        let at = self.bytes.len();
        records(&mut self.bytes);
        let body_bytes = self.bytes.len() - at;
        assert!(body_bytes.is_multiple_of(8), "records end on multiples of 8, got {body_bytes} bytes");
        if let Err(full) = self.check_room(0) {
            self.bytes.truncate(start);
            self.messages = messages;
            return Err(full);
        }
        let length = u32::try_from(body_bytes).expect("the room was checked");
        put_u32(&mut self.bytes, start + length_at, length);
        self.bodies.push((at, at + body_bytes));
        Ok(())
    }

    fn write_heartbeats(&mut self) {
        if self.heartbeats.is_empty() && self.rest.is_none() {
            return;
        }
        let count = u16::try_from(self.heartbeats.len() / HEARTBEAT_ITEM_BYTES).expect("check_room bounds the items");
        let rest = self.rest.take();
        let fields = self.message(GroupId(0), kind::HEARTBEAT_LIST, last_flag(rest.is_some()), count, 0, 32);
        let RestPair { count, hash, .. } = rest.unwrap_or_default();
        put_u32(fields, 16, count);
        put_u64(fields, 24, hash);
        self.bytes.extend_from_slice(&self.heartbeats);
        self.heartbeats.clear();
    }

    fn write_acks(&mut self) {
        let mut acks = std::mem::take(&mut self.acks);
        acks.sort_unstable();
        let mut rest = self.rest_ack.take();
        for list in acks.chunk_by(|a, b| a.echo_mono == b.echo_mono) {
            let echo_mono = list[0].echo_mono;
            self.ack_list(list.len(), echo_mono, rest.take_if(|(pair, _)| pair.mono == echo_mono));
            for ack in list {
                let item = grow(&mut self.bytes, ACK_ITEM_BYTES);
                put_u32(item, 0, ack.group.0);
                put_u32(item, 4, if ack.quiesce { ITEM_QUIESCE } else { 0 });
                put_u64(item, 8, ack.term);
                put_u64(item, 16, ack.read_position);
            }
        }
        acks.clear();
        self.acks = acks;
        if let Some((pair, _)) = rest {
            self.ack_list(0, pair.mono, rest);
        }
    }

    /// The head of a list of `count` acks.
    fn ack_list(&mut self, count: usize, echo_mono: Mono, rest: Option<(RestPair, bool)>) {
        let count = u16::try_from(count).expect("check_room bounds the items");
        let busy = if rest.is_some_and(|(_, is_slow)| is_slow) { flag::BUSY } else { 0 };
        let flags = last_flag(rest.is_some()) | busy;
        let fields = self.message(GroupId(0), kind::HEARTBEAT_ACK, flags, count, 0, 40);
        let RestPair { count, hash, .. } = rest.map(|(pair, _)| pair).unwrap_or_default();
        put_u64(fields, 16, echo_mono.0);
        put_u32(fields, 24, count);
        put_u64(fields, 32, hash);
    }
}

/// A list that names the resting groups is the last of its beat.
fn last_flag(is_last: bool) -> u8 {
    if is_last { flag::LAST } else { 0 }
}

/// Appends `bytes` zeros and returns them.
fn grow(out: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    let start = out.len();
    out.resize(start + bytes, 0);
    &mut out[start..]
}
