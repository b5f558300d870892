//! Programs around the forms, which run and are compared.

use std::collections::BTreeMap;
use std::fmt::Write;

use ptx_emulator::{Access, Arg, Launch, Machine, Module, Options, Swizzle, TensorMap};

use crate::table::{Form, Inputs, Kind, Table};

/// The number of kernels in one file.
const KERNELS: usize = 64;
/// Bytes of the scratch memory that a program may use.
const SCRATCH: usize = 1 << 16;

/// What the programs of the table may name: 64 bytes of each space, of which byte `i` is `37 i + 129`.
fn head() -> String {
    let bytes: Vec<String> = (0..64u32).map(|i| ((37 * i + 129) & 255).to_string()).collect();
    let bytes = bytes.join(", ");
    format!(
        ".version 8.4\n.target sm_90\n.address_size 64\n.global .align 16 .b8 globals[64] = {{{bytes}}};
.const .align 16 .b8 constants[64] = {{{bytes}}};
.func f1() {{ ret; }}
.func (.param .align 16 .b8 result[16]) same(.param .align 16 .b8 x[16]) {{
.reg .b64 %x; ld.param.b64 %x, [x]; st.param.b64 [result], %x; ld.param.b64 %x, [x+8]; st.param.b64 [result+8], %x; ret;
}}
.func (.param .b32 result) triple(.param .b32 x) {{
.reg .b32 %x; ld.param.b32 %x, [x]; mad.lo.u32 %x, %x, 3, 1; st.param.b32 [result], %x; ret;
}}
.func (.param .b32 result) seventh(.param .b32 x) {{
.reg .b32 %x; ld.param.b32 %x, [x]; add.u32 %x, %x, 7; st.param.b32 [result], %x; ret;
}}\n"
    )
}

fn register(kind: Kind) -> String {
    match kind {
        Kind::Pred => ".pred".into(),
        kind => format!(".b{}", kind.bits()),
    }
}

/// The kernel of a form. Each thread has a row: its inputs are in `%a0 ..`, its results in `%d0 ..`. The body may also use `%row`, the
/// address `%mem` of scratch memory, the parameters `word`, `double`, `numbers` and `maps`, and the
/// registers `%t` and `%zero`, which are used after the body alone.
pub fn kernel(name: &str, form: &Form, inputs: &[Kind]) -> String {
    let mut text = String::new();
    let out = &mut text;
    let stride = |n: usize| 8 * n.max(1);
    let _ = writeln!(
        out,
        ".visible .entry {name}(.param .u64 in, .param .u64 out, .param .u64 mem, .param .u32 word, .param .u64 double, .param .u64 numbers, .param .u64 maps)\n{{
.reg .b64 %in, %out, %mem; .reg .b32 %row, %t; .reg .pred %zero;
mov.u32 %row, %tid.x; ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; ld.param.u64 %mem, [mem];
mad.wide.u32 %in, %row, {}, %in; mad.wide.u32 %out, %row, {}, %out;",
        stride(inputs.len()),
        stride(form.outputs.len()),
    );
    for (k, kind) in inputs.iter().enumerate() {
        let _ = match kind {
            Kind::Pred => writeln!(
                out,
                ".reg .pred %a{k}; ld.global.u32 %t, [%in+{}]; setp.ne.u32 %a{k}, %t, 0;",
                8 * k
            ),
            kind => writeln!(
                out,
                ".reg {} %a{k}; ld.global.b{} %a{k}, [%in+{}];",
                register(*kind),
                kind.bits(),
                8 * k
            ),
        };
    }
    for (k, kind) in form.outputs.iter().enumerate() {
        let _ = writeln!(out, ".reg {} %d{k};", register(*kind));
    }
    let _ = writeln!(out, "{}", form.body);
    for (k, kind) in form.outputs.iter().enumerate() {
        let _ = match kind {
            Kind::Pred => writeln!(out, "selp.u32 %t, 1, 0, %d{k}; st.global.u32 [%out+{}], %t;", 8 * k),
            kind => writeln!(out, "st.global.b{} [%out+{}], %d{k};", kind.bits(), 8 * k),
        };
    }
    out.push_str("ret;\n}\n");
    text
}

/// A file with the kernels of some forms, called `k0 ..`.
pub fn file(table: &Table, forms: &[Form]) -> String {
    let mut text = head();
    for (k, form) in forms.iter().enumerate() {
        text.push_str(&kernel(&format!("k{k}"), form, &table.inputs[&form.inputs].kinds));
    }
    text
}

fn upload(machine: &Machine, rows: &[Vec<u64>]) -> (u64, usize) {
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|cell| cell.to_le_bytes()).collect();
    let at = machine.alloc(bytes.len());
    machine.write(at, &bytes).expect("the buffer has this size");
    (at, bytes.len())
}

/// Small whole numbers in the types of matrices: 4096 bytes of each, of the same values.
fn numbers() -> Vec<u8> {
    let value = |i: u32| i64::from(i.wrapping_mul(2_654_435_761) % 7) - 3;
    let large =
        |i: u32| if i % 2 == 1 { 0x7FFF_FFFF - i64::from(i % 16) } else { i64::from(i % 16) - (1 << 31) };
    let mut out = Vec::new();
    (0..2048).for_each(|i| out.extend(half::f16::from_f32(value(i) as f32).to_le_bytes()));
    (0..2048).for_each(|i| out.extend(half::bf16::from_f32(value(i) as f32).to_le_bytes()));
    (0..1024).for_each(|i| out.extend((value(i) as f32).to_le_bytes()));
    (0..512).for_each(|i| out.extend((value(i) as f64).to_le_bytes()));
    // Sums with some of the words leave the range of their type.
    let word = |i: u32| if i.is_multiple_of(5) { large(i) } else { value(i) };
    (0..1024).for_each(|i| out.extend((word(i) as i32).to_le_bytes()));
    (0..4096).for_each(|i| out.push(value(i) as u8));
    out
}

/// Descriptions of tensors of words at `at`, of one to five dimensions.
fn maps(at: u64) -> Vec<u8> {
    let (sizes, box_sizes) = ([20, 5, 3, 3, 2], [8, 3, 2, 2, 2]);
    let strides = [96, 480, 1440, 4320];
    let map = |n: usize| TensorMap {
        address: at,
        element: 4,
        sizes: sizes[..n].to_vec(),
        strides: strides[..n - 1].to_vec(),
        box_sizes: box_sizes[..n].to_vec(),
        swizzle: Swizzle::None,
    };
    (1..=5).flat_map(|n| map(n).bytes().expect("a tensor within the bounds")).collect()
}

/// Copies bytes to a new buffer, which a kernel may read.
fn given(machine: &Machine, bytes: &[u8]) -> Arg {
    let at = machine.alloc(bytes.len());
    machine.write(at, bytes).expect("the buffer has this size");
    Arg::Buffer { at, bytes: bytes.len(), access: Access::Read }
}

/// Runs one kernel and compares its results. The error names the first row that differs.
fn compare(
    machine: &Machine,
    module: &Module,
    name: &str,
    form: &Form,
    inputs: &Inputs,
) -> Result<usize, String> {
    let (input, input_bytes) = upload(machine, &inputs.rows);
    let rows = form.rows.len();
    let output = vec![0; 8 * rows * form.outputs.len()];
    let at = machine.alloc(output.len());
    machine.write(at, &output).expect("the buffer has this size");
    let mem = machine.alloc(SCRATCH);
    machine.write(mem, &vec![0; SCRATCH]).expect("the buffer has this size");
    let args = [
        Arg::Buffer { at: input, bytes: input_bytes, access: Access::Read },
        Arg::Buffer { at, bytes: output.len(), access: Access::ReadWrite },
        Arg::Buffer { at: mem, bytes: SCRATCH, access: Access::ReadWrite },
        Arg::U32(0xFEDC_BA98),
        Arg::U64(0x8899_AABB_CCDD_EEFF),
        given(machine, &numbers()),
        given(machine, &maps(mem)),
    ];
    let launch = Launch { grid: [1, 1, 1], block: [rows as u32, 1, 1], shared: 0 };
    let launched = machine.launch(module, name, launch, &args).map_err(|fault| fault.to_string());
    let mut output = output;
    machine.read(at, &mut output).expect("it was written");
    for arg in &args {
        if let Arg::Buffer { at, .. } = arg {
            machine.free(*at);
        }
    }
    launched?;
    let mut cells = output.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes")));
    for (row, wants) in form.rows.iter().enumerate() {
        for (k, (want, kind)) in wants.iter().zip(&form.outputs).enumerate() {
            let got = cells.next().expect("as many as asked for");
            if !want.accepts(got, *kind, form.tolerance) {
                let row_inputs: Vec<_> = inputs.rows[row].iter().map(|v| format!("{v:#x}")).collect();
                return Err(format!(
                    "row {row} ({}): %d{k} is {got:#x}, want {want:x?}",
                    row_inputs.join(", ")
                ));
            }
        }
    }
    Ok(rows * form.outputs.len())
}

/// Runs every program of the table. Returns the number of results that were compared, and what is wrong.
pub fn all(table: &Table) -> (usize, Vec<String>) {
    let machine = Machine::with(Options { threads: 1, ..Options::default() });
    let (mut compared, mut wrong) = (0, Vec::new());
    for forms in table.forms.chunks(KERNELS) {
        // A refused form must not hide the others.
        let parsed = Module::parse_whole("forms.ptx", &file(table, forms));
        for (k, form) in forms.iter().enumerate() {
            let inputs = &table.inputs[&form.inputs];
            let result = match &parsed {
                Ok(module) => compare(&machine, module, &format!("k{k}"), form, inputs),
                Err(_) => Module::parse_whole("forms.ptx", &file(table, std::slice::from_ref(form)))
                    .map_err(|e| e.to_string())
                    .and_then(|module| compare(&machine, &module, "k0", form, inputs)),
            };
            match result {
                Ok(results) => compared += results,
                Err(error) => wrong.push(format!("`{}`: {error}", form.body)),
            }
        }
    }
    (compared, wrong)
}

/// The names of the forms of the table, with the programs that each has.
pub fn programs(table: &Table) -> BTreeMap<&str, usize> {
    let mut count = BTreeMap::new();
    for opcode in table.forms.iter().flat_map(Form::opcodes) {
        *count.entry(opcode).or_default() += 1;
    }
    count
}
