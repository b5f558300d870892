//! The table of forms, read from its text.

use std::collections::{BTreeMap, BTreeSet};

use crate::accepted::statements;

/// A field that is the same as in the form before, or a row that is the one before.
const DITTO: &str = "\"";

/// The type of a result, as far as its bits are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bits(u32),
    F16,
    Bf16,
    F32,
    F64,
    Pred,
}

impl Kind {
    fn parse(text: &str) -> Self {
        match text {
            "pred" | "p" => Self::Pred,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "f16x2" | "bf16x2" => Self::Bits(32),
            _ => Self::Bits(text.trim_start_matches(['u', 's', 'b']).parse().expect("a width")),
        }
    }

    /// The width of its register.
    pub fn bits(self) -> u32 {
        match self {
            Self::Bits(bits) => bits.max(16),
            Self::F16 | Self::Bf16 => 16,
            Self::F32 => 32,
            Self::F64 => 64,
            Self::Pred => 1,
        }
    }

    /// The bits of its exponent and of its fraction.
    fn format(self) -> Option<(u32, u32)> {
        match self {
            Self::F16 => Some((5, 10)),
            Self::Bf16 => Some((8, 7)),
            Self::F32 => Some((8, 23)),
            Self::F64 => Some((11, 52)),
            Self::Bits(_) | Self::Pred => None,
        }
    }

    fn nan(self, bits: u64) -> bool {
        let Some((exponent, fraction)) = self.format() else { return false };
        let all = ((1 << exponent) - 1) << fraction;
        bits & all == all && bits & ((1 << fraction) - 1) != 0
    }

    /// The value of a finite float.
    fn value(self, bits: u64) -> Option<f64> {
        let (exponent, fraction) = self.format()?;
        let bias = (1 << (exponent - 1)) - 1;
        let e = (bits >> fraction) as i32 & ((1 << exponent) - 1);
        if e == (1 << exponent) - 1 {
            return None;
        }
        let part = (bits & ((1 << fraction) - 1)) as f64;
        let magnitude = if e == 0 {
            part * 2f64.powi(1 - bias) * 2f64.powi(-(fraction as i32))
        } else {
            (part * 2f64.powi(-(fraction as i32)) + 1.0) * 2f64.powi(e - bias)
        };
        Some(if bits >> (exponent + fraction) & 1 == 1 { -magnitude } else { magnitude })
    }
}

/// A result of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// These bits, or one of several.
    Bits(Vec<u64>),
    /// Any NaN of the type.
    Nan,
    /// PTX says nothing.
    Any,
    /// A value within the tolerance of the form.
    Near(f64),
}

impl Want {
    fn parse(text: &str) -> Self {
        let hex = |text: &str| u64::from_str_radix(text, 16).expect("a hexadecimal number");
        match text.strip_prefix('~') {
            Some(near) => Self::Near(f64::from_bits(hex(near) << (64 - 4 * near.len()))),
            None if text == "n" => Self::Nan,
            None if text == "*" => Self::Any,
            None => Self::Bits(text.split('/').map(hex).collect()),
        }
    }

    pub fn accepts(&self, got: u64, kind: Kind, tolerance: Tolerance) -> bool {
        match self {
            Self::Bits(all) => all.contains(&got),
            Self::Nan => kind.nan(got),
            Self::Any => true,
            Self::Near(want) => kind.value(got).is_some_and(|got| tolerance.holds(got, *want, kind)),
        }
    }
}

/// How far a result may be from its value; one of the bounds must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tolerance {
    relative: Option<f64>,
    absolute: Option<f64>,
    ulps: Option<f64>,
}

impl Tolerance {
    fn parse(text: &str) -> Self {
        let mut tolerance = Self::default();
        for option in text.split_whitespace() {
            let (name, number) = option.split_once('=').expect("name=number");
            let number: f64 = number.parse().expect("a number");
            match name {
                "rel" => tolerance.relative = Some(number.exp2()),
                "abs" => tolerance.absolute = Some(number.exp2()),
                "ulp" => tolerance.ulps = Some(number),
                _ => panic!("the option `{option}` is not known"),
            }
        }
        tolerance
    }

    fn holds(self, got: f64, want: f64, kind: Kind) -> bool {
        let error = (got - want).abs();
        let (exponent, fraction) = kind.format().expect("a float");
        let least = 2f64.powi(2 - (1 << (exponent - 1)) - fraction as i32);
        let ulp = (want.abs().log2().floor() - f64::from(fraction)).exp2().max(least);
        self.relative.is_some_and(|bound| error <= bound * want.abs())
            || self.absolute.is_some_and(|bound| error <= bound)
            || self.ulps.is_some_and(|bound| error <= bound * ulp)
    }
}

/// A form with one program.
#[derive(Debug)]
pub struct Form {
    pub opcode: String,
    /// Other opcodes of the same name that the program checks.
    pub others: BTreeSet<String>,
    /// The name of its rows.
    pub inputs: String,
    pub outputs: Vec<Kind>,
    pub tolerance: Tolerance,
    pub body: String,
    pub rows: Vec<Vec<Want>>,
}

/// Rows that several forms share.
#[derive(Debug)]
pub struct Inputs {
    pub kinds: Vec<Kind>,
    pub rows: Vec<Vec<u64>>,
}

impl Form {
    /// All opcodes that the program checks.
    pub fn opcodes(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.opcode).chain(&self.others).map(String::as_str)
    }
}

#[derive(Debug, Default)]
pub struct Table {
    pub inputs: BTreeMap<String, Inputs>,
    pub forms: Vec<Form>,
    /// The modifiers of each name that do not change results: each is run once, and not with every form.
    pub hints: BTreeMap<String, BTreeSet<String>>,
}

fn kinds(text: &str) -> Vec<Kind> {
    text.split(',').filter(|k| !k.is_empty()).map(Kind::parse).collect()
}

/// Splits rows at spaces and cells at commas. A program without inputs has one row without cells.
fn rows<T>(text: &str, cell: impl Fn(&str) -> T) -> Vec<Vec<T>> {
    let mut last = "";
    let row = |row| {
        last = if row == DITTO { last } else { row };
        last.split(',').filter(|c| !c.is_empty()).map(&cell).collect()
    };
    text.split(' ').map(row).collect()
}

/// The opcode with its results and inputs as operands.
fn plain(opcode: &str, results: usize, inputs: usize) -> String {
    let results = (0..results).map(|k| format!("%d{k}"));
    let operands: Vec<String> = results.chain((0..inputs).map(|k| format!("%a{k}"))).collect();
    format!("{opcode} {};", operands.join(", "))
}

impl Table {
    pub fn read(text: &str) -> Self {
        let mut table = Self::default();
        let (mut bodies, mut body, mut last) = (BTreeMap::new(), String::new(), Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            match *fields {
                ["hints", name, words] => {
                    let words = words.split(' ').map(String::from).collect();
                    table.hints.insert(name.into(), words);
                }
                ["in", name, types, cells] => {
                    let rows = rows(cells, |c| u64::from_str_radix(c, 16).expect("a hexadecimal number"));
                    table.inputs.insert(name.into(), Inputs { kinds: kinds(types), rows });
                }
                ["body", name, head, tail, middle] => {
                    let length = |text: &str| text.parse::<usize>().expect("a length");
                    let (head, tail) = (&body[..length(head)], &body[body.len() - length(tail)..]);
                    body = format!("{head}{middle}{tail}");
                    bodies.insert(name, body.clone());
                }
                ["f", ..] => {
                    last = fields
                        .iter()
                        .enumerate()
                        .map(|(k, f)| if *f == DITTO { last[k] } else { *f })
                        .collect();
                    table.add(&last, &bodies);
                }
                _ => panic!("this line of the table is not understood: {line}"),
            }
        }
        table
    }

    /// Adds a form from its fields.
    fn add(&mut self, fields: &[&str], bodies: &BTreeMap<&str, String>) {
        let &[_, opcodes, inputs, outputs, options, body, results] = fields else {
            panic!("a form has seven fields: {fields:?}");
        };
        let opcode = opcodes.trim_end_matches(" *").to_string();
        let outputs = kinds(outputs);
        let body = match bodies[body].as_str() {
            "=" => plain(&opcode, outputs.len(), self.inputs[inputs].kinds.len()),
            body => body.replace('$', &opcode),
        };
        let name = |opcode: &str| opcode.split('.').next().map(String::from);
        let others: BTreeSet<String> = statements(&body)
            .filter(|(o, _)| opcodes != opcode && *o != opcode && name(o) == name(&opcode))
            .map(|(o, _)| o.into())
            .collect();
        self.forms.push(Form {
            opcode,
            others,
            inputs: inputs.into(),
            outputs,
            tolerance: Tolerance::parse(options),
            body,
            rows: rows(results, Want::parse),
        });
    }
}
