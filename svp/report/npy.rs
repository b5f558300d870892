//! NumPy's `.npy` files (format 1.0, `numpy/lib/format.py`), written row by row.

use std::io::{Result, Seek, SeekFrom, Write};

/// Bytes of the header, a multiple of 64. It has room for any number of rows.
const HEADER: usize = 128;

/// Writes an array `[n width]` of f32 whose number of rows grows. After each call the file is a valid one, so that what a
/// killed process leaves can be read.
pub struct NpyWriter<W> {
    file: W,
    width: usize,
    rows: u64,
}

impl<W: Write + Seek> NpyWriter<W> {
    /// Begins an array without rows.
    ///
    /// # Errors
    /// Those of the file.
    pub fn new(file: W, width: usize) -> Result<Self> {
        let mut npy = NpyWriter { file, width, rows: 0 };
        npy.append(&[])?;
        Ok(npy)
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// Those of the file.
    ///
    /// # Panics
    /// Where the values are no whole rows.
    pub fn append(&mut self, values: &[f32]) -> Result<()> {
        assert_eq!(values.len() % self.width, 0, "rows of {}", self.width);
        // The values come first: the header never counts rows that are not there.
        let end = HEADER as u64 + self.rows * 4 * self.width as u64;
        self.file.seek(SeekFrom::Start(end))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.rows += (values.len() / self.width) as u64;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.header())?;
        self.file.flush()
    }

    fn header(&self) -> Vec<u8> {
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(((HEADER - header.len() - 2) as u16).to_le_bytes());
        let shape = format!("({}, {})", self.rows, self.width);
        header.extend(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}").bytes());
        header.resize(HEADER - 1, b' ');
        header.push(b'\n');
        header
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// The bytes that `numpy.save` writes, but for the length of the padding.
    #[test]
    fn a_growing_array_is_always_whole() {
        let mut bytes = Cursor::new(Vec::new());
        let mut npy = NpyWriter::new(&mut bytes, 2).unwrap();
        npy.append(&[1.0, -2.5]).unwrap();
        npy.append(&[0.0, 3.0, 4.0, 5.0]).unwrap();
        let check = |bytes: &[u8], rows: usize, values: &[f32]| {
            assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 2), }}");
            assert_eq!(String::from_utf8_lossy(&bytes[10..127]).trim_end(), text);
            assert_eq!(bytes[127], b'\n');
            let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(bytes[128..], values);
        };
        check(bytes.get_ref(), 3, &[1.0, -2.5, 0.0, 3.0, 4.0, 5.0]);
        let mut empty = Cursor::new(Vec::new());
        NpyWriter::new(&mut empty, 2).unwrap();
        check(empty.get_ref(), 0, &[]);
    }
}
