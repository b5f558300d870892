#![no_main]

use std::sync::LazyLock;

use data::fuzzing::archive;
use libfuzzer_sys::fuzz_target;
use svp_fuzz::{Unnamed, checked, form, one_line, start};

static FILE: LazyLock<Unnamed> = LazyLock::new(Unnamed::new);

// The input is a compressed file, or parts of a tar, each of which becomes a gzip member.
fuzz_target!(init: start(), |input: &[u8]| {
    let packed = match input {
        [0x1F, 0x8B, ..] => input.into(),
        _ => {
            let sealed = form::sealed_tar(input);
            form::parts(&sealed).flat_map(form::gzip).collect()
        }
    };
    let packed: Vec<u8> = packed;
    let errors = checked(archive(FILE.holding(&packed)));
    errors.into_iter().flatten().for_each(one_line);
});
