//! Launches a kernel from a PTX file on the CPU: `cargo run -p ptx-emulator --example launch`
//!
//! The kernel is axpy.cu, compiled by NVRTC. The second launch has a mistake in it.

use ptx_emulator::{Class, Machine, Module, Space};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse("axpy.ptx", include_str!("axpy.ptx"))?;
    for entry in module.entries() {
        println!("{}: {} parameters, blocks of {:?}", entry.name, entry.params.len(), entry.max_threads);
    }

    let machine = Machine::new();
    let n = 1000u32;
    let x = machine.upload(&(0..n).map(|i| i as f32).collect::<Vec<_>>());
    let y = machine.upload(&vec![1.0f32; n as usize]);
    let axpy = machine.kernel(&module, "axpy").grid(n.div_ceil(128)).block(128);
    let axpy = axpy.arg(x.read()).arg(y.inout()).arg(0.5f32);
    let meter = axpy.clone().arg(n).launch()?;

    println!("y[{}] = {}", n - 1, machine.download(y)?[n as usize - 1]);
    let loads = meter.traffic(Space::Global, Class::Load);
    println!(
        "{} instructions by threads, {} FMA, {} sectors of 32 bytes loaded for {} bytes, {} checks",
        meter.instructions().threads,
        meter.class(Class::Fma).threads,
        loads.sectors,
        loads.bytes,
        meter.checks
    );

    // This count is one element too many.
    match axpy.arg(n + 1).launch() {
        Ok(_) => Err("the fault was missed".into()),
        Err(fault) => {
            println!("{fault}");
            Ok(())
        }
    }
}
