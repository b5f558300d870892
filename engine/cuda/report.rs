//! Failed calls as errors of the engine, with what they were about.

use std::fmt::Display;

use super::error::{BlasError, CuError, OUT_OF_MEMORY, failed};
use super::load::{basics, driver};
use crate::{Error, Result};

/// Says what a failed call was about.
pub(super) trait About<T> {
    /// The result with an error of the engine. `what` completes "the call failed, ...".
    fn about<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> About<T> for Result<T, CuError> {
    fn about<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| match error.code {
            OUT_OF_MEMORY => out_of_memory(0),
            _ if error.is_fatal() => lost(format!("{}, {}", text(error), what())),
            _ => failed(format!("{}, {}", text(error), what())),
        })
    }
}

impl<T> About<T> for Result<T, BlasError> {
    fn about<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| match error.is_out_of_memory() {
            true => out_of_memory(0),
            false => failed(format!("{error}, {}", what())),
        })
    }
}

/// A failed call with the driver's words for it.
pub(super) fn text(error: CuError) -> String {
    match basics() {
        Ok((_, basics)) => basics.describe(error),
        Err(_) => format!("{}: error {}", error.function(), error.code),
    }
}

/// A lost device. A kernel runs after the call that launched it has returned, so a later call sees its failure.
fn lost(what: String) -> Error {
    let hint = match waits() {
        true => "",
        false => "; an earlier kernel may be the one that failed: with SVP_CUDA_SYNC=1 the message names it",
    };
    Error::Lost { device: "cuda", what: what + hint }
}

/// Whether every launch is waited for (`SVP_CUDA_SYNC=1`).
pub(super) fn waits() -> bool {
    std::env::var_os("SVP_CUDA_SYNC").is_some_and(|value| value == "1")
}

/// The error of asking for `asked` bytes more than there are.
pub(super) fn out_of_memory(asked: usize) -> Error {
    let [free, total] = device_memory().unwrap_or_default();
    Error::Memory { device: "cuda", asked, free, total }
}

/// Free bytes and all bytes of the device whose context is current.
pub(super) fn device_memory() -> Option<[usize; 2]> {
    let [mut free, mut total] = [0; 2];
    // SAFETY: the call writes two numbers.
    unsafe { driver().ok()?.functions.cuMemGetInfo_v2(&mut free, &mut total).ok()? };
    Some([free, total])
}
