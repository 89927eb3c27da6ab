//! The machine row as bytes, for the first part of a snapshot.
//!
//! ```text
//!  0 u8 format=1   1 [3] zero   4 u32 config_bytes   8 u64 applied_index   16 u64 applied_term   24 u32 applied_crc
//! 28 u32 zero     32 u64 stamp_ms    40 u64 state_hash    48 u64 config_index   56 the configuration
//! ```

use base::bytes::{get_u32, get_u64};
use base::{LogIndex, Term};

use crate::DecodeError;
use crate::store::Machine;

const HEADER_BYTES: usize = 56;

impl Machine {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[1, 0, 0, 0]);
        let config_bytes = u32::try_from(self.config.len()).expect("a configuration names a few members");
        out.extend_from_slice(&config_bytes.to_le_bytes());
        out.extend_from_slice(&self.applied_index.0.to_le_bytes());
        out.extend_from_slice(&self.applied_term.0.to_le_bytes());
        out.extend_from_slice(&u64::from(self.applied_crc).to_le_bytes());
        for field in [self.stamp_ms, self.state_hash, self.config_index.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.config);
    }

    /// Reads the bytes of [`Machine::encode`].
    ///
    /// Errors: [`DecodeError`] for another format, length or reserved byte.
    pub fn decode(bytes: &[u8]) -> Result<Machine, DecodeError> {
        let parse = || {
            let u64_at = |offset| get_u64(bytes, offset);
            let config = bytes.get(HEADER_BYTES..)?;
            let is_known = bytes.get(..4)? == [1, 0, 0, 0]
                && get_u32(bytes, 4)? as usize == config.len()
                && get_u32(bytes, 28)? == 0;
            is_known.then_some(Machine {
                applied_index: LogIndex(u64_at(8)?),
                applied_term: Term(u64_at(16)?),
                applied_crc: get_u32(bytes, 24)?,
                stamp_ms: u64_at(32)?,
                state_hash: u64_at(40)?,
                config_index: LogIndex(u64_at(48)?),
                config: config.to_vec(),
            })
        };
        parse().ok_or(DecodeError::Field("machine row"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_row_round_trips_byte_for_byte() {
        let machine = Machine {
            applied_index: LogIndex(1),
            applied_term: Term(2),
            applied_crc: 3,
            stamp_ms: 4,
            state_hash: 5,
            config_index: LogIndex(6),
            config: vec![7, 8],
        };
        let mut bytes = Vec::new();
        machine.encode(&mut bytes);
        let golden = "0100000002000000010000000000000002000000000000000300000000000000\
                      0400000000000000050000000000000006000000000000000708";
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
        assert_eq!(Machine::decode(&bytes), Ok(machine));
        (0..bytes.len()).for_each(|cut| assert!(Machine::decode(&bytes[..cut]).is_err(), "cut at {cut}"));
    }
}
