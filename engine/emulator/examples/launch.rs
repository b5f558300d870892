//! Launches a kernel from a PTX file on the CPU: `cargo run -p ptx-emulator --example launch`
//!
//! The kernel is axpy.cu, compiled by NVRTC. The second launch has a mistake in it.

use ptx_emulator::{Access, Arg, Class, Launch, Machine, Module, Space};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse("axpy.ptx", include_str!("axpy.ptx"))?;
    for entry in module.entries() {
        println!("{}: {} parameters, blocks of {:?}", entry.name, entry.params.len(), entry.max_threads);
    }

    let machine = Machine::new();
    let n = 1000;
    let upload = |values: Vec<f32>| -> Result<u64, ptx_emulator::Fault> {
        let at = machine.alloc(4 * values.len());
        machine.write(at, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
        Ok(at)
    };
    let x = upload((0..n).map(|i| i as f32).collect())?;
    let y = upload(vec![1.0; n])?;
    let launch = Launch { grid: [n.div_ceil(128) as u32, 1, 1], block: [128, 1, 1], shared: 0 };
    let args = |count: usize| {
        [
            Arg::Buffer { at: x, bytes: 4 * n, access: Access::Read },
            Arg::Buffer { at: y, bytes: 4 * n, access: Access::ReadWrite },
            Arg::F32(0.5),
            Arg::U32(count as u32),
        ]
    };
    let meter = machine.launch(&module, "axpy", launch, &args(n))?;

    let mut bytes = vec![0; 4 * n];
    machine.read(y, &mut bytes)?;
    let last = f32::from_le_bytes(bytes[4 * n - 4..].try_into()?);
    println!("y[{}] = {last}", n - 1);
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
    match machine.launch(&module, "axpy", launch, &args(n + 1)) {
        Ok(_) => Err("the fault was missed".into()),
        Err(fault) => {
            println!("{fault}");
            Ok(())
        }
    }
}
