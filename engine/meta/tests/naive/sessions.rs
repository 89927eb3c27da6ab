//! Exactly once in the plainest way: what each session was told, until it says that it needs that no more.

use std::collections::BTreeMap;

use base::{Acct, SessionId};
use meta::*;

const WINDOW: u64 = 1024;
const IDLE_MS: u64 = 60 * 60 * 1000;

/// One session of a client.
#[derive(Clone, Debug)]
pub struct Session {
    pub acct: Acct,
    nonce: [u8; 16],
    pub ack_below: u64,
    pub high: u64,
    /// By sequence.
    told: BTreeMap<u64, Outcome>,
    last_ms: u64,
}

/// The sessions of a group.
#[derive(Default)]
pub struct Sessions {
    pub open: BTreeMap<SessionId, Session>,
}

impl Sessions {
    /// The same nonce of the same account is the same session; with a new one those that were idle go. `told` names it.
    pub fn register(&mut self, acct: Acct, nonce: [u8; 16], now_ms: u64, told: &Outcome) -> Outcome {
        let known = self.open.iter_mut().find(|(_, session)| (session.acct, session.nonce) == (acct, nonce));
        if let Some((session, row)) = known {
            row.last_ms = now_ms;
            return Outcome::Registered { session: *session };
        }
        self.open.retain(|_, session| session.last_ms + IDLE_MS >= now_ms);
        let Outcome::Registered { session } = *told else { panic!("no session: {told:?}") };
        let row = Session { acct, nonce, ack_below: 1, high: 0, told: BTreeMap::new(), last_ms: now_ms };
        assert!(self.open.insert(session, row).is_none(), "{session} is used twice");
        told.clone()
    }

    /// What the session says of a command; `None`: it is executed, and [`Sessions::keep`] comes next.
    pub fn admit(&mut self, header: &CommandHeader, now_ms: u64) -> Option<Outcome> {
        if header.session == SessionId(0) {
            return (header.acct != Acct(0)).then_some(Outcome::SessionGone);
        }
        let is_its = |session: &&mut Session| session.acct == Acct(0) || session.acct == header.acct;
        let Some(session) = self.open.get_mut(&header.session).filter(is_its) else {
            return Some(Outcome::SessionGone);
        };
        let sequence = header.sequence.0;
        if sequence == 0 {
            return Some(Outcome::Malformed);
        }
        session.last_ms = now_ms;
        // Nothing that was not executed is acknowledged.
        session.ack_below = session.ack_below.max(header.ack_below.0.min(session.high + 1));
        let ack_below = session.ack_below;
        session.told.retain(|told, _| *told >= ack_below);
        match sequence {
            _ if sequence < ack_below => Some(Outcome::Acknowledged),
            _ if sequence - ack_below >= WINDOW => Some(Outcome::TooLarge),
            _ => session.told.get(&sequence).cloned(),
        }
    }

    /// It was executed.
    pub fn keep(&mut self, header: &CommandHeader, outcome: &Outcome) {
        if let Some(session) = self.open.get_mut(&header.session) {
            session.high = session.high.max(header.sequence.0);
            session.told.insert(header.sequence.0, outcome.clone());
        }
    }
}
