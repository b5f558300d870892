//! Times of every op at the shapes of Vim-S, batch 8, in f32 and bf16, beside the time that this machine needs at least.
//!
//! The bound of a call is the largest of three times, all with all threads: that of copying as many bytes as the
//! call must touch, that of its FLOP at the rate of a large GEMM, and that of its exponentials at the rate of
//! [`Simd::exp`](engine::simd::Simd::exp) in the first-level cache. Rates are the best of several tries before
//! and after the benchmarks. A share above 100% is a call that writes in place (a copy also fetches the lines it
//! overwrites), or a machine that was busy with something else while the rates were measured.

use std::time::{Duration, Instant};

use autograd::Tape;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use engine::gemm::{Mat, gemm};
use engine::{DType, Device, Tensor, simd_fn};
use ptx::registry;
use ptx::spec::Cost;
use rayon::prelude::*;
use testkit::problem::{Ask, Problem};

/// Shortest time of several tries, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..20).map(time).fold(f64::INFINITY, f64::min)
}

/// Seconds to copy so that `bytes` are read or written; in the cache if they fit.
fn copy_time(bytes: f64) -> f64 {
    let n = (bytes / 8.0).ceil() as usize;
    let (from, mut to) = (vec![1.0f32; n], vec![0.0f32; n]);
    best(|| {
        let chunks = to.par_chunks_mut(1 << 14).zip(from.par_chunks(1 << 14));
        chunks.for_each(|(to, from)| to.copy_from_slice(from));
    })
}

simd_fn! {
    /// x = e^-x, `rounds` times over.
    fn exp_rounds<S>(s, rounds: usize, x: &mut [f32]) {
        for _ in 0..rounds {
            for i in (0..x.len()).step_by(S::LANES) {
                let negative = s.sub(s.splat(0.0), s.read(x, i));
                s.write(x, i, s.exp(negative));
            }
        }
    }
}

/// What this machine computes in a second.
#[derive(Clone, Copy)]
struct Peaks {
    flop: f64,
    exp: f64,
}

impl Peaks {
    fn measure() -> Self {
        const N: usize = 1536;
        let (a, mut c) = (vec![0.5f32; N * N], vec![0.0f32; N * N]);
        let product = best(|| gemm(N, N, N, Mat::rows(&a, N), Mat::rows(&a, N), &mut c, N, false));
        // A block that stays in the first-level cache, for each thread.
        const BLOCK: usize = 4096;
        const ROUNDS: usize = 400;
        let mut x = vec![0.1f32; BLOCK * rayon::current_num_threads()];
        let exp = best(|| x.par_chunks_mut(BLOCK).for_each(|x| exp_rounds(ROUNDS, x)));
        Peaks { flop: 2.0 * (N as f64).powi(3) / product, exp: (x.len() * ROUNDS) as f64 / exp }
    }

    fn max(self, other: Self) -> Self {
        Peaks { flop: self.flop.max(other.flop), exp: self.exp.max(other.exp) }
    }
}

/// A timed call: name, best time in seconds, least work.
struct Timed {
    name: String,
    time: f64,
    cost: Cost,
    /// The time of the same call in f32, for one in bf16.
    in_f32: Option<f64>,
}

impl Timed {
    /// One line: time, bound and what it comes from, share reached, the three times of the bound, in bf16 the time over
    /// that in f32.
    fn line(&self, peaks: &Peaks) -> String {
        let parts = [
            ("bytes", copy_time(self.cost.bytes)),
            ("FLOP", self.cost.flop / peaks.flop),
            ("exp", self.cost.exp / peaks.exp),
        ];
        let (what, bound) = parts.into_iter().fold(parts[0], |a, b| if b.1 > a.1 { b } else { a });
        let [bytes, flop, exp] = parts.map(|(_, seconds)| seconds * 1e3);
        let over_f32 = self.in_f32.map_or(String::new(), |in_f32| format!("{:8.2}", self.time / in_f32));
        format!(
            "{:<93} {:9.3} {:9.3} {what:<5} {:4.0}%  {bytes:8.3} {flop:8.3} {exp:8.3} {over_f32}",
            self.name,
            self.time * 1e3,
            bound * 1e3,
            100.0 * bound / self.time
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

/// Benchmarks forward and backward of one case in one type.
fn bench_case(group: &mut BenchmarkGroup<WallTime>, device: &Device, problem: &Problem) -> Vec<Timed> {
    let (op, case) = (problem.op, &problem.case);
    let (forward_cost, backward_cost) = op.cost(case, problem.dtype());
    let dtype = if problem.dtype() == DType::F32 { "" } else { " bf16" };
    let tensors = problem.tensors(device).expect("inputs on the device");
    let mut upstream = vec![];
    let forward = bench(group, &format!("{}{dtype} forward", case.name), || {
        let tape = Tape::new(device);
        let inputs = problem.variables(&tape, tensors.clone(), Ask::ALL);
        let start = Instant::now();
        let outputs = op.forward(case, &tape, &inputs).expect("a valid case");
        let elapsed = start.elapsed();
        drop(outputs);
        elapsed
    });
    let timed = |what, time, cost| {
        let name = format!("{}{dtype} {what}", problem.name());
        Timed { name, time, cost, in_f32: None }
    };
    let mut calls = vec![timed("forward", forward, forward_cost)];
    if problem.asks_gradient() {
        let backward = bench(group, &format!("{}{dtype} backward", case.name), || {
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
        calls.push(timed("backward", backward, backward_cost));
    }
    calls
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .nresamples(2000)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .configure_from_args();
    let peaks = Peaks::measure();
    let device = Device::cpu();
    let mut calls = vec![];
    for op in registry::all() {
        let mut group = criterion.benchmark_group(op.name());
        for case in op.cases().into_iter().filter(|case| case.bench) {
            let [in_f32, in_bf16] =
                [DType::F32, DType::Bf16].map(|dtype| Problem::in_type(&*op, case.clone(), dtype));
            let mut times = bench_case(&mut group, &device, &in_f32);
            if in_bf16.inputs.iter().any(|input| input.typed) {
                let mut typed = bench_case(&mut group, &device, &in_bf16);
                typed.iter_mut().zip(&times).for_each(|(call, in_f32)| call.in_f32 = Some(in_f32.time));
                times.extend(typed);
            }
            calls.extend(times);
        }
        group.finish();
    }
    criterion.final_summary();
    let peaks = peaks.max(Peaks::measure());
    println!(
        "\n{} threads, {:?}: GEMM {:.0} GFLOP/s, exp {:.2} G/s, copy of 256 MiB {:.1} GB/s",
        rayon::current_num_threads(),
        engine::simd::level(),
        peaks.flop / 1e9,
        peaks.exp / 1e9,
        f64::from(1 << 28) / copy_time(f64::from(1 << 28)) / 1e9
    );
    println!(
        "{:<93} {:>9} {:>9} {:<5} {:>5}  {:>8} {:>8} {:>8} {:>8}",
        "op:case", "ms", "bound ms", "by", "share", "bytes", "FLOP", "exp", "/ f32"
    );
    for call in calls.iter().filter(|call| call.time.is_finite()) {
        println!("{}", call.line(&peaks));
    }
}
