//! Issue slots of each kernel, by kind of instruction.

use std::fmt::Write;
use std::sync::Arc;

use engine::DType;
use ptx::registry;

use crate::checks::steps;
use crate::measure;
use crate::ptxas::MachineCode;
use crate::sass::UNITS;

/// Slots of the scan for an update, in bf16.
pub fn report(ops: &[String], code: Option<&Arc<MachineCode>>) -> Result<String, String> {
    let mut text = String::new();
    for op in registry::all().into_iter().filter(|op| ops.iter().any(|name| name == op.name())) {
        for case in op.cases().iter().filter(|case| case.bench) {
            for pass in measure::measure(&*op, case, &op.training(), DType::Bf16, code)? {
                let updates = steps(&pass) / 32.0;
                for part in &pass.parts {
                    let work = &part.work;
                    writeln!(text, "{} ({} x {}, {} shared)", part.entry, part.blocks, part.threads, part.shared)
                        .unwrap();
                    writeln!(text, "  {:<16} {:7.3} an update", "all slots", work.slots() / updates).unwrap();
                    for ((_, name), count) in UNITS.iter().zip(work.kinds()) {
                        writeln!(text, "  {name:<16} {:7.3}", count / updates).unwrap();
                    }
                    writeln!(text, "  {:<16} {:7.3}", "shared passes", work.wavefronts / updates).unwrap();
                    writeln!(text, "  {:<16} {:7.3} (from the emulator)", "MUFU of threads", work.mufu_threads / steps(&pass)).unwrap();
                    writeln!(text, "  {:<16} {:7.3}", "stall cycles", work.stalls / updates).unwrap();
                }
            }
        }
    }
    Ok(text)
}
