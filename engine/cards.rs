//! Cards by name, for devices that play one.

use crate::launch::Limits;

const KIB: usize = 1 << 10;

/// The figures of a compute capability, by "Technical Specifications per Compute Capability" of NVIDIA's CUDA
/// programming guide; sizes of shared memory are in KiB.
const fn card(
    compute_capability: [u32; 2],
    multiprocessors: usize,
    shared_per_multiprocessor: usize,
    threads_per_multiprocessor: usize,
    blocks_per_multiprocessor: usize,
) -> Limits {
    Limits {
        compute_capability,
        multiprocessors,
        shared_per_block: (shared_per_multiprocessor - 1) * KIB,
        shared_per_multiprocessor: shared_per_multiprocessor * KIB,
        shared_reserved: KIB,
        registers_per_multiprocessor: 65_536,
        threads_per_multiprocessor,
        blocks_per_multiprocessor,
    }
}

/// An H100 (SXM), which devices without a card of their own play.
pub const H100: Limits = card([9, 0], 132, 228, 2048, 32);

/// The cards that are known by name.
pub const CARDS: [(&str, Limits); 9] = [
    ("rtx3090", card([8, 6], 82, 100, 1536, 16)),
    ("rtx4090", card([8, 9], 128, 100, 1536, 24)),
    ("rtx5090", card([12, 0], 170, 100, 1536, 24)),
    ("a10", card([8, 6], 72, 100, 1536, 16)),
    ("l4", card([8, 9], 58, 100, 1536, 24)),
    ("a100", card([8, 0], 108, 164, 2048, 32)),
    ("h100", H100),
    ("h200", card([9, 0], 132, 228, 2048, 32)),
    ("b200", card([10, 0], 148, 228, 2048, 32)),
];

/// The figures of a card by its name in [`CARDS`], an H100 without one, with other numbers where they are given, as in
/// `rtx4090`, `rtx4090,sms=1` or `sms=58,shared=99,per-sm=100`: multiprocessors, and KiB of shared memory for a block and
/// for a multiprocessor.
///
/// # Errors
/// Says in one line what is wrong, and names the cards or the numbers.
pub fn parse(text: &str) -> Result<Limits, String> {
    let mut limits = H100;
    for (at, item) in text.split(',').enumerate() {
        let number = item.split_once('=').and_then(|(key, value)| Some((key, value.parse::<usize>().ok()?)));
        match (number, CARDS.iter().find(|(name, _)| *name == item)) {
            (None, Some((_, card))) if at == 0 => limits = *card,
            (Some(("sms", n @ 1..=1024)), _) => limits.multiprocessors = n,
            (Some(("shared", n @ 1..=1024)), _) => limits.shared_per_block = n * KIB,
            (Some(("per-sm", n @ 1..=1024)), _) => limits.shared_per_multiprocessor = n * KIB,
            _ if at == 0 && !item.contains('=') => {
                let names = CARDS.map(|(name, _)| name).join(", ");
                return Err(format!("there is no card {item:?}, only {names}"));
            }
            _ => {
                return Err(format!("{item:?} is not sms=, shared= or per-sm= with a number from 1 to 1024"));
            }
        }
    }
    let Limits { shared_per_block: block, shared_per_multiprocessor: all, shared_reserved, .. } = limits;
    if block + shared_reserved > all {
        let [block, all] = [block, all].map(|bytes| bytes / KIB);
        return Err(format!("shared={block} and 1 KiB reserved are more than per-sm={all}"));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_named_or_given_in_numbers() {
        let l4 = parse("l4").unwrap();
        assert_eq!((l4.multiprocessors, l4.shared_per_block), (58, 99 << 10));
        let numbers = parse("sms=58,shared=99,per-sm=100").unwrap();
        assert_eq!(
            numbers,
            Limits {
                multiprocessors: 58,
                shared_per_block: 99 << 10,
                shared_per_multiprocessor: 100 << 10,
                ..H100
            }
        );
        assert_eq!(parse("sms=2").unwrap(), Limits { multiprocessors: 2, ..H100 });
        assert_eq!(parse("l4,sms=2").unwrap(), Limits { multiprocessors: 2, ..l4 });
        for (wrong, part) in [
            ("rtx9999", "no card \"rtx9999\", only rtx3090, rtx4090, "),
            ("", "no card \"\""),
            ("sms=0", "\"sms=0\" is not sms="),
            ("sms=58,rtx4090", "\"rtx4090\" is not sms="),
            ("shared=228", "shared=228 and 1 KiB reserved are more than per-sm=228"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn every_card_has_what_the_driver_takes_from_a_block() {
        for (name, limits) in CARDS {
            let Limits { shared_per_block, shared_reserved, shared_per_multiprocessor, .. } = limits;
            assert_eq!(shared_per_block + shared_reserved, shared_per_multiprocessor, "{name}");
            assert!(limits.compute_capability >= [8, 0], "{name}");
        }
    }
}
