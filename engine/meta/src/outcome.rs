//! What a command came to (docs/design/metadata.md, "Outcomes"). The codes are on the wire and in kept results.
//!
//! ```text
//! 0 u8 format=1  1 u8 code  2 u16 flags  4 u32 body_bytes  8 body, zero-padded to 8
//! ```

use base::{Acct, Nsid, SessionId};

use crate::codec::{DecodeError, Put, Reader, len16, len32};
use crate::group0::{CodeInfo, FlowInfo, Record, TicketInfo};
use crate::metadata::Metadata;

/// What a command came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// State changed (1).
    Applied(Metadata),
    /// The same content was there; no journal row (2).
    Unchanged(Metadata),
    /// Something else is in the way (3).
    Conflict {
        /// A file is at the target.
        file: bool,
        /// A folder or mount is at the target.
        folder: bool,
        /// A file is where a parent should be.
        file_ancestor: bool,
    },
    /// These positions of the blocklist are not known in this namespace (4).
    NeedBlocks(Vec<u32>),
    /// The namespace's grant is too small by so many bytes (5).
    Quota {
        /// Bytes lacking.
        short_bytes: u64,
    },
    /// No such source, parent, revision or namespace (6).
    NotFound,
    /// Not a file (7).
    NotFile,
    /// Not a folder (8).
    NotFolder,
    /// The path continues in another namespace (9).
    Elsewhere {
        /// Which.
        nsid: Nsid,
        /// The path there.
        rest: String,
    },
    /// No such right (10).
    NoAccess,
    /// Upload session: the offset is another one (11).
    IncorrectOffset {
        /// The right one.
        correct: u64,
    },
    /// Upload session (12).
    Closed,
    /// Upload session (13).
    NotClosed,
    /// Upload session (14).
    MissingData,
    /// Over a limit (15).
    TooLarge,
    /// A folder cannot go into itself (16).
    IntoItself,
    /// Shared folders do not nest (17).
    NestedShare,
    /// `parent_rev` is not the current one (18).
    RevMismatch,
    /// There is such a row, but it is no revision of a file (19).
    InvalidRev,
    /// Try again a little later (20).
    Busy {
        /// How much later.
        retry_ms: u32,
    },
    /// Blocklist and content hash, or size, disagree (21).
    BadContentHash,
    /// No such session of this account; what was in doubt stays unknown (22).
    SessionGone,
    /// It is there already (23).
    Exists {
        /// As what.
        id: u64,
    },
    /// Done, or was so already; nothing to tell (24).
    Done,
    /// A session is open (25).
    Registered {
        /// Its number.
        session: SessionId,
    },
    /// The account of that name (26).
    Account {
        /// Its number.
        acct: Acct,
        /// Its root namespace.
        root: Nsid,
    },
    /// The parts of a batch in order (27). `failed`: an atomic batch did nothing because of this part, whose outcome is
    /// the only one in `outcomes`.
    Batch {
        /// The part that failed an atomic batch.
        failed: Option<u32>,
        /// The parts' outcomes.
        outcomes: Vec<Outcome>,
    },
    /// A sweep did so many nodes, and there is more to do or not (28).
    Swept {
        /// Nodes marked.
        nodes: u32,
        /// Another Sweep is wanted.
        has_more: bool,
    },
    /// The sequence was acknowledged before, so its outcome is gone; nothing was done (29).
    Acknowledged,
    /// Not a command that makes sense: bad path, name, field or place (30).
    Malformed,
    /// A command kind that this version does not know (31).
    Unsupported,
    /// It was made, with this number (40): a link or an app.
    Made {
        /// As what.
        id: u64,
    },
    /// How far a flow has come (41).
    Flow(Box<FlowInfo>),
    /// What a code is good for (42).
    Code(Box<CodeInfo>),
    /// Who may join (43).
    Ticket(Box<TicketInfo>),
}

impl Outcome {
    /// The command took effect, or what it wanted was so already.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        use Outcome::*;
        match self {
            Applied(_) | Unchanged(_) | Done | Registered { .. } | Account { .. } | Swept { .. } | Made { .. } => true,
            Flow(_) | Code(_) | Ticket(_) => true,
            Batch { failed, outcomes } => failed.is_none() && outcomes.iter().all(Outcome::is_ok),
            _ => false,
        }
    }

    /// The metadata of an Applied or Unchanged.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        match self {
            Outcome::Applied(meta) | Outcome::Unchanged(meta) => Some(meta),
            _ => None,
        }
    }

    /// The number in byte 1 of the encoding.
    #[must_use]
    pub fn code(&self) -> u8 {
        use Outcome::*;
        match self {
            Applied(_) => 1,
            Unchanged(_) => 2,
            Conflict { .. } => 3,
            NeedBlocks(_) => 4,
            Quota { .. } => 5,
            NotFound => 6,
            NotFile => 7,
            NotFolder => 8,
            Elsewhere { .. } => 9,
            NoAccess => 10,
            IncorrectOffset { .. } => 11,
            Closed => 12,
            NotClosed => 13,
            MissingData => 14,
            TooLarge => 15,
            IntoItself => 16,
            NestedShare => 17,
            RevMismatch => 18,
            InvalidRev => 19,
            Busy { .. } => 20,
            BadContentHash => 21,
            SessionGone => 22,
            Exists { .. } => 23,
            Done => 24,
            Registered { .. } => 25,
            Account { .. } => 26,
            Batch { .. } => 27,
            Swept { .. } => 28,
            Acknowledged => 29,
            Malformed => 30,
            Unsupported => 31,
            Made { .. } => 40,
            Flow(_) => 41,
            Code(_) => 42,
            Ticket(_) => 43,
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        Put::u8(out, 1);
        Put::u8(out, self.code());
        out.zero(6);
        self.encode_body(out);
        out.pad(start);
        let body = len32(out.len() - start - 8);
        out[start + 4..start + 8].copy_from_slice(&body.to_le_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        use Outcome::*;
        match self {
            Applied(meta) | Unchanged(meta) => meta.encode(out),
            Conflict { file, folder, file_ancestor } => {
                Put::u8(out, u8::from(*file) | u8::from(*folder) << 1 | u8::from(*file_ancestor) << 2);
            }
            NeedBlocks(positions) => {
                out.u32(len32(positions.len()));
                positions.iter().for_each(|position| out.u32(*position));
            }
            Quota { short_bytes: value }
            | IncorrectOffset { correct: value }
            | Exists { id: value }
            | Made { id: value } => out.u64(*value),
            Elsewhere { nsid, rest } => {
                out.u64(nsid.0);
                out.u16(len16(rest.len()));
                out.zero(6);
                out.bytes(rest.as_bytes());
            }
            Flow(info) => info.put(out),
            Code(info) => info.put(out),
            Ticket(info) => info.put(out),
            Busy { retry_ms } => out.u32(*retry_ms),
            Registered { session } => out.u64(session.0),
            Account { acct, root } => {
                out.u64(acct.0);
                out.u64(root.0);
            }
            Batch { failed, outcomes } => {
                out.u32(len32(outcomes.len()));
                out.u32(failed.unwrap_or(u32::MAX));
                outcomes.iter().for_each(|part| part.encode(out));
            }
            Swept { nodes, has_more } => {
                out.u32(*nodes);
                out.u32(u32::from(*has_more));
            }
            NotFound | NotFile | NotFolder | NoAccess | Closed | NotClosed | MissingData | TooLarge | IntoItself
            | NestedShare | RevMismatch | InvalidRev | BadContentHash | SessionGone | Done | Acknowledged
            | Malformed | Unsupported => {}
        }
    }

    /// The outcome in exactly these bytes.
    ///
    /// Errors: [`DecodeError`]; a code of a newer version is one.
    pub fn decode(bytes: &[u8]) -> Result<Outcome, DecodeError> {
        let mut reader = Reader::new(bytes);
        let outcome = Self::decode_next(&mut reader, true)?;
        reader.end()?;
        Ok(outcome)
    }

    fn decode_next(outer: &mut Reader<'_>, may_nest: bool) -> Result<Outcome, DecodeError> {
        use Outcome::*;
        match outer.u8()? {
            1 => {}
            format => return Err(DecodeError::Format(format)),
        }
        let code = outer.u8()?;
        outer.zero(2)?;
        let body = outer.u32()? as usize;
        let mut reader = Reader::new(outer.take(body)?);
        let outcome = match code {
            1 => Applied(Metadata::decode(&mut reader)?),
            2 => Unchanged(Metadata::decode(&mut reader)?),
            3 => {
                let bits = reader.u8()?;
                Conflict { file: bits & 1 != 0, folder: bits & 2 != 0, file_ancestor: bits & 4 != 0 }
            }
            4 => {
                let count = reader.u32()? as usize;
                if count > reader.left() / 4 {
                    return Err(DecodeError::TooMany("positions"));
                }
                NeedBlocks((0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?)
            }
            5 => Quota { short_bytes: reader.u64()? },
            6 => NotFound,
            7 => NotFile,
            8 => NotFolder,
            9 => {
                let nsid = Nsid(reader.u64()?);
                let length = reader.u16()? as usize;
                reader.zero(6)?;
                Elsewhere { nsid, rest: reader.text(length)? }
            }
            10 => NoAccess,
            11 => IncorrectOffset { correct: reader.u64()? },
            12 => Closed,
            13 => NotClosed,
            14 => MissingData,
            15 => TooLarge,
            16 => IntoItself,
            17 => NestedShare,
            18 => RevMismatch,
            19 => InvalidRev,
            20 => Busy { retry_ms: reader.u32()? },
            21 => BadContentHash,
            22 => SessionGone,
            23 => Exists { id: reader.u64()? },
            24 => Done,
            25 => Registered { session: SessionId(reader.u64()?) },
            26 => Account { acct: Acct(reader.u64()?), root: Nsid(reader.u64()?) },
            27 if may_nest => {
                let count = reader.u32()? as usize;
                let failed = reader.u32()?;
                if count > reader.left() / 8 {
                    return Err(DecodeError::TooMany("parts"));
                }
                let outcomes = (0..count).map(|_| Self::decode_next(&mut reader, false)).collect::<Result<_, _>>()?;
                Batch { failed: (failed != u32::MAX).then_some(failed), outcomes }
            }
            28 => Swept { nodes: reader.u32()?, has_more: reader.u32()? != 0 },
            29 => Acknowledged,
            30 => Malformed,
            31 => Unsupported,
            40 => Made { id: reader.u64()? },
            41 => Flow(Box::new(FlowInfo::take(&mut reader)?)),
            42 => Code(Box::new(CodeInfo::take(&mut reader)?)),
            43 => Ticket(Box::new(TicketInfo::take(&mut reader)?)),
            number => return Err(DecodeError::Kind { what: "outcome", number }),
        };
        reader.pad()?;
        reader.end()?;
        Ok(outcome)
    }
}
