#![no_main]

use libfuzzer_sys::fuzz_target;
use svp_fuzz::{checkpoint, form, start};

fuzz_target!(init: start(), |input: &[u8]| checkpoint(&form::safetensors(input)));
