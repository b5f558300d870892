//! What the device can do at most, measured: copies, products, and exponentials on the special function units.

use std::fmt::{self, Write};

use engine::blas::{RowMajor, gemm};
use engine::launch::{Arg, Grid, Kernel, Launcher, PtxFile};
use engine::{DType, Device, Result, Rng, Tensor};
use serde::Serialize;

use crate::Bench;

/// Rates a second.
#[derive(Serialize)]
pub struct Peaks {
    /// Bytes read and written by a large copy.
    pub bytes: f64,
    /// `ex2.approx` on all multiprocessors.
    pub exp: f64,
    /// Of a large product.
    flop_f32: f64,
    flop_bf16: f64,
}

impl Peaks {
    pub fn measure(bench: &Bench) -> Result<Self> {
        let device = bench.device();
        let (n, size) = if bench.smoke { (1 << 12, 64) } else { (1 << 28, 8192) };
        let (from, mut to) = (Tensor::zeros(&device, &[n]), Tensor::zeros(&device, &[n]));
        let times = bench.times(|| bench.cuda.copy(to.region_mut(), from.region()))?;
        drop((from, to));
        Ok(Peaks {
            bytes: (8 * n) as f64 / times[times.len() / 2],
            exp: exponentials(bench, &device)?,
            flop_f32: product(bench, &device, size, DType::F32)?,
            flop_bf16: product(bench, &device, size, DType::Bf16)?,
        })
    }

    /// Issue slots of warps. A multiprocessor has 4 a cycle, and 16 exponentials.
    pub fn slots(&self) -> f64 {
        self.exp * 4.0 / 16.0
    }

    /// Passes through shared memory, of which a multiprocessor makes one a cycle.
    pub fn shared(&self) -> f64 {
        self.exp / 16.0
    }

    pub fn flop(&self, dtype: DType) -> f64 {
        match dtype {
            DType::F32 => self.flop_f32,
            DType::Bf16 => self.flop_bf16,
        }
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "copies {:.0} GB/s, exponentials {:.2} T/s, products {:.1} TFLOP/s in f32 and {:.1} in bf16",
            self.bytes / 1e9,
            self.exp / 1e12,
            self.flop_f32 / 1e12,
            self.flop_bf16 / 1e12
        )
    }
}

/// FLOP a second of a square product of random values: zeros would be faster.
fn product(bench: &Bench, device: &Device, n: usize, dtype: DType) -> Result<f64> {
    let mut rng = Rng::keyed(0, 0, 0, 0);
    let drawn: Vec<f32> = (0..1 << 16).map(|_| rng.normal() as f32).collect();
    let values: Vec<f32> = drawn.iter().copied().cycle().take(n * n).collect();
    let a = Tensor::from_slice(device, &values, &[n, n]).cast(device, dtype)?;
    let b = a.to_owned_on(device);
    let mut c = Tensor::empty_typed(device, dtype, &[n, n]);
    let launcher = device.launcher().expect("a launched device");
    let times = bench.times(|| {
        let c = RowMajor::result(&mut c, 0, n);
        gemm(launcher, [n, n, n], RowMajor::rows(&a, 0, n), RowMajor::transposed(&b, 0, n), c, false)
    })?;
    Ok(2.0 * (n as f64).powi(3) / times[times.len() / 2])
}

/// Independent chains of a thread.
const CHAINS: usize = 16;
const THREADS: u32 = 256;

/// `x = 2^-x` over and over: stays near its fixed point, and the sign is part of the instruction.
fn chains() -> PtxFile {
    let mut text = format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n\
         .visible .entry exponentials(.param .u64 exponentials_out, .param .u32 exponentials_rounds)\n\
         .maxntid {THREADS}, 1, 1\n{{\n\
         .reg .b64 %out;\n.reg .b32 %thread, %block, %at, %round;\n.reg .pred %more;\n\
         .reg .f32 %x<{CHAINS}>, %y<{CHAINS}>;\n\
         ld.param.u64 %out, [exponentials_out];\nld.param.u32 %round, [exponentials_rounds];\n\
         mov.u32 %thread, %tid.x;\nmov.u32 %block, %ctaid.x;\n\
         mad.lo.s32 %at, %block, {THREADS}, %thread;\nmad.wide.u32 %out, %at, 4, %out;\n"
    );
    let mut each = |line: &dyn Fn(usize) -> String| {
        (0..CHAINS).for_each(|chain| writeln!(text, "{}", line(chain)).expect("a string takes all"));
    };
    each(&|c| {
        format!(
            "cvt.rn.f32.u32 %x{c}, %thread;\nmul.f32 %x{c}, %x{c}, 0f{:08X};",
            (1e-3 + 1e-4 * c as f32).to_bits()
        )
    });
    each(&|c| if c == 0 { "again:".into() } else { String::new() });
    each(&|c| format!("neg.ftz.f32 %y{c}, %x{c};\nex2.approx.ftz.f32 %x{c}, %y{c};"));
    each(&|c| match c {
        0 => "add.s32 %round, %round, -1;\nsetp.ne.s32 %more, %round, 0;\n@%more bra again;".into(),
        _ => format!("add.f32 %x0, %x0, %x{c};"),
    });
    text += "st.global.f32 [%out], %x0;\nret;\n}\n";
    PtxFile { name: "benches/exponentials.ptx", text: text.leak() }
}

/// Exponentials a second.
fn exponentials(bench: &Bench, device: &Device) -> Result<f64> {
    let (blocks, rounds) = match bench.smoke {
        true => (1, 2),
        false => (64 * bench.cuda.info().limits.multiprocessors as u32, 256),
    };
    let kernel = Kernel { file: Box::leak(Box::new(chains())), entry: "exponentials" };
    let grid = Grid { blocks: [blocks, 1, 1], threads: [THREADS, 1, 1], shared: 0 };
    let threads = (blocks * THREADS) as usize;
    let mut out = Tensor::empty(device, &[threads]);
    let times = bench.times(|| bench.cuda.launch(kernel, grid, &[out.arg_mut(), Arg::U32(rounds)]))?;
    // Every chain is at its fixed point, 0.6412, by then, or on its way there.
    let sums = out.to_host()?;
    let near = |sum: &f32| (sum / CHAINS as f32 - 0.64).abs() < if bench.smoke { 0.36 } else { 1e-2 };
    assert!(sums.iter().all(near), "wrong exponentials");
    Ok(threads as f64 * CHAINS as f64 * f64::from(rounds) / times[times.len() / 2])
}
