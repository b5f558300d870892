//! Slices of elements, variables of a module by name, and launches that are put together step by step.

use ptx_emulator::{Access, Arg, FaultKind, Machine, Module, Options, Size, Slice};

fn axpy() -> Module {
    Module::parse("axpy.ptx", include_str!("../examples/axpy.ptx")).unwrap()
}

fn table() -> Module {
    Module::parse("table.ptx", include_str!("../examples/table.ptx")).unwrap()
}

#[test]
fn elements_of_every_type_come_back() {
    let machine = Machine::new();
    let bytes = machine.upload(&[1u8, 2, 255]);
    assert_eq!(machine.download(bytes).unwrap(), [1, 2, 255]);
    let wide = machine.upload(&[-2i64, i64::MAX]);
    assert_eq!(machine.download(wide).unwrap(), [-2, i64::MAX]);
    assert_eq!(
        machine.download(Slice::<u32>::at(wide.address(), 4)).unwrap(),
        [0xffff_fffe, u32::MAX, u32::MAX, 0x7fff_ffff]
    );
    let half = machine.upload(&[half::f16::from_f32(1.0)]);
    assert_eq!(machine.download(Slice::<u16>::at(half.address(), 1)).unwrap(), [0x3c00]);
    let pairs = machine.upload(&[[1.5f64, 2.5], [3.5, 4.5]]);
    assert_eq!((pairs.len(), pairs.bytes()), (2, 32));
    assert_eq!(machine.download(Slice::<f64>::at(pairs.address() + 8, 2)).unwrap(), [2.5, 3.5]);
    let none = machine.upload::<f32>(&[]);
    assert!(none.is_empty() && machine.download(none).unwrap().is_empty());
    machine.download(machine.upload(&[(), ()])).unwrap();
}

#[test]
fn slices_outside_of_buffers_are_refused() {
    let machine = Machine::new();
    let x = machine.upload(&[1u32, 2]);
    let kind = |slice| machine.download(slice).unwrap_err().kind;
    assert_eq!(kind(Slice::<u32>::at(x.address(), 3)), FaultKind::Host);
    assert_eq!(kind(Slice::<u32>::at(x.address() + 4, 2)), FaultKind::Host);
    assert_eq!(kind(Slice::<u32>::at(16, 1)), FaultKind::Host);
    assert_eq!(kind(Slice::<u32>::at(x.address(), usize::MAX)), FaultKind::Host);
    assert_eq!(machine.overwrite(x, &[1]).unwrap_err().kind, FaultKind::Host);
    machine.overwrite(x, &[3, 4]).unwrap();
    assert_eq!(machine.download(x).unwrap(), [3, 4]);
    assert!(machine.free(x.address()));
    assert_eq!(kind(x), FaultKind::Host);
}

#[test]
fn what_nothing_wrote_is_no_result() {
    let machine = Machine::new();
    let fresh = machine.uninit::<f32>(2);
    assert_eq!(machine.download(fresh).unwrap_err().kind, FaultKind::Uninitialised);
    let unchecked = Machine::with(Options { checks: false, ..Options::default() });
    unchecked.download(unchecked.uninit::<f32>(2)).unwrap();
}

#[test]
fn slices_become_arguments() {
    let slice = Slice::<u16>::at(256, 5);
    let buffer = |access| Arg::Buffer { at: 256, bytes: 10, access };
    assert_eq!(slice.read(), buffer(Access::Read));
    assert_eq!(slice.write(), buffer(Access::Write));
    assert_eq!(slice.inout(), buffer(Access::ReadWrite));
    assert_eq!(slice.reached(Access::Read), Arg::Reached { at: 256, bytes: 10, access: Access::Read });
}

#[test]
fn sizes_are_numbers_tuples_or_arrays() {
    assert_eq!(Size::from(7), Size([7, 1, 1]));
    assert_eq!(Size::from((7, 2)), Size([7, 2, 1]));
    assert_eq!(Size::from((7, 2, 3)), Size::from([7, 2, 3]));
}

#[test]
fn a_launch_step_by_step() {
    let (module, machine) = (axpy(), Machine::new());
    let x: Vec<f32> = (0..300).map(|i| i as f32).collect();
    let (dx, dy) = (machine.upload(&x), machine.upload(&[1.0f32; 300]));
    let call = machine.kernel(&module, "axpy").grid((3, 1)).block(128).arg(dx.read()).arg(dy.inout());
    let meter = call.clone().arg(2.0f32).arg(299).launch().unwrap();
    assert_eq!((meter.blocks, meter.threads), (3, 384));
    let mut want: Vec<f32> = x.iter().map(|x| 2.0 * x + 1.0).collect();
    want[299] = 1.0;
    assert_eq!(machine.download(dy).unwrap(), want);
    // Faults are those of the plain launch.
    assert_eq!(call.clone().launch().unwrap_err().kind, FaultKind::Arguments);
    assert_eq!(call.clone().arg(2.0f64).arg(300u32).launch().unwrap_err().kind, FaultKind::Arguments);
    assert_eq!(call.clone().shared(1 << 20).arg(1f32).arg(1).launch().unwrap_err().kind, FaultKind::Limits);
    assert_eq!(
        call.block(129).args([Arg::F32(1.0), Arg::U32(1)]).launch().unwrap_err().kind,
        FaultKind::Limits
    );
    let reading = machine.kernel(&module, "axpy").block(128).arg(dx.read()).arg(dy.read()).arg(1f32).arg(1);
    assert_eq!(reading.launch().unwrap_err().kind, FaultKind::ReadOnly);
}

#[test]
fn variables_are_written_and_read_by_name() {
    let (module, machine) = (table(), Machine::new());
    let known: Vec<_> = module.globals().iter().map(|g| (g.name.as_str(), g.bytes, g.constant)).collect();
    assert_eq!(known, [("table", 16, true), ("beside", 4, false)]);
    let (table, beside) =
        (machine.symbol(&module, "table").unwrap(), machine.symbol(&module, "beside").unwrap());
    assert_eq!(table.read::<f32>().unwrap(), [0.0; 4]);
    table.write(&[0.5f32, 1.5, 2.5, 3.5]).unwrap();
    let index = machine.upload(&[3u32, 0, 7, 1, 4]);
    let out = machine.uninit::<f32>(5);
    let call = machine.kernel(&module, "look_up").block(32).arg(index.read()).arg(out.write()).arg(5);
    call.clone().launch().unwrap();
    assert_eq!(machine.download(out).unwrap(), [3.5, 0.5, 0.0, 1.5, 0.0]);
    assert_eq!(beside.read::<u32>().unwrap(), [2]);
    beside.write(&[10u32]).unwrap();
    call.clone().launch().unwrap();
    assert_eq!(beside.read::<u32>().unwrap(), [12]);
    // Another machine, and another module of the same text, have variables of their own.
    assert_eq!(Machine::new().symbol(&module, "beside").unwrap().read::<u32>().unwrap(), [0]);
    let again = self::table();
    assert_eq!(machine.symbol(&again, "table").unwrap().read::<f32>().unwrap(), [0.0; 4]);
    assert_eq!(machine.symbol(&module, "table").unwrap().read::<u32>().unwrap()[3], 3.5f32.to_bits());
}

#[test]
fn variables_of_other_names_or_sizes_are_refused() {
    let (module, machine) = (table(), Machine::new());
    let fault = machine.symbol(&module, "tables").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Host);
    assert!(fault.detail.ends_with("no variable `tables`; there are: table, beside"), "{fault}");
    let table = machine.symbol(&module, "table").unwrap();
    assert_eq!(table.bytes(), 16);
    assert_eq!(table.write(&[1.0f32; 3]).unwrap_err().kind, FaultKind::Host);
    assert_eq!(table.write(&[1.0f64; 3]).unwrap_err().kind, FaultKind::Host);
    assert_eq!(table.read::<[u8; 3]>().unwrap_err().kind, FaultKind::Host);
    assert_eq!(table.read::<()>().unwrap_err().kind, FaultKind::Host);
    let none = machine.symbol(&axpy(), "x").unwrap_err();
    assert!(none.detail.ends_with("there are: none"), "{none}");
}

/// As the address that `cuModuleGetGlobal` gives.
#[test]
fn the_address_of_a_variable_is_an_argument() {
    let text = ".version 8.4\n.target sm_80\n.address_size 64\n.global .u32 v[2] = {7, 8};
.visible .entry k(.param .u64 p)
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [p];
    ld.global.u32 %r1, [%rd1+4];
    add.u32 %r2, %r1, 1;
    st.global.u32 [%rd1], %r2;
    ret;
}";
    let module = Module::parse("v.ptx", text).unwrap();
    let machine = Machine::new();
    let v = machine.symbol(&module, "v").unwrap();
    machine.kernel(&module, "k").arg(v.arg()).launch().unwrap();
    assert_eq!(v.read::<u32>().unwrap(), [9, 8]);
    // The host has no other way to it than by its name.
    assert_eq!(machine.read(v.address(), &mut [0; 4]).unwrap_err().kind, FaultKind::Host);
}
