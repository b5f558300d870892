//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::STEPS;

/// How to use it; the steps are listed behind it.
const USAGE: &str = "\
Usage: gpu_check [--out DIR] [--minutes N] [--only STEPS | --from STEP] [--with REPORT.json] [--require] [--smoke]
       gpu_check --pack [DIR] [--no-reference]
  --out DIR           where the report goes, which is written anew after every step [default: .]
  --minutes N         ends within this time; what does not fit is left out, and the report says so [default: 9]
  --only STEP,STEP    these steps alone
  --from STEP         this step and those after it
  --with REPORT.json  an earlier report of this GPU: the new one holds its results of the steps that are not run
  --require           what could not run counts as failed
  --smoke             everything once at tiny sizes: tries the tool, measures nothing
  --pack [DIR]        builds and gathers all that a run needs [default: target/gpu_check]
  --no-reference      packs without the published kernels
Steps in their order, and the seconds that each takes on a large GPU: ";

pub fn usage() -> String {
    let steps: Vec<String> = STEPS.iter().map(|step| format!("{} {}", step.name, step.expected)).collect();
    format!("{USAGE}{}", steps.join(", "))
}

/// What to do.
pub enum Command {
    Run(Options),
    Pack {
        folder: PathBuf,
        reference: bool,
    },
    Help,
    /// Tell whether there is a GPU: a process of its own, whose libraries are found by what it is given.
    Probe,
}

/// How to run.
#[derive(Debug)]
pub struct Options {
    pub out: PathBuf,
    pub budget: Duration,
    pub chosen: Chosen,
    /// An earlier report.
    pub with: Option<PathBuf>,
    pub require: bool,
    pub smoke: bool,
}

/// Which steps to run.
#[derive(Debug, Clone, PartialEq)]
pub enum Chosen {
    All,
    Only(Vec<String>),
    From(String),
}

impl Chosen {
    /// Whether it has the step of this place in [`STEPS`].
    pub fn has(&self, place: usize) -> bool {
        match self {
            Chosen::All => true,
            Chosen::Only(names) => names.iter().any(|name| name == STEPS[place].name),
            Chosen::From(first) => STEPS[..=place].iter().any(|step| step.name == first),
        }
    }
}

/// A name that a step has.
fn known(name: &str) -> Result<String, String> {
    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    match names.contains(&name) {
        true => Ok(name.into()),
        false => Err(format!("there is no step {name:?}; there are {}", names.join(", "))),
    }
}

pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut options = Options {
        out: ".".into(),
        budget: Duration::from_secs(540),
        chosen: Chosen::All,
        with: None,
        require: false,
        smoke: false,
    };
    let (mut folder, mut reference) = (None, true);
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument}: a value is missing"));
        match argument.as_str() {
            "--out" => options.out = value()?.into(),
            "--minutes" => {
                let minutes = value()?.parse::<f64>().ok().filter(|minutes| (0.0..=1e4).contains(minutes));
                let minutes = minutes.ok_or("--minutes: give a number of minutes")?;
                options.budget = Duration::from_secs_f64(60.0 * minutes);
            }
            "--only" | "--from" if options.chosen != Chosen::All => {
                return Err("give one of --only and --from, once".into());
            }
            "--only" => {
                let names = value()?.split(',').map(|name| known(name.trim())).collect::<Result<_, _>>()?;
                options.chosen = Chosen::Only(names);
            }
            "--from" => options.chosen = Chosen::From(known(&value()?)?),
            "--with" => options.with = Some(value()?.into()),
            "--require" => options.require = true,
            "--smoke" => options.smoke = true,
            "--pack" => {
                let named = arguments.next_if(|next| !next.starts_with("--"));
                folder = Some(named.map_or("target/gpu_check".into(), PathBuf::from));
            }
            "--no-reference" => reference = false,
            "--help" | "-h" => return Ok(Command::Help),
            "--probe" => return Ok(Command::Probe),
            _ => return Err(format!("{argument} is not known")),
        }
    }
    Ok(match folder {
        Some(folder) => Command::Pack { folder, reference },
        None => Command::Run(options),
    })
}
