//! Access tokens: checked without asking anybody.
//!
//! ```text
//! "sl." + base64url of
//!  0 u8 format=1  1 u8 flags=0  2 u8 key id  3 u8 zero   4 u32 serial   8 acct u64   16 root nsid u64
//! 24 u32 token_gen   28 u32 expires_s (0 = never)   32 scopes u64   40 app u64   48 HMAC[16]
//! ```
//! The serial is drawn, so that two tokens of one second are two: one can be revoked without the other.

use base::{Acct, Nsid};
use sha2::{Digest, Sha256};

use crate::ids::{base64url, from_base64url};
use crate::keys::{KEY_ID, Keys, Kind};

/// Characters of a token at most; ours are shorter.
pub const TOKEN_CHARS_MAX: usize = 1024;
/// How long an access token lives, in seconds.
pub const ACCESS_TOKEN_S: u64 = 4 * 60 * 60;
const BODY_BYTES: usize = 48;

/// What a token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessToken {
    /// Drawn.
    pub serial: u32,
    /// Whose.
    pub acct: Acct,
    /// The root of its account.
    pub root: Nsid,
    /// The generation of the account's tokens.
    pub token_gen: u32,
    /// Until when, seconds since 1970; 0 is for ever.
    pub expires_s: u32,
    /// What it may, by bit.
    pub scopes: u64,
    /// Through which app.
    pub app: u64,
}

impl AccessToken {
    /// As text.
    #[must_use]
    pub fn text(&self, keys: &Keys) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + 16);
        bytes.extend_from_slice(&[1, 0, KEY_ID, 0]);
        bytes.extend_from_slice(&self.serial.to_le_bytes());
        bytes.extend_from_slice(&self.acct.0.to_le_bytes());
        bytes.extend_from_slice(&self.root.0.to_le_bytes());
        bytes.extend_from_slice(&self.token_gen.to_le_bytes());
        bytes.extend_from_slice(&self.expires_s.to_le_bytes());
        bytes.extend_from_slice(&self.scopes.to_le_bytes());
        bytes.extend_from_slice(&self.app.to_le_bytes());
        format!("sl.{}", base64url(&keys.seal(Kind::Token, bytes)))
    }

    /// The token of a text that this cluster made. Expiry and revocation are for the caller to look at.
    #[must_use]
    pub fn parse(keys: &Keys, text: &str) -> Option<AccessToken> {
        let text = text.strip_prefix("sl.").filter(|_| text.len() <= TOKEN_CHARS_MAX)?;
        let sealed = from_base64url(text)?;
        let bytes = keys.open(Kind::Token, &sealed)?;
        if bytes.len() != BODY_BYTES || bytes[..4] != [1, 0, KEY_ID, 0] {
            return None;
        }
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Some(AccessToken {
            serial: short(4),
            acct: Acct(long(8)),
            root: Nsid(long(16)),
            token_gen: short(24),
            expires_s: short(28),
            scopes: long(32),
            app: long(40),
        })
    }
}

/// By which digest group 0 knows a token or code: SHA-256 of its text.
#[must_use]
pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// 32 random bytes as text: a refresh token or code.
///
/// Errors: the system has no random bytes.
pub fn draw() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(base64url(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    #[test]
    fn a_token_is_pinned_and_no_character_of_it_may_change() {
        let keys = Keys::new(&Secret::from_bytes([7; 32]));
        let token = AccessToken {
            serial: 1,
            acct: Acct(5),
            root: Nsid(10_000_000_001),
            token_gen: 2,
            expires_s: 1_800_000_000,
            scopes: 0x1fd,
            app: 3,
        };
        let text = token.text(&keys);
        assert_eq!(AccessToken::parse(&keys, &text), Some(token));
        let pinned = "sl.AQABAAEAAAAFAAAAAAAAAAHkC1QCAAAAAgAAAADSSWv9AQAAAAAAAAMAAAAAAAAA";
        assert!(text.starts_with(pinned), "{text}");
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'Q' } else { b'A' };
            let bad = String::from_utf8(bad).expect("it is ASCII");
            assert!(bad == text || AccessToken::parse(&keys, &bad).is_none(), "at {at}");
        }
        assert_eq!(AccessToken::parse(&Keys::new(&Secret::from_bytes([8; 32])), &text), None);
    }
}
