//! The 34 fault classes (docs/TESTING.md 2.4), by number and name.

/// A class of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// A message vanishes.
    Net1,
    /// A message is delivered twice within 1 s.
    Net2,
    /// An old copy arrives 1 to 60 s later.
    Net3,
    /// A message is overtaken by later ones.
    Net4,
    /// Delay spikes, on top of a mean drawn per link.
    Net5,
    /// A link holds everything, then releases it.
    Net6,
    /// Bits of a frame are flipped.
    Net7,
    /// A frame is cut, then the connection resets.
    Net8,
    /// A partition, both ways.
    Net9,
    /// A partition, one way.
    Net10,
    /// A crash at an I/O point.
    Proc1,
    /// A crash in recovery.
    Proc2,
    /// A pause.
    Proc3,
    /// A crash is a power cut.
    Proc4,
    /// A disk is replaced by an empty one.
    Proc5,
    /// A core gets few of its turns.
    Proc6,
    /// A mailbox holds little.
    Proc7,
    /// A torn sector at a power cut.
    Disk1,
    /// A torn write at a power cut.
    Disk2,
    /// A write that was said to be done and is not.
    Disk3,
    /// A write that lands elsewhere.
    Disk4,
    /// A read that brings other bytes, once.
    Disk5,
    /// Rot at rest.
    Disk6,
    /// A read fails.
    Disk7,
    /// A write fails.
    Disk8,
    /// A sync fails.
    Disk9,
    /// No space for a while.
    Disk10,
    /// A slow operation, or a hung disk.
    Disk11,
    /// A short write or read.
    Disk12,
    /// Wall clocks are apart.
    Clk1,
    /// Clocks run at different rates.
    Clk2,
    /// A wall clock jumps.
    Clk3,
    /// Members change, leaders are told to hand over.
    Ctl1,
    /// Checkpoints, compactions and so snapshots.
    Ctl2,
}

/// How many classes there are.
pub const CLASSES: usize = 34;

/// All of them, by number.
pub const ALL: [Class; CLASSES] = {
    use Class::*;
    [
        Net1, Net2, Net3, Net4, Net5, Net6, Net7, Net8, Net9, Net10, Proc1, Proc2, Proc3, Proc4, Proc5, Proc6, Proc7,
        Disk1, Disk2, Disk3, Disk4, Disk5, Disk6, Disk7, Disk8, Disk9, Disk10, Disk11, Disk12, Clk1, Clk2, Clk3, Ctl1,
        Ctl2,
    ]
};

impl Class {
    /// As in the table: `NET1` to `CTL2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; CLASSES] = [
            "NET1", "NET2", "NET3", "NET4", "NET5", "NET6", "NET7", "NET8", "NET9", "NET10", "PROC1", "PROC2", "PROC3",
            "PROC4", "PROC5", "PROC6", "PROC7", "DISK1", "DISK2", "DISK3", "DISK4", "DISK5", "DISK6", "DISK7", "DISK8",
            "DISK9", "DISK10", "DISK11", "DISK12", "CLK1", "CLK2", "CLK3", "CTL1", "CTL2",
        ];
        NAMES[self as usize]
    }

    /// The class of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Class> {
        ALL.into_iter().find(|class| class.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_class() {
        for (number, class) in ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
            assert_eq!(Class::from_name(class.name()), Some(class));
        }
        assert_eq!(Class::from_name("NET11"), None);
    }
}
