//! Matrix products whose result is known exactly: products of ones, at the shapes of Vim-S training.

use engine::blas::{RowMajor, gemm};
use engine::{DType, Device, Result, Tensor};
use testkit::cuda::{self, wanted};

/// Rows of the activations: 96 images of 197 tokens.
const ROWS: usize = 96 * 197;

/// Shapes `[m n k]`: weight gradients of the prompts, whose long sums a library may split, and a wide forward product.
const SHAPES: [[usize; 3]; 5] =
    [[384, 384, ROWS], [64, 384, ROWS], [384, 64, ROWS], [100, 384, 96], [8 * 197, 1536, 384]];

/// Every element of a product of ones is the length of the sum, so a part that is left out or added twice shows.
fn product(device: &Device, [m, n, k]: [usize; 3], dtype: DType) -> Result<Vec<f32>> {
    let ones = |rows, columns| -> Result<Tensor> {
        let ones = vec![1.0; rows * columns];
        Tensor::from_slice(device, &ones, &[rows, columns]).cast(dtype)
    };
    let mut c = Tensor::empty(device, &[m, n]);
    let launcher = device.launcher().expect("a launched device");
    // The operands lie as in weight gradients: both have the long side in rows.
    let (a, b) = (ones(k, m)?, ones(k, n)?);
    let (a, b) = (RowMajor::transposed(&a, 0, m), RowMajor::rows(&b, 0, n));
    gemm(launcher, [m, n, k], a, b, RowMajor::result(&mut c, 0, n), false)?;
    c.to_host()
}

#[test]
fn products_of_ones_count_exactly() {
    let mut devices = vec![];
    if wanted("emulated") {
        devices.push(Device::emulated());
    }
    devices.extend(cuda::launcher().map(|cuda| Device::launched(std::sync::Arc::new(cuda))));
    // `CASE=small` is a try of the test: its smallest product alone.
    let small = std::env::var("CASE").is_ok_and(|case| case == "small");
    let shapes = if small { &SHAPES[3..4] } else { &SHAPES[..] };
    for device in &devices {
        for &shape in shapes {
            for (dtype, tf32) in [(DType::F32, false), (DType::F32, true), (DType::Bf16, false)] {
                device.allow_tf32(tf32);
                let got = product(device, shape, dtype).unwrap();
                let wrong = got.iter().position(|&v| v != shape[2] as f32);
                let at = wrong.map(|at| (at, got[at]));
                assert!(at.is_none(), "{} {shape:?} {dtype:?} tf32 {tf32}: {at:?}", device.name());
            }
        }
        println!(
            "products: {} shapes in f32, TF32 and bf16 count exactly on {}",
            shapes.len(),
            device.name()
        );
    }
}
