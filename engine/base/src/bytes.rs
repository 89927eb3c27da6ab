//! Little-endian fields in byte slices, and numbers as text: the readers and writers of every hand-made format.
//!
//! The `get_*` readers return `None` past the end, so that parsing outside bytes is a chain of `?`.

macro_rules! field {
    ($get:ident, $put:ident, $ty:ty) => {
        /// Reads the little-endian field at `offset`; `None` when it is not all there.
        #[must_use]
        #[inline]
        pub fn $get(bytes: &[u8], offset: usize) -> Option<$ty> {
            let end = offset.checked_add(size_of::<$ty>())?;
            Some(<$ty>::from_le_bytes(bytes.get(offset..end)?.try_into().expect("the range has the field's size")))
        }

        /// Writes `value` little-endian at `offset`. Panics when the slice is too short: sizes are the writer's own.
        #[inline]
        pub fn $put(bytes: &mut [u8], offset: usize, value: $ty) {
            bytes[offset..offset + size_of::<$ty>()].copy_from_slice(&value.to_le_bytes());
        }
    };
}

field!(get_u16, put_u16, u16);
field!(get_u32, put_u32, u32);
field!(get_u64, put_u64, u64);
field!(get_i64, put_i64, i64);

/// Reads `N` raw bytes at `offset`; `None` when they are not all there.
#[must_use]
pub fn get_array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Appends the number in decimal, without an allocation of its own.
pub fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// `value` rounded up to a multiple of `align`, a power of two.
#[must_use]
#[inline]
pub const fn align_up(value: usize, align: usize) -> usize {
    (value + align - 1) & !(align - 1)
}
