#![no_main]

use libfuzzer_sys::fuzz_target;
use ptx_emulator::Module;
use svp_fuzz::{checked, start};

fuzz_target!(init: start(), |input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    checked(Module::parse("fuzzed.ptx", text));
});
