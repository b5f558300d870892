//! The counts of a launch, as text for people and as JSON.

use std::fmt::Write;

use ptx_emulator::{Count, Meter, Traffic};

/// How the counts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// Tables.
    Text,
    /// One line of JSON, with the counts of every PTX line as well.
    Json,
}

/// The counts in a style.
pub fn counts(meter: &Meter, style: Style) -> String {
    match style {
        Style::Text => text(meter),
        Style::Json => json(meter),
    }
}

fn text(meter: &Meter) -> String {
    let mut out = String::new();
    let Meter { blocks, warps, threads, barriers, checks, .. } = meter;
    let _ = writeln!(
        out,
        "{blocks} blocks, {warps} warps, {threads} threads, {barriers} barriers, {checks} checks"
    );
    let _ = writeln!(out, "\n{:<15}{:>16}{:>16}{:>16}", "instructions", "by warps", "by threads", "partial");
    let classes = meter.classes.iter().map(|(class, count)| (format!("{class:?}"), *count));
    for (name, count) in classes.chain([("all".into(), meter.instructions())]) {
        let _ = writeln!(out, "{name:<15}{:>16}{:>16}{:>16}", count.warps, count.threads, count.partial);
    }
    let _ = writeln!(
        out,
        "\n{:<23}{:>16}{:>16}{:>16}{:>16}{:>16}",
        "memory", "requests", "bytes", "sectors", "bank passes", "fewest passes"
    );
    for (kind, traffic) in &meter.accesses {
        let name = format!("{} {:?} of {}", kind.space, kind.class, kind.bytes);
        let Traffic { requests, bytes, sectors, wavefronts, ideal_wavefronts, .. } = traffic;
        let _ = writeln!(
            out,
            "{name:<23}{requests:>16}{bytes:>16}{sectors:>16}{wavefronts:>16}{ideal_wavefronts:>16}"
        );
    }
    out
}

fn json(meter: &Meter) -> String {
    let count = |count: Count| {
        format!(r#""warps":{},"threads":{},"partial":{}"#, count.warps, count.threads, count.partial)
    };
    let classes: Vec<_> =
        meter.classes.iter().map(|(class, c)| format!(r#""{class:?}":{{{}}}"#, count(*c))).collect();
    let accesses = meter.accesses.iter().map(|(kind, traffic)| {
        let Traffic { requests, threads, bytes, sectors, wavefronts, ideal_wavefronts } = traffic;
        format!(
            r#"{{"space":"{}","class":"{:?}","width":{},"requests":{requests},"threads":{threads},"bytes":{bytes},"sectors":{sectors},"wavefronts":{wavefronts},"ideal_wavefronts":{ideal_wavefronts}}}"#,
            kind.space, kind.class, kind.bytes
        )
    });
    let accesses: Vec<_> = accesses.collect();
    let lines = meter.lines().map(|(line, c)| {
        let source = match &line.source {
            Some((file, number)) => quoted(&format!("{file}:{number}")),
            None => "null".into(),
        };
        let (file, opcode) = (quoted(&line.file), quoted(&line.opcode));
        let number = line.line;
        format!(r#"{{"file":{file},"line":{number},"source":{source},"opcode":{opcode},{}}}"#, count(c))
    });
    let lines: Vec<_> = lines.collect();
    format!(
        r#"{{"launches":{},"blocks":{},"warps":{},"threads":{},"barriers":{},"checks":{},"classes":{{{}}},"accesses":[{}],"lines":[{}]}}"#,
        meter.launches,
        meter.blocks,
        meter.warps,
        meter.threads,
        meter.barriers,
        meter.checks,
        classes.join(","),
        accesses.join(","),
        lines.join(",")
    ) + "\n"
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
