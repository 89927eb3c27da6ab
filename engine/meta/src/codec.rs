//! Reading and writing of the hand-made layouts: little-endian, fields aligned to their size, lengths before bytes.

use base::bytes::align_up;

/// Bytes from outside are not what they should be; nothing was done with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the layout does.
    #[error("the bytes end after {0}, inside a field")]
    Short(usize),
    /// Bytes follow where the layout has ended.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// A format that this version does not know.
    #[error("format {0} is not known here; a newer node wrote it")]
    Format(u8),
    /// A kind, code or variant that this version does not know.
    #[error("{what} {number} is not known here")]
    Kind {
        /// Of what.
        what: &'static str,
        /// The number found.
        number: u8,
    },
    /// A field has a value that no writer gives.
    #[error("field {0} has a value that it cannot have")]
    Field(&'static str),
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
    /// More of something than the limits allow.
    #[error("more {0} than the limit allows")]
    TooMany(&'static str),
}

/// Walks bytes from outside; each step says why it cannot go on.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).ok_or(DecodeError::Short(self.bytes.len()))?;
        let out = self.bytes.get(self.at..end).ok_or(DecodeError::Short(self.bytes.len()))?;
        self.at = end;
        Ok(out)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take gave N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn text(&mut self, bytes: usize) -> Result<String, DecodeError> {
        Ok(std::str::from_utf8(self.take(bytes)?).map_err(|_| DecodeError::Text)?.to_owned())
    }

    /// Reserved bytes; they are zero.
    pub(crate) fn zero(&mut self, count: usize) -> Result<(), DecodeError> {
        match self.take(count)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(DecodeError::Field("reserved")),
        }
    }

    /// Zeros up to the next multiple of 8 from the start.
    pub(crate) fn pad(&mut self) -> Result<(), DecodeError> {
        self.zero(align_up(self.at, 8) - self.at)
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Trailing(self.left())) }
    }
}

/// Appends fields to a reused buffer.
pub(crate) trait Put {
    fn u8(&mut self, value: u8);
    fn u16(&mut self, value: u16);
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    fn i64(&mut self, value: i64);
    fn bytes(&mut self, value: &[u8]);
    fn zero(&mut self, count: usize);
    /// Zeros up to the next multiple of 8, counted from `start`.
    fn pad(&mut self, start: usize);
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }
    fn u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
    fn zero(&mut self, count: usize) {
        self.resize(self.len() + count, 0);
    }
    fn pad(&mut self, start: usize) {
        let length = self.len() - start;
        self.zero(align_up(length, 8) - length);
    }
}

/// A length as a u16 field; encoders are given what fits, longer text is cut at the writer's own peril, so it is refused.
pub(crate) fn len16(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("paths, names and labels are bounded well below 64 KiB")
}

/// A count as a u32 field.
pub(crate) fn len32(count: usize) -> u32 {
    u32::try_from(count).expect("counts are bounded well below 2^32")
}
