//! The report as Markdown.

use std::fmt::Write;

use crate::checks::Check;
use crate::measure::{Part, Pass};
use crate::memory::Memory;
use crate::ptxas::{ARCHITECTURES, Usage};
use crate::{Usages, h100};

const INTRODUCTION: &str = "\
Counts are those of the emulator on the committed PTX at small shapes, extrapolated to the shapes of Vim-S training \
(224 px, batch 96) and checked at one further shape. Moved: 32-byte sectors of global memory that requests touch, as \
if no cache kept any. Fewest: what the op must read and write at least once, what it keeps for its backward pass included. Predicted: the time for which the \
busiest part of an H100 is busy, all parts at full rate (HBM 3.0 TB/s; 132 multiprocessors at 1.7 GHz, each 16 MUFU, \
128 FMA, 64 integer operations, 64 conversions, 4 issued instructions and 128 bytes of shared memory a cycle). \
No run is faster but by what caches keep; instructions are those of PTX, which the assembler changes a little.";

/// The whole report.
pub fn report(passes: &[Pass], usages: Option<&Usages>, checks: &[Check], memory: &[Memory]) -> String {
    let mut text = format!("# Kernel report\n\n{INTRODUCTION}\n\n");
    text += &checks_table(checks);
    text += &passes_table(passes);
    text += &parts_table(passes);
    text += &kernels_table(passes, usages);
    text += &memory_table(memory);
    match usages {
        Some(usages) => text += &usage_table(usages),
        None => {
            text += "## Registers and spills\n\nskipped: ptxas is not in target/cuda (.ci/cuda fetches it)\n"
        }
    }
    text
}

fn checks_table(checks: &[Check]) -> String {
    let mut text = String::from("## Checks\n\n| check | value | at most | |\n|---|---|---|---|\n");
    for Check { what, value, limit, holds } in checks {
        let verdict = if *holds { "PASS" } else { "FAIL" };
        line(&mut text, &[what, value, limit, verdict]);
    }
    text + "\n"
}

fn passes_table(passes: &[Pass]) -> String {
    let head = [
        "op",
        "pass",
        "launches",
        "moved MB",
        "fewest MB",
        "ratio",
        "bound by",
        "predicted µs",
        "memory alone µs",
        "check shape off",
    ];
    let mut text = String::from("## Vim-S training, one call of each op\n\n");
    header(&mut text, &head);
    for pass in passes {
        let work = pass.work();
        // Launches follow each other: their times add up.
        let time: f64 = pass.parts.iter().map(|part| h100::bound(&part.work).1).sum();
        let longest =
            pass.parts.iter().max_by(|a, b| h100::bound(&a.work).1.total_cmp(&h100::bound(&b.work).1));
        let known = |text: &dyn Fn(f64) -> String| pass.fewest.map_or("-".into(), text);
        line(
            &mut text,
            &[
                &title(pass),
                pass.name,
                &format!("{:.0}", work.launches),
                &megabytes(work.bytes()),
                &known(&megabytes),
                &known(&|fewest| format!("{:.2}", work.bytes() / fewest)),
                longest.map_or("", |part| h100::bound(&part.work).0),
                &micros(time),
                &known(&|fewest| micros(h100::copy(fewest))),
                &format!("{:.1} % ({})", 100.0 * pass.check.0, pass.check.1),
            ],
        );
    }
    text + "\n"
}

fn memory_table(memory: &[Memory]) -> String {
    let mut text = String::from(
        "## Device memory of the SVP step of Vim-S, 224 px, GiB\n\nTensors, weights included, at most at once; in brackets what \
         the pool holds for them. The driver's context and cuBLASLt's workspace come on top.\n\n",
    );
    header(&mut text, &["batch", "f32", "bf16"]);
    let gib = |bytes: usize| format!("{:.2}", bytes as f64 / (1u64 << 30) as f64);
    for Memory { batch, bytes } in memory {
        let cells = bytes.map(|[most, held]| format!("{} ({})", gib(most), gib(held)));
        line(&mut text, &[&batch.to_string(), &cells[0], &cells[1]]);
    }
    text + "\n"
}

/// How long each part of the device is busy.
fn parts_table(passes: &[Pass]) -> String {
    let mut text = String::from("## Microseconds that each part of an H100 is busy\n\n");
    let names = h100::parts(&Default::default()).map(|(name, _)| name);
    header(&mut text, &[&["op", "pass"], &names[..]].concat());
    for pass in passes {
        let times = h100::parts(&pass.work()).map(|(_, time)| micros(time));
        let times: Vec<&str> = times.iter().map(String::as_str).collect();
        line(&mut text, &[&[&*title(pass), pass.name], &times[..]].concat());
    }
    text + "\n"
}

fn kernels_table(passes: &[Pass], usages: Option<&Usages>) -> String {
    let head = [
        "entry",
        "blocks x threads",
        "waves",
        "moved MB",
        "instructions of threads, M",
        "MUFU %",
        "float %",
        "integer %",
        "shared passes / fewest",
        "part of a warp %",
    ];
    let mut text = String::from("## Kernels\n\n");
    header(&mut text, &head);
    for part in passes.iter().flat_map(|pass| &pass.parts) {
        let Part { entry, blocks, threads, work, .. } = part;
        let percent = |count: f64| format!("{:.0}", 100.0 * count / work.slots());
        let usage = usages.and_then(|usages| usages.get(&(entry.to_string(), "sm_90")));
        line(
            &mut text,
            &[
                entry,
                &format!("{blocks} x {threads}"),
                &usage.map_or("?".into(), |usage| format!("{:.1}", waves(part, usage))),
                &megabytes(work.bytes()),
                &format!("{:.1}", work.threads / 1e6),
                &percent(work.mufu),
                &percent(work.fma),
                &percent(work.integer + work.imad + work.compare),
                &format!("{:.2}", work.conflicts()),
                &percent(work.partial),
            ],
        );
    }
    text + "\n"
}

/// How often an H100 fills up with the blocks of a launch.
fn waves(part: &Part, usage: &Usage) -> f64 {
    // A warp gets registers in steps of 256. A block takes 1 KiB of shared memory for the system.
    let warps = part.threads.div_ceil(32);
    let by_registers = 65_536 / ((usage.registers * 32).next_multiple_of(256) * warps).max(1);
    let by_shared = 233_472 / (usage.shared + part.shared + 1024);
    let resident = by_registers.min(by_shared).min(64 / warps).clamp(1, 32);
    part.blocks as f64 / f64::from(132 * resident)
}

fn usage_table(usages: &Usages) -> String {
    let [first, second] = ARCHITECTURES;
    let mut text = String::from("## Registers and spills (ptxas 12.4)\n\n");
    let head = [
        "entry".into(),
        format!("registers {first}"),
        format!("registers {second}"),
        "shared".into(),
        "spilled".into(),
    ];
    header(&mut text, &head.each_ref().map(String::as_str));
    for ((entry, architecture), usage) in usages {
        if *architecture != first {
            continue;
        }
        let other = usages.get(&(entry.clone(), second)).copied().unwrap_or_default();
        let cells = [usage.registers, other.registers, usage.shared, usage.spills + other.spills];
        let cells = cells.map(|cell| cell.to_string());
        line(&mut text, &[entry, &cells[0], &cells[1], &cells[2], &cells[3]]);
    }
    text
}

fn title(pass: &Pass) -> String {
    format!("{} {}", pass.op, pass.dtype())
}

fn header(text: &mut String, cells: &[&str]) {
    line(text, cells);
    line(text, &vec!["---"; cells.len()]);
}

fn line(text: &mut String, cells: &[&str]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes all");
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

fn micros(seconds: f64) -> String {
    format!("{:.1}", 1e6 * seconds)
}
