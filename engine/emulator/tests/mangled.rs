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
const WORDS: [&str; 28] = [
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
            .map(|p| if p.is_64_bit() { buffer(Access::ReadWrite) } else { Arg::U32(n as u32) })
            .collect();
        let launch = Launch { grid: [2, 1, 1], block: [64, 1, 1], shared: 0 };
        // Any outcome is allowed, except a panic.
        let _ = machine.launch(module, &entry.name, launch, &args);
    }
}

#[test]
fn mangled_kernels_are_refused_or_run() {
    let mut random = Random(1);
    let (mut refused, mut refused_kernels, mut ran) = (0, 0, 0);
    for _ in 0..4000 {
        let text = mangle(include_str!("../examples/axpy.ptx"), &mut random);
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
    assert!(refused > 50 && refused_kernels > 500 && ran > 500, "{refused} {refused_kernels} {ran}");
}

#[test]
fn cut_files_are_refused() {
    let text = include_str!("../examples/axpy.ptx");
    let body = text.find('{').unwrap()..text.rfind('}').unwrap();
    for at in body {
        assert!(Module::parse("cut.ptx", &text[..at]).is_err(), "{at}");
    }
}
