#![no_main]

use std::sync::LazyLock;

use data::fuzzing::archive;
use libfuzzer_sys::{Corpus, fuzz_target};
use svp_fuzz::{Unnamed, checked, one_line, start};

static FILE: LazyLock<Unnamed> = LazyLock::new(Unnamed::new);

fuzz_target!(init: start(), |input: &[u8]| -> Corpus {
    if !input.starts_with(b"PK") {
        return Corpus::Reject;
    }
    let errors = checked(archive(FILE.holding(input)));
    errors.into_iter().flatten().for_each(one_line);
    Corpus::Keep
});
