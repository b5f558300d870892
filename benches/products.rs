//! Matrix products on the CPU in f32 and in bf16, at the shapes of Vim and ViT, beside what the cores can do at most and,
//! when a Python with PyTorch is named, beside the bf16 products of oneDNN.
//!
//! ```text
//! cargo bench --bench products                          # every shape, 3 rounds
//! cargo bench --bench products -- vit_base vim_small --rows 1656 --rounds 5
//! REFERENCE_PYTHON=venv/bin/python cargo bench --bench products
//! ```
//!
//! A layer has `w [n k]`, its input `rows`: 8 images of 197 tokens, or of 207 with ten prompts. Its products are forward
//! `y = x w^T`, backward `dx = dy w` and weight `dw = dy^T x`. In bf16 y and dx are bf16 and dw is f32; PyTorch's dw is bf16.
//! Ours in f32, ours in bf16 and PyTorch take turns, and each figure is the fastest run of all turns, which says most where
//! other programs share the cores. The peak is that of `vdpbf16ps` in registers on all threads, the most of before and after.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use engine::gemm::{Mat, Multiply, gemm};
use half::bf16;
use rayon::prelude::*;
use svp::report::Table;

/// The layers of a model: its name, the layer, n and k.
const LAYERS: [(&str, &str, usize, usize); 16] = [
    ("vit_base", "qkv", 2304, 768),
    ("vit_base", "proj", 768, 768),
    ("vit_base", "fc1", 3072, 768),
    ("vit_base", "fc2", 768, 3072),
    ("vit_tiny", "qkv", 576, 192),
    ("vit_tiny", "proj", 192, 192),
    ("vit_tiny", "fc1", 768, 192),
    ("vit_tiny", "fc2", 192, 768),
    ("vim_small", "in_proj", 1536, 384),
    ("vim_small", "x_proj", 56, 768),
    ("vim_small", "dt_proj", 768, 24),
    ("vim_small", "out_proj", 384, 768),
    ("vim_tiny", "in_proj", 768, 192),
    ("vim_tiny", "x_proj", 44, 384),
    ("vim_tiny", "dt_proj", 384, 12),
    ("vim_tiny", "out_proj", 192, 384),
];

/// A product whose operands are read as they are or transposed.
#[derive(Clone, Copy)]
struct Product {
    pass: &'static str,
    size: [usize; 3],
    transposed: [bool; 2],
}

impl Product {
    fn of_layer(rows: usize, n: usize, k: usize) -> [Product; 3] {
        [
            Product { pass: "forward", size: [rows, n, k], transposed: [false, true] },
            Product { pass: "backward", size: [rows, k, n], transposed: [false, false] },
            Product { pass: "weight", size: [n, k, rows], transposed: [true, false] },
        ]
    }

    /// Runs it on the operands, of which only the sizes and the layout matter.
    fn run<E: Multiply<O>, O>(&self, a: &[E], b: &[E], c: &mut [O]) {
        let ([m, n, k], [ta, tb]) = (self.size, self.transposed);
        let a = if ta { Mat::transposed(a, m) } else { Mat::rows(a, k) };
        let b = if tb { Mat::transposed(b, k) } else { Mat::rows(b, n) };
        gemm(m, n, k, a, b, c, n, false);
    }
}

/// The shortest time of several runs, in seconds.
fn fastest(mut run: impl FnMut()) -> f64 {
    let (begun, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 5 || begun.elapsed() < Duration::from_millis(100) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

/// Operands and result of a product in f32 and in bf16.
struct Buffers {
    single: [Vec<f32>; 3],
    half: [Vec<bf16>; 3],
}

impl Buffers {
    fn of([m, n, k]: [usize; 3]) -> Self {
        let values =
            |len: usize| (0..len).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect::<Vec<_>>();
        let single = [m * k, k * n, m * n].map(values);
        let half = std::array::from_fn(|i| single[i].iter().map(|&x| bf16::from_f32(x)).collect());
        Buffers { single, half }
    }

    /// Seconds of ours in f32 and in bf16.
    fn ours(&mut self, product: &Product) -> [f64; 2] {
        let ([a, b, c], [half_a, half_b, half_c]) = (&mut self.single, &mut self.half);
        let single = fastest(|| product.run(a, b, c));
        let half = match product.pass {
            "weight" => fastest(|| product.run(half_a, half_b, c)),
            _ => fastest(|| product.run(half_a, half_b, half_c)),
        };
        [single, half]
    }
}

/// Sums in registers of `vdpbf16ps` on one thread: enough for two units and their latency.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn in_registers(rounds: usize) -> f32 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_setzero_ps(); 24];
    let ones = black_box(_mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, ones, ones);
        }
    }
    // Added as vectors: their first lanes one by one would not let the compiler use the upper half of the registers.
    _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_setzero_ps(), |total, sum| _mm512_add_ps(total, sum)))
}

/// FLOP a second of `vdpbf16ps` on all threads; not a number where the machine has none.
fn peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bf16") {
        const ROUNDS: usize = 100_000;
        let threads = rayon::current_num_threads();
        // Each thread for itself: one that is held up by other programs does not slow the others.
        let rates = (0..threads).into_par_iter().with_max_len(1).map(|_| {
            // SAFETY: the instructions are there.
            let time = fastest(|| _ = black_box(unsafe { in_registers(ROUNDS) }));
            (24 * 64 * ROUNDS) as f64 / time
        });
        return rates.sum();
    }
    f64::NAN
}

/// The script of PyTorch's products.
struct Reference(Child);

impl Reference {
    /// Starts the script; `None` where no Python is named.
    fn start() -> Result<Option<Self>, String> {
        let Ok(python) = std::env::var("REFERENCE_PYTHON") else { return Ok(None) };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/reference/products.py");
        let mut command = Command::new(&python);
        command.arg(script).args(["--threads", &rayon::current_num_threads().to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        child.map(|child| Some(Reference(child))).map_err(|e| format!("REFERENCE_PYTHON={python}: {e}"))
    }

    /// Seconds of a product.
    fn time(&mut self, product: &Product) -> Result<f64, String> {
        let ([m, n, k], [a, b]) = (product.size, product.transposed.map(|t| if t { 't' } else { 'n' }));
        let (Some(stdin), Some(stdout)) = (&mut self.0.stdin, &mut self.0.stdout) else {
            unreachable!("piped")
        };
        writeln!(stdin, "{m} {n} {k} {a} {b}").map_err(|e| format!("tools/reference/products.py: {e}"))?;
        let mut line = String::new();
        // One line is answered at a time, so nothing is left in the reader.
        BufReader::new(stdout).read_line(&mut line).map_err(|e| e.to_string())?;
        let seconds = line.trim().parse().map_err(|_| "tools/reference/products.py ended".to_string());
        // The threads of PyTorch wait in a loop for a while before they sleep.
        std::thread::sleep(Duration::from_millis(250));
        seconds
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It ends by itself when there is nothing more to read.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What was asked for.
struct Arguments {
    models: Vec<String>,
    rows: usize,
    rounds: usize,
}

impl Arguments {
    /// `None` where cargo only asks whether the bench starts.
    fn read(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut all = Arguments { models: vec![], rows: 8 * 197, rounds: 3 };
        while let Some(arg) = args.next() {
            let mut number = || {
                let number = args.next().and_then(|number| number.parse().ok()).filter(|&number| number > 0);
                number.ok_or_else(|| format!("{arg}: give a number from 1"))
            };
            match arg.as_str() {
                "--test" => return Ok(None),
                // Cargo adds it.
                "--bench" => {}
                "--rows" => all.rows = number()?,
                "--rounds" => all.rounds = number()?,
                model if LAYERS.iter().any(|layer| layer.0 == model) => all.models.push(arg),
                _ => return Err(format!("{arg}: none of vit_base, vit_tiny, vim_small and vim_tiny")),
            }
        }
        Ok(Some(all))
    }
}

fn bench(Arguments { models, rows, rounds }: &Arguments) -> Result<(), String> {
    let mut reference = Reference::start()?;
    let (mut best, mut timed) = (peak(), vec![]);
    for (model, layer, n, k) in LAYERS {
        if !models.is_empty() && !models.iter().any(|name| name == model) {
            continue;
        }
        for product in Product::of_layer(*rows, n, k) {
            let (mut buffers, mut times) = (Buffers::of(product.size), [f64::INFINITY; 3]);
            for _ in 0..*rounds {
                let [single, half] = buffers.ours(&product);
                let theirs = reference.as_mut().map_or(Ok(f64::INFINITY), |r| r.time(&product))?;
                times = [times[0].min(single), times[1].min(half), times[2].min(theirs)];
            }
            timed.push((format!("{model} {layer} {}", product.pass), product.size, times));
        }
    }
    best = best.max(peak());
    let mut table = Table::new([
        "product",
        "m n k",
        "f32 ms",
        "bf16 ms",
        "ratio",
        "GFLOP/s",
        "of peak",
        "oneDNN ms",
        "to oneDNN",
    ]);
    for (name, [m, n, k], [single, half, theirs]) in timed {
        let rate = (2 * m * n * k) as f64 / half;
        let known = |text: String| if theirs.is_finite() { text } else { "-".into() };
        table.row([
            name,
            format!("{m} {n} {k}"),
            format!("{:.3}", 1e3 * single),
            format!("{:.3}", 1e3 * half),
            format!("{:.2}", single / half),
            format!("{:.0}", 1e-9 * rate),
            if best.is_nan() { "-".into() } else { format!("{:.0} %", 100.0 * rate / best) },
            known(format!("{:.3}", 1e3 * theirs)),
            known(format!("{:.2}", theirs / half)),
        ]);
    }
    let threads = rayon::current_num_threads();
    println!("{threads} threads, {:.0} GFLOP/s of vdpbf16ps in registers", 1e-9 * best);
    if reference.is_none() {
        println!("oneDNN not run: set REFERENCE_PYTHON to a Python with PyTorch");
    }
    print!("{table}");
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args().skip(1));
    match arguments.and_then(|arguments| arguments.map_or(Ok(()), |arguments| bench(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
