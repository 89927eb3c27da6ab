//! The ids of upload sessions, which prove themselves: a session without data is nowhere but in its id.
//!
//! ```text
//! id    "pid_upload_session:" + base64url, without padding, of
//!        0 u8 format=1   1 u8 flags {1 concurrent, 2 closed and empty at start}
//!        2 u64 home nsid   10 u64 acct   18 u32 issued, seconds since 1970   22 u64 nonce   30 HMAC-SHA-256[..16] of 0..30
//! ```

use std::fmt;

use base::{Acct, Nsid};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::UploadId;
use sha2::{Digest, Sha256};

const PREFIX: &str = "pid_upload_session:";
const FORMAT: u8 = 1;
const FLAG_CONCURRENT: u8 = 1;
const FLAG_CLOSED: u8 = 2;
const BODY_BYTES: usize = 30;
const MAC_BYTES: usize = 16;
/// Seconds that a session lives.
const LIFE_S: u64 = 7 * 24 * 60 * 60;

/// The keys that sign session ids; ids of both are taken, new ones are of the first.
#[derive(Clone)]
pub struct SessionKeys {
    current: [u8; 32],
    former: Option<[u8; 32]>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys")
    }
}

impl SessionKeys {
    /// Ids are signed by `current`; those signed by `former` are still good.
    #[must_use]
    pub fn new(current: [u8; 32], former: Option<[u8; 32]>) -> SessionKeys {
        SessionKeys { current, former }
    }

    fn proves(&self, body: &[u8], mac: &[u8]) -> bool {
        let is_of = |key: &[u8; 32]| is_equal(&hmac(key, body)[..MAC_BYTES], mac);
        is_of(&self.current) || self.former.as_ref().is_some_and(is_of)
    }
}

/// An upload session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UploadSession {
    /// The root of its account, whose group keeps it.
    pub home: Nsid,
    /// Whose it is.
    pub acct: Acct,
    /// When it began, seconds since 1970.
    pub issued_s: u32,
    /// Drawn when it began; never 0.
    pub nonce: u64,
    /// Calls come in any order.
    pub is_concurrent: bool,
    /// It was closed when it began, without a byte.
    pub is_closed_empty: bool,
}

/// A text is no id of a session of this cluster. As good as one that was never given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such upload session")]
pub struct SessionIdError;

impl UploadSession {
    /// The id that a client gets.
    #[must_use]
    pub fn render(&self, keys: &SessionKeys) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
        let flags = u8::from(self.is_concurrent) * FLAG_CONCURRENT + u8::from(self.is_closed_empty) * FLAG_CLOSED;
        bytes.extend([FORMAT, flags]);
        bytes.extend(self.home.0.to_le_bytes());
        bytes.extend(self.acct.0.to_le_bytes());
        bytes.extend(self.issued_s.to_le_bytes());
        bytes.extend(self.nonce.to_le_bytes());
        let mac = hmac(&keys.current, &bytes);
        bytes.extend(&mac[..MAC_BYTES]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The session of an id.
    ///
    /// Errors: [`SessionIdError`] for what this cluster has not given out.
    pub fn parse(text: &str, keys: &SessionKeys) -> Result<UploadSession, SessionIdError> {
        let text = text.strip_prefix(PREFIX).ok_or(SessionIdError)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SessionIdError)?;
        if bytes.len() != BODY_BYTES + MAC_BYTES {
            return Err(SessionIdError);
        }
        let (body, mac) = bytes.split_at(BODY_BYTES);
        // Before any field is used.
        if !keys.proves(body, mac) || body[0] != FORMAT || body[1] > (FLAG_CONCURRENT | FLAG_CLOSED) {
            return Err(SessionIdError);
        }
        let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        Ok(UploadSession {
            home: Nsid(number(2)),
            acct: Acct(number(10)),
            issued_s: u32::from_le_bytes(body[18..22].try_into().expect("four bytes")),
            nonce: number(22),
            is_concurrent: body[1] & FLAG_CONCURRENT != 0,
            is_closed_empty: body[1] & FLAG_CLOSED != 0,
        })
    }

    /// As the machine names it.
    #[must_use]
    pub fn id(&self) -> UploadId {
        let issued_ms = u64::from(self.issued_s) * 1000;
        UploadId { nonce: self.nonce, issued_ms, is_concurrent: self.is_concurrent }
    }

    /// Is it over by this clock, in milliseconds since 1970? The machine has the last word.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        u64::from(self.issued_s) + LIFE_S <= now_ms / 1000
    }
}

/// RFC 2104 with SHA-256, for a key of its output's length.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// In the same time whatever differs.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> UploadSession {
        UploadSession {
            home: Nsid(10_000_000_001),
            acct: Acct(7),
            issued_s: 1_800_000_000,
            nonce: 0x0102_0304_0506_0708,
            is_concurrent: true,
            is_closed_empty: false,
        }
    }

    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        // Test case 1, whose key of 20 bytes is padded with zeros to any longer one.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = base::BlockHash(hmac(&key, b"Hi There")).to_string();
        assert_eq!(mac, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn an_id_is_these_bytes_and_comes_back_as_it_went() {
        let keys = SessionKeys::new([1; 32], None);
        let text = session().render(&keys);
        assert_eq!(text.len(), PREFIX.len() + 62);
        let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
        let body = [
            1, 1, 0x01, 0xe4, 0x0b, 0x54, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0x00, 0xd2, 0x49, 0x6b, 8, 7, 6, 5, 4, 3,
            2, 1,
        ];
        assert_eq!(bytes[..BODY_BYTES], body);
        assert_eq!(UploadSession::parse(&text, &keys), Ok(session()));
        let other = UploadSession { is_concurrent: false, is_closed_empty: true, ..session() };
        assert_eq!(UploadSession::parse(&other.render(&keys), &keys), Ok(other));
    }

    #[test]
    fn an_id_with_any_other_bit_is_none() {
        let keys = SessionKeys::new([1; 32], None);
        let text = session().render(&keys);
        let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
            assert_eq!(UploadSession::parse(&text, &keys), Err(SessionIdError), "bit {bit}");
        }
        for text in ["", PREFIX, "pid_upload_session:!", &text[1..], &text[..text.len() - 1]] {
            assert_eq!(UploadSession::parse(text, &keys), Err(SessionIdError), "{text}");
        }
    }

    #[test]
    fn a_former_key_is_taken_until_it_is_dropped() {
        let text = session().render(&SessionKeys::new([1; 32], None));
        assert!(UploadSession::parse(&text, &SessionKeys::new([2; 32], Some([1; 32]))).is_ok());
        assert!(UploadSession::parse(&text, &SessionKeys::new([2; 32], None)).is_err());
    }

    #[test]
    fn a_session_is_over_after_seven_days() {
        let begin = u64::from(session().issued_s) * 1000;
        assert!(!session().is_over(begin + 7 * 24 * 60 * 60 * 1000 - 1));
        assert!(session().is_over(begin + 7 * 24 * 60 * 60 * 1000));
    }
}
