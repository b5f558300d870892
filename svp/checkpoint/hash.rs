//! The hash that identifies a set of weights.

use data::sha256::sha256_hex;
use engine::Tensor;

/// SHA-256, as 64 hex digits, over names, shapes and f32 values, sorted by name. It is the same for the same weights,
/// whatever the file format, the order, or the float type they were converted from.
pub fn hash_tensors<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> String {
    let mut sorted: Vec<_> = tensors.into_iter().collect();
    sorted.sort_by_key(|&(name, _)| name);
    let number = |n: usize| (n as u64).to_le_bytes();
    sha256_hex(|put| {
        for (name, tensor) in sorted {
            // Lengths come first, so that no two sets of weights are written as the same bytes.
            put(&number(name.len()));
            put(name.as_bytes());
            put(&number(tensor.shape().len()));
            tensor.shape().iter().for_each(|&dim| put(&number(dim)));
            put(bytemuck::cast_slice(tensor.as_slice()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_shapes_and_values_count_and_order_does_not() {
        let a = Tensor::from_vec(vec![1.0, 2.0], &[2]);
        let b = Tensor::from_vec(vec![1.0, 2.0], &[1, 2]);
        let c = Tensor::from_vec(vec![1.0, 2.5], &[2]);
        let base = hash_tensors([("x", &a), ("y", &c)]);
        assert_eq!(base, hash_tensors([("y", &c), ("x", &a)]));
        assert_eq!(base.len(), 64);
        for other in [[("x", &b), ("y", &c)], [("x", &c), ("y", &c)], [("xy", &a), ("y", &c)]] {
            assert_ne!(base, hash_tensors(other));
        }
    }

    /// Every saved file that names its backbone depends on this layout, so it must not change unnoticed.
    #[test]
    fn the_byte_layout_is_fixed() {
        let mut bytes = Vec::new();
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, b'w', 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(1.0f32.to_le_bytes());
        let want = sha256_hex(|put| put(&bytes));
        assert_eq!(hash_tensors([("w", &Tensor::from_vec(vec![1.0], &[1]))]), want);
    }
}
