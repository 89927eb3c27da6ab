//! The keys of group 0's tables.

use std::ops::Range;

use base::{Acct, NodeId, Nsid};

use crate::keys::{Key, key, prefix_range, table};

/// Of [`token`]: a refresh token, an access token that was revoked.
pub(crate) const REFRESH: u8 = 0;
pub(crate) const REVOKED: u8 = 1;
/// In the table of tokens: the generation of an account whose tokens were all revoked once.
const GENERATION: u8 = 2;

pub(crate) fn reach(acct: Acct, nsid: Nsid) -> Key {
    key(table::REACH, [acct.0, nsid.0], &[])
}
pub(crate) fn reaches(acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::REACH, [acct.0], &[]))
}
pub(crate) fn grant(acct: Acct, nsid: Nsid) -> Key {
    key(table::GRANT, [acct.0, nsid.0], &[])
}
pub(crate) fn grants(acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::GRANT, [acct.0], &[]))
}
pub(crate) fn token(kind: u8, digest: &[u8; 32]) -> Vec<u8> {
    let mut out = vec![table::TOKEN, kind];
    out.extend_from_slice(digest);
    out
}
pub(crate) fn refresh_tokens() -> Range<Vec<u8>> {
    vec![table::TOKEN, REFRESH]..vec![table::TOKEN, REVOKED]
}
/// Tokens that were revoked, then generations of accounts.
pub(crate) fn revoked() -> Range<Vec<u8>> {
    vec![table::TOKEN, REVOKED]..vec![table::TOKEN + 1]
}
pub(crate) fn generation(acct: Acct) -> Vec<u8> {
    let mut out = vec![table::TOKEN, GENERATION];
    out.extend_from_slice(&acct.0.to_be_bytes());
    out
}
pub(crate) fn is_generation(key: &[u8]) -> bool {
    key[1] == GENERATION
}
pub(crate) fn app(client_id: &str) -> Key {
    key(table::APP, [], client_id.as_bytes())
}
pub(crate) fn code(digest: &[u8; 32]) -> Key {
    key(table::CODE, [], digest)
}
pub(crate) fn ticket(digest: &[u8; 32]) -> Key {
    key(table::TICKET, [], digest)
}
pub(crate) fn flow(flow: u64) -> Key {
    key(table::FLOW, [flow], &[])
}
pub(crate) fn flow_of(acct: Acct, nsid: Nsid) -> Key {
    key(table::FLOW_OF, [acct.0, nsid.0], &[])
}
pub(crate) fn flows_of(acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::FLOW_OF, [acct.0], &[]))
}
pub(crate) fn ended(flow: u64) -> Key {
    key(table::FLOW_ENDED, [flow], &[])
}
pub(crate) fn alarm(name: &str, node: NodeId) -> Vec<u8> {
    let mut out = Vec::from(key(table::CLUSTER, [], b"alarm/"));
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.extend_from_slice(&node.0.to_be_bytes());
    out
}
pub(crate) fn alarms() -> Range<Vec<u8>> {
    prefix_range(key(table::CLUSTER, [], b"alarm/"))
}
pub(crate) fn setting(name: &str) -> Vec<u8> {
    let mut out = Vec::from(key(table::CLUSTER, [], SETTING));
    out.extend_from_slice(name.as_bytes());
    out
}
pub(crate) fn settings() -> Range<Vec<u8>> {
    prefix_range(key(table::CLUSTER, [], SETTING))
}
/// The name in the key of a setting.
pub(crate) fn setting_name(key: &[u8]) -> &[u8] {
    &key[1 + SETTING.len()..]
}
const SETTING: &[u8] = b"setting/";
/// The feature level of the group.
pub(crate) fn level() -> Key {
    key(table::CLUSTER, [], b"level")
}
/// The number that comes next, of flows or apps.
pub(crate) fn next(what: &str) -> Vec<u8> {
    let mut out = Vec::from(key(table::CLUSTER, [], b"next/"));
    out.extend_from_slice(what.as_bytes());
    out
}
/// Where the search for rows that are over stands in a table.
pub(crate) fn tidied(table: u8) -> Vec<u8> {
    let mut out = Vec::from(key(table::CLUSTER, [], b"tidied/"));
    out.push(table);
    out
}
