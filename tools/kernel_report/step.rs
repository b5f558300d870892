//! The time of a whole training step, predicted from its launches.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::launch::BlasGemm;
use engine::{DType, Device};
use svp::backbones::vim::VimConfig;
use testkit::vim_s::Step;

use crate::launcher::{Dry, Launched, Other, Watched};
use crate::markdown::{header, line, megabytes, micros};
use crate::measure::{Part, Pass};
use crate::work::Work;
use crate::{Usages, h100};

/// Other numbers of images than that of training.
pub const FEW: [usize; 2] = [8, 1];
/// What little share of a step stands in no row of its own.
const SMALL: f64 = 0.005;

pub const TITLE: &str = "## Predicted step of SVP on Vim-S, bf16, on an H100\n\n";
const NOTES: &str = "\
Every launch of a step as training makes it, its optimizer among them. A launch takes as long as HBM or its waves of blocks: \
in a wave, the busiest multiprocessor needs the time of its busiest part for its blocks, and at least that of one warp \
alone whose memory answers at once (`a warp alone`). Work is that of the op's kernel at this number of images \
(`~`: launched with other sizes, and scaled by the bytes of its arguments; `args`: not measured, all that its arguments \
hold is moved once). Products: the \
longer of 600 TFLOP/s (300 in f32) and HBM. Between two launches 1 µs passes. Latency of memory that too few warps hide, and \
what caches keep, are not in it.\n\n";

/// Launches that are the same.
struct Row {
    name: String,
    launches: usize,
    /// Blocks and threads of one launch, and how often it fills the device.
    shape: String,
    waves: Option<f64>,
    by: &'static str,
    /// Of one launch: time, and the time without tails.
    seconds: f64,
    full: f64,
    /// Of one launch: issue slots of warps, bytes moved, passes through shared memory.
    slots: f64,
    bytes: f64,
    passes: f64,
}

impl Row {
    fn all(&self) -> f64 {
        self.launches as f64 * self.seconds
    }
}

/// A predicted step.
pub struct Prediction {
    images: usize,
    rows: Vec<Row>,
}

/// Predicts a step from the measured passes at its number of images.
pub fn predict(images: usize, passes: &[Pass], usages: &Usages) -> Result<Prediction, String> {
    let (launched, others) = record(images).map_err(|err| err.to_string())?;
    let parts: Vec<&Part> = passes.iter().flat_map(|pass| &pass.parts).collect();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut add = |key: String, row: &dyn Fn() -> Row| {
        rows.entry(key).or_insert_with(row).launches += 1;
    };
    for launch in &launched {
        add(format!("{} {:?}", launch.entry, launch.grid), &|| kernel_row(launch, &parts, usages));
    }
    for other in &others {
        match other {
            Other::Product(gemm) => {
                add(format!("{} {} {} {:?} {:?}", gemm.m, gemm.n, gemm.k, gemm.input, gemm.output), &|| {
                    product_row(gemm)
                });
            }
            Other::Copy(bytes) => add(format!("copy {bytes}"), &|| bytes_row("copy", 2 * bytes)),
            Other::Zero(bytes) => add(format!("zero {bytes}"), &|| bytes_row("zero", *bytes)),
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| b.all().total_cmp(&a.all()));
    Ok(Prediction { images, rows })
}

/// What a step launches, once all that only the first one does is done.
fn record(images: usize) -> svp::Result<(Vec<Launched>, Vec<Other>)> {
    let launcher = Arc::new(Dry::default());
    let device = Device::launched(launcher.clone());
    let config = VimConfig::named("vim_small")?;
    let mut step = Step::new(&device, config, images, DType::Bf16)?;
    step.submit()?;
    launcher.take();
    launcher.take_other();
    step.submit()?;
    Ok((launcher.take(), launcher.take_other()))
}

fn kernel_row(launch: &Launched, parts: &[&Part], usages: &Usages) -> Row {
    let blocks: u64 = launch.grid.blocks.map(u64::from).iter().product();
    let threads: u32 = launch.grid.threads.iter().product();
    let candidates = parts.iter().filter(|part| part.entry == launch.entry && part.threads == threads);
    // Of launches with another grid, the one whose arguments are the most alike in size.
    let scale = |part: &Part| launch.bytes as f64 / part.bytes.max(1) as f64;
    let apart = |part: &Part| if part.blocks == blocks { -1.0 } else { scale(part).ln().abs() };
    let (mark, work) = match candidates.min_by(|a, b| apart(a).total_cmp(&apart(b))) {
        Some(part) => {
            let same = part.blocks == blocks;
            // The blocks of a part are those of all its launches.
            let share = part.blocks as f64 / part.work.blocks;
            let mut work = Work::default();
            work.add(if same { share } else { share * scale(part) }, &part.work);
            work.warps = (blocks * u64::from(threads.div_ceil(32))) as f64;
            (if same { "" } else { " ~" }, work)
        }
        None => (" args", Work { read: launch.bytes as f64 / 32.0, ..Work::default() }),
    };
    let usage = usages.get(&(launch.entry.to_string(), "sm_90")).copied().unwrap_or_default();
    let resident = h100::resident(threads, usage.registers, usage.shared + launch.grid.shared);
    let time = h100::time(&work, blocks, resident);
    Row {
        name: format!("{}{mark}", launch.entry),
        launches: 0,
        shape: format!("{blocks} x {threads}"),
        waves: Some(h100::waves(blocks, resident)),
        by: time.by,
        seconds: time.seconds,
        full: time.full,
        slots: work.slots(),
        bytes: work.bytes(),
        passes: work.wavefronts + work.shuffle,
    }
}

fn product_row(gemm: &BlasGemm) -> Row {
    let [m, n, k] = [gemm.m, gemm.n, gemm.k].map(|size| size as f64);
    let written = m * n * gemm.output.size() as f64 * if gemm.beta == 0.0 { 1.0 } else { 2.0 };
    let bytes = (m * k + k * n) * gemm.input.size() as f64 + written;
    let (by, seconds) = h100::product(2.0 * m * n * k, bytes, gemm.input);
    Row {
        name: "product".into(),
        shape: format!("{m} x {n} x {k}"),
        by,
        seconds,
        full: seconds,
        ..bytes_row("", bytes as usize)
    }
}

fn bytes_row(name: &str, bytes: usize) -> Row {
    let (bytes, seconds) = (bytes as f64, h100::copy(bytes as f64));
    let (name, shape) = (name.into(), "-".into());
    Row {
        name,
        launches: 0,
        shape,
        waves: None,
        by: "HBM",
        seconds,
        full: seconds,
        slots: 0.0,
        bytes,
        passes: 0.0,
    }
}

/// All predictions.
pub fn table(predictions: &[Prediction]) -> String {
    let mut text = format!("{TITLE}{NOTES}");
    predictions.iter().for_each(|prediction| text += &prediction.text());
    text
}

impl Prediction {
    fn text(&self) -> String {
        let sum = |of: &dyn Fn(&Row) -> f64| self.rows.iter().map(of).sum::<f64>();
        let launches = sum(&|row| row.launches as f64);
        let gaps = launches * h100::GAP;
        let total = sum(&Row::all) + gaps;
        let full = sum(&|row| row.launches as f64 * row.full) + gaps;
        let rate = |seconds: f64| format!("{:.0}", self.images as f64 / seconds);
        let mut text = format!(
            "### Batch {}: {:.2} ms, {} images/s\n\n{:.2} ms ({} images/s) if no launch had a tail or left multiprocessors idle.\n\n",
            self.images,
            1e3 * total,
            rate(total),
            1e3 * full,
            rate(full),
        );
        let each = |of: fn(&Row) -> f64| sum(&|row| row.launches as f64 * of(row));
        let (slots, bytes, passes) = (each(|row| row.slots), each(|row| row.bytes), each(|row| row.passes));
        text += &format!(
            "{launches:.0} launches: {:.2} G issue slots, {:.1} GB, {:.2} G passes through shared memory.\n\n",
            slots / 1e9,
            bytes / 1e9,
            passes / 1e9
        );
        let mut by: BTreeMap<&str, f64> = BTreeMap::from([("gaps between launches", gaps)]);
        self.rows.iter().for_each(|row| *by.entry(row.by).or_default() += row.all());
        let mut by: Vec<_> = by.into_iter().collect();
        by.sort_by(|a, b| b.1.total_cmp(&a.1));
        header(&mut text, &["bound by", "ms", "%"]);
        for (by, seconds) in by {
            line(&mut text, &[by, &format!("{:.2}", 1e3 * seconds), &percent(seconds, total)]);
        }
        text += "\n";
        let head = [
            "kernel",
            "launches",
            "blocks x threads",
            "waves",
            "slots M",
            "MB",
            "shared passes M",
            "bound by",
            "µs",
            "at full rate µs",
            "all launches ms",
            "%",
        ];
        header(&mut text, &head);
        let (rows, small): (Vec<&Row>, Vec<&Row>) =
            self.rows.iter().partition(|row| row.all() >= SMALL * total);
        for row in rows {
            line(
                &mut text,
                &[
                    &row.name,
                    &row.launches.to_string(),
                    &row.shape,
                    &row.waves.map_or("-".into(), |waves| format!("{waves:.2}")),
                    &format!("{:.1}", row.slots / 1e6),
                    &megabytes(row.bytes),
                    &format!("{:.1}", row.passes / 1e6),
                    row.by,
                    &micros(row.seconds),
                    &micros(row.full),
                    &format!("{:.2}", 1e3 * row.all()),
                    &percent(row.all(), total),
                ],
            );
        }
        let count: usize = small.iter().map(|row| row.launches).sum();
        let rest: f64 = small.iter().map(|row| row.all()).sum();
        let mut last = vec![""; head.len()];
        let (count, ms, share) = (count.to_string(), format!("{:.2}", 1e3 * rest), percent(rest, total));
        (last[0], last[1], last[10], last[11]) = ("all others", &count, &ms, &share);
        line(&mut text, &last);
        let (ms, share) = (format!("{:.2}", 1e3 * gaps), percent(gaps, total));
        (last[0], last[1], last[10], last[11]) = ("gaps between launches", "", &ms, &share);
        line(&mut text, &last);
        text + "\n"
    }
}

fn percent(part: f64, of: f64) -> String {
    format!("{:.1}", 100.0 * part / of)
}
