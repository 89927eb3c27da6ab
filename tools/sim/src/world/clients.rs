//! Clients: the real client library over simulated connections, each with a few operations in flight.

use std::collections::VecDeque;

use base::mono::Span;
use base::{CoreId, Mono, NodeId};
use client::{Action, ClientOptions, Core, LinkId, Operation, Reply, Seed, Ticket};

use super::load::{Effect, OWNER};
use super::{MS, SECOND, What, World, stranger};
use crate::begun::Begun;
use crate::draw::{Stream, prng};
use crate::heap::Due;
use crate::observe::{Asked, Ended, Event, Token};
use crate::profile::Profile;

/// Operations begun by all clients together per simulated second, about.
const OPERATIONS_PER_S: u64 = 16;
/// How long an operation may take.
const WITHIN: Span = Span::from_ms(8_000);

/// In short runs a client asks a node that has been silent for so long whether it is there, sooner than others do.
const SILENCE: Span = Span::from_ms(700);

/// Frames that a client sends in a second at most: it has a few operations in flight and waits longer with every try.
const SENDS_MAX: u64 = 250;
/// While a plan wants no load clients look again after this long.
const QUIET: u64 = 50 * MS;

/// An operation under way.
struct Running {
    ticket: Ticket,
    operation: u64,
    effect: Effect,
    is_watch: bool,
    nsid: base::Nsid,
}

/// One client.
pub(super) struct ClientHost {
    core: Core,
    wake_at: u64,
    /// Its connections: the library's name, ours.
    links: Vec<(LinkId, u32)>,
    running: Vec<Running>,
    /// Where replies that came took effect, by request.
    tokens: Vec<(u64, Token)>,
    next_operation_at: u64,
    begun: u64,
    in_flight_max: usize,
    /// The second that is counted, and frames sent in it.
    sends: (u64, u64),
    /// In a run that repeats a schedule: what is still to be begun and when, instead of what would be drawn.
    listed: Option<VecDeque<(u64, Operation)>>,
}

impl World<'_> {
    pub(super) fn build_client(&mut self, client: usize) {
        let mut dice = prng(self.seed, Stream::Seed, 1 << 48 | client as u64, 0);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&dice.next_u64().to_le_bytes());
        let targets = self.nodes.iter().map(|node| super::serve::address(node.id)).collect();
        let mut options = ClientOptions::default();
        if self.options.profile != Profile::Standard {
            options.silence = SILENCE;
        }
        if self.shape.has_strays && client % 2 == 1 {
            let only = prng(self.seed, Stream::Mailbox, 1 << 40 | client as u64, 0).below(u64::from(self.shape.cores));
            options.only_core = Some(CoreId(only as u16));
        }
        let in_flight_max = 1 + dice.below(4) as usize;
        let drawn = if client == 0 { 10 * MS } else { SECOND + dice.below(SECOND) };
        let listed = self.listed_operations(client);
        let first = match &listed {
            Some(listed) => listed.front().map_or(u64::MAX, |(at, _)| *at),
            None => drawn,
        };
        self.clients.push(ClientHost {
            core: Core::new(targets, options, Seed { nonce, jitter: dice.next_u64() }),
            wake_at: u64::MAX,
            links: Vec::new(),
            running: Vec::new(),
            tokens: Vec::new(),
            next_operation_at: first,
            begun: 0,
            in_flight_max,
            sends: (0, 0),
            listed,
        });
        self.wake_client_at(client, first);
    }

    /// What a schedule says that this client begins, by time; none where operations are drawn.
    fn listed_operations(&self, client: usize) -> Option<VecDeque<(u64, Operation)>> {
        let all = self.options.operations.as_ref()?.iter().filter(|begun| begun.client as usize == client);
        let mut listed: Vec<_> = all.filter_map(|begun| Some((begun.at, begun.operation()?))).collect();
        listed.sort_by_key(|(at, _)| *at);
        Some(listed.into())
    }

    fn wake_client_at(&mut self, client: usize, at: u64) {
        let host = &mut self.clients[client];
        if at < host.wake_at {
            host.wake_at = at;
            self.push(at, Due::Client { client: client as u32 });
        }
    }

    pub(super) fn wake_client(&mut self, client: usize) {
        let host = &mut self.clients[client];
        if host.wake_at != self.now {
            return;
        }
        host.wake_at = u64::MAX;
        if host.next_operation_at <= self.now {
            // Now and then all at once: they may share an entry.
            let is_burst = prng(self.seed, Stream::Load, 1 << 32 | client as u64, host.begun).below(6) == 0;
            let count = match &host.listed {
                Some(listed) => listed.iter().take_while(|(at, _)| *at <= self.now).count(),
                None if is_burst => host.in_flight_max,
                None => 1,
            };
            (0..count).for_each(|_| self.begin_operation(client));
        }
        self.drive(client);
    }

    /// Operations that were begun and have not ended, watches aside.
    pub(super) fn operations_running(&self) -> usize {
        self.clients.iter().map(|host| host.running.iter().filter(|running| !running.is_watch).count()).sum()
    }

    fn begin_operation(&mut self, client: usize) {
        let pace = 2 * SECOND * self.clients.len() as u64 / OPERATIONS_PER_S;
        let (is_loading, hushed_until, is_quiet_wanted) =
            (self.is_loading(), self.calm.hushed_until, self.wants_quiet());
        let host = &mut self.clients[client];
        if let Some(listed) = &mut host.listed {
            let operation = listed.pop_front().filter(|_| is_loading);
            let next = listed.front().map(|(at, _)| (*at).max(self.now + 1)).filter(|_| is_loading);
            host.next_operation_at = next.unwrap_or(u64::MAX);
            if let Some((_, operation)) = operation {
                host.begun += 1;
                self.submit(client, operation, Effect::None);
            }
            return;
        }
        let number = host.begun;
        let mut dice = prng(self.seed, Stream::Load, client as u64, number);
        host.next_operation_at = self.now + 1 + dice.below(pace);
        let busy = host.running.iter().filter(|running| !running.is_watch).count();
        if is_loading && self.now < hushed_until {
            host.next_operation_at = hushed_until + 1 + dice.below(pace);
            return;
        }
        if !is_loading || number >= self.shape.operations {
            host.next_operation_at = u64::MAX;
            return;
        }
        if busy >= host.in_flight_max {
            return;
        }
        if is_quiet_wanted {
            host.next_operation_at = self.now + QUIET;
            return;
        }
        host.begun += 1;
        let namespaces = self.load.namespaces.len() as u64;
        let (operation, effect) = if client == 0 && number < namespaces {
            host.next_operation_at = self.now + MS;
            (self.load.found(number as usize), Effect::None)
        } else if host.running.iter().all(|running| !running.is_watch) && dice.below(12) == 0 {
            (self.load.watch(&mut dice), Effect::None)
        } else if let Some(wide) = self.load.wide(self.seed, client as u64, number) {
            wide
        } else {
            self.load.next(&mut dice)
        };
        self.submit(client, operation, effect);
    }

    pub(super) fn submit(&mut self, client: usize, operation: Operation, effect: Effect) {
        self.counts.operations += 1;
        let number = self.counts.operations;
        // Last words are in the seed: a schedule need not name them.
        if self.options.is_recording && self.is_loading() {
            let count = self.clients[client].begun - 1;
            self.begun.extend(Begun::new(client as u32, count, self.now, &operation));
        }
        let (acct, nsid, is_watch) = match &operation {
            Operation::Command { acct, nsid, .. } | Operation::Query { acct, nsid, .. } => (*acct, *nsid, false),
            Operation::Watch { acct, nsid, .. } => (*acct, *nsid, true),
            _ => (OWNER, base::Nsid(0), false),
        };
        self.note(What::Ask, number, nsid.0, |_| format!("client {client}, operation {number}: {operation:?}"));
        let asked = match &operation {
            Operation::Command { command, .. } => Asked::Write(command),
            Operation::Query { query, .. } => Asked::Read { query, is_stale_allowed: false },
            _ => Asked::Read { query: &meta::Query::Head, is_stale_allowed: true },
        };
        self.observe(&Event::Invoke { operation: number, client: client as u64, acct, nsid, asked });
        let now = client_time(self.now);
        let host = &mut self.clients[client];
        let ticket = host.core.submit(operation, WITHIN, now);
        host.running.push(Running { ticket, operation: number, effect, is_watch, nsid });
    }

    /// Does what the library asks for.
    pub(super) fn drive(&mut self, client: usize) {
        let now = client_time(self.now);
        self.clients[client].core.advance(now);
        while let Some(action) = self.clients[client].core.poll_action() {
            match action {
                Action::Connect { link, address } => {
                    let number = self.connections.len() as u32;
                    self.clients[client].links.push((link, number));
                    self.connect(client as u32, link, &address);
                }
                Action::Send { link, bytes } => {
                    self.count_send(client);
                    if let Some(number) = self.number_of(client, link) {
                        self.send_to_server(number, bytes);
                    }
                }
                Action::Close { link } => {
                    if let Some(number) = self.number_of(client, link) {
                        self.clients[client].links.retain(|(known, _)| *known != link);
                        self.close_at_client(number);
                    }
                }
                Action::Complete { ticket, result } => self.complete(client, ticket, result),
                Action::Head { ticket, head } => self.tell_head(client, ticket, head),
            }
        }
        let host = &self.clients[client];
        let deadline = host.core.next_deadline().map_or(u64::MAX, |at| at.0.saturating_sub(CLIENT_START).max(self.now));
        let at = deadline.min(host.next_operation_at);
        if at != u64::MAX {
            self.wake_client_at(client, at.max(self.now + 1));
        }
    }

    /// A client that tries again without end or wait would send ever more.
    fn count_send(&mut self, client: usize) {
        let second = self.now / SECOND;
        let sends = &mut self.clients[client].sends;
        *sends = if sends.0 == second { (second, sends.1 + 1) } else { (second, 1) };
        let count = sends.1;
        if count > SENDS_MAX {
            self.fail("bounds", format!("client {client} sent {count} frames in a second"));
        }
    }

    fn number_of(&self, client: usize, link: LinkId) -> Option<u32> {
        self.clients[client].links.iter().find(|(known, _)| *known == link).map(|(_, number)| *number)
    }

    fn complete(&mut self, client: usize, ticket: Ticket, result: Result<Reply, client::ClientError>) {
        let host = &mut self.clients[client];
        let Some(at) = host.running.iter().position(|running| running.ticket == ticket) else { return };
        let running = host.running.swap_remove(at);
        let token = host.tokens.iter().rev().find(|(request, _)| *request == ticket.0).map(|(_, token)| *token);
        host.tokens.retain(|(request, _)| *request != ticket.0);
        host.next_operation_at = host.next_operation_at.max(self.now + 1);
        let token = token.unwrap_or(Token {
            group: base::GroupId(0),
            index: base::LogIndex(0),
            term: base::Term(0),
            place: 0,
            path: crate::observe::Path::ReadIndex,
            node: NodeId(0),
        });
        let operation = running.operation;
        self.note(What::Answer, operation, token.index.0 << 8 | u64::from(result.is_ok()), |_| {
            format!("client {client}, operation {operation}: {result:?} at {token:?}")
        });
        let ended = match &result {
            Ok(Reply::Outcome(outcome)) => Ended::Outcome(outcome, token),
            Ok(Reply::Answer(answer)) => Ended::Answer(answer, token),
            Ok(_) => Ended::NotDone,
            Err(client::ClientError::Unknown { .. }) => Ended::Unknown,
            Err(_) => Ended::NotDone,
        };
        self.observe(&Event::Return { operation, ended });
        self.note_ended(operation);
        self.load.note_wide_end(&running.effect);
        match result {
            Ok(Reply::Outcome(outcome)) => {
                self.counts.acknowledged += 1;
                self.load.note_outcome(&running.effect, &outcome);
                if outcome.is_ok() {
                    self.load.learn(running.effect);
                }
            }
            Ok(Reply::Answer(answer)) => {
                self.counts.acknowledged += 1;
                self.load.note_answer(running.effect, &answer);
            }
            Ok(_) => self.counts.acknowledged += 1,
            Err(_) => {}
        }
    }

    fn tell_head(&mut self, client: usize, ticket: Ticket, head: base::Jid) {
        let running = self.clients[client].running.iter().find(|running| running.ticket == ticket);
        let Some((operation, nsid)) = running.map(|running| (running.operation, running.nsid)) else { return };
        self.note(What::Answer, operation, head.0, |_| format!("client {client}: head {head:?} of {nsid:?}"));
        self.observe(&Event::Head { operation, nsid, head });
        self.note_told(operation);
    }

    // The network's side.

    pub(super) fn client_connected(&mut self, number: u32) {
        if self.connections[number as usize].client == stranger::NAME {
            return self.stranger_connected(number);
        }
        let (client, link) = self.end_of(number);
        if !self.connections[number as usize].is_wanted {
            return;
        }
        let is_wanted = self.clients[client].core.handle_connected(link, client_time(self.now));
        if !is_wanted {
            self.close_at_client(number);
        }
        self.drive(client);
    }

    pub(super) fn reach_client(&mut self, number: u32, buffer: u32) {
        if self.connections[number as usize].client == stranger::NAME {
            return self.reach_stranger(number, buffer);
        }
        let (client, link) = self.end_of(number);
        if self.connections[number as usize].is_wanted {
            let tokens = std::mem::take(self.buffers.tokens_mut(buffer));
            self.clients[client].tokens.extend_from_slice(&tokens);
            *self.buffers.tokens_mut(buffer) = tokens;
            let bytes = self.buffers.lend(buffer);
            self.clients[client].core.handle_received(link, &bytes, client_time(self.now));
            self.buffers.put_back(buffer, bytes);
            self.drive(client);
        }
        self.buffers.release(buffer);
    }

    pub(super) fn client_closed(&mut self, number: u32) {
        if self.connections[number as usize].client == stranger::NAME {
            return self.stranger_closed(number);
        }
        let (client, link) = self.end_of(number);
        if !std::mem::take(&mut self.connections[number as usize].is_wanted) {
            return;
        }
        self.clients[client].links.retain(|(known, _)| *known != link);
        self.clients[client].core.handle_closed(link, "the connection is lost", client_time(self.now));
        self.drive(client);
    }

    fn end_of(&self, number: u32) -> (usize, LinkId) {
        let connection = &self.connections[number as usize];
        (connection.client as usize, connection.link)
    }
}

/// Clients' clocks are right; they begin late enough that nothing is before their time.
const CLIENT_START: u64 = 100 * SECOND;

fn client_time(now: u64) -> Mono {
    Mono(now + CLIENT_START)
}
