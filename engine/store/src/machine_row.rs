//! The machine row on disk: where a group's state stands, in which life, flushed with the rows it speaks of.
//!
//! ```text
//! off  size  little-endian
//! 0    1     format, 1
//! 1    1     flags: 1 installed, the log's record of it is pending; 2 the group was removed
//! 2    2     life, the current one      4   2  life_high, the highest ever begun      6  2  reserved, 0
//! 8    8     applied_index             16   8  applied_term
//! 24   4     applied_crc               28   4  config_bytes
//! 32   8     stamp_ms                  40   8  seqno of the flush
//! 48   8     state_hash                56   8  config_index
//! 64         configuration, opaque
//! ```

use base::{LogIndex, Term};
use meta::Machine;

use crate::key::Life;

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 64;

/// The state came from a snapshot and the log does not know yet.
pub(crate) const FLAG_INSTALLED: u8 = 1;
pub(crate) const FLAG_REMOVED: u8 = 2;

/// A machine row with what only the store needs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct MachineRow {
    pub(crate) flags: u8,
    /// Invariant: `1 <= life <= life_high`.
    pub(crate) life: Life,
    pub(crate) life_high: Life,
    pub(crate) machine: Machine,
}

/// A machine row could not be read: its table is corrupt, or a newer program wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MachineRowError {
    #[error("{got} bytes where {wanted} are due")]
    Length { got: usize, wanted: usize },
    #[error("format {0}, this program reads 1")]
    Format(u8),
    #[error("flags {flags}, life {life} of {life_high}: not a state this store writes")]
    Life { flags: u8, life: Life, life_high: Life },
}

impl MachineRow {
    /// The group has no state here; the row stays, so that no life of it is used twice.
    pub(crate) fn is_removed(&self) -> bool {
        self.flags & FLAG_REMOVED != 0
    }

    /// The row's bytes, flushed under `seqno`.
    pub(crate) fn encode(&self, seqno: u64) -> Vec<u8> {
        let machine = &self.machine;
        let mut out = Vec::with_capacity(HEAD_BYTES + machine.config.len());
        out.extend_from_slice(&[FORMAT, self.flags]);
        out.extend_from_slice(&self.life.to_le_bytes());
        out.extend_from_slice(&self.life_high.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&machine.applied_index.0.to_le_bytes());
        out.extend_from_slice(&machine.applied_term.0.to_le_bytes());
        out.extend_from_slice(&machine.applied_crc.to_le_bytes());
        out.extend_from_slice(&(machine.config.len() as u32).to_le_bytes());
        out.extend_from_slice(&machine.stamp_ms.to_le_bytes());
        out.extend_from_slice(&seqno.to_le_bytes());
        out.extend_from_slice(&machine.state_hash.to_le_bytes());
        out.extend_from_slice(&machine.config_index.0.to_le_bytes());
        out.extend_from_slice(&machine.config);
        out
    }

    /// Reads a row and the seqno it was flushed under.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(MachineRow, u64), MachineRowError> {
        let Some((head, config)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(MachineRowError::Length { got: bytes.len(), wanted: HEAD_BYTES });
        };
        if head[0] != FORMAT {
            return Err(MachineRowError::Format(head[0]));
        }
        let config_bytes = u32_at(head, 28) as usize;
        if config.len() != config_bytes {
            return Err(MachineRowError::Length { got: bytes.len(), wanted: HEAD_BYTES + config_bytes });
        }
        let (flags, life, life_high) = (head[1], u16_at(head, 2), u16_at(head, 4));
        if flags & !(FLAG_INSTALLED | FLAG_REMOVED) != 0 || life == 0 || life > life_high {
            return Err(MachineRowError::Life { flags, life, life_high });
        }
        let machine = Machine {
            applied_index: LogIndex(u64_at(head, 8)),
            applied_term: Term(u64_at(head, 16)),
            applied_crc: u32_at(head, 24),
            stamp_ms: u64_at(head, 32),
            state_hash: u64_at(head, 48),
            config_index: LogIndex(u64_at(head, 56)),
            config: config.to_vec(),
        };
        Ok((MachineRow { flags, life, life_high, machine }, u64_at(head, 40)))
    }

    /// Memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        HEAD_BYTES + self.machine.config.len()
    }
}

fn u16_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes is an array of 4"))
}

fn u64_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes is an array of 8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> MachineRow {
        MachineRow {
            flags: FLAG_INSTALLED,
            life: 0x0102,
            life_high: 0x0304,
            machine: Machine {
                applied_index: LogIndex(0x11),
                applied_term: Term(0x22),
                applied_crc: 0x3344_5566,
                stamp_ms: 0x77,
                state_hash: 0x8899_aabb_ccdd_eeff,
                config_index: LogIndex(0x0a),
                config: vec![0xc0, 0xc1, 0xc2],
            },
        }
    }

    const GOLDEN: &str = "0101020104030000110000000000000022000000000000006655443303000000\
                          77000000000000000500000000000000ffeeddccbbaa99880a00000000000000c0c1c2";

    #[test]
    fn a_machine_row_has_the_bytes_of_the_design() {
        let bytes = row().encode(5);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(MachineRow::decode(&bytes), Ok((row(), 5)));
    }

    #[test]
    fn a_machine_row_that_no_store_wrote_is_refused() {
        let good = row().encode(5);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            MachineRow::decode(&bytes)
        };
        assert_eq!(with(0, 2), Err(MachineRowError::Format(2)));
        assert!(matches!(with(1, 4), Err(MachineRowError::Life { flags: 4, .. })));
        assert!(matches!(with(3, 9), Err(MachineRowError::Life { .. })));
        assert!(matches!(with(28, 4), Err(MachineRowError::Length { .. })));
        assert!(matches!(MachineRow::decode(&good[..63]), Err(MachineRowError::Length { .. })));
    }
}
