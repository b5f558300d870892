//! The machine code that `ptxas` makes of a kernel, as `nvdisasm -gp -c -hex` prints it.

pub mod flow;
#[cfg(test)]
mod tests;
pub mod weigh;

use std::collections::BTreeMap;

/// One instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instruction {
    /// Whether a predicate decides if it has an effect. It takes its issue slot in any case.
    pub guarded: bool,
    /// The opcode with its modifiers.
    pub opcode: String,
    /// Operands, without the semicolon.
    pub operands: String,
    /// The PTX line that it was made of, from 1; 0 if the disassembly names none.
    pub line: u32,
    /// Cycles for which the warp issues nothing after it, from the control bits.
    pub stall: u32,
    /// The position of the label that it names.
    pub target: Option<usize>,
}

impl Instruction {
    /// The opcode without modifiers.
    pub fn root(&self) -> &str {
        self.opcode.split('.').next().unwrap_or("")
    }

    /// What the instruction keeps busy.
    pub fn unit(&self) -> Unit {
        let moved = self.opcode.starts_with("IMAD.MOV")
            || (self.root() == "HFMA2" && self.operands.contains("-RZ, RZ,"));
        match self.root() {
            _ if moved => Unit::Move,
            "MUFU" => Unit::Mufu,
            "FFMA" | "FMUL" | "FADD" | "HFMA2" | "HMUL2" | "HADD2" | "DFMA" | "DMUL" | "DADD" => Unit::Fma,
            "IMAD" => Unit::Imad,
            "HMMA" => Unit::Tensor,
            "LDS" | "STS" | "LDSM" | "ATOMS" => Unit::Shared,
            "SHFL" | "REDUX" => Unit::Shuffle,
            "LDG" | "STG" | "LD" | "ST" | "LDL" | "STL" | "LDGSTS" | "ATOM" | "ATOMG" | "RED"
            | "LDGDEPBAR" | "DEPBAR" | "MEMBAR" | "CCTL" | "ERRBAR" => Unit::Global,
            "F2I" | "I2F" | "F2F" | "F2FP" | "I2FP" | "FRND" | "I2I" => Unit::Convert,
            "MOV" | "CS2R" | "S2R" | "S2UR" | "LDC" | "ULDC" | "UMOV" | "R2UR" | "P2R" | "R2P" | "UP2UR"
            | "B2R" => Unit::Move,
            "BRA" | "BRX" | "BSSY" | "BSYNC" | "BREAK" | "EXIT" | "CALL" | "RET" | "WARPSYNC" | "BAR"
            | "NOP" | "YIELD" | "NANOSLEEP" | "BPT" | "KILL" => Unit::Control,
            "FMNMX" | "FSEL" | "FSETP" | "FSET" | "FCHK" | "ISETP" | "PLOP3" | "SEL" | "VOTE" | "VIMNMX"
            | "UISETP" | "UPLOP3" | "USEL" | "VOTEU" => Unit::Compare,
            _ => Unit::Integer,
        }
    }
}

macro_rules! units {
    ($($(#[$doc:meta])* $unit:ident = $name:literal,)*) => {
        /// What an instruction keeps busy, beside its issue slot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Unit {
            $($(#[$doc])* $unit,)*
        }

        /// All units, with the names that the report gives them.
        pub const UNITS: &[(Unit, &str)] = &[$((Unit::$unit, $name),)*];
    };
}

units! {
    /// Special functions.
    Mufu = "MUFU",
    /// `FFMA`, `FMUL`, `FADD`.
    Fma = "FFMA/FMUL/FADD",
    /// Products of integers, on the FMA pipes.
    Imad = "IMAD",
    /// Products of matrices.
    Tensor = "HMMA",
    /// Integers, addresses and bits.
    Integer = "integer",
    /// Comparisons, selections, logic of predicates.
    Compare = "predicates",
    /// Shared memory.
    Shared = "LDS/STS",
    /// Exchange between lanes.
    Shuffle = "SHFL",
    /// Global and local memory.
    Global = "LDG/STG",
    /// Between types.
    Convert = "conversions",
    /// Copies, constants and special registers.
    Move = "moves",
    /// Branches, barriers.
    Control = "branches",
}

/// A kernel's code.
#[derive(Debug, Clone, Default)]
pub struct Function {
    pub code: Vec<Instruction>,
}

/// The kernels of a disassembly by name.
pub fn parse(text: &str) -> BTreeMap<String, Function> {
    let mut functions = BTreeMap::new();
    let mut open: Option<(String, Function, BTreeMap<&str, usize>)> = None;
    let mut line = 0;
    let mut close = |open: &mut Option<(String, Function, BTreeMap<&str, usize>)>| {
        let Some((name, mut function, labels)) = open.take() else { return };
        for instruction in &mut function.code {
            let named = instruction.operands.split_once("`(").and_then(|(_, rest)| rest.split_once(')'));
            instruction.target = named.and_then(|(label, _)| labels.get(label).copied());
        }
        functions.insert(name, function);
    };
    for text in text.lines() {
        let trimmed = text.trim();
        if let Some(label) = trimmed.strip_suffix(':') {
            if let Some(name) = label.strip_prefix(".text.") {
                close(&mut open);
                open = Some((name.into(), Function::default(), BTreeMap::new()));
                line = 0;
            } else if let Some((_, function, labels)) = &mut open {
                labels.insert(label, function.code.len());
            }
        } else if let Some((_, after)) = trimmed.strip_prefix("//##").and_then(|t| t.split_once(", line ")) {
            let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
            line = digits.parse().unwrap_or(0);
        } else if let Some((_, function, _)) = &mut open {
            match instruction(trimmed) {
                Some(read) => function.code.push(Instruction { line, ..read }),
                // The second half of the encoding has the control bits.
                None => {
                    if let (Some(bits), Some(last)) = (encoding(trimmed), function.code.last_mut()) {
                        last.stall = (bits >> 41 & 15) as u32;
                    }
                }
            }
        }
    }
    close(&mut open);
    functions
}

/// Reads `/*0010*/ @!P0 OPCODE operands ; /* 0x... */`.
fn instruction(text: &str) -> Option<Instruction> {
    let (address, rest) = text.strip_prefix("/*")?.split_once("*/")?;
    if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut rest = rest.split(';').next()?.trim();
    let guarded = rest.starts_with('@');
    if guarded {
        rest = rest.split_once(' ')?.1.trim();
    }
    let (opcode, operands) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Instruction {
        guarded,
        opcode: opcode.into(),
        operands: operands.trim().into(),
        ..Default::default()
    })
}

/// The number of a line that holds nothing but `/* 0x... */`.
fn encoding(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("/* 0x")?.strip_suffix("*/")?.trim();
    u64::from_str_radix(digits, 16).ok()
}
