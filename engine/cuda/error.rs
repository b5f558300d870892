//! Failures of the driver and of cuBLASLt as errors of the engine.

use std::ffi::{CStr, c_char};
use std::fmt::{self, Display};

use super::load::{basics, driver};
use crate::{Error, Result};

pub(super) const OUT_OF_MEMORY: u32 = 2;
pub(super) const INVALID_VALUE: u32 = 1;

/// What the driver said to a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CuError {
    pub call: &'static str,
    pub code: u32,
}

impl CuError {
    /// Whether nothing can be done on this device any more, in this process: the device fell out, or a kernel
    /// did what destroys the context. Codes of `cuda.h` of CUDA 13.
    pub(super) fn is_fatal(self) -> bool {
        matches!(self.code, 46 | 214 | 220 | 226 | 702 | 709 | 710 | 714..=719 | 721 | 700 | 999)
    }

    /// Name and text of the code.
    fn texts(self) -> Option<[String; 2]> {
        let (_, basics) = basics().ok()?;
        let [mut name, mut text] = [std::ptr::null::<c_char>(); 2];
        // SAFETY: both write the address of a text that is never freed.
        unsafe {
            basics.cuGetErrorName(self.code, &mut name).ok()?;
            basics.cuGetErrorString(self.code, &mut text).ok()?;
            (!name.is_null() && !text.is_null())
                .then(|| [name, text].map(|text| CStr::from_ptr(text).to_string_lossy().into_owned()))
        }
    }
}

/// `cuInit: CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)`.
impl Display for CuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call.trim_end_matches("_v2"))?;
        match self.texts() {
            Some([name, text]) => write!(f, "{name} ({text})"),
            None => write!(f, "error {}", self.code),
        }
    }
}

/// What cuBLASLt said to a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlasError {
    pub call: &'static str,
    pub code: u32,
}

impl Display for BlasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.code {
            1 => "NOT_INITIALIZED",
            3 => "ALLOC_FAILED",
            7 => "INVALID_VALUE",
            8 => "ARCH_MISMATCH",
            11 => "MAPPING_ERROR",
            13 => "EXECUTION_FAILED",
            14 => "INTERNAL_ERROR",
            15 => "NOT_SUPPORTED",
            16 => "LICENSE_ERROR",
            code => return write!(f, "{}: status {code}", self.call),
        };
        write!(f, "{}: CUBLAS_STATUS_{name}", self.call)
    }
}

/// Says what a failed call was about.
pub(super) trait About<T> {
    fn about<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> About<T> for Result<T, CuError> {
    fn about<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| match error.code {
            OUT_OF_MEMORY => out_of_memory(0),
            _ if error.is_fatal() => lost(format!("{error}, {}", what())),
            _ => failed(format!("{error}, {}", what())),
        })
    }
}

impl<T> About<T> for Result<T, BlasError> {
    fn about<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        const ALLOC_FAILED: u32 = 3;
        self.map_err(|error| match error.code {
            ALLOC_FAILED => out_of_memory(0),
            _ => failed(format!("{error}, {}", what())),
        })
    }
}

pub(super) fn failed(what: impl Display) -> Error {
    Error::Device { device: "cuda", what: what.to_string() }
}

/// A kernel runs after the call that launched it has returned, so its failure is seen by a later one.
fn lost(what: String) -> Error {
    let hint = match waits() {
        true => "",
        false => "; an earlier kernel may be the one that failed: with SVP_CUDA_SYNC=1 the message names it",
    };
    Error::Lost { device: "cuda", what: what + hint }
}

/// Whether every launch is waited for.
pub(super) fn waits() -> bool {
    std::env::var_os("SVP_CUDA_SYNC").is_some_and(|value| value == "1")
}

/// `asked` bytes more than there are.
pub(super) fn out_of_memory(asked: usize) -> Error {
    let [free, total] = device_memory().unwrap_or_default();
    Error::Memory { device: "cuda", asked, free, total }
}

/// Free and all memory of the device whose context is current.
pub(super) fn device_memory() -> Option<[usize; 2]> {
    let [mut free, mut total] = [0; 2];
    // SAFETY: writes two numbers.
    unsafe { driver().ok()?.functions.cuMemGetInfo_v2(&mut free, &mut total).ok()? };
    Some([free, total])
}
