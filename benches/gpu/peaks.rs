//! What the device can do at most: measured copies and products, and its special functions by its attributes.

use std::fmt;

use engine::blas::{Place, gemm};
use engine::launch::Launcher;
use engine::{DType, Device, Result, Rng, Tensor};
use serde_json::{Value, json};

use crate::Bench;

/// Exponentials a cycle of one multiprocessor (MUFU).
const MUFU: f64 = 16.0;

/// Rates a second.
pub struct Peaks {
    /// Bytes read and written by a large copy.
    pub bytes: f64,
    pub exp: f64,
    /// Of a large product, f32 and bf16.
    pub flop: [f64; 2],
}

impl Peaks {
    pub fn measure(bench: &Bench) -> Result<Self> {
        let info = bench.cuda.info();
        let exp = MUFU * info.multiprocessors as f64 * info.clock_hz;
        let device = bench.device();
        let (n, size) = if bench.smoke { (1 << 12, 64) } else { (1 << 28, 8192) };
        let (from, mut to) = (Tensor::zeros(&device, &[n]), Tensor::zeros(&device, &[n]));
        let times = bench.times(|| bench.cuda.copy(to.region_mut(), from.region()))?;
        let bytes = (8 * n) as f64 / times[times.len() / 2];
        drop((from, to));
        let flop = [product(bench, &device, size, DType::F32)?, product(bench, &device, size, DType::Bf16)?];
        Ok(Peaks { bytes, exp, flop })
    }

    pub fn flop(&self, dtype: DType) -> f64 {
        self.flop[usize::from(dtype == DType::Bf16)]
    }

    pub fn json(&self) -> Value {
        json!({
            "copy_bytes_per_s": self.bytes,
            "exp_per_s": self.exp,
            "flop_per_s_f32": self.flop[0],
            "flop_per_s_bf16": self.flop[1],
        })
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "copies {:.0} GB/s, products {:.1} TFLOP/s in f32 and {:.1} in bf16 (measured), {:.2} T exponentials/s (by its clock)",
            self.bytes / 1e9,
            self.flop[0] / 1e12,
            self.flop[1] / 1e12,
            self.exp / 1e12
        )
    }
}

/// FLOP a second of a square product of random values: zeros would be faster.
fn product(bench: &Bench, device: &Device, n: usize, dtype: DType) -> Result<f64> {
    let mut rng = Rng::keyed(0, 0, 0, 0);
    let drawn: Vec<f32> = (0..1 << 16).map(|_| rng.normal() as f32).collect();
    let values: Vec<f32> = drawn.iter().copied().cycle().take(n * n).collect();
    let a = Tensor::from_slice(device, &values, &[n, n]).cast(dtype)?;
    let b = a.to_owned_on(device);
    let mut c = Tensor::empty_typed(device, dtype, &[n, n]);
    let launcher = device.launcher().expect("a launched device");
    let times = bench.times(|| {
        let c = Place::result(&mut c, 0, n);
        gemm(launcher, [n, n, n], Place::rows(&a, 0, n), Place::transposed(&b, 0, n), c, false)
    })?;
    Ok(2.0 * (n as f64).powi(3) / times[times.len() / 2])
}
