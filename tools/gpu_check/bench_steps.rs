//! The benches, and the published kernels that they are compared with.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::child;
use crate::plan::Call;
use crate::report::{Found, Status};

/// Part of a bench's time that is kept for its last measurement to end.
const TAIL: u64 = 10;

/// One part of the GPU bench: `kernels` or `step`.
pub fn bench(call: &Call, part: &str) -> Result<Found, Status> {
    let &Call { environment, limit, .. } = call;
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

/// Sections of the comparison, and by which part of its time each must have ended: the scan and the step first, which
/// targets name.
const SECTIONS: [(&str, f64); 4] = [("a", 0.25), ("d", 0.9), ("c", 0.95), ("b", 1.0)];
/// Of a section's time, in which it begins no measurement but may end one.
const LAST: f64 = 0.15;

/// The published kernels and PyTorch's step on the same GPU. Kernels that were not packed for it are built there.
pub fn reference(call: &Call) -> Result<Found, Status> {
    let &Call { environment, limit, .. } = call;
    let end = Instant::now() + limit;
    environment.reference().map_err(Status::NotRun)?;
    let left = || end.saturating_duration_since(Instant::now());
    let (all, mut late, mut notes, mut records, mut facts) = (left(), false, vec![], vec![], Value::Null);
    for (section, part) in SECTIONS {
        let limit = left().saturating_sub(all.mul_f64(1.0 - part));
        let name = format!("reference {section}");
        let json = environment.work.join(format!("{name}.json"));
        let budget = limit.mul_f64(1.0 - LAST).as_secs().to_string();
        let mut command = environment.command(Path::new("python3"));
        command.arg("tools/reference/gpu_compare.py").args(["--only", section, "--budget", &budget]);
        command.arg("--out").arg(&json).env("PYTHONUNBUFFERED", "1");
        let ended = child::run(&mut command, &environment.log_of(&name), limit).map_err(Status::Failed)?;
        late |= ended.status.is_none();
        notes.extend(ended.complaint().map(|why| format!("section {section}: {why}")));
        // It writes as it goes: what was measured before its time was up is there.
        let mut found = read(&json);
        records.extend(found["records"].as_array_mut().map(std::mem::take).unwrap_or_default());
        facts = found["environment"].take();
    }
    Ok(judge(late, notes, facts, records))
}

/// Whether all was measured, and what went wrong. `late` says that a part was ended as its time was up.
pub fn judge(late: bool, mut notes: Vec<String>, facts: Value, records: Vec<Value>) -> Found {
    let with = |key: &str| records.iter().filter(|record| record.get(key).is_some()).collect::<Vec<_>>();
    let (measured, skipped) = (with("ms_median").len(), with("skipped").len());
    notes.insert(0, format!("{measured} measurements, {skipped} skipped: no time left"));
    notes.extend(with("error").iter().map(|record| format!("could not be measured: {record}")));
    let wrong = with("wrong").into_iter().filter(|record| record["wrong"] == true).count();
    notes.extend((wrong > 0).then(|| format!("{wrong} measurements were of wrong results and do not count")));
    let status = match measured {
        0 => Status::Failed("nothing was measured".into()),
        _ if late || skipped > 0 => Status::NoTime("a part of it: the time was up; see its notes".into()),
        _ => Status::Passed,
    };
    Found { status, notes, tables: vec![], data: json!({ "environment": facts, "records": records }) }
}
