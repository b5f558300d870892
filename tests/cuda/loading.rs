//! What a machine needs for the CUDA device, and the messages where something is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use engine::cuda::{Status, status};
use engine::{Device, Error};
use testkit::programs::{Scratch, program, succeeds, words};
use testkit::{fake_cuda, kernels};

use super::child::{Libraries, alone, calls, on_fake};

/// The reason why the first GPU cannot be used; `--device auto` must give the same.
fn unusable() -> String {
    let why = Device::cuda(0).unwrap_err();
    assert!(matches!(why, Error::Device { .. }), "{why:?}");
    match status() {
        Status::Unusable(error) => assert_eq!(error.to_string(), why.to_string()),
        other => panic!("{other:?}"),
    }
    why.to_string()
}

/// Checks that there is no GPU, which `--device auto` does not mention.
fn absent() -> String {
    assert!(matches!(status(), Status::Absent), "{:?}", status());
    Device::cuda(0).unwrap_err().to_string()
}

/// A folder with some of the fake libraries. Both names must link to one file, from which both are loaded.
fn folder(name: &str, libraries: &[&str]) -> Scratch {
    let place = Scratch::new(name);
    for library in libraries {
        let file = fake_cuda::folder().join(library).canonicalize().unwrap();
        std::os::unix::fs::symlink(file, place.at(library)).unwrap();
    }
    place
}

const DRIVER: &str = "libcuda.so.1";
const BLAS: &str = "libcublasLt.so.12";

/// Whether the loader finds a library of that name on this system.
fn in_system(name: &str) -> bool {
    // SAFETY: NVIDIA's libraries only initialise themselves when they are loaded.
    let there = unsafe { libloading::Library::new(name) }.is_ok();
    if there {
        println!("skipped: this system has a {name} of its own");
    }
    there
}

#[test]
fn a_machine_without_a_driver() {
    let place = folder("cuda-no-driver", &[]);
    alone("loading::a_machine_without_a_driver", Libraries::In(place.at("")), &[], || {
        if !in_system(DRIVER) {
            assert_eq!(absent(), "cuda device: no NVIDIA GPU: libcuda.so.1 is not installed");
        }
    });
}

#[test]
fn a_driver_that_is_no_library() {
    let place = folder("cuda-broken-driver", &[]);
    place.write(DRIVER, b"nothing");
    let test = "loading::a_driver_that_is_no_library";
    alone(test, Libraries::In(place.at("")), &[], || {
        if !in_system(DRIVER) {
            let why = unusable();
            assert!(why.starts_with("cuda device: libcuda.so.1 cannot be loaded: "), "{why}");
        }
    });
}

#[test]
fn a_driver_without_a_gpu() {
    on_fake("loading::a_driver_without_a_gpu", &[("FAKE_CUDA_DEVICES", "0")], || {
        let want = "cuda device: no NVIDIA GPU: the driver finds no device (cuInit: CUDA_ERROR_NO_DEVICE (no \
                    CUDA-capable device is detected))";
        assert_eq!(absent(), want);
    });
}

#[test]
fn a_driver_that_does_not_start() {
    on_fake("loading::a_driver_that_does_not_start", &[("FAKE_CUDA_FAIL", "cuInit:999@1")], || {
        let want = "cuda device: the driver does not start (cuInit: CUDA_ERROR_UNKNOWN (unknown error))";
        assert_eq!(unusable(), want);
    });
}

#[test]
fn a_driver_that_is_too_old() {
    on_fake("loading::a_driver_that_is_too_old", &[("FAKE_CUDA_VERSION", "12020")], || {
        let want = "cuda device: the NVIDIA driver is too old: it knows CUDA up to 12.2, the kernels need 12.4; \
                    install driver 550 or newer";
        assert_eq!(unusable(), want);
    });
}

/// The launcher must ask for what the kernels need.
#[test]
fn the_committed_kernels_are_for_cuda_12_4_and_sm_80() {
    let files = kernels::files();
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for line in [".version 8.4", ".target sm_80"] {
            assert!(text.lines().any(|found| found == line), "{}: no line {line}", file.display());
        }
    }
}

#[test]
fn a_gpu_that_is_too_old() {
    on_fake("loading::a_gpu_that_is_too_old", &[("FAKE_CUDA_CAPABILITY", "75")], || {
        let why = unusable();
        assert!(why.ends_with(" has compute capability 7.5; the kernels need 8.0 (sm_80) or newer"), "{why}");
    });
}

#[test]
fn a_gpu_that_is_not_there() {
    on_fake("loading::a_gpu_that_is_not_there", &[("FAKE_CUDA_DEVICES", "2")], || {
        let Status::Ready(devices) = status() else { panic!("{:?}", status()) };
        assert_eq!(devices.len(), 2);
        let device = Device::cuda(1).unwrap();
        assert_eq!(device.info(), Some(devices[1].to_string()));
        assert_eq!(device.name(), "cuda");
        let why = Device::cuda(2).unwrap_err().to_string();
        assert_eq!(why, "cuda device: no GPU 2: there are 2, counted from 0");
    });
}

#[test]
fn no_cublas() {
    let place = folder("cuda-no-cublas", &[DRIVER]);
    let test = "loading::no_cublas";
    alone(test, Libraries::In(place.at("")), &[("CUDA_HOME", "/named/by/user")], || {
        if in_system(BLAS) || Path::new("/usr/local/cuda/lib64").join(BLAS).exists() {
            return;
        }
        let why = unusable();
        let start = "cuda device: cuBLASLt not found: looked for libcublasLt.so.12 where the loader looks and in \
                     /named/by/user/lib64, /usr/local/cuda/lib64";
        assert!(why.starts_with(start), "{why}");
        assert!(why.ends_with("set SVP_CUBLAS_DIR to the folder that holds it"), "{why}");
        assert!(why.contains("pip install nvidia-cublas-cu12"), "{why}");
    });
}

#[test]
fn cublas_in_a_folder_that_is_named() {
    let place = folder("cuda-named-cublas", &[DRIVER]);
    let blas = folder("cuda-named-cublas-folder", &[BLAS]);
    let variables = [("SVP_CUBLAS_DIR", &*blas.at(""))];
    let test = "loading::cublas_in_a_folder_that_is_named";
    alone(test, Libraries::In(place.at("")), &variables, || {
        Device::cuda(0).unwrap();
        assert!(calls(0).contains(&"cublasLtCreate".into()), "that of the folder: {:?}", calls(0));
    });
}

/// `pip install .[cuda]`: the program in the environment's `bin`, cuBLAS among its Python packages. No variable says
/// where.
#[test]
fn cublas_that_pip_installed_beside_the_program() {
    let place = folder("cuda-pip-cublas", &[DRIVER]);
    let bin = place.at("venv/bin");
    let packages = place.at("venv/lib/python3.12/site-packages/nvidia/cublas/lib");
    [&bin, &packages].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let file = fake_cuda::folder().join(BLAS).canonicalize().unwrap();
    std::os::unix::fs::symlink(file, Path::new(&packages).join(BLAS)).unwrap();
    let train = Path::new(&bin).join("svp-train");
    fs::hard_link(program("svp-train").get_program(), &train).unwrap();
    let log = place.at("log");
    let mut train = Command::new(train);
    let args = "--data builtin:count --method full --model vim_nano --embed-dim 16 --depth 1 --batch-size 2 \
                --device cuda --dry-run";
    train.args(words(args)).env("LD_LIBRARY_PATH", place.at("")).env("FAKE_CUDA_LOG", &log);
    for name in ["SVP_CUBLAS_DIR", "CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "VIRTUAL_ENV"] {
        train.env_remove(name);
    }
    succeeds(&train.output().unwrap());
    let calls = fs::read_to_string(log).unwrap();
    assert!(in_system(BLAS) || calls.contains("cublasLtMatmul "), "that of the environment: {calls}");
}

#[test]
fn a_cublas_that_is_no_library() {
    let place = folder("cuda-broken-cublas", &[DRIVER]);
    place.write(BLAS, b"nothing");
    let test = "loading::a_cublas_that_is_no_library";
    alone(test, Libraries::In(place.at("")), &[("SVP_CUBLAS_DIR", &place.at(""))], || {
        if !in_system(BLAS) && !Path::new("/usr/local/cuda/lib64").join(BLAS).exists() {
            let why = unusable();
            let broken = format!("{BLAS} cannot be loaded: ");
            assert!(why.contains("cuBLASLt not found: ") && why.contains(&broken), "{why}");
        }
    });
}
