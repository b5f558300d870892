use std::fmt::Debug;

use half::bf16;

use super::*;
use crate::Rng;
use crate::simd::{Level, TURN, limit};

/// Half a unit in the last place of 1, the most that a rounding changes: of f32, and of bf16.
const F32: f64 = 1.0 / (1 << 24) as f64;
const BF16: f64 = 1.0 / (1 << 8) as f64;
const LEVELS: [Level; 3] = [Level::Avx512, Level::Avx2, Level::Portable];

/// An element as the tests see it.
trait Value: Copy + PartialEq + Debug + Send + Sync {
    /// Half a unit in the last place of 1.
    const HALF: f64;
    fn of(x: f64) -> Self;
    fn value(self) -> f64;
}

impl Value for f32 {
    const HALF: f64 = F32;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn value(self) -> f64 {
        f64::from(self)
    }
}

impl Value for bf16 {
    const HALF: f64 = BF16;
    fn of(x: f64) -> Self {
        bf16::from_f64(x)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
}

fn random<E: Value>(n: usize, op: u32) -> Vec<E> {
    let mut rng = Rng::keyed(3, 0, 0, op);
    (0..n).map(|_| E::of(rng.normal())).collect()
}

fn mat<E>(data: &[E], ld: usize, transposed: bool) -> Mat<'_, E> {
    if transposed { Mat::transposed(data, ld) } else { Mat::rows(data, ld) }
}

/// A random `[rows cols]` as it lies in memory, with NaN in what is beside it and below it, which must not be read.
fn operand<E: Value>([rows, cols]: [usize; 2], ld: usize, transposed: bool, op: u32) -> Vec<E> {
    let (outer, inner) = if transposed { (cols, rows) } else { (rows, cols) };
    let mut data = random(ld * (outer + 2), op);
    for (i, row) in data.chunks_mut(ld).enumerate() {
        row[if i < outer { inner } else { 0 }..].fill(E::of(f64::NAN));
    }
    data
}

/// Element `(i, j)` of what a [`Mat`] stands for.
fn element<E: Value>(mat: Mat<E>, i: usize, j: usize) -> f64 {
    mat.data[if mat.transposed { j * mat.ld + i } else { i * mat.ld + j }].value()
}

/// The product and the sum of absolute products of an element, in f64.
fn exact<E: Value>(a: Mat<E>, b: Mat<E>, k: usize, i: usize, j: usize) -> (f64, f64) {
    let products = (0..k).map(|p| element(a, i, p) * element(b, p, j));
    products.fold((0.0, 0.0), |(sum, sizes), product| (sum + product, sizes + product.abs()))
}

/// Every layout of a size with everything that is added, against f64. The bound is that of k + 2 additions, each rounded,
/// in any order, and of what is stored.
fn every_layout<E: Value + Multiply<O>, O: Value>([m, n, k]: [usize; 3], level: Level) {
    let ldc = n + 2;
    // As it is, and transposed.
    let lds = [[k + 3, n + 1], [m + 3, k + 1]];
    let layouts = [false, true].map(|transposed| {
        let [lda, ldb] = lds[usize::from(transposed)];
        (operand::<E>([m, k], lda, transposed, 0), operand::<E>([k, n], ldb, transposed, 1))
    });
    let (before, bias) = (random::<O>(ldc * m, 2), random::<f32>(n, 3));
    for case in 0..32 {
        let [ta, tb, accumulate, add_bias, serial] = [0, 1, 2, 3, 4].map(|bit| case >> bit & 1 == 1);
        let (of_a, of_b) = (usize::from(ta), usize::from(tb));
        let (a, b) = (mat(&layouts[of_a].0, lds[of_a][0], ta), mat(&layouts[of_b].1, lds[of_b][1], tb));
        let mut c = before.clone();
        let options = Options { accumulate, bias: add_bias.then_some(&bias[..]), serial };
        multiply([m, n, k], a, b, &mut c, ldc, options);
        for i in 0..m {
            let (c, before) = (&c[i * ldc..][..ldc], &before[i * ldc..][..ldc]);
            for j in 0..n {
                let (mut want, mut sizes) = exact(a, b, k, i, j);
                for added in [add_bias.then_some(bias[j].value()), accumulate.then_some(before[j].value())] {
                    want += added.unwrap_or(0.0);
                    sizes += added.unwrap_or(0.0).abs();
                }
                let sums = (k + 2) as f64 * F32 * sizes;
                let bound = 1.001 * (sums + if O::HALF > F32 { O::HALF * (want.abs() + sums) } else { 0.0 });
                let error = (c[j].value() - want).abs();
                assert!(error <= bound, "{m} {n} {k} {options:?} {ta} {tb} at {level:?}: {error} > {bound}");
            }
            assert!(c[n..] == before[n..], "{m} {n} {k}: columns beyond n were written");
        }
    }
}

/// Sizes around those of tiles, panels and parts.
const SIZES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [5, 7, 3],
    [8, 48, 2],
    [3, 17, 65],
    [65, 65, 17],
    [33, 100, 130],
    [17, 56, 771],
    [2, 113, 1540],
    [4, 9, 0],
];

#[test]
fn every_layout_matches_plain_loops() {
    let _turn = TURN.lock();
    for size in SIZES {
        every_layout::<f32, f32>(size, Level::Avx512);
        for level in LEVELS {
            limit(level);
            every_layout::<bf16, f32>(size, level);
            every_layout::<bf16, bf16>(size, level);
        }
        limit(Level::Avx512);
    }
    every_layout::<bf16, bf16>([197, 64, 200], Level::Avx512);
}

#[test]
fn a_product_is_the_chain_that_the_documentation_says() {
    let _turn = TURN.lock();
    if !crate::simd::bf16_products() {
        return println!("skipped: no vdpbf16ps");
    }
    for [m, n, k] in SIZES {
        let (a, b) = (random::<bf16>(m * k, 0), random::<bf16>(k * n, 1));
        let (bias, before) = (random::<f32>(n, 2), random::<bf16>(m * n, 3));
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let (a, b) = (mat(&a, if ta { m } else { k }, ta), mat(&b, if tb { k } else { n }, tb));
            let (mut sums, mut rounded) = (vec![f32::NAN; m * n], before.clone());
            gemm(m, n, k, a, b, &mut sums, n, false);
            multiply(
                [m, n, k],
                a,
                b,
                &mut rounded,
                n,
                Options { accumulate: true, bias: Some(&bias), ..Options::default() },
            );
            for at in 0..m * n {
                let (i, j) = (at / n, at % n);
                let add = |sum: f32, p| {
                    if p < k { element(a, i, p).mul_add(element(b, p, j), sum.value()) as f32 } else { sum }
                };
                let sum = (0..k).step_by(2).fold(0.0, |sum, p| add(add(sum, p + 1), p));
                assert_eq!(sums[at], sum, "{m} {n} {k} {ta} {tb}: element {at}");
                let stored = bf16::from_f32(sum + bias[j] + before[at].to_f32());
                assert_eq!(rounded[at], stored, "{m} {n} {k} {ta} {tb}: element {at}");
            }
        }
    }
}

#[test]
fn what_is_stored_is_rounded_once_to_the_nearest_even() {
    let _turn = TURN.lock();
    let power = |exponent: i32| 2f32.powi(exponent);
    let cases = [
        ("a tie goes down to even", power(-8), 1.0),
        ("a tie goes up to even", power(-7) + power(-8), 1.0 + power(-6)),
        ("just above a tie", power(-8) + power(-20), 1.0 + power(-7)),
        ("just below a tie", power(-8) - power(-20), 1.0),
    ];
    for level in LEVELS {
        limit(level);
        for (what, bias, want) in cases {
            let (one, mut c) = ([bf16::ONE], [bf16::ZERO]);
            let options = Options { bias: Some(&[bias]), ..Options::default() };
            multiply([1, 1, 1], Mat::rows(&one, 1), Mat::rows(&one, 1), &mut c, 1, options);
            assert_eq!(c[0].to_f32(), want, "{what} at {level:?}");
            // 1 + 2^-8 is a tie: rounded before C is added, the rest would be lost.
            let mut c = [bf16::from_f32(bias - power(-8))];
            let pair = [bf16::ONE, bf16::from_f32(power(-8))];
            let ones = [bf16::ONE; 2];
            gemm(1, 1, 2, Mat::rows(&pair, 2), Mat::rows(&ones, 1), &mut c, 1, true);
            assert_eq!(c[0].to_f32(), want, "{what}, in C, at {level:?}");
        }
    }
    limit(Level::Avx512);
}

/// What is not finite goes where it belongs and nowhere else.
#[test]
fn nan_and_infinity_are_carried() {
    let _turn = TURN.lock();
    let (m, n, k) = (21, 50, 37);
    for level in LEVELS {
        limit(level);
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut a, mut b) = (vec![bf16::ONE; m * k], vec![bf16::ONE; k * n]);
            let at = |i, p| if ta { p * m + i } else { i * k + p };
            (a[at(20, 36)], a[at(3, 5)]) = (bf16::NAN, bf16::INFINITY);
            let bt = |p, j| if tb { j * k + p } else { p * n + j };
            (b[bt(36, 49)], b[bt(5, 7)]) = (bf16::NEG_INFINITY, bf16::ZERO);
            let mut c = vec![bf16::ZERO; m * n];
            let (a, b) = (mat(&a, if ta { m } else { k }, ta), mat(&b, if tb { k } else { n }, tb));
            gemm(m, n, k, a, b, &mut c, n, false);
            for i in 0..m {
                for j in 0..n {
                    let value = c[i * n + j].to_f32();
                    let right = match (i, j) {
                        // NaN, infinity minus infinity, and infinity times zero.
                        (20, _) | (3, 49 | 7) => value.is_nan(),
                        (3, _) => value == f32::INFINITY,
                        (_, 49) => value == f32::NEG_INFINITY,
                        (_, 7) => value == k as f32 - 1.0,
                        _ => value == k as f32,
                    };
                    assert!(right, "{ta} {tb} at {level:?}: {value} at {i}, {j}");
                }
            }
        }
    }
    limit(Level::Avx512);
}

/// The product on one thread, on the calling thread alone and on several.
fn threads<E: Value + Multiply<O>, O: Value>([m, n, k]: [usize; 3]) {
    let (a, b) = (random::<E>(m * k, 0), random::<E>(k * n, 1));
    for (ta, tb) in [(false, false), (true, true)] {
        let (a, b) = (mat(&a, if ta { m } else { k }, ta), mat(&b, if tb { k } else { n }, tb));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![O::of(0.0); m * n];
            pool.install(|| gemm(m, n, k, a, b, &mut c, n, false));
            c
        };
        let one = run(1);
        let mut serial = vec![O::of(0.0); m * n];
        gemm_serial(m, n, k, a, b, &mut serial, n, false);
        assert!(serial == one, "{m} {n} {k} on the calling thread");
        for threads in [2, 3, 7] {
            assert!(run(threads) == one, "{m} {n} {k} with {threads} threads");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let _turn = TURN.lock();
    for size in [[1576, 1536, 384], [197, 384, 768], [384, 64, 1576], [65, 512, 128], [8, 1000, 771]] {
        threads::<f32, f32>(size);
        for level in [Level::Avx512, Level::Portable] {
            limit(level);
            threads::<bf16, f32>(size);
            threads::<bf16, bf16>(size);
        }
        limit(Level::Avx512);
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let data = [bf16::ONE; 12];
    let refused = |[m, n, k]: [usize; 3], lda, ldc| {
        let call =
            || gemm(m, n, k, Mat::rows(&data, lda), Mat::rows(&data, n), &mut [0.0f32; 12], ldc, false);
        std::panic::catch_unwind(call).is_err()
    };
    assert!(!refused([3, 3, 4], 4, 4));
    assert!(refused([4, 3, 4], 4, 3), "A is too short");
    assert!(refused([3, 3, 4], 3, 3), "rows of A overlap");
    assert!(refused([3, 4, 3], 3, 5), "C is too short");
    assert!(refused([3, 4, 3], 3, 3), "rows of C overlap");
    let bias = || {
        let (a, b) = (Mat::rows(&data, 2), Mat::rows(&data, 3));
        multiply(
            [2, 3, 2],
            a,
            b,
            &mut [0.0f32; 6],
            3,
            Options { bias: Some(&[0.0; 2]), ..Options::default() },
        )
    };
    assert!(std::panic::catch_unwind(bias).is_err(), "the bias is too short");
}
