//! The benches, and the published kernels that they are compared with.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child::{self, Running};
use crate::environment::Environment;
use crate::report::{Found, Status};

/// Part of a bench's time that is kept for its last measurement to end.
const TAIL: u64 = 10;

/// One part of the GPU bench: `kernels` or `step`.
pub fn bench(environment: &Environment, part: &str, limit: Duration) -> Result<Found, Status> {
    let json = environment.work.join(format!("{part}.json"));
    let mut command = environment.packed("gpu_bench").map_err(Status::NotRun)?;
    let seconds = limit.as_secs().saturating_sub(TAIL).to_string();
    command.arg(part).arg("--json").arg(&json).args(["--seconds", &seconds]);
    if environment.smoke {
        command.arg("--smoke");
    }
    let ended = child::run(&mut command, &environment.log_of(part), limit).map_err(Status::Failed)?;
    let data = read(&json);
    let status = match (ended.complaint(), data["not_run"].as_str()) {
        (Some(wrong), _) => Status::Failed(wrong),
        (None, Some(why)) => Status::NotRun(why.into()),
        (None, None) => Status::Passed,
    };
    // The device and what it can do at most.
    let notes = ended.output.lines().take(2).map(String::from).collect();
    Ok(Found { status, notes, tables: vec![], data })
}

fn read(json: &Path) -> Value {
    fs::read(json).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The published kernels being built beside other steps.
pub enum Build {
    Running(Running),
    Ended(Result<(), String>),
}

impl Build {
    /// Starts it where it makes sense.
    pub fn start(environment: &Environment) -> Self {
        let script = environment.home.join("tools/reference/build_kernels.py");
        let why = match (&environment.gpu, &environment.torch) {
            (Err(why), _) | (_, Err(why)) => why.clone(),
            _ if environment.smoke => "not for a try of the tool".into(),
            _ if !script.exists() => "packed without the reference".into(),
            _ => {
                let mut command = environment.command(Path::new("python3"));
                let started = child::start(command.arg(script), &environment.log_of("reference build"));
                return started.map_or_else(|why| Build::Ended(Err(why)), Build::Running);
            }
        };
        Build::Ended(Err(why))
    }

    fn finish(&mut self, limit: Duration) -> Result<(), String> {
        let ended = match std::mem::replace(self, Build::Ended(Ok(()))) {
            Build::Running(running) => running.wait(limit).complaint().map_or(Ok(()), Err),
            Build::Ended(ended) => ended,
        };
        *self = Build::Ended(ended.clone());
        ended
    }
}

/// Sections of the comparison, and by which part of its time each must have ended: the scan and the step first, which
/// targets name.
const SECTIONS: [(&str, f64); 4] = [("a", 0.3), ("d", 0.85), ("c", 0.95), ("b", 1.0)];
/// Of a section's time, in which it begins no measurement but may end one.
const LAST: f64 = 0.15;

/// The published kernels and PyTorch's step on the same GPU.
pub fn reference(environment: &Environment, build: &mut Build, limit: Duration) -> Result<Found, Status> {
    let end = Instant::now() + limit;
    let waits = matches!(build, Build::Running(_));
    if let Err(why) = build.finish(limit / 2) {
        let why = format!("the published kernels are not there: {why}");
        return Err(if waits { Status::Failed(why) } else { Status::NotRun(why) });
    }
    let left = || end.saturating_duration_since(Instant::now());
    let (all, mut notes, mut records, mut facts) = (left(), vec![], vec![], Value::Null);
    for (section, part) in SECTIONS {
        let limit = left().saturating_sub(all.mul_f64(1.0 - part));
        let name = format!("reference {section}");
        let json = environment.work.join(format!("{name}.json"));
        let budget = limit.mul_f64(1.0 - LAST).as_secs().to_string();
        let mut command = environment.command(Path::new("python3"));
        command.arg("tools/reference/gpu_compare.py").args(["--only", section, "--budget", &budget]);
        command.arg("--out").arg(&json).env("PYTHONUNBUFFERED", "1");
        let ended = child::run(&mut command, &environment.log_of(&name), limit).map_err(Status::Failed)?;
        notes.extend(ended.complaint().map(|why| format!("section {section}: {why}")));
        // It writes as it goes: what was measured before its time was up is there.
        let mut found = read(&json);
        records.extend(found["records"].as_array_mut().map(std::mem::take).unwrap_or_default());
        facts = found["environment"].take();
    }
    Ok(judge(notes, facts, records))
}

/// Whether something was measured, and what went wrong.
pub fn judge(mut notes: Vec<String>, facts: Value, records: Vec<Value>) -> Found {
    let with = |key: &str| records.iter().filter(|record| record.get(key).is_some()).collect::<Vec<_>>();
    let (measured, skipped) = (with("ms_median").len(), with("skipped").len());
    notes.insert(0, format!("{measured} measurements, {skipped} skipped: no time left"));
    notes.extend(with("error").iter().map(|record| format!("could not be measured: {record}")));
    let wrong = with("wrong").into_iter().filter(|record| record["wrong"] == true).count();
    notes.extend((wrong > 0).then(|| format!("{wrong} measurements were of wrong results and do not count")));
    let status = match measured {
        0 => Status::Failed("nothing was measured".into()),
        _ => Status::Passed,
    };
    Found { status, notes, tables: vec![], data: json!({ "environment": facts, "records": records }) }
}
