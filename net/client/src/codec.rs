//! The machine's encodings, inside the bodies of requests and replies.

use base::{Acct, Nsid, Sequence, SessionId};
use meta::{Answer, Command, CommandHeader, Outcome, Query};
use wire::client::put_query_prefix;

use crate::error::ClientError;

/// Appends the body of a Command.
pub(crate) fn put_command(
    out: &mut Vec<u8>,
    (acct, nsid): (Acct, Nsid),
    (session, sequence): (SessionId, Sequence),
    ack_below: u64,
    command: &Command,
) {
    let header = CommandHeader { session, sequence, ack_below: Sequence(ack_below), acct, nsid };
    meta::encode_command(&header, command, out);
}

/// Appends the body of a Query.
pub(crate) fn put_query(out: &mut Vec<u8>, acct: Acct, nsid: Nsid, query: &Query) {
    put_query_prefix(out, acct, nsid);
    query.encode(out);
}

/// The outcome in a reply.
pub(crate) fn outcome(body: &[u8]) -> Result<Outcome, ClientError> {
    Outcome::decode(body).map_err(|_| ClientError::Undecodable { what: "a command" })
}

/// The answer in a reply.
pub(crate) fn answer(body: &[u8]) -> Result<Answer, ClientError> {
    Answer::decode(body).map_err(|_| ClientError::Undecodable { what: "a query" })
}
