//! Arrays of NumPy in a zip archive, as `numpy.savez` writes them: a member `NAME.npy` for each array.
//!
//! A `.npy` begins with `\x93NUMPY`, its version, and the length of a header, which is a Python dict of `descr` (the
//! type), `fortran_order` and `shape`; the values follow. The header is read as text and never evaluated, and arrays of
//! Python objects, which are pickles, are left out.
//!
//! Source: `numpy/lib/format.py` of NumPy 2.

use data::text::{count, first};

use super::entry::{Bytes, Dtype, Entries, Entry, row_major};
use super::fault::Fault;
use super::members::Members;

/// What a `.npy` begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Ending of the names of arrays.
const ENDING: &str = ".npy";

/// Whether an archive holds arrays, and is not one of `torch.save`.
pub(super) fn is_npz(members: &Members) -> bool {
    members.names().all(|name| !name.ends_with("data.pkl"))
        && members.names().any(|name| name.ends_with(ENDING))
}

/// The arrays of numbers, by name, and a note about those of other types.
pub(super) fn read(mut members: Members) -> Result<(Entries, Option<String>), Fault> {
    let names: Vec<String> =
        members.names().filter_map(|name| Some(name.strip_suffix(ENDING)?.to_string())).collect();
    let (mut entries, mut others) = (Entries::new(), vec![]);
    for name in names {
        let array = members.read(&format!("{name}{ENDING}")).and_then(array);
        match array.map_err(|fault| fault.at(&format!("array {name}")))? {
            Some(entry) => drop(entries.insert(name, entry)),
            None => others.push(name),
        }
    }
    let note = format!("left out because their types are none of numbers: {}", count(others.len(), "array"));
    Ok((entries, (!others.is_empty()).then(|| format!("{note} ({})", first(&others)))))
}

/// The array in a `.npy`; `None` for a type that is none of numbers.
fn array(npy: Bytes) -> Result<Option<Entry>, Fault> {
    let damaged = |what: &str| Fault::damaged(format!("is no array of NumPy ({what})"));
    let bytes = npy.as_slice();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin like one"))?;
    let (start, len) = match *rest {
        [1, _, a, b, ..] => (10, u16::from_le_bytes([a, b]) as usize),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(damaged("of an unknown version")),
    };
    let end = start + len;
    let header = bytes.get(start..end).and_then(|header| std::str::from_utf8(header).ok());
    let header = header.ok_or_else(|| damaged("its header is cut off"))?;
    let field = |name: &str| Some(header.split_once(&format!("'{name}':"))?.1.trim_start());
    let quoted = field("descr").and_then(|rest| rest.strip_prefix('\'')?.split_once('\''));
    let Some(dtype) = quoted.and_then(|(descr, _)| dtype(descr)) else { return Ok(None) };
    let fortran = match field("fortran_order") {
        Some(rest) if rest.starts_with("False") => false,
        Some(rest) if rest.starts_with("True") => true,
        _ => return Err(damaged("its header has no fortran_order")),
    };
    let shape = field("shape").and_then(shape).ok_or_else(|| damaged("its header has no shape"))?;
    let values = npy.from(end);
    let mut strides = row_major(&shape);
    if fortran {
        strides = row_major(&shape.iter().rev().copied().collect::<Vec<_>>());
        strides.reverse();
    }
    Entry::strided(dtype, shape, strides, 0, values).map(Some)
}

/// Reads `(2, 3), ...`.
fn shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let axes = inside.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    axes.map(|axis| axis.parse().ok()).collect()
}

fn dtype(descr: &str) -> Option<Dtype> {
    Some(match descr {
        "<f8" => Dtype::F64,
        "<f4" => Dtype::F32,
        "<f2" => Dtype::F16,
        // NumPy has no such type: Google's programs write bfloat16 as two bytes without a meaning.
        "|V2" => Dtype::BF16,
        "<i8" => Dtype::I64,
        "<i4" => Dtype::I32,
        "<i2" => Dtype::I16,
        "|i1" => Dtype::I8,
        "|u1" => Dtype::U8,
        "|b1" => Dtype::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, values: &[f32]) -> Bytes {
        let mut all = MAGIC.to_vec();
        all.extend([1, 0]);
        all.extend((header.len() as u16).to_le_bytes());
        all.extend(header.as_bytes());
        all.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        Bytes::read(&all[..], all.len()).unwrap()
    }

    fn header(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}   \n")
    }

    #[test]
    fn both_orders_and_all_ranks_are_read() {
        let read = |order: &str, shape: &str, values: &[f32]| {
            let entry = array(npy(&header("'<f4'", order, shape), values)).unwrap().unwrap();
            (entry.shape().to_vec(), entry.tensor().unwrap().as_slice().to_vec())
        };
        assert_eq!(read("False", "(2, 2)", &[1., 2., 3., 4.]), (vec![2, 2], vec![1., 2., 3., 4.]));
        assert_eq!(read("True", "(2, 2)", &[1., 2., 3., 4.]), (vec![2, 2], vec![1., 3., 2., 4.]));
        assert_eq!(read("False", "(3,)", &[1., 2., 3.]), (vec![3], vec![1., 2., 3.]));
        assert_eq!(read("False", "()", &[5.]), (vec![], vec![5.]));
    }

    #[test]
    fn what_is_no_array_of_numbers_is_told() {
        let fault = |bytes: Bytes| array(bytes).err().map(|e| e.in_file("a.npz".as_ref()).to_string());
        assert!(array(npy(&header("'|O'", "False", "(1,)"), &[1.])).unwrap().is_none(), "objects");
        assert!(array(npy(&header("[('a', '<f4')]", "False", "(1,)"), &[1.])).unwrap().is_none());
        for (bytes, part) in [
            (npy(&header("'<f4'", "False", "(3, 3)"), &[1.]), "beyond a storage"),
            (npy(&header("'<f4'", "False", "(99999999999999999999,)"), &[1.]), "no shape"),
            (npy(&header("'<f4'", "Maybe", "(1,)"), &[1.]), "no fortran_order"),
            (Bytes::read(&b"\x93NUMPY\x01\x00\xff\xff"[..], 10).unwrap(), "cut off"),
            (Bytes::read(&b"\x93NUMPY\x09\x00\x00\x00"[..], 10).unwrap(), "unknown version"),
            (Bytes::read(&b"PK"[..], 2).unwrap(), "does not begin"),
        ] {
            let told = fault(bytes).unwrap();
            assert!(told.contains(part), "{told}");
        }
    }
}
