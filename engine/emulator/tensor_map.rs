//! Descriptions of tensors in global memory, for `cp.async.bulk.tensor`.

/// The most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 5;
/// The most elements of a box along a dimension.
const MOST_BOX: u32 = 256;
/// Marks the bytes of a map.
const MARK: u64 = u64::from_le_bytes(*b"TNSRMAP1");

/// How the 16-byte parts of a box change places in shared memory, so that columns lie in different banks. A part whose
/// address is `a` goes to where some bits of `a` from 4 on are combined by exclusive or with as many bits from 7 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Swizzle {
    /// They stay where they are.
    #[default]
    None,
    /// Parts change places within 32 bytes (one bit).
    Bytes32,
    /// Parts change places within 64 bytes (two bits).
    Bytes64,
    /// Parts change places within 128 bytes (three bits).
    Bytes128,
}

impl Swizzle {
    /// The bits of an address from 7 on that move its part.
    fn bits(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes32 => 1,
            Self::Bytes64 => 3,
            Self::Bytes128 => 7,
        }
    }

    /// The bytes within which parts change places.
    fn span(self) -> u32 {
        match self {
            Self::None => u32::MAX,
            Self::Bytes32 => 32,
            Self::Bytes64 => 64,
            Self::Bytes128 => 128,
        }
    }

    /// Where the byte for address `at` of shared memory goes.
    pub(crate) fn place(self, at: u64) -> u64 {
        at ^ (at >> 7 & self.bits()) << 4
    }
}

/// A tensor in global memory and the box of it that one `cp.async.bulk.tensor` moves: what `cuTensorMapEncodeTiled` makes on
/// a GPU, whose 128 bytes are opaque. The emulator reads maps of its own, which [`TensorMap::bytes`] gives; a kernel gets
/// them in a buffer or as a parameter of 128 bytes.
///
/// There is no interleaving, element strides are 1, and what lies outside of the tensor is read as zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// The address of the first element, a multiple of 16.
    pub address: u64,
    /// The size of an element in bytes: 1, 2, 4 or 8.
    pub element: u32,
    /// The elements along each dimension, the innermost first; from one to five dimensions.
    pub sizes: Vec<u32>,
    /// The bytes from one element to the next along each dimension but the innermost: multiples of 16, below 2^40.
    pub strides: Vec<u64>,
    /// The elements of a box along each dimension, up to 256. A row of the innermost fills a multiple of 16 bytes.
    pub box_sizes: Vec<u32>,
    /// How a box lies in shared memory. A row of the innermost dimension must not be longer than what is swizzled.
    pub swizzle: Swizzle,
}

impl TensorMap {
    /// The 128 bytes that a kernel uses.
    ///
    /// # Errors
    /// Says which of the bounds of the fields does not hold.
    pub fn bytes(&self) -> Result<[u8; 128], String> {
        self.check()?;
        let mut out = Vec::with_capacity(128);
        out.extend(MARK.to_le_bytes());
        out.extend(self.address.to_le_bytes());
        out.extend([self.sizes.len() as u8, self.element as u8, self.swizzle.bits() as u8, 0]);
        let at = |all: &[u32], k: usize| all.get(k).copied().unwrap_or(1);
        (0..MOST_DIMENSIONS).for_each(|k| out.extend(at(&self.sizes, k).to_le_bytes()));
        (0..MOST_DIMENSIONS).for_each(|k| out.extend((at(&self.box_sizes, k) as u16).to_le_bytes()));
        for k in 0..MOST_DIMENSIONS - 1 {
            out.extend(self.strides.get(k).copied().unwrap_or(0).to_le_bytes());
        }
        out.resize(128, 0);
        out.try_into().map_err(|_| "a map of 128 bytes".into())
    }

    /// Reads what [`TensorMap::bytes`] made.
    pub(crate) fn read(bytes: &[u8; 128]) -> Result<Self, String> {
        let mut rest = bytes.as_slice();
        let mut take = |n: usize| {
            let (number, after) = rest.split_at(n);
            rest = after;
            number.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        if take(8) != MARK {
            return Err("these are not the bytes of a `TensorMap`".into());
        }
        let address = take(8);
        let dimensions = take(1) as usize;
        let element = take(1) as u32;
        let swizzle = match take(1) {
            0 => Swizzle::None,
            1 => Swizzle::Bytes32,
            3 => Swizzle::Bytes64,
            _ => Swizzle::Bytes128,
        };
        take(1);
        let mut sizes: Vec<u32> = (0..MOST_DIMENSIONS).map(|_| take(4) as u32).collect();
        let mut box_sizes: Vec<u32> = (0..MOST_DIMENSIONS).map(|_| take(2) as u32).collect();
        let mut strides: Vec<u64> = (1..MOST_DIMENSIONS).map(|_| take(8)).collect();
        sizes.truncate(dimensions);
        box_sizes.truncate(dimensions);
        strides.truncate(dimensions.saturating_sub(1));
        let map = Self { address, element, sizes, strides, box_sizes, swizzle };
        map.check()?;
        Ok(map)
    }

    /// Checks the bounds of the fields.
    fn check(&self) -> Result<(), String> {
        let dimensions = self.sizes.len();
        let same = self.box_sizes.len() == dimensions && self.strides.len() + 1 == dimensions;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) || !same {
            return Err(format!(
                "a tensor of {dimensions} dimensions with {} strides and {} box sizes",
                self.strides.len(),
                self.box_sizes.len()
            ));
        }
        if !matches!(self.element, 1 | 2 | 4 | 8) {
            return Err(format!("elements of {} bytes", self.element));
        }
        if !self.address.is_multiple_of(16) {
            return Err(format!("the address {:#x}, which is no multiple of 16", self.address));
        }
        if self.sizes.contains(&0) {
            return Err("a tensor without elements".into());
        }
        if let Some(stride) = self.strides.iter().find(|s| !s.is_multiple_of(16) || **s >= 1 << 40) {
            return Err(format!("a stride of {stride} bytes: it is a multiple of 16 below 2^40"));
        }
        if let Some(size) = self.box_sizes.iter().find(|s| !(1..=MOST_BOX).contains(*s)) {
            return Err(format!("a box with {size} elements along a dimension: it has 1 to {MOST_BOX}"));
        }
        let row = self.row_bytes();
        if !row.is_multiple_of(16) || row > self.swizzle.span() {
            return Err(format!(
                "rows of {row} bytes in a box: they fill a multiple of 16, and not more than what is swizzled"
            ));
        }
        Ok(())
    }

    /// The bytes of a row of a box.
    pub(crate) fn row_bytes(&self) -> u32 {
        self.box_sizes[0] * self.element
    }

    /// The rows of a box.
    pub(crate) fn rows(&self) -> u64 {
        self.box_sizes[1..].iter().map(|&n| u64::from(n)).product()
    }

    /// What of row number `row` of the box at `corner` lies in the tensor: its address, the first byte of it in the row, and
    /// its bytes; `None` if there is nothing.
    pub(crate) fn part(&self, corner: &[i32], row: u64) -> Option<(u64, u32, u32)> {
        let mut at = self.address;
        let mut rest = row;
        for k in 1..self.sizes.len() {
            let size = u64::from(self.box_sizes[k]);
            let index = i64::from(corner[k]) + (rest % size) as i64;
            rest /= size;
            if index < 0 || index >= i64::from(self.sizes[k]) {
                return None;
            }
            at = at.wrapping_add((index as u64).wrapping_mul(self.strides[k - 1]));
        }
        let first = i64::from(corner[0]);
        let low = first.max(0);
        let high = (first + i64::from(self.box_sizes[0])).min(i64::from(self.sizes[0]));
        if low >= high {
            return None;
        }
        let element = i64::from(self.element);
        let at = at.wrapping_add((low * element) as u64);
        Some((at, ((low - first) * element) as u32, ((high - low) * element) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_as_they_were_written() {
        let map = TensorMap {
            address: 0x2_0000_0100,
            element: 2,
            sizes: vec![100, u32::MAX, 7],
            strides: vec![208, 1 << 39],
            box_sizes: vec![64, 256, 3],
            swizzle: Swizzle::Bytes128,
        };
        let bytes = map.bytes().unwrap();
        assert_eq!(TensorMap::read(&bytes), Ok(map.clone()));
        assert!(TensorMap::read(&[0; 128]).is_err());
        let bad = [
            TensorMap { address: 8, ..map.clone() },
            TensorMap { element: 3, ..map.clone() },
            TensorMap { sizes: vec![100, 0, 7], ..map.clone() },
            TensorMap { strides: vec![200, 16], ..map.clone() },
            TensorMap { strides: vec![208], ..map.clone() },
            TensorMap { box_sizes: vec![64, 257, 3], ..map.clone() },
            TensorMap { box_sizes: vec![4, 256, 3], ..map.clone() },
            TensorMap { box_sizes: vec![72, 256, 3], ..map.clone() },
        ];
        for map in bad {
            assert!(map.bytes().is_err(), "{map:?}");
        }
    }
}
