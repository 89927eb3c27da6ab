//! What happens next: a heap of small events by (time, sequence).
//!
//! Faults by time and the looks of plans come first in their instant: a run that repeats a schedule knows its faults from the
//! beginning, where the run that recorded them came upon each as it went.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use seglog::OpToken;

use crate::world::{CORES_MAX, SEATS_MAX};

/// Something that is due. Numbers are places in the world's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// A core takes a turn.
    Turn { seat: u8, core: u8 },
    /// A disk operation ends.
    Operation { seat: u8, core: u8, life: u32, token: u64 },
    /// A flush of the store ends.
    Flush { seat: u8, core: u8, life: u32 },
    /// The store tells of a read or an install.
    Store { seat: u8, core: u8, life: u32 },
    /// Mail of other cores of the node reaches a core.
    Parcels { seat: u8, core: u8, life: u32 },
    /// Frames arrive over a link between nodes.
    Frames { link: u16, generation: u32, buffer: u32 },
    /// One message out of frames arrives by itself.
    Message { link: u16, generation: u32, buffer: u32, ordinal: u16 },
    /// A pair of cores tries to connect.
    Dial { pair: u16, generation: u32 },
    /// A pair of cores is connected.
    Linked { pair: u16, generation: u32 },
    /// A pair of cores lost its connection.
    Unlinked { pair: u16, generation: u32 },
    /// A client's connection reaches its node.
    Accept { connection: u32 },
    /// The client hears that it is connected.
    Accepted { connection: u32 },
    /// Bytes reach the node.
    ToServer { connection: u32, buffer: u32 },
    /// Bytes reach the client.
    ToClient { connection: u32, buffer: u32 },
    /// The node hears that the client is gone.
    ServerClosed { connection: u32 },
    /// The client hears that the connection is lost.
    ClientClosed { connection: u32 },
    /// A client looks around.
    Client { client: u32 },
    /// A fault by time strikes.
    Fault { which: u32 },
    /// A process stops without warning, in the middle of an operation.
    Crash { seat: u8, life: u32 },
    /// A process starts.
    Start { seat: u8, life: u32 },
    /// The operator looks around.
    Operator,
    /// The cluster is on its way to the next release.
    Upgrade,
    /// The run's plan looks around.
    Plan,
    /// A calm ends.
    Stir,
    /// Clients have been busy for a while.
    Tide { number: u32 },
    /// Days go by.
    Leap { number: u32 },
    /// Probes look for groups with two leaders.
    Probe,
    /// A watched namespace changes for the last time.
    LastWord,
    /// The next phase of the run.
    Phase,
}

impl Due {
    pub fn operation(seat: u8, core: u8, life: u32, token: OpToken) -> Due {
        Due::Operation { seat, core, life, token: token.0 }
    }
}

/// An event in the heap: the earliest is the greatest. Keys differ, so what is due is never compared.
struct Entry {
    /// Time, and below it [`LATER`] and the sequence.
    key: u128,
    due: Due,
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

/// The heap. Turns of cores are kept beside it: each core has one at most, and most are put forward before they come.
pub(crate) struct Heap {
    heap: BinaryHeap<Entry>,
    sequence: u64,
    /// By seat and core; [`NEVER`] where no turn is due.
    turns: [u128; CORES],
    /// No core from here on ever took a turn.
    cores: usize,
    /// The core whose turn is due first.
    first: usize,
}

/// Cores of all seats.
const CORES: usize = SEATS_MAX * CORES_MAX;
/// In a key: behind what strikes in the same instant.
const LATER: u128 = 1 << 63;
/// Behind all that is due.
const NEVER: u128 = u128::MAX;

impl Default for Heap {
    fn default() -> Heap {
        Heap { heap: BinaryHeap::new(), sequence: 0, turns: [NEVER; CORES], cores: 1, first: 0 }
    }
}

impl Heap {
    pub fn push(&mut self, time: u64, due: Due) {
        let key = match due {
            Due::Fault { .. } | Due::Plan => self.key(time),
            _ => self.key(time) | LATER,
        };
        self.heap.push(Entry { key, due });
    }

    /// The core takes a turn then, in place of any that was due.
    pub fn wake(&mut self, seat: usize, core: usize, time: u64) {
        let at = seat * CORES_MAX + core;
        let key = self.key(time) | LATER;
        self.cores = self.cores.max(at + 1);
        let before = std::mem::replace(&mut self.turns[at], key);
        if key < self.turns[self.first] {
            self.first = at;
        } else if at == self.first && key > before {
            self.find_first();
        }
    }

    pub fn pop(&mut self) -> Option<(u64, Due)> {
        let turn = self.turns[self.first];
        if turn != NEVER && self.heap.peek().is_none_or(|entry| turn < entry.key) {
            let (seat, core) = (self.first / CORES_MAX, self.first % CORES_MAX);
            self.turns[self.first] = NEVER;
            self.find_first();
            return Some(((turn >> 64) as u64, Due::Turn { seat: seat as u8, core: core as u8 }));
        }
        self.heap.pop().map(|entry| ((entry.key >> 64) as u64, entry.due))
    }

    fn key(&mut self, time: u64) -> u128 {
        self.sequence += 1;
        u128::from(time) << 64 | u128::from(self.sequence)
    }

    fn find_first(&mut self) {
        let (mut first, mut least) = (0, NEVER);
        for (at, key) in self.turns[..self.cores].iter().enumerate() {
            if *key < least {
                (first, least) = (at, *key);
            }
        }
        self.first = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_instant_keep_their_order() {
        let mut heap = Heap::default();
        heap.push(5, Due::Phase);
        heap.push(5, Due::Operator);
        heap.push(4, Due::Client { client: 1 });
        let order: Vec<_> = std::iter::from_fn(|| heap.pop()).collect();
        assert_eq!(order, [(4, Due::Client { client: 1 }), (5, Due::Phase), (5, Due::Operator)]);
    }

    #[test]
    fn what_strikes_comes_first_in_its_instant() {
        let mut heap = Heap::default();
        heap.wake(0, 0, 5);
        heap.push(5, Due::Probe);
        heap.push(5, Due::Plan);
        heap.push(5, Due::Fault { which: 3 });
        let order: Vec<_> = std::iter::from_fn(|| heap.pop()).map(|(_, due)| due).collect();
        assert_eq!(order, [Due::Plan, Due::Fault { which: 3 }, Due::Turn { seat: 0, core: 0 }, Due::Probe]);
    }

    #[test]
    fn a_core_has_one_turn_which_can_be_put_forward() {
        let mut heap = Heap::default();
        heap.wake(1, 2, 9);
        heap.wake(0, 0, 7);
        heap.push(7, Due::Phase);
        heap.push(3, Due::Operator);
        heap.wake(1, 2, 4);
        let turn = |seat, core| Due::Turn { seat, core };
        let order: Vec<_> = std::iter::from_fn(|| heap.pop()).collect();
        assert_eq!(order, [(3, Due::Operator), (4, turn(1, 2)), (7, turn(0, 0)), (7, Due::Phase)]);
    }
}
