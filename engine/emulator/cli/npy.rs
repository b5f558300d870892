//! The header of NumPy's `.npy` files (`numpy/lib/format.py`), versions 1.0 to 3.0.

use std::io::Read;

use crate::element::array_bytes;

/// The most bytes of a header that are read. Those of plain arrays have 128.
const MOST_HEADER: usize = 1 << 16;

/// What a header says of an array in the order of C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The type of the elements, such as `<f4`.
    pub descr: String,
    pub shape: Vec<u64>,
}

impl Header {
    /// Reads the header, and leaves the file at the first element. The error says what is wrong, and what to do.
    pub fn read(file: &mut impl Read) -> Result<Self, String> {
        let damaged = || "it is no .npy file, or a damaged one".to_string();
        let mut bytes = |n: usize| {
            let mut bytes = vec![0; n];
            file.read_exact(&mut bytes).map(|()| bytes).map_err(|_| damaged())
        };
        let start = bytes(8)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(damaged());
        }
        let length = match start[6] {
            1 => bytes(2)?.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            2 | 3 => bytes(4)?.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            version => return Err(format!("version {version} of .npy is not known")),
        };
        if length > MOST_HEADER {
            return Err(format!("its header has {length} bytes, where at most {MOST_HEADER} are read"));
        }
        let header = bytes(length)?;
        let text = str::from_utf8(&header).map_err(|_| damaged())?;
        Cursor(text.trim()).header()
    }

    /// The bytes of an element.
    pub fn element_bytes(&self) -> Result<u64, String> {
        let descr = &self.descr;
        if let Some(plain) = descr.strip_prefix('>') {
            return Err(format!("its elements are `{descr}`, highest byte first: save x.astype('<{plain}')"));
        }
        let kind = |c: char| matches!(c, 'b' | 'i' | 'u' | 'f' | 'c');
        let bytes = descr.strip_prefix(['<', '|']).and_then(|rest| rest.strip_prefix(kind));
        match bytes.and_then(|bytes| bytes.parse::<u64>().ok()) {
            Some(bytes @ (1 | 2 | 4 | 8 | 16)) => Ok(bytes),
            _ => Err(format!("its elements are `{descr}`, and not numbers: save a view of plain numbers")),
        }
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> Result<u64, String> {
        array_bytes(self.element_bytes()?, &self.shape)
    }

    /// The bytes of the header, as NumPy writes them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut shape: String = self.shape.iter().map(|length| format!("{length}, ")).collect();
        // One length keeps its comma, as Python needs it.
        shape.truncate(shape.len().saturating_sub(if self.shape.len() == 1 { 1 } else { 2 }));
        let text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", self.descr);
        // The elements begin at a multiple of 64 bytes.
        let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((length as u16).to_le_bytes());
        out.extend(text.bytes());
        out.resize(10 + length - 1, b' ');
        out.push(b'\n');
        out
    }
}

/// The rest of a header, which is a dictionary as Python writes it.
struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    fn header(mut self) -> Result<Header, String> {
        self.dictionary()
            .ok_or_else(|| "its header is none of an array of numbers, or damaged".to_string())?
    }

    fn dictionary(&mut self) -> Option<Result<Header, String>> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.need("{")?;
        while !self.takes("}") {
            let key = self.string()?;
            self.need(":")?;
            match key {
                "descr" if descr.is_none() => descr = Some(self.string()?),
                "fortran_order" if fortran.is_none() => fortran = Some(self.bool()?),
                "shape" if shape.is_none() => shape = Some(self.shape()?),
                _ => return None,
            }
            if !self.takes(",") {
                self.need("}")?;
                break;
            }
        }
        let shape = shape?;
        if fortran? && shape.len() > 1 {
            return Some(Err("it is in the order of Fortran: save numpy.ascontiguousarray(x)".into()));
        }
        self.0.is_empty().then_some(Ok(Header { descr: descr?.into(), shape }))
    }

    fn takes(&mut self, what: &str) -> bool {
        let rest = self.0.trim_start();
        let taken = rest.strip_prefix(what);
        self.0 = taken.unwrap_or(rest);
        taken.is_some()
    }

    fn need(&mut self, what: &str) -> Option<()> {
        self.takes(what).then_some(())
    }

    fn string(&mut self) -> Option<&'t str> {
        let quote = if self.takes("'") { '\'' } else { self.need("\"").map(|()| '"')? };
        let (text, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    fn bool(&mut self) -> Option<bool> {
        if self.takes("True") { Some(true) } else { self.need("False").map(|()| false) }
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        self.need("(")?;
        let (inner, rest) = self.0.split_once(')')?;
        self.0 = rest;
        let inner = inner.trim();
        let inner = inner.strip_suffix(',').unwrap_or(inner);
        if inner.is_empty() {
            return Some(vec![]);
        }
        // Python 2 wrote an L behind long numbers.
        let length = |text: &str| text.trim().trim_end_matches('L').parse().ok();
        inner.split(',').map(length).collect::<Option<Vec<_>>>().filter(|shape| shape.len() <= 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Header, String> {
        Header::read(&mut &*bytes)
    }

    /// A file of version 1.0 with this dictionary.
    fn file(dictionary: &str) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((dictionary.len() as u16 + 1).to_le_bytes());
        out.extend(dictionary.bytes());
        out.push(b'\n');
        out
    }

    /// The headers that `numpy.save` wrote for these shapes.
    #[test]
    fn headers_are_those_of_numpy() {
        for (shape, text) in [(vec![], "()"), (vec![3], "(3,)"), (vec![2, 0, 4], "(2, 0, 4)")] {
            let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}");
            let mut want = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
            want.extend(format!("{dictionary:<117}\n").bytes());
            let header = Header { descr: "<f4".into(), shape };
            assert_eq!(header.to_bytes(), want);
            assert_eq!(read(&want), Ok(header));
        }
    }

    #[test]
    fn dictionaries_that_others_write() {
        let header = read(&file("{\"shape\":(2L,3),'fortran_order':False,'descr':'|u1'}")).unwrap();
        assert_eq!((header.bytes(), header.shape, header.descr.as_str()), (Ok(6), vec![2, 3], "|u1"));
        // One axis has the same order in Fortran.
        let header = read(&file("{'descr': '<f8', 'fortran_order': True, 'shape': (5,), }")).unwrap();
        assert_eq!(header.bytes(), Ok(40));
        let mut later = file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }");
        later[6] = 3;
        later.splice(10..10, [0, 0]);
        assert_eq!(read(&later).unwrap().bytes(), Ok(8));
    }

    #[test]
    fn what_is_no_plain_array_is_refused() {
        for (dictionary, part) in [
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }", "astype('<f4')"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "not numbers"),
            ("{'descr': '<f3', 'fortran_order': False, 'shape': (3,), }", "not numbers"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "damaged"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", "ascontiguousarray"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", "damaged"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } x", "damaged"),
            ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "damaged"),
            ("{'descr': '<f4', 'shape': (3,), }", "damaged"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "more bytes"),
            ("", "damaged"),
        ] {
            let error = read(&file(dictionary)).and_then(|header| header.bytes()).unwrap_err();
            assert!(error.contains(part), "{dictionary}: {error}");
        }
        let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
        for cut in 0..whole.len() - 1 {
            read(&whole[..cut]).unwrap_err();
        }
        for at in 0..whole.len() {
            for byte in [0, b'\'', b'(', b')', b'9', 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                // Whatever it is, it is read or refused.
                let _ = read(&damaged).and_then(|header| header.bytes());
            }
        }
        assert!(read(b"\x93NUMPY\x04\x00\x00\x00").unwrap_err().contains("version 4"));
        assert!(read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").unwrap_err().contains("4294967295 bytes"));
    }
}
