//! Types of elements, and numbers of these types.

use half::{bf16, f16};

/// The type of a number or of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

use Element::*;

/// Each type with its name here and in a `.npy` file. NumPy has no bf16.
const ALL: [(Element, &str, Option<&str>); 13] = [
    (Bool, "bool", Some("|b1")),
    (U8, "u8", Some("|u1")),
    (I8, "i8", Some("|i1")),
    (U16, "u16", Some("<u2")),
    (I16, "i16", Some("<i2")),
    (U32, "u32", Some("<u4")),
    (I32, "i32", Some("<i4")),
    (U64, "u64", Some("<u8")),
    (I64, "i64", Some("<i8")),
    (F16, "f16", Some("<f2")),
    (Bf16, "bf16", None),
    (F32, "f32", Some("<f4")),
    (F64, "f64", Some("<f8")),
];

impl Element {
    /// The type of this name.
    pub fn named(name: &str) -> Result<Self, String> {
        let names = || ALL.map(|(_, name, _)| name).join(" ");
        ALL.iter()
            .find(|(_, known, _)| *known == name)
            .map(|(element, ..)| *element)
            .ok_or_else(|| format!("`{name}` is no type; there are: {}", names()))
    }

    /// How a `.npy` file names it.
    pub fn npy(self) -> Result<&'static str, String> {
        let found = ALL.iter().find(|(element, ..)| *element == self);
        found
            .and_then(|(.., npy)| *npy)
            .ok_or_else(|| "NumPy has no bf16: take u16 for its bits, or .bin".into())
    }

    pub fn bytes(self) -> u64 {
        match self {
            Bool | U8 | I8 => 1,
            U16 | I16 | F16 | Bf16 => 2,
            U32 | I32 | F32 => 4,
            U64 | I64 | F64 => 8,
        }
    }

    /// The bytes of a number, the lowest first. Whole numbers may begin with `0x`.
    pub fn number(self, text: &str) -> Result<Vec<u8>, String> {
        let whole = |least: i128, most: i128| {
            let (minus, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
            let number = match digits.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => digits.parse(),
            };
            let number = number.map(i128::from).map(|n| if minus { -n } else { n });
            match number {
                Ok(n) if (least..=most).contains(&n) => Ok(n.to_le_bytes()[..self.bytes() as usize].to_vec()),
                _ => Err(format!("`{text}` is no whole number from {least} to {most}")),
            }
        };
        let float = || text.parse::<f64>().map_err(|_| format!("`{text}` is no number"));
        // A number that is written with digits and too large for its type would become infinite without a word.
        let fits = |infinite: bool| {
            let written = text.contains("inf");
            if infinite && !written { Err(format!("`{text}` is too large for its type")) } else { Ok(()) }
        };
        match self {
            Bool => match text {
                "true" | "1" => Ok(vec![1]),
                "false" | "0" => Ok(vec![0]),
                _ => Err(format!("`{text}` is neither true nor false")),
            },
            U8 => whole(0, u8::MAX.into()),
            I8 => whole(i8::MIN.into(), i8::MAX.into()),
            U16 => whole(0, u16::MAX.into()),
            I16 => whole(i16::MIN.into(), i16::MAX.into()),
            U32 => whole(0, u32::MAX.into()),
            I32 => whole(i32::MIN.into(), i32::MAX.into()),
            U64 => whole(0, u64::MAX.into()),
            I64 => whole(i64::MIN.into(), i64::MAX.into()),
            F16 => {
                let x = f16::from_f64(float()?);
                fits(x.is_infinite()).map(|()| x.to_le_bytes().to_vec())
            }
            Bf16 => {
                let x = bf16::from_f64(float()?);
                fits(x.is_infinite()).map(|()| x.to_le_bytes().to_vec())
            }
            F32 => {
                // In one step from the text, since a way by f64 rounds twice.
                let x = text.parse::<f32>().map_err(|_| format!("`{text}` is no number"))?;
                fits(x.is_infinite()).map(|()| x.to_le_bytes().to_vec())
            }
            F64 => {
                let x = float()?;
                fits(x.is_infinite()).map(|()| x.to_le_bytes().to_vec())
            }
        }
    }
}

/// The lengths of an array, such as `1000`, `10x20` or `10,20`.
pub fn shape(text: &str) -> Result<Vec<u64>, String> {
    let lengths: Option<Vec<u64>> = text.split(['x', ',']).map(|length| length.parse().ok()).collect();
    match lengths {
        Some(lengths) if lengths.len() <= 32 => Ok(lengths),
        _ => Err(format!("`{text}` is no shape, such as 1000 or 10x20")),
    }
}

/// The bytes of an array.
pub fn array_bytes(element_bytes: u64, shape: &[u64]) -> Result<u64, String> {
    // An array may have no elements, however long its other axes are.
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(element_bytes, |bytes, &length| bytes.checked_mul(length))
        .ok_or_else(|| format!("the shape {shape:?} has more bytes than there are numbers for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_bytes() {
        for (ty, text, want) in [
            ("bool", "true", &[1u8][..]),
            ("u8", "0xff", &[255]),
            ("i8", "-128", &[0x80]),
            ("i16", "-2", &[0xfe, 0xff]),
            ("u32", "4294967295", &[255; 4]),
            ("i64", "-9223372036854775808", &[0, 0, 0, 0, 0, 0, 0, 0x80]),
            ("u64", "0x0102030405060708", &[8, 7, 6, 5, 4, 3, 2, 1]),
            ("f16", "1.5", &[0x00, 0x3e]),
            ("bf16", "-1.5", &[0xc0, 0xbf]),
            ("f32", "0.1", &[0xcd, 0xcc, 0xcc, 0x3d]),
            ("f32", "-inf", &[0, 0, 0x80, 0xff]),
            ("f64", "1e-3", &[0xfc, 0xa9, 0xf1, 0xd2, 0x4d, 0x62, 0x50, 0x3f]),
        ] {
            let element = Element::named(ty).unwrap();
            assert_eq!(element.number(text).as_deref(), Ok(want), "{ty}:{text}");
            assert_eq!(element.bytes(), want.len() as u64);
        }
        let nan = F32.number("nan").unwrap();
        assert!(f32::from_le_bytes(nan.try_into().unwrap()).is_nan());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for (ty, text) in [
            ("bool", "2"),
            ("u8", "256"),
            ("u8", "-1"),
            ("i8", "128"),
            ("u32", "1.0"),
            ("u32", ""),
            ("u32", "0x"),
            ("i32", "--1"),
            ("u64", "18446744073709551616"),
            ("f16", "65520"),
            ("bf16", "1e39"),
            ("f32", "1e39"),
            ("f64", "1e309"),
            ("f32", "x"),
        ] {
            Element::named(ty).unwrap().number(text).unwrap_err();
        }
        assert!(Element::named("float").unwrap_err().contains("there are: bool u8 "));
    }

    #[test]
    fn shapes_have_their_bytes() {
        assert_eq!(shape("10x20").and_then(|shape| array_bytes(4, &shape)), Ok(800));
        assert_eq!(shape("10,0,3"), Ok(vec![10, 0, 3]));
        assert_eq!(array_bytes(4, &[u64::MAX, 0]), Ok(0));
        assert_eq!(array_bytes(4, &[]), Ok(4));
        array_bytes(4, &[1 << 62]).unwrap_err();
        for text in ["", "x", "10x", "-1", "1.5", "18446744073709551616", &"1x".repeat(40)] {
            shape(text).unwrap_err();
        }
    }
}
