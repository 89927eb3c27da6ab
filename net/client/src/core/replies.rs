//! What an answer means for its request: it ends, goes elsewhere, or waits.

use base::{GroupId, Mono, mutate};
use meta::Outcome;
use wire::client::{parse_count, parse_jid};
use wire::{ClusterMap, CoreStatus, Explanation, ReplyItem, ReplyStatus};

use super::{Action, Core, LinkId};
use crate::codec;
use crate::error::{ClientError, Tried};
use crate::explained::{EXPLAINED_MAX, Explained};
use crate::operation::{Operation, Reply, Ticket};
use crate::request::{Place, Work};

impl Core {
    pub(super) fn handle_reply(&mut self, link: LinkId, item: &ReplyItem<'_>, now: Mono) {
        let id = item.request_id;
        let Some(entry) = self.links.get_mut(&link) else { return };
        let request = self.requests.get_mut(&id).filter(|request| request.place == Place::InFlight(link));
        let Some(request) = request else {
            base::mark::hit!("client.reply.late");
            return; // The answer to a Ping, or to what was given up.
        };
        let node = entry.node;
        let group = request.group;
        if item.reply_status() == Some(ReplyStatus::Ok) {
            if let Some(group) = group {
                self.routes.handle_leader(group, node);
            }
            self.note_explanation(id, item, now);
            return self.handle_ok(id, item.body, now);
        }
        let address = entry.address.clone();
        entry.in_flight -= 1;
        request.place = Place::Ready;
        if request.is_watch() && request.deadline == Mono::MAX {
            request.deadline = now + self.options.deadline;
            self.deadlines.insert(request.deadline, id);
        }
        if matches!(request.work, Work::Map) {
            // Whatever this node has against it, others may answer.
            self.map_tried.note(&address, "gave no cluster map");
            self.routes.rotate_any();
            return self.retry(id, now);
        }
        match item.reply_status() {
            Some(ReplyStatus::NotLeader) => {
                request.tried.note(&address, "is not the leader");
                let hint = item.leader_hint();
                let is_hinted = group.is_some_and(|group| self.routes.handle_not_leader(group, node, hint, now));
                if hint.is_some_and(|hint| self.routes.map().is_some_and(|map| map.address_of(hint).is_none())) {
                    self.want_map(now);
                }
                // Two nodes that name each other must not be asked in a tight circle.
                let request = self.requests.get_mut(&id).expect("it was found above");
                if is_hinted && request.tries < 2 {
                    base::mark::hit!("client.reply.leader_hinted");
                    request.tries += 1;
                    self.make_ready(id);
                } else {
                    self.retry(id, now);
                }
            }
            Some(ReplyStatus::Overloaded) => {
                base::mark::hit!("client.reply.overloaded");
                let text = item.text();
                request.tried.note(&address, if text.is_empty() { "is overloaded" } else { &text });
                self.retry(id, now);
            }
            Some(ReplyStatus::WrongCore) => {
                base::mark::hit!("client.reply.wrong_core");
                request.tried.note(&address, "is the wrong core");
                self.want_map(now);
                self.retry(id, now);
            }
            Some(ReplyStatus::Unavailable) => {
                base::mark::hit!("client.reply.unavailable");
                request.tried.note(&address, "lost its leadership or is stopping");
                request.in_doubt |= request.is_command();
                if request.is_once_only() {
                    let error = ClientError::Unknown {
                        reason: "leadership was lost meanwhile".to_owned(),
                        tried: request.tried.clone(),
                    };
                    return self.complete(id, Err(error));
                }
                self.retry(id, now);
            }
            Some(ReplyStatus::Malformed) => {
                base::mark::hit!("client.reply.malformed");
                self.complete(id, Err(ClientError::Malformed { text: item.text().into_owned() }));
            }
            Some(ReplyStatus::Refused) => {
                base::mark::hit!("client.reply.refused");
                self.complete(id, Err(ClientError::Refused { text: item.text().into_owned() }));
            }
            Some(ReplyStatus::Unsupported) => {
                let (kind, mut text) = (item.kind, item.text().into_owned());
                if text.is_empty() {
                    text = format!("the server does not know requests of kind {kind}; it is older than this client");
                }
                self.complete(id, Err(ClientError::Unsupported { kind, text }));
            }
            Some(ReplyStatus::Ok) | None => self.complete(id, Err(ClientError::Undecodable { what: "a request" })),
        }
    }

    /// Keeps what the server tells of a caller's operation, if it was asked.
    fn note_explanation(&mut self, id: u64, item: &ReplyItem<'_>, now: Mono) {
        let Some(request) = self.requests.get(&id).filter(|request| matches!(request.work, Work::Operation(_))) else {
            return;
        };
        let Some(server) = Explanation::parse(item.explanation) else { return };
        if self.explained.len() >= EXPLAINED_MAX {
            self.explained.pop_front();
        }
        let (service, before) = (now.since(request.sent), request.sent.since(request.begun));
        self.explained.push_back(Explained { ticket: Ticket(id), server, service, before });
    }

    fn handle_ok(&mut self, id: u64, body: &[u8], now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let unreadable = |what| Err(ClientError::Undecodable { what });
        let result = match &mut request.work {
            Work::Register(group) => {
                let group = *group;
                return self.handle_registered(id, group, body);
            }
            Work::Map => return self.handle_map(id, body),
            Work::Operation(Operation::Watch { since, .. }) => {
                let Ok(head) = parse_jid(body) else { return self.complete(id, unreadable("a watch")) };
                let is_passed_over = mutate!(MUT_24A, false, *since > base::Jid(0) && request.tries > 0);
                if *since < head {
                    *since = head;
                    if !is_passed_over {
                        self.actions.push_back(Action::Head { ticket: Ticket(id), head });
                    }
                }
                let before = std::mem::replace(&mut request.deadline, Mono::MAX);
                request.tries = 0;
                return self.forget_deadline(before, id);
            }
            Work::Operation(Operation::Command { .. }) => match codec::outcome(body) {
                Ok(Outcome::SessionGone) => return self.handle_session_gone(id, now),
                Ok(Outcome::Acknowledged) => {
                    base::mark::hit!("client.reply.outcome_gone");
                    let reason = "the server has dropped its outcome".to_owned();
                    Err(ClientError::Unknown { reason, tried: request.tried.clone() })
                }
                outcome => {
                    let is_kept = !matches!(outcome, Ok(Outcome::TooLarge | Outcome::Malformed | Outcome::Unsupported));
                    if is_kept
                        && let (Some((session, sequence)), Some(group)) = (request.session, request.group)
                        && let Some(entry) = self.sessions.get_mut(&group)
                    {
                        entry.handle_executed(session, sequence);
                    }
                    outcome.map(Reply::Outcome)
                }
            },
            Work::Operation(Operation::Query { .. }) => codec::answer(body).map(Reply::Answer),
            Work::Operation(Operation::NullCommand { .. } | Operation::NullCount { .. }) => {
                parse_count(body).map(Reply::Count).or_else(|_| unreadable("a count"))
            }
            Work::Operation(Operation::ClusterMap { address }) => {
                let is_own = address.is_none();
                match ClusterMap::parse(body) {
                    Ok(map) => {
                        if is_own {
                            self.take_map(map.clone());
                        }
                        Ok(Reply::ClusterMap(map))
                    }
                    Err(_) => unreadable("a cluster map request"),
                }
            }
            Work::Operation(Operation::Status { .. }) => CoreStatus::parse(body)
                .map(|status| Reply::Status(Box::new(status)))
                .or_else(|_| unreadable("a status request")),
            Work::Operation(
                Operation::ChangeMembers { .. } | Operation::TransferLeader { .. } | Operation::BalanceLeaders { .. },
            ) => Ok(Reply::Done),
        };
        self.complete(id, result);
    }

    fn handle_map(&mut self, id: u64, body: &[u8]) {
        match ClusterMap::parse(body) {
            Ok(map) => self.take_map(map),
            // Another node may do better, and the next one that misses the map will ask.
            Err(_) => self.routes.rotate_any(),
        }
        self.complete(id, Err(ClientError::Closed));
        // Whoever still waits for a map asks anew.
        self.wake_mapless();
    }

    fn take_map(&mut self, map: ClusterMap) {
        self.routes.handle_map(map);
        self.map_tried = Tried::default();
        self.wake_mapless();
    }

    fn wake_mapless(&mut self) {
        let mapless = self.requests.iter().filter(|(_, request)| request.place == Place::NoMap);
        let mut mapless: Vec<u64> = mapless.map(|(id, _)| *id).collect();
        mapless.sort_unstable();
        mapless.into_iter().for_each(|id| self.make_ready(id));
    }

    fn handle_registered(&mut self, id: u64, group: GroupId, body: &[u8]) {
        let error = match codec::outcome(body) {
            Ok(Outcome::Registered { session }) => {
                self.sessions.entry(group).or_default().handle_opened(session);
                self.remove(id);
                return self.wake_session(group);
            }
            Ok(other) => ClientError::Refused { text: format!("no session was opened: {other:?}") },
            Err(error) => error,
        };
        self.complete(id, Err(error));
    }

    /// The server does not know the command's session. If no earlier try can have done it, it starts over in a new one.
    fn handle_session_gone(&mut self, id: u64, now: Mono) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (Some(group), Some((session, _))) = (request.group, request.session) else { return };
        base::mark::hit!("client.session.gone");
        self.sessions.entry(group).or_default().handle_gone(session);
        if request.in_doubt {
            base::mark::hit!("client.session.gone_in_doubt");
            let reason = "the session ended while the command was in doubt".to_owned();
            let error = ClientError::Unknown { reason, tried: request.tried.clone() };
            return self.complete(id, Err(error));
        }
        request.session = None;
        if let Place::InFlight(link) = request.place
            && let Some(entry) = self.links.get_mut(&link)
        {
            request.tried.note(&entry.address, "does not know the session");
            entry.in_flight -= 1;
        }
        request.place = Place::Ready;
        self.retry(id, now);
    }
}
