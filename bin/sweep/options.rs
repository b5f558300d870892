//! The flags of `svp-sweep`, and what they make of a sweep.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use svp::pass::Spec;
use svp::sweep::{Shipped, Sweep};
use svp::train::{Rate, TrainConfig};
use svp::{Error, Result};
use svp_cli::Options;
use svp_cli::values::{BatchSize, PrecisionChoice};
use toml::{Table, Value};

/// Makes a table of runs: tasks x methods x seeds, hyper-parameters chosen on validation, with mean and deviation.
///
/// It makes the runs that are not done yet, so the same command goes on after a signal, a crash or a kill.
#[derive(Parser)]
#[command(version, max_term_width = 110, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(flatten)]
    pub run: Option<RunArgs>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Merge the results in folders that hold parts of one sweep
    Report {
        /// Folders that were the --out of a part of the sweep
        #[arg(value_name = "DIR", required = true)]
        folders: Vec<PathBuf>,
        /// Folder for runs.csv and results.csv, .md and .png [default: the first DIR]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Print the results as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the sweeps that come with the program
    List,
    /// Print the file of one of them, as a starting point for your own
    Show {
        /// Name of the sweep, as `svp-sweep list` has it
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Args)]
pub struct RunArgs {
    /// File of the sweep, or the name of one that comes with the program (see `svp-sweep list`)
    #[arg(value_name = "FILE.toml")]
    sweep: PathBuf,
    /// Folder of the presets' data sets, and of the tasks' data if their paths are relative
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Checkpoint of a backbone, .pth, .safetensors or .npz, or the folder of those that the sweep's methods name
    /// [default: the sweep's, else a small built-in one]
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    /// A setting of svp-train for all runs, such as epochs=10, which wins over those in the sweep's file
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Folder for the runs and the results [default: sweeps/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of runs at a time [default: one for each --device]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Make only part I of N, such as 1/4 on the first of 4 machines; `svp-sweep report` merges the parts
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    shard: Shard,
    /// Device, as svp-train takes it; several (cuda:0,cuda:1) are shared out among the jobs [default: auto]
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Number of threads of each run [default: the cores, shared out among the jobs]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Check backbone and data, list the runs and which are done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// Opens the sweep and puts the settings of the flags into it.
    pub fn open(&self) -> Result<Sweep> {
        if self.jobs == Some(0) {
            return Err(Error::input("--jobs", "with 0 runs at a time none is made", "use at least 1"));
        }
        let mut sweep = Sweep::open(&self.sweep)?;
        for (key, path) in [("data", &self.data), ("backbone", &self.backbone)] {
            if let Some(path) = path {
                sweep.settings.insert(key.into(), path.to_string_lossy().into_owned().into());
            }
        }
        for Setting { key, value } in &self.set {
            sweep.overrides.insert(key.clone(), value.clone());
        }
        Ok(sweep)
    }

    /// The folder for the runs and the results.
    pub fn folder(&self) -> PathBuf {
        let shipped = self.sweep.to_str().and_then(Shipped::named);
        let name = shipped.map(|shipped| shipped.name.as_ref()).or(self.sweep.file_stem());
        let folder = || PathBuf::from("sweeps").join(name.unwrap_or("sweep".as_ref()));
        self.out.clone().unwrap_or_else(folder)
    }

    /// Whether a unit of runs is to be made here.
    pub fn is_mine(&self, unit: usize) -> bool {
        unit % self.shard.of == self.shard.number - 1
    }

    /// Number of runs at a time.
    pub fn jobs(&self) -> usize {
        self.jobs.unwrap_or(self.device.len().max(1))
    }

    /// Number of threads of each of `jobs` runs at a time.
    pub fn threads(&self, jobs: usize) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        self.threads.unwrap_or((cores / jobs.max(1)).max(1))
    }
}

/// Makes configs of the settings of runs. Each backbone is looked at once for all of them.
#[derive(Default)]
pub struct Resolver {
    specs: RefCell<HashMap<String, Spec>>,
}

impl Resolver {
    /// Makes a config of the settings of a run.
    pub fn resolve(&self, settings: &Table) -> Result<TrainConfig> {
        let options = options_of(settings)?;
        let spec = self.spec(&options)?;
        options.resolve_on(&spec)
    }

    fn spec(&self, options: &Options) -> Result<Spec> {
        let Options { backbone, weights, model, img_size, patch_size, stride, .. } = options;
        let Options { embed_dim, depth, heads, normalise, pool, .. } = options;
        let sizes = (img_size, patch_size, stride, embed_dim, depth);
        let key = format!("{:?}", (backbone, weights, model, sizes, heads, normalise, pool));
        if let Some(spec) = self.specs.borrow().get(&key) {
            return Ok(*spec);
        }
        let spec = options.backbone_spec()?;
        self.specs.borrow_mut().insert(key, spec);
        Ok(spec)
    }
}

/// The settings of a run with those of its presets, where a sweep may have them.
fn options_of(settings: &Table) -> Result<Options> {
    if settings.contains_key("out") {
        let what = "every run of a sweep has a folder of its own, below that of the sweep";
        return Err(Error::input("out", what, "leave it out, or give svp-sweep --out"));
    }
    let mut options = Options::of_table(settings).map_err(|what| {
        Error::input("settings", what, "keys are the long flags of svp-train, see its --help")
    })?;
    let wrong = |key: &str, what: &str, hint: &str| Err(Error::input(key, what, hint));
    if options.batch_size == Some(BatchSize::Auto) {
        return wrong("batch-size", "auto would differ from machine to machine", "give a number");
    }
    if options.precision == Some(PrecisionChoice::Auto) {
        return wrong("precision", "auto would differ from machine to machine", "give f32 or bf16");
    }
    if options.lr == Some(Rate::Auto) {
        return wrong(
            "lr",
            "auto would choose on training images alone",
            "list rates in choose, which validation decides",
        );
    }
    let compute = options.take_compute();
    if compute.device.is_some() || compute.threads.is_some() {
        return wrong(
            "device, threads",
            "do not change what is trained, so they are no settings of a sweep",
            "give them to svp-sweep as flags",
        );
    }
    options.with_preset()
}

/// A setting on the command line.
#[derive(Debug, Clone)]
struct Setting {
    key: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    /// Reads a value as TOML; what is no TOML is text.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE, such as epochs=10")?;
        let parsed = format!("value = {value}").parse::<Table>().ok();
        let value = parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| value.into());
        Ok(Setting { key: key.trim().trim_start_matches("--").into(), value })
    }
}

/// The part of a sweep that is made here.
#[derive(Debug, Clone)]
struct Shard {
    /// The first part is 1.
    number: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err("write it as I/N, with I from 1 to N, such as 1/4".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use clap::CommandFactory;
    use svp::methods::METHODS;
    use svp::sweep::{Plan, SHIPPED, published};
    use testkit::programs::Scratch;
    use testkit::root::root;

    use super::*;

    #[test]
    fn the_flags_make_sense() {
        Cli::command().debug_assert();
    }

    /// The checkpoints that sweeps on a ViT name, as small ones of the same layouts.
    static CHECKPOINTS: LazyLock<Scratch> = LazyLock::new(|| {
        let place = Scratch::new("sweep-checkpoints");
        for (name, of) in [
            ("ViT-B_16.npz", "ckpt_google.npz"),
            ("ViT-L_16.npz", "ckpt_google.npz"),
            ("ViT-H_14.npz", "ckpt_google.npz"),
            ("linear-vit-b-300ep.pth.tar", "ckpt_moco_pretrain.pth.tar"),
            ("mae_pretrain_vit_base.pth", "ckpt_mae_full.pth"),
        ] {
            place.write(name, &std::fs::read(root().join("tests/golden/vit").join(of)).unwrap());
        }
        place
    });

    /// A sweep of the program with its data and its backbones, where those stand.
    fn shipped(name: &str) -> Sweep {
        let mut sweep = Sweep::open(Path::new(name)).unwrap();
        sweep.settings.insert("data".into(), "data".into());
        if name.starts_with("ivpt-") {
            let several = sweep.methods.iter().any(|method| method.settings.contains_key("backbone"));
            // Small checkpoints in PyTorch's form do not tell their heads, as those of a ViT-B/16 do by their width.
            for method in &mut sweep.methods {
                let file = method.settings.get("backbone").and_then(Value::as_str);
                if file.is_some_and(|file| file.contains(".pth")) {
                    method.settings.insert("heads".into(), 2.into());
                }
            }
            let backbone = CHECKPOINTS.at(if several { "" } else { "ViT-B_16.npz" });
            sweep.settings.insert("backbone".into(), backbone.into());
        }
        sweep
    }

    /// Tasks, columns and seeds of every sweep.
    #[test]
    fn every_shipped_sweep_can_be_run() {
        let resolver = Resolver::default();
        let runs = |name: &str| {
            let mut sweep = shipped(name);
            let plan = Plan::new(sweep.clone(), &|settings| resolver.resolve(settings)).unwrap();
            let select = |plan: &Plan| plan.cells[0].points[0].reported[0].config.select_on_test;
            assert!(!select(&plan), "{name}");
            let shape = [plan.tasks.len(), plan.columns.len(), plan.cells[0].points[0].reported.len()];
            if name.starts_with("ivpt-") {
                return shape;
            }
            // As the comments in Table 1 of SVP have it, and to try one out.
            for (key, value) in [("variant", "official".into()), ("select-on-test", true.into())] {
                sweep.overrides.insert(key.into(), value);
            }
            sweep.overrides.insert("epochs".into(), 1.into());
            assert!(select(&Plan::new(sweep, &|settings| resolver.resolve(settings)).unwrap()), "{name}");
            shape
        };
        let want = [
            ("table1", [10, 7, 3]),
            ("table2", [19, 5, 3]),
            ("table3", [4, 6, 3]),
            ("table4", [4, 4, 3]),
            ("figure4", [4, 8, 3]),
            ("figure5", [4, 4, 3]),
            ("ivpt-table1", [19, 16, 5]),
            ("ivpt-table2", [19, 4, 5]),
            ("ivpt-table3", [19, 5, 5]),
            ("ivpt-table4", [19, 3, 5]),
            ("ivpt-table5", [19, 6, 5]),
            ("ivpt-table6", [19, 8, 5]),
            ("ivpt-table9", [5, 7, 5]),
            ("ivpt-figure4", [2, 2, 3]),
            ("ivpt-figure5-n", [2, 6, 5]),
            ("ivpt-figure5-k", [2, 7, 5]),
            ("ivpt-figure6", [4, 2, 3]),
            ("small", [3, 5, 3]),
        ];
        assert_eq!(
            SHIPPED.iter().map(|shipped| shipped.name).collect::<Vec<_>>(),
            want.map(|(name, _)| name)
        );
        for (name, shape) in want {
            assert_eq!(runs(name), shape, "{name}");
        }
        let other = Shipped::named("ivpt-table10").map(|shipped| shipped.name);
        assert_eq!(other, Some("ivpt-table2"), "the same results with other means");
    }

    /// No cell of a table is without its published number, but where the papers print none, and what is published only is
    /// not run here.
    #[test]
    fn every_cell_of_the_papers_tables_has_its_published_number() {
        let resolver = Resolver::default();
        for table in published::names() {
            let plan = Plan::new(shipped(table), &|settings| resolver.resolve(settings)).unwrap();
            let rows = published::rows(table).unwrap();
            let mut gaps = 0;
            for (column, name) in plan.columns.iter().enumerate() {
                let row = rows.iter().find(|row| row.column == Some(name)).expect(name);
                for cell in plan.rows() {
                    let printed = row.values.get(cell).copied();
                    assert_eq!(plan.published(column, cell), printed, "{table}, {name}, {cell}");
                    gaps += usize::from(printed.is_none());
                }
            }
            // Tables 3 and 4 of SVP have no mean. Of some quoted rows of iVPT's only the means are printed.
            let want = match table {
                "table3" => 6,
                "table4" => 4,
                "ivpt-table1" => 19,
                "ivpt-table6" => 4 * 19,
                "ivpt-table9" => 2 + 2,
                _ => 0,
            };
            assert_eq!(gaps, want, "{table}");
            let missing = plan.not_run.iter().filter_map(|row| row.column);
            for name in missing {
                assert!(METHODS.iter().all(|entry| entry.name != name), "{table} must run {name}");
            }
            assert_eq!(plan.columns.len() + plan.not_run.len(), rows.len(), "{table}");
        }
    }

    /// The sweep behind the table of real images in the README.
    #[test]
    fn the_sweep_of_real_images_can_be_run() {
        let resolver = Resolver::default();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/real_images.toml");
        let plan =
            Plan::new(Sweep::open(Path::new(path)).unwrap(), &|settings| resolver.resolve(settings)).unwrap();
        assert_eq!((plan.tasks.len(), plan.columns.len()), (4, 3));
    }

    /// What a preset leaves to the user, and what is not for a sweep to set.
    #[test]
    fn settings_that_do_not_belong_in_a_sweep_are_refused() {
        let refused = |settings: &str, parts: &[&str]| {
            let error = Resolver::default().resolve(&settings.parse().unwrap()).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refused("preset = 'hta/dtd'", &["--data", "hta/dtd"]);
        refused("batch-size = 'auto'", &["batch-size", "give a number"]);
        refused("device = 'cuda'", &["device", "flags"]);
        refused("epoch = 3", &["epoch", "long flags"]);
        refused("out = 'here'", &["out", "of its own"]);
    }

    #[test]
    fn values_on_the_command_line_are_toml_or_text() {
        let value = |text: &str| text.parse::<Setting>().unwrap().value;
        assert_eq!(value("epochs=10"), Value::Integer(10));
        assert_eq!(value("--lr=1e-3"), Value::Float(1e-3));
        assert_eq!(value("select-on-test=true"), Value::Boolean(true));
        assert_eq!(value("variant=official"), Value::String("official".into()));
        assert!("epochs".parse::<Setting>().is_err());
    }

    #[test]
    fn shards_are_parts_of_a_whole() {
        for wrong in ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        assert!("2/2".parse::<Shard>().is_ok());
    }
}
