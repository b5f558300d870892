//! `run`: reads what a kernel gets, launches it, and writes what it made.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use ptx_emulator::{Access, Arg, Checks, Entry, Fault, FaultKind, Machine, Module, Options, Slice, Symbol};

use crate::counts::{Style, counts};
use crate::files::{Budget, Format, Staged, check_target, read_array};
use crate::given::{Get, Given, Memory, Start, Target, parse_set};
use crate::list::module;
use crate::npy::Header;
use crate::{Failure, print_kernel, wrong};

const ARGUMENTS: &str = "\
Arguments, one --arg for each parameter of the kernel, in their order:
  in:FILE                  a pointer to the elements of FILE, which the kernel only reads
  inout:FILE[:RESULT]      the same, and the kernel may write; what it leaves goes to RESULT
  out:FILE:TYPE:SHAPE      memory that the kernel writes, all of it, and that goes to FILE
  zeros:FILE:TYPE:SHAPE    the same, but it begins as zeros
  scratch:TYPE:SHAPE       memory that the kernel writes before it reads, and that goes nowhere
  TYPE:NUMBER              a number, such as u32:1000, i64:-1, f32:0.5
  bytes:HEX                a value of any size, such as a struct, its lowest byte first
  null                     a pointer that is not used

A FILE is a .npy file, or a .bin file with the plain elements. A TYPE is bool, u8, i8, u16, i16, u32, i32, u64, i64, f16,
bf16, f32 or f64. A SHAPE is 1000 or 10x20.

The exit status is 0 if all was well, 1 if the kernel has a fault, 2 for a wrong request or file. Results are written only
if all was well, each whole or not at all.";

/// What to run.
#[derive(Debug, Args)]
#[command(after_help = ARGUMENTS)]
pub struct Request {
    /// The PTX file.
    file: PathBuf,
    /// The kernel: its name in the PTX file, or in C++ where no other kernel has it.
    kernel: String,
    /// The number of blocks, such as 8 or 8,4 or 8,4,2.
    #[arg(long, value_name = "X,Y,Z", value_parser = size)]
    grid: [u32; 3],
    /// The number of threads in a block, such as 256 or 16,16 or 8,8,4.
    #[arg(long, value_name = "X,Y,Z", value_parser = size)]
    block: [u32; 3],
    /// Bytes of dynamic shared memory for each block.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    shared: u32,
    /// An argument of the kernel, see below.
    #[arg(long = "arg", value_name = "ARGUMENT")]
    args: Vec<String>,
    /// Fills a variable of the module before the launch.
    #[arg(long, value_name = "NAME=FILE")]
    set: Vec<String>,
    /// Writes a variable of the module after the launch, as NAME=FILE.npy:TYPE[:SHAPE] or NAME=FILE.bin.
    #[arg(long, value_name = "NAME=FILE")]
    get: Vec<String>,
    /// Chooses the order of blocks and warps.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The number of blocks that run at once; 0 for as many as there are cores.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024), value_name = "NUMBER")]
    threads: u16,
    /// Checks only addresses and limits.
    #[arg(long)]
    no_checks: bool,
    /// Makes a check that is off unless it is asked for.
    #[arg(long, value_name = "NAME", value_parser = checks())]
    check: Vec<String>,
    /// Leaves out a check.
    #[arg(long, value_name = "NAME", value_parser = checks())]
    no_check: Vec<String>,
    /// Goes on after faults that checks find, and tells up to so many: one for each kind and line.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16), value_name = "NUMBER")]
    collect: u16,
    /// The instructions that the warps of a block may execute before it counts as an endless loop.
    #[arg(long, default_value_t = Options::default().max_instructions, value_name = "NUMBER")]
    max_instructions: u64,
    /// The most memory of all arrays together. Their checks need eight times as much, where a kernel uses single bytes 26
    /// times.
    #[arg(long, default_value_t = 256, value_name = "MIB")]
    max_memory: u64,
    /// Prints what was executed.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "text", value_name = "STYLE")]
    meter: Option<Style>,
}

/// A check by its name.
type Check = (&'static str, fn(&mut Checks) -> &mut bool);

const CHECKS: [Check; 8] = [
    ("uninitialised-memory", |checks| &mut checks.uninitialised_memory),
    ("uninitialised-registers", |checks| &mut checks.uninitialised_registers),
    ("shared-races", |checks| &mut checks.shared_races),
    ("global-races", |checks| &mut checks.global_races),
    ("nc-loads", |checks| &mut checks.nc_loads),
    ("skipped-barriers", |checks| &mut checks.skipped_barriers),
    ("early-exits", |checks| &mut checks.early_exits),
    ("masks", |checks| &mut checks.masks),
];

/// The names of checks.
fn checks() -> PossibleValuesParser {
    PossibleValuesParser::new(CHECKS.map(|(name, _)| name))
}

/// The checks that a request asks for.
fn which(request: &Request) -> Checks {
    let mut which = Checks::default();
    for (names, on) in [(&request.check, true), (&request.no_check, false)] {
        for (name, check) in CHECKS {
            if names.iter().any(|given| given == name) {
                *check(&mut which) = on;
            }
        }
    }
    which
}

/// One to three numbers.
fn size(text: &str) -> Result<[u32; 3], String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([x]) => Ok([*x, 1, 1]),
        Ok([x, y]) => Ok([*x, *y, 1]),
        Ok([x, y, z]) => Ok([*x, *y, *z]),
        _ => Err("one to three whole numbers are needed, with commas between them".into()),
    }
}

/// What goes to a file after the launch.
struct Output {
    target: Target,
    origin: Origin,
    /// How the request names it.
    text: String,
}

/// Where an output comes from.
enum Origin {
    Memory(Slice<u8>),
    Variable(Symbol),
}

/// Runs a kernel, and returns what is to be printed.
pub fn run(request: &Request) -> Result<String, Failure> {
    let module = &module(&request.file)?;
    let given: Vec<Given> = request.args.iter().map(|text| Given::parse(text)).collect::<Result<_, _>>()?;
    // Of an unknown kernel, the launch says which ones there are.
    if let Some(entry) = module.entry(&request.kernel) {
        check_parameters(request, entry, &given)?;
    }
    let machine = Machine::with(Options {
        checks: !request.no_checks,
        which: which(request),
        collect: request.collect.into(),
        threads: request.threads.into(),
        seed: request.seed,
        max_instructions: request.max_instructions,
        ..Options::default()
    });
    let mut outputs = variables_to_get(request, module, &machine)?;
    let targets = given.iter().filter_map(Given::result).chain(outputs.iter().map(|output| &output.target));
    check_targets(targets)?;

    let mut budget = Budget::new(request.max_memory);
    set_variables(request, module, &machine, &mut budget)?;
    let mut call = machine.kernel(module, &request.kernel).grid(request.grid).block(request.block);
    for (given, text) in given.into_iter().zip(&request.args) {
        call = call.arg(match given {
            Given::Value(bytes) => Arg::Bytes(bytes),
            Given::Memory(memory) => {
                let (slice, arg, target) = place(&machine, memory, text, &mut budget)?;
                let output =
                    |target| Output { target, origin: Origin::Memory(slice), text: format!("--arg {text}") };
                outputs.extend(target.map(output));
                arg
            }
        });
    }
    let ran = call.shared(request.shared).launch();
    // What the kernel printed may tell more of a fault.
    print_kernel(&machine.take_output())?;
    let meter = ran.map_err(failure)?;
    write_outputs(&machine, &outputs)?;
    Ok(request.meter.map(|style| counts(&meter, style)).unwrap_or_default())
}

/// Compares the arguments with the parameters of the kernel.
fn check_parameters(request: &Request, entry: &Entry, given: &[Given]) -> Result<(), Failure> {
    let (name, params) = (&entry.name, &entry.params);
    if given.len() != params.len() {
        return wrong(format!("{name} has {} parameters, and there are {} --arg", params.len(), given.len()));
    }
    for (k, ((given, param), text)) in given.iter().zip(params).zip(&request.args).enumerate() {
        if given.bytes() != u64::from(param.bytes) {
            let (bytes, wanted) = (given.bytes(), param.bytes);
            return wrong(format!(
                "--arg {text}: it has {bytes} bytes, and parameter {k} of {name} (from 0) has {wanted}"
            ));
        }
    }
    Ok(())
}

/// Finds what `--get` names.
fn variables_to_get(request: &Request, module: &Module, machine: &Machine) -> Result<Vec<Output>, Failure> {
    let output = |text: &String| {
        let get = Get::parse(text)?;
        let symbol = machine.symbol(module, get.name).map_err(failure)?;
        let target = get.target(symbol.bytes() as u64)?;
        Ok(Output { target, origin: Origin::Variable(symbol), text: format!("--get {text}") })
    };
    request.get.iter().map(output).collect()
}

/// Whether all outputs can be written, each to a file of its own. It is better known before a long launch than after it.
fn check_targets<'t>(targets: impl Iterator<Item = &'t Target>) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for Target { path, .. } in targets {
        check_target(Path::new(path))?;
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
        if !seen.insert(whole) {
            return wrong(format!("{path}: two outputs go to this file"));
        }
    }
    Ok(())
}

/// Fills the variables that `--set` names.
fn set_variables(
    request: &Request,
    module: &Module,
    machine: &Machine,
    budget: &mut Budget,
) -> Result<(), Failure> {
    for text in &request.set {
        let (name, path) = parse_set(text)?;
        let symbol = machine.symbol(module, name).map_err(failure)?;
        let (data, _) = read_array(path, budget)?;
        if data.len() != symbol.bytes() {
            let (given, wanted) = (data.len(), symbol.bytes());
            return wrong(format!(
                "--set {text}: the file has {given} bytes of elements, the variable {wanted}"
            ));
        }
        symbol.write(&data).map_err(failure)?;
    }
    Ok(())
}

/// Makes memory for an argument, and its target with the header of the file that it came from.
fn place(
    machine: &Machine,
    memory: Memory,
    text: &str,
    budget: &mut Budget,
) -> Result<(Slice<u8>, Arg, Option<Target>), Failure> {
    let mut target = memory.result;
    let what = || format!("--arg {text}");
    let (slice, access) = match memory.start {
        Start::File(path) => {
            let (data, header) = read_array(&path, budget)?;
            if let Some(target) = &mut target
                && Format::of(&target.path)? == Format::Npy
            {
                target.header = header;
            }
            (machine.upload(&data), if memory.constant { Access::Read } else { Access::ReadWrite })
        }
        Start::Unwritten(bytes) => (machine.uninit(budget.take(bytes, &what())?), Access::Write),
        Start::Zeros(bytes) => (machine.upload(&vec![0u8; budget.take(bytes, &what())?]), Access::ReadWrite),
    };
    let arg = Arg::Buffer { at: slice.address(), bytes: slice.bytes(), access };
    Ok((slice, arg, target))
}

/// Writes all outputs beside their places, and then puts them there.
fn write_outputs(machine: &Machine, outputs: &[Output]) -> Result<(), Failure> {
    let mut staged = Vec::new();
    for Output { target, origin, text } in outputs {
        let data = match origin {
            Origin::Memory(slice) => machine.download(*slice),
            Origin::Variable(symbol) => symbol.read(),
        };
        // Where the kernel left a byte of an output unwritten, that is its fault.
        let data = data.map_err(|fault| Failure::Kernel(vec![format!("{text}: {fault}")]))?;
        let header = target.header.as_ref().map(Header::to_bytes).unwrap_or_default();
        staged.push(Staged::write(Path::new(&target.path), &[&header, &data])?);
    }
    staged.into_iter().try_for_each(Staged::commit)
}

/// What a fault of a launch means for who asked for it.
fn failure(fault: Fault) -> Failure {
    match fault.kind {
        FaultKind::Arguments | FaultKind::Limits | FaultKind::Host | FaultKind::Unsupported => {
            Failure::Use(fault.to_string())
        }
        _ => Failure::Kernel([&fault].into_iter().chain(&fault.more).map(Fault::to_string).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field of `Checks` has its switch, which has its name.
    #[test]
    fn each_check_has_a_switch_of_its_name() {
        let mut none = Checks::ALL;
        CHECKS.iter().for_each(|(_, check)| *check(&mut none) = false);
        assert_eq!(none, Checks::NONE);
        for (name, check) in CHECKS {
            let mut one = Checks::NONE;
            *check(&mut one) = true;
            assert!(format!("{one:?}").contains(&format!("{}: true", name.replace('-', "_"))), "{name}");
        }
    }
}
