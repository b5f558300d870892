//! Everything that needs a GPU, in one command, on a machine that has one and no Rust toolchain.
//!
//! ```text
//! cargo run --release -p tools --bin gpu_check -- --pack [DIR]   where the project is built: gathers what is needed
//! DIR/gpu_check [--out DIR]                                      where the GPU is: runs it all, writes the report
//! ```
//! Conformance, goldens and instructions on the device, `compute-sanitizer`, training end to end, the benches, and the
//! published kernels beside ours, each a process with a time limit of its own. What fails ends nothing else; what could not run says
//! why. Writes `DATE-gpu-DEVICE.md`, `.json` and `.log`.

mod bench_steps;
mod child;
mod environment;
mod options;
mod pack;
mod plan;
mod report;
mod targets;
mod test_steps;
#[cfg(test)]
mod tests;
mod training;

use std::process::ExitCode;

use environment::Environment;
use options::{Command, Options};

fn main() -> ExitCode {
    let result = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Pack { folder, reference }) => pack::pack(&folder, reference).map(|()| true),
        Ok(Command::Probe) => {
            println!("{}", environment::probe());
            Ok(true)
        }
        Err(wrong) => {
            eprintln!("gpu_check: {wrong}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("gpu_check: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and writes the report; whether all of it is well.
fn run(options: &Options) -> Result<bool, String> {
    let environment = Environment::find(options)?;
    let report = plan::run(options, &environment);
    let files = report.write(&options.out, &environment.work)?;
    // What is worth keeping is in the report and its log.
    let _ = std::fs::remove_dir_all(&environment.work);
    println!("{}", report.markdown());
    files.iter().for_each(|file| println!("wrote {}", file.display()));
    Ok(report.holds(options.require))
}
