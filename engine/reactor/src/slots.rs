//! The sockets of one core, in slots that are used again.
//!
//! ```text
//!  free ──accept──▶ open ──either side closes──▶ closing ──nothing in flight──▶ shut ──CLOSE done──▶ free
//!    └───connect──▶ connecting ──up──▶ open        (cancel everything)            (CLOSE submitted)
//!                        └──refused─────────────────────────────────────────────▲
//! ```
//! A slot is never used again while an operation names it, so a late completion cannot meet a new socket.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use base::mutate;

use crate::io::SocketId;
use crate::op::{GENERATION_MASK, Kind, Token};

/// Where a socket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Free,
    Connecting,
    Open,
    Closing,
    Shut,
}

/// What receiving does on an open socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receiving {
    /// No receive is in flight.
    Idle,
    /// A multishot receive is in flight.
    Armed,
    /// One is in flight and its cancel as well.
    Cancelling,
    /// The buffers ran out; armed again when enough are back.
    Starved,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// Given to the kernel with CLOSE; owned here before.
    pub(crate) fd: Option<OwnedFd>,
    /// Operations that name this slot, queued or in the kernel.
    pub(crate) inflight: u32,
    pub(crate) receiving: Receiving,
    /// Asked by `pause`: no receive is armed.
    pub(crate) is_paused: bool,
    /// The buffer of the send in flight; untouched until its completion.
    pub(crate) sending: Option<Vec<u8>>,
    /// Why it closes; 0 for an orderly end.
    pub(crate) errno: i32,
    /// Of `connect`.
    pub(crate) tag: u64,
    /// Whether the owner knows this socket, so that `Closed` must be told.
    pub(crate) is_announced: bool,
    /// Of `connect`; the kernel reads it until the connect completes.
    pub(crate) address: Option<Box<socket2::SockAddr>>,
}

impl Slot {
    /// The descriptor; only asked for while the slot owns it.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_ref().expect("a slot owns its descriptor until CLOSE is queued").as_raw_fd()
    }
}

/// All sockets of a core.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    slots_max: u32,
}

impl Slots {
    pub(crate) fn new(slots_max: u32) -> Slots {
        Slots { slots: Vec::new(), free: Vec::new(), slots_max }
    }

    /// A slot for a new socket, or the descriptor back if all are taken.
    pub(crate) fn insert(&mut self, fd: OwnedFd, state: State, tag: u64) -> Result<u32, OwnedFd> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.slots_max as usize => {
                self.slots.push(Slot::vacant());
                (self.slots.len() - 1) as u32
            }
            None => return Err(fd),
        };
        let slot = &mut self.slots[index as usize];
        assert_eq!(slot.state, State::Free, "a slot on the free list is free");
        assert_eq!(slot.inflight, 0, "no operation names a free slot");
        let generation = (slot.generation + 1) & GENERATION_MASK;
        *slot = Slot { generation, state, fd: Some(fd), tag, is_announced: state == State::Open, ..Slot::vacant() };
        Ok(index)
    }

    /// Gives the slot back.
    pub(crate) fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        assert_eq!(slot.inflight, 0, "a slot is drained before it is free");
        let generation = slot.generation;
        *slot = Slot { generation, ..Slot::vacant() };
        self.free.push(index);
    }

    /// The slot, whatever is in it.
    pub(crate) fn at(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// The slot that `token` names, unless it has been used again since.
    pub(crate) fn named(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.index as usize)?;
        (mutate!(MUT_33A, slot.generation == token.generation, true) && slot.state != State::Free).then_some(slot)
    }

    /// The slot of a socket that its owner may still know.
    pub(crate) fn known(&mut self, socket: SocketId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(socket.index as usize)?;
        (mutate!(MUT_33A, slot.generation == socket.generation, true) && slot.state != State::Free).then_some(slot)
    }

    /// The id of the socket in a slot.
    pub(crate) fn id(&self, index: u32) -> SocketId {
        SocketId { index, generation: self.slots[index as usize].generation }
    }

    /// The name of an operation on a slot.
    pub(crate) fn token(&self, kind: Kind, index: u32) -> Token {
        Token::new(kind, self.slots[index as usize].generation, index)
    }

    /// Slots taken.
    pub(crate) fn taken(&self) -> u32 {
        (self.slots.len() - self.free.len()) as u32
    }

    /// True while enough slots are free to accept again after the table was full.
    pub(crate) fn has_room(&self) -> bool {
        self.taken() < self.slots_max - self.slots_max / 16
    }
}

impl Slot {
    fn vacant() -> Slot {
        Slot {
            generation: 0,
            state: State::Free,
            fd: None,
            inflight: 0,
            receiving: Receiving::Idle,
            is_paused: false,
            sending: None,
            errno: 0,
            tag: 0,
            is_announced: false,
            address: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::eventfd;

    #[test]
    fn a_slot_that_is_used_again_has_another_generation() {
        let mut slots = Slots::new(2);
        let first = slots.insert(eventfd().unwrap(), State::Open, 0).unwrap();
        let old = slots.id(first);
        let token = slots.token(Kind::Recv, first);
        assert!(slots.named(token).is_some());
        slots.release(first);
        assert!(slots.known(old).is_none());
        let second = slots.insert(eventfd().unwrap(), State::Open, 0).unwrap();
        assert_eq!(first, second);
        assert!(slots.known(old).is_none());
        assert!(slots.named(token).is_none(), "a late completion meets nobody");
        assert!(slots.known(slots.id(second)).is_some());
    }

    #[test]
    fn a_full_table_gives_the_descriptor_back() {
        let mut slots = Slots::new(1);
        slots.insert(eventfd().unwrap(), State::Open, 0).unwrap();
        assert!(!slots.has_room());
        assert!(slots.insert(eventfd().unwrap(), State::Open, 0).is_err());
        slots.release(0);
        assert!(slots.has_room());
    }

    #[test]
    #[should_panic(expected = "drained")]
    fn a_slot_with_operations_in_flight_is_never_released() {
        let mut slots = Slots::new(1);
        let index = slots.insert(eventfd().unwrap(), State::Open, 0).unwrap();
        slots.at(index).inflight = 1;
        slots.release(index);
    }
}
