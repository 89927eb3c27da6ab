//! The cluster's secret, and the keys derived from it: one for each kind of thing that proves itself.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::hmac;

/// Bytes of a proof in tokens, cursors and session ids.
pub const PROOF_BYTES: usize = 16;
/// The generation of keys in use; tokens and cursors name it.
pub const KEY_ID: u8 = 1;

/// 32 bytes that all servers of a cluster share. Nothing prints it.
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("could not use secret file {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others could read it.
    #[error("secret file {path} can be read by others; run chmod 0400 on it, and make a new one if somebody may have")]
    Open {
        /// Which.
        path: PathBuf,
    },
    /// It is no secret.
    #[error("secret file {path} does not hold 64 hex digits")]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The system has no random bytes.
    #[error("could not draw random bytes: {0}")]
    Random(getrandom::Error),
}

impl Secret {
    /// For tests, and whoever keeps it otherwise.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// Reads the file of mode 0400 or 0600.
    ///
    /// Errors: [`SecretError`].
    pub fn load(path: &Path) -> Result<Secret, SecretError> {
        let io = |source| SecretError::Io { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        let malformed = || SecretError::Malformed { path: path.to_owned() };
        crate::ids::hex32(text.trim()).map(Secret).ok_or_else(malformed)
    }

    /// As [`Secret::load`]; makes the file first where there is none.
    ///
    /// Errors: [`SecretError`].
    pub fn load_or_make(path: &Path) -> Result<Secret, SecretError> {
        let io = |source| SecretError::Io { path: path.to_owned(), source };
        if path.exists() {
            return Secret::load(path);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(SecretError::Random)?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o400).open(path).map_err(io)?;
        file.write_all(crate::ids::hex(&bytes).as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(Secret(bytes))
    }
}

/// What a proof is for: a proof of one kind is none of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Access tokens.
    Token,
    /// Cursors.
    Cursor,
    /// Upload sessions.
    Session,
    /// Jobs.
    Job,
    /// Links; their key is for ever.
    Link,
    /// Ids of accounts; their key is for ever.
    Account,
    /// The form of the sign-in page.
    Form,
    /// Temporary links.
    Temporary,
    /// That the password of a link was given.
    Pass,
}

const KINDS: [(Kind, &[u8]); 9] = [
    (Kind::Token, b"dropstone token 1"),
    (Kind::Cursor, b"dropstone cursor 1"),
    (Kind::Session, b"dropstone session 1"),
    (Kind::Job, b"dropstone job 1"),
    (Kind::Link, b"dropstone link"),
    (Kind::Account, b"dropstone account"),
    (Kind::Form, b"dropstone form 1"),
    (Kind::Temporary, b"dropstone temporary link 1"),
    (Kind::Pass, b"dropstone link pass 1"),
];

/// Keys of all kinds.
pub struct Keys {
    keys: [hmac::Key; KINDS.len()],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Each key is the HMAC-SHA-256 of its purpose under the secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Keys {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        let derive =
            |(_, purpose): (Kind, &[u8])| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose).as_ref());
        Keys { keys: KINDS.map(derive) }
    }

    /// HMAC-SHA-256 under the key of a kind.
    #[must_use]
    pub fn sign(&self, kind: Kind, bytes: &[u8]) -> [u8; 32] {
        let at = KINDS.iter().position(|(known, _)| *known == kind).expect("every kind is in the table");
        let mut proof = [0; 32];
        proof.copy_from_slice(hmac::sign(&self.keys[at], bytes).as_ref());
        proof
    }

    /// `bytes` with their proof behind them.
    #[must_use]
    pub fn seal(&self, kind: Kind, mut bytes: Vec<u8>) -> Vec<u8> {
        let proof = self.sign(kind, &bytes);
        bytes.extend_from_slice(&proof[..PROOF_BYTES]);
        bytes
    }

    /// What was sealed, if it was; compared in constant time before anything of it is used.
    #[must_use]
    pub fn open<'a>(&self, kind: Kind, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (bytes, proof) = sealed.split_at_checked(sealed.len().checked_sub(PROOF_BYTES)?)?;
        same(&self.sign(kind, bytes)[..PROOF_BYTES], proof).then_some(bytes)
    }
}

/// Equal, in a time that does not tell where they differ.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0u8, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(&Secret::from_bytes([7; 32]))
    }

    #[test]
    fn a_proof_of_one_kind_is_none_of_another_and_no_bit_may_change() {
        let keys = keys();
        let sealed = keys.seal(Kind::Cursor, b"abc".to_vec());
        assert_eq!(keys.open(Kind::Cursor, &sealed), Some(&b"abc"[..]));
        assert_eq!(keys.open(Kind::Token, &sealed), None);
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.open(Kind::Cursor, &bad), None, "bit {bit}");
        }
        assert!((0..sealed.len()).all(|cut| keys.open(Kind::Cursor, &sealed[..cut]).is_none()));
        assert_eq!(Keys::new(&Secret::from_bytes([8; 32])).open(Kind::Cursor, &sealed), None);
    }

    #[test]
    fn a_secret_is_made_once_and_refused_when_others_can_read_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let made = Secret::load_or_make(&path).expect("made");
        assert_eq!(Secret::load_or_make(&path).expect("found").0, made.0);
        assert_eq!(format!("{made:?}"), "Secret(..)");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).expect("opened");
        assert!(matches!(Secret::load(&path), Err(SecretError::Open { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("closed");
        std::fs::write(&path, "abc").expect("written");
        assert!(matches!(Secret::load(&path), Err(SecretError::Malformed { .. })));
    }
}
