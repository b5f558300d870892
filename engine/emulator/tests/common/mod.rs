//! Runs a few lines of PTX as the kernel `k`.

#![allow(dead_code, reason = "each test file uses a part")]

use ptx_emulator::{Access, Arg, Checks, Fault, Launch, Machine, Meter, Module, Options};

/// An argument, which is made on the machine that runs the kernel.
#[derive(Clone, Copy)]
pub enum In {
    /// Memory of the machine.
    Memory {
        bytes: usize,
        /// The host writes zeros before the launch.
        written: bool,
        access: Access,
    },
    /// A number of 32 bits.
    Word(u32),
}

/// Memory that the kernel reads and writes.
pub struct Inout;

/// Memory that the kernel writes.
#[allow(non_snake_case)]
pub fn Out(bytes: usize) -> In {
    In::Memory { bytes, written: true, access: Access::Write }
}

impl In {
    /// Memory that the kernel reads.
    pub fn bytes(bytes: usize) -> In {
        In::Memory { bytes, written: true, access: Access::Read }
    }

    /// Memory that the kernel reads and that nothing wrote.
    pub fn fresh(bytes: usize) -> In {
        In::Memory { bytes, written: false, access: Access::Read }
    }

    pub fn u32(x: u32) -> In {
        In::Word(x)
    }
}

impl Inout {
    pub fn bytes(bytes: usize) -> In {
        In::Memory { bytes, written: true, access: Access::ReadWrite }
    }

    /// Memory that nothing wrote.
    pub fn fresh(bytes: usize) -> In {
        In::Memory { bytes, written: false, access: Access::ReadWrite }
    }
}

pub fn launch(blocks: u32, threads: u32) -> Launch {
    Launch { grid: [blocks, 1, 1], block: [threads, 1, 1], shared: 0 }
}

/// A kernel of up to two parameters: `p0` has 64 bits, `p1` has 32, or 64 where the code loads it so.
pub struct Bench {
    text: String,
    options: Options,
}

impl Bench {
    pub fn new(variables: &str, code: &str) -> Self {
        let p1 = if code.contains("u64 %rd2, [p1]") { ".param .u64 p1" } else { ".param .u32 p1" };
        let params = match (code.contains("[p0]"), code.contains("[p1]")) {
            (true, true) => format!(".param .u64 p0, {p1}"),
            (true, false) => ".param .u64 p0".into(),
            _ => String::new(),
        };
        let text = format!(
            ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry k({params})\n{{
.reg .pred %p<9>;\n.reg .b16 %rs<9>;\n.reg .b32 %r<32>;\n.reg .f32 %f<9>;\n.reg .b64 %rd<9>;
{variables}\n{code}\n}}\n.file 1 \"dir/test.cu\"\n"
        );
        Self::from_text(text)
    }

    pub fn from_text(text: String) -> Self {
        Self { text, options: Options::default() }
    }

    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// Runs with all of these checks and no others.
    pub fn checks(mut self, which: Checks) -> Self {
        self.options.which = which;
        self
    }

    pub fn options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn module(&self) -> Module {
        Module::parse_whole("test.ptx", &self.text).unwrap_or_else(|e| panic!("{e}\n{}", self.text))
    }

    pub fn run(&self, threads: u32, args: &[In]) -> Result<Meter, Fault> {
        self.launch(launch(1, threads), args)
    }

    pub fn launch(&self, launch: Launch, args: &[In]) -> Result<Meter, Fault> {
        let machine = Machine::with(self.options);
        let make = |arg: &In| match *arg {
            In::Word(x) => Arg::U32(x),
            In::Memory { bytes, written, access } => {
                let at = machine.alloc(bytes);
                if written {
                    machine.write(at, &vec![0; bytes]).unwrap();
                }
                Arg::Buffer { at, bytes, access }
            }
        };
        let args: Vec<Arg> = args.iter().map(make).collect();
        machine.launch(&self.module(), "k", launch, &args)
    }

    /// Runs one block, and returns the words of `p0`, an output of `words` words.
    pub fn words(&self, threads: u32, words: usize) -> Vec<u32> {
        let machine = Machine::with(self.options);
        let at = machine.alloc(4 * words);
        let out = Arg::Buffer { at, bytes: 4 * words, access: Access::Write };
        machine
            .launch(&self.module(), "k", launch(1, threads), &[out])
            .unwrap_or_else(|e| panic!("{e}\n{}", self.text));
        let mut bytes = vec![0; 4 * words];
        machine.read(at, &mut bytes).unwrap();
        bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
    }
}
