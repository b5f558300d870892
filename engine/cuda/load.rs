//! Finds and loads the driver and cuBLASLt. Both stay loaded until the process ends.

use std::error::Error as _;
use std::ffi::{OsStr, OsString, c_int};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::Library;

use super::error::{NO_DEVICE, failed};
use super::functions::{Basics, BlasLt, Driver};
use crate::{Error, Result};

/// The file of the driver.
const DRIVER: &str = "libcuda.so.1";
/// The CUDA version that the committed PTX files (`.version 8.4`) need: 12.4.
const OLDEST_CUDA: u32 = 12_040;
/// The first driver that has it.
const OLDEST_DRIVER: u32 = 550;
/// The variable that names a folder with cuBLASLt, which is looked at before all others.
const CUBLAS_DIR: &str = "SVP_CUBLAS_DIR";

/// Why there is no driver to use.
#[derive(Debug, Clone)]
pub(super) enum Missing {
    /// There is no GPU.
    Device(Error),
    /// There may be a GPU, but it cannot be used.
    Support(Error),
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Error {
        match missing {
            Missing::Device(error) | Missing::Support(error) => error,
        }
    }
}

/// The driver's library and the functions that drivers of every age have, loaded by the first call.
pub(super) fn basics() -> Result<&'static (&'static Library, Basics), Missing> {
    static LOADED: OnceLock<Result<(&'static Library, Basics), Missing>> = OnceLock::new();
    let load = || {
        let library = open(Path::new(DRIVER)).map_err(|why| match why {
            Unopened::Absent => Missing::Device(failed(format!("no NVIDIA GPU: {DRIVER} is not installed"))),
            Unopened::Broken(why) => Missing::Support(failed(format!("{DRIVER} cannot be loaded: {why}"))),
        })?;
        Ok((library, Basics::of(library).map_err(lacks)?))
    };
    LOADED.get_or_init(load).as_ref().map_err(Clone::clone)
}

/// The driver does not have a function.
fn lacks(function: &'static str) -> Missing {
    Missing::Support(failed(format!("{DRIVER} has no function {function}")))
}

/// A driver that is new enough and has a device.
#[derive(Debug)]
pub(super) struct LoadedDriver {
    pub functions: Driver,
    /// The newest CUDA version that it knows; 12080 is 12.8.
    pub cuda: u32,
    pub devices: usize,
}

/// The driver, loaded by the first call.
pub(super) fn driver() -> Result<&'static LoadedDriver, Missing> {
    static LOADED: OnceLock<Result<LoadedDriver, Missing>> = OnceLock::new();
    LOADED.get_or_init(load_driver).as_ref().map_err(Clone::clone)
}

/// Checks that there is a GPU, then that its driver is new enough, and only then looks for the functions that an old driver
/// does not have.
fn load_driver() -> Result<LoadedDriver, Missing> {
    let (library, basics) = basics()?;
    // SAFETY: the only argument is a flag that must be 0.
    let started = unsafe { basics.cuInit(0) };
    let (mut devices, mut cuda): (c_int, c_int) = (0, 0);
    // SAFETY: the driver is initialised, and each call writes one integer.
    let counted = started
        .and_then(|()| unsafe { basics.cuDeviceGetCount(&mut devices) })
        .and_then(|()| unsafe { basics.cuDriverGetVersion(&mut cuda) });
    match counted {
        Ok(()) => {}
        Err(why) => {
            let text = basics.describe(why);
            return Err(match why.code {
                NO_DEVICE => {
                    Missing::Device(failed(format!("no NVIDIA GPU: the driver finds no device ({text})")))
                }
                _ => Missing::Support(failed(format!("the driver does not start ({text})"))),
            });
        }
    }
    if devices < 1 {
        return Err(Missing::Device(failed("no NVIDIA GPU: the driver finds no device")));
    }
    let cuda = cuda as u32;
    if cuda < OLDEST_CUDA {
        return Err(Missing::Support(failed(format!(
            "the NVIDIA driver is too old: it knows CUDA up to {}, the kernels need {}; install driver {} or newer",
            cuda_version(cuda),
            cuda_version(OLDEST_CUDA),
            OLDEST_DRIVER
        ))));
    }
    Ok(LoadedDriver { functions: Driver::of(library).map_err(lacks)?, cuda, devices: devices as usize })
}

/// The version as people write it: 12080 is `12.8`.
pub(super) fn cuda_version(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// cuBLASLt.
#[derive(Debug)]
pub(super) struct LoadedBlas {
    pub functions: BlasLt,
    /// 120804 is 12.8.4.
    pub version: usize,
}

/// cuBLASLt for a driver of this CUDA version, loaded by the first call.
pub(super) fn blas(cuda: u32) -> Result<&'static LoadedBlas> {
    static LOADED: OnceLock<Result<LoadedBlas>> = OnceLock::new();
    LOADED.get_or_init(|| load_blas(cuda)).as_ref().map_err(Clone::clone)
}

fn load_blas(cuda: u32) -> Result<LoadedBlas> {
    let (path, library) = find_blas(cuda)?;
    let lacks = |function| failed(format!("{} has no function {function}", path.display()));
    let functions = BlasLt::of(library).map_err(lacks)?;
    // SAFETY: the type is that of the C header, and the library stays loaded.
    let version = unsafe { library.get::<unsafe extern "C" fn() -> usize>(b"cublasLtGetVersion\0") };
    let version = version.map_err(|_| lacks("cublasLtGetVersion"))?;
    // SAFETY: the function takes no arguments.
    Ok(LoadedBlas { functions, version: unsafe { version() } })
}

/// The file names of cuBLASLt that a driver can serve, best first. A library of CUDA 13 needs a driver of CUDA 13.
fn blas_names(cuda: u32) -> &'static [&'static str] {
    match cuda {
        13_000.. => &["libcublasLt.so.13", "libcublasLt.so.12"],
        _ => &["libcublasLt.so.12"],
    }
}

/// Opens the first cuBLASLt that can be loaded. The error says where it was looked for.
fn find_blas(cuda: u32) -> Result<(PathBuf, &'static Library)> {
    let names = blas_names(cuda);
    let program = std::env::current_exe().ok();
    let folders = blas_folders(|name| std::env::var_os(name), program.as_deref());
    let mut broken = None;
    for path in folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name))) {
        match open(&path) {
            Ok(library) => return Ok((path, library)),
            Err(Unopened::Absent) => {}
            Err(Unopened::Broken(why)) => {
                broken.get_or_insert(format!("{} cannot be loaded: {why}; ", path.display()));
            }
        }
    }
    let places: Vec<_> =
        folders.iter().filter(|f| !f.as_os_str().is_empty()).map(|f| f.display().to_string()).collect();
    Err(failed(format!(
        "cuBLASLt not found: {}looked for {} where the loader looks and in {}; install cuBLAS (pip install \
         nvidia-cublas-cu12 into the environment that holds this program or is active is enough), or set {CUBLAS_DIR} to \
         the folder that holds it",
        broken.unwrap_or_default(),
        names.join(" and "),
        places.join(", "),
    )))
}

/// The folders in which cuBLASLt may lie, in the order of asking. The empty path stands for where the loader looks.
/// `program` is the file of this program, which pip may have installed beside cuBLAS.
fn blas_folders(variable: impl Fn(&str) -> Option<OsString>, program: Option<&Path>) -> Vec<PathBuf> {
    let of = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders: Vec<_> = of(CUBLAS_DIR).into_iter().collect();
    folders.push(PathBuf::new());
    folders.extend([of("CUDA_HOME"), of("CUDA_PATH")].into_iter().flatten().map(|cuda| cuda.join("lib64")));
    folders.push("/usr/local/cuda/lib64".into());
    folders.extend(newest_first(Path::new("/usr/local"), "cuda-").into_iter().map(|cuda| cuda.join("lib64")));
    let conda = of("CONDA_PREFIX");
    folders.extend(conda.iter().map(|conda| conda.join("lib")));
    // In an environment the program is `bin/svp-train`.
    let bin = program.and_then(Path::parent).filter(|folder| folder.ends_with("bin"));
    let own = bin.and_then(Path::parent).map(Path::to_path_buf);
    let mut asked: Vec<PathBuf> = vec![];
    for environment in [own, of("VIRTUAL_ENV"), conda].into_iter().flatten() {
        if !asked.contains(&environment) {
            folders.extend(pip_folders(&environment));
            asked.push(environment);
        }
    }
    folders
}

/// The folders in which pip puts cuBLAS for the Pythons of an environment.
fn pip_folders(environment: &Path) -> impl Iterator<Item = PathBuf> {
    const PACKAGES: [&str; 2] = ["site-packages", "dist-packages"]; // The second is Debian's.
    let pythons = newest_first(&environment.join("lib"), "python3").into_iter();
    let packages = pythons.flat_map(|python| PACKAGES.map(|name| python.join(name).join("nvidia")));
    let packages = packages.filter(|packages| packages.is_dir());
    packages.flat_map(|packages| ["cublas", "cu12", "cu13"].map(|name| packages.join(name).join("lib")))
}

/// The entries of a folder whose names begin with `start`, those with the largest numbers first.
fn newest_first(folder: &Path, start: &str) -> Vec<PathBuf> {
    let mut found = entries(folder, start);
    found.sort_by_key(|path| std::cmp::Reverse(numbers(path)));
    found
}

/// The entries of a folder whose names begin with `start`.
fn entries(folder: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return vec![] };
    let named =
        |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(start));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect()
}

/// The numbers in the name of a file, by which 12.10 is newer than 12.9.
fn numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Why a library was not opened.
enum Unopened {
    /// There is no such file.
    Absent,
    /// The file cannot be loaded, for this reason.
    Broken(String),
}

/// Loads a library for the rest of the process.
fn open(path: &Path) -> Result<&'static Library, Unopened> {
    // SAFETY: NVIDIA's libraries only set themselves up when they are loaded.
    match unsafe { Library::new(path) } {
        Ok(library) => Ok(Box::leak(Box::new(library))),
        Err(why) => {
            let why = why.source().map_or_else(|| why.to_string(), ToString::to_string);
            // The file itself is not there, and not another one that it needs.
            let name = path.to_string_lossy();
            let absent = why.contains("No such file") && why.contains(&format!("{name}: cannot open"));
            if absent { Err(Unopened::Absent) } else { Err(Unopened::Broken(why)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cublas_is_looked_for_in_this_order() {
        let place = std::env::temp_dir().join(format!("svp-cuda-load-{}", std::process::id()));
        let (own, venv) = (place.join("own"), place.join("venv"));
        for packages in ["python3.9/site-packages", "python3.12/site-packages", "python2.7/site-packages"] {
            std::fs::create_dir_all(venv.join("lib").join(packages).join("nvidia")).unwrap();
        }
        std::fs::create_dir_all(venv.join("lib/python3.13/site-packages")).unwrap();
        std::fs::create_dir_all(own.join("lib/python3.11/dist-packages/nvidia")).unwrap();
        let variable = |name: &str| {
            Some(match name {
                CUBLAS_DIR => "/named".into(),
                "CUDA_HOME" => "/toolkit".into(),
                "CUDA_PATH" => "".into(),
                "CONDA_PREFIX" => "/conda".into(),
                "VIRTUAL_ENV" => venv.clone().into_os_string(),
                _ => return None,
            })
        };
        let folders = blas_folders(variable, Some(&own.join("bin/svp-train")));
        let (first, rest) = folders.split_at(4);
        assert_eq!(first, ["/named", "", "/toolkit/lib64", "/usr/local/cuda/lib64"].map(PathBuf::from));
        let conda = rest.iter().position(|folder| folder == Path::new("/conda/lib")).unwrap();
        let packages =
            |python: &str| ["cublas", "cu12", "cu13"].map(|name| format!("{python}/nvidia/{name}/lib"));
        let own_folders = packages("own/lib/python3.11/dist-packages");
        let of_venv =
            ["3.12", "3.9"].map(|n| packages(&format!("venv/lib/python{n}/site-packages"))).concat();
        let want: Vec<_> = own_folders.iter().chain(&of_venv).map(|folder| place.join(folder)).collect();
        assert_eq!(rest[conda + 1..], want);
        // The program in the active environment is in it once, and one that lies elsewhere is in none.
        for program in [venv.join("bin/svp-train"), own.join("release/svp-train")] {
            assert_eq!(blas_folders(variable, Some(&program)).len(), folders.len() - 3, "{program:?}");
        }
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_library_of_cuda_13_is_for_its_driver_only() {
        assert_eq!(blas_names(12_090), ["libcublasLt.so.12"]);
        assert_eq!(blas_names(13_000), ["libcublasLt.so.13", "libcublasLt.so.12"]);
    }

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!([12_040, 12_080, 13_000].map(cuda_version), ["12.4", "12.8", "13.0"]);
        assert!(numbers(Path::new("/usr/local/cuda-12.10")) > numbers(Path::new("/usr/local/cuda-12.9")));
    }

    #[test]
    fn absent_and_broken_files_differ() {
        assert!(matches!(open(Path::new("libsvp-not-there.so.1")), Err(Unopened::Absent)));
        let broken = std::env::temp_dir().join(format!("svp-cuda-broken-{}.so", std::process::id()));
        std::fs::write(&broken, "no library").unwrap();
        let Err(Unopened::Broken(why)) = open(&broken) else { panic!("opened, or absent") };
        assert!(why.contains("svp-cuda-broken"), "{why}");
        std::fs::remove_file(&broken).unwrap();
    }
}
