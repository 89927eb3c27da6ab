//! The requests of the block server: kinds 32 and above, in the frames of [`crate::frame`].
//!
//! ```text
//! kind                request body                                                       reply body when Ok
//! 32 PutBlock         0 u64 acct  8 u64 nsid  16 hash[32]  48 the block                  empty
//! 33 StoreAndCommit   0 u64 acct  8 u64 nsid  16 u32 commit_bytes  20 u32 blocks         the encoded outcome
//!                    24 a CommitFile as an encoded command without session, zero-padded to 8,
//!                       then blocks x (u32 position, u32 block_bytes, the block zero-padded to 8)
//! 34 GetBlock         0 u64 acct  8 u64 nsid  16 u64 rev jid  24 u32 position  28 u32 zero  the block
//! ```
//! Commands are those of docs/design/metadata.md, "Commands"; the commit's header is not looked at. The item's group is 0. A StoreAndCommit carries the blocks that were not put before on this connection and are not
//! known in the namespace; the server hashes what it gets and believes no name.

use base::bytes::{align_up, get_array, get_u32, get_u64};
use base::limits::{BLOCK_BYTES, COMMAND_BLOCKS_MAX};
use base::{Acct, BlockHash, Jid, Nsid};

use crate::client::BodyError;

/// Bytes of a PutBlock before the block.
pub const PUT_BLOCK_PREFIX_BYTES: usize = 48;
/// Bytes of a StoreAndCommit before the commit.
pub const STORE_AND_COMMIT_PREFIX_BYTES: usize = 24;
/// Bytes of a GetBlock.
pub const GET_BLOCK_BYTES: usize = 32;

/// What a block server is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Put one block into the object store.
    PutBlock = 32,
    /// Put the blocks that come along, then commit a file, in one round trip.
    StoreAndCommit = 33,
    /// Read one block of one revision.
    GetBlock = 34,
}

impl BlockKind {
    /// The kind of a number on the wire.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<BlockKind> {
        use BlockKind::*;
        [PutBlock, StoreAndCommit, GetBlock].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Puts one block, 1 byte to 4 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PutBlock<'a> {
    /// Whose rights.
    pub acct: Acct,
    /// The namespace it is meant for.
    pub nsid: Nsid,
    /// The name the client gives it; the server compares.
    pub hash: BlockHash,
    /// The block.
    pub bytes: &'a [u8],
}

impl<'a> PutBlock<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_prefix(out, self.acct, self.nsid);
        out.extend_from_slice(&self.hash.0);
        out.extend_from_slice(self.bytes);
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`] when it is too short, or the block is empty or too long.
    pub fn parse(body: &'a [u8]) -> Result<PutBlock<'a>, BodyError> {
        let parse = || {
            Some(PutBlock {
                acct: Acct(get_u64(body, 0)?),
                nsid: Nsid(get_u64(body, 8)?),
                hash: BlockHash(get_array(body, 16)?),
                bytes: body.get(PUT_BLOCK_PREFIX_BYTES..).filter(|bytes| is_block_length(bytes.len()))?,
            })
        };
        parse().ok_or(BodyError { what: "put block", bytes: body.len() })
    }
}

/// A block that comes along with a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InlineBlock<'a> {
    /// Its place in the commit's blocklist, 0-based.
    pub position: u32,
    /// The block.
    pub bytes: &'a [u8],
}

/// Puts blocks and commits a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreAndCommit<'a> {
    /// Whose rights.
    pub acct: Acct,
    /// The namespace.
    pub nsid: Nsid,
    /// A CommitFile as an encoded command without session; opaque here.
    pub commit: &'a [u8],
    /// The blocks that come along, each position at most once.
    pub blocks: Vec<InlineBlock<'a>>,
}

impl<'a> StoreAndCommit<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_prefix(out, self.acct, self.nsid);
        put_count(out, self.commit.len());
        put_count(out, self.blocks.len());
        put_padded(out, self.commit);
        for block in &self.blocks {
            out.extend_from_slice(&block.position.to_le_bytes());
            put_count(out, block.bytes.len());
            put_padded(out, block.bytes);
        }
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`] when lengths disagree, padding is not zero, a block is empty or too long, or positions do
    /// not ascend.
    pub fn parse(body: &'a [u8]) -> Result<StoreAndCommit<'a>, BodyError> {
        Self::read(body).ok_or(BodyError { what: "store and commit", bytes: body.len() })
    }

    fn read(body: &'a [u8]) -> Option<StoreAndCommit<'a>> {
        let (acct, nsid) = (Acct(get_u64(body, 0)?), Nsid(get_u64(body, 8)?));
        let count = get_u32(body, 20).filter(|count| *count as usize <= COMMAND_BLOCKS_MAX)?;
        let (commit, mut rest) = take_padded(body.get(STORE_AND_COMMIT_PREFIX_BYTES..)?, get_u32(body, 16)?)?;
        let mut blocks: Vec<InlineBlock<'a>> = Vec::new();
        for _ in 0..count {
            let position = get_u32(rest, 0)?;
            let (bytes, after) = take_padded(rest.get(8..)?, get_u32(rest, 4)?)?;
            if !is_block_length(bytes.len()) || blocks.last().is_some_and(|last| last.position >= position) {
                return None;
            }
            blocks.push(InlineBlock { position, bytes });
            rest = after;
        }
        rest.is_empty().then_some(StoreAndCommit { acct, nsid, commit, blocks })
    }
}

/// Reads one block of one revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetBlock {
    /// Whose rights.
    pub acct: Acct,
    /// The namespace.
    pub nsid: Nsid,
    /// The journal row of the revision.
    pub rev: Jid,
    /// The block's place in its blocklist, 0-based.
    pub position: u32,
}

impl GetBlock {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_prefix(out, self.acct, self.nsid);
        out.extend_from_slice(&self.rev.0.to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`] unless it has exactly 32 bytes and its last four are zero.
    pub fn parse(body: &[u8]) -> Result<GetBlock, BodyError> {
        let parse = || {
            let get = GetBlock {
                acct: Acct(get_u64(body, 0)?),
                nsid: Nsid(get_u64(body, 8)?),
                rev: Jid(get_u64(body, 16)?),
                position: get_u32(body, 24)?,
            };
            (get_u32(body, 28)? == 0 && body.len() == GET_BLOCK_BYTES).then_some(get)
        };
        parse().ok_or(BodyError { what: "get block", bytes: body.len() })
    }
}

fn is_block_length(bytes: usize) -> bool {
    1 <= bytes && bytes as u64 <= BLOCK_BYTES
}

fn put_prefix(out: &mut Vec<u8>, acct: Acct, nsid: Nsid) {
    out.extend_from_slice(&acct.0.to_le_bytes());
    out.extend_from_slice(&nsid.0.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).expect("a frame is far below 4 GiB").to_le_bytes());
}

fn put_padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len() + align_up(bytes.len(), 8) - bytes.len(), 0);
}

/// `length` bytes and what follows their padding.
fn take_padded(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let length = length as usize;
    // Compared before it is rounded up, so that no length overflows.
    let head = bytes.get(..length)?;
    let padding = bytes.get(length..align_up(length, 8))?;
    padding.iter().all(|byte| *byte == 0).then(|| (head, &bytes[align_up(length, 8)..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn put_block_has_its_pinned_layout() {
        let put = PutBlock { acct: Acct(1), nsid: Nsid(10_000_000_001), hash: BlockHash([0xab; 32]), bytes: b"hello" };
        let mut out = Vec::new();
        put.encode(&mut out);
        let golden = format!("0100000000000000{}{}68656c6c6f", "01e40b5402000000", "ab".repeat(32));
        assert_eq!(hex(&out), golden);
        assert_eq!(PutBlock::parse(&out), Ok(put));
        assert!(PutBlock::parse(&out[..48]).is_err(), "an empty block has no name");
        assert!(PutBlock::parse(&out[..40]).is_err());
        out.resize(48 + BLOCK_BYTES as usize, 0);
        assert!(PutBlock::parse(&out).is_ok());
        out.push(0);
        assert!(PutBlock::parse(&out).is_err());
    }

    #[test]
    fn store_and_commit_has_its_pinned_layout() {
        let blocks = vec![InlineBlock { position: 0, bytes: b"abc" }, InlineBlock { position: 2, bytes: b"12345678" }];
        let request = StoreAndCommit { acct: Acct(2), nsid: Nsid(3), commit: b"commit body", blocks };
        let mut out = Vec::new();
        request.encode(&mut out);
        let golden = "020000000000000003000000000000000b00000002000000\
                      636f6d6d697420626f64790000000000\
                      00000000030000006162630000000000\
                      02000000080000003132333435363738";
        assert_eq!(hex(&out), golden);
        assert_eq!(StoreAndCommit::parse(&out), Ok(request));
    }

    #[test]
    fn get_block_has_its_pinned_layout() {
        let get = GetBlock { acct: Acct(1), nsid: Nsid(2), rev: Jid(0x77), position: 5 };
        let mut out = Vec::new();
        get.encode(&mut out);
        assert_eq!(hex(&out), "0100000000000000020000000000000077000000000000000500000000000000");
        assert_eq!(GetBlock::parse(&out), Ok(get));
        out[31] = 1;
        assert!(GetBlock::parse(&out).is_err());
    }

    #[test]
    fn every_truncation_and_every_flipped_length_is_refused_or_parsed_but_never_panics() {
        let blocks = vec![InlineBlock { position: 1, bytes: b"abcdefghij" }];
        let mut out = Vec::new();
        StoreAndCommit { acct: Acct(2), nsid: Nsid(3), commit: b"0123456789", blocks }.encode(&mut out);
        for end in 0..out.len() {
            assert!(StoreAndCommit::parse(&out[..end]).is_err(), "cut at {end}");
        }
        for at in 0..out.len() {
            for value in [0, 1, 7, 0x7f, 0xff] {
                let mut bad = out.clone();
                bad[at] = value;
                let _ = StoreAndCommit::parse(&bad);
            }
        }
    }

    #[test]
    fn a_repeated_position_is_refused() {
        let blocks = vec![InlineBlock { position: 1, bytes: b"a" }, InlineBlock { position: 1, bytes: b"b" }];
        let mut out = Vec::new();
        StoreAndCommit { acct: Acct(2), nsid: Nsid(3), commit: b"", blocks }.encode(&mut out);
        assert!(StoreAndCommit::parse(&out).is_err());
    }

    #[test]
    fn kinds_have_their_numbers() {
        let numbers: Vec<u8> = (0..=u8::MAX).filter(|number| BlockKind::from_u8(*number).is_some()).collect();
        assert_eq!(numbers, [32, 33, 34]);
    }
}
