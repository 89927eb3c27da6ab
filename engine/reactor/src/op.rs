//! Names of operations in flight: what the kernel gives back with each completion.
//!
//! ```text
//!  63     56 55          32 31           0
//! ┌─────────┬──────────────┬──────────────┐
//! │ kind 8  │ generation 24│ index 32     │   index: a socket slot, a listener or a disk slot
//! └─────────┴──────────────┴──────────────┘
//! ```
#![forbid(unsafe_code)]

/// Bits of a generation in a token.
pub(crate) const GENERATION_MASK: u32 = (1 << 24) - 1;

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Accept = 1,
    Connect = 2,
    Recv = 3,
    Send = 4,
    Cancel = 5,
    Close = 6,
    Disk = 7,
    Doorbell = 8,
}

/// Names an operation until its last completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Of the slot at the time; 0 where the index is no socket slot.
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

impl Token {
    pub(crate) fn new(kind: Kind, generation: u32, index: u32) -> Token {
        debug_assert!(generation <= GENERATION_MASK);
        Token { kind, generation, index }
    }

    /// The 64 bits for the kernel.
    pub(crate) fn pack(self) -> u64 {
        ((self.kind as u64) << 56) | (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    /// Back from the kernel; `None` if it was never packed here.
    pub(crate) fn unpack(bits: u64) -> Option<Token> {
        let kind = match bits >> 56 {
            1 => Kind::Accept,
            2 => Kind::Connect,
            3 => Kind::Recv,
            4 => Kind::Send,
            5 => Kind::Cancel,
            6 => Kind::Close,
            7 => Kind::Disk,
            8 => Kind::Doorbell,
            _ => return None,
        };
        Some(Token { kind, generation: (bits >> 32) as u32 & GENERATION_MASK, index: bits as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        use Kind::{Accept, Cancel, Close, Connect, Disk, Doorbell, Recv, Send};
        for kind in [Accept, Connect, Recv, Send, Cancel, Close, Disk, Doorbell] {
            for (generation, index) in [(0, 0), (GENERATION_MASK, u32::MAX), (1, 2)] {
                let token = Token::new(kind, generation, index);
                assert_eq!(Token::unpack(token.pack()), Some(token));
            }
        }
        assert_eq!(Token::new(Recv, 0x00AB_CDEF, 7).pack(), 0x03AB_CDEF_0000_0007);
        assert_eq!(Token::unpack(0), None);
    }
}
