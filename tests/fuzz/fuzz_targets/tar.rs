#![no_main]

use std::sync::LazyLock;

use data::fuzzing::archive;
use libfuzzer_sys::fuzz_target;
use svp_fuzz::{Unnamed, checked, form, one_line, start};

static FILE: LazyLock<Unnamed> = LazyLock::new(Unnamed::new);

fuzz_target!(init: start(), |input: &[u8]| {
    let errors = checked(archive(FILE.holding(&form::sealed_tar(input))));
    errors.into_iter().flatten().for_each(one_line);
});
