//! What hubs hear of metaservers, and edges of hubs (docs/design/notify.md).
//!
//! ```text
//! link               kind          request body                            reply body when Ok
//! hub to metaserver  12 Feed       0 u16 place  2 u16 places  4 u32 zero   Advance, again and again
//! edge to hub        64 Join       the same                                Push, again and again
//!                    65 Interest   n x u64 nsid, n = 1..4096               no reply; a Push follows that names each
//!                    66 Drop       n x u64 nsid, n = 1..4096               no reply
//!
//! Advance   0 u64 generation  8 u64 seq, from 1  16 u32 sections  20 u32 zero   24 sections
//! section   0 u32 group  4 u32 change (0 none, 1 leads now, 2 leads no more)  8 u64 term  16 u32 count  20 u32 zero
//!          24 count x (u64 nsid, u64 jid)
//! Push      0 u64 generation  8 u64 seq, from 1  16 u32 count  20 u32 unsound   24 count x (u64 nsid, u64 jid)
//! ```
//! `unsound`: groups whose leader the hub does not hear. Requests and replies travel in client frames ([`crate::frame`])
//! behind the hellos of [`crate::hello`]; `place` of `places` is [`base::place_of`] of a namespace.
//! A feed ends with its connection; a gap in `seq` means that something was not heard.

use base::bytes::{get_u16, get_u32, get_u64};
use base::{GroupId, Jid, Nsid, Term};

use crate::client::BodyError;

/// Namespaces of one Interest, Drop or Push.
pub const NAMESPACES_MAX: usize = 4096;

const HEADER_BYTES: usize = 24;
const SECTION_BYTES: usize = 24;
const ADVANCE_BYTES: usize = 16;

/// What an edge asks a hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum HubKind {
    /// Be told of the namespaces of interest from now on.
    Join = 64,
    /// These are of interest.
    Interest = 65,
    /// These are not any more.
    Drop = 66,
}

impl HubKind {
    /// The kind of a number on the wire.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<HubKind> {
        [HubKind::Join, HubKind::Interest, HubKind::Drop].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Which hubs hear of which namespaces: place `place` out of `places`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// From 0. Invariant: below `places`.
    pub place: u16,
    /// At least 1.
    pub places: u16,
}

impl Place {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.places.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`] unless it has exactly 8 bytes and the place is one of the places.
    pub fn parse(body: &[u8]) -> Result<Place, BodyError> {
        let parse = || {
            let place = Place { place: get_u16(body, 0)?, places: get_u16(body, 2)? };
            (body.len() == 8 && place.place < place.places && get_u32(body, 4)? == 0).then_some(place)
        };
        parse().ok_or(BodyError { what: "place", bytes: body.len() })
    }
}

/// Appends the body of an Interest or Drop. Shape: 1 to [`NAMESPACES_MAX`].
pub fn put_namespaces(out: &mut Vec<u8>, namespaces: &[Nsid]) {
    namespaces.iter().for_each(|nsid| out.extend_from_slice(&nsid.0.to_le_bytes()));
}

/// Reads the body of an Interest or Drop.
///
/// Errors: [`BodyError`] unless it has 1 to [`NAMESPACES_MAX`] namespaces.
pub fn parse_namespaces(body: &[u8]) -> Result<impl Iterator<Item = Nsid> + use<'_>, BodyError> {
    let count = body.len() / 8;
    if !body.len().is_multiple_of(8) || count == 0 || count > NAMESPACES_MAX {
        return Err(BodyError { what: "namespaces", bytes: body.len() });
    }
    Ok(body.as_chunks().0.iter().map(|bytes| Nsid(u64::from_le_bytes(*bytes))))
}

/// Namespaces with the heads of their journals, borrowed from a body that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heads<'a>(&'a [u8]);

impl<'a> Heads<'a> {
    /// Each namespace and its head.
    pub fn iter(self) -> impl Iterator<Item = (Nsid, Jid)> + use<'a> {
        self.0.as_chunks::<ADVANCE_BYTES>().0.iter().map(|bytes| {
            let number = |at| get_u64(bytes, at).expect("the length is fixed");
            (Nsid(number(0)), Jid(number(8)))
        })
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.len() / ADVANCE_BYTES
    }
}

/// Who leads a group, as far as this turn changed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Lead {
    /// As before.
    Same = 0,
    /// The sender leads it now.
    Begun = 1,
    /// The sender leads it no more.
    Ended = 2,
}

/// What happened to one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section<'a> {
    /// Which.
    pub group: GroupId,
    /// Whether the sender leads it.
    pub lead: Lead,
    /// The sender's term.
    pub term: Term,
    /// Journals that moved.
    pub heads: Heads<'a>,
}

/// One answer of a feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advance<'a> {
    /// Of the feed; another one for each Feed asked.
    pub generation: u64,
    /// From 1, one more each time.
    pub seq: u64,
    sections: &'a [u8],
}

impl<'a> Advance<'a> {
    /// Reads the body, all sections checked.
    ///
    /// Errors: [`BodyError`] unless the sections fill it exactly.
    pub fn parse(body: &'a [u8]) -> Result<Advance<'a>, BodyError> {
        let parse = || {
            let advance =
                Advance { generation: get_u64(body, 0)?, seq: get_u64(body, 8)?, sections: body.get(HEADER_BYTES..)? };
            let count = get_u32(body, 16)?;
            let mut rest = advance.sections;
            for _ in 0..count {
                rest = split_section(rest)?.1;
            }
            rest.is_empty().then_some(advance)
        };
        parse().ok_or(BodyError { what: "advance", bytes: body.len() })
    }

    /// The sections, in order.
    pub fn sections(self) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let mut rest = self.sections;
        std::iter::from_fn(move || {
            let (section, after) = split_section(rest)?;
            rest = after;
            Some(section)
        })
    }
}

fn split_section(bytes: &[u8]) -> Option<(Section<'_>, &[u8])> {
    let lead = match get_u32(bytes, 4)? {
        0 => Lead::Same,
        1 => Lead::Begun,
        2 => Lead::Ended,
        _ => return None,
    };
    let heads_bytes = (get_u32(bytes, 16)? as usize).checked_mul(ADVANCE_BYTES)?;
    let heads = Heads(bytes.get(SECTION_BYTES..)?.get(..heads_bytes)?);
    let section = Section { group: GroupId(get_u32(bytes, 0)?), lead, term: Term(get_u64(bytes, 8)?), heads };
    Some((section, &bytes[SECTION_BYTES + heads_bytes..]))
}

/// One answer to a Join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Push<'a> {
    /// Of the link; another one for each Join.
    pub generation: u64,
    /// From 1, one more each time.
    pub seq: u64,
    /// Groups whose leader the hub does not hear.
    pub unsound: u32,
    /// Namespaces of interest: those that moved, and those that have just become of interest.
    pub heads: Heads<'a>,
}

impl<'a> Push<'a> {
    /// Reads the body.
    ///
    /// Errors: [`BodyError`] unless the heads fill it exactly.
    pub fn parse(body: &'a [u8]) -> Result<Push<'a>, BodyError> {
        let parse = || {
            let heads = Heads(body.get(HEADER_BYTES..)?);
            let count = (get_u32(body, 16)? as usize).checked_mul(ADVANCE_BYTES)?;
            let push =
                Push { generation: get_u64(body, 0)?, seq: get_u64(body, 8)?, unsound: get_u32(body, 20)?, heads };
            (count == heads.0.len()).then_some(push)
        };
        parse().ok_or(BodyError { what: "push", bytes: body.len() })
    }
}

/// Appends the body of a Push. Shape: at most [`NAMESPACES_MAX`] heads.
pub fn put_push(out: &mut Vec<u8>, generation: u64, seq: u64, unsound: u32, heads: &[(Nsid, Jid)]) {
    let count = u32::try_from(heads.len()).expect("they are bounded");
    [generation, seq].iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    [count, unsound].iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    for (nsid, jid) in heads {
        out.extend_from_slice(&nsid.0.to_le_bytes());
        out.extend_from_slice(&jid.0.to_le_bytes());
    }
}

/// A section to be written: group, who leads, term, heads.
pub type OwnSection = (GroupId, Lead, Term, Vec<(Nsid, Jid)>);

/// Appends the body of an Advance. The metaserver writes its own, in place (engine/shard/src/feed.rs).
pub fn put_advance(out: &mut Vec<u8>, generation: u64, seq: u64, sections: &[OwnSection]) {
    let small = |number: usize| u32::try_from(number).expect("they are bounded").to_le_bytes();
    [generation, seq].iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    out.extend_from_slice(&small(sections.len()));
    out.extend_from_slice(&[0; 4]);
    for (group, lead, term, heads) in sections {
        out.extend_from_slice(&group.0.to_le_bytes());
        out.extend_from_slice(&(*lead as u32).to_le_bytes());
        out.extend_from_slice(&term.0.to_le_bytes());
        out.extend_from_slice(&small(heads.len()));
        out.extend_from_slice(&[0; 4]);
        for (nsid, jid) in heads {
            out.extend_from_slice(&nsid.0.to_le_bytes());
            out.extend_from_slice(&jid.0.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn advance() -> Vec<u8> {
        let mut out = Vec::new();
        let heads = vec![(Nsid(3), Jid(4)), (Nsid(5), Jid(6))];
        let sections = [(GroupId(1), Lead::Begun, Term(2), Vec::new()), (GroupId(7), Lead::Same, Term(8), heads)];
        put_advance(&mut out, 9, 10, &sections);
        out
    }

    fn push() -> Vec<u8> {
        let mut out = Vec::new();
        put_push(&mut out, 1, 2, 3, &[(Nsid(4), Jid(5))]);
        out
    }

    #[test]
    fn an_advance_has_its_pinned_layout() {
        let golden = "09000000000000000a0000000000000002000000000000000100000001000000020000000000000000000000000000000\
                      700000000000000080000000000000002000000000000000300000000000000040000000000000005000000000000000600\
                      000000000000";
        let bytes = advance();
        assert_eq!(hex(&bytes), golden);
        let advance = Advance::parse(&bytes).expect("good");
        assert_eq!((advance.generation, advance.seq), (9, 10));
        let sections: Vec<_> = advance.sections().map(|one| (one.group.0, one.lead, one.term.0)).collect();
        assert_eq!(sections, [(1, Lead::Begun, 2), (7, Lead::Same, 8)]);
        let heads: Vec<_> = advance.sections().flat_map(|one| one.heads.iter()).collect();
        assert_eq!(heads, [(Nsid(3), Jid(4)), (Nsid(5), Jid(6))]);
    }

    #[test]
    fn a_push_has_its_pinned_layout() {
        let bytes = push();
        assert_eq!(hex(&bytes), "01000000000000000200000000000000010000000300000004000000000000000500000000000000");
        let push = Push::parse(&bytes).expect("good");
        assert_eq!((push.generation, push.seq, push.unsound, push.heads.count()), (1, 2, 3, 1));
    }

    #[test]
    fn small_bodies_have_their_pinned_layout() {
        let mut out = Vec::new();
        Place { place: 1, places: 3 }.encode(&mut out);
        assert_eq!(hex(&out), "0100030000000000");
        assert_eq!(Place::parse(&out), Ok(Place { place: 1, places: 3 }));
        assert!(Place::parse(&[3, 0, 3, 0, 0, 0, 0, 0]).is_err());
        out.clear();
        put_namespaces(&mut out, &[Nsid(1), Nsid(2)]);
        assert_eq!(hex(&out), "01000000000000000200000000000000");
        assert!(parse_namespaces(&out).expect("good").eq([Nsid(1), Nsid(2)]));
        assert!(parse_namespaces(&out[..12]).is_err() && parse_namespaces(&[]).is_err());
        let numbers: Vec<u8> = (0..=u8::MAX).filter(|number| HubKind::from_u8(*number).is_some()).collect();
        assert_eq!(numbers, [64, 65, 66]);
    }

    #[test]
    fn every_truncation_is_refused_and_no_flipped_byte_panics() {
        for (bytes, parse) in [
            (advance(), (|b: &[u8]| Advance::parse(b).is_ok()) as fn(&[u8]) -> bool),
            (push(), |b: &[u8]| Push::parse(b).is_ok()),
        ] {
            assert!(parse(&bytes));
            for end in 0..bytes.len() {
                assert!(!parse(&bytes[..end]), "cut at {end}");
            }
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut bad = bytes.clone();
                    bad[at] = value;
                    let _ = parse(&bad);
                }
            }
        }
    }
}
