#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use svp_fuzz::{checkpoint, start};

fuzz_target!(init: start(), |input: &[u8]| -> Corpus {
    if !input.starts_with(&[0x80]) {
        return Corpus::Reject;
    }
    checkpoint(input);
    Corpus::Keep
});
