//! Each check has its own switch, and faults can be collected.

mod common;

use common::{Bench, Inout, Out};
use ptx_emulator::{Checks, Fault, FaultKind, Options};

/// The switch of a check.
type Switch = fn(&mut Checks) -> &mut bool;

/// Kernels that only one check stops: the name, the kernel, its threads, the check, and what it finds.
fn cases() -> Vec<(&'static str, Bench, u32, Switch, FaultKind)> {
    let tile = ".shared .align 4 .b8 tile[256];";
    let start = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mul.wide.u32 %rd2, %r1, 4;
        add.s64 %rd3, %rd1, %rd2; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3;";
    let bench = |code: &str| Bench::new(tile, &format!("{start} {code} ret;"));
    vec![
        (
            "shared memory",
            bench("ld.shared.u32 %r5, [%r4];"),
            1,
            |c| &mut c.uninitialised_memory,
            FaultKind::Uninitialised,
        ),
        (
            "global memory",
            bench("ld.global.u32 %r5, [%rd3+1024];"),
            1,
            |c| &mut c.uninitialised_memory,
            FaultKind::Uninitialised,
        ),
        (
            "registers",
            bench("st.global.u32 [%rd3], %r9;"),
            1,
            |c| &mut c.uninitialised_registers,
            FaultKind::Uninitialised,
        ),
        ("shared races", bench("st.shared.u32 [%r2], %r1;"), 64, |c| &mut c.shared_races, FaultKind::Race),
        ("global races", bench("st.global.u32 [%rd1], %r1;"), 64, |c| &mut c.global_races, FaultKind::Race),
        (
            "nc loads",
            bench("st.global.u32 [%rd3], %r1; ld.global.nc.u32 %r5, [%rd3];"),
            1,
            |c| &mut c.nc_loads,
            FaultKind::Race,
        ),
        (
            "skipped barriers",
            bench("setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0; st.global.u32 [%rd3], %r1;"),
            32,
            |c| &mut c.skipped_barriers,
            FaultKind::PartialBarrier,
        ),
        (
            "early exits",
            bench("setp.lt.u32 %p1, %r1, 16; @!%p1 ret; bar.sync 0; st.global.u32 [%rd3], %r1;"),
            32,
            |c| &mut c.early_exits,
            FaultKind::ExitBeforeBarrier,
        ),
        (
            "masks",
            bench("setp.lt.u32 %p1, %r1, 16; @%p1 shfl.sync.idx.b32 %r5, %r1, 20, 31, 65535;"),
            32,
            |c| &mut c.masks,
            FaultKind::Mask,
        ),
    ]
}

fn run(bench: &Bench, options: Options, threads: u32) -> Result<(), Fault> {
    let again = Bench::from_text(bench.text().into()).options(options);
    let written = !bench.text().contains("+1024");
    let arg = if written { Inout::bytes(1024) } else { Inout::fresh(4096) };
    again.run(threads, &[arg]).map(|_| ())
}

#[test]
fn each_check_has_its_switch() {
    for (name, bench, threads, switch, kind) in cases() {
        let with = |which| run(&bench, Options { which, ..Options::default() }, threads);
        let mut which = Checks::default();
        *switch(&mut which) = true;
        assert_eq!(with(which).expect_err(name).kind, kind, "{name}");
        *switch(&mut which) = false;
        with(which).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let mut alone = Checks::NONE;
        *switch(&mut alone) = true;
        assert_eq!(with(alone).expect_err(name).kind, kind, "{name}");
        with(Checks::NONE).unwrap();
        run(&bench, Options { checks: false, which: Checks::ALL, ..Options::default() }, threads).unwrap();
    }
}

#[test]
fn all_checks_but_one_are_on() {
    assert_eq!(Checks::default(), Checks { early_exits: false, ..Checks::ALL });
    assert_eq!(Options::default().which, Checks::default());
    assert_eq!(Options::default().collect, 0);
}

/// Four faults in four lines, of which the first comes twice.
const FOUR: &str =
    "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2; mov.u32 %r3, 0;
    AGAIN: st.global.u32 [%rd1], %r1;
    add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 2; @%p1 bra AGAIN;
    st.global.u32 [%rd3+4], %r9;
    ld.shared.u32 %r4, [%r2]; bar.sync 0;
    st.shared.u32 [%r2], %r1; ret;";

fn collected(collect: usize, code: &str) -> Vec<FaultKind> {
    let options = Options { collect, threads: 1, ..Options::default() };
    let bench = Bench::new(".shared .align 4 .b8 tile[4];", code).options(options);
    let first = bench.run(64, &[Out(1024)]).unwrap_err();
    let more = first.more.iter().map(|fault| {
        assert!(fault.location.is_some() && fault.more.is_empty());
        fault.kind
    });
    std::iter::once(first.kind).chain(more).collect()
}

#[test]
fn faults_are_collected() {
    use FaultKind::{OutOfBounds, Race, Uninitialised};
    assert_eq!(collected(0, FOUR), [Race]);
    assert_eq!(collected(1, FOUR), [Race]);
    assert_eq!(collected(2, FOUR), [Race, Uninitialised]);
    let all = collected(100, FOUR);
    assert_eq!(all.iter().filter(|&&kind| kind == Race).count(), 2, "{all:?}");
    assert_eq!(all.iter().filter(|&&kind| kind == Uninitialised).count(), 2, "{all:?}");
    assert_eq!(all.len(), 4);
    // What the launch cannot go on after ends it, and comes last.
    let far = FOUR.replace("ld.shared.u32 %r4, [%r2]; bar.sync 0;", "st.global.u32 [%rd1+-4], %r1;");
    assert_eq!(collected(100, &far).last(), Some(&OutOfBounds));
    assert_eq!(collected(100, &far).len(), 3);
}

/// A launch with faults after which it went on has written what the kernel stores.
#[test]
fn a_launch_goes_on_after_what_it_collects() {
    use ptx_emulator::{Access, Arg, Machine};
    let code =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd1+256], %r1; add.u32 %r2, %r1, 7; st.global.u32 [%rd3], %r2; ret;";
    let machine = Machine::with(Options { collect: 10, ..Options::default() });
    let at = machine.alloc(260);
    let arg = Arg::Buffer { at, bytes: 260, access: Access::Write };
    let fault =
        machine.launch(&Bench::new("", code).module(), "k", common::launch(1, 64), &[arg]).unwrap_err();
    assert_eq!((fault.kind, fault.more.len()), (FaultKind::Race, 0));
    let mut bytes = [0; 256];
    machine.read(at, &mut bytes).unwrap();
    assert!(bytes.chunks_exact(4).enumerate().all(|(k, c)| c == (k as u32 + 7).to_le_bytes()));
}

/// A guess before a `cas` that nothing clears is found at the end, beside what was collected before.
#[test]
fn suspicions_are_collected_last() {
    let code =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; st.global.u32 [%rd1+16], %r1; setp.eq.u32 %p1, %r1, 0;
        @%p1 bra READ; atom.global.cas.b32 %r2, [%rd1], 0, 1; ret; READ: ld.global.u32 %r3, [%rd1]; ret;";
    let options = Options { collect: 10, threads: 1, ..Options::default() };
    let fault = Bench::new("", code).options(options).run(64, &[Inout::bytes(32)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Race);
    assert_eq!(fault.more.len(), 1, "{fault:?}");
    assert_eq!(fault.more[0].kind, FaultKind::Race);
}
