//! Everything that needs a GPU, in one command, on a machine that has one and no Rust toolchain.
//!
//! ```text
//! cargo run --release -p tools --bin gpu_check -- --pack [DIR]   where the project is built: gathers what is needed
//! DIR/gpu_check [--out DIR] [--minutes N]                        where the GPU is: runs it, writes the report
//! ```
//! Products, conformance, goldens and instructions on the device, then the benches, the published kernels beside ours,
//! `ncu`, training end to end and `compute-sanitizer`, each a process with a time limit of its own. What fails ends
//! nothing else; what could not run says why. Writes `DATE-gpu-DEVICE.md`, `.json` and `.log` after every step, so that
//! what was measured is kept when the machine is taken away. `--from STEP --with REPORT.json` goes on in another call.

mod bench_steps;
mod child;
mod environment;
mod options;
mod pack;
mod plan;
mod profile;
mod report;
mod targets;
mod test_steps;
#[cfg(test)]
mod tests;
mod training;

use std::process::ExitCode;

use environment::Environment;
use options::{Command, Options};
use report::Files;

fn main() -> ExitCode {
    let result = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Pack { folder, reference }) => pack::pack(&folder, reference).map(|()| true),
        Ok(Command::Help) => {
            println!("{}", options::usage());
            Ok(true)
        }
        Ok(Command::Probe) => {
            println!("{}", environment::probe());
            Ok(true)
        }
        Err(wrong) => {
            eprintln!("gpu_check: {wrong}\n{}", options::usage());
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

/// Runs what was asked for and writes the report; whether all of it is well.
fn run(options: &Options) -> Result<bool, String> {
    let environment = Environment::find(options)?;
    let files = Files::new(&options.out, environment.date(), environment.device(), options.smoke);
    let report = plan::run(options, &environment, &files);
    // What is worth keeping is in the report and its log.
    let _ = std::fs::remove_dir_all(&environment.work);
    let report = report?;
    println!("{}", report.markdown());
    if let Some(hint) = report.left_out(&files) {
        println!("{hint}");
    }
    files.all().iter().for_each(|file| println!("wrote {}", file.display()));
    Ok(report.holds(options.require))
}
