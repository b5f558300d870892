#![no_main]

use libfuzzer_sys::fuzz_target;
use svp::checkpoint::pickle::Pickle;
use svp_fuzz::{checked, start};

fuzz_target!(init: start(), |input: &[u8]| {
    let Some(pickle) = checked(Pickle::read(input, 0)) else { return };
    let root = pickle.root();
    pickle.items(root);
    pickle.object(root);
    pickle.get(root, "data");
    assert!(pickle.end() <= input.len());
    for (key, value) in pickle.pairs(root).into_iter().flatten() {
        (key.text(), value.size(), pickle.global(value), pickle.node(value));
    }
});
