//! Costs as a table and as CSV.

use super::Cost;
use crate::report::Table;
use crate::report::table::csv_line;

/// The costs as a table for the terminal.
pub fn text(costs: &[Cost], batch: usize) -> String {
    let latency = format!("latency of {batch}, ms");
    let mut table = Table::new([
        "method",
        "trained, M",
        "GFLOP",
        &latency,
        "GFLOP to train",
        "step, ms",
        "trained images/s",
        "memory, MB",
    ]);
    for cost in costs {
        table.row([
            cost.method.clone(),
            format!("{:.3}", cost.params_m),
            significant(cost.gflop),
            significant(cost.latency_ms),
            significant(cost.train_gflop),
            significant(cost.train_ms),
            significant(cost.train_images_per_s),
            significant(cost.memory_mb),
        ]);
    }
    table.to_string()
}

/// Four digits that count, and none behind the point of a number that has them before it.
pub(super) fn significant(value: f64) -> String {
    let before = value.abs().max(1e-9).log10().floor() as i32;
    format!("{value:.*}", (3 - before).clamp(0, 6) as usize)
}

/// The costs as CSV, a line for each method.
pub fn csv(costs: &[Cost]) -> String {
    let mut text = "method,params_m,trained_parameters,without_head,gflop,train_gflop,latency_ms,train_ms,\
                    train_images_per_s,memory_mb,evaluation_memory_mb\n"
        .to_string();
    let number = |value: f64| format!("{value:.3}");
    for cost in costs {
        text += &csv_line([
            cost.method.clone(),
            format!("{:.6}", cost.params_m),
            cost.trained_parameters.to_string(),
            cost.without_head.to_string(),
            format!("{:.6}", cost.gflop),
            format!("{:.6}", cost.train_gflop),
            number(cost.latency_ms),
            number(cost.train_ms),
            number(cost.train_images_per_s),
            number(cost.memory_mb),
            number(cost.evaluation_memory_mb),
        ]);
    }
    text
}
