//! The commands of links and their bytes.
//!
//! ```text
//! settings  0 u8 flags {1 no download, 2 members only}   1 zero[7]   8 u64 expires_ms   16 password hash: u32 length,
//!           zero[4], bytes, zero-padded to 8
//! Create    settings, then the place: u64 node, u32 length, zero[4], path zero-padded to 8
//! Modify    u64 link, settings            Revoke   u64 link
//! ```

use base::TreeNode;

use crate::codec::{DecodeError, Put, Reader};
use crate::command::At;
use crate::password::PasswordHash;
use crate::query_codec::{blob_text, put_blob};

const FLAG_NO_DOWNLOAD: u8 = 1;
const FLAG_MEMBERS_ONLY: u8 = 2;

/// What whoever opens a link may do, and until when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkSettings {
    /// It shows, and does not give.
    pub no_download: bool,
    /// Only for those who may read the namespace anyhow.
    pub members_only: bool,
    /// From then on it is no link any more, milliseconds since 1970; 0 is never.
    pub expires_ms: u64,
    /// Asked for before anything is shown.
    pub password: PasswordHash,
}

impl LinkSettings {
    /// Its time has come.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms != 0 && self.expires_ms <= now_ms
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u8((u8::from(self.no_download) * FLAG_NO_DOWNLOAD) | (u8::from(self.members_only) * FLAG_MEMBERS_ONLY));
        out.zero(7);
        out.u64(self.expires_ms);
        self.password.encode(out);
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<LinkSettings, DecodeError> {
        let flags = reader.u8()?;
        if flags & !(FLAG_NO_DOWNLOAD | FLAG_MEMBERS_ONLY) != 0 {
            return Err(DecodeError::Field("flags"));
        }
        reader.zero(7)?;
        Ok(LinkSettings {
            no_download: flags & FLAG_NO_DOWNLOAD != 0,
            members_only: flags & FLAG_MEMBERS_ONLY != 0,
            expires_ms: reader.u64()?,
            password: PasswordHash::parse(reader)?,
        })
    }
}

/// Makes, changes or takes away a link of the header's account in the header's namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkCommand {
    /// Shows a node (24): `Made`, or `Exists` with the link that this account has for it already.
    Create {
        /// What; behind a mount it is `Elsewhere`.
        at: At,
        /// How.
        settings: LinkSettings,
    },
    /// Other settings (25).
    Modify {
        /// Which.
        link: u64,
        /// From now on.
        settings: LinkSettings,
    },
    /// From here on it shows nothing (26).
    Revoke {
        /// Which.
        link: u64,
    },
}

impl LinkCommand {
    /// The number in byte 1 of the command.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            LinkCommand::Create { .. } => 24,
            LinkCommand::Modify { .. } => 25,
            LinkCommand::Revoke { .. } => 26,
        }
    }

    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            LinkCommand::Create { at, settings } => {
                settings.encode(out);
                out.u64(at.node.0);
                put_blob(at.path.as_bytes(), out);
            }
            LinkCommand::Modify { link, settings } => {
                out.u64(*link);
                settings.encode(out);
            }
            LinkCommand::Revoke { link } => out.u64(*link),
        }
    }

    pub(crate) fn decode_body(kind: u8, reader: &mut Reader<'_>) -> Result<LinkCommand, DecodeError> {
        Ok(match kind {
            24 => {
                let settings = LinkSettings::parse(reader)?;
                let node = TreeNode(reader.u64()?);
                LinkCommand::Create { at: At { node, path: blob_text(reader)? }, settings }
            }
            25 => LinkCommand::Modify { link: reader.u64()?, settings: LinkSettings::parse(reader)? },
            26 => LinkCommand::Revoke { link: reader.u64()? },
            number => return Err(DecodeError::Kind { what: "command", number }),
        })
    }
}
