//! The command line of every command, and what each can write about its own: completions for shells, and man pages.

use std::io;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Parser, value_parser};
use clap_complete::Shell;
use engine::budget;
use svp::{Error, Result};

use crate::output::{complain, print_as_is};
#[cfg(unix)]
use crate::stop::survive_file_limit;

const COMPLETIONS: &str = "completions";
const MAN_PAGES: &str = "man-pages";
const LICENSES: &str = "licenses";
/// The notices of the crates that the programs are built from, which go where the programs go.
const NOTICES: &str = include_str!("../../THIRD-PARTY.md");
const MAX_MEMORY: &str = "max-memory";

/// Parses the command line of the program `name`, which is `env!("CARGO_BIN_NAME")`. Ends the process where the command
/// line is wrong, or asks for help, completions, man pages or licenses.
pub fn parse<C: Parser>(name: &'static str) -> C {
    parse_as(name, C::command())
}

/// [`parse`] with a hint for an unknown flag, which is given without its dashes.
pub fn parse_with_hint<C: Parser>(name: &'static str, hint: fn(&str) -> Option<String>) -> C {
    parsed(name, C::command(), hint)
}

/// [`parse`] with another form of `C`'s command.
pub fn parse_as<C: Parser>(name: &'static str, command: Command) -> C {
    parsed(name, command, |_| None)
}

fn parsed<C: Parser>(name: &'static str, command: Command, hint: fn(&str) -> Option<String>) -> C {
    #[cfg(unix)]
    survive_file_limit();
    let command = command.name(name).args(flags()).arg(max_memory());
    let first = std::env::args().nth(1).unwrap_or_default();
    let flag = first.split('=').next().and_then(|flag| flag.strip_prefix("--"));
    // These need nothing else, also where the command itself wants more.
    if flag.is_some_and(|flag| [COMPLETIONS, MAN_PAGES, LICENSES].contains(&flag)) {
        let code = describe(name, command).map_or_else(|e| fail(&e), |()| 0);
        std::process::exit(code);
    }
    let matches = command.try_get_matches().unwrap_or_else(|mut error| {
        let unknown = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => flag.clone(),
            _ => error.exit(),
        };
        if let Some(hint) = hint(unknown.trim_start_matches('-')) {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
        }
        error.exit()
    });
    if let Some(most) = matches.get_one::<ByteSize>(MAX_MEMORY) {
        budget::limit_to(most.as_u64());
    }
    C::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
}

/// The flag for the budget that every reader asks before it allocates.
fn max_memory() -> Arg {
    Arg::new(MAX_MEMORY).long(MAX_MEMORY).global(true).value_name("SIZE").value_parser(size).help(
        "Most memory to take for data, weights and tensors on the CPU, such as 8GiB or 500MB \
             [default: nine tenths of what is free at the start]",
    )
}

/// A size of memory.
fn size(text: &str) -> std::result::Result<ByteSize, String> {
    let size = text.parse().ok().filter(|size: &ByteSize| size.as_u64() > 0);
    size.ok_or_else(|| "write a size such as 8GiB or 500MB".into())
}

fn fail(error: &Error) -> i32 {
    complain(error);
    error.exit_code()
}

/// The flags that all commands have.
fn flags() -> [Arg; 3] {
    let flag =
        |name: &'static str| Arg::new(name).long(name).exclusive(true).help_heading("About the command");
    [
        flag(COMPLETIONS)
            .value_name("SHELL")
            .value_parser(value_parser!(Shell))
            .help("Print what completes this command line in a shell"),
        flag(MAN_PAGES)
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Write man pages of this command into a folder"),
        flag(LICENSES)
            .action(ArgAction::SetTrue)
            .help("Print the licenses of the libraries that this command is built from"),
    ]
}

/// Writes the completions, the man pages or the licenses that the command line asks for.
fn describe(name: &'static str, mut command: Command) -> Result<()> {
    let asked = Command::new(name).args(flags()).get_matches();
    if let Some(&shell) = asked.get_one::<Shell>(COMPLETIONS) {
        let mut text = vec![];
        clap_complete::generate(shell, &mut command, name, &mut text);
        print_as_is(&String::from_utf8_lossy(&text))?;
    }
    if let Some(folder) = asked.get_one::<PathBuf>(MAN_PAGES) {
        let written: io::Result<()> =
            std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.map_err(|e| Error::io(folder, "write man pages", &e))?;
    }
    if asked.get_flag(LICENSES) {
        print_as_is(NOTICES)?;
    }
    Ok(())
}
