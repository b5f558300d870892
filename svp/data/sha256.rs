//! SHA-256 as text.

use sha2::{Digest, Sha256};

/// SHA-256 as 64 lower-case hex digits of the bytes that `feed` hands to its argument, one piece after another. How
/// the bytes are cut into pieces does not matter.
pub fn sha256_hex(feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> String {
    let mut hash = Sha256::new();
    feed(&mut |bytes| hash.update(bytes));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of FIPS 180-2, appendix B.
    #[test]
    fn it_is_the_published_function() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(|put| put(b"abc")), want);
        assert_eq!(sha256_hex(|put| [&b"a"[..], b"", b"bc"].into_iter().for_each(put)), want);
    }
}
