//! The files of a sweep beside its runs.

use std::io::Write;
use std::path::Path;

use svp::Result;
use svp::checkpoint::write_atomically;
use svp::sweep::{Plan, Results, chart, csv, markdown, noise_chart, noise_csv, runs_csv};

/// Name of the file that keeps the sweep beside its runs.
pub const SWEEP: &str = "sweep.toml";

/// Writes `results.csv`, `runs.csv`, `results.md` and `results.png` into a folder, and `noise.csv` and `noise.png` where
/// runs were tested with noise.
pub fn write_results(plan: &Plan, results: &Results, folder: &Path) -> Result<()> {
    write(&folder.join("runs.csv"), runs_csv(plan, results).as_bytes())?;
    write(&folder.join("results.csv"), csv(plan, results).as_bytes())?;
    write(&folder.join("results.md"), markdown(plan, results).as_bytes())?;
    for (name, bytes) in [
        ("noise.csv", noise_csv(plan, results).map(String::into_bytes)),
        ("noise.png", noise_chart(plan, results)),
    ] {
        bytes.map_or(Ok(()), |bytes| write(&folder.join(name), &bytes))?;
    }
    write(&folder.join("results.png"), &chart(plan, results))
}

/// Writes a file, wholly or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |file| file.write_all(bytes))
}
