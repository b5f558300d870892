//! The same steps in PyTorch, by `tools/reference/vim_step.py` and `vit_step.py`.

use std::process::Command;

use serde_json::Value;
use svp::report::table::bytes;
use svp::train::Precision;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/reference/");

/// What PyTorch has for a backbone.
struct Reference {
    script: &'static str,
    /// The methods that the script has.
    methods: &'static [&'static str],
    /// The ways to run it: a name, and the script's flags.
    ways: &'static [(&'static str, &'static [&'static str])],
}

const VIM: Reference = Reference {
    script: "vim_step.py",
    methods: &["svp", "vpt"],
    ways: &[("eager", &[]), ("eager, bf16", &["--bf16"])],
};
const VIT: Reference = Reference {
    script: "vit_step.py",
    methods: &["vpt"],
    ways: &[
        ("eager", &[]),
        ("compiled", &["--compile"]),
        ("eager, bf16", &["--bf16"]),
        ("compiled, bf16", &["--compile", "--bf16"]),
    ],
};

/// The reference of a backbone, and the flags that choose the step of a method.
fn reference(model: &str, method: &str) -> Option<(Reference, [String; 2])> {
    match model {
        "vim_small" => Some((VIM, ["--method".into(), method.into()])),
        "vit_tiny" | "vit_small" | "vit_base" => Some((VIT, ["--model".into(), model.into()])),
        _ => None,
    }
}

/// Runs the step of each method that the reference has, and prints it beside ours, of which the fastest seconds are
/// given: those of the reference, too, are of its fastest step.
pub fn compare(model: &str, ours: &[(&str, Precision, f64)]) {
    let Ok(python) = std::env::var("REFERENCE_PYTHON") else {
        return println!("reference not run: set REFERENCE_PYTHON to a Python with PyTorch");
    };
    let mut methods: Vec<&str> = ours.iter().map(|(method, ..)| *method).collect();
    methods.dedup();
    for method in methods {
        let Some((reference, chosen)) = reference(model, method) else {
            return println!("reference not run: none is written for {model}");
        };
        if !reference.methods.contains(&method) {
            continue;
        }
        for (name, flags) in reference.ways {
            match measure(&python, reference.script, &chosen, flags) {
                Err(e) => eprintln!("{method} in PyTorch, {name}: {e}"),
                Ok([theirs, share, memory, images]) => {
                    let own = ours.iter().filter(|own| own.0 == method).map(|(_, precision, seconds)| {
                        format!("ours in {precision} {seconds:.3} s, {:.2} times as fast", theirs / seconds)
                    });
                    println!(
                        "{method} in PyTorch, {name}: fastest step {theirs:.3} s ({images:.2} images/s, {:.0} % of the cores, \
                         {} peak); {}",
                        100.0 * share,
                        bytes(memory as u64),
                        own.collect::<Vec<_>>().join("; "),
                    );
                }
            }
        }
    }
}

/// Seconds of the script's fastest step, the share of the cores that it got, its peak memory, and images a second.
fn measure(python: &str, script: &str, chosen: &[String], flags: &[&str]) -> Result<[f64; 4], String> {
    let threads = rayon::current_num_threads().to_string();
    let mut command = Command::new(python);
    command.arg(format!("{FOLDER}{script}")).args(["--json", "--threads", &threads]).args(chosen).args(flags);
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
