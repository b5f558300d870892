//! What the emulator does not have refuses the kernels that need it, with a reason, and no other kernel of the file.

use ptx_emulator::{Access, Arg, FaultKind, Launch, Machine, Module};

const HEAD: &str = ".version 8.4\n.target sm_80\n.address_size 64\n";
const LAUNCH: Launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };

/// A kernel that stores 7, on lines of its own.
const GOOD: &str = ".visible .entry good(.param .u64 o) { .reg .b64 %rd<2>; .reg .b32 %r<2>;
ld.param.u64 %rd1, [o]; mov.b32 %r1, 7; st.global.b32 [%rd1], %r1; ret; }\n";

/// Checks that `good` runs and that of `top` and the kernel `bad` only the kernel is refused, at this line and with this
/// part of the message.
#[track_caller]
fn only_bad(top: &str, body: &str, line: u32, part: &str) {
    let text = format!(
        "{HEAD}{top}\n.visible .entry bad() {{ .reg .b32 %r<9>; .reg .f32 %f<9>; .reg .b64 %rd<9>; .reg .pred %p<3>;\n{body}\nret; }}\n{GOOD}"
    );
    let module = Module::parse("k.ptx", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let refused: Vec<_> = module.refused().collect();
    assert_eq!(refused.len(), 1, "{text}");
    let (entry, reason) = refused[0];
    assert_eq!((entry.name.as_str(), reason.line), ("bad", line), "{reason}");
    assert!(reason.message.contains(part), "{reason}");
    assert_eq!(module.entry("bad").unwrap().unsupported.as_ref(), Some(reason));
    assert_eq!(Module::parse_whole("k.ptx", &text).unwrap_err(), *reason);
    let machine = Machine::new();
    let fault = machine.launch(&module, "bad", LAUNCH, &[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert!(
        fault.to_string().contains(&format!("k.ptx:{line}: ")) && fault.to_string().contains(part),
        "{fault}"
    );
    let at = machine.alloc(4);
    machine.launch(&module, "good", LAUNCH, &[Arg::Buffer { at, bytes: 4, access: Access::Write }]).unwrap();
    let mut word = [0; 4];
    machine.read(at, &mut word).unwrap();
    assert_eq!(u32::from_le_bytes(word), 7);
}

#[test]
fn an_instruction_refuses_its_kernel() {
    only_bad("", "wgmma.fence.sync.aligned;", 6, "`wgmma.fence.sync.aligned`");
    // Forms that the parser does not know.
    only_bad("", "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f5, %f6}];", 6, "`tex.2d.v4.f32.f32`");
    only_bad("", "{ suld.b.1d.b32.trap {%r3}, [%rd1, {%r2}]; mov.u32 %r1, 1; }", 6, "`suld.b.1d.b32.trap`");
    only_bad("", "mov.u32 %r1, 1;\nmov.u32 %r1 %r2;\nwrong %%; add.u32 %r1, %r1, %r1;", 7, "expected");
    only_bad("", ".weird 5;", 6, "`.weird`");
    only_bad("", "{ mov.u32 %r1, ( }\nmov.u32 %r1, %r2;", 6, "expected");
}

#[test]
fn a_function_refuses_the_kernels_that_call_it() {
    only_bad(".func f() { wgmma.fence.sync.aligned; ret; }", "call f;", 4, "`wgmma.fence.sync.aligned`");
    only_bad(".func f() { mov.b32 [1, 2]; }\n.func g() { call f; }", "call g;", 4, "expected");
    only_bad(".func f(.param .texref t) { ret; }", "call f;", 4, "`.texref`");
    only_bad(".func f() { ret; }\n.func g() { bra X; }", "call f; call g;", 5, "`X`");
    only_bad(".extern .func other(.param .b32 a);", "call other;", 6, "`other`");
}

#[test]
fn a_name_of_the_module_refuses_the_kernels_that_use_it() {
    let load = "ld.global.b32 %r1, [v];";
    only_bad(".tex .u32 v;", load, 4, "`.tex`");
    only_bad(".global .texref v;", load, 4, "`.texref`");
    only_bad(
        ".global .samplerref v = { addr_mode_0 = wrap, filter_mode = nearest };",
        load,
        4,
        "`.samplerref`",
    );
    only_bad(".extern .global .align 4 .b32 v;", load, 4, "`v` is declared .extern");
    only_bad(".global .u64 v = nothing;", load, 4, "`nothing`");
    only_bad(".extern .const .b32 w;\n.global .u64 v[2] = {5, generic(w)};", load, 5, "`w`");
    // A definition beside the declaration is used.
    let text = format!(
        "{HEAD}.extern .global .b32 v;\n.visible .global .b32 v;\n.visible .entry k() {{ .reg .b32 %r<9>; {load} ret; }}"
    );
    Module::parse_whole("k.ptx", &text).unwrap();
}

#[test]
fn a_directive_of_a_kernel_refuses_it() {
    let text = format!("{HEAD}.visible .entry k()\n.strange 1, 2, 3\n.maxntid 32\n{{ ret; }}\n{GOOD}");
    let module = Module::parse("k.ptx", &text).unwrap();
    let refused: Vec<_> = module.refused().map(|(e, reason)| (e.name.as_str(), reason.line)).collect();
    assert_eq!(refused, [("k", 5)]);
}

#[test]
fn text_that_is_no_ptx_refuses_the_file() {
    let body = |code: &str| format!("{HEAD}.visible .entry k() {{ .reg .b32 %r<9>; {code}");
    for text in [
        "hello".into(),
        format!("{HEAD}hello world;"),
        format!("{HEAD}.global .u32 v = 1.5;"),
        format!("{HEAD}.global .u32 v"),
        format!("{HEAD}.strange"),
        format!("{HEAD}.strange .b32;"),
        body("mov.u32 %r1, 1;"),
        body("mov.u32 %r1, 1"),
        body("tex.2d [%r1, {%r2}]; "),
        body("{ tex.2d [%r1, {%r2}]; "),
        body("\u{e9} ret; }"),
        body("mov.u32 %r1, 0xgg; ret; }"),
    ] {
        assert!(Module::parse("k.ptx", &text).is_err(), "{text}");
    }
}

/// A kernel is found by its symbol and by its name in C++, and what there is is listed.
#[test]
fn kernels_have_names_in_cpp() {
    let names = [
        "_Z5scalePfi",
        "_Z3addIfEvPT_",
        "_Z3addIdEvPT_",
        "_ZN2ns4fillEPi",
        "_ZN2ns4fillEPf",
        "plain",
        "_Zwrong",
    ];
    let text = names
        .iter()
        .fold(String::from(HEAD), |text, name| text + &format!(".visible .entry {name}() {{ ret; }}\n"));
    let module = Module::parse_whole("k.ptx", &text).unwrap();
    for (name, want) in [
        ("_Z5scalePfi", "_Z5scalePfi"),
        ("scale", "_Z5scalePfi"),
        ("scale(float*, int)", "_Z5scalePfi"),
        ("add<float>", "_Z3addIfEvPT_"),
        ("add<double>(double*)", "_Z3addIdEvPT_"),
        ("void add<double>(double*)", "_Z3addIdEvPT_"),
        ("ns::fill(int*)", "_ZN2ns4fillEPi"),
        ("plain", "plain"),
        ("_Zwrong", "_Zwrong"),
    ] {
        assert_eq!(module.entry(name).map(|e| e.name.as_str()), Some(want), "{name}");
    }
    let machine = Machine::new();
    machine.launch(&module, "add<float>", LAUNCH, &[]).unwrap();
    let message = |name: &str| {
        let fault = machine.launch(&module, name, LAUNCH, &[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Arguments);
        fault.detail
    };
    assert_eq!(
        message("other"),
        "k.ptx has no kernel of this name, but scale(float*, int), add<float>(float*), add<double>(double*), ns::fill(int*), ns::fill(float*), plain, _Zwrong"
    );
    assert_eq!(message("ns::fill"), "this name means several kernels: ns::fill(int*), ns::fill(float*)");
    assert_eq!(message("add"), "this name means several kernels: add<float>(float*), add<double>(double*)");
    assert!(message("add<").contains("no kernel"));
    // Names whose reading would never end.
    let endless = format!(
        "_Z1f{}",
        (0..60).fold(String::from("PFvvE"), |name, k| format!(
            "{name}PFvS{}_S{0}_E",
            if k == 0 { String::new() } else { (k - 1).to_string() }
        ))
    );
    let text = format!(
        "{HEAD}.visible .entry {endless}() {{ ret; }}\n.visible .entry _Z{}() {{ ret; }}\n",
        "1".repeat(1000)
    );
    assert!(Module::parse_whole("k.ptx", &text).unwrap().entry("other").is_none());
}
