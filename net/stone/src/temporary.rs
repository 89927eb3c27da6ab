//! Temporary links: an address that gives one revision of a file to whoever has it, for some hours.
//!
//! ```text
//! base64url of
//!  0 u8 format=1   1 zero[3]   4 u32 expires_s   8 acct u64   16 home nsid u64   24 nsid u64   32 jid u64   40 HMAC[16]
//! ```
//! Nothing is stored: the proof is the right to ask. The account's own right to read is asked again when content goes out.

use base::{Acct, Jid, Nsid};
use meta::Rev;

use crate::ids::{base64url, from_base64url};
use crate::keys::{Keys, Kind};

/// How long one is good, in seconds.
pub const TEMPORARY_LINK_S: u64 = 4 * 60 * 60;
const FORMAT: u8 = 1;
const BODY_BYTES: usize = 40;

/// What a temporary link says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Temporary {
    /// Until when, seconds since 1970.
    pub expires_s: u32,
    /// In whose name content is read.
    pub acct: Acct,
    /// The root of that account.
    pub home: Nsid,
    /// Which revision.
    pub rev: Rev,
}

impl Temporary {
    /// As a part of an address.
    #[must_use]
    pub fn text(&self, keys: &Keys) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + 16);
        bytes.extend_from_slice(&[FORMAT, 0, 0, 0]);
        bytes.extend_from_slice(&self.expires_s.to_le_bytes());
        for number in [self.acct.0, self.home.0, self.rev.nsid.0, self.rev.jid.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        base64url(&keys.seal(Kind::Temporary, bytes))
    }

    /// What this cluster made; whether it is over is for the caller to compare.
    #[must_use]
    pub fn parse(keys: &Keys, text: &str) -> Option<Temporary> {
        let sealed = from_base64url(text)?;
        let bytes = keys.open(Kind::Temporary, &sealed)?;
        if bytes.len() != BODY_BYTES || bytes[..4] != [FORMAT, 0, 0, 0] {
            return None;
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let expires_s = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let rev = Rev { nsid: Nsid(number(24)), jid: Jid(number(32)) };
        Some(Temporary { expires_s, acct: Acct(number(8)), home: Nsid(number(16)), rev })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    #[test]
    fn a_temporary_link_is_read_as_it_was_made_and_no_character_of_it_may_change() {
        let keys = Keys::new(&Secret::from_bytes([7; 32]));
        let rev = Rev { nsid: Nsid(10_000_000_001), jid: Jid(9) };
        let made = Temporary { expires_s: 77, acct: Acct(5), home: Nsid(10_000_000_001), rev };
        let text = made.text(&keys);
        assert_eq!(Temporary::parse(&keys, &text), Some(made));
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("ASCII");
            // The last character has bits that stand for nothing.
            assert!(Temporary::parse(&keys, &bad).is_none_or(|read| read == made && at + 1 == text.len()), "{at}");
        }
        assert_eq!(Temporary::parse(&keys, ""), None);
        assert_eq!(Temporary::parse(&Keys::new(&Secret::from_bytes([8; 32])), &text), None);
    }
}
