//! Measures one core: the thread-instructions a second of a small selective scan, with checks and without, and the
//! multiply-adds a second of `mma`. `cargo run --release -p ptx-emulator --example speed`

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
    for (opcode, sums, factors) in PRODUCTS {
        let n = multiply_adds_a_second(opcode, sums, factors)?;
        println!("{opcode}: {:.0} million multiply-adds a second", n / 1e6);
    }
    Ok(())
}

/// Opcodes of `mma`, with the numbers of registers of D and of A.
const PRODUCTS: [(&str, usize, usize); 5] = [
    ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 4, 4),
    ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 4, 4),
    ("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", 2, 4),
    ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 4, 4),
    ("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 4, 4),
];

/// Runs a loop of products by one warp.
fn multiply_adds_a_second(
    opcode: &str,
    sums: usize,
    factors: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let list = |first: usize, n: usize| {
        let all: Vec<String> = (first..first + n).map(|r| format!("%r{r}")).collect();
        format!("{{{}}}", all.join(", "))
    };
    let (d, a, b) = (list(10, sums), list(20, factors), list(30, factors / 2));
    let fill: String = (10..40).map(|r| format!("mov.b32 %r{r}, 0x3c003c00;\n")).collect();
    let product = format!("{opcode} {d}, {a}, {b}, {d};\n").repeat(8);
    let text = format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry products(.param .u32 n)\n{{
.reg .pred %p;\n.reg .b32 %r<40>;\nld.param.u32 %r0, [n];\n{fill}LOOP:\n{product}
sub.u32 %r0, %r0, 1;\nsetp.ne.u32 %p, %r0, 0;\n@%p bra LOOP;\nret;\n}}\n"
    );
    let module = Module::parse("products.ptx", &text)?;
    let machine = Machine::with(Options { threads: 1, ..Options::default() });
    let launch = Launch { grid: [1, 1, 1], block: [32, 1, 1], shared: 0 };
    let mut best = 0f64;
    // Short runs, so that some are not interrupted on a machine that does other work.
    for _ in 0..200 {
        let start = Instant::now();
        let meter = machine.launch(&module, "products", launch, &[Arg::U32(300)])?;
        best = best.max(meter.multiply_adds as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
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
