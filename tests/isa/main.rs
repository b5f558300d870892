//! Runs one-instruction programs with expected values on every device that runs PTX. They must cover each instruction
//! form that a committed kernel uses. Expected values are computed here, by exact integer arithmetic or in f64 from the
//! documented definition, never by running a device.

mod approx;
mod bf16;
mod compare;
mod control;
mod convert;
mod exact;
mod float;
mod forms;
mod integer;
mod matrix;
mod memory;
mod program;
mod values;
mod warp;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use program::{Program, Type, launchers};
use testkit::root::root;

/// Runs the programs of a family on every device.
fn run(family: &str, programs: Vec<Program>) {
    for launcher in launchers() {
        let results: Vec<Result<usize, String>> = programs.iter().map(|p| p.run(&*launcher)).collect();
        let compared: usize = results.iter().flatten().sum();
        let failures: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        println!("{}: {family}: {} programs, {compared} results", launcher.name(), programs.len());
        assert!(
            failures.is_empty(),
            "{} of {} programs wrong on {}:\n{}",
            failures.len(),
            programs.len(),
            launcher.name(),
            failures.iter().map(|f| f.as_str()).collect::<Vec<_>>().join("\n")
        );
    }
}

#[test]
fn floating_point_arithmetic() {
    run("float", float::programs());
}

#[test]
fn bf16_arithmetic() {
    run("bf16", bf16::programs());
}

#[test]
fn comparisons_and_selections() {
    run("compare", compare::programs());
}

#[test]
fn integers() {
    run("integer", integer::programs());
}

#[test]
fn conversions_and_moves() {
    run("convert", convert::programs());
}

#[test]
fn approximate_functions() {
    run("approx", approx::programs());
}

#[test]
fn memory_and_atomics() {
    run("memory", memory::programs());
}

#[test]
fn warps() {
    run("warp", warp::programs());
}

#[test]
fn matrices() {
    run("matrix", matrix::programs());
}

#[test]
fn guards_branches_and_barriers() {
    run("control", control::programs());
}

/// The forms in the bodies of the programs, without the lines that surround them.
fn tested() -> BTreeSet<String> {
    let families = [
        float::programs(),
        bf16::programs(),
        compare::programs(),
        integer::programs(),
        convert::programs(),
        approx::programs(),
        memory::programs(),
        warp::programs(),
        matrix::programs(),
        control::programs(),
    ];
    families.concat().iter().flat_map(|program| forms::forms(&program.body)).collect()
}

/// Every committed `kernel.ptx`, by its name in the workspace.
fn kernels() -> BTreeMap<String, String> {
    let root = root();
    let named = |file: PathBuf| {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        (name, std::fs::read_to_string(&file).unwrap())
    };
    testkit::kernels::files().into_iter().map(named).collect()
}

#[test]
fn every_form_of_the_committed_kernels_has_a_program() {
    let tested = tested();
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in kernels() {
        for form in forms::forms(&text) {
            users.entry(form).or_default().push(name.clone());
        }
    }
    let used = users.len();
    println!("{used} forms in {} kernel files; {} forms tested", kernels().len(), tested.len());
    assert!(used > 0, "no kernel was found");
    users.retain(|form, _| !tested.contains(form));
    assert!(users.is_empty(), "forms without a program, and who uses them: {users:#?}");
}

#[test]
fn a_wrong_result_is_reported() {
    let sum = Program::new("add.s32 %d0, %a0, %a1;", &[Type::B32, Type::B32], &[Type::B32]);
    for launcher in launchers() {
        assert_eq!(sum.clone().row(&[2, 2], 4).run(&*launcher), Ok(1));
        let wrong = sum.clone().row(&[2, 2], 4).row(&[2, 3], 4).run(&*launcher).unwrap_err();
        assert!(wrong.starts_with("`add.s32 %d0, %a0, %a1;`, row 1 (0x2, 0x3): %d0 is 0x5"), "{wrong}");
        if launcher.name() == "cuda" {
            continue; // A GPU would let the next pass, or be lost for all tests of this process.
        }
        let fault = Program::new("ld.global.u32 %d0, [%in+4096];", &[], &[Type::B32]).row(&[], 0);
        assert!(fault.run(&*launcher).unwrap_err().contains("ld.global.u32"));
    }
}
