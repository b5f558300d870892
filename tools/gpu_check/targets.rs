//! Our measurements beside the published kernels', and what a GPU shall reach.

use serde_json::Value;

use crate::report::{Status, Table, Target};

/// Images of a step, ours and the references'.
const BATCH: u64 = 96;
const TYPES: [&str; 2] = ["f32", "bf16"];
const PASSES: [&str; 2] = ["forward", "backward"];

/// Times over the published scan's, by pass; share of its bound that the scan reaches.
const SCAN: [f64; 2] = [2.5, 2.0];
const SCAN_SHARE: f64 = 0.6;
/// Images a second over the best of PyTorch's steps; memory over its; share of the step outside of our kernels and products.
const STEP: f64 = 3.0;
const MEMORY: f64 = 1.0 / 3.0;
const OUTSIDE: f64 = 0.03;

/// Rows of the benches and records of the reference.
pub struct Comparison {
    kernels: Vec<Value>,
    steps: Vec<Value>,
    records: Vec<Value>,
}

fn rows(from: &Value) -> Vec<Value> {
    from.as_array().cloned().unwrap_or_default()
}

/// What PyTorch calls a type.
fn reference_type(dtype: &str) -> &str {
    if dtype == "bf16" { "bfloat16" } else { "float32" }
}

/// The reference's section that does what an op does.
fn reference_section(op: &str) -> Option<&'static str> {
    match op {
        "selective_scan" => Some("a"),
        "causal_conv1d" => Some("b"),
        "prompt_add_norm" => Some("c"),
        _ => None,
    }
}

impl Comparison {
    /// Of what the benches and the reference wrote; `null` where they wrote nothing.
    pub fn of(kernels: &Value, steps: &Value, reference: &Value) -> Self {
        let counts = |record: &Value| record["wrong"] != true && record["ms_median"].is_f64();
        let records = rows(&reference["records"]).into_iter().filter(counts);
        Comparison {
            kernels: rows(&kernels["kernels"]),
            steps: rows(&steps["steps"]),
            records: records.collect(),
        }
    }

    fn kernel(&self, op: &str, pass: &str, dtype: &str) -> Option<&Value> {
        self.kernels.iter().find(|row| row["op"] == op && row["pass"] == pass && row["dtype"] == dtype)
    }

    /// Fewest milliseconds of the references for a pass, and of which variant. The scan and the convolution are
    /// taken as Vim calls them.
    fn reference(&self, op: &str, pass: &str, dtype: &str) -> Option<(f64, &str)> {
        let section = reference_section(op)?;
        let same = self.records.iter().filter(|record| {
            record["section"] == section
                && record["pass"] == pass
                && record["dtype"] == reference_type(dtype)
                && record["shape"]["batch"] == BATCH
                && record["variant"] != "kernels only"
        });
        let time = |record: &'_ Value| record["ms_median"].as_f64();
        same.filter_map(|record| Some((time(record)?, record["variant"].as_str()?)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn step(&self, precision: &str) -> Option<&Value> {
        self.steps.iter().find(|row| row["precision"] == precision)
    }

    /// PyTorch's step with the most images a second in a type.
    fn best_step(&self, dtype: &str) -> Option<&Value> {
        let speed = |record: &&Value| record["images_per_s"].as_f64().unwrap_or_default();
        let same = self.records.iter().filter(|record| {
            let name = record["dtype"].as_str().unwrap_or_default();
            record["section"] == "d"
                && name.starts_with(reference_type(dtype))
                && record["images_per_s"].is_f64()
        });
        same.max_by(|a, b| speed(a).total_cmp(&speed(b)))
    }

    /// Every measured pass with its bound, and the reference's time where there is one.
    pub fn kernel_table(&self) -> Option<Table> {
        let row = |row: &Value| {
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_string();
            let [op, pass, dtype] = ["op", "pass", "dtype"].map(text);
            let ms = row["ms"].as_f64();
            let reference = self.reference(&op, &pass, &dtype);
            let ratio = reference
                .zip(ms)
                .map(|((theirs, variant), ours)| format!("{:.2} ({variant}: {theirs:.3} ms)", theirs / ours));
            let left = row["error"].as_str().or(row["not_run"].as_str());
            vec![
                format!("{op}: {}", text("case")),
                pass,
                dtype,
                ms.map_or(left.unwrap_or("-").into(), |ms| format!("{ms:.4}")),
                number(&row["bound_ms"], 4),
                text("bound_by"),
                row["share"].as_f64().map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)),
                ratio.unwrap_or("-".into()),
            ]
        };
        let header = ["op", "pass", "type", "ms", "bound, ms", "by", "share", "times the reference"];
        let rows: Vec<_> = self.kernels.iter().map(row).collect();
        (!rows.is_empty()).then(|| Table::new(&header, rows))
    }

    /// Our steps, and the best of PyTorch's.
    pub fn step_table(&self) -> Option<Table> {
        let gib =
            |bytes: &Value| bytes.as_f64().map_or("-".into(), |b| format!("{:.2}", b / f64::from(1 << 30)));
        let mut rows = vec![];
        for row in &self.steps {
            let precision = row["precision"].as_str().unwrap_or("-");
            let theirs = self.best_step(precision);
            let over = |ours: &str, theirs_key: &str| {
                let ratio = theirs.and_then(|best| Some(row[ours].as_f64()? / best[theirs_key].as_f64()?));
                ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"))
            };
            let left = row["error"].as_str().or(row["not_run"].as_str());
            rows.push(vec![
                format!("svp-train, {precision}"),
                left.map_or(number(&row["ms"], 2), String::from),
                number(&row["images_per_s"], 1),
                gib(&row["peak_tensor_bytes"]),
                gib(&row["device_bytes"]),
                number(&row["kernels_ms"], 2),
                number(&row["products_ms"], 2),
                row["outside"].as_f64().map_or("-".into(), |share| format!("{:.1} %", 100.0 * share)),
                over("images_per_s", "images_per_s"),
                over("peak_tensor_bytes", "peak_bytes"),
            ]);
        }
        for best in TYPES.iter().filter_map(|dtype| self.best_step(dtype)) {
            let what = ["dtype", "variant"].map(|key| best[key].as_str().unwrap_or("-"));
            let mut row = vec!["-".to_string(); 10];
            row[0] = format!("PyTorch, {}: {}", what[0], what[1]);
            row[1] = number(&best["ms_median"], 2);
            row[2] = number(&best["images_per_s"], 1);
            row[3] = gib(&best["peak_bytes"]);
            row[4] = gib(&best["peak_reserved_bytes"]);
            rows.push(row);
        }
        let header = [
            "step",
            "ms",
            "images/s",
            "tensors, GiB",
            "device, GiB",
            "kernels, ms",
            "products, ms",
            "outside",
            "images/s over PyTorch's best",
            "tensors over its",
        ];
        (!rows.is_empty()).then(|| Table::new(&header, rows))
    }

    /// The kernels that take most of our step in bf16.
    pub fn heaviest(&self) -> Option<Table> {
        let row = |kernel: &Value| {
            let name = kernel["name"].as_str().unwrap_or("-").to_string();
            vec![name, number(&kernel["launches"], 0), number(&kernel["ms"], 3)]
        };
        let rows: Vec<_> = self.step("bf16")?["by_kernel"].as_array()?.iter().map(row).collect();
        Some(Table::new(&["kernel of the bf16 step", "launches", "ms of a step"], rows))
    }

    /// What is wanted, and whether it is reached. Of a try of the tool nothing is judged.
    pub fn targets(&self, smoke: bool) -> Vec<Target> {
        let mut targets = vec![];
        let mut add = |what: String, want: Want, got: Option<f64>, missing: &str| {
            let status = match got {
                _ if smoke => Status::NotRun("a try of the tool".into()),
                None => Status::NotRun(missing.into()),
                Some(got) if want.holds(got) => Status::Passed,
                Some(_) => Status::Failed("missed".into()),
            };
            let got = got.map_or("-".into(), |got| want.show(got));
            targets.push(Target { what, want: want.text(), got, status });
        };
        for dtype in TYPES {
            for (pass, wanted) in PASSES.into_iter().zip(SCAN) {
                let ours = self.kernel("selective_scan", pass, dtype);
                let ms = ours.and_then(|row| row["ms"].as_f64());
                let theirs = self.reference("selective_scan", pass, dtype).map(|(ms, _)| ms);
                let what = format!("scan {pass}, {dtype}: as fast as the published one");
                add(what, Want::Times(wanted), ms.zip(theirs).map(|(ours, theirs)| theirs / ours), BOTH);
                let share = ours.and_then(|row| row["share"].as_f64());
                let what = format!("scan {pass}, {dtype}: share of its bound");
                add(what, Want::AtLeast(SCAN_SHARE), share, "not measured");
            }
        }
        let (ours, theirs) = (self.step("bf16"), self.best_step("bf16"));
        let ratio = |mine: &str, other: &str| Some(ours?[mine].as_f64()? / theirs?[other].as_f64()?);
        add(
            "step, bf16: images/s over PyTorch's best".into(),
            Want::Times(STEP),
            ratio("images_per_s", "images_per_s"),
            BOTH,
        );
        let memory = ratio("peak_tensor_bytes", "peak_bytes");
        add("step, bf16: peak memory of tensors over its".into(), Want::AtMost(MEMORY), memory, BOTH);
        let what = "step, bf16: outside of kernels and products".into();
        targets.push(outside(ours, what, smoke));
        targets
    }
}

/// The share of the step in which no kernel ran. A measurement that cannot be right is no pass.
fn outside(step: Option<&Value>, what: String, smoke: bool) -> Target {
    let want = Want::AtMost(OUTSIDE);
    let text = |key: &str| step.and_then(|step| step[key].as_str());
    let share = step.and_then(|step| step["outside"].as_f64());
    let wrong = |why: &str| Status::Failed(format!("the measurement is wrong: {why}"));
    let status = match share {
        _ if smoke => Status::NotRun("a try of the tool".into()),
        None => match (text("outside_not_run"), text("outside_error")) {
            (Some(why), _) => Status::NotRun(why.into()),
            (_, Some(why)) => wrong(why),
            _ if step.is_some_and(|step| step["ms"].is_f64()) => wrong("the step was timed and has no share"),
            _ => Status::NotRun("not measured".into()),
        },
        Some(share) if !(share < 1.0) => wrong("no kernel was traced in the replayed step"),
        Some(share) if !(share > 0.0) => wrong("the traced kernels took longer than the steps themselves"),
        Some(share) if want.holds(share) => Status::Passed,
        Some(_) => Status::Failed("missed".into()),
    };
    Target { what, want: want.text(), got: share.map_or("-".into(), |share| want.show(share)), status }
}

const BOTH: &str = "not measured on both sides";

/// What a number shall be.
#[derive(Clone, Copy)]
enum Want {
    Times(f64),
    AtLeast(f64),
    AtMost(f64),
}

impl Want {
    fn holds(self, got: f64) -> bool {
        match self {
            Want::Times(want) | Want::AtLeast(want) => got >= want,
            Want::AtMost(want) => got <= want,
        }
    }

    fn show(self, number: f64) -> String {
        match self {
            Want::Times(_) => format!("{number:.2} times"),
            Want::AtLeast(_) | Want::AtMost(_) => format!("{:.1} %", 100.0 * number),
        }
    }

    fn text(self) -> String {
        match self {
            Want::Times(want) => format!("at least {want} times"),
            Want::AtLeast(want) => format!("at least {:.0} %", 100.0 * want),
            Want::AtMost(want) => format!("at most {:.0} %", 100.0 * want),
        }
    }
}

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or("-".into(), |number| format!("{number:.digits$}"))
}
