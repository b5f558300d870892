//! Maps over images, of one run or of several side by side, as a picture and as numbers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use engine::{Device, Tensor};
use image::RgbImage;
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::data::text::shown_path;
use svp::model::Model;
use svp::report::chart::heat_map::{Group, Line, Map, Row, heat_maps};
use svp::train::{TrainedModel, load_trained};
use svp::{Error, Result};

use crate::output::{check_place, complain, json_line, print, tell, whole};
use crate::{Preparation, Using, end_on_signals, images_at};

/// Most images in one picture.
const MOST_IMAGES: usize = 50;

/// The flags of a command that draws maps over images.
#[derive(Args)]
pub struct Drawing {
    /// Run folder whose model is shown, or its best.safetensors; again for each further run
    #[arg(long = "run", value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Picture to write
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    #[command(flatten)]
    using: Using,
    /// Images, or folders that are searched for images; at most 50 in all
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

/// Computes the maps of a model, by row and column of the picture, and the numbers `M` of the report, for an input
/// `[1 3 s s]`, with the method or of the backbone alone.
pub type Maps<'a, M> = dyn Fn(&Model, Tensor, bool) -> Result<(Vec<Vec<Map>>, M)> + 'a;

/// What a command draws.
pub struct Drawn<'a, M> {
    /// Its name in sentences, such as `gates`.
    pub what: &'a str,
    /// Refuses a run whose model has nothing of the kind.
    pub check: &'a dyn Fn(&Path, &Model) -> Result<()>,
    /// The columns of the picture.
    pub groups: &'a dyn Fn(&Model) -> Result<Vec<Group>>,
    /// The maps and the numbers of a model.
    pub maps: &'a Maps<'a, M>,
}

/// The numbers of an image; patches are listed row by row.
#[derive(Serialize)]
struct Report<M> {
    image: String,
    /// Number of patches along a side.
    grid: usize,
    models: Vec<OfModel<M>>,
}

#[derive(Serialize)]
struct OfModel<M> {
    model: String,
    /// Folder of the run, where several are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(flatten)]
    found: M,
}

/// A model in the picture.
struct Panel<'a> {
    name: String,
    /// The run that it is from, where several are drawn.
    run: Option<&'a Path>,
    loaded: &'a TrainedModel,
    /// Whether the method adapts the backbone.
    adapted: bool,
}

impl Drawing {
    /// Draws the maps of all images and prints the numbers, or where the picture is. The exit code says whether every
    /// image could be read.
    ///
    /// # Errors
    /// A place that cannot be written, runs that cannot be loaded or drawn together, and faults of the device.
    pub fn draw<M: Serialize>(&self, drawn: &Drawn<M>) -> Result<ExitCode> {
        if self.out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
            return Err(Error::path(
                &self.out,
                "is not the name of a PNG file",
                "give --out a name that ends in .png",
            ));
        }
        check_place(&self.out)?;
        end_on_signals(|| "no picture was written; run it again".into())?;
        let (images, mut all) = images(&self.images);
        if images.len() > MOST_IMAGES {
            let what = format!("{} images are too many for one picture", images.len());
            return Err(Error::input("IMAGE", what, format!("give at most {MOST_IMAGES}")));
        }
        let device = self.using.compute.start()?;
        let loaded = self.runs.iter().map(|run| Ok((run.as_path(), self.load(run, &device, drawn)?)));
        let loaded = loaded.collect::<Result<Vec<_>>>()?;
        check_together(&loaded)?;
        let panels = panels(&loaded, drawn.what);
        let groups = (drawn.groups)(&panels[0].loaded.model)?;
        let (mut rows, mut lines) = (vec![], String::new());
        let preparation = Preparation::of(panels[0].loaded, false);
        for path in &images {
            match preparation.read(path) {
                Ok(image) => {
                    let (row, report) = examine(&panels, path, &image, drawn)?;
                    rows.push(row);
                    lines += &json_line(&report);
                }
                Err(error) => {
                    complain(&error);
                    all = false;
                }
            }
        }
        if rows.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        let png = heat_maps(&groups, &rows);
        whole(|| write_atomically(&self.out, |file| file.write_all(&png)))?;
        print(&if self.using.json { lines } else { format!("{}\n", shown_path(&self.out)) })?;
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Loads a run, which must have what is drawn.
    fn load<M>(&self, run: &Path, device: &Device, drawn: &Drawn<M>) -> Result<TrainedModel> {
        let loaded = load_trained(run, self.using.backbone.as_deref(), device)?;
        (drawn.check)(run, &loaded.model)?;
        Ok(loaded)
    }
}

/// All images of the arguments, and whether each argument has some; those that have none are told.
fn images(arguments: &[PathBuf]) -> (Vec<PathBuf>, bool) {
    let (mut images, mut whole) = (vec![], true);
    for argument in arguments {
        match images_at(argument) {
            Ok(found) => images.extend(found),
            Err(error) => {
                complain(&error);
                whole = false;
            }
        }
    }
    (images, whole)
}

/// Refuses runs whose maps do not show the same: those on another backbone, or with other patches.
fn check_together(runs: &[(&Path, TrainedModel)]) -> Result<()> {
    let [(first, one), others @ ..] = runs else { return Ok(()) };
    let differ = |run: &Path, what: &str| {
        let (first, run) = (first.display(), run.display());
        tell(&format!("{run} and {first} differ in {what}; the frozen backbone is drawn once"));
    };
    for (run, other) in others {
        let (own, other) = (&one.trained, &other.trained);
        let refuse = |what: String| {
            let what = format!("{what} than {}, so they cannot be drawn side by side", first.display());
            Err(Error::path(run, what, "draw it by itself"))
        };
        if (&own.family, &own.backbone_hash) != (&other.family, &other.backbone_hash) {
            return refuse("was trained on another backbone".into());
        }
        if (own.img_size, own.stride) != (other.img_size, other.stride) {
            let (size, stride) = (other.img_size, other.stride);
            return refuse(format!("has other patches ({size} px, {stride} apart)"));
        }
        if own.simam != other.simam {
            differ(run, "--simam");
        }
        if own.class_row != other.class_row {
            differ(run, "--class-row");
        }
    }
    Ok(())
}

/// The views of one run; of several the frozen backbone, where one of them has it, and then what each trained.
fn panels<'a>(runs: &'a [(&'a Path, TrainedModel)], what: &str) -> Vec<Panel<'a>> {
    const FROZEN: &str = "frozen";
    let views = |loaded: &TrainedModel| loaded.trained.method.entry.views;
    if let [(_, loaded)] = runs {
        if let [(name, _)] = views(loaded) {
            tell(&format!("this run has no prompts: only the {what} of its {name} backbone can be drawn"));
        }
        let panel = |&(name, adapted): &(&str, bool)| Panel { name: name.into(), run: None, loaded, adapted };
        return views(loaded).iter().map(panel).collect();
    }
    let frozen = runs.iter().find(|(_, loaded)| views(loaded)[0].0 == FROZEN);
    let frozen = frozen.map(|(_, loaded)| Panel { name: FROZEN.into(), run: None, loaded, adapted: false });
    let method = |loaded: &TrainedModel| loaded.trained.method.entry.name;
    let trained = runs.iter().filter_map(|(run, loaded)| {
        let &(view, adapted) = views(loaded).last().expect("a test wants one of every method");
        if view == FROZEN {
            tell(&format!("{}: its line is that of the frozen backbone", run.display()));
            return None;
        }
        let alone = runs.iter().filter(|(_, other)| method(other) == method(loaded)).count() == 1;
        let folder = run.file_name().unwrap_or(run.as_os_str()).to_string_lossy();
        let name = if alone { method(loaded).to_string() } else { folder.into_owned() };
        Some(Panel { name, run: Some(run), loaded, adapted })
    });
    frozen.into_iter().chain(trained).collect()
}

/// An image's row in the picture, and its numbers.
fn examine<M>(panels: &[Panel], path: &Path, image: &RgbImage, drawn: &Drawn<M>) -> Result<(Row, Report<M>)> {
    let any = panels[0].loaded;
    let picture = Preparation::of(any, false).picture(image);
    let (mut lines, mut models) = (vec![], vec![]);
    for &Panel { ref name, run, loaded, adapted } in panels {
        let preparation = Preparation::of(loaded, adapted);
        let side = preparation.side();
        let input = Tensor::from_vec(preparation.values(image), &[1, 3, side, side]);
        let (maps, found) = (drawn.maps)(&loaded.model, input, adapted)?;
        lines.push(Line { name: name.clone(), maps });
        models.push(OfModel { model: name.clone(), run: run.map(|run| run.display().to_string()), found });
    }
    let name = shown_path(Path::new(path.file_name().unwrap_or(path.as_os_str())));
    let report = Report { image: path.display().to_string(), grid: any.model.spec().grid, models };
    Ok((Row { name, picture, lines }, report))
}
