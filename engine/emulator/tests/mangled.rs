//! Text with mistakes in it is refused with a line, or runs to a result or a fault. Nothing panics and nothing hangs.

use ptx_emulator::{Access, Arg, Launch, Machine, Module, Options};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Words of PTX that replace others.
const WORDS: [&str; 38] = [
    "(",
    ")",
    "1+2*(3",
    "call",
    "fib",
    "%rd5",
    "prototype_0",
    "malloc",
    "table",
    ".param",
    "%r1",
    "%rd3",
    "%f2",
    "%p1",
    "%tid.x",
    "0",
    "-1",
    "0xffffffffffffffff",
    "0f7fc00000",
    ",",
    ";",
    "[",
    "]",
    "{",
    "}",
    "@",
    "bra",
    "ret;",
    "ld.global.v4.f32",
    "st.shared.u16",
    "shfl.sync.idx.b32",
    "bar.sync",
    "div.s32",
    "cvt.rzi.s64.f32",
    "axpy_param_1",
    ".reg .b64 %q<4000000000>;",
    ".local .align 16 .b8 big[4294967295];",
    "$L__BB0_2",
];

fn mangle(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    for _ in 0..=random.below(3) {
        let (at, other) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(5) {
            0 => {
                lines.remove(at);
            }
            1 => lines.swap(at, other),
            2 => lines.insert(at, lines[other].clone()),
            _ => {
                let line = lines[at].clone();
                let mut words: Vec<&str> = line.split_whitespace().collect();
                if !words.is_empty() {
                    let k = random.below(words.len());
                    words[k] = WORDS[random.below(WORDS.len())];
                }
                lines[at] = words.join(" ");
            }
        }
    }
    lines.join("\n")
}

fn run(module: &Module) {
    let machine = Machine::with(Options { max_instructions: 100_000, threads: 1, ..Options::default() });
    let n = 100;
    let buffer = |access| {
        let at = machine.alloc(4 * n);
        machine.write(at, &vec![0; 4 * n]).unwrap();
        Arg::Buffer { at, bytes: 4 * n, access }
    };
    for entry in module.entries() {
        let args: Vec<Arg> = entry
            .params
            .iter()
            .map(|p| match p.bytes {
                8 if p.align == 8 => buffer(Access::ReadWrite),
                4 => Arg::U32(n as u32),
                bytes => Arg::Bytes(vec![1; bytes as usize]),
            })
            .collect();
        let launch = Launch { grid: [2, 1, 1], block: [64, 1, 1], shared: 0 };
        // Any outcome is allowed, except a panic.
        let _ = machine.launch(module, &entry.name, launch, &args);
    }
}

/// The sources that are mangled. Their kernels have one name.
const SOURCES: [&str; 2] = [include_str!("../examples/axpy.ptx"), include_str!("../examples/calls.ptx")];

/// What comes of the second source as it is: recursion, functions by their addresses, memory of the heap, and a line.
#[test]
fn the_sources_run() {
    let machine = Machine::new();
    let module = Module::parse_whole("calls.ptx", SOURCES[1]).unwrap();
    let at = machine.alloc(4 * 64);
    let out = Arg::Buffer { at, bytes: 4 * 64, access: Access::Write };
    let pair = [10u32, 4].iter().flat_map(|x| x.to_le_bytes()).collect();
    let launch = Launch { grid: [1; 3], block: [64, 1, 1], shared: 0 };
    machine.launch(&module, "axpy", launch, &[out, Arg::Bytes(pair)]).unwrap();
    let mut bytes = [0; 4 * 64];
    machine.read(at, &mut bytes).unwrap();
    let fib = [0, 1, 1, 2, 3, 5, 8];
    for (t, word) in bytes.chunks_exact(4).enumerate() {
        let x = t % 7;
        let want = if t % 2 == 0 { x * x } else { fib[x] } + 6;
        assert_eq!(u32::from_le_bytes(word.try_into().unwrap()) as usize, want, "{t}");
    }
    assert_eq!(machine.take_output(), "2 %d %s\n\n");
}

#[test]
fn mangled_kernels_are_refused_or_run() {
    SOURCES.iter().for_each(|source| mangle_all(source));
}

fn mangle_all(source: &str) {
    let mut random = Random(1);
    let (mut refused, mut refused_kernels, mut ran) = (0, 0, 0);
    for _ in 0..4000 {
        let text = mangle(source, &mut random);
        match Module::parse("mangled.ptx", &text) {
            Ok(module) => {
                run(&module);
                ran += 1;
                for (entry, error) in module.refused() {
                    assert!((1..=text.lines().count() as u32).contains(&error.line), "{error}");
                    assert!(!error.message.contains('\n') && entry.name == "axpy", "{error}");
                    ran -= 1;
                    refused_kernels += 1;
                }
            }
            Err(error) => {
                assert!((1..=text.lines().count() as u32).contains(&error.line), "{error}");
                assert!(!error.message.contains('\n'), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50 && refused_kernels > 500 && ran > 300, "{refused} {refused_kernels} {ran}");
}

#[test]
fn cut_files_are_refused() {
    for text in SOURCES {
        let entry = text.find(".entry").unwrap();
        let body = entry + text[entry..].find("\n{").unwrap() + 1..text.rfind('}').unwrap();
        for at in body {
            assert!(Module::parse("cut.ptx", &text[..at]).is_err(), "{at}");
        }
    }
}
