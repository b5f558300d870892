//! The program `ptx-emulator`: what it writes, what it says, and its exit status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const AXPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/axpy.ptx");
const RACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/race.ptx");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/table.ptx");

/// An empty folder of a test, in which the program runs.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("command_{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    fn get(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The names of all files, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn run(&self, args: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_ptx-emulator");
        Command::new(program).args(args).current_dir(&self.0).output().unwrap()
    }

    /// Runs with success, and returns what was printed.
    #[track_caller]
    fn works(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs with this exit status and one line, which has this part, and changes no file.
    #[track_caller]
    fn fails(&self, args: &[&str], status: i32, part: &str) {
        let before = self.names();
        let output = self.run(args);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {line}");
        assert!(
            line.contains(part) && line.lines().count() == 1 && !line.contains('\x1b'),
            "{args:?}: {line}"
        );
        assert!(output.stdout.is_empty(), "{args:?}");
        assert_eq!(self.names(), before, "{args:?}");
    }
}

/// A file as `numpy.save` writes it.
fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut out = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    out.extend(format!("{dictionary:<117}\n").bytes());
    out.extend(elements);
    out
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A folder with `x.npy` and `y.npy` of a hundred elements.
fn vectors(name: &str) -> Folder {
    let folder = Folder::new(name);
    let x: Vec<f32> = (0..100).map(|i| i as f32).collect();
    folder.put("x.npy", npy("<f4", "(100,)", &bytes(&x)));
    folder.put("y.npy", npy("<f4", "(25, 4)", &bytes(&[1.0; 100])));
    folder
}

/// `y = 0.5 x + 1` of a hundred elements.
fn sums() -> Vec<u8> {
    bytes(&(0..100).map(|i| 0.5 * i as f32 + 1.0).collect::<Vec<_>>())
}

fn axpy<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["run", AXPY, "axpy", "--grid", "1", "--block", "128"];
    args.iter().for_each(|arg| all.extend(["--arg", arg]));
    all
}

#[test]
fn arrays_go_in_and_out() {
    let folder = vectors("arrays");
    folder.put("z.npy", "an old file");
    let printed = folder.works(&axpy(&["in:x.npy", "inout:y.npy:z.npy", "f32:0.5", "u32:100"]));
    assert_eq!(printed, "");
    assert_eq!(folder.get("z.npy"), npy("<f4", "(25, 4)", &sums()));
    // The same in plain files, with a result over its input.
    folder.put("x.bin", &folder.get("x.npy")[128..]);
    folder.put("y.bin", bytes(&[1.0; 100]));
    folder.works(&axpy(&["in:x.bin", "inout:y.bin:y.bin", "f32:0.5", "i32:100"]));
    assert_eq!(folder.get("y.bin"), sums());
    // A result that nobody wants, and one from zeros.
    folder.works(&axpy(&["in:x.bin", "inout:y.npy", "f32:0.5", "u32:100"]));
    folder.works(&axpy(&["in:x.npy", "zeros:w.npy:f32:10x10", "f32:1", "u32:100"]));
    assert_eq!(folder.get("w.npy"), npy("<f4", "(10, 10)", &folder.get("x.bin")));
    folder.works(&axpy(&["null", "null", "bytes:0000003f", "u32:0"]));
    assert_eq!(folder.names(), ["w.npy", "x.bin", "x.npy", "y.bin", "y.npy", "z.npy"]);
}

#[test]
fn variables_go_in_and_out() {
    let folder = Folder::new("variables");
    folder.put("table.npy", npy("<f4", "(4,)", &bytes(&[0.5, 1.5, 2.5, 3.5])));
    folder.put("index.npy", npy("<u4", "(3,)", &[3, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0]));
    let run = |more: &[&'static str]| {
        let mut all = vec!["run", TABLE, "look_up", "--grid", "1", "--block", "4", "--arg", "in:index.npy"];
        all.extend(["--arg", "out:out.bin:f32:3", "--arg", "u32:3"]);
        all.extend(more);
        all
    };
    folder.works(&run(&[
        "--set",
        "table=table.npy",
        "--get",
        "beside=beside.npy:u32",
        "--get",
        "table=t.bin",
    ]));
    assert_eq!(folder.get("out.bin"), bytes(&[3.5, 0.0, 1.5]));
    assert_eq!(folder.get("beside.npy"), npy("<u4", "(1,)", &[1, 0, 0, 0]));
    assert_eq!(folder.get("t.bin"), bytes(&[0.5, 1.5, 2.5, 3.5]));
    folder.works(&run(&["--get", "table=t.npy:u16:2x4"]));
    assert_eq!(folder.get("t.npy"), npy("<u2", "(2, 4)", &[0; 16]));
    folder.fails(&run(&["--set", "tables=table.npy"]), 2, "there are: table, beside");
    folder.fails(&run(&["--set", "beside=table.npy"]), 2, "has 16 bytes of elements, the variable 4");
    folder.fails(&run(&["--set", "table"]), 2, "--set table: it is NAME=FILE");
    folder.fails(&run(&["--get", "table=new.npy:f64:3"]), 2, "the variable has 16 bytes");
    folder.fails(&run(&["--get", "beside=new.npy:f64"]), 2, "the variable has 4 bytes");
    folder.fails(&run(&["--get", "table=new.npy"]), 2, "it is NAME=FILE.npy:TYPE");
    folder.fails(&run(&["--get", "table=out.bin"]), 2, "out.bin: two outputs go to this file");
}

#[test]
fn a_fault_of_the_kernel_is_one_line_and_leaves_no_result() {
    let folder = vectors("fault");
    let run = |y, n| axpy(&["in:x.npy", y, "f32:0.5", n]);
    folder.fails(&run("inout:y.npy:z.npy", "u32:101"), 1, "out of bounds in axpy, thread (100, 0, 0)");
    folder.fails(&run("out:z.npy:f32:100", "u32:100"), 1, "uninitialised read");
    folder.fails(&run("out:z.npy:f32:100", "u32:0"), 1, "--arg out:z.npy:f32:100: uninitialised read");
    let race = ["run", RACE, "block_sums", "--grid", "4", "--block", "256", "--arg"];
    let race = [&race[..], &["zeros:x.bin:f32:1024", "--arg", "out:z.npy:f32:4"]].concat();
    folder.fails(&race, 1, "data race in block_sums");
    folder.works(&[&race[..], &["--no-checks", "--seed", "3", "--threads", "2"]].concat());
    assert_eq!(folder.get("z.npy"), npy("<f4", "(4,)", &[0; 16]));
    let endless = ".version 8.4\n.target sm_80\n.address_size 64\n.entry k() { L: bra L; }\n";
    folder.put("endless.ptx", endless);
    let endless = ["run", "endless.ptx", "k", "--grid", "1", "--block", "1", "--max-instructions", "1000"];
    folder.fails(&endless, 1, "endless loop in k");
}

#[test]
fn each_check_has_its_switch() {
    let folder = Folder::new("switches");
    folder.put("x.bin", [0; 4096]);
    let race = ["run", RACE, "block_sums", "--grid", "4", "--block", "256", "--arg", "in:x.bin", "--arg"];
    let with = |more: &[&'static str]| [&race[..], &["out:z.bin:f32:4"], more].concat();
    folder.fails(&with(&["--no-check", "global-races", "--no-check", "masks"]), 1, "data race in block_sums");
    folder.works(&with(&["--no-check", "shared-races"]));
    assert_eq!(folder.get("z.bin"), [0; 16]);
    // Two steps of the loop race, and each line is told.
    let output = folder.run(&with(&["--collect", "9"]));
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{lines}");
    assert!((2..=9).contains(&lines.lines().count()), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("data race in block_sums, ")), "{lines}");
    let one = folder.run(&with(&["--collect", "1"]));
    assert_eq!(String::from_utf8(one.stderr).unwrap().lines().count(), 1);
    assert_eq!(folder.run(&with(&["--no-check", "races"])).status.code(), Some(2));

    let head = ".version 8.4\n.target sm_80\n.address_size 64\n";
    let body =
        ".reg .pred %p1; .reg .b32 %r1; mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16; @%p1 ret; bar.sync 0;";
    folder.put("early.ptx", format!("{head}.entry k() {{ {body} ret; }}\n"));
    let early = ["run", "early.ptx", "k", "--grid", "1", "--block", "64"];
    folder.works(&early);
    folder.fails(&[&early[..], &["--check", "early-exits"]].concat(), 1, "exit before a barrier in k");
}

#[test]
fn arguments_are_compared_with_the_parameters() {
    let folder = vectors("parameters");
    folder.fails(&axpy(&["in:x.npy"]), 2, "axpy has 4 parameters, and there are 1 --arg");
    let wide = axpy(&["in:x.npy", "inout:y.npy", "f64:0.5", "u32:1"]);
    folder.fails(&wide, 2, "--arg f64:0.5: it has 8 bytes, and parameter 2 of axpy (from 0) has 4");
    folder.fails(
        &axpy(&["in:x.npy", "inout:y.npy", "in:x.npy", "u32:1"]),
        2,
        "--arg in:x.npy: it has 8 bytes",
    );
    let mut large = axpy(&["in:x.npy", "inout:y.npy", "f32:1", "u32:1"]);
    large[6] = "129";
    folder.fails(&large, 2, "launch limit in axpy");
    folder.fails(
        &["run", RACE, "sums", "--grid", "1", "--block", "1"],
        2,
        "has no kernel of this name, but block_sums",
    );
}

#[test]
fn wrong_words_are_refused() {
    let folder = vectors("words");
    for (arg, part) in [
        ("", "it is no argument"),
        ("x.npy", "it is no argument"),
        ("in", "it is in:FILE, "),
        ("in:a:b", "it is in:FILE, "),
        ("out:z.npy:f32", "it is in:FILE, "),
        ("in:x.npz", "ends in .npy or .bin"),
        ("in:none.npy", "none.npy: "),
        ("out:z.npy:float:1", "`float` is no type; there are: bool u8"),
        ("out:z.npy:bf16:1", "NumPy has no bf16"),
        ("out:z.npy:f32:1x", "is no shape"),
        ("out:z.npy:f32:4611686018427387904x4611686018427387904", "more bytes"),
        ("out:z.npy:f32:2684354560", "the arrays have more than 256 MiB; --max-memory"),
        ("zeros:z.npy:u8:268435457", "the arrays have more than 256 MiB"),
        ("scratch:u8:268435457", "the arrays have more than 256 MiB"),
        ("out:no/z.npy:f32:1", "the folder no is not there"),
        ("inout:x.bin:z.npy", "a .bin file does not tell"),
        ("u64:-1", "is no whole number from 0"),
        ("bytes:123", "pairs of hexadecimal digits"),
        ("bytes:+1", "pairs of hexadecimal digits"),
    ] {
        folder.fails(&axpy(&[arg, "null", "f32:1", "u32:0"]), 2, part);
    }
    let huge = axpy(&["out:z.npy:u8:1152921504606846976", "null", "f32:1", "u32:0"]);
    let huge = [&huge[..], &["--max-memory", "18446744073709551615"]].concat();
    folder.fails(&huge, 2, "there is no memory for its");
    for wrong in [&["run"][..], &["run", AXPY, "axpy", "--grid", "1,2,3,4", "--block", "1"], &["walk"]] {
        let output = folder.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn damaged_files_are_named() {
    let folder = vectors("damaged");
    folder.put("short.npy", npy("<f4", "(100,)", &[0; 399]));
    folder.put("long.npy", npy("<f4", "(100,)", &[0; 401]));
    folder.put("none.npy", "");
    folder.put("huge.npy", npy("<f8", "(1342177280,)", &[0; 8]));
    folder.put("broken.ptx", ".version 8.4\n.target sm_80\nnonsense\n");
    folder.put("binary.ptx", [0x7f, b'E', b'L', b'F', 0xff, 0xfe]);
    for (file, part) in [
        ("short.npy", "names 400 bytes of elements, and there are 399"),
        ("long.npy", "names 400 bytes of elements, and there are more"),
        ("none.npy", "it is no .npy file"),
        ("huge.npy", "huge.npy: with its 10737418240 bytes the arrays have more than 256 MiB"),
    ] {
        folder.fails(&axpy(&[&format!("in:{file}"), "null", "f32:1", "u32:0"]), 2, part);
    }
    folder.fails(&["list", "broken.ptx"], 2, "broken.ptx:3: ");
    folder.fails(&["list", "binary.ptx"], 2, "it is no text; PTX is what");
    folder.fails(&["list", "none.ptx"], 2, "none.ptx: ");
    folder.fails(&["list", "."], 2, ".: ");
    folder.fails(&["list", "a\n\x1b[2Jb.ptx"], 2, "a\\n\\u{1b}[2Jb.ptx");
    // NVRTC counts the zero at the end of its text.
    folder.put("zero.ptx", [&fs::read(AXPY).unwrap()[..], &[0]].concat());
    folder.works(&["list", "zero.ptx"]);
}

#[test]
#[cfg(unix)]
fn outputs_replace_nothing_but_files() {
    let folder = vectors("targets");
    folder.put("kept.npy", "kept");
    std::os::unix::fs::symlink("kept.npy", folder.0.join("link.npy")).unwrap();
    fs::create_dir(folder.0.join("folder.npy")).unwrap();
    for target in ["link.npy", "folder.npy"] {
        let target = format!("inout:y.npy:{target}");
        folder.fails(&axpy(&["in:x.npy", &target, "f32:1", "u32:100"]), 2, "is no regular file");
    }
    folder.fails(&axpy(&["in:x.npy", "inout:y.npy:./kept.npy", "f32:1", "u32:101"]), 1, "out of bounds");
    assert_eq!(folder.get("kept.npy"), b"kept");
    let twice = axpy(&["inout:x.npy:kept.npy", "inout:y.npy:./kept.npy", "f32:1", "u32:100"]);
    folder.fails(&twice, 2, "two outputs go to this file");
}

/// A reader of stdout may go, and a full disk is told.
#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_printed_is_told() {
    let program = env!("CARGO_BIN_EXE_ptx-emulator");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(program).args(["list", AXPY]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: stdout: "), "{output:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(program).args(["list", AXPY]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn kernels_and_variables_are_listed() {
    let folder = Folder::new("list");
    assert_eq!(
        folder.works(&["list", AXPY]),
        "kernel axpy: parameters of 8, 8, 4, 4 bytes; blocks of up to 128 x 1 x 1 threads\n"
    );
    assert_eq!(
        folder.works(&["list", TABLE]),
        "kernel look_up: parameters of 8, 8, 4 bytes\nvariable table: 16 bytes of .const memory\n\
         variable beside: 4 bytes of .global memory\n"
    );
    let race = folder.works(&["list", RACE]);
    assert!(race.ends_with("256 x 1 x 1 threads; 1024 bytes of static shared memory\n"), "{race}");
}

/// What kernels print goes to stdout, before a fault as well.
#[test]
fn printed_text_is_printed() {
    let folder = Folder::new("printed");
    let text = ".version 8.4\n.target sm_80\n.address_size 64
.extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);
.global .b8 format[4] = {104, 105, 10, 0};
.entry k(.param .u32 stop)
{
    .reg .pred %p1; .reg .b32 %r<9>; .reg .b64 %rd<9>;
    mov.u64 %rd1, format;
    cvta.global.u64 %rd1, %rd1;
    { .param .b64 a; .param .b64 b; .param .b32 v; st.param.b64 [a], %rd1; st.param.b64 [b], 0;
    call.uni (v), vprintf, (a, b); ld.param.b32 %r1, [v]; }
    ld.param.u32 %r2, [stop];
    setp.ne.u32 %p1, %r2, 0;
    @%p1 trap;
    ret;
}";
    folder.put("k.ptx", text);
    let run = |stop| ["run", "k.ptx", "k", "--grid", "1", "--block", "2", "--arg", stop];
    assert_eq!(folder.works(&run("u32:0")), "hi\nhi\n");
    let output = folder.run(&run("u32:1"));
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"hi\nhi\n"[..]), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("trap in k"));
}

/// One kernel that the emulator does not have leaves the others of its file.
#[test]
fn refused_kernels_are_named() {
    let folder = Folder::new("refused");
    let head = ".version 8.4\n.target sm_80\n.address_size 64\n";
    let odd = ".entry odd() { .reg .b32 %r<9>;\nfoo.b32 %r1, %r2;\nret; }\n";
    folder.put("k.ptx", format!("{head}.entry good() {{ ret; }}\n{odd}"));
    let run = |kernel| ["run", "k.ptx", kernel, "--grid", "1", "--block", "1"];
    folder.works(&run("good"));
    folder.fails(&run("odd"), 2, "k.ptx:6: ");
    let list = folder.works(&["list", "k.ptx"]);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines[0], "kernel good: parameters none");
    assert!(lines[1].starts_with("kernel odd: parameters none; cannot run: k.ptx:6: "), "{list}");
}

/// A kernel that adds a byte, half a word and the parts of a struct.
#[test]
fn values_have_any_size() {
    let folder = Folder::new("values");
    let text = ".version 8.4\n.target sm_80\n.address_size 64
.entry k(.param .u64 out, .param .u8 a, .param .s16 b, .param .align 4 .b8 s[12])
{
    .reg .b32 %r<9>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [out];
    ld.param.u8 %r1, [a];
    ld.param.s16 %r2, [b];
    ld.param.u32 %r3, [s];
    ld.param.u32 %r4, [s+8];
    add.s32 %r5, %r1, %r2;
    add.s32 %r5, %r5, %r3;
    add.s32 %r5, %r5, %r4;
    st.global.u32 [%rd1], %r5;
    ret;
}";
    folder.put("k.ptx", text);
    let mut args = vec!["run", "k.ptx", "k", "--grid", "1", "--block", "1", "--arg", "out:sum.bin:i32:1"];
    args.extend(["--arg", "u8:200", "--arg", "i16:-1000", "--arg", "bytes:0100000000000000e8030000"]);
    folder.works(&args);
    assert_eq!(folder.get("sum.bin"), 201i32.to_le_bytes());
    *args.last_mut().unwrap() = "bytes:01000000";
    folder.fails(&args, 2, "it has 4 bytes, and parameter 3 of k (from 0) has 12");
}

/// Names of C++ are found where they mean one kernel.
#[test]
fn kernels_are_found_by_their_name_in_the_source() {
    let folder = Folder::new("names");
    let head = ".version 8.4\n.target sm_80\n.address_size 64\n";
    let kernels = ["_Z3onePf", "_Z5twiceIfEvv", "_Z5twiceIdEvv", "_Z4pairPf", "_Z4pairPd", "_Z4onlyIiEvv"]
        .map(|k| format!(".entry {k}() {{ ret; }}\n"));
    folder.put("k.ptx", format!("{head}{}", kernels.concat()));
    let run = |kernel| ["run", "k.ptx", kernel, "--grid", "1", "--block", "1"];
    folder.works(&run("one"));
    folder.works(&run("_Z5twiceIdEvv"));
    folder.works(&run("twice<float>()"));
    folder.works(&run("only"));
    folder.works(&run("only<int>"));
    folder.fails(
        &run("only<"),
        2,
        "no kernel of this name, but one(float*), twice<float>(), twice<double>(), ",
    );
    folder.fails(&run("twice"), 2, "this name means several kernels: twice<float>(), twice<double>()");
    folder.fails(&run("pair"), 2, "this name means several kernels: pair(float*), pair(double*)");
    assert!(folder.works(&["list", "k.ptx"]).starts_with("kernel _Z3onePf, one(float*): parameters none\n"));
}

#[test]
fn counts_are_printed() {
    let folder = vectors("counts");
    let run = |style| [&axpy(&["in:x.npy", "inout:y.npy", "f32:1", "u32:100"])[..], &[style]].concat();
    let text = folder.works(&run("--meter"));
    assert!(text.starts_with("1 blocks, 4 warps, 128 threads, 0 barriers, 300 checks\n"), "{text}");
    let json = folder.works(&run("--meter=json"));
    assert!(json.starts_with("{\"launches\":1,\"blocks\":1,\"warps\":4,\"threads\":128,"), "{json}");
    assert!(json.contains("\"Fma\":{\"warps\":4,\"threads\":100,\"partial\":1}"), "{json}");
    assert!(json.contains("\"source\":\"axpy.cu:4\",\"opcode\":\"fma.rn.f32\",\"warps\":4"), "{json}");
    assert!(json.ends_with("]}\n") && json.lines().count() == 1);
    assert_eq!(folder.run(&run("--meter=xml")).status.code(), Some(2));
}
