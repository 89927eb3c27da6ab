//! A stranger: asks in words that this version does not know, and for what is somebody else's. Each time it must be
//! refused: by an answer, and not by silence (checkers `compat` and `tenant`).

use base::limits::WIRE_FRAME_BYTES_MAX;
use base::{Acct, GroupId, Nsid, Sequence, SessionId};
use client::LinkId;
use meta::{At, Command, CommandHeader, Mkdir, Outcome, Query};
use wire::client::put_query_prefix;
use wire::{ClientHello, Frame, FrameClass, FrameReader, FrameWriter, Link, ReplyItem, ReplyStatus, RequestKind};

use super::{SECOND, World};
use crate::draw::{Stream, draw, prng};
use crate::heap::Due;
use crate::observe::{Event, Foreign};

/// Its name among clients.
pub(super) const NAME: u32 = u32::MAX;
/// Whom it speaks for: nobody's files.
const ACCT: Acct = Acct(2);
/// One frame between nodes out of so many is of another version.
const FRAMES_EACH: u64 = 8_192;

/// The requests of one talk, by id. Even ones may be answered by followers.
const KIND: u64 = 1;
const COMMAND_FORMAT: u64 = 2;
const COMMAND_KIND: u64 = 3;
const QUERY_KIND: u64 = 4;
const QUERY: u64 = 5;
const FOLLOWER_QUERY: u64 = 6;
const REGISTER: u64 = 7;
const PING: u64 = 8;
const COMMAND: u64 = 9;
/// Of a place in the session that was left behind long ago.
const OLD_COMMAND: u64 = 10;
/// Refused in the turn that reads them: once the PING that came with them is answered, so are they.
const AT_ONCE: [(u64, Foreign); 3] =
    [(KIND, Foreign::Kind), (COMMAND_FORMAT, Foreign::CommandFormat), (QUERY_KIND, Foreign::QueryKind)];

/// A connection and what came of it.
struct Talk {
    connection: u32,
    nsid: Nsid,
    group: GroupId,
    reader: FrameReader,
    has_hello: bool,
    answered: Vec<u64>,
}

/// See the file's head.
#[derive(Default)]
pub(super) struct Stranger {
    looks: u64,
    talk: Option<Talk>,
}

impl World<'_> {
    /// Begins a talk with some node, and ends the one before.
    pub(super) fn wake_stranger(&mut self) {
        if let Some(talk) = self.stranger.talk.take() {
            self.close_at_client(talk.connection);
        }
        if !self.is_loading() {
            return;
        }
        if self.now < self.calm.hushed_until {
            return self.push(self.calm.hushed_until + 1, Due::Client { client: NAME });
        }
        self.stranger.looks += 1;
        let looks = self.stranger.looks;
        let mut dice = prng(self.seed, Stream::Load, u64::from(NAME), looks);
        let nsid = self.load.namespaces[dice.below(self.load.namespaces.len() as u64) as usize];
        let group = base::group_of(nsid, self.shape.groups);
        let core = base::core_of(group, self.shape.cores);
        // Leaders do more than others.
        let seat = self.leader_of(group).filter(|_| dice.below(2) == 0);
        let seat = seat.unwrap_or_else(|| dice.below(self.shape.seats as u64) as usize);
        let connection = self.connections.len() as u32;
        self.stranger.talk = Some(Talk {
            connection,
            nsid,
            group,
            reader: FrameReader::new(Link::Client, WIRE_FRAME_BYTES_MAX),
            has_hello: false,
            answered: Vec::new(),
        });
        let address = format!("n{}:{}", self.nodes[seat].id.0, 7001 + core.0);
        self.connect(NAME, LinkId(looks), &address);
        self.push(self.now + SECOND / 2 + dice.below(2 * SECOND), Due::Client { client: NAME });
    }

    pub(super) fn stranger_connected(&mut self, number: u32) {
        let Some(talk) = self.stranger.talk.as_ref().filter(|talk| talk.connection == number) else {
            return self.close_at_client(number);
        };
        let (nsid, group) = (talk.nsid, talk.group);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mkdir = command((SessionId(0), Sequence(0)), nsid);
        let changed = |at: usize, to: u8| {
            let mut bytes = mkdir.clone();
            bytes[at] = to;
            bytes
        };
        let query = |put: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            put_query_prefix(&mut bytes, ACCT, nsid);
            put(&mut bytes);
            bytes
        };
        let look = query(&|out| Query::Head.encode(out));
        let header = CommandHeader { acct: ACCT, nsid: Nsid(0), ..CommandHeader::default() };
        let mut register = Vec::new();
        meta::encode_command(&header, &Command::Register { nonce }, &mut register);
        let requests = [
            (KIND, 77, Vec::new()),
            (COMMAND_FORMAT, RequestKind::Command as u8, changed(0, 9)),
            (COMMAND_KIND, RequestKind::Command as u8, changed(1, 200)),
            (QUERY_KIND, RequestKind::Query as u8, query(&|out| out.push(250))),
            (QUERY, RequestKind::Query as u8, look.clone()),
            (FOLLOWER_QUERY, RequestKind::Query as u8, look),
            (REGISTER, RequestKind::Command as u8, register),
            (PING, RequestKind::Ping as u8, Vec::new()),
        ];
        self.send_to_server(number, ClientHello::new(ACCT, nonce).encode().to_vec());
        self.send_requests(number, group, &requests);
    }

    fn send_requests(&mut self, number: u32, group: GroupId, requests: &[(u64, u8, Vec<u8>)]) {
        let mut writer = FrameWriter::new(FrameClass::Request, WIRE_FRAME_BYTES_MAX);
        for (id, kind, body) in requests {
            let written = writer.push_request(*id, *kind, 0, group, |out| out.extend_from_slice(body));
            written.expect("small requests fit a frame");
        }
        self.send_to_server(number, writer.take(Vec::new()));
    }

    pub(super) fn reach_stranger(&mut self, number: u32, buffer: u32) {
        let talk = self.stranger.talk.take_if(|talk| talk.connection == number);
        if let Some(mut talk) = talk {
            talk.reader.push(self.buffers.bytes(buffer));
            let is_good = self.read_answers(&mut talk);
            self.stranger.talk = Some(talk);
            if is_good.is_none() {
                self.fail("compat", "a node answers a stranger with bytes that are no frame".to_owned());
            }
        }
        self.buffers.release(buffer);
    }

    /// `None`: nonsense came.
    fn read_answers(&mut self, talk: &mut Talk) -> Option<()> {
        if !talk.has_hello {
            talk.has_hello = talk.reader.next_server_hello().ok()?.is_some();
        }
        let mut reader = std::mem::replace(&mut talk.reader, FrameReader::new(Link::Client, 0));
        while talk.has_hello
            && let Some(bytes) = reader.next_frame().ok()?
        {
            for item in Frame::parse(bytes).ok()?.replies().ok()? {
                self.note_answer(talk, &item);
            }
        }
        talk.reader = reader;
        if talk.answered.contains(&PING) {
            for (id, asked) in AT_ONCE {
                if !talk.answered.contains(&id) {
                    self.observe(&Event::Foreign { asked, status: None, body: &[] });
                }
            }
        }
        Some(())
    }

    fn note_answer(&mut self, talk: &mut Talk, item: &ReplyItem<'_>) {
        talk.answered.push(item.request_id);
        let asked = match item.request_id {
            KIND => Foreign::Kind,
            COMMAND_FORMAT => Foreign::CommandFormat,
            COMMAND_KIND => Foreign::CommandKind,
            QUERY_KIND => Foreign::QueryKind,
            QUERY | FOLLOWER_QUERY => Foreign::Query,
            COMMAND | OLD_COMMAND => Foreign::Command,
            REGISTER => {
                if let (Some(ReplyStatus::Ok), Ok(Outcome::Registered { session })) =
                    (item.reply_status(), Outcome::decode(item.body))
                {
                    // Each talk has its place in the session.
                    let kind = RequestKind::Command as u8;
                    let body = |sequence| command((session, Sequence(sequence)), talk.nsid);
                    let requests = [(COMMAND, kind, body(self.stranger.looks)), (OLD_COMMAND, kind, body(1))];
                    self.send_requests(talk.connection, talk.group, &requests);
                }
                return;
            }
            _ => return,
        };
        self.observe(&Event::Foreign { asked, status: item.reply_status(), body: item.body });
    }

    pub(super) fn stranger_closed(&mut self, number: u32) {
        self.connections[number as usize].is_wanted = false;
        self.stranger.talk.take_if(|talk| talk.connection == number);
    }

    /// Some frames between nodes are of a version that nobody speaks here.
    pub(super) fn change_version(&mut self, link: u16, frames: u64, buffer: u32) {
        let drawn = draw(self.seed, Stream::Peer as u8, 1 << 40 | u64::from(link), frames);
        if !self.injector.is_enabled() || !drawn.is_multiple_of(FRAMES_EACH) {
            return;
        }
        if let Some(version) = self.buffers.bytes_mut(buffer).get_mut(4) {
            *version = version.wrapping_add(1 + (drawn >> 32) as u8 % 250);
        }
    }

    /// A frame of another version came in, and the connection was closed or not.
    pub(super) fn note_unknown_frame(&mut self, is_refused: bool) {
        let status = if is_refused { ReplyStatus::Unsupported } else { ReplyStatus::Ok };
        self.observe(&Event::Foreign { asked: Foreign::PeerFrame, status: Some(status), body: &[] });
    }
}

fn command((session, sequence): (SessionId, Sequence), nsid: Nsid) -> Vec<u8> {
    let header = CommandHeader { session, sequence, ack_below: sequence, acct: ACCT, nsid };
    let mut out = Vec::new();
    let mkdir = Mkdir { at: At::path("/not mine"), autorename: false };
    meta::encode_command(&header, &Command::Mkdir(mkdir), &mut out);
    out
}
