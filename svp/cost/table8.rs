//! Costs as Table 8 of iVPT (arXiv 2404.05207) has them, beside its numbers.

use serde::Serialize;

use super::Cost;
use super::table::significant;
use crate::report::Table;
use crate::report::table::csv_line;
use crate::train::Preset;

/// The methods of the table as they are asked for: with 10 prompts, at which its FLOP come out, and with as many frames as
/// make its parameters.
pub const METHODS: [&str; 3] = ["vpt:tokens=10", "dam-vp:frames=36", "ivpt:tokens=10:salient=10"];

/// Classes of a task of VTAB-1k, as the mean that makes the parameters of the table's heads.
pub const CLASSES: usize = 49;

/// Training images of a task of VTAB-1k.
const IMAGES: f64 = 1000.0;

/// Epochs of a method whose preset does not say them.
const EPOCHS: i64 = 100;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row8 {
    /// Name of the method.
    pub method: String,
    /// Trained parameters in millions.
    pub params_m: f64,
    /// Multiply-adds of the evaluation of an image, in 10^9. The table calls them GFLOP.
    pub gmac: f64,
    /// Time of the evaluation of a batch, in milliseconds.
    pub latency_ms: f64,
    /// Time of training on the 1,000 images of a task for the epochs of the method's publication, in minutes.
    pub train_minutes: f64,
    /// Most memory of a training step, in 10^6 bytes.
    pub memory_mb: f64,
    /// Mean accuracy on VTAB-1k in percent, which nothing here measures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Row8 {
    /// The row of a method that was measured.
    pub fn of(cost: &Cost) -> Self {
        let name = cost.method.split(':').next().unwrap_or_default();
        let epochs = Preset::named(name).ok().and_then(|preset| preset.settings.get("epochs")?.as_integer());
        let epochs = epochs.unwrap_or(EPOCHS) as f64;
        Row8 {
            method: cost.method.clone(),
            params_m: cost.params_m,
            gmac: cost.gflop / 2.0,
            latency_ms: cost.latency_ms,
            train_minutes: epochs * IMAGES / cost.train_images_per_s / 60.0,
            memory_mb: cost.memory_mb,
            accuracy: None,
        }
    }

    /// The published rows.
    pub fn published() -> Vec<Self> {
        let row = |line: &str| {
            let mut fields = line.split('\t');
            let method = fields.next().unwrap_or_default().to_string();
            let mut number =
                || fields.next().and_then(|field| field.parse().ok()).expect("a test reads the table");
            Row8 {
                method,
                params_m: number(),
                gmac: number(),
                latency_ms: number(),
                train_minutes: number(),
                memory_mb: number(),
                accuracy: Some(number()),
            }
        };
        include_str!("../sweep/published/ivpt-table8.tsv").lines().skip(1).map(row).collect()
    }

    /// Its numbers as text, each by `shown`.
    fn fields(&self, shown: impl Fn(f64) -> String, missing: &str) -> [String; 6] {
        let &Row8 { params_m, gmac, latency_ms, train_minutes, memory_mb, accuracy, .. } = self;
        let [params, gmac, latency, minutes, memory] =
            [params_m, gmac, latency_ms, train_minutes, memory_mb].map(&shown);
        [params, gmac, latency, minutes, memory, accuracy.map_or(missing.into(), &shown)]
    }
}

/// The table for the terminal: what was measured, then what was published.
pub fn text(costs: &[Cost]) -> String {
    let header = [
        "method",
        "trained, M",
        "multiply-adds, G",
        "latency, ms",
        "training, min",
        "memory, MB",
        "VTAB-1k, %",
    ];
    let mut table = Table::new(header);
    let mut add = |name: String, row: &Row8| {
        let [a, b, c, d, e, f] = row.fields(significant, "-");
        table.row([name, a, b, c, d, e, f]);
    };
    costs.iter().map(Row8::of).for_each(|row| add(row.method.clone(), &row));
    Row8::published().iter().for_each(|row| add(format!("{}, published", row.method), row));
    table.to_string()
}

/// The same as CSV; the last column says whether a row was measured here or published.
pub fn csv(costs: &[Cost]) -> String {
    let mut text = "method,params_m,gmac,latency_ms,train_minutes,memory_mb,accuracy,from\n".to_string();
    let mut add = |row: &Row8, from: &str| {
        let numbers = row.fields(|value| format!("{value:.6}"), "");
        text += &csv_line([row.method.clone()].into_iter().chain(numbers).chain([from.into()]));
    };
    costs.iter().for_each(|cost| add(&Row8::of(cost), "here"));
    Row8::published().iter().for_each(|row| add(row, "published"));
    text
}
