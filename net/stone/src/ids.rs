//! Ids as clients see them. What is guessable proves itself; what routes itself needs no index.
//!
//! ```text
//! account   dbid: + base64url(acct u64 BE, 18 bytes of HMAC)                          40 characters
//! file      id: + base64url(nsid u64 BE, node u64 BE)                                 22 after the colon
//! session   pid_upload_session: + base64url(format u8, flags u8 {1 concurrent, 2 closed and empty at start},
//!           home nsid u64, acct u64, issued_s u32, nonce u64, HMAC[16])               numbers little-endian
//! link      base64url(nsid u64 BE, link u64 BE, 8 bytes of HMAC)                      32 characters
//! cursor    AA + base64url(the feed's cursor, HMAC[16])
//! folders   SF + base64url(acct u64 BE, nsid u64 BE, limit u32 BE, HMAC[16])             a page of shared folders
//! job       base64url(kind u8, acct u64, number u64, HMAC[16])
//! ```

use base::{Acct, Nsid, TreeNode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::UploadId;
use meta::feed::FeedCursor;

use crate::keys::{Keys, Kind, same};

/// Characters of an account id.
pub const ACCOUNT_ID_CHARS: usize = 40;
/// Characters of a cursor at most.
pub const CURSOR_CHARS_MAX: usize = 96 << 10;
const ACCOUNT_PROOF: usize = 18;
const LINK_PROOF: usize = 8;
const SESSION_PREFIX: &str = "pid_upload_session:";
const SESSION_FORMAT: u8 = 1;

/// base64url without padding.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a text that [`base64url`] made.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

/// Appends lower-case hex.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// 32 bytes of 64 lower-case hex digits.
#[must_use]
pub fn hex32(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (to, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *to = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Of an account.
#[must_use]
pub fn account_id(keys: &Keys, acct: Acct) -> String {
    let mut bytes = acct.0.to_be_bytes().to_vec();
    let proof = keys.sign(Kind::Account, &bytes);
    bytes.extend_from_slice(&proof[..ACCOUNT_PROOF]);
    format!("dbid:{}", base64url(&bytes))
}

/// The account of an id that this cluster gave.
#[must_use]
pub fn parse_account_id(keys: &Keys, text: &str) -> Option<Acct> {
    let bytes = from_base64url(text.strip_prefix("dbid:")?)?;
    let (acct, proof) = bytes.split_at_checked(8)?;
    same(&keys.sign(Kind::Account, acct)[..ACCOUNT_PROOF], proof).then(|| Acct(number(acct, 0)))
}

/// Of a file or folder.
#[must_use]
pub fn file_id(nsid: Nsid, node: TreeNode) -> String {
    let mut out = Vec::with_capacity(25);
    meta::render::file_id(nsid, node, &mut out);
    String::from_utf8(out).expect("an id is ASCII")
}

/// What [`file_id`] named; whether it is there is another question.
#[must_use]
pub fn parse_file_id(text: &str) -> Option<(Nsid, TreeNode)> {
    let bytes = from_base64url(text.strip_prefix("id:")?)?;
    (bytes.len() == 16 && number(&bytes, 8) != 0).then(|| (Nsid(number(&bytes, 0)), TreeNode(number(&bytes, 8))))
}

/// An upload session as its id tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionName {
    /// Closed when it was started, with nothing in it.
    pub is_closed_empty: bool,
    /// Its namespace: the root of its account.
    pub home: Nsid,
    /// Whose.
    pub acct: Acct,
    /// What the machine calls it.
    pub id: UploadId,
}

/// Of an upload session. Its time is kept in whole seconds.
#[must_use]
pub fn session_id(keys: &Keys, session: &SessionName) -> String {
    let mut bytes = Vec::with_capacity(46);
    let flags = u8::from(session.id.is_concurrent) | u8::from(session.is_closed_empty) << 1;
    bytes.extend_from_slice(&[SESSION_FORMAT, flags]);
    bytes.extend_from_slice(&session.home.0.to_le_bytes());
    bytes.extend_from_slice(&session.acct.0.to_le_bytes());
    let issued_s = u32::try_from(session.id.issued_ms / 1000).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&issued_s.to_le_bytes());
    bytes.extend_from_slice(&session.id.nonce.to_le_bytes());
    format!("{SESSION_PREFIX}{}", base64url(&keys.seal(Kind::Session, bytes)))
}

/// The session of an id that this cluster gave. Whose it is, is for the caller to compare.
#[must_use]
pub fn parse_session_id(keys: &Keys, text: &str) -> Option<SessionName> {
    let sealed = from_base64url(text.strip_prefix(SESSION_PREFIX)?)?;
    let bytes = keys.open(Kind::Session, &sealed)?;
    if bytes.len() != 30 || bytes[0] != SESSION_FORMAT || bytes[1] > 3 {
        return None;
    }
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let issued_s = u32::from_le_bytes(bytes[18..22].try_into().expect("four bytes"));
    let id = UploadId { nonce: number(22), issued_ms: u64::from(issued_s) * 1000, is_concurrent: bytes[1] & 1 != 0 };
    Some(SessionName { is_closed_empty: bytes[1] & 2 != 0, home: Nsid(number(2)), acct: Acct(number(10)), id })
}

/// The part of a link's URL that names it.
#[must_use]
pub fn link_token(keys: &Keys, nsid: Nsid, link: u64) -> String {
    let mut bytes = nsid.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&link.to_be_bytes());
    let proof = keys.sign(Kind::Link, &bytes);
    bytes.extend_from_slice(&proof[..LINK_PROOF]);
    base64url(&bytes)
}

/// The link of a token that this cluster gave.
#[must_use]
pub fn parse_link_token(keys: &Keys, text: &str) -> Option<(Nsid, u64)> {
    let bytes = from_base64url(text)?;
    let (named, proof) = bytes.split_at_checked(16)?;
    same(&keys.sign(Kind::Link, named)[..LINK_PROOF], proof).then(|| (Nsid(number(named, 0)), number(named, 8)))
}

/// Why a cursor is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadCursor {
    /// Nobody here made it: 400.
    Malformed,
    /// Its key is gone: the caller lists again.
    Reset,
}

/// A cursor as text.
#[must_use]
pub fn cursor(keys: &Keys, cursor: &FeedCursor) -> String {
    let mut bytes = Vec::with_capacity(96);
    cursor.encode(&mut bytes);
    format!("AA{}", base64url(&keys.seal(Kind::Cursor, bytes)))
}

/// The cursor of a text that this cluster made, for whomever.
///
/// Errors: [`BadCursor`].
pub fn parse_cursor(keys: &Keys, text: &str) -> Result<FeedCursor, BadCursor> {
    let sealed = text.strip_prefix("AA").filter(|_| text.len() <= CURSOR_CHARS_MAX).and_then(from_base64url);
    let sealed = sealed.ok_or(BadCursor::Malformed)?;
    match keys.open(Kind::Cursor, &sealed) {
        Some(bytes) => FeedCursor::decode(bytes).map_err(|_| BadCursor::Malformed),
        // The key id lies open: one of an older key proves nothing, but its holder may begin anew.
        None if sealed.get(4).is_some_and(|id| *id != crate::keys::KEY_ID && sealed.len() > 50) => {
            Err(BadCursor::Reset)
        }
        None => Err(BadCursor::Malformed),
    }
}

/// Where a page of an account's shared folders ended: the last one, and how many a page has.
#[must_use]
pub fn folders_cursor(keys: &Keys, acct: Acct, after: Nsid, limit: u32) -> String {
    let mut bytes = acct.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&after.0.to_be_bytes());
    bytes.extend_from_slice(&limit.to_be_bytes());
    format!("SF{}", base64url(&keys.seal(Kind::Cursor, bytes)))
}

/// What [`folders_cursor`] made for this account.
#[must_use]
pub fn parse_folders_cursor(keys: &Keys, acct: Acct, text: &str) -> Option<(Nsid, u32)> {
    let sealed = from_base64url(text.strip_prefix("SF")?)?;
    let bytes = keys.open(Kind::Cursor, &sealed).filter(|bytes| bytes.len() == 20)?;
    let limit = u32::from_be_bytes(bytes[16..].try_into().expect("four bytes"));
    (Acct(number(bytes, 0)) == acct).then(|| (Nsid(number(bytes, 8)), limit))
}

/// What a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum JobKind {
    /// A flow of group 0.
    Flow = 1,
    /// Results kept by this process.
    Kept = 2,
}

/// Of a job of an account.
#[must_use]
pub fn job_id(keys: &Keys, kind: JobKind, acct: Acct, job: u64) -> String {
    let mut bytes = vec![kind as u8];
    bytes.extend_from_slice(&acct.0.to_be_bytes());
    bytes.extend_from_slice(&job.to_be_bytes());
    base64url(&keys.seal(Kind::Job, bytes))
}

/// The job of an id that this cluster gave to this account.
#[must_use]
pub fn parse_job_id(keys: &Keys, acct: Acct, text: &str) -> Option<(JobKind, u64)> {
    let sealed = from_base64url(text)?;
    let bytes = keys.open(Kind::Job, &sealed)?;
    if bytes.len() != 17 || Acct(number(bytes, 1)) != acct {
        return None;
    }
    let kind = [JobKind::Flow, JobKind::Kept].into_iter().find(|kind| *kind as u8 == bytes[0])?;
    Some((kind, number(bytes, 9)))
}

#[cfg(test)]
mod tests {
    use base::Jid;
    use meta::feed::Feed;

    use super::*;
    use crate::keys::Secret;

    fn keys() -> Keys {
        Keys::new(&Secret::from_bytes([7; 32]))
    }

    #[test]
    fn ids_are_pinned_and_read_back() {
        let keys = keys();
        let account = account_id(&keys, Acct(5));
        assert_eq!(account.len(), ACCOUNT_ID_CHARS);
        assert_eq!(account, "dbid:AAAAAAAAAAX22IjYFNSVdtxHaWoYLYcNJvM");
        assert_eq!(parse_account_id(&keys, &account), Some(Acct(5)));
        let file = file_id(Nsid(10_000_000_001), TreeNode(7));
        assert_eq!(file, "id:AAAAAlQL5AEAAAAAAAAABw");
        assert_eq!(parse_file_id(&file), Some((Nsid(10_000_000_001), TreeNode(7))));
        let link = link_token(&keys, Nsid(10_000_000_001), 3);
        assert_eq!(link.len(), 32);
        assert_eq!(parse_link_token(&keys, &link), Some((Nsid(10_000_000_001), 3)));
        let job = job_id(&keys, JobKind::Flow, Acct(5), 9);
        assert_eq!(parse_job_id(&keys, Acct(5), &job), Some((JobKind::Flow, 9)));
        assert_eq!(parse_job_id(&keys, Acct(6), &job), None, "another account's job is none");
        let folders = folders_cursor(&keys, Acct(5), Nsid(10_000_000_001), 2);
        assert_eq!(parse_folders_cursor(&keys, Acct(5), &folders), Some((Nsid(10_000_000_001), 2)));
        assert_eq!(parse_folders_cursor(&keys, Acct(6), &folders), None, "another account's cursor is none");
        assert_eq!(parse_folders_cursor(&keys, Acct(5), &folders[..folders.len() - 1]), None);
    }

    #[test]
    fn a_session_id_tells_what_the_machine_wants() {
        let keys = keys();
        let id = UploadId { nonce: 77, issued_ms: 1_700_000_000_000, is_concurrent: true };
        let session = SessionName { is_closed_empty: false, home: Nsid(10_000_000_001), acct: Acct(5), id };
        let text = session_id(&keys, &session);
        assert_eq!(parse_session_id(&keys, &text), Some(session));
        assert_eq!(text.len(), SESSION_PREFIX.len() + 62);
        assert_eq!(parse_session_id(&keys, &text[..text.len() - 1]), None);
        assert_eq!(parse_session_id(&keys, "pid_upload_session:AAAA"), None);
    }

    #[test]
    fn a_cursor_of_ours_is_read_and_no_other() {
        let keys = keys();
        let mut made = Feed::wanted(Acct(5), Nsid(10_000_000_001), 2000);
        made.key_id = crate::keys::KEY_ID;
        made.heads = vec![(Nsid(10_000_000_001), Jid(4))];
        let text = cursor(&keys, &made);
        assert_eq!(parse_cursor(&keys, &text), Ok(made.clone()));
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("it is ASCII");
            assert!(bad == text || parse_cursor(&keys, &bad).is_err(), "at {at}");
        }
        made.key_id = 9;
        let other = Keys::new(&Secret::from_bytes([8; 32]));
        assert_eq!(parse_cursor(&keys, &cursor(&other, &made)), Err(BadCursor::Reset));
        assert_eq!(parse_cursor(&keys, ""), Err(BadCursor::Malformed));
        assert_eq!(parse_cursor(&keys, "AA***"), Err(BadCursor::Malformed));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let keys = keys();
        for text in ["", "id:", "id:abc", "dbid:", "dbid:AAAAAAAAAAX", "id:AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(parse_file_id(text), None, "{text}");
            assert_eq!(parse_account_id(&keys, text), None, "{text}");
            assert_eq!(parse_link_token(&keys, text), None, "{text}");
        }
        assert_eq!(hex32(&"AB".repeat(32)), None, "upper case is no hash of ours");
        assert_eq!(hex32(&"0f".repeat(32)), Some([15; 32]));
    }
}
