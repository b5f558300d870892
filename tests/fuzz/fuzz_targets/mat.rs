#![no_main]

use libfuzzer_sys::fuzz_target;
use svp_fuzz::{checked, form, start};

const NAMES: [&str; 7] = ["X", "y", "labels", "trnid", "file_list", "annotations", "class_names"];

fuzz_target!(init: start(), |input: &[u8]| {
    checked(data::fuzzing::mat(&form::mat(input), &NAMES));
});
