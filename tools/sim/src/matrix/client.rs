//! The one client of a rig: makes folders one after the other, and remembers what it asked for and what was acknowledged.

use std::collections::BTreeSet;

use base::limits::LIST_PAGE_MAX;
use base::mono::Span;
use base::{Acct, GroupId, Nsid, Sequence, SessionId};
use meta::{Command, CommandHeader, Outcome};
use shard::{Status, Ticket};

use super::rig::Rig;

const ROOT: Nsid = Nsid(10_000_000_000);

/// What the client knows.
#[derive(Clone, Default)]
pub(crate) struct Client {
    session: SessionId,
    sequence: u64,
    request: u64,
    /// Paths that were asked for.
    pub asked: BTreeSet<String>,
    /// Paths whose answer came.
    pub acknowledged: BTreeSet<String>,
}

fn header(session: SessionId, sequence: u64, acct: u64) -> CommandHeader {
    // Old outcomes are not asked for again.
    let ack_below = Sequence(sequence.saturating_sub(200).max(1));
    CommandHeader { session, sequence: Sequence(sequence), ack_below, acct: Acct(acct), nsid: ROOT }
}

impl Client {
    /// The group that all this is in.
    pub fn group(rig: &Rig) -> GroupId {
        base::group_of(ROOT, rig.shape.groups)
    }

    /// Makes the namespace and a session. False when nobody answered.
    pub fn begin(&mut self, rig: &mut Rig) -> bool {
        let init = Command::NamespaceInit { owner: Acct(1), kind: meta::NamespaceKind::Root, grant_bytes: 1 << 40 };
        if self.command(rig, header(SessionId(0), 0, 0), &init, Span::from_ms(20_000)).is_none() {
            return false;
        }
        let register = Command::Register { nonce: [9; 16] };
        match self.command(rig, header(SessionId(0), 0, 1), &register, Span::from_ms(20_000)) {
            Some(Outcome::Registered { session }) => {
                self.session = session;
                true
            }
            _ => false,
        }
    }

    /// Makes the next folder. False when nobody answered in time; a wrong answer breaks a claim.
    pub fn put(&mut self, rig: &mut Rig, patience: Span) -> bool {
        self.sequence += 1;
        let path = format!("/{:04} {}", self.sequence, "x".repeat(40));
        self.asked.insert(path.clone());
        let command = Command::Mkdir(meta::Mkdir { at: meta::At::path(&path), autorename: false });
        match self.command(rig, header(self.session, self.sequence, 1), &command, patience) {
            Some(outcome) if outcome.is_ok() => {
                self.acknowledged.insert(path);
                true
            }
            Some(outcome) => {
                rig.break_claim(format!("{path} is answered with {outcome:?}"));
                false
            }
            None => false,
        }
    }

    /// Asks a node that believes it leads, and waits for nothing: the request, and the folder it is to make.
    pub fn put_at(&mut self, rig: &mut Rig, at: usize) -> (u64, String) {
        self.sequence += 1;
        let path = format!("/{:04} {}", self.sequence, "x".repeat(40));
        self.asked.insert(path.clone());
        let command = Command::Mkdir(meta::Mkdir { at: meta::At::path(&path), autorename: false });
        let bytes = encode(&header(self.session, self.sequence, 1), &command);
        let (ticket, group) = (self.ticket(1), Client::group(rig));
        if let Some(shard) = &mut rig.seats[at].shard {
            shard.handle_command(ticket, group, &bytes);
        }
        (ticket.request, path)
    }

    /// Looks whether a request of [`Client::put_at`] was answered by now, and that it was done.
    pub fn take_answer(&mut self, rig: &mut Rig, (request, path): &(u64, String)) -> bool {
        let Some((Status::Ok, body)) = rig.answers.remove(request) else { return false };
        let is_done = Outcome::decode(&body).is_ok_and(|outcome| outcome.is_ok());
        if is_done {
            self.acknowledged.insert(path.clone());
        }
        is_done
    }

    pub fn ticket(&mut self, kind: u8) -> Ticket {
        self.request += 1;
        Ticket { connection: 1, request: self.request, kind }
    }

    /// Sends a command until it is answered, always under the same session and sequence.
    fn command(&mut self, rig: &mut Rig, header: CommandHeader, command: &Command, patience: Span) -> Option<Outcome> {
        let group = Client::group(rig);
        let bytes = encode(&header, command);
        let end = rig.now + patience;
        while rig.now < end && rig.broken.is_none() {
            let ticket = self.ticket(1);
            let Some(leader) = rig.leader(group) else {
                rig.turn(end);
                continue;
            };
            let Some(shard) = &mut rig.seats[leader].shard else { continue };
            shard.handle_command(ticket, group, &bytes);
            let again = end.min(rig.now + Span::from_ms(1500));
            while rig.now < again {
                rig.turn(again);
                match rig.answers.remove(&ticket.request) {
                    Some((Status::Ok, body)) => return Outcome::decode(&body).ok(),
                    Some(_) => break,
                    None if !rig.is_up(leader) => break,
                    None => {}
                }
            }
        }
        None
    }

    /// All folders that a node has applied.
    pub fn listing(&mut self, rig: &mut Rig, at: usize) -> Option<BTreeSet<String>> {
        let query = meta::Query::ListPage {
            at: meta::At::path(""),
            recursive: true,
            position: Vec::new(),
            limit: LIST_PAGE_MAX,
        };
        let (ticket, group) = (self.ticket(2), Client::group(rig));
        rig.seats[at].shard.as_mut()?.handle_stale_query(ticket, group, ROOT, query);
        let end = rig.now + Span::from_ms(200);
        while rig.now < end {
            rig.turn(end);
            match rig.answers.remove(&ticket.request) {
                Some((Status::Ok, body)) => match meta::Answer::decode(&body) {
                    Ok(meta::Answer::Page { entries, .. }) => {
                        return Some(entries.into_iter().map(|entry| entry.path_display).collect());
                    }
                    _ => return None,
                },
                Some(_) => return None,
                None => {}
            }
        }
        None
    }
}

fn encode(header: &CommandHeader, command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    meta::encode_command(header, command, &mut bytes);
    bytes
}
