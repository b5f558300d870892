//! What NVIDIA's assembler makes of a kernel: registers, shared memory, spills. It needs no GPU.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use engine::launch::PtxFile;

use crate::sass::{self, Function};

/// The architectures that the report covers, those of A100 and H100.
pub const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

/// What one entry takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
    /// Bytes that a thread stores to and loads from local memory for want of registers.
    pub spills: u32,
    /// Bytes of local memory of a thread.
    pub stack: u32,
}

#[derive(Debug)]
pub struct Ptxas(PathBuf);

impl Ptxas {
    /// The one in the folder `PTXAS_DIR`, or else where `.ci/cuda` puts it; `None` if it is not there.
    pub fn find(root: &Path) -> Option<Self> {
        let folder = match std::env::var_os("PTXAS_DIR") {
            Some(folder) => folder.into(),
            None => root.join("target/cuda/nvidia/cuda_nvcc/bin"),
        };
        Some(Ptxas(folder.join("ptxas"))).filter(|ptxas| ptxas.0.is_file())
    }

    /// The machine code of a PTX text for the H100.
    fn assemble(&self, text: &str, cubin: &Path) -> Result<(), String> {
        let file = cubin.with_extension("ptx");
        std::fs::write(&file, text).map_err(|err| format!("{}: {err}", file.display()))?;
        let mut command = Command::new(&self.0);
        command.args(["-lineinfo", "-arch", "sm_90", "-o"]).arg(cubin).arg(&file);
        let ran = output(&mut command);
        let _ = std::fs::remove_file(&file);
        ran.map(|_| ())
    }

    /// The entries of a PTX text, by name.
    pub fn usage(&self, text: &str, architecture: &str) -> Result<BTreeMap<String, Usage>, String> {
        let file = std::env::temp_dir().join(format!("kernel_report-{}.ptx", std::process::id()));
        std::fs::write(&file, text).map_err(|err| format!("{}: {err}", file.display()))?;
        let mut command = Command::new(&self.0);
        command.args(["-v", "-arch", architecture, "-o", "/dev/null"]).arg(&file);
        let output = command.output().map_err(|err| format!("{}: {err}", self.0.display()));
        let _ = std::fs::remove_file(&file);
        let output = output?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(parse(&said)),
            false => Err(format!("ptxas for {architecture}: {}", said.trim())),
        }
    }
}

/// `ptxas` and `nvdisasm`, and what they made of files so far.
#[derive(Debug)]
pub struct MachineCode {
    ptxas: Ptxas,
    nvdisasm: PathBuf,
    known: Mutex<BTreeMap<&'static str, Arc<Functions>>>,
}

/// The kernels of a file by name.
pub type Functions = BTreeMap<String, Function>;

impl MachineCode {
    /// Both programs where `.ci/cuda` puts them; `None` if one is not there.
    pub fn find(root: &Path) -> Option<Arc<Self>> {
        let nvdisasm = root.join("target/cuda/nvidia/cu13/bin/nvdisasm");
        let ptxas = Ptxas::find(root)?;
        nvdisasm.is_file().then(|| Arc::new(MachineCode { ptxas, nvdisasm, known: Mutex::default() }))
    }

    /// The machine code of a committed file.
    pub fn functions(&self, file: &'static PtxFile) -> Result<Arc<Functions>, String> {
        let mut known = self.known.lock().unwrap();
        if let Some(functions) = known.get(file.name) {
            return Ok(functions.clone());
        }
        let cubin = std::env::temp_dir().join(format!("kernel_report-{}.cubin", std::process::id()));
        let text = self.ptxas.assemble(file.text, &cubin).and_then(|()| {
            output(Command::new(&self.nvdisasm).args(["-gp", "-hex", "-c"]).arg(&cubin))
        });
        let _ = std::fs::remove_file(&cubin);
        let functions = Arc::new(sass::parse(&text.map_err(|err| format!("{}: {err}", file.name))?));
        known.insert(file.name, functions.clone());
        Ok(functions)
    }
}

/// What a command writes.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|err| format!("{program}: {err}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Reads what `ptxas -v` says.
fn parse(said: &str) -> BTreeMap<String, Usage> {
    let mut entries: BTreeMap<String, Usage> = BTreeMap::new();
    let mut name = String::new();
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            name = rest.split('\'').next().unwrap_or(rest).into();
            entries.insert(name.clone(), Usage::default());
        }
        let Some(usage) = entries.get_mut(&name) else { continue };
        usage.registers += number_before(line, " registers");
        usage.shared += number_before(line, " bytes smem");
        usage.stack += number_before(line, " bytes stack frame");
        usage.spills +=
            number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
    }
    entries
}

/// The number in front of a unit, or 0 where the line has none.
fn number_before(line: &str, unit: &str) -> u32 {
    let Some((before, _)) = line.split_once(unit) else { return 0 };
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    digits.parse().unwrap_or(0)
}

#[test]
fn reads_what_ptxas_says() {
    let said = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_80'
ptxas info    : Function properties for a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, 1 barriers, 4096 bytes smem, 8 bytes cumulative stack size, 380 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_80'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 19 registers, 368 bytes cmem[0]";
    let entries = parse(said);
    assert_eq!(entries["a"], Usage { registers: 255, shared: 4096, spills: 16, stack: 8 });
    assert_eq!(entries["b"], Usage { registers: 19, ..Usage::default() });
}
