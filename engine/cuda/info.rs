//! Which GPUs there are, and whether they can be used.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::{self, Display};

use cu::CUdevice_attribute::*;
use cudarc::driver::sys as cu;

use super::error::failed;
use super::load::{self, LoadedDriver, Missing, cuda_version};
use super::report::About;
use crate::launch::Limits;
use crate::{Error, Result};

/// The committed PTX files are for `compute_80` and newer.
const OLDEST_CAPABILITY: [u32; 2] = [8, 0];

/// A GPU, and the versions of what drives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name that the driver gives it.
    pub name: String,
    /// Its compute capability, and what it has for the blocks of a launch.
    pub limits: Limits,
    /// The size of its memory in bytes.
    pub memory: usize,
    /// The newest CUDA version that the driver knows; 12080 is 12.8.
    pub driver_version: u32,
    /// The version of cuBLASLt; 120804 is 12.8.4.
    pub cublaslt_version: usize,
}

impl Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor] = self.limits.compute_capability;
        let blas = self.cublaslt_version;
        write!(f, "{}, compute capability {major}.{minor}, ", self.name)?;
        write!(
            f,
            "{} multiprocessors, {:.1} GiB, ",
            self.limits.multiprocessors,
            self.memory as f64 / (1u64 << 30) as f64
        )?;
        write!(f, "driver for CUDA {}, ", cuda_version(self.driver_version))?;
        write!(f, "cuBLASLt {}.{}.{}", blas / 10_000, blas / 100 % 100, blas % 100)
    }
}

/// Whether there is a GPU that can be used.
#[derive(Debug, Clone)]
pub enum Status {
    /// There is no GPU, as far as can be seen.
    Absent,
    /// All GPUs, by their numbers. The first one can be opened.
    Ready(Vec<DeviceInfo>),
    /// There is a GPU, but it cannot be used for this reason.
    Unusable(Error),
}

/// Looks for GPUs without opening one.
pub fn status() -> Status {
    let all = |driver: &'static LoadedDriver| -> Result<Vec<_>> {
        device(0)?;
        (0..driver.devices).map(|ordinal| Ok(describe(driver, ordinal)?.1)).collect()
    };
    match load::driver() {
        Err(Missing::Device(_)) => Status::Absent,
        Err(Missing::Support(error)) => Status::Unusable(error),
        Ok(driver) => all(driver).map_or_else(Status::Unusable, Status::Ready),
    }
}

/// Finds a GPU that can be used. The error says why this one cannot.
pub(super) fn device(ordinal: usize) -> Result<(cu::CUdevice, DeviceInfo)> {
    let driver = load::driver()?;
    if ordinal >= driver.devices {
        let count = driver.devices;
        return Err(failed(format!("no GPU {ordinal}: there are {count}, counted from 0")));
    }
    let (device, info) = describe(driver, ordinal)?;
    let [major, minor] = info.limits.compute_capability;
    if info.limits.compute_capability < OLDEST_CAPABILITY {
        return Err(failed(format!(
            "{} has compute capability {major}.{minor}; the kernels need 8.0 (sm_80) or newer",
            info.name
        )));
    }
    Ok((device, info))
}

/// A GPU of the driver, whether it can be used or not.
fn describe(driver: &LoadedDriver, ordinal: usize) -> Result<(cu::CUdevice, DeviceInfo)> {
    let functions = &driver.functions;
    let about = || format!("GPU {ordinal}");
    let mut device: cu::CUdevice = 0;
    let mut name = [0 as c_char; 256];
    let mut memory = 0;
    // SAFETY: the ordinal is one of the driver's. Each call writes one value; the name fits into its 256 bytes with the
    // zero at its end.
    let name = unsafe {
        functions
            .cuDeviceGet(&mut device, ordinal as c_int)
            .and_then(|()| functions.cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device))
            .and_then(|()| functions.cuDeviceTotalMem_v2(&mut memory, device))
            .about(about)?;
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    };
    let attribute = |attribute| {
        let mut value: c_int = 0;
        // SAFETY: the call writes one integer.
        unsafe { functions.cuDeviceGetAttribute(&mut value, attribute, device) }.about(about)?;
        Ok::<_, Error>(value as usize)
    };
    let capability = [
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32,
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32,
    ];
    let info = DeviceInfo {
        name,
        limits: Limits {
            compute_capability: capability,
            multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_per_block: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            shared_per_multiprocessor: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
            shared_reserved: attribute(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK)?,
            registers_per_multiprocessor: attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
            threads_per_multiprocessor: attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
            blocks_per_multiprocessor: attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR)?,
        },
        memory,
        driver_version: driver.cuda,
        cublaslt_version: load::blas(driver.cuda)?.version,
    };
    Ok((device, info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_line() {
        let info = DeviceInfo {
            name: "NVIDIA H100 80GB HBM3".into(),
            limits: crate::cards::H100,
            memory: 85_017_624_576,
            driver_version: 12_080,
            cublaslt_version: 120_804,
        };
        let want = "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors, 79.2 GiB, \
                    driver for CUDA 12.8, cuBLASLt 12.8.4";
        assert_eq!(info.to_string(), want);
    }
}
