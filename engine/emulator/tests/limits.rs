//! A small file cannot take much time, memory or stack, whatever its text makes of itself: parsing ends with a module or
//! with an error that names the line and the limit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;

use ptx_emulator::{Module, ParseError};

/// Counts the bytes that the current thread holds, and the most it has held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain thread-local cells that allocate
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that parsing may hold at once, in bytes, whatever the text. The largest committed file is far below.
const MOST_HELD: isize = 512 << 20;

const HEAD: &str = ".version 8.4\n.target sm_80\n.address_size 64\n";

/// Parses a file under the limit on memory.
#[track_caller]
fn parse(text: &str) -> Result<Module, ParseError> {
    let before = HELD.get();
    PEAK.set(before);
    let module = Module::parse_whole("hostile.ptx", text);
    let held = PEAK.get() - before;
    assert!(held < MOST_HELD, "{} MiB for {} bytes of text", held >> 20, text.len());
    module
}

/// Parses a file that has to be refused in this line, with all of these parts in one short message.
#[track_caller]
fn refused(text: &str, line: u32, parts: &[&str]) {
    let Err(error) = parse(text) else { panic!("not refused") };
    assert_eq!(error.line, line, "{error}");
    for part in parts {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(!error.message.contains('\n') && error.message.len() < 300, "{error}");
}

/// A kernel of the name `k` without parameters, on line 4 where it comes first.
fn kernel(body: &str) -> String {
    format!(".visible .entry k() {{ .reg .b32 %r<9>; {body}\nret; }}\n")
}

/// `n` times `part`, with `#` as the number.
fn times(n: usize, part: &str) -> String {
    (0..n).fold(String::new(), |mut all, k| {
        write!(all, "{}", part.replace('#', &k.to_string())).unwrap();
        all
    })
}

const STEPS: &str = "more than 16777216 steps";

#[test]
fn nesting_is_bounded() {
    let deep = 90_000;
    let (braces, parentheses) = ("{".repeat(deep), "(".repeat(deep));
    refused(&format!("{HEAD}.global .b8 g[4] = {braces}"), 4, &["initial values", "deeper than 64"]);
    refused(&format!("{HEAD}{}", kernel(&braces)), 4, &["blocks", "deeper than 64"]);
    refused(&format!("{HEAD}{}", kernel(&format!("mov.b64 {braces}"))), 4, &["operands", "deeper than 64"]);
    refused(&format!("{HEAD}{}", kernel(&format!("call {parentheses}"))), 4, &["operands", "deeper than 64"]);
    // What is no deeper is read.
    let shallow = format!("{}7{}", "{".repeat(64), "}".repeat(64));
    parse(&format!("{HEAD}.global .b8 g[4] = {shallow};\n")).unwrap();
}

/// Each call is inlined at the bottom of blocks, so that the levels of the functions add up.
#[test]
fn calls_at_the_bottom_of_blocks_are_bounded() {
    let within = |levels: usize, call: &str| format!("{}{call}{}", "{".repeat(levels), "}".repeat(levels));
    let chain = |levels: usize, functions: usize| {
        let one =
            |k: usize| format!(".func f{k}() {{ {} ret; }}\n", within(levels, &format!("call f{};", k + 1)));
        let last = format!(".func f{functions}() {{ ret; }}\n");
        let all = (0..functions).map(one).collect::<String>();
        format!("{HEAD}{all}{last}{}", kernel("call f0;"))
    };
    parse(&chain(7, 14)).unwrap();
    refused(&chain(60, 14), 5, &["blocks", "deeper than 128"]);
    refused(&chain(1, 20), 19, &["nested deeper than 16"]);
    // A function that calls itself is not inlined.
    parse(&format!("{HEAD}.func f() {{ call f; }}\n{}", kernel("call f;"))).unwrap();
    // Functions out of line are compiled for each kernel, within the same limit.
    let long =
        format!(".func f() {{ .reg .b32 %r<4>; {} call f; }}\n", "add.s32 %r1, %r1, %r1; ".repeat(1000));
    let kernels = times(10_000, ".visible .entry k#() { call f; ret; }\n");
    refused(&format!("{HEAD}{long}{kernels}"), 4, &[STEPS]);
    // Names of functions and prototypes that kernels look through in vain.
    let functions = times(3_000, ".func f#(.param .b32 a) { ret; }\n.global .u64 p# = f#;\n");
    let call = "t: .callprototype _ (); call %rd1, t;\n".repeat(3_000).replace("t: .callprototype _ ();", "");
    let body = format!(".reg .b64 %rd<2>; t: .callprototype _ ();\n{call}");
    let error = parse(&format!("{HEAD}{functions}{}{}", kernel(&body), kernel(&body).replace("k()", "l()")))
        .unwrap_err();
    assert!(error.message.contains(STEPS), "{error}");
}

/// The limit is one for the whole file: no kernel of these is large.
#[test]
fn inlined_calls_share_one_limit() {
    let long = format!(".func f() {{ .reg .b32 %r<4>; {} ret; }}\n", "add.s32 %r1, %r1, %r1; ".repeat(1000));
    let kernels = times(10_000, &format!(".visible .entry k#() {{ {} ret; }}\n", "call f; ".repeat(20)));
    refused(&format!("{HEAD}{long}{kernels}"), 4, &[STEPS]);
    // Calls that double at each level, of a function without instructions.
    let doubled: String =
        (0..14).map(|k| format!(".func f{k}() {{ call f{0}; call f{0}; }} ", k + 1)).collect();
    let wide = format!(".func f14() {{ {} }} .func e() {{ }} ", "call e; ".repeat(500));
    refused(&format!("{HEAD}{wide}{doubled}{}", kernel("call f0;")), 4, &[STEPS]);
}

/// Every kernel can name every variable, function and source file, and finds it without looking through all of them.
#[test]
fn what_kernels_share_is_made_once() {
    let globals = times(12_000, ".global .b8 g#;\n.shared .b8 s#;\n");
    let functions = times(4_000, ".func f#() { ret; }\n");
    let files = times(4_000, ".file # \"a.cu\"\n");
    let kernels = times(4_000, ".visible .entry k#() { .loc 3999 # 1\nret; }\n");
    let module = parse(&format!("{HEAD}{globals}{functions}{files}{kernels}")).unwrap();
    assert_eq!(module.entries().len(), 4_000);
}

/// A name is found in a bounded time within a kernel too.
#[test]
fn declarations_of_registers_are_not_searched_in_turn() {
    let declared = times(20_000, ".reg .b32 a#_<2>;\n");
    let used = times(20_000, "mov.u32 %r1, a#_1; { mov.u32 %r1, %r2; }\n");
    parse(&format!("{HEAD}{}", kernel(&format!("{declared}{used}")))).unwrap();
    refused(
        &format!("{HEAD}{}", kernel("\n.reg .b32 a<2>;\n.reg .f32 a<3>; mov.b32 %r1, 0;")),
        4,
        &["`a`", "twice"],
    );
}

/// The pass over the registers takes blocks times registers.
#[test]
fn branches_and_registers_are_bounded_together() {
    let moves = times(60_000, "mov.u32 a#, 1;\n");
    let branches = times(50_000, "@%p bra L;\n");
    let body = format!(".reg .pred %p; .reg .b32 a<60000>;\n{moves}{branches}L: ");
    refused(&format!("{HEAD}{}", kernel(&body)), 4, &[STEPS]);
    // Tables of branches are as long as their lists, wherever they are used.
    let list = format!("t: .branchtargets L{};\nL: ", ",L".repeat(20_000));
    let body = format!("{list}{}", "brx.idx %r1, t;\n".repeat(20_000));
    let error = parse(&format!("{HEAD}{}", kernel(&body))).unwrap_err();
    assert!(error.message.contains(STEPS), "{error}");
}

#[test]
fn registers_and_variables_are_bounded() {
    // Only registers that are used count: this is what compilers write.
    parse(&format!("{HEAD}{}", kernel(".reg .b32 %big<2147483648>; mov.u32 %big2147483647, 1;"))).unwrap();
    let all = times(70_000, "mov.u32 %big#, 1;\n");
    let error = parse(&format!("{HEAD}{}", kernel(&format!(".reg .b32 %big<70000>;\n{all}")))).unwrap_err();
    assert!(error.message.contains("more than 65536 registers"), "{error}");

    for size in ["[1099511627776]", "[4294967296][4294967296]", "[18446744073709551615]", "[16777216]"] {
        for space in ["global", "const", "shared"] {
            refused(&format!("{HEAD}\n.{space} .b8 g{size};"), 5, &["`g`", "16777216 bytes"]);
        }
    }
    // Empty variables have their gaps.
    let empty = format!("{HEAD}.global .align 4096 .b8 a[0]{};", ", a[0]".repeat(100_000));
    refused(&empty, 4, &["`a`", "16777216 bytes"]);
    for align in ["0", "3", "8192", "4294967296"] {
        refused(&format!("{HEAD}\n.global .align {align} .b8 g;"), 5, &[align]);
    }
    refused(
        &format!("{HEAD}{}", kernel(".local .b8 x[70000];\n mov.u32 %r1, 0;")),
        4,
        &["`x`", "65536 bytes"],
    );
    refused(&format!("{HEAD}.visible .entry k(.param .b8 p[40000]) {{ ret; }}"), 4, &["32764 bytes"]);
}

/// A shared variable of a function is there once for each call, so that a few bytes of text could pass 4 GiB.
#[test]
fn shared_memory_of_inlined_calls_is_bounded() {
    let function = ".func f() { .shared .b8 s[1000000]; .reg .b32 %r<2>; mov.u32 %r1, s; ret; }\n";
    refused(&format!("{HEAD}{function}{}", kernel(&"call f; ".repeat(5000))), 4, &["`s`", "4194304 bytes"]);
}

#[test]
fn long_names_are_refused_and_not_repeated() {
    let long = "a".repeat(90_000);
    for text in
        [long.clone(), format!(".global .b8 {long};"), "1".repeat(90_000), format!(".file 1 \"{long}\"")]
    {
        refused(&format!("{HEAD}{text}"), 4, &["90000 characters", "1024"]);
    }
}

#[test]
fn tokens_are_bounded() {
    refused(&format!("{HEAD}.pragma\n{}", ", ".repeat(5_000_000)), 5, &["more than 4194304 tokens"]);
}

/// Shared and local memory starts undefined, so that a value for it could only be ignored.
#[test]
fn initial_values_that_no_memory_takes_are_refused() {
    for space in ["shared", "local", "param"] {
        let text = format!("{HEAD}{}", kernel(&format!("\n.{space} .b32 x = 1; mov.u32 %r1, 0;")));
        refused(&text, 5, &["`x`", space]);
    }
}
