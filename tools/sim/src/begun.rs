//! Operations that clients began, as a schedule keeps them: what was asked when, in the bytes in which it travels.
//!
//! ```text
//! op 3 17 1234567890 command 1 10000000123 0107...      client, its how-many-eth, ns, kind, account, namespace, hex
//! ```
//! A schedule that lists them means the same when the generator that once drew them is another one.

use std::fmt;

use base::{Acct, Jid, Nsid};
use client::Operation;
use meta::{CommandHeader, Query, decode_command, encode_command};

/// What was asked, by the names in a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Command,
    Query,
    Watch,
}

const KINDS: [(Kind, &str); 3] = [(Kind::Command, "command"), (Kind::Query, "query"), (Kind::Watch, "watch")];

/// One operation that a client began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// By which client.
    pub client: u32,
    /// Its how-many-eth, from 0; it tells lines apart and decides nothing.
    pub number: u64,
    /// When, in simulated ns.
    pub at: u64,
    kind: Kind,
    acct: Acct,
    nsid: Nsid,
    bytes: Vec<u8>,
}

impl Begun {
    /// `None` for what no generator draws: operations of administrators, and of a null machine.
    #[must_use]
    pub fn new(client: u32, number: u64, at: u64, operation: &Operation) -> Option<Begun> {
        let mut bytes = Vec::new();
        let (kind, acct, nsid) = match operation {
            Operation::Command { acct, nsid, command } => {
                encode_command(&CommandHeader::default(), command, &mut bytes);
                (Kind::Command, *acct, *nsid)
            }
            Operation::Query { acct, nsid, query } => {
                query.encode(&mut bytes);
                (Kind::Query, *acct, *nsid)
            }
            Operation::Watch { acct, nsid, since } => {
                bytes.extend_from_slice(&since.0.to_le_bytes());
                (Kind::Watch, *acct, *nsid)
            }
            Operation::ClusterMap { .. }
            | Operation::Status { .. }
            | Operation::ChangeMembers { .. }
            | Operation::BalanceLeaders { .. }
            | Operation::TransferLeader { .. }
            | Operation::NullCommand { .. }
            | Operation::NullCount { .. } => return None,
        };
        Some(Begun { client, number, at, kind, acct, nsid, bytes })
    }

    /// The operation again; `None` when the bytes are none of this version.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        let Begun { acct, nsid, .. } = *self;
        Some(match self.kind {
            Kind::Command => {
                let (_, command) = decode_command(&self.bytes).ok()?;
                Operation::Command { acct, nsid, command }
            }
            Kind::Query => Operation::Query { acct, nsid, query: Query::decode(&self.bytes).ok()? },
            Kind::Watch => {
                let since = Jid(u64::from_le_bytes(self.bytes.as_slice().try_into().ok()?));
                Operation::Watch { acct, nsid, since }
            }
        })
    }

    /// Reads what [`fmt::Display`] printed, behind the word `op`. `None` when it makes no sense.
    #[must_use]
    pub fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Begun> {
        let client = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let at = words.next()?.parse().ok()?;
        let name = words.next()?;
        let kind = KINDS.iter().find(|(_, known)| *known == name)?.0;
        let acct = Acct(words.next()?.parse().ok()?);
        let nsid = Nsid(words.next()?.parse().ok()?);
        let bytes = from_hex(words.next()?)?;
        let begun = Begun { client, number, at, kind, acct, nsid, bytes };
        begun.operation().map(|_| begun)
    }
}

impl fmt::Display for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Begun { client, number, at, kind, acct, nsid, bytes } = self;
        let name = KINDS.iter().find(|(known, _)| known == kind).map_or("", |(_, name)| name);
        write!(f, "op {client} {number} {at} {name} {} {} ", acct.0, nsid.0)?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| char::from(text.as_bytes()[at]).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| Some((digit(at)? << 4 | digit(at + 1)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use meta::{At, Command, Mkdir};

    use super::*;

    fn parse(text: &str) -> Option<Begun> {
        let mut words = text.split_whitespace();
        assert_eq!(words.next(), Some("op"));
        Begun::parse(&mut words)
    }

    #[test]
    fn every_kind_that_is_drawn_comes_back_from_its_line() {
        let (acct, nsid) = (Acct(1), Nsid(10_000_000_003));
        let command = Command::Mkdir(Mkdir { at: At::path("/a folder"), autorename: true });
        let drawn = [
            Operation::Command { acct, nsid, command },
            Operation::Query { acct, nsid, query: Query::Head },
            Operation::Watch { acct, nsid, since: Jid(7) },
        ];
        for operation in drawn {
            let begun = Begun::new(3, 17, 99, &operation).expect("it is drawn");
            assert_eq!(parse(&begun.to_string()).as_ref(), Some(&begun));
            let again = begun.operation().expect("it was just encoded");
            assert_eq!(format!("{again:?}"), format!("{operation:?}"));
        }
    }

    #[test]
    fn lines_that_are_no_operation_are_refused() {
        let good = Begun::new(0, 0, 5, &Operation::Query { acct: Acct(1), nsid: Nsid(2), query: Query::Head });
        let good = good.expect("it is drawn").to_string();
        assert!(parse(&good).is_some());
        let (head, hex) = good.rsplit_once(' ').expect("it has words");
        for bad in [head.to_owned(), format!("{head} {}", &hex[1..]), format!("{head} {hex}00"), format!("{head} xyzw")]
        {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
