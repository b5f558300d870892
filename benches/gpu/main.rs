//! Times on a GPU: every op at the shapes of Vim-S training (batch 96) beside the least time that the device needs, and
//! the whole SVP step.
//!
//! ```text
//! cargo bench --bench gpu                                   # on a machine with a GPU; elsewhere it says `not run`
//! cargo bench --bench gpu -- kernels --json FILE --seconds N   # or `step`; as JSON too; ends within about N seconds
//! ncu ... gpu profile                                       # one step call by call, for a profiler to watch
//! ```
//! Times are medians by the device's own events. `--smoke` runs everything once at tiny sizes, to try the code.

mod kernels;
mod peaks;
mod step;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::cuda::{Cuda, Status, status};
use engine::{DType, Device};
use serde::Serialize;
use serde_json::{Value, json};

use peaks::Peaks;

/// What was asked for.
struct Arguments {
    kernels: bool,
    step: bool,
    profile: bool,
    smoke: bool,
    json: Option<String>,
    deadline: Instant,
}

/// The device, and how long it may be used.
pub struct Bench {
    pub cuda: Cuda,
    pub smoke: bool,
    deadline: Instant,
}

impl Bench {
    /// A device with memory of its own: its peak is that of what runs on it.
    pub fn device(&self) -> Device {
        Device::launched(Arc::new(self.cuda.clone()))
    }

    pub fn late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Seconds of repeated work: sorted, after runs to warm up.
    pub fn times(&self, mut work: impl FnMut() -> engine::Result<()>) -> engine::Result<Vec<f64>> {
        const SECONDS: f64 = 0.2;
        let warm = if self.smoke { 1 } else { 3 };
        let mut once = 0.0;
        for _ in 0..warm {
            once = self.cuda.timed(&mut work)?;
        }
        let runs = if self.smoke { 2 } else { (SECONDS / once.max(1e-6)).clamp(7.0, 100.0) as usize };
        let mut times =
            (0..runs).map(|_| self.cuda.timed(&mut work)).collect::<engine::Result<Vec<f64>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times)
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("gpu: {wrong}");
            return ExitCode::from(2);
        }
    };
    let why = match status() {
        Status::Ready(_) => None,
        Status::Absent => Some("no CUDA device".to_string()),
        Status::Unusable(error) => Some(error.to_string()),
    };
    let measured = match &why {
        Some(why) => {
            println!("not run: {why}");
            Ok((json!({ "not_run": why }), true))
        }
        None => measure(&arguments),
    };
    let result = measured.map_err(|err| err.to_string()).and_then(|(found, complete)| {
        if let Some(file) = &arguments.json {
            let text = serde_json::to_string_pretty(&found).expect("plain data") + "\n";
            std::fs::write(file, text).map_err(|err| format!("{file}: {err}"))?;
        }
        Ok(complete)
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("gpu: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Everything asked for, and whether all of it could be measured.
fn measure(arguments: &Arguments) -> engine::Result<(Value, bool)> {
    let bench = Bench { cuda: Cuda::open(0)?, smoke: arguments.smoke, deadline: arguments.deadline };
    if arguments.profile {
        let done = step::once(&bench);
        return done.map(|()| (Value::Null, true)).map_err(step::failed);
    }
    let peaks = Peaks::measure(&bench)?;
    let info = bench.cuda.info();
    println!("{info}\n{peaks}");
    let mut found = json!({ "device": info.name, "smoke": bench.smoke, "peaks": peaks });
    let mut complete = true;
    if arguments.kernels {
        let rows = kernels::run(&bench, &peaks);
        complete &= !rows.iter().any(|row| row.outcome.failed());
        found["kernels"] = serde_json::to_value(rows).expect("plain data");
    }
    if arguments.step {
        let rows = step::run(&bench);
        complete &= !rows.iter().any(|row| row.outcome.failed());
        found["steps"] = serde_json::to_value(rows).expect("plain data");
    }
    Ok((found, complete))
}

/// What became of a measurement.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Outcome<T> {
    Timed(T),
    Failed { error: String },
    Left { not_run: &'static str },
}

impl<T> Outcome<T> {
    pub fn late() -> Self {
        Outcome::Left { not_run: "no time left" }
    }

    fn failed(&self) -> bool {
        matches!(self, Outcome::Failed { .. })
    }
}

impl<T, E: fmt::Display> From<Result<T, E>> for Outcome<T> {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(|error| Outcome::Failed { error: error.to_string() }, Outcome::Timed)
    }
}

impl<T: fmt::Display> fmt::Display for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Timed(times) => times.fmt(f),
            Outcome::Failed { error } => write!(f, "error: {error}"),
            Outcome::Left { not_run } => write!(f, "not run: {not_run}"),
        }
    }
}

pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::Bf16 => "bf16",
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        kernels: false,
        step: false,
        profile: false,
        smoke: false,
        json: None,
        deadline: Instant::now() + Duration::from_secs(3600),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "kernels" => found.kernels = true,
            "step" => found.step = true,
            "profile" => found.profile = true,
            "--smoke" => found.smoke = true,
            "--json" => found.json = Some(arguments.next().ok_or("--json: name the file")?),
            "--seconds" => {
                let seconds = arguments.next().and_then(|n| n.parse().ok()).ok_or("--seconds: a number")?;
                found.deadline = Instant::now() + Duration::from_secs(seconds);
            }
            // Cargo's own.
            "--bench" => {}
            _ => {
                return Err(format!(
                    "{argument}? Usage: gpu [kernels] [step] [profile] [--json FILE] [--seconds N] [--smoke]"
                ));
            }
        }
    }
    if !found.kernels && !found.step && !found.profile {
        (found.kernels, found.step) = (true, true);
    }
    Ok(found)
}
