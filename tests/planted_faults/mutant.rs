//! Faults planted in the text of a kernel.

use engine::Rng;

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A barrier of the block is gone.
    Barrier,
    /// A barrier of a warp is gone.
    WarpBarrier,
    /// An access to shared or global memory goes to the next element, or vector of elements.
    Shift,
    /// An access goes far outside of every buffer.
    Far,
    /// A guard is inverted.
    Guard,
    /// A store is gone.
    Store,
    /// A buffer ends within its last element.
    Short,
    /// A buffer has half of its elements.
    Half,
}

impl Kind {
    pub const TEXT: [Kind; 6] =
        [Kind::Barrier, Kind::WarpBarrier, Kind::Shift, Kind::Far, Kind::Guard, Kind::Store];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Barrier => "barrier dropped",
            Kind::WarpBarrier => "warp barrier dropped",
            Kind::Shift => "address shifted by an element",
            Kind::Far => "address far outside",
            Kind::Guard => "guard swapped",
            Kind::Store => "store removed",
            Kind::Short => "array two bytes short",
            Kind::Half => "array cut in half",
        }
    }
}

/// A fault in one line of a text.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub kind: Kind,
    /// Line of the file, counted from 1.
    pub line: usize,
    /// The changed line.
    pub becomes: String,
}

/// The text of a file without its entries except one; lines keep their numbers.
pub fn only(text: &str, entry: &str) -> String {
    let mut kept = true;
    let mut lines = vec![];
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once(".entry ") {
            kept = rest.trim_start().split('(').next() == Some(entry);
        }
        lines.push(if kept { line } else { "" });
        // The brace that ends an entry stands alone at the start of a line, unlike inner ones.
        if line == "}" {
            kept = true;
        }
    }
    lines.join("\n") + "\n"
}

/// Every fault that fits the lines of a text for which `reached` says that they are executed.
pub fn all(text: &str, reached: impl Fn(usize) -> bool) -> Vec<Mutant> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let executed = lines.filter(|(number, _)| reached(*number));
    executed
        .flat_map(|(line, code)| {
            Kind::TEXT
                .into_iter()
                .filter_map(move |kind| plant(kind, code).map(|becomes| Mutant { kind, line, becomes }))
        })
        .collect()
}

/// A text with one line changed.
pub fn apply(text: &str, mutant: &Mutant) -> String {
    let lines = text.lines().enumerate();
    let changed = lines.map(|(i, line)| if i + 1 == mutant.line { mutant.becomes.as_str() } else { line });
    changed.collect::<Vec<_>>().join("\n") + "\n"
}

/// Keeps at most `most(kind)` faults of each kind.
pub fn sample(mutants: Vec<Mutant>, most: impl Fn(Kind) -> usize, rng: &mut Rng) -> Vec<Mutant> {
    let of_kind = |kind| mutants.iter().filter(|m| m.kind == kind).cloned().collect();
    Kind::TEXT.into_iter().flat_map(|kind| draw(of_kind(kind), most(kind), rng)).collect()
}

/// Draws at most `most` of the items.
pub fn draw<T>(mut items: Vec<T>, most: usize, rng: &mut Rng) -> Vec<T> {
    while items.len() > most {
        items.swap_remove(rng.next_u32() as usize % items.len());
    }
    items
}

/// The line with a fault of this kind; `None` if it offers no place for it.
fn plant(kind: Kind, line: &str) -> Option<String> {
    let code = line.split("//").next().unwrap_or("").trim();
    let (guard, rest) = match code.strip_prefix('@') {
        Some(_) => code.split_once(char::is_whitespace)?,
        None => ("", code),
    };
    let opcode = rest.split(|c: char| c.is_whitespace() || c == ';').next()?;
    let gone = |is: bool| is.then(String::new);
    match kind {
        Kind::Barrier => gone(opcode.starts_with("bar.sync") || opcode.starts_with("barrier.sync")),
        Kind::WarpBarrier => gone(opcode.starts_with("bar.warp.sync")),
        Kind::Store => gone(opcode.starts_with("st.")),
        Kind::Guard => match guard.strip_prefix("@!") {
            Some(predicate) => Some(format!("@{predicate} {rest}")),
            None => guard.strip_prefix('@').map(|predicate| format!("@!{predicate} {rest}")),
        },
        Kind::Shift => moved(opcode, code, access_bytes(opcode)?),
        Kind::Far => moved(opcode, code, 1 << 30),
        // These faults are planted in the arguments instead.
        Kind::Short | Kind::Half => None,
    }
}

/// The access with its address `bytes` further.
fn moved(opcode: &str, code: &str, bytes: i64) -> Option<String> {
    let watched = ["ld.global", "st.global", "ld.shared", "st.shared", "cp.async.c", "atom.", "red."];
    if !watched.iter().any(|start| opcode.starts_with(start)) {
        return None;
    }
    let close = code.find(']')?;
    let open = code[..close].rfind('[')?;
    let address = &code[open + 1..close];
    let (base, offset) = match address.split_once('+') {
        Some((base, offset)) => (base, offset.trim().parse::<i64>().ok()?),
        None => (address, 0),
    };
    Some(format!("{}[{base}+{}{}", &code[..open], offset + bytes, &code[close..]))
}

/// Bytes that one thread moves: 16 for `ld.global.v4.f32`.
fn access_bytes(opcode: &str) -> Option<i64> {
    if opcode.starts_with("cp.async") {
        return Some(16);
    }
    let parts = || opcode.split('.');
    let count = parts().find_map(|part| part.strip_prefix('v')?.parse::<i64>().ok()).unwrap_or(1);
    let digits = parts().next_back()?.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    Some(count * digits.parse::<i64>().ok()? / 8)
}

#[test]
fn faults_go_where_they_should() {
    let becomes = |kind, line: &str| plant(kind, line);
    let load = "\tld.global.nc.v4.f32 \t{%f1, %f2, %f3, %f4}, [%rd4+16];";
    assert_eq!(becomes(Kind::Shift, load).unwrap(), "ld.global.nc.v4.f32 \t{%f1, %f2, %f3, %f4}, [%rd4+32];");
    assert_eq!(
        becomes(Kind::Far, "st.shared.u16 [%r1], %rs1;").unwrap(),
        "st.shared.u16 [%r1+1073741824], %rs1;"
    );
    assert_eq!(
        becomes(Kind::Shift, "ld.shared.f32 %f1, [cells+-4];").unwrap(),
        "ld.shared.f32 %f1, [cells+0];"
    );
    assert_eq!(becomes(Kind::Shift, "ld.param.u64 %rd1, [f_param_0];"), None);
    assert_eq!(becomes(Kind::Store, "st.global.f32 [%rd1], %f1;").unwrap(), "");
    assert_eq!(becomes(Kind::Guard, "\t@%p1 bra \t$L__BB0_4;").unwrap(), "@!%p1 bra \t$L__BB0_4;");
    assert_eq!(becomes(Kind::Guard, "\t@!%p1 bra $L;").unwrap(), "@%p1 bra $L;");
    assert_eq!(becomes(Kind::Guard, "bra $L;"), None);
    assert_eq!(becomes(Kind::Barrier, "\tbar.sync \t0;").unwrap(), "");
    assert_eq!(becomes(Kind::Barrier, "bar.warp.sync -1;"), None);
    assert_eq!(becomes(Kind::WarpBarrier, "bar.warp.sync -1;").unwrap(), "");
    let file = ".version 8.4\n.visible .entry a(\n.param .u64 p\n)\n{\nret;\n\n}\n.visible .entry b()\n{\nexit;\n}\n";
    assert_eq!(only(file, "b"), ".version 8.4\n\n\n\n\n\n\n\n.visible .entry b()\n{\nexit;\n}\n");
}
