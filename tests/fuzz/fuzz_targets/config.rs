#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use svp::train::read_config;
use svp_cli::Options;
use svp_fuzz::{Unnamed, checked, one_line, start};

static FILE: LazyLock<Unnamed> = LazyLock::new(Unnamed::new);

// The file of --config, and the config in the folder of a run.
fuzz_target!(init: start(), |input: &[u8]| {
    let path = FILE.holding(input);
    checked(read_config(path));
    let Some((mut options, _)) = checked(Options::read(path)) else { return };
    // What these name is read by other targets.
    (options.backbone, options.model) = (None, None);
    if let Some(spec) = checked(options.backbone_spec()) {
        options.unused(&spec).iter().for_each(one_line);
    }
    checked(options.with_preset().and_then(Options::resolve));
});
