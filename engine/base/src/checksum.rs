//! CRC-32C (Castagnoli), the only checksum of the log and the links. Nothing else calls the crate.

use crc_fast::{CrcAlgorithm, Digest};

/// The polynomial's name in the crate: iSCSI (RFC 3720) made it known.
const CASTAGNOLI: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;

/// CRC-32C of `bytes`.
#[must_use]
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CASTAGNOLI, bytes) as u32
}

/// CRC-32C of what gave `crc`, followed by `bytes`.
#[must_use]
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    // The state is the checksum before its last inversion.
    let mut digest = Digest::new_with_init_state(CASTAGNOLI, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomial_is_castagnoli() {
        // RFC 3720 B.4: 32 bytes of zeros, 32 of ones, and 0..31.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_append(crc32c(b"12345"), b"6789"), crc32c(b"123456789"));
    }

    /// Bit by bit, as the polynomial is defined.
    fn defined(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |state, byte| {
            (0..8).fold(state ^ u32::from(*byte), |state, _| state >> 1 ^ if state & 1 == 1 { 0x82f6_3b78 } else { 0 })
        })
    }

    /// Each length takes another way through the crate.
    #[test]
    fn every_length_and_every_split_gives_what_the_definition_gives() {
        let bytes: Vec<u8> = (0..5_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in (0..700).chain([1_023, 1_024, 4_000, 4_096, 4_999]) {
            let part = &bytes[..length];
            assert_eq!(crc32c(part), defined(part), "{length} bytes");
            let (head, tail) = part.split_at(length * 2 / 3);
            assert_eq!(crc32c_append(crc32c(head), tail), defined(part), "{length} bytes in two parts");
        }
    }
}
