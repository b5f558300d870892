//! Image tasks drawn by code: no download, and no way to solve them by mean colour or total area.
//!
//! A picture is a function of (task, split, index); its label is `index % classes`, so classes are balanced.
//! Colours, sizes, places and backgrounds are random, and say nothing about the label.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use engine::Rng;
use image::RgbImage;

use super::dataset::{Dataset, Sample};
use super::scenes::{FILLS, SHAPES, Scene};
use super::{Augment, Layout, Source, stream};
use crate::{Error, Result};

/// What is asked about a drawn picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// How many objects (1 to 8), of mixed shape, colour and size.
    Count,
    /// At which of 8 orientations over 180 degrees a bar lies.
    Orientation,
    /// In which cell of a 4x4 grid a cross lies.
    Position,
    /// Which of 10 shapes in which of 5 fill styles: the broad source task for pre-training.
    Shapes,
}

/// Pixels a side that the tasks are designed for; other sizes scale everything.
pub const SIZE: u32 = 32;

impl Task {
    pub const ALL: [Task; 4] = [Task::Count, Task::Orientation, Task::Position, Task::Shapes];

    /// The name for [`Dataset::builtin`].
    pub fn name(self) -> &'static str {
        match self {
            Task::Count => "count",
            Task::Orientation => "orientation",
            Task::Position => "position",
            Task::Shapes => "shapes",
        }
    }

    /// Class names in label order.
    pub fn classes(self) -> Vec<String> {
        match self {
            Task::Count => (1..=8).map(|n| n.to_string()).collect(),
            Task::Orientation => (0..8).map(|bin| format!("{} degrees", bin as f32 * 22.5)).collect(),
            Task::Position => (0..16).map(|cell| format!("row {} column {}", cell / 4, cell % 4)).collect(),
            Task::Shapes => {
                let style = |shape| FILLS.map(|fill| format!("{shape:?} {fill:?}").to_lowercase());
                SHAPES.into_iter().flat_map(style).collect()
            }
        }
    }

    /// Samples of train, val and test.
    fn counts(self) -> [u32; 3] {
        match self {
            Task::Shapes => [40_000, 1_000, 2_000],
            _ => [800, 200, 1_000],
        }
    }

    /// Only the name of a shape survives crops and mirror images.
    fn augment(self) -> Option<Augment> {
        (self == Task::Shapes).then(Augment::default)
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Task::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let names = Task::ALL.map(Task::name).join(", ");
            Error::input(
                "data",
                format!("no built-in task is called {name:?}"),
                format!("use one of {names}"),
            )
        })
    }
}

/// The name of a picture that is drawn when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Drawn {
    pub task: Task,
    /// 0 train, 1 val, 2 test.
    pub split: u32,
    pub index: u32,
    /// Pixels a side.
    pub size: u32,
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let split = ["train", "val", "test"][self.split as usize];
        write!(f, "{}/{split}/{}@{}", self.task.name(), self.index, self.size)
    }
}

impl Dataset {
    /// A drawn task with pictures of `size` x `size` pixels: 800, 200 and 1,000 of them as in VTAB-1k, for
    /// `shapes` many more.
    pub fn drawn(task: Task, size: u32) -> Dataset {
        let classes = task.classes();
        let split = |split: u32| -> Vec<Sample> {
            let sample = |index| Sample {
                source: Source::Drawn(Drawn { task, split, index, size }),
                label: index % classes.len() as u32,
            };
            (0..task.counts()[split as usize]).map(sample).collect()
        };
        let (train, val, test) = (split(0), Some(split(1)), Some(split(2)));
        let layout = Layout::Auto;
        let notes = vec![format!("{}: drawn by code, {size}x{size}", task.name())];
        let name = task.name().to_string();
        let augment = task.augment();
        Dataset { name, layout, root: PathBuf::new(), classes, train, val, test, augment, notes }
    }
}

impl Drawn {
    /// Draws the picture.
    pub fn draw(&self) -> RgbImage {
        let mut rng = Rng::keyed(0, self.split, self.index, stream::DRAW + self.task as u32);
        let mut scene = Scene::new(self.size, &mut rng);
        let label = self.index % self.task.classes().len() as u32;
        match self.task {
            Task::Count => scene.count(label, &mut rng),
            Task::Orientation => scene.orientation(label, &mut rng),
            Task::Position => scene.position(label, &mut rng),
            Task::Shapes => scene.shapes(label, &mut rng),
        }
        scene.finish()
    }
}

#[cfg(test)]
#[path = "procedural_tests.rs"]
mod tests;
