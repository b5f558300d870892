#![no_main]

use std::panic::set_hook;

use libfuzzer_sys::fuzz_target;
use svp::data::Turn;
use svp::data::decode::decode_turned;
use svp_fuzz::checked;

/// The budget in bytes, small so that pictures are.
const BUDGET: u64 = 16 << 20;

fn start() {
    engine::budget::limit_to(BUDGET);
    // A panic of a decoder is caught, and is an error as others are. One that is not caught still ends the process.
    set_hook(Box::new(|_| {}));
}

fuzz_target!(init: start(), |input: &[u8]| {
    checked(decode_turned(input, Turn::Upright));
});
