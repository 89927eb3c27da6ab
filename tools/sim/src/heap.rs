//! What happens next: a heap of small events by (time, sequence).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use seglog::OpToken;

/// Something that is due. Numbers are places in the world's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Due {
    /// A core takes a turn.
    Turn { seat: u8, core: u8 },
    /// A disk operation ends.
    Operation { seat: u8, core: u8, life: u32, token: u64 },
    /// A flush of the store ends.
    Flush { seat: u8, core: u8, life: u32 },
    /// The store tells of a read or an install.
    Store { seat: u8, core: u8, life: u32 },
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
    /// The run's plan looks around.
    Plan,
    /// A calm ends.
    Stir,
    /// Probes look for groups with two leaders.
    Probe,
    /// The next phase of the run.
    Phase,
}

impl Due {
    pub fn operation(seat: u8, core: u8, life: u32, token: OpToken) -> Due {
        Due::Operation { seat, core, life, token: token.0 }
    }
}

/// The heap.
#[derive(Default)]
pub(crate) struct Heap {
    heap: BinaryHeap<Reverse<(u64, u64, Due)>>,
    sequence: u64,
}

impl Heap {
    pub fn push(&mut self, time: u64, due: Due) {
        self.sequence += 1;
        self.heap.push(Reverse((time, self.sequence, due)));
    }

    pub fn pop(&mut self) -> Option<(u64, Due)> {
        self.heap.pop().map(|Reverse((time, _, due))| (time, due))
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
}
