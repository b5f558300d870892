//! The sizes that memory is made in.

/// Rounds a number of floats up to one of four sizes per power of two, so that freed memory fits again.
pub(super) fn size_class(len: usize) -> usize {
    let len = len.max(16);
    let step = (len.next_power_of_two() / 8).max(16);
    len.div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_a_quarter() {
        for len in [1, 16, 17, 1000, 1024, 1025, 4_841_472] {
            let class = size_class(len);
            assert!(class >= len && (class * 4 <= len * 5 + 64), "{len} {class}");
        }
    }
}
