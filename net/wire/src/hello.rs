//! The first bytes of a client connection, one hello each way.
//!
//! ```text
//! client, 48 B   0 u32 magic "DSCH"   4 u16 version_min   6 u16 version_max   8 u64 features   16 u64 acct
//!               24 [16] nonce        40 u32 flags        44 u32 crc32c of 0..44
//! server, 64 B   0 u32 magic "DSSH"   4 u16 version       6 u16 zero          8 u64 features   16 [16] cluster_id
//!               32 u64 node_id       40 u16 cores        42 u16 core         44 u32 groups     48 [12] zero
//!               60 u32 crc32c of 0..60
//! ```

use base::bytes::{get_array, get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use base::checksum::crc32c;
use base::{Acct, ClusterId, CoreId, NodeId};

use crate::WIRE_VERSION;

/// Bytes of a client's hello.
pub const CLIENT_HELLO_BYTES: usize = 48;
/// Bytes of a server's hello.
pub const SERVER_HELLO_BYTES: usize = 64;
/// First four bytes of a client's hello.
pub const CLIENT_HELLO_MAGIC: u32 = u32::from_le_bytes(*b"DSCH");
/// First four bytes of a server's hello.
pub const SERVER_HELLO_MAGIC: u32 = u32::from_le_bytes(*b"DSSH");

/// Why bytes are not a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The bytes so far may begin a hello; more are needed.
    #[error("hello has {have} of {need} bytes")]
    NeedMore {
        /// Bytes there.
        have: usize,
        /// Bytes of the whole hello.
        need: usize,
    },
    /// The other side does not speak this protocol.
    #[error("not a hello of this protocol: the first bytes are {found:08x}")]
    Magic {
        /// The first bytes there, little-endian.
        found: u32,
    },
    /// The bytes are not those that were sent.
    #[error("hello crc is {found:08x}, and its bytes give {computed:08x}")]
    Crc {
        /// In the hello.
        found: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// There is no version that both sides speak.
    #[error("no common version: the other side speaks {min} to {max}, this one {WIRE_VERSION}")]
    Version {
        /// The lowest offered.
        min: u16,
        /// The highest offered.
        max: u16,
    },
    /// A field has a value that no writer gives.
    #[error("hello has a bad {0}")]
    Field(&'static str),
}

/// What a client says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientHello {
    /// The lowest version spoken.
    pub version_min: u16,
    /// The highest version spoken.
    pub version_max: u16,
    /// Feature bits; none are defined yet.
    pub features: u64,
    /// Whom the connection speaks for; 0 is the system itself.
    pub acct: Acct,
    /// Proves the sessions registered with it (docs/design/metadata.md 10).
    pub nonce: [u8; 16],
    /// None are defined yet.
    pub flags: u32,
}

impl ClientHello {
    /// The hello of this version for `acct` and `nonce`.
    #[must_use]
    pub fn new(acct: Acct, nonce: [u8; 16]) -> ClientHello {
        ClientHello { version_min: WIRE_VERSION, version_max: WIRE_VERSION, features: 0, acct, nonce, flags: 0 }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CLIENT_HELLO_BYTES] {
        let mut out = [0; CLIENT_HELLO_BYTES];
        put_u32(&mut out, 0, CLIENT_HELLO_MAGIC);
        put_u16(&mut out, 4, self.version_min);
        put_u16(&mut out, 6, self.version_max);
        put_u64(&mut out, 8, self.features);
        put_u64(&mut out, 16, self.acct.0);
        out[24..40].copy_from_slice(&self.nonce);
        put_u32(&mut out, 40, self.flags);
        seal(&mut out);
        out
    }

    /// Parses the hello at the start of `bytes`; more may follow it.
    ///
    /// Errors: [`HelloError`]; a wrong magic shows from the first four bytes on.
    pub fn parse(bytes: &[u8]) -> Result<ClientHello, HelloError> {
        let bytes = checked(bytes, CLIENT_HELLO_MAGIC, CLIENT_HELLO_BYTES)?;
        let short = HelloError::Field("length");
        let hello = ClientHello {
            version_min: get_u16(bytes, 4).ok_or(short)?,
            version_max: get_u16(bytes, 6).ok_or(short)?,
            features: get_u64(bytes, 8).ok_or(short)?,
            acct: Acct(get_u64(bytes, 16).ok_or(short)?),
            nonce: get_array(bytes, 24).ok_or(short)?,
            flags: get_u32(bytes, 40).ok_or(short)?,
        };
        check_versions(hello.version_min, hello.version_max)?;
        Ok(hello)
    }
}

/// What a server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerHello {
    /// The version spoken from here on.
    pub version: u16,
    /// Feature bits that both sides have.
    pub features: u64,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node; 0 for a block server.
    pub node_id: NodeId,
    /// Cores of the node, the same on every node.
    pub cores: u16,
    /// The core that holds this connection.
    pub core: CoreId,
    /// Groups of the cluster.
    pub groups: u32,
}

impl ServerHello {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SERVER_HELLO_BYTES] {
        let mut out = [0; SERVER_HELLO_BYTES];
        put_u32(&mut out, 0, SERVER_HELLO_MAGIC);
        put_u16(&mut out, 4, self.version);
        put_u64(&mut out, 8, self.features);
        out[16..32].copy_from_slice(&self.cluster_id.0);
        put_u64(&mut out, 32, self.node_id.0);
        put_u16(&mut out, 40, self.cores);
        put_u16(&mut out, 42, self.core.0);
        put_u32(&mut out, 44, self.groups);
        seal(&mut out);
        out
    }

    /// Parses the hello at the start of `bytes`; more may follow it.
    ///
    /// Errors: [`HelloError`]; a wrong magic shows from the first four bytes on.
    pub fn parse(bytes: &[u8]) -> Result<ServerHello, HelloError> {
        let bytes = checked(bytes, SERVER_HELLO_MAGIC, SERVER_HELLO_BYTES)?;
        let short = HelloError::Field("length");
        let hello = ServerHello {
            version: get_u16(bytes, 4).ok_or(short)?,
            features: get_u64(bytes, 8).ok_or(short)?,
            cluster_id: ClusterId(get_array(bytes, 16).ok_or(short)?),
            node_id: NodeId(get_u64(bytes, 32).ok_or(short)?),
            cores: get_u16(bytes, 40).ok_or(short)?,
            core: CoreId(get_u16(bytes, 42).ok_or(short)?),
            groups: get_u32(bytes, 44).ok_or(short)?,
        };
        check_versions(hello.version, hello.version)?;
        if get_u16(bytes, 6) != Some(0) || bytes[48..60] != [0; 12] {
            return Err(HelloError::Field("reserved byte"));
        }
        if hello.cores == 0 || hello.core.0 >= hello.cores {
            return Err(HelloError::Field("core"));
        }
        if hello.groups == 0 {
            return Err(HelloError::Field("group count"));
        }
        Ok(hello)
    }
}

/// Writes the crc of all but the last four bytes into those.
pub(crate) fn seal(out: &mut [u8]) {
    let end = out.len() - 4;
    let crc = crc32c(&out[..end]);
    put_u32(out, end, crc);
}

/// The `need` bytes of a hello, with magic and crc checked.
pub(crate) fn checked(bytes: &[u8], magic: u32, need: usize) -> Result<&[u8], HelloError> {
    let begin = bytes.len().min(4);
    if bytes[..begin] != magic.to_le_bytes()[..begin] {
        let mut first = [0; 4];
        first[..begin].copy_from_slice(&bytes[..begin]);
        return Err(HelloError::Magic { found: u32::from_le_bytes(first) });
    }
    let bytes = bytes.get(..need).ok_or(HelloError::NeedMore { have: bytes.len(), need })?;
    let found = get_u32(bytes, need - 4).expect("the length was checked");
    let computed = crc32c(&bytes[..need - 4]);
    if found == computed { Ok(bytes) } else { Err(HelloError::Crc { found, computed }) }
}

/// Refuses ranges that this version is not in.
pub(crate) fn check_versions(min: u16, max: u16) -> Result<(), HelloError> {
    if min <= WIRE_VERSION && WIRE_VERSION <= max { Ok(()) } else { Err(HelloError::Version { min, max }) }
}
