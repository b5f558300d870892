//! What `--arg`, `--set` and `--get` say.

use crate::element::{Element, array_bytes, shape};
use crate::files::Format;
use crate::npy::Header;
use crate::{Failure, wrong};

/// An argument of the kernel.
#[derive(Debug, Clone)]
pub enum Given {
    /// The bytes of a number or of a struct.
    Value(Vec<u8>),
    /// A pointer to memory.
    Memory(Memory),
}

/// Memory for the kernel.
#[derive(Debug, Clone)]
pub struct Memory {
    pub start: Start,
    /// The kernel does not write it.
    pub constant: bool,
    /// Where the memory goes after the launch.
    pub result: Option<Target>,
}

/// What memory holds before the launch.
#[derive(Debug, Clone)]
pub enum Start {
    /// The elements of a file.
    File(String),
    /// This many bytes that count as never written.
    Unwritten(u64),
    /// This many zeros.
    Zeros(u64),
}

/// A file for a result.
#[derive(Debug, Clone)]
pub struct Target {
    pub path: String,
    /// The header of a `.npy` file, where it is not that of the file that the memory came from.
    pub header: Option<Header>,
}

impl Given {
    /// The bytes of the parameter.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Value(bytes) => bytes.len() as u64,
            Self::Memory(_) => 8,
        }
    }

    /// Where it goes after the launch.
    pub fn result(&self) -> Option<&Target> {
        match self {
            Self::Value(_) => None,
            Self::Memory(memory) => memory.result.as_ref(),
        }
    }

    /// Reads what stands behind `--arg`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |message: String| Failure::Use(format!("--arg {text}: {message}"));
        let fields: Vec<&str> = text.split(':').collect();
        let memory = |start, constant, result| Ok(Self::Memory(Memory { start, constant, result }));
        match fields[..] {
            ["null"] => Ok(Self::Value(vec![0; 8])),
            ["in", path] => {
                Format::of(path)?;
                memory(Start::File(path.into()), true, None)
            }
            ["inout", path] => {
                Format::of(path)?;
                memory(Start::File(path.into()), false, None)
            }
            ["inout", path, result] => {
                if (Format::of(path)?, Format::of(result)?) == (Format::Bin, Format::Npy) {
                    return Err(bad("a .bin file does not tell type and shape, so its result is a .bin file too".into()));
                }
                memory(Start::File(path.into()), false, Some(Target { path: result.into(), header: None }))
            }
            [kind @ ("out" | "zeros"), path, ty, lengths] => {
                let (element, shape) = (Element::named(ty).map_err(bad)?, shape(lengths).map_err(bad)?);
                let bytes = array_bytes(element.bytes(), &shape).map_err(bad)?;
                let header = header(path, element, shape)?;
                let start = if kind == "out" { Start::Unwritten(bytes) } else { Start::Zeros(bytes) };
                memory(start, false, Some(Target { path: path.into(), header }))
            }
            ["scratch", ty, lengths] => {
                let (element, shape) = (Element::named(ty).map_err(bad)?, shape(lengths).map_err(bad)?);
                memory(Start::Unwritten(array_bytes(element.bytes(), &shape).map_err(bad)?), false, None)
            }
            ["bytes", digits] => hex(digits).map(Self::Value).map_err(bad),
            ["in" | "inout" | "out" | "zeros" | "scratch", ..] => Err(bad(
                "it is in:FILE, inout:FILE[:RESULT], out:FILE:TYPE:SHAPE, zeros:FILE:TYPE:SHAPE or scratch:TYPE:SHAPE, \
                 with files that have no colon in their names"
                    .into(),
            )),
            [ty, number] => Element::named(ty).and_then(|ty| ty.number(number)).map(Self::Value).map_err(bad),
            _ => Err(bad("it is no argument; `ptx-emulator run --help` lists what there is".into())),
        }
    }
}

/// Bytes in pairs of hexadecimal digits, such as `0000803f`.
fn hex(digits: &str) -> Result<Vec<u8>, String> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.bytes().all(|c| c.is_ascii_hexdigit())
    {
        return Err("bytes are pairs of hexadecimal digits, such as 0000803f".into());
    }
    let nibble = |c: u8| (c as char).to_digit(16).unwrap_or_default() as u8;
    Ok(digits.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect())
}

/// The header for elements of a type that go to a file, if it has one.
fn header(path: &str, element: Element, shape: Vec<u64>) -> Result<Option<Header>, Failure> {
    if Format::of(path)? == Format::Bin {
        return Ok(None);
    }
    let descr = element.npy().map_err(|message| Failure::Use(format!("{path}: {message}")))?;
    Ok(Some(Header { descr: descr.into(), shape }))
}

/// Reads `NAME=FILE`, which `--set` takes.
pub fn parse_set(text: &str) -> Result<(&str, &str), Failure> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() => Format::of(path).map(|_| (name, path)),
        _ => wrong(format!("--set {text}: it is NAME=FILE")),
    }
}

/// A variable that goes to a file.
#[derive(Debug)]
pub struct Get<'t> {
    pub name: &'t str,
    path: &'t str,
    element: Element,
    /// All elements along one axis, where it is not given.
    shape: Option<Vec<u64>>,
}

impl<'t> Get<'t> {
    /// Reads `NAME=FILE.npy:TYPE`, `NAME=FILE.npy:TYPE:SHAPE` or `NAME=FILE.bin`, which `--get` takes.
    pub fn parse(text: &'t str) -> Result<Self, Failure> {
        let bad = |message: String| Failure::Use(format!("--get {text}: {message}"));
        let form = || bad("it is NAME=FILE.npy:TYPE, NAME=FILE.npy:TYPE:SHAPE or NAME=FILE.bin".into());
        let (name, file) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(form)?;
        let fields: Vec<&str> = file.split(':').collect();
        let path = fields[0];
        let (element, shape) = match (Format::of(path)?, &fields[1..]) {
            (Format::Bin, []) => (Element::U8, None),
            (_, [ty]) => (Element::named(ty).map_err(bad)?, None),
            (_, [ty, lengths]) => (Element::named(ty).map_err(bad)?, Some(shape(lengths).map_err(bad)?)),
            _ => return Err(form()),
        };
        Ok(Self { name, path, element, shape })
    }

    /// The target of the variable, which has so many bytes.
    pub fn target(self, bytes: u64) -> Result<Target, Failure> {
        let width = self.element.bytes();
        let shape = self.shape.unwrap_or_else(|| vec![bytes / width]);
        if array_bytes(width, &shape) != Ok(bytes) {
            let (name, path) = (self.name, self.path);
            return wrong(format!(
                "--get {name}={path}: the variable has {bytes} bytes, which do not fit type and shape"
            ));
        }
        Ok(Target { header: header(self.path, self.element, shape)?, path: self.path.into() })
    }
}
