//! Kernels that ask for more than a correct one can use: each ends in a fault, and takes bounded memory.

mod common;

use common::{Bench, Inout};
use ptx_emulator::{Access, Arg, FaultKind, Launch, Machine, Module};

const HEAD: &str = ".version 8.4\n.target sm_90\n.address_size 64\n";

/// Memory of the heap comes in pages, and a bulk copy may be longer than one.
#[test]
fn bulk_copies_over_pages_of_the_heap_are_refused() {
    let text = |bytes: u32| {
        format!(
            "{HEAD}.extern .func (.param .b64 r) malloc (.param .b64 n);
.visible .entry k() {{
.reg .b64 %rd<9>; .reg .b32 %r<9>; .reg .pred %p;
.shared .align 128 .b8 s[40960];
.shared .align 8 .b64 bar;
{{ .param .b64 a; .param .b64 b; mov.u64 %rd1, {bytes}; st.param.b64 [a], %rd1;
call.uni (b), malloc, (a); ld.param.b64 %rd2, [b]; }}
mov.u32 %r1, 7;
mov.u64 %rd3, %rd2;
add.u64 %rd4, %rd2, {bytes};
L: st.global.u32 [%rd3], %r1;
add.u64 %rd3, %rd3, 4;
setp.lt.u64 %p, %rd3, %rd4;
@%p bra L;
mov.u32 %r2, s;
mov.u32 %r3, bar;
mbarrier.init.shared.b64 [%r3], 1;
mbarrier.arrive.expect_tx.shared.b64 %rd5, [%r3], {bytes};
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd2], {bytes}, [%r3];
W: mbarrier.test_wait.shared.b64 %p, [%r3], %rd5;
@!%p bra W;
ret; }}\n"
        )
    };
    let run = |bytes| {
        let module = Module::parse_whole("heap.ptx", &text(bytes)).unwrap();
        Machine::new().launch(&module, "k", Launch { grid: [1; 3], block: [1; 3], shared: 0 }, &[])
    };
    run(16_384).unwrap();
    let fault = run(40_960).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unsupported, "{fault}");
    assert!(fault.to_string().contains("a bulk copy of 40960 bytes"), "{fault}");
}

/// Copies whose barrier nobody tests stay under way.
#[test]
fn copies_without_a_wait_do_not_pile_up() {
    let bench = Bench::new(
        ".shared .align 16 .b8 b[8];\n.shared .align 128 .b8 s[1024];",
        "ld.param.u64 %rd1, [p0];
mbarrier.init.shared.b64 [b], 1;
mov.u32 %r1, 0;
L: cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 512, [b];
add.u32 %r1, %r1, 1;
setp.lt.u32 %p0, %r1, 1000;
@%p0 bra L;
ret;",
    );
    let fault = bench.run(1, &[Inout::bytes(512)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::PartialBarrier, "{fault}");
    assert!(fault.to_string().contains("more bytes are under way than shared memory has"), "{fault}");
}

/// The levels of expressions in parameters that cannot be read do not add up over a file.
#[test]
fn parameters_that_cannot_be_read_refuse_only_their_kernel() {
    let bad: String =
        (0..40).map(|k| format!(".visible .entry bad{k}(.param .b8 a[((((((x]) {{ ret; }}\n")).collect();
    // The parentheses close, so that the end of the parameters is found.
    let bad = bad.replace("x]", "x))))))]");
    let good = ".visible .entry good(.param .b8 a[((((((4))))))]) { ret; }\n";
    let module = Module::parse("params.ptx", &format!("{HEAD}{bad}{good}")).unwrap();
    assert_eq!((module.entries().len(), module.refused().count()), (41, 40));
    let args = [Arg::Bytes(vec![1; 4])];
    let launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };
    Machine::new().launch(&module, "good", launch, &args).unwrap();
}

/// A tensor map of random bytes is a fault, and no field of it leads anywhere else.
#[test]
fn hostile_tensor_maps_are_faults_or_copies() {
    let text = format!(
        "{HEAD}.visible .entry k(.param .align 64 .b8 map[128], .param .u64 p) {{
.reg .b64 %rd<4>; .reg .b32 %r<4>;
.shared .align 128 .b8 s[8192];
.shared .align 8 .b64 bar;
mov.b64 %rd1, map;
cvta.param.u64 %rd2, %rd1;
mov.u32 %r1, s;
mov.u32 %r2, bar;
mov.u32 %r3, -3;
mbarrier.init.shared.b64 [%r2], 1;
cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd2, {{%r3, %r3}}], [%r2];
ret; }}\n"
    );
    let module = Module::parse_whole("map.ptx", &text).unwrap();
    let machine = Machine::new();
    let at = machine.alloc(4096);
    machine.write(at, &[0; 4096]).unwrap();
    let map = ptx_emulator::TensorMap {
        address: at,
        element: 4,
        sizes: vec![32, 32],
        strides: vec![128],
        box_sizes: vec![8, 8],
        swizzle: ptx_emulator::Swizzle::None,
    };
    let good = map.bytes().unwrap();
    let run = |bytes: &[u8]| {
        let buffer = Arg::Buffer { at, bytes: 4096, access: Access::Read };
        let launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };
        machine.launch(&module, "k", launch, &[Arg::Bytes(bytes.into()), buffer])
    };
    run(&good).unwrap();
    let (mut faults, mut random) = (0, 1u64);
    for _ in 0..3000 {
        let mut bytes = good;
        for _ in 0..3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The mark at the front stays, so that the fields behind it are read.
            bytes[8 + (random >> 33) as usize % 72] = (random >> 50) as u8;
        }
        faults += usize::from(run(&bytes).is_err());
    }
    assert!((1000..3000).contains(&faults), "{faults}");
    assert_eq!(run(&[0; 128]).unwrap_err().kind, FaultKind::Arguments);
}

/// A brace too many or too few spoils its function, and kernels that call it, but no others.
#[test]
fn braces_that_do_not_match_refuse_only_their_function() {
    let kernel =
        |name: &str, body: &str| format!(".visible .entry {name}() {{\n.reg .b32 %r<4>;\n{body}\nret;\n}}\n");
    let (first, last) = (kernel("first", ""), kernel("last", ""));
    for body in ["{", "}", "mov.u32 %r1, {%r2;", "mov.u32 %r1, %r2};", "{ }}", "@", "}}}{", "} .loc 1 1 1"] {
        let text = format!("{HEAD}{first}{}{last}", kernel("bad", body));
        let module = Module::parse("braces.ptx", &text).unwrap_or_else(|e| panic!("{body}: {e}"));
        let names: Vec<&str> = module.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["first", "bad", "last"], "{body}");
        let refused: Vec<&str> = module.refused().map(|(e, _)| e.name.as_str()).collect();
        assert_eq!(refused, ["bad"], "{body}");
        // What calls a function that cannot be read cannot run either.
        let function = kernel("bad", body).replace(".visible .entry", ".func");
        let text = format!("{HEAD}{function}{first}{}", kernel("caller", "call bad;"));
        let module = Module::parse("braces.ptx", &text).unwrap_or_else(|e| panic!("{body}: {e}"));
        let refused: Vec<&str> = module.refused().map(|(e, _)| e.name.as_str()).collect();
        assert_eq!(refused, ["caller"], "{body}");
    }
    // A file that ends within a function is not whole, and neither is one that begins with something else.
    assert!(Module::parse("cut.ptx", &format!("{HEAD}{first}.visible .entry k() {{ ret;")).is_err());
    assert!(Module::parse("cut.ptx", &format!("{HEAD}ret; {first}")).is_err());
}
