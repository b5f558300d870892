//! NVRTC, loaded at run time.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;

use cudarc::nvrtc::{result, sys};

use crate::source::Source;

/// The release that the PTX is made with: its ISA, 8.4, loads on every driver from 550 on.
pub const VERSION: &str = "12.4";

const LIBRARY: &str = "libnvrtc.so.12";
const HOW: &str = "run .ci/cuda, which fetches it from PyPI, or set NVRTC_DIR to the folder that holds it";

pub struct Nvrtc(());

impl Nvrtc {
    /// From the folder `NVRTC_DIR`, from where `.ci/cuda` puts it, or where the system finds libraries.
    pub fn find(root: &Path) -> Result<Self, String> {
        let folder = match std::env::var_os("NVRTC_DIR") {
            Some(folder) => folder.into(),
            None => root.join("target/cuda/nvidia/cuda_nvrtc/lib"),
        };
        // Stays loaded: a library of this name is then found without its path.
        // SAFETY: NVRTC's initialisation has no conditions.
        if let Ok(library) = unsafe { libloading::Library::new(folder.join(LIBRARY)) } {
            std::mem::forget(library);
        }
        // SAFETY: as above.
        if !unsafe { sys::is_culib_present() } {
            return Err(format!("no NVRTC ({LIBRARY}): {HOW}"));
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two integers to write to.
        unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result().map_err(|err| err.to_string())?;
        match format!("{major}.{minor}") {
            found if found == VERSION => Ok(Nvrtc(())),
            found => Err(format!("NVRTC {found} found, {VERSION} needed: {HOW}")),
        }
    }

    /// The PTX of a source, with the names of its files relative to the workspace.
    pub fn compile(&self, source: &Source, flags: &[&str]) -> Result<String, String> {
        let name = source.name.to_string_lossy();
        let c = |text: &str| CString::new(text).map_err(|_| format!("{name}: holds a zero byte"));
        let (text, c_name) = (c(&source.text)?, c(&name)?);
        let texts = source.headers.iter().map(|h| c(&h.text)).collect::<Result<Vec<_>, _>>()?;
        let names = source.headers.iter().map(|h| c(&h.spelling)).collect::<Result<Vec<_>, _>>()?;
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let (text_pointers, name_pointers) = (pointers(&texts), pointers(&names));
        let mut program = std::ptr::null_mut();
        // SAFETY: all strings outlive the program; both arrays have as many entries as is said.
        let created = unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                text.as_ptr(),
                c_name.as_ptr(),
                texts.len() as i32,
                text_pointers.as_ptr(),
                name_pointers.as_ptr(),
            )
        };
        created.result().map_err(|err| format!("{name}: {err}"))?;
        // SAFETY: the program was just created and is destroyed below, once.
        let (compiled, log, ptx) = unsafe {
            let compiled = result::compile_program(program, flags);
            (compiled, result::get_program_log(program), result::get_ptx(program))
        };
        // SAFETY: as above.
        unsafe { result::destroy_program(program) }.map_err(|err| format!("{name}: {err}"))?;
        let log = log.map(|log| string(&log)).unwrap_or_default();
        if compiled.is_err() || !log.trim().is_empty() {
            return Err(format!("{name} does not compile without complaint:\n{log}"));
        }
        let ptx = string(&ptx.map_err(|err| format!("{name}: {err}"))?);
        relative(&without_calls(&ptx), source)
    }
}

fn string(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().map(|&c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Leaves file and line of each `.loc` that has instructions of its own. Columns, and the calls that were inlined there,
/// take half of a large kernel's text, and nothing here reads them.
fn without_calls(ptx: &str) -> String {
    let mut text = String::with_capacity(ptx.len());
    let (mut written, mut here) = ("", "");
    // The section that holds the names of the calls is the last part.
    for line in ptx.lines().take_while(|line| line.trim() != ".section\t.debug_str") {
        if line.trim_start().starts_with(".loc") {
            let place = line.split(',').next().unwrap_or(line);
            here = place.rsplit_once(' ').map_or(place, |(place, _column)| place);
            continue;
        }
        if here != written {
            text.extend([here, " 0\n"]);
            written = here;
        }
        text.extend([line, "\n"]);
        if line == "}" {
            (written, here) = ("", "");
        }
    }
    text
}

/// NVRTC puts the current folder before every name in a `.file` line.
fn relative(ptx: &str, source: &Source) -> Result<String, String> {
    let here = std::env::current_dir().map_err(|err| err.to_string())?;
    let mut text = ptx.to_string();
    let headers = source.headers.iter().map(|header| (Path::new(&header.spelling), &header.name));
    for (spelling, name) in headers.chain([(source.name.as_path(), &source.name)]) {
        let found = format!("\"{}\"", here.join(spelling).display());
        text = text.replace(&found, &format!("\"{}\"", name.display()));
    }
    Ok(text)
}

#[test]
fn files_and_lines_stay() {
    let before = "{\n\t.loc\t1 7 3\n\t.loc\t2 9 5, function_name $L0, inlined_at 1 7 3\nadd;\n\t.loc\t2 9 8\nmul;\n}\n\
                  {\n\t.loc\t2 9 5\nret;\n}\n\t.file\t1 \"a.cu\"\n\t.section\t.debug_str\n\t{\n\t}\n";
    let after = "{\n\t.loc\t2 9 0\nadd;\nmul;\n}\n{\n\t.loc\t2 9 0\nret;\n}\n\t.file\t1 \"a.cu\"\n";
    assert_eq!(without_calls(before), after);
}
