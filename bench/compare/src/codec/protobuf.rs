//! Fields of protobuf messages: as much of the encoding as etcd's requests need.

use super::WireError;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A field as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Whole numbers, booleans, enums.
    Number(u64),
    /// Bytes, texts, messages.
    Bytes(&'a [u8]),
}

/// Appends a varint.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a varint takes.
#[must_use]
pub fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a number field, zero too.
pub fn put_number(field: u64, value: u64, out: &mut Vec<u8>) {
    put_varint(field << 3 | VARINT, out);
    put_varint(value, out);
}

/// Appends the head of a field of `bytes` bytes, which must follow.
pub fn put_head(field: u64, bytes: usize, out: &mut Vec<u8>) {
    put_varint(field << 3 | LENGTH, out);
    put_varint(bytes as u64, out);
}

/// Appends a field of bytes.
pub fn put_bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    put_head(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Bytes that a field below number 16 with `bytes` bytes takes.
#[must_use]
pub fn field_bytes(bytes: usize) -> usize {
    1 + varint_bytes(bytes as u64) + bytes
}

/// Calls `each` with number and value of every field; fixed-size fields are passed over.
///
/// Errors: the bytes are no message.
pub fn read<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>)) -> Result<(), WireError> {
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        match key & 7 {
            VARINT => each(key >> 3, Value::Number(take_varint(&mut bytes)?)),
            LENGTH => {
                let length = usize::try_from(take_varint(&mut bytes)?).map_err(|_| broken())?;
                each(key >> 3, Value::Bytes(take(&mut bytes, length)?));
            }
            FIXED64 => drop(take(&mut bytes, 8)?),
            FIXED32 => drop(take(&mut bytes, 4)?),
            _ => return Err(broken()),
        }
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    let (head, rest) = bytes.split_at_checked(length).ok_or_else(broken)?;
    *bytes = rest;
    Ok(head)
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(broken())
}

fn broken() -> WireError {
    WireError("an answer is no protobuf message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_have_the_length_foretold() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 62, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!((bytes.len(), take_varint(&mut bytes.as_slice())), (varint_bytes(value), Ok(value)));
        }
        // The example of the encoding's own guide.
        let mut bytes = Vec::new();
        put_number(1, 150, &mut bytes);
        assert_eq!(bytes, [0x08, 0x96, 0x01]);
    }

    #[test]
    fn unknown_fields_are_passed_over_and_cut_ones_refused() {
        let bytes = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x1a, 2, b'h', b'i'];
        let mut seen = Vec::new();
        read(&bytes, |field, value| seen.push((field, value))).expect("whole");
        assert_eq!(seen, [(3, Value::Bytes(b"hi"))]);
        for cut in 1..bytes.len() {
            let whole = [9, 14].contains(&cut);
            assert_eq!(read(&bytes[..cut], |_, _| {}).is_ok(), whole, "cut after {cut}");
        }
        assert!(read(&[0x0b], |_, _| {}).is_err() && read(&[0xff; 11], |_, _| {}).is_err());
    }
}
