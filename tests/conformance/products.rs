//! Matrix products: products of ones at the shapes of Vim-S training, whose result is known exactly, and the engine's own
//! kernel against plain loops.

use engine::blas::{RowMajor, gemm};
use engine::launch::{BlasGemm, ColumnMajor, Launcher, Region};
use engine::plain_gemm::plain_gemm;
use engine::{DType, Device, Result, Rng, Tensor};
use half::bf16;
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
        Tensor::from_slice(device, &ones, &[rows, columns]).cast(device, dtype)
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

/// The bytes of values in a type.
fn encode(values: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
    }
}

fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        DType::Bf16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
    }
}

/// Computes products of all sizes, types and transpositions, with sums onto C and biases, by the engine's own kernel. They
/// must be those of plain loops in f64, and what lies between the columns of C must stay.
pub fn plain_products_match_loops(device: &dyn Launcher) {
    let types = [(DType::F32, DType::F32), (DType::Bf16, DType::F32), (DType::Bf16, DType::Bf16)];
    let sizes = [[1, 1, 1], [5, 3, 7], [65, 1, 130], [1, 70, 17], [67, 129, 33], [3, 3, 0]];
    for case in 0..sizes.len() * types.len() * 16 {
        let ([m, n, k], case) = (sizes[case % sizes.len()], case / sizes.len());
        let ((input, output), case) = (types[case % types.len()], case / types.len());
        let on = |bit: usize| case >> bit & 1 == 1;
        let (ta, tb, beta) = (on(0), on(1), if on(2) { 1.0 } else { 0.0 });
        let (lda, ldb, ldc) = (if ta { k } else { m } + 3, if tb { n } else { k } + 1, m + 2);
        let counts = [lda * if ta { m } else { k.max(1) }, ldb * if tb { k.max(1) } else { n }, ldc * n, m];
        let dtypes = [input, input, output, DType::F32];
        let mut rng = Rng::keyed(9, 0, 0, case as u32);
        let mut regions = [Region::EMPTY; 4];
        let mut held = vec![];
        for (i, region) in regions.iter_mut().enumerate() {
            let values: Vec<f32> = (0..counts[i]).map(|_| rng.normal() as f32).collect();
            let bytes = encode(&values, dtypes[i]);
            *region = device.alloc(bytes.len()).unwrap();
            device.upload(*region, &bytes).unwrap();
            held.push(decode(&bytes, dtypes[i]));
        }
        let [a, b, c, bias] = regions;
        let bias = (on(3) && output == DType::F32).then_some(bias);
        let a_operand = ColumnMajor { region: a, ld: lda, transposed: ta };
        let b_operand = ColumnMajor { region: b, ld: ldb, transposed: tb };
        let tf32 = false;
        let g = BlasGemm { m, n, k, a: a_operand, b: b_operand, c, ldc, input, output, beta, bias, tf32 };
        plain_gemm(device, &g).unwrap();
        let mut bytes = vec![0; c.bytes];
        device.download(c, &mut bytes).unwrap();
        let got = decode(&bytes, output);
        for at in 0..ldc * n {
            let (i, j) = (at % ldc, at / ldc);
            if i >= m {
                assert_eq!(got[at], held[2][at], "between the columns");
                continue;
            }
            let term = |p: usize| {
                let a = held[0][if ta { i * lda + p } else { p * lda + i }];
                let b = held[1][if tb { p * ldb + j } else { j * ldb + p }];
                f64::from(a) * f64::from(b)
            };
            let mut want: f64 = (0..k).map(term).sum();
            want += f64::from(beta) * f64::from(held[2][at]);
            want += if bias.is_some() { f64::from(held[3][i]) } else { 0.0 };
            let size = (0..k).map(|p| term(p).abs()).sum::<f64>() + 4.0;
            // The roundings of k + 2 sums, and that of the result.
            let rounding = if output == DType::Bf16 { want.abs() * 2f64.powi(-8) } else { 0.0 };
            let error = (f64::from(got[at]) - want).abs();
            let tolerance = size * (k + 2) as f64 * 2f64.powi(-24) + rounding;
            assert!(error <= tolerance, "{m} {n} {k} {input:?} {output:?} [{i} {j}]: {} {want}", got[at]);
        }
        regions.into_iter().for_each(|region| device.free(region));
    }
}
