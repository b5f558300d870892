//! Measures the thread-instructions a second of one core on a small selective scan, with checks and without:
//! `cargo run --release -p ptx-emulator --example speed`

use std::time::Instant;

use ptx_emulator::{Access, Arg, Class, Launch, Machine, Meter, Module, Options};

const BATCH: usize = 2;
const LENGTH: usize = 197;
const CHANNELS: usize = 192;
const STATES: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse("scan.ptx", include_str!("scan.ptx"))?;
    for checks in [true, false] {
        let machine = Machine::with(Options { checks, threads: 1, ..Options::default() });
        let mut best = f64::INFINITY;
        let mut meter = Meter::default();
        for _ in 0..5 {
            let start = Instant::now();
            meter = scan(&machine, &module)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let n = meter.instructions();
        println!(
            "checks {}: {:.0} million thread-instructions a second ({} in {:.1} ms)",
            if checks { "on " } else { "off" },
            n.threads as f64 / best / 1e6,
            n.threads,
            best * 1e3
        );
        if checks {
            for (class, count) in &meter.classes {
                println!("  {class:?}: {:.1} %", 100.0 * count.threads as f64 / n.threads as f64);
            }
            let per_element =
                meter.class(Class::Mufu).threads as f64 / (BATCH * LENGTH * CHANNELS * STATES) as f64;
            println!(
                "  special functions per element and state: {per_element:.2}; checks made: {}",
                meter.checks
            );
        }
    }
    Ok(())
}

fn scan(machine: &Machine, module: &Module) -> Result<Meter, Box<dyn std::error::Error>> {
    let mut wave = 0.3f32;
    let mut input = |n: usize| -> Result<Arg, ptx_emulator::Fault> {
        let at = machine.alloc(4 * n);
        let bytes: Vec<u8> = (0..n)
            .flat_map(|_| {
                wave = (wave * 3.9 * (1.0 - wave)).clamp(0.01, 0.99);
                wave.to_le_bytes()
            })
            .collect();
        machine.write(at, &bytes)?;
        Ok(Arg::Buffer { at, bytes: 4 * n, access: Access::Read })
    };
    let tokens = BATCH * LENGTH;
    let (u, delta) = (input(tokens * CHANNELS)?, input(tokens * CHANNELS)?);
    let (a_log, bc, d) = (input(CHANNELS * STATES)?, input(tokens * 2 * STATES)?, input(CHANNELS)?);
    let at = machine.alloc(4 * tokens * CHANNELS);
    let y = Arg::Buffer { at, bytes: 4 * tokens * CHANNELS, access: Access::Write };
    let launch =
        Launch { grid: [CHANNELS.div_ceil(128) as u32, BATCH as u32, 1], block: [128, 1, 1], shared: 0 };
    let args = [u, delta, a_log, bc, d, y, Arg::U32(LENGTH as u32), Arg::U32(CHANNELS as u32)];
    let meter = machine.launch(module, "scan", launch, &args)?;
    for arg in args {
        if let Arg::Buffer { at, .. } = arg {
            machine.free(at);
        }
    }
    Ok(meter)
}
