//! Hashes of passwords, as rows and commands carry them.

use std::fmt;

use crate::codec::{DecodeError, Reader};
use crate::query_codec::{blob, put_blob};

/// Bytes of a password hash.
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;

/// What a server made of a password, with its salt and costs; empty is no password. Never the password itself, and
/// nothing prints it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PasswordHash(pub Vec<u8>);

impl PasswordHash {
    /// A password is asked for.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.0.len() > PASSWORD_HASH_BYTES_MAX
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_blob(&self.0, out);
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<PasswordHash, DecodeError> {
        let hash = PasswordHash(blob(reader)?.to_vec());
        if hash.is_too_long() { Err(DecodeError::TooMany("password hash bytes")) } else { Ok(hash) }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "PasswordHash(set)" } else { "PasswordHash(none)" })
    }
}
