//! Times of every op at the shapes of Vim-S, batch 8, beside the time that this machine needs at least.
//!
//! The bound of a call is the largest of its bytes at the rate of a large copy, its FLOP at the rate of a large
//! GEMM and its exponentials at the rate of [`Simd::exp`](engine::simd::Simd::exp), all measured at the start
//! with all threads. A call whose data fit the cache may beat the first of them.

#[path = "../tests/harness/mod.rs"]
#[allow(dead_code)]
mod harness;

use std::time::{Duration, Instant};

use autograd::Tape;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use engine::gemm::{Mat, gemm};
use engine::{Device, Tensor, simd_fn};
use harness::{Ask, Problem};
use ptx::registry;
use ptx::spec::Cost;
use rayon::prelude::*;

/// What this machine can do in a second.
struct Peaks {
    bytes: f64,
    flop: f64,
    exp: f64,
}

/// Shortest time of a few tries, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..8).map(time).fold(f64::INFINITY, f64::min)
}

simd_fn! {
    /// x = e^x, `rounds` times over.
    fn exp_rounds<S>(s, rounds: usize, x: &mut [f32]) {
        for _ in 0..rounds {
            for i in (0..x.len()).step_by(S::LANES) {
                let y = s.exp(s.read(x, i));
                s.write(x, i, s.sub(y, s.splat(1.0)));
            }
        }
    }
}

impl Peaks {
    fn measure() -> Self {
        const COPIED: usize = 1 << 25;
        let (from, mut to) = (vec![1.0f32; COPIED], vec![0.0f32; COPIED]);
        let copy = best(|| {
            let chunks = to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16));
            chunks.for_each(|(to, from)| to.copy_from_slice(from));
        });
        const N: usize = 1536;
        let (a, mut c) = (vec![0.5f32; N * N], vec![0.0f32; N * N]);
        let product = best(|| gemm(N, N, N, Mat::rows(&a, N), Mat::rows(&a, N), &mut c, N, false));
        // A block that stays in the first-level cache, for each thread.
        const BLOCK: usize = 4096;
        const ROUNDS: usize = 400;
        let mut x = vec![0.1f32; BLOCK * rayon::current_num_threads()];
        let exp = best(|| x.par_chunks_mut(BLOCK).for_each(|x| exp_rounds(ROUNDS, x)));
        Peaks {
            bytes: (2 * 4 * COPIED) as f64 / copy,
            flop: 2.0 * (N as f64).powi(3) / product,
            exp: (x.len() * ROUNDS) as f64 / exp,
        }
    }

    /// One line: time, bound and what it comes from, share reached.
    fn line(&self, name: &str, time: f64, cost: Cost) -> String {
        let parts = [
            ("bytes", cost.bytes / self.bytes),
            ("FLOP", cost.flop / self.flop),
            ("exp", cost.exp / self.exp),
        ];
        let (what, bound) = parts.into_iter().fold(parts[0], |a, b| if b.1 > a.1 { b } else { a });
        let [bytes, flop, exp] = parts.map(|(_, seconds)| seconds * 1e3);
        format!(
            "{name:<75} {:9.3} {:9.3} {what:<5} {:4.0}%  {bytes:8.3} {flop:8.3} {exp:8.3}",
            time * 1e3,
            bound * 1e3,
            100.0 * bound / time
        )
    }
}

/// Runs one benchmark of calls that time themselves. Returns the best mean of a sample in seconds, infinity
/// when the command line left the benchmark out.
fn bench(group: &mut BenchmarkGroup<WallTime>, name: &str, mut call: impl FnMut() -> Duration) -> f64 {
    let mut least = f64::INFINITY;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let total: Duration = (0..times).map(|_| call()).sum();
            least = least.min(total.as_secs_f64() / times as f64);
            total
        })
    });
    least
}

/// Benchmarks forward and backward of one case: `(what, best time, least work)` of each.
fn bench_case(
    group: &mut BenchmarkGroup<WallTime>,
    device: &Device,
    problem: &Problem,
) -> Vec<(&'static str, f64, Cost)> {
    let (op, case) = (problem.op, &problem.case);
    let (forward_cost, backward_cost) = op.cost(case);
    let tensors = problem.tensors(device);
    let mut upstream = vec![];
    let forward = bench(group, &format!("{} forward", case.name), || {
        let tape = Tape::new(device);
        let inputs = problem.variables(&tape, tensors.clone(), Ask::ALL);
        let start = Instant::now();
        let outputs = op.forward(case, &tape, &inputs).expect("a valid case");
        let elapsed = start.elapsed();
        drop(outputs);
        elapsed
    });
    let mut rows = vec![("forward", forward, forward_cost)];
    if problem.asks_gradient() {
        let backward = bench(group, &format!("{} backward", case.name), || {
            let tape = Tape::new(device);
            let inputs = problem.variables(&tape, tensors.clone(), Ask::ALL);
            let outputs = op.forward(case, &tape, &inputs).expect("a valid case");
            if upstream.is_empty() {
                let sizes = outputs.iter().map(|y| y.value().numel());
                upstream = sizes.enumerate().map(|(i, n)| problem.upstream(i, n)).collect();
            }
            let end = Problem::join(&tape, &[outputs], &upstream, Ask::ALL).expect("outputs of this tape");
            let seed = Tensor::zeros(device, &[1]);
            let start = Instant::now();
            let gradients = tape.backward(&end, seed).expect("a valid case");
            let elapsed = start.elapsed();
            drop(gradients);
            elapsed
        });
        rows.push(("backward", backward, backward_cost));
    }
    rows
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let peaks = Peaks::measure();
    let device = Device::cpu();
    let mut lines = vec![];
    for op in registry::all() {
        let mut group = criterion.benchmark_group(op.name());
        for case in op.cases().into_iter().filter(|case| case.bench) {
            let problem = Problem::new(&*op, case);
            for (what, time, cost) in bench_case(&mut group, &device, &problem) {
                if time.is_finite() {
                    lines.push(peaks.line(&format!("{} {what}", problem.name()), time, cost));
                }
            }
        }
        group.finish();
    }
    criterion.final_summary();
    println!(
        "\n{} threads, {:?}: copy {:.1} GB/s, GEMM {:.0} GFLOP/s, exp {:.2} G/s",
        rayon::current_num_threads(),
        engine::simd::level(),
        peaks.bytes / 1e9,
        peaks.flop / 1e9,
        peaks.exp / 1e9
    );
    println!(
        "{:<75} {:>9} {:>9} {:<5} {:>5}  {:>8} {:>8} {:>8}",
        "op:case", "ms", "bound ms", "by", "share", "bytes", "FLOP", "exp"
    );
    lines.iter().for_each(|line| println!("{line}"));
}
