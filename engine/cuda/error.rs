//! What the driver and cuBLASLt answer when a call fails.

use std::fmt::{self, Display};

use cudarc::cublaslt::sys::cublasStatus_t as Status;
use cudarc::driver::sys::CUresult;

use crate::Error;

pub(super) const OUT_OF_MEMORY: u32 = CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32;
pub(super) const NO_DEVICE: u32 = CUresult::CUDA_ERROR_NO_DEVICE as u32;
/// Codes of CUDA 13 that the headers of CUDA 12.4 do not have.
const CONTAINED: u32 = 226;
const TENSOR_MEMORY_LEAK: u32 = 721;

/// What the driver answered to a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CuError {
    /// The function that was called.
    pub call: &'static str,
    pub code: u32,
}

impl CuError {
    /// Whether this process cannot use the device any more, because the device fell out or a kernel did what destroys the
    /// context.
    pub(super) fn is_fatal(self) -> bool {
        use CUresult::*;
        [
            CUDA_ERROR_DEVICE_UNAVAILABLE,
            CUDA_ERROR_ECC_UNCORRECTABLE,
            CUDA_ERROR_NVLINK_UNCORRECTABLE,
            CUDA_ERROR_ILLEGAL_ADDRESS,
            CUDA_ERROR_LAUNCH_TIMEOUT,
            CUDA_ERROR_CONTEXT_IS_DESTROYED,
            CUDA_ERROR_ASSERT,
            CUDA_ERROR_HARDWARE_STACK_ERROR,
            CUDA_ERROR_ILLEGAL_INSTRUCTION,
            CUDA_ERROR_MISALIGNED_ADDRESS,
            CUDA_ERROR_INVALID_ADDRESS_SPACE,
            CUDA_ERROR_INVALID_PC,
            CUDA_ERROR_LAUNCH_FAILED,
            CUDA_ERROR_UNKNOWN,
        ]
        .map(|fatal| fatal as u32)
        .contains(&self.code)
            || matches!(self.code, CONTAINED | TENSOR_MEMORY_LEAK)
    }

    /// The name of the function that was called, as NVIDIA documents it.
    pub(super) fn function(self) -> &'static str {
        self.call.trim_end_matches("_v2")
    }
}

/// What cuBLASLt answered to a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlasError {
    /// The function that was called.
    pub call: &'static str,
    pub code: u32,
}

impl BlasError {
    /// Whether cuBLASLt has nothing for what was asked.
    pub(super) fn is_not_supported(self) -> bool {
        self.code == Status::CUBLAS_STATUS_NOT_SUPPORTED as u32
    }

    /// Whether cuBLASLt could not get memory.
    pub(super) fn is_out_of_memory(self) -> bool {
        self.code == Status::CUBLAS_STATUS_ALLOC_FAILED as u32
    }
}

impl Display for BlasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Status::*;
        let known = [
            CUBLAS_STATUS_NOT_INITIALIZED,
            CUBLAS_STATUS_ALLOC_FAILED,
            CUBLAS_STATUS_INVALID_VALUE,
            CUBLAS_STATUS_ARCH_MISMATCH,
            CUBLAS_STATUS_MAPPING_ERROR,
            CUBLAS_STATUS_EXECUTION_FAILED,
            CUBLAS_STATUS_INTERNAL_ERROR,
            CUBLAS_STATUS_NOT_SUPPORTED,
            CUBLAS_STATUS_LICENSE_ERROR,
        ];
        match known.into_iter().find(|&status| status as u32 == self.code) {
            Some(status) => write!(f, "{}: {status:?}", self.call),
            None => write!(f, "{}: status {}", self.call, self.code),
        }
    }
}

/// An error of the CUDA device.
pub(super) fn failed(what: impl Display) -> Error {
    Error::Device { device: "cuda", what: what.to_string() }
}
