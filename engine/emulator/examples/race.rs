//! Finds a missing barrier: `cargo run -p ptx-emulator --example race`
//!
//! The kernel is race.cu, compiled by NVRTC with `-lineinfo`, so that the report names the lines of race.cu. On a GPU its
//! sums are right most of the time.

use ptx_emulator::{FaultKind, Machine, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse("race.ptx", include_str!("race.ptx"))?;
    let machine = Machine::new();
    let x = machine.upload(&[1.0f32; 1024]);
    let sums = machine.uninit::<f32>(4);
    match machine.kernel(&module, "block_sums").grid(4).block(256).arg(x.read()).arg(sums.write()).launch() {
        Err(fault) if fault.kind == FaultKind::Race => {
            println!("{fault}");
            Ok(())
        }
        other => Err(format!("the race was missed: {other:?}").into()),
    }
}
