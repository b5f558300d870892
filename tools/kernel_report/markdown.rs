//! The report as Markdown.

use std::fmt::Write;

use crate::checks::{Check, SCAN, steps};
use crate::measure::{Part, Pass};
use crate::memory::Memory;
use crate::ptxas::{ARCHITECTURES, MISSING};
use crate::sass::UNITS;
use crate::sass::weigh::HotLoop;
use crate::{Usages, h100};

const INTRODUCTION: &str = "\
Counts are those of the emulator on the committed PTX at small shapes, extrapolated to the shapes of Vim-S training \
(224 px, batch 96) and checked at one further shape. Issue slots are those of the machine code for sm_90: each basic \
block counts as often as the emulator executed the PTX lines of its accesses to memory, shuffles and exponentials. \
Moved: 32-byte sectors of global memory that requests touch, as if no cache kept any. Fewest: what the op must read and \
write at least once, what it keeps for its backward pass included. Bound: the time for which the busiest part of an \
H100 is busy, all parts at full rate (HBM 3.0 TB/s; 132 multiprocessors at 1.7 GHz, each 16 MUFU, 128 FMA or products \
of integers, 0.629 `mma` of 16 x 8 x 16, which is about what `mma.sync` reaches, 64 other integer operations and comparisons, 64 conversions, 4 issued instructions and 128 bytes of shared \
memory a cycle, shuffles among these). No run is faster but by what caches keep.";

/// The report, but for steps, memory and registers.
pub fn report(passes: &[Pass], usages: Option<&Usages>, checks: &[Check]) -> String {
    let mut text = format!("# Kernel report\n\n{INTRODUCTION}\n\n");
    if usages.is_none() {
        text += &format!("Registers, spills and machine code: skipped: {MISSING}");
    }
    text += &checks_table(checks);
    text += &passes_table(passes);
    text += &parts_table(passes);
    text += &updates_table(passes);
    text += &loops_table(passes);
    text += &kernels_table(passes, usages);
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
        "bound µs",
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

pub fn memory_table(memory: &[Memory]) -> String {
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

/// Issue slots of the scan for an update, by unit.
fn updates_table(passes: &[Pass]) -> String {
    let mut text = String::from(
        "## Issue slots of the scan\n\nFor an update, which is a token, channel, state and direction. A slot is a warp's; it serves 32 \
         updates. Passes are those through the banks of shared memory, shuffles left out. Stall: cycles that a warp alone would need.\n\n",
    );
    let names = UNITS.iter().map(|(_, name)| *name).collect::<Vec<_>>();
    header(&mut text, &[&["entry", "all"], &names[..], &["shared passes", "stall"]].concat());
    for pass in passes.iter().filter(|pass| pass.op == SCAN) {
        let updates = steps(&pass.case) / 32.0;
        for Part { entry, work, .. } in &pass.parts {
            let counts = [&[work.slots()], &work.kinds()[..], &[work.wavefronts, work.stalls]].concat();
            let counts: Vec<_> = counts.iter().map(|count| format!("{:.2}", count / updates)).collect();
            line(
                &mut text,
                &[&[*entry], &counts.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
            );
        }
    }
    text + "\n"
}

/// The loops in which kernels spend their slots.
fn loops_table(passes: &[Pass]) -> String {
    let mut text = String::from(
        "## Main loops of the scan\n\nNatural loops of the machine code: a backward branch to a block that dominates it, and all that reaches the \
         branch without passing that block. Loops within are left out of a loop's slots. Slots are those of an iteration of \
         a warp, on average over the ways through it. Updates: those of all directions and channels over a loop's iterations and \
         32 lanes, which a lane makes in an iteration of a loop that all updates pass.\n\n",
    );
    let names = UNITS.iter().map(|(_, name)| *name).collect::<Vec<_>>();
    header(
        &mut text,
        &[&["entry", "addresses", "innermost", "% of all", "updates", "slots"], &names[..]].concat(),
    );
    for pass in passes.iter().filter(|pass| pass.op == SCAN) {
        for part in &pass.parts {
            for HotLoop { addresses: [from, to], innermost, share, iterations, kinds } in &part.loops {
                let updates = steps(&pass.checked) / 32.0 / iterations;
                let numbers = [updates, kinds.iter().sum()];
                let counts: Vec<_> = numbers.iter().chain(kinds).map(|count| format!("{count:.1}")).collect();
                let (at, share) = (format!("{from:04x}-{to:04x}"), format!("{:.0}", 100.0 * share));
                let first = [part.entry, &at, if *innermost { "yes" } else { "no" }, &share];
                let counts: Vec<_> = counts.iter().map(String::as_str).collect();
                line(&mut text, &[&first, &counts[..]].concat());
            }
        }
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
        let Part { entry, blocks, threads, shared, work, .. } = part;
        let percent = |count: f64| format!("{:.0}", 100.0 * count / work.slots());
        let usage = usages.and_then(|usages| usages.get(&(entry.to_string(), "sm_90")));
        line(
            &mut text,
            &[
                entry,
                &format!("{blocks} x {threads}"),
                &usage.map_or("?".into(), |usage| {
                    let resident = h100::resident(*threads, usage.registers, usage.shared + shared);
                    format!("{:.1}", h100::waves(*blocks, resident))
                }),
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

pub fn usage_table(usages: &Usages) -> String {
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

pub fn header(text: &mut String, cells: &[&str]) {
    line(text, cells);
    line(text, &vec!["---"; cells.len()]);
}

pub fn line(text: &mut String, cells: &[&str]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes all");
}

pub fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

pub fn micros(seconds: f64) -> String {
    format!("{:.1}", 1e6 * seconds)
}
