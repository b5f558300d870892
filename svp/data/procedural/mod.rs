//! Image tasks that are drawn by code. They need no download and cannot be solved by mean colour or total area.
//!
//! A picture is a function of (task, split, index). Its label is `index % classes`, so that classes are balanced.
//! Colours, sizes, positions and backgrounds are random and say nothing about the label.

use std::fmt;
use std::str::FromStr;

use engine::Rng;
use image::RgbImage;

use crate::augment::Augment;
use crate::error::{Error, Result};
use crate::streams;

mod paint;
mod scenes;
#[cfg(test)]
mod tests;

pub use scenes::SIZE;
use scenes::{FILLS, SHAPES, Scene};

/// What is asked about a drawn picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// How many objects (1 to 8), of mixed shape, colour and size.
    Count,
    /// At which of 8 orientations over 180 degrees a bar lies.
    Orientation,
    /// In which cell of a 4x4 grid a cross lies.
    Position,
    /// Which of 10 shapes in which of 5 fill styles: a broad task to pre-train on.
    Shapes,
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 4] = [Task::Count, Task::Orientation, Task::Position, Task::Shapes];

    /// The name by which [`Dataset::builtin`](crate::Dataset::builtin) knows it.
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

    /// Number of samples of train, val and test: as in VTAB-1k, and many more for `shapes`.
    pub(crate) fn counts(self) -> [u32; 3] {
        match self {
            Task::Shapes => [40_000, 1_000, 2_000],
            _ => [800, 200, 1_000],
        }
    }

    /// The augmentation that leaves the labels true. Only the name of a shape survives crops and mirror images.
    pub(crate) fn augment(self) -> Option<Augment> {
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

/// A picture that is drawn when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Drawn {
    /// The task that it belongs to.
    pub task: Task,
    /// Its split: 0 is train, 1 is val and 2 is test.
    pub split: u32,
    /// Its number in the split.
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

impl Drawn {
    /// Draws the picture.
    pub fn draw(&self) -> RgbImage {
        let mut rng = Rng::keyed(0, self.split, self.index, streams::DRAW + self.task as u32);
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
