//! Products, also those that cuBLASLt has no algorithm for as they were asked for first (see `Blas::choose` of the fake
//! library): they must be computed all the same, with one line on stderr for each kind.

use engine::cuda::Cuda;
use engine::emulated::Emulated;
use engine::launch::{BlasGemm, ColumnMajor, Launcher, Region};
use engine::{DType, Rng};
use half::bf16;

use super::child::{calls, log, on_fake};

/// A product, but for the addresses of its matrices.
#[derive(Debug, Clone, Copy)]
struct Case {
    size: [usize; 3],
    /// The distances between the columns of A, B and C beyond the fewest.
    gaps: [usize; 3],
    transposed: [bool; 2],
    types: (DType, DType),
    accumulate: bool,
    bias: bool,
    tf32: bool,
}

fn encode(value: f32, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => value.to_le_bytes().into(),
        DType::Bf16 => bf16::from_f32(value).to_le_bytes().into(),
    }
}

/// Computes the product of random values, and returns C before and after.
fn computed(launcher: &dyn Launcher, case: &Case) -> [Vec<u8>; 2] {
    let ([m, n, k], (input, output), [ta, tb]) = (case.size, case.types, case.transposed);
    let least = [if ta { k } else { m }, if tb { n } else { k }, m];
    let [lda, ldb, ldc] = [0, 1, 2].map(|i| least[i] + case.gaps[i]);
    let counts = [lda * if ta { m } else { k }, ldb * if tb { k } else { n }, ldc * n, m];
    let dtypes = [input, input, output, DType::F32];
    let mut rng = Rng::keyed(3, 0, 0, (m * n + k) as u32);
    let bytes: [Vec<u8>; 4] = std::array::from_fn(|i| {
        (0..counts[i]).flat_map(|_| encode(rng.normal() as f32, dtypes[i])).collect()
    });
    let regions = bytes.each_ref().map(|bytes| {
        let region = launcher.alloc(bytes.len()).unwrap();
        launcher.upload(region, bytes).unwrap();
        region
    });
    let operand = |region: Region, ld, transposed| ColumnMajor { region, ld, transposed };
    let gemm = BlasGemm {
        m,
        n,
        k,
        a: operand(regions[0], lda, ta),
        b: operand(regions[1], ldb, tb),
        c: regions[2],
        ldc,
        input,
        output,
        beta: if case.accumulate { 1.0 } else { 0.0 },
        bias: case.bias.then_some(regions[3]),
        tf32: case.tf32,
    };
    launcher.gemm(&gemm).unwrap();
    let [_, _, before, _] = bytes;
    let mut after = vec![0; before.len()];
    launcher.download(regions[2], &mut after).unwrap();
    regions.into_iter().for_each(|region| launcher.free(region));
    [before, after]
}

fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        DType::Bf16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
    }
}

/// Transpositions, gaps between columns, types, sums onto C, a bias, TF32.
#[test]
fn products_have_the_values_of_the_emulated_device() {
    on_fake("products::products_have_the_values_of_the_emulated_device", &[], || {
        let (cuda, emulated) = (Cuda::open(0).unwrap(), Emulated::new());
        let types = [(DType::F32, DType::F32), (DType::Bf16, DType::F32), (DType::Bf16, DType::Bf16)];
        for (i, size) in [[1, 1, 1], [5, 3, 7], [16, 33, 40]].into_iter().cycle().take(48).enumerate() {
            let on = |bit: usize| i >> bit & 1 == 1;
            let types = types[i % 3];
            let case = Case {
                size,
                gaps: [3, 1, 2],
                transposed: [on(0), on(1)],
                types,
                accumulate: on(2),
                bias: on(3) && types.1 == DType::F32,
                tf32: on(4),
            };
            let ([before, got], [_, want]) = (computed(&cuda, &case), computed(&emulated, &case));
            assert!(got != before, "nothing was written");
            assert!(got == want, "{i}: {case:?}");
        }
    });
}

const PLAIN: Case = Case {
    size: [6, 5, 7],
    gaps: [0; 3],
    transposed: [false; 2],
    types: (DType::Bf16, DType::F32),
    accumulate: false,
    bias: false,
    tf32: false,
};

/// cuBLASLt is asked three times, and then a kernel of our own computes the product.
#[test]
fn products_without_an_algorithm() {
    let test = "products::products_without_an_algorithm";
    let said = on_fake(test, &[], || {
        let (cuda, emulated) = (Cuda::open(0).unwrap(), Emulated::new());
        let own = Case { size: [1, 70, 9], accumulate: true, bias: true, ..PLAIN };
        for (case, asked) in [
            (Case { gaps: [1, 1, 0], ..PLAIN }, 2),
            (Case { gaps: [1, 1, 0], size: [8, 5, 7], ..PLAIN }, 2),
            (Case { size: [1, 5, 8], gaps: [1, 0, 0], ..PLAIN }, 3),
            (own, 3),
            (Case { types: (DType::Bf16, DType::Bf16), bias: false, ..own }, 3),
            (Case { transposed: [true, true], ..own }, 3),
            (own, 0),
        ] {
            let before = log().len();
            let got = computed(&cuda, &case)[1].clone();
            let calls = calls(before);
            let count = |name: &str| calls.iter().filter(|call| *call == name).count();
            assert_eq!(count("cublasLtMatmulAlgoGetHeuristic"), asked, "{case:?}");
            let is_own = case.size[1] == 70;
            assert_eq!(
                [count("cublasLtMatmul"), count("cuLaunchKernel")],
                [1 - usize::from(is_own), is_own.into()]
            );
            let [got, want] =
                [got, computed(&emulated, &case)[1].clone()].map(|bytes| decode(&bytes, case.types.1));
            for (got, want) in got.iter().zip(&want) {
                let tolerance = if case.types.1 == DType::Bf16 { 0.02 } else { 1e-5 };
                assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{case:?}: {got} {want}");
            }
        }
    });
    let Some(said) = said else { return };
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("cuBLASLt")).collect();
    let want = [
        "gemm 6 5 7 bf16 f32, leading dimensions [7, 8, 6], that relies on their alignment; products of this kind take one \
         that does not",
        "gemm 1 5 8 bf16 f32, leading dimensions [2, 8, 1], that may have a workspace; products of this kind take one \
         without",
        "gemm 1 70 9 bf16 f32, leading dimensions [1, 9, 1]; a kernel of this program computes products of this kind, more \
         slowly",
        "gemm 1 70 9 bf16 bf16, leading dimensions [1, 9, 1]; a kernel of this program computes products of this kind, \
         more slowly",
        "gemm 1 70 9 bf16 f32, leading dimensions [9, 70, 1]; a kernel of this program computes products of this kind, \
         more slowly",
    ];
    assert_eq!(lines, want.map(|line| format!("cuBLASLt has no algorithm for {line}")), "{said}");
}
