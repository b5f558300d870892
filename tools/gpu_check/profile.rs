//! The heaviest kernels under Nsight Compute (`ncu`): what binds each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child;
use crate::environment::Environment;
use crate::plan::Call;
use crate::report::{Found, Status, Table};

/// What is measured of a kernel.
const SECTIONS: [&str; 5] =
    ["SpeedOfLight", "WarpStateStats", "SchedulerStats", "MemoryWorkloadAnalysis", "InstructionStats"];
/// Kernels that are looked at.
const KERNELS: usize = 3;
/// Those that are expected to be the heaviest, where the step was not traced.
const EXPECTED: [&str; KERNELS] =
    ["selective_scan_backward_n16_bf16", "selective_scan_forward_n16_bf16", "prompt_add_norm_forward_bf16"];
/// What `ncu` says where it cannot work on this machine, whatever the program.
const REFUSALS: [&str; 3] = ["ERR_NVGPUCTRPERM", "Failed to initialize the profiler", "not supported on"];

/// One launch of each of the heaviest kernels of the bf16 step. The clocks are left as they are.
pub fn ncu(call: &Call) -> Result<Found, Status> {
    let Some(program) = &call.environment.ncu else {
        return Err(Status::NotRun("ncu is not on the machine".into()));
    };
    let end = Instant::now() + call.limit;
    let (mut measured, mut notes, mut failed) = (vec![], vec![], None);
    for name in heaviest(&call.data("step"), &own_kernels(call.environment)) {
        let left = end.saturating_duration_since(Instant::now());
        match profile(call.environment, program, &name, left)? {
            Ok(metrics) => measured.push((name, metrics)),
            Err(why) => {
                notes.push(format!("{name}: {why}"));
                failed.get_or_insert(Status::Failed(format!("{name}: {why}")));
            }
        }
    }
    let data = measured.iter().map(|(name, metrics)| json!({ "kernel": name, "metrics": metrics })).collect();
    Ok(Found { status: failed.unwrap_or_default(), notes, tables: vec![table(&measured)], data })
}

/// One launch of a kernel. `Err` where `ncu` cannot work at all, `Ok(Err)` where this kernel has no numbers.
fn profile(
    environment: &Environment,
    ncu: &Path,
    kernel: &str,
    limit: Duration,
) -> Result<Result<Metrics, String>, Status> {
    let step = environment.packed("gpu_bench").map_err(Status::NotRun)?;
    let mut command = environment.command(ncu);
    command.args(["--csv", "--page", "details", "--clock-control", "none"]);
    command.args(SECTIONS.iter().flat_map(|section| ["--section", section]));
    command.args(["--kernel-name-base", "function", "--kernel-name", kernel]);
    // The second launch: the first loads the kernel. What comes later is not waited for.
    command.args(["--launch-skip", "1", "--launch-count", "1", "--kill", "yes"]);
    command.arg(step.get_program()).arg("profile");
    if environment.smoke {
        command.arg("--smoke");
    }
    let log = environment.log_of(&format!("ncu {kernel}"));
    let ended = child::run(&mut command, &log, limit).map_err(Status::Failed)?;
    if let Some(line) =
        ended.output.lines().find(|line| REFUSALS.iter().any(|refusal| line.contains(refusal)))
    {
        return Err(Status::NotRun(format!("ncu cannot work here: {}", line.trim())));
    }
    let metrics = metrics(&ended.output);
    // It ends the program that it watches, so that its own end is no measure.
    Ok(match metrics.is_empty() {
        false => Ok(metrics),
        true => Err(ended.complaint().unwrap_or("ncu has seen no launch of it".into())),
    })
}

/// Value with its unit, by section and name.
type Metrics = Vec<(String, String)>;

/// The names of our kernels, which are what a name in the report must be to be looked for.
fn own_kernels(environment: &Environment) -> Vec<String> {
    let files = ["engine", "ptx"]
        .into_iter()
        .filter_map(|layer| std::fs::read_dir(environment.home.join(layer)).ok());
    let texts = files
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("kernel.ptx")).ok());
    texts.flat_map(|text| testkit::kernels::entries(&text)).collect()
}

/// Our kernels that took most of the traced step.
fn heaviest(step: &Value, own: &[String]) -> Vec<String> {
    let steps = step["steps"].as_array().into_iter().flatten();
    let bf16 = steps.filter(|row| row["precision"] == "bf16").filter_map(|row| row["by_kernel"].as_array());
    let names = bf16.flatten().filter_map(|kernel| kernel["name"].as_str().map(String::from));
    let found: Vec<String> = names.filter(|name| own.contains(name)).take(KERNELS).collect();
    if found.is_empty() { EXPECTED.map(String::from).into() } else { found }
}

/// The metrics of what `ncu --csv --page details` prints, the program's own lines left out.
fn metrics(output: &str) -> Metrics {
    let mut lines = output.lines().skip_while(|line| !line.starts_with("\"ID\"")).map(fields);
    let header = lines.next().unwrap_or_default();
    let place = |name: &str| header.iter().position(|field| field == name);
    let places = ["Section Name", "Metric Name", "Metric Unit", "Metric Value"].map(place);
    let [Some(section), Some(name), Some(unit), Some(value)] = places else { return vec![] };
    let row = |fields: Vec<String>| {
        // Advice has no metric.
        let of = |place: usize| fields.get(place).filter(|field| !field.is_empty());
        let unit = fields.get(unit).map_or("", String::as_str);
        Some((
            format!("{}: {}", of(section)?, of(name)?),
            format!("{} {unit}", of(value)?).trim().to_string(),
        ))
    };
    lines.filter_map(row).collect()
}

/// The fields of a line, each in quotes; a quote within is doubled.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (vec![], String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(letter),
        }
    }
    fields.push(field);
    fields
}

/// A row for each metric, in the order of the first kernel, a column for each kernel.
fn table(measured: &[(String, Metrics)]) -> Table {
    let columns: Vec<BTreeMap<&str, &str>> = measured
        .iter()
        .map(|(_, metrics)| metrics.iter().map(|(what, value)| (what.as_str(), value.as_str())).collect())
        .collect();
    let mut names: Vec<&str> = vec![];
    for (what, _) in measured.iter().flat_map(|(_, metrics)| metrics) {
        if !names.contains(&what.as_str()) {
            names.push(what);
        }
    }
    let cells = |what: &&str| {
        columns.iter().map(|column| column.get(what).unwrap_or(&"-").to_string()).collect::<Vec<_>>()
    };
    let rows = names.iter().map(|what| [vec![what.to_string()], cells(what)].concat()).collect();
    let kernels = measured.iter().map(|(name, _)| name.as_str());
    Table::new(&std::iter::once("metric").chain(kernels).collect::<Vec<_>>(), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "==PROF== Connected to process 12\nNVIDIA H100\n\
        \"ID\",\"Process ID\",\"Kernel Name\",\"Section Name\",\"Metric Name\",\"Metric Unit\",\"Metric Value\",\"Rule Name\",\"Rule Description\"\n\
        \"0\",\"12\",\"scan\",\"GPU Speed Of Light Throughput\",\"Duration\",\"us\",\"1,234.5\",\"\",\"\"\n\
        \"0\",\"12\",\"scan\",\"GPU Speed Of Light Throughput\",\"\",\"\",\"\",\"Bottleneck\",\"Look at \"\"stalls\"\", first\"\n\
        \"0\",\"12\",\"scan\",\"Scheduler Statistics\",\"Issued Warp Per Scheduler\",\"\",\"0.91\",\"\",\"\"\n";

    #[test]
    fn metrics_are_read_from_what_ncu_prints() {
        let pair = |what: &str, value: &str| (what.to_string(), value.to_string());
        let found = metrics(PRINTED);
        let want = [
            pair("GPU Speed Of Light Throughput: Duration", "1,234.5 us"),
            pair("Scheduler Statistics: Issued Warp Per Scheduler", "0.91"),
        ];
        assert_eq!(found, want);
        let other = vec![want[1].clone(), pair("Scheduler Statistics: More", "3")];
        let table = table(&[("scan".into(), found), ("other".into(), other)]);
        assert_eq!(table.header, ["metric", "scan", "other"]);
        assert_eq!(table.rows[0][1..], ["1,234.5 us", "-"]);
        assert_eq!(table.rows[1][1..], ["0.91", "0.91"]);
        assert_eq!(table.rows[2][1..], ["-", "3"]);
        assert_eq!(metrics("==ERROR== The application returned an error code (11).\n"), []);
    }

    #[test]
    fn the_heaviest_kernels_are_those_of_the_traced_step() {
        let kernel = |name: &str| json!({ "name": name, "ms": 1.0, "launches": 24 });
        let kernels: Vec<_> = ["a", "cutlass_gemm", "b", "c", "d"].map(kernel).into();
        let step = json!({ "steps": [{ "precision": "f32", "by_kernel": [kernel("d")] },
                                     { "precision": "bf16", "by_kernel": kernels }] });
        let own = ["a", "b", "c", "d"].map(String::from);
        assert_eq!(heaviest(&step, &own), ["a", "b", "c"]);
        assert_eq!(heaviest(&Value::Null, &own), EXPECTED);
        let committed = testkit::kernels::names();
        assert!(EXPECTED.iter().all(|name| committed.contains(*name)));
    }
}
