//! Error messages must name the call, kernel or product that failed, and its sizes.

use engine::cuda::Cuda;
use engine::launch::{Arg, BlasGemm, ColumnMajor, Grid, Kernel, Launcher, PtxFile, Region};
use engine::{DType, Device, Error, Result, Tensor};

use super::child::{in_every_order, on_fake};

static FILE: PtxFile = PtxFile { name: "test/kernel.ptx", text: include_str!("kernel.ptx") };
/// The kernel `set(to, value)`, which writes one word.
pub const SET: Kernel = Kernel { file: &FILE, entry: "set" };
/// The kernel `stray(to)`, which writes a word far beyond its buffer.
const STRAY: Kernel = Kernel { file: &FILE, entry: "stray" };
pub const ONE: Grid = Grid { blocks: [1; 3], threads: [1; 3], shared: 0 };

/// The message of an error that the device survives.
fn what(result: Result<impl std::fmt::Debug>) -> String {
    match result.unwrap_err() {
        Error::Device { device: "cuda", what } => what,
        other => panic!("{other:?}"),
    }
}

/// The message of an error that loses the device.
fn lost(result: Result<impl std::fmt::Debug>) -> String {
    match result.unwrap_err() {
        Error::Lost { device: "cuda", what } => what,
        other => panic!("{other:?}"),
    }
}

fn word(cuda: &Cuda, at: Region) -> Result<u32> {
    let mut bytes = [0; 4];
    cuda.download(at, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// The product `c[4 4] = a[4 4] b[4 4]` in f32, with all matrices in one region.
fn product(at: Region) -> BlasGemm {
    let matrix = |n: usize| Region { bytes: 64, ..at.skip(n * 256) };
    BlasGemm {
        m: 4,
        n: 4,
        k: 4,
        a: ColumnMajor { region: matrix(0), ld: 4, transposed: false },
        b: ColumnMajor { region: matrix(1), ld: 4, transposed: false },
        c: matrix(2),
        ldc: 4,
        input: DType::F32,
        output: DType::F32,
        beta: 0.0,
        bias: None,
        tf32: false,
    }
}

#[test]
fn arguments_that_are_not_the_kernel_s() {
    on_fake("errors::arguments_that_are_not_the_kernel_s", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        let failed = what(cuda.launch(SET, ONE, &[Arg::Out(at)]));
        assert_eq!(failed, "kernel set of test/kernel.ptx takes 2 arguments, 1 were given");
        let failed = what(cuda.launch(SET, ONE, &[Arg::U32(1), Arg::U32(1)]));
        assert_eq!(failed, "kernel set of test/kernel.ptx: argument 0 has 8 bytes, 4 were given");
        cuda.launch(SET, ONE, &[Arg::Out(at), Arg::U32(7)]).unwrap();
        assert_eq!(word(&cuda, at).unwrap(), 7);
    });
}

#[test]
fn a_kernel_that_is_not_there() {
    on_fake("errors::a_kernel_that_is_not_there", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let failed = what(cuda.launch(Kernel { entry: "missing", ..SET }, ONE, &[]));
        let want = "cuModuleGetFunction: CUDA_ERROR_NOT_FOUND (named symbol not found), kernel missing of \
                    test/kernel.ptx";
        assert_eq!(failed, want);
    });
}

#[test]
fn ptx_that_the_driver_refuses() {
    on_fake("errors::ptx_that_the_driver_refuses", &[], || {
        static BROKEN: PtxFile = PtxFile { name: "broken/kernel.ptx", text: ".version 8.4\nnonsense\n" };
        let cuda = Cuda::open(0).unwrap();
        let failed = what(cuda.launch(Kernel { file: &BROKEN, entry: "set" }, ONE, &[]));
        let want =
            "cuModuleLoadDataEx: CUDA_ERROR_INVALID_PTX (a PTX JIT compilation failed), broken/kernel.ptx: ";
        let log = failed.strip_prefix(want).unwrap_or_else(|| panic!("{failed}"));
        assert!(
            log.contains('2') && !log.contains('\n'),
            "the log's first line, with the line of the file: {log}"
        );
    });
}

#[test]
fn more_shared_memory_than_a_block_can_have() {
    on_fake("errors::more_shared_memory_than_a_block_can_have", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        let args = [Arg::Out(at), Arg::U32(7)];
        cuda.launch(SET, Grid { shared: 100_000, ..ONE }, &args).unwrap();
        assert_eq!(word(&cuda, at).unwrap(), 7);
        let failed = what(cuda.launch(SET, Grid { shared: 300_000, ..ONE }, &args));
        let want = "cuFuncSetAttribute: CUDA_ERROR_INVALID_VALUE (invalid argument), kernel set of test/kernel.ptx, \
                    blocks [1, 1, 1], threads [1, 1, 1], 300000 bytes of dynamic shared memory; a block can have \
                    232448 bytes on this device";
        assert_eq!(failed, want);
    });
}

#[test]
fn a_launch_that_is_refused() {
    let variables = [("FAKE_CUDA_FAIL", "cuLaunchKernel:701@1")];
    on_fake("errors::a_launch_that_is_refused", &variables, || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        let failed = what(cuda.launch(SET, ONE, &[Arg::Out(at), Arg::U32(7)]));
        let want = "cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (too many resources requested for launch), \
                    kernel set of test/kernel.ptx, blocks [1, 1, 1], threads [1, 1, 1], 0 bytes of dynamic shared \
                    memory";
        assert_eq!(failed, want);
        cuda.launch(SET, ONE, &[Arg::Out(at), Arg::U32(7)]).unwrap();
        assert_eq!(word(&cuda, at).unwrap(), 7);
    });
}

const ILLEGAL: &str = "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered)";

/// A kernel that fails unwatched is reported by the next call that waits, which says that the failure may not be its
/// own.
#[test]
fn a_kernel_that_destroys_the_context() {
    on_fake("errors::a_kernel_that_destroys_the_context", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        cuda.launch(STRAY, ONE, &[Arg::Out(at)]).unwrap();
        let hint =
            "; an earlier kernel may be the one that failed: with SVP_CUDA_SYNC=1 the message names it";
        assert_eq!(lost(word(&cuda, at)), format!("cuMemcpyDtoHAsync: {ILLEGAL}, download of 4 bytes{hint}"));
        let later = lost(cuda.alloc(4));
        assert_eq!(later, format!("cuMemAllocAsync: {ILLEGAL}, 4 bytes of memory{hint}"));
    });
}

#[test]
fn a_kernel_that_destroys_the_context_and_is_waited_for() {
    let test = "errors::a_kernel_that_destroys_the_context_and_is_waited_for";
    on_fake(test, &[("SVP_CUDA_SYNC", "1")], || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        cuda.launch(SET, ONE, &[Arg::Out(at), Arg::U32(7)]).unwrap();
        let want = format!(
            "cuStreamSynchronize: {ILLEGAL}, kernel stray of test/kernel.ptx, blocks [1, 1, 1], threads [1, 1, 1], \
             0 bytes of dynamic shared memory"
        );
        assert_eq!(lost(cuda.launch(STRAY, ONE, &[Arg::Out(at)])), want);
    });
}

/// A failure in an operation that cannot fail on the CPU is passed on to the next one that can report it.
#[test]
fn a_device_that_falls_out() {
    let variables = [("FAKE_CUDA_FAIL", "cuMemsetD8Async:214@1")];
    on_fake("errors::a_device_that_falls_out", &variables, || {
        let device = Device::cuda(0).unwrap();
        let zeros = Tensor::zeros(&device, &[3]);
        let want = "cuMemsetD8Async: CUDA_ERROR_ECC_UNCORRECTABLE (uncorrectable ECC error encountered), zeroing 12 \
                    bytes; ";
        let said = lost(zeros.to_host());
        assert!(said.starts_with(want), "{said}");
    });
}

#[test]
fn a_code_that_nobody_knows() {
    let variables = [("FAKE_CUDA_FAIL", "cuMemcpyDtoDAsync:987654@1")];
    on_fake("errors::a_code_that_nobody_knows", &variables, || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(8).unwrap();
        let failed = what(cuda.copy(at, at));
        assert_eq!(failed, "cuMemcpyDtoDAsync: error 987654, copy of 8 bytes");
    });
}

#[test]
fn more_memory_than_there_is() {
    let variables = [("FAKE_CUDA_MEMORY", "100000000")];
    on_fake("errors::more_memory_than_there_is", &variables, || {
        let cuda = Cuda::open(0).unwrap();
        let [free, total] = cuda.memory().unwrap();
        assert!(
            total == 100_000_000 && free <= total - (32 << 20),
            "{free} of {total}: the workspace is taken"
        );
        let half = cuda.alloc(free / 2).unwrap();
        let wanted = free - free / 4;
        match cuda.alloc(wanted).unwrap_err() {
            Error::Memory { device: "cuda", asked, free: left, total } => {
                assert_eq!((asked, total), (wanted, 100_000_000));
                assert!(left <= free - free / 2, "{left}");
            }
            other => panic!("{other:?}"),
        }
        cuda.free(half);
        cuda.alloc(wanted).unwrap();
    });
}

/// Freed memory that the pool holds in other sizes must be given back to the driver before an allocation fails.
#[test]
fn memory_that_comes_back() {
    on_fake("errors::memory_that_comes_back", &[("FAKE_CUDA_FAIL", "cuMemAllocAsync:2@2")], || {
        let cuda = Cuda::open(0).unwrap();
        let before = super::child::log().len();
        let at = cuda.alloc(4).unwrap();
        assert!(at.at != 0);
        let calls = super::child::calls(before);
        assert_eq!(calls, ["cuMemAllocAsync", "cuStreamSynchronize", "cuMemPoolTrimTo", "cuMemAllocAsync"]);
    });
}

/// 32 MiB fit beside the workspace of 32 MiB only once: what was freed in one stream must have come back before another
/// stream makes memory.
const TIGHT: [(&str, &str); 1] = [("FAKE_CUDA_MEMORY", "100000000")];

#[test]
fn a_recording_has_the_memory_that_was_freed_before() {
    in_every_order("errors::a_recording_has_the_memory_that_was_freed_before", &TIGHT, || {
        let device = Device::cuda(0).unwrap();
        let step = || Ok::<_, Error>(Tensor::zeros(&device, &[1 << 23]));
        drop(step().unwrap());
        let (recording, y) = device.record(step).unwrap();
        recording.run().unwrap();
        assert!(y.to_host().unwrap().iter().all(|&value| value == 0.0));
        assert_eq!(super::child::failures(), [""; 0]);
    });
}

#[test]
fn what_is_sent_has_the_memory_that_was_freed_before() {
    in_every_order("errors::what_is_sent_has_the_memory_that_was_freed_before", &TIGHT, || {
        let cuda = Cuda::open(0).unwrap();
        let [to, freed] = [30_000_000; 2].map(|bytes| cuda.alloc(bytes).unwrap());
        cuda.zero(freed).unwrap();
        cuda.free(freed);
        cuda.send(to, &vec![7; to.bytes]).unwrap();
        let mut bytes = vec![0; to.bytes];
        cuda.download(to, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 7));
        assert_eq!(super::child::failures(), [""; 0]);
    });
}

#[test]
fn products_that_fail() {
    let variables =
        [("FAKE_CUDA_FAIL", "cublasLtMatmulAlgoGetHeuristic:7@1,cublasLtMatmul:3@2,cublasLtMatmul:13@3")];
    on_fake("errors::products_that_fail", &variables, || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(768).unwrap();
        cuda.zero(at).unwrap();
        let gemm = product(at);
        let failed = what(cuda.gemm(&gemm));
        assert_eq!(failed, "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_INVALID_VALUE, gemm 4 4 4 f32 f32");
        cuda.gemm(&gemm).unwrap();
        assert!(matches!(cuda.gemm(&gemm).unwrap_err(), Error::Memory { device: "cuda", .. }));
        let failed = what(cuda.gemm(&gemm));
        assert_eq!(failed, "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED, gemm 4 4 4 f32 f32");
        cuda.gemm(&gemm).unwrap();
        assert_eq!(word(&cuda, Region { bytes: 4, ..gemm.c }).unwrap(), 0);
    });
}

/// cuBLASLt reports only that it failed; the driver reports that the device is lost.
#[test]
fn a_product_on_a_lost_device() {
    let variables = [("FAKE_CUDA_FAIL", "cublasLtMatmul:13@1")];
    on_fake("errors::a_product_on_a_lost_device", &variables, || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(768).unwrap();
        cuda.zero(at).unwrap();
        cuda.launch(STRAY, ONE, &[Arg::Out(Region { bytes: 4, ..at })]).unwrap();
        let said = lost(cuda.gemm(&product(at)));
        assert!(said.starts_with(&format!("cuStreamSynchronize: {ILLEGAL}, gemm 4 4 4 f32 f32; ")), "{said}");
    });
}

#[test]
fn cublas_that_does_not_start() {
    let variables = [("FAKE_CUDA_FAIL", "cublasLtCreate:1@1")];
    on_fake("errors::cublas_that_does_not_start", &variables, || {
        let failed = what(Cuda::open(0));
        let want = "cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED, cuBLASLt does not start on this device";
        assert_eq!(failed, want);
        Cuda::open(0).unwrap();
    });
}

#[test]
fn what_cannot_be_recorded_is_refused_as_on_the_emulated_device() {
    let test = "errors::what_cannot_be_recorded_is_refused_as_on_the_emulated_device";
    on_fake(test, &[], || {
        let said = [Device::cuda(0).unwrap(), Device::emulated()].map(|device| {
            let launcher = device.launcher().unwrap();
            let at = launcher.alloc(4).unwrap();
            let none = launcher.recorded().unwrap_err().to_string();
            launcher.record().unwrap();
            let mut bytes = [0; 4];
            let refused = [
                launcher.record().unwrap_err(),
                launcher.download(at, &mut bytes).unwrap_err(),
                launcher.send(at, &bytes).unwrap_err(),
            ];
            let receive = launcher.receive(at).unwrap_err().to_string();
            assert!(receive.ends_with(" while calls are recorded"), "{receive}");
            launcher.recorded().unwrap();
            let prefix = format!("{} device: ", device.name());
            let tail = |error: String| error.strip_prefix(&prefix).expect("the device's name").to_string();
            let refused: Vec<_> = refused.into_iter().map(|error| tail(error.to_string())).collect();
            (tail(none), refused)
        });
        assert_eq!(said[0], said[1]);
    });
}

/// The stream must run work again after a capture that was spoiled.
#[test]
fn a_recording_that_fails() {
    let variables = [("FAKE_CUDA_FAIL", "cuGraphInstantiateWithFlags:801@2,cuLaunchKernel:701@3")];
    on_fake("errors::a_recording_that_fails", &variables, || {
        let device = Device::cuda(0).unwrap();
        let x = Tensor::from_slice(&device, &[1.0, 2.0], &[2]);
        let twice = || {
            let mut y = x.to_owned_on(&device);
            y.add_assign(&device, &x);
            Ok::<_, Error>(y)
        };
        let (recording, _y) = device.record(twice).unwrap();
        let instantiate = what(device.record(twice));
        let launch = what(device.record(twice));
        // The fake driver does not support a recording inside a recording.
        let spoiled = what(device.record(|| Ok::<_, Error>(recording.run().is_err())));
        let launch_text =
            "cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (too many resources requested for launch)";
        let want = [
            "cuGraphInstantiateWithFlags: CUDA_ERROR_NOT_SUPPORTED (operation not supported), making a recording",
            launch_text,
            "cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED (operation failed due to a previous error \
             during capture), ending a recording",
        ];
        for (failed, want) in [instantiate, launch, spoiled].iter().zip(want) {
            assert!(failed.starts_with(want), "{failed}");
        }
        assert_eq!(twice().unwrap().to_host().unwrap(), [2.0, 4.0]);
    });
}
