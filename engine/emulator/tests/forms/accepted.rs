//! Looks for everything that the parser accepts.
//!
//! The words are those of the lowering itself: every literal in its source that could be a modifier, so that a new one is tried as soon
//! as it is there. Operands do not matter for whether a form exists, so destinations are `_` and sources 0 where the table has registers.
//! The words of a name are those of its forms, and those that make an accepted form of one of a few of them. From every form the search
//! then goes on by adding, removing and exchanging one of these words, until nothing new is accepted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use ptx_emulator::Module;

use crate::table::{Form, Kind, Table};

/// The order of types matters (the result comes first), and that of the layouts of matrices; that of other modifiers does not.
const TYPES: [&str; 35] = [
    "pred", "b8", "b16", "b32", "b64", "b128", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f16",
    "f16x2", "bf16", "bf16x2", "f32", "f64", "tf32", "e4m3", "e5m2", "e4m3x2", "e5m2x2", "s4", "u4", "b1",
    "s2", "u2", "u16x2", "s16x2", "row", "col", "b4",
];

/// The spaces of a bulk copy; that of the destination comes first.
const SPACES: [&str; 3] = ["global", "shared::cta", "shared::cluster"];

/// Whether a word has a place among others, so that their order matters.
fn ordered(bulk: bool, word: &str) -> bool {
    TYPES.contains(&word) || bulk && SPACES.contains(&word)
}

/// Modifiers of PTX that the lowering may not know.
const FOREIGN: [&str; 6] = ["rna", "rs", "satfinite", "oob", "xorsign", "volatile"];

/// The number of forms of a name that all words are tried with.
const SAMPLES: usize = 6;

/// An opcode without regard to the order of its modifiers: they are sorted, and the types come last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(String);

impl Opcode {
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('.');
        let name = parts.next().unwrap_or_default();
        Self::new(name, parts)
    }

    fn new<'w>(name: &str, words: impl Iterator<Item = &'w str>) -> Self {
        let words: Vec<&str> = words.collect();
        let bulk = words.contains(&"bulk");
        let (types, mut modifiers): (Vec<&str>, Vec<&str>) = words.iter().partition(|p| ordered(bulk, p));
        modifiers.sort_unstable();
        let mut text = name.to_string();
        for word in modifiers.into_iter().chain(types) {
            text.push('.');
            text.push_str(word);
        }
        Self(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    fn name(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').skip(1)
    }

    /// Gives `each` the forms that one step makes of this one.
    fn neighbours(&self, words: &BTreeSet<String>, mut each: impl FnMut(Self)) {
        let name = self.name();
        let own: Vec<&str> = self.words().collect();
        let numbered = || own.iter().copied().enumerate();
        for at in 0..own.len() {
            each(Self::new(name, numbered().filter(|(k, _)| *k != at).map(|(_, w)| w)));
            let twice = own.iter().filter(|w| **w == own[at]).count() > 1;
            for word in words {
                each(Self::new(name, numbered().map(|(k, w)| if k == at { word } else { w })));
                if twice {
                    each(Self::new(name, numbered().map(|(_, w)| if w == own[at] { word } else { w })));
                }
            }
        }
        for word in words {
            let word = word.as_str();
            each(Self::new(name, own.iter().copied().chain([word])));
            if ordered(own.contains(&"bulk"), word) {
                each(Self::new(name, std::iter::once(word).chain(own.iter().copied())));
            }
        }
    }

    /// The form without what does not change results, and what that was.
    pub fn split(&self, table: &Table) -> (Self, Vec<String>) {
        let Some(hints) = table.hints.get(self.name()) else { return (self.clone(), Vec::new()) };
        let (taken, rest): (Vec<&str>, Vec<&str>) = self.words().partition(|m| hints.contains(*m));
        (Self::new(self.name(), rest.into_iter()), taken.into_iter().map(String::from).collect())
    }
}

/// The instructions of a body.
pub fn statements(body: &str) -> impl Iterator<Item = (&str, &str)> {
    body.split(';').filter_map(|statement| {
        // Blocks open, labels stand and guards come before the opcode.
        let mut text = statement.trim_start_matches(|c: char| c == '{' || c == '}' || c.is_whitespace());
        while let Some((label, after)) = text.split_once(':')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '$' || c == '_')
            && !after.starts_with(':')
        {
            text = after.trim_start();
        }
        if text.starts_with('@') {
            text = text.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        }
        let (opcode, operands) = text.split_once(' ').unwrap_or((text, ""));
        opcode.starts_with(|c: char| c.is_ascii_lowercase()).then_some((opcode, operands.trim()))
    })
}

/// The operands of an instruction with everything that depends on types taken out.
fn shape(form: &Form, inputs: &[Kind], operands: &str) -> String {
    let mut out = String::new();
    let mut rest = operands;
    while let Some(at) = rest.find('%') {
        let (before, name) = rest.split_at(at);
        let end = name[1..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            .map_or(name.len(), |n| n + 1);
        let (name, after) = name.split_at(end);
        // Operands of video instructions can be parts of registers.
        let name = match name.split_once('.') {
            Some((register, _)) if name.starts_with("%a") || name.starts_with("%d") => register,
            _ => name,
        };
        out.push_str(before);
        let number = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
        let piped = after.starts_with('|');
        let part = match (number("%d"), number("%a")) {
            _ if before.ends_with('[') => "%rd0".into(),
            // The registers of fragments.
            _ if name.starts_with("%f") || name.starts_with("%g") => name.into(),
            (Some(k), _) if form.outputs[k] == Kind::Pred => format!("%p{}", k & 1),
            (_, Some(k)) if inputs[k] == Kind::Pred => format!("%p{}", 2 + (k & 1)),
            (Some(_), _) if piped => "%r0".into(),
            (Some(_), _) => "_".into(),
            (_, Some(_)) => "0".into(),
            _ if out.is_empty() => "_".into(),
            _ if name.matches('.').count() == 1 || name.starts_with("%lane") => name.into(),
            _ => "0".into(),
        };
        out.push_str(&part);
        rest = after;
    }
    out + rest
}

/// Asks the parser.
pub struct Parser {
    /// The operands with which the opcodes of each name are tried.
    shapes: BTreeMap<String, Vec<String>>,
    known: HashMap<Opcode, bool>,
    pub asked: usize,
}

/// Operands for names without a program.
const SHAPES: [&str; 12] = [
    "",
    "_",
    "_, 0",
    "_, 0, 0",
    "_, 0, 0, 0",
    "_, 0, 0, 0, 0",
    "%p0, 0",
    "%p0, 0, 0",
    "_, [%rd0]",
    "[%rd0], 0",
    "[%rd0]",
    "0",
];

impl Parser {
    pub fn new(table: &Table) -> Self {
        let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for form in &table.forms {
            for (opcode, operands) in statements(&form.body) {
                if !form.opcodes().any(|o| Opcode::parse(o) == Opcode::parse(opcode)) {
                    continue;
                }
                let all = shapes.entry(Opcode::parse(opcode).name().to_string()).or_default();
                let shape = shape(form, &table.inputs[&form.inputs].kinds, operands);
                if !all.contains(&shape) {
                    all.push(shape);
                }
            }
        }
        Self { shapes, known: HashMap::new(), asked: 0 }
    }

    /// Whether an opcode is accepted with any of the operands of its name.
    pub fn accepts(&mut self, opcode: &Opcode) -> bool {
        if let Some(&known) = self.known.get(opcode) {
            return known;
        }
        // Products of matrices have many shapes, and say by other words that it is the operands which do not fit.
        let modifiers_first = matches!(opcode.name(), "mma" | "wmma");
        let mut refused = false;
        let mut try_shape = |shape: &str| {
            if refused {
                return false;
            }
            self.asked += 1;
            let parsed = Module::parse_whole("probe.ptx", &probe(opcode.text(), shape));
            refused =
                modifiers_first && parsed.as_ref().is_err_and(|e| e.to_string().contains("is not supported"));
            parsed.is_ok()
        };
        let accepted = match self.shapes.get_mut(opcode.name()) {
            Some(shapes) => {
                let at = shapes.iter().position(|shape| try_shape(shape));
                // The next form is likely to take what this one did.
                if let Some(at) = at {
                    shapes.swap(0, at);
                }
                at.is_some()
            }
            None => SHAPES.iter().any(|shape| try_shape(shape)),
        };
        self.known.insert(opcode.clone(), accepted);
        accepted
    }
}

/// A file with one instruction.
fn probe(opcode: &str, operands: &str) -> String {
    format!(
        ".version 8.4\n.target sm_90\n.address_size 64\n.func f1(){{ret;}}.func(.param .b32 r)triple(.param .b32 q){{ret;}}\n.visible .entry k(.param .u64 in, .param .u32 word){{
.reg .pred %p<4>;.reg .b32 %r<4>, %fa<8>, %fb<8>, %fc<8>, %fd<8>;.reg .b64 %rd<2>, %ga<2>, %gb<2>, %gc<2>, %gd<2>;.param .b32 q0;.param .b32 r0;.param .align 16 .b8 q[16];
.param .align 16 .b8 r[16];L1: T1: .branchtargets L1;\n{opcode} {operands};}}"
    )
}

/// What stands between quotes in the sources of the lowering; tests and documentation there have no modifiers of their own.
fn literals() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lowering = std::fs::read_dir(root.join("lower")).expect("the sources of the lowering");
    let files =
        lowering.map(|f| f.expect("a file").path()).chain([root.join("isa.rs"), root.join("types.rs")]);
    let mut all = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        all.extend(code.split('"').skip(1).step_by(2).map(String::from));
    }
    all
}

/// The literals that could be modifiers, and the words of the table.
pub fn words(table: &Table) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = TYPES.into_iter().chain(FOREIGN).map(String::from).collect();
    let word = |w: &String| {
        w.len() < 24 && !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    words.extend(literals().into_iter().filter(word));
    words.extend(
        table.forms.iter().flat_map(Form::opcodes).flat_map(|o| o.split('.').skip(1).map(String::from)),
    );
    words
}

/// The special registers that are accepted: names between quotes in the lowering, with what may follow them.
pub fn special_registers() -> BTreeSet<String> {
    let names = literals().into_iter().filter(|name| {
        name.strip_prefix('%').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_lowercase()))
    });
    let endings = ["", ".x", ".y", ".z", "0", "31"];
    let all = names.flat_map(|name| endings.map(|ending| format!("{name}{ending}")));
    let accepted = |name: &String| {
        [("mov.u32", "%r0"), ("mov.u64", "%rd0"), ("mov.pred", "%p0")].iter().any(|(opcode, to)| {
            Module::parse_whole("probe.ptx", &probe(opcode, &format!("{to}, {name}"))).is_ok()
        })
    };
    all.filter(accepted).collect()
}

/// Everything that is accepted. The search ends for a name of which `most` forms without a program were found.
pub fn search(table: &Table, parser: &mut Parser, most: usize) -> BTreeSet<Opcode> {
    let words = words(table);
    let mut forms: BTreeMap<String, BTreeSet<Opcode>> =
        words.iter().map(|w| (w.clone(), BTreeSet::new())).collect();
    for form in &table.forms {
        for opcode in form.opcodes().map(Opcode::parse) {
            forms.entry(opcode.name().to_string()).or_default().insert(opcode);
        }
    }
    let mut accepted = BTreeSet::new();
    for (name, own) in &forms {
        accepted.extend(search_name(name, own, &words, table, parser, most));
    }
    accepted
}

/// Everything of one name that is accepted; `own` are its forms in the table.
fn search_name(
    name: &str,
    own: &BTreeSet<Opcode>,
    words: &BTreeSet<String>,
    table: &Table,
    parser: &mut Parser,
    most: usize,
) -> BTreeSet<Opcode> {
    let mut seeds: Vec<Opcode> = own.iter().cloned().collect();
    seeds.push(Opcode::parse(name));
    if own.is_empty() {
        seeds.extend(TYPES.map(|t| Opcode::parse(&format!("{name}.{t}"))));
    } else {
        seeds.extend(words.iter().map(|w| Opcode::parse(&format!("{name}.{w}"))));
        for opcode in own.iter().step_by(own.len().div_ceil(SAMPLES)) {
            opcode.neighbours(words, |o| seeds.push(o));
        }
    }
    let mut tried: HashSet<Opcode> = HashSet::new();
    seeds.retain(|o| tried.insert(o.clone()) && parser.accepts(o));
    let mut live: BTreeSet<String> = seeds.iter().flat_map(|o| o.words().map(String::from)).collect();
    live.extend(FOREIGN.map(String::from));
    let mut accepted: BTreeSet<Opcode> = BTreeSet::new();
    let mut strange = 0;
    while let Some(opcode) = seeds.pop() {
        let (form, hints) = opcode.split(table);
        strange += usize::from(!own.contains(&form) && hints.is_empty());
        accepted.insert(opcode.clone());
        if hints.is_empty() && strange < most {
            opcode.neighbours(&live, |o| {
                if tried.insert(o.clone()) && parser.accepts(&o) {
                    seeds.push(o);
                }
            });
        }
    }
    accepted
}
