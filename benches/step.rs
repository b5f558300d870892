//! The whole SVP training step of Vim-S at 224 px, batch 8, side by side with its own GEMMs alone and, when a
//! Python with PyTorch is named, with the reference script of `tools/reference`.
//!
//! ```text
//! cargo bench --bench step
//! REFERENCE_PYTHON=venv/bin/python cargo bench --bench step
//! ```

use std::process::Command;
use std::time::Instant;

use engine::gemm::{Mat, gemm};
use engine::{DType, Device};
use svp::backbones::vim::VimConfig;
use svp::report::table::bytes;
use testkit::vim_s::{Step, finish};

const BATCH: usize = 8;
const STEPS: usize = 11;

/// A product of the step: rows, columns, inner length, and how often.
type Product = (usize, usize, usize, usize);

/// The products that the mathematics of one step needs, each once: forward, gradients of activations through
/// every layer but the first generator's input, and weight gradients of the generators.
fn products(config: &VimConfig) -> Vec<Product> {
    let (r, d, e) = (BATCH * config.tokens(), config.embed_dim, config.d_inner());
    let x_dbl = config.dt_rank + 2 * config.d_state;
    let frozen = [(2 * e, d, 1), (x_dbl, e, 2), (e, config.dt_rank, 2), (d, e, 1)];
    let trained = [(d, d), (64, d), (d, 64)];
    let mut all = vec![(BATCH * (config.tokens() - 1), d, 3 * config.patch_size * config.patch_size, 1)];
    for (n, k, times) in frozen {
        all.push((r, n, k, times * config.depth));
        all.push((r, k, n, times * config.depth));
    }
    for (n, k) in trained {
        all.push((r, n, k, config.depth));
        all.push((r, k, n, config.depth));
        all.push((n, k, r, config.depth));
    }
    all
}

/// Runs each product as the step's weights and activations lie.
fn run_products(products: &[Product], a: &[f32], b: &[f32], c: &mut [f32]) {
    for &(m, n, k, times) in products {
        for _ in 0..times {
            gemm(m, n, k, Mat::rows(a, k), Mat::transposed(b, k), &mut c[..m * n], n, false);
        }
    }
}

fn seconds(run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_secs_f64()
}

/// The middle of an odd number of values, and the smallest and the largest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

/// Most memory this process ever held, from the system; `None` where it does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return; // `cargo test --benches` only asks whether it starts.
    }
    // As the commands do.
    rayon::ThreadPoolBuilder::new().use_current_thread().build_global().expect("the first pool");
    let config = VimConfig::named("vim_small").unwrap();
    let mut step = Step::new(&Device::cpu(), config, BATCH, DType::F32).unwrap();
    let mut one_step = || finish(step.submit().unwrap()).unwrap();
    one_step();
    one_step();
    let memory = peak_memory();
    let products = products(&config);
    let gflop = products.iter().map(|&(m, n, k, times)| 2e-9 * (m * n * k * times) as f64).sum::<f64>();
    let largest = |size: fn(&Product) -> usize| vec![0.5; products.iter().map(size).max().unwrap()];
    let (a, b, mut c) = (largest(|p| p.0 * p.2), largest(|p| p.1 * p.2), largest(|p| p.0 * p.1));
    let mut own = || run_products(&products, &a, &b, &mut c);
    own();
    // By turns: what else the machine does slows both sides of a pair alike.
    let pairs: Vec<[f64; 2]> = (0..STEPS).map(|_| [seconds(&mut one_step), seconds(&mut own)]).collect();
    let [median, fastest, _] = spread(pairs.iter().map(|pair| pair[0]).collect());
    let [own, own_fastest, _] = spread(pairs.iter().map(|pair| pair[1]).collect());
    let [ratio, least, most] = spread(pairs.iter().map(|pair| pair[0] / pair[1]).collect());
    println!(
        "SVP step, Vim-S, 224 px, batch {BATCH}, {} threads, {:?}",
        rayon::current_num_threads(),
        engine::simd::level()
    );
    println!("  step          {median:.3} s (fastest {fastest:.3})  {:.2} images/s", BATCH as f64 / median);
    println!(
        "  its GEMMs     {own:.3} s (fastest {own_fastest:.3})  {gflop:.0} GFLOP at {:.0} GFLOP/s",
        gflop / own
    );
    println!("  step / GEMMs  {ratio:.2} ({least:.2} to {most:.2} over {STEPS} pairs)");
    println!("  peak memory   {}", memory.map_or("not known here".into(), bytes));
    match std::env::var("REFERENCE_PYTHON") {
        Err(_) => println!("  reference     not run: set REFERENCE_PYTHON to a Python with PyTorch"),
        Ok(python) => {
            drop(step);
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/reference/vim_step.py");
            let output = match Command::new(&python).arg(script).arg("--json").output() {
                Ok(output) if output.status.success() => output,
                Ok(output) => {
                    return eprintln!("{python} {script}: {}", String::from_utf8_lossy(&output.stderr));
                }
                Err(e) => return eprintln!("REFERENCE_PYTHON={python}: {e}"),
            };
            println!("  reference     {}", String::from_utf8_lossy(&output.stdout).trim());
        }
    }
}
