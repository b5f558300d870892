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
    folder.fails(&["run", RACE, "sums", "--grid", "1", "--block", "1"], 2, "there are: block_sums");
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

/// Names of C++ are found where they mean one kernel.
#[test]
fn kernels_are_found_by_their_name_in_the_source() {
    let folder = Folder::new("names");
    let head = ".version 8.4\n.target sm_80\n.address_size 64\n";
    let kernels =
        ["_Z3onePf", "_Z5twiceIfEvv", "_Z5twiceIdEvv"].map(|k| format!(".entry {k}() {{ ret; }}\n"));
    folder.put("k.ptx", format!("{head}{}", kernels.concat()));
    let run = |kernel| ["run", "k.ptx", kernel, "--grid", "1", "--block", "1"];
    folder.works(&run("one"));
    folder.works(&run("_Z5twiceIdEvv"));
    folder.fails(&run("twice"), 2, "several kernels `twice`; name one of: _Z5twiceIfEvv, _Z5twiceIdEvv");
    folder.fails(&run("on"), 2, "there are: _Z3onePf, _Z5twiceIfEvv, _Z5twiceIdEvv");
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
