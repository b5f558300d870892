//! The command line.

use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str = "\
Usage: gpu_check [--out DIR] [--budget SECONDS] [--require] [--smoke]
       gpu_check --pack [DIR] [--no-reference]
  --out DIR         where the report goes [default: .]
  --budget SECONDS  ends within this time; what does not fit is left out [default: 540]
  --require         what could not run counts as failed
  --smoke           everything once at tiny sizes: tries the tool, measures nothing
  --pack [DIR]      builds and gathers all that a run needs [default: target/gpu_check]
  --no-reference    packs without the published kernels";

/// What to do.
pub enum Command {
    Run(Options),
    Pack {
        folder: PathBuf,
        reference: bool,
    },
    /// Tell whether there is a GPU: a process of its own, whose libraries are found by what it is given.
    Probe,
}

/// How to run.
pub struct Options {
    pub out: PathBuf,
    pub budget: Duration,
    pub require: bool,
    pub smoke: bool,
}

pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut options =
        Options { out: ".".into(), budget: Duration::from_secs(540), require: false, smoke: false };
    let (mut folder, mut reference) = (None, true);
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument}: a value is missing"));
        match argument.as_str() {
            "--out" => options.out = value()?.into(),
            "--budget" => {
                let seconds = value()?.parse().map_err(|_| "--budget: give whole seconds")?;
                options.budget = Duration::from_secs(seconds);
            }
            "--require" => options.require = true,
            "--smoke" => options.smoke = true,
            "--pack" => {
                let named = arguments.next_if(|next| !next.starts_with("--"));
                folder = Some(named.map_or("target/gpu_check".into(), PathBuf::from));
            }
            "--no-reference" => reference = false,
            "--probe" => return Ok(Command::Probe),
            _ => return Err(format!("{argument} is not known")),
        }
    }
    Ok(match folder {
        Some(folder) => Command::Pack { folder, reference },
        None => Command::Run(options),
    })
}
