//! A program around one instruction, with inputs in registers `%a0..`, results in `%d0..`, and one thread for each row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::emulated::Emulated;
use engine::launch::{Arg, Grid, Kernel, Launcher, PtxFile, Region};
use testkit::cuda::{self, wanted};

use super::exact::mask;

/// Type of an input or a result. Memory holds each as eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    B16,
    B32,
    B64,
    F32,
    F64,
    Pred,
}

impl Type {
    fn register(self) -> &'static str {
        match self {
            Type::B16 => ".b16",
            Type::B32 => ".b32",
            Type::B64 => ".b64",
            Type::F32 => ".f32",
            Type::F64 => ".f64",
            Type::Pred => ".pred",
        }
    }

    /// Suffix of loads and stores; a predicate travels as a word of 0 or 1.
    fn memory(self) -> &'static str {
        match self {
            Type::B16 => "u16",
            Type::B64 => "u64",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::B32 | Type::Pred => "u32",
        }
    }

    /// Bits as a program writes them.
    fn number(self, bits: u64) -> Option<String> {
        match self {
            Type::F32 => Some(format!("0f{bits:08X}")),
            Type::F64 => Some(format!("0d{bits:016X}")),
            Type::B16 => Some(format!("{}", bits as i16)),
            Type::B32 => Some(format!("{}", bits as i32)),
            Type::B64 => Some(format!("{}", bits as i64)),
            Type::Pred => None,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Type::B16 => 16,
            Type::B32 | Type::F32 | Type::Pred => 32,
            Type::B64 | Type::F64 => 64,
        }
    }
}

/// What a result must be.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    Bits(u64),
    /// Any NaN of f32, because PTX leaves its payload open.
    Nan,
    /// An f32 this close to a value.
    Near {
        value: f64,
        error: f64,
    },
    /// Any result, because the instruction set leaves it open.
    Any,
}

impl From<Option<u64>> for Expect {
    fn from(bits: Option<u64>) -> Self {
        bits.map_or(Expect::Nan, Expect::Bits)
    }
}

impl Expect {
    fn accepts(self, got: u64) -> bool {
        let float = || f32::from_bits(got as u32);
        match self {
            Expect::Bits(want) => got == want,
            Expect::Nan => float().is_nan(),
            Expect::Near { value, error } => (f64::from(float()) - value).abs() <= error,
            Expect::Any => true,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Row {
    pub inputs: Vec<u64>,
    pub expected: Vec<Expect>,
}

/// The instruction, or the few around it, and the results that it must give for each row of inputs.
#[derive(Debug, Clone)]
pub struct Program {
    pub body: String,
    /// Declarations before the entry, such as constants.
    pub globals: String,
    /// Declarations inside it, such as registers and shared memory.
    pub locals: String,
    pub inputs: Vec<Type>,
    pub outputs: Vec<Type>,
    pub rows: Vec<Row>,
    /// Threads of a block, or 0 where rows do not depend on each other.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

/// Threads of a block of independent rows.
const INDEPENDENT: u32 = 64;

/// The scalar parameters `isa_u32` and `isa_f32` of every program.
pub const PARAM_U32: u32 = 0x89AB_CDEF;
pub const PARAM_F32: f32 = -1.5;

impl Program {
    /// A program whose rows do not depend on each other.
    pub fn new(body: impl Into<String>, inputs: &[Type], outputs: &[Type]) -> Self {
        Program {
            body: body.into(),
            globals: String::new(),
            locals: String::new(),
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            rows: vec![],
            block: 0,
            shared: 0,
        }
    }

    /// Adds a row with the bits of one result.
    pub fn row(mut self, inputs: &[u64], expected: u64) -> Self {
        self.rows.push(Row { inputs: inputs.to_vec(), expected: vec![Expect::Bits(expected)] });
        self
    }

    /// Adds rows whose results are a function of the inputs.
    pub fn rows(mut self, inputs: Vec<Vec<u64>>, want: impl Fn(&[u64]) -> Vec<Expect>) -> Self {
        let row = |inputs: Vec<u64>| Row { expected: want(&inputs), inputs };
        self.rows.extend(inputs.into_iter().map(row));
        self
    }

    /// Adds rows with one result of exact bits.
    pub fn exact(self, inputs: Vec<Vec<u64>>, want: impl Fn(&[u64]) -> u64) -> Self {
        self.rows(inputs, |row| vec![Expect::Bits(want(row))])
    }

    /// The program, and one for each operand with a number of one of the rows in the place of its register.
    pub fn with_numbers(self) -> Vec<Self> {
        let mut programs = vec![];
        for (column, t) in self.inputs.iter().enumerate() {
            let value = self.rows[self.rows.len() * 5 / 7].inputs[column];
            let Some(number) = t.number(value) else { continue };
            let mut program = self.clone();
            program.body = self.body.replace(&format!("%a{column}"), &number);
            program.rows.retain(|row| row.inputs[column] == value);
            programs.push(program);
        }
        programs.insert(0, self);
        programs
    }

    /// Makes the rows of a block its threads, so that rows come in whole blocks.
    pub fn block(mut self, threads: u32) -> Self {
        self.block = threads;
        self
    }

    pub fn globals(mut self, text: &str) -> Self {
        self.globals = text.into();
        self
    }

    pub fn locals(mut self, text: &str) -> Self {
        self.locals = text.into();
        self
    }

    pub fn shared(mut self, bytes: u32) -> Self {
        self.shared = bytes;
        self
    }

    fn threads(&self) -> u32 {
        if self.block == 0 { INDEPENDENT } else { self.block }
    }

    /// The whole module. `%in` and `%out` point to the row of the thread, `%thread` is its number in the block.
    pub fn text(&self) -> String {
        let mut lines = vec![
            ".version 8.4".into(),
            ".target sm_80".into(),
            ".address_size 64".into(),
            self.globals.clone(),
            ".visible .entry isa(.param .u64 isa_in, .param .u64 isa_out,".into(),
            ".param .u32 isa_u32, .param .f32 isa_f32)".into(),
            format!(".maxntid {}, 1, 1", self.threads()),
            "{".into(),
            ".reg .b64 %in, %out;".into(),
            ".reg .b32 %thread, %block, %row, %word;".into(),
        ];
        let columns = |name: char, types: &[Type]| {
            let declare = |(i, t): (usize, &Type)| format!(".reg {} %{name}{i};", t.register());
            types.iter().enumerate().map(declare).collect::<Vec<_>>()
        };
        lines.extend(columns('a', &self.inputs));
        lines.extend(columns('d', &self.outputs));
        lines.push(self.locals.clone());
        lines.push("ld.param.u64 %in, [isa_in];\nld.param.u64 %out, [isa_out];".into());
        lines.push("mov.u32 %thread, %tid.x;\nmov.u32 %block, %ctaid.x;".into());
        lines.push(format!("mad.lo.s32 %row, %block, {}, %thread;", self.threads()));
        lines.push(format!("mad.wide.u32 %in, %row, {}, %in;", 8 * self.inputs.len()));
        lines.push(format!("mad.wide.u32 %out, %row, {}, %out;", 8 * self.outputs.len()));
        for (i, t) in self.inputs.iter().enumerate() {
            let (memory, at) = (t.memory(), 8 * i);
            lines.push(match t {
                Type::Pred => {
                    format!("ld.global.{memory} %word, [%in+{at}];\nsetp.ne.s32 %a{i}, %word, 0;")
                }
                _ => format!("ld.global.{memory} %a{i}, [%in+{at}];"),
            });
        }
        lines.push(self.body.clone());
        for (i, t) in self.outputs.iter().enumerate() {
            let (memory, at) = (t.memory(), 8 * i);
            lines.push(match t {
                Type::Pred => format!("selp.u32 %word, 1, 0, %d{i};\nst.global.{memory} [%out+{at}], %word;"),
                _ => format!("st.global.{memory} [%out+{at}], %d{i};"),
            });
        }
        lines.push("ret;\n}\n".into());
        lines.join("\n")
    }

    /// Runs all rows and returns the number of results compared, or what is wrong.
    pub fn run(&self, launcher: &dyn Launcher) -> Result<usize, String> {
        let threads = self.threads() as usize;
        assert!(
            !self.rows.is_empty() && (self.block == 0 || self.rows.len().is_multiple_of(threads)),
            "{}",
            self.body
        );
        let blocks = self.rows.len().div_ceil(threads);
        // The last block of independent rows is filled up with copies of the first row.
        let padded = (0..blocks * threads).map(|i| self.rows.get(i).unwrap_or(&self.rows[0]));
        let input: Vec<u8> =
            padded.flat_map(|row| row.inputs.iter().flat_map(|value| value.to_le_bytes())).collect();
        let mut output = vec![0; 8 * blocks * threads * self.outputs.len()];
        launch(launcher, self.text(), [blocks as u32, threads as u32, self.shared], &input, &mut output)
            .map_err(|err| format!("`{}`: {err}", self.body.trim()))?;
        let mut words =
            output.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
        for (i, row) in self.rows.iter().enumerate() {
            for (column, (t, want)) in self.outputs.iter().zip(&row.expected).enumerate() {
                let got = words.next().expect("as many as asked for") & mask(t.bits());
                if !want.accepts(got) {
                    let inputs: Vec<_> = row.inputs.iter().map(|v| format!("{v:#x}")).collect();
                    return Err(format!(
                        "`{}`, row {i} ({}): %d{column} is {got:#x}, want {want:x?}",
                        self.body.trim(),
                        inputs.join(", ")
                    ));
                }
            }
        }
        Ok(self.rows.len() * self.outputs.len())
    }
}

/// Runs the entry `isa` of a module on any launched device.
fn launch(
    launcher: &dyn Launcher,
    text: String,
    [blocks, threads, shared]: [u32; 3],
    input: &[u8],
    output: &mut [u8],
) -> engine::Result<()> {
    // Launchers identify a file by its name and keep it as long as the program runs.
    static PROGRAMS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("isa/{}.ptx", PROGRAMS.fetch_add(1, Ordering::Relaxed));
    let file = Box::leak(Box::new(PtxFile { name: name.leak(), text: text.leak() }));
    let (from, to) = (launcher.alloc(input.len().max(8))?, launcher.alloc(output.len())?);
    launcher.upload(Region { bytes: input.len(), ..from }, input)?;
    launcher.zero(to)?;
    let grid = Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared };
    let args = [Arg::InOut(from), Arg::InOut(to), Arg::U32(PARAM_U32), Arg::F32(PARAM_F32)];
    launcher.launch(Kernel { file, entry: "isa" }, grid, &args)?;
    launcher.download(to, output)?;
    launcher.free(from);
    launcher.free(to);
    Ok(())
}

/// The devices to run on.
pub fn launchers() -> Vec<Arc<dyn Launcher>> {
    let mut launchers: Vec<Arc<dyn Launcher>> = vec![];
    if wanted("emulated") {
        launchers.push(Arc::new(Emulated::new()));
    }
    if let Some(cuda) = cuda::launcher() {
        launchers.push(Arc::new(cuda));
    }
    assert!(!launchers.is_empty(), "no device to run on");
    launchers
}
