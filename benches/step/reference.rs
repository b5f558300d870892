//! The same steps in eager PyTorch, by `tools/reference/vim_step.py`.

use std::process::Command;

use serde_json::Value;
use svp::report::table::bytes;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/reference/vim_step.py");
/// The methods that the script has.
const METHODS: [&str; 2] = ["svp", "vpt"];

/// Runs the script's step of each method that it has, and prints it beside ours, of which the fastest seconds are given:
/// the script's, too, are those of its fastest step.
pub fn compare(ours: &[(&str, f64)]) {
    let Ok(python) = std::env::var("REFERENCE_PYTHON") else {
        return println!("reference not run: set REFERENCE_PYTHON to a Python with PyTorch");
    };
    for (method, seconds) in ours.iter().filter(|(method, _)| METHODS.contains(method)) {
        match measure(&python, method) {
            Err(e) => eprintln!("{method} in PyTorch: {e}"),
            Ok([reference, share, memory, images]) => println!(
                "{method} in PyTorch: fastest step {reference:.3} s ({images:.2} images/s, {:.0} % of the cores, {} peak); \
                 ours {seconds:.3} s, {:.1} times as fast",
                100.0 * share,
                bytes(memory as u64),
                reference / seconds,
            ),
        }
    }
}

/// Seconds of the script's fastest step, the share of the cores that it got, its peak memory, and images a second.
fn measure(python: &str, method: &str) -> Result<[f64; 4], String> {
    let threads = rayon::current_num_threads().to_string();
    let mut command = Command::new(python);
    command.args([SCRIPT, "--json", "--method", method, "--threads", &threads]);
    let output = command.output().map_err(|e| format!("REFERENCE_PYTHON={python}: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let result: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let number = |key: &str| result[key].as_f64().ok_or_else(|| format!("no {key} in {result}"));
    Ok([
        number("seconds_per_step")?,
        number("cpu_share")?,
        number("peak_rss_bytes")?,
        number("images_per_s")?,
    ])
}
