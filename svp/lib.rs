//! Backbones, methods, heads, the training loop, checkpoints, reports and sweeps.
//!
//! From the bottom up: [`params`], [`score`], [`confusion`], [`calibration`] and [`imagenet`]; [`checkpoint`] and
//! [`report`]; [`pass`], the types that a backbone and a method exchange; [`backbones`], [`methods`] (with [`kmeans`]
//! and [`cluster`]) and [`heads`]; [`model`], which joins one of each; [`survey`], what a method looks at before it
//! begins; [`gates`] and [`attention`]; [`train`]; [`examination`]; [`run_page`], [`sweep`], [`cost`] and [`export`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod attention;
pub mod backbones;
pub mod calibration;
pub mod checkpoint;
pub mod cluster;
pub mod confusion;
pub mod cost;
pub mod examination;
pub mod export;
pub mod gates;
pub mod heads;
pub mod imagenet;
pub mod kmeans;
mod mapping;
pub mod methods;
pub mod model;
pub mod params;
pub mod pass;
pub mod report;
pub mod run_page;
pub mod score;
pub mod streams;
pub mod survey;
pub mod sweep;
pub mod toml_text;
pub mod train;

pub use data::{self, Error, Result};
