#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use ptx_emulator::{Access, Arg, Launch, Machine, Module, Options};
use svp_fuzz::{checked, start};

/// The most kernels of an input that are run.
const KERNELS: usize = 4;
/// The bytes of each buffer.
const BYTES: usize = 256;

// Kernels run on buffers and small numbers. Any outcome is allowed, except a panic.
fuzz_target!(init: start(), |input: &[u8]| -> Corpus {
    let Some(module) = std::str::from_utf8(input).ok().and_then(|text| Module::parse("fuzzed.ptx", text).ok())
    else {
        return Corpus::Reject;
    };
    let options = Options { max_instructions: 5000, threads: 1, ..Options::default() };
    let machine = Machine::with(options);
    for entry in module.entries().iter().take(KERNELS) {
        let buffer = || {
            let at = machine.alloc(BYTES);
            machine.write(at, &[0; BYTES]).expect("it is as long");
            Arg::Buffer { at, bytes: BYTES, access: Access::ReadWrite }
        };
        let args: Vec<Arg> = entry
            .params
            .iter()
            .map(|param| match param.bytes {
                8 if param.align == 8 => buffer(),
                4 => Arg::U32(40),
                bytes => Arg::Bytes(vec![1; bytes as usize]),
            })
            .collect();
        let launch = Launch { grid: [2, 1, 1], block: [40, 1, 1], shared: 256 };
        checked(machine.launch(&module, &entry.name, launch, &args));
    }
    Corpus::Keep
});
