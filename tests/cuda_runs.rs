//! `svp-train --device cuda` on the fake driver (`tests/fake_cuda`): killed and resumed, short of memory, with the
//! device lost, and the driver calls of a step in a long run.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::fake_cuda;
use testkit::programs::{succeeds, text, words};
use testkit::runs::{Task, records, same, small};

/// Arguments for six steps of eight images in each epoch.
fn args<'a>(task: &'a Task, out: &'a str, more: &'a str) -> Vec<&'a str> {
    let task = ["--data", &task.data, "--backbone", &task.backbone, "--out", out];
    let fixed = "--lr 0.1 --drop-path 0.3";
    // All these runs are of the default method.
    [&task[..], &words(fixed), &small("svp"), &words(more)].concat()
}

fn train_on(task: &Task, out: &str, more: &str, environment: &[(&str, &str)]) -> Output {
    program(&args(task, out, more), environment).output().unwrap()
}

/// Makes a run that must succeed.
fn done(task: &Task, name: &str, more: &str, environment: &[(&str, &str)]) -> String {
    let out = task.place.at(name);
    succeeds(&train_on(task, &out, more, environment));
    out
}

/// `svp-train` with the fake driver installed.
fn program(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_svp-train"));
    program.args(args).env("LD_LIBRARY_PATH", fake_cuda::folder()).envs(environment.iter().copied());
    program
}

/// The single line of error, which must come last.
#[track_caller]
fn error(output: &Output, code: i32) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(errors.len() == 1 && stderr.lines().last() == Some(errors[0]), "{stderr}");
    errors[0].into()
}

const RUN: &str = "--device cuda --epochs 1 --batch-size 4 --accumulate 2";

/// The run is cut before, during and after the steps that are recorded.
#[test]
fn a_killed_run_ends_with_the_bytes_of_the_unbroken_one() {
    let task = Task::new("cuda-killed", 3);
    let unbroken = done(&task, "unbroken", RUN, &[]);
    same(&unbroken, &done(&task, "again", RUN, &[]));
    for cut in [1, 3, 5] {
        let out = task.place.at(&format!("killed-{cut}"));
        let more = format!("{RUN} --save-every 1");
        let mut child = program(&args(&task, &out, &more), &[]).stderr(Stdio::null()).spawn().unwrap();
        while records(&out) < cut && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        succeeds(&program(&["--resume", &out, "--device", "cuda"], &[]).output().unwrap());
        same(&unbroken, &out);
    }
}

/// The error names the batch size that fits, `auto` finds the same size, and it does fit.
#[test]
fn memory_that_is_too_small_is_told_with_what_fits() {
    let task = Task::new("cuda-memory", 3);
    let memory = [("FAKE_CUDA_MEMORY", MEMORY)];
    let at = |batch: &str| format!("--device cuda --epochs 1 --batch-size {batch}");
    let refused = error(&train_on(&task, &task.place.at("refused"), &at("48"), &memory), 1);
    assert!(refused.contains("--batch-size 48: cuda device: out of memory: "), "{refused}");
    let fits = refused.split("; --batch-size ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let size: usize = fits.parse().unwrap();
    assert!((1..48).contains(&size), "{refused}");
    let times = 48usize.div_ceil(size);
    assert!(
        refused.ends_with(&format!("--accumulate {times} a step still sees as many images")),
        "{refused}"
    );
    done(&task, "fits", &at(fits), &memory);
    let auto = train_on(&task, &task.place.at("auto"), &at("auto"), &memory);
    assert!(auto.status.success(), "{}", text(&auto.stderr));
    assert!(text(&auto.stderr).contains(&format!("batch size: {fits}\n")), "{fits}: {}", text(&auto.stderr));

    let nothing = [("FAKE_CUDA_MEMORY", "33600000")];
    let refused = error(&train_on(&task, &task.place.at("nothing"), &at("auto"), &nothing), 1);
    assert!(refused.contains("out of memory") && refused.contains("--device cpu"), "{refused}");
}

/// A launch that the device refuses is told as what it is, whichever batch it was.
#[test]
fn a_launch_that_does_not_fit_is_not_out_of_memory() {
    let task = Task::new("cuda-launch", 3);
    let failing = [("FAKE_CUDA_FAIL", "cuLaunchKernel:701@40")];
    let out = task.place.at("auto");
    let refused = error(&train_on(&task, &out, "--device cuda --epochs 1 --batch-size auto", &failing), 1);
    for part in [
        "--batch-size auto: memory is not what a step of 2 images is short of: cuda device: cuLaunchKernel: ",
        "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        "kernel ",
    ] {
        assert!(refused.contains(part), "no {part:?}: {refused}");
    }
    assert!(!refused.contains("out of memory"), "{refused}");
}

/// Bytes of device memory: enough for cuBLASLt's workspace, the model and some of the images.
const MEMORY: &str = "42000000";

#[test]
fn a_lost_device_is_told_and_the_run_resumed() {
    let task = Task::new("cuda-lost", 3);
    let unbroken = done(&task, "unbroken", RUN, &[]);
    let out = task.place.at("lost");
    let failing = [("FAKE_CUDA_FAIL", "cuGraphLaunch:700@5")];
    let lost = error(&train_on(&task, &out, &format!("{RUN} --save-every 2"), &failing), 75);
    for part in ["cuGraphLaunch: CUDA_ERROR_ILLEGAL_ADDRESS", "step 4 was saved last", "SVP_CUDA_SYNC=1"] {
        assert!(lost.contains(part), "no {part:?}: {lost}");
    }
    assert!(lost.ends_with(&format!("continue with `svp-train --resume {out} --device cuda`")), "{lost}");
    succeeds(&program(&["--resume", &out, "--device", "cuda"], &[]).output().unwrap());
    same(&unbroken, &out);
}

/// `auto` takes the GPU. Where there is none it takes the CPU silently, and where the GPU cannot be used it says why.
#[test]
fn auto_takes_the_gpu_that_can_be_used() {
    let task = Task::new("cuda-auto", 3);
    let run = |name: &str, more: &str, environment: &[(&str, &str)]| {
        let output = train_on(&task, &task.place.at(name), &format!("{more} --dry-run"), environment);
        (output.status.success(), text(&output.stderr))
    };
    let (done, said) = run("gpu", "", &[]);
    assert!(done && said.starts_with("GPU 0: Fake GPU (PTX emulator), compute capability 9.0, "), "{said}");
    let (done, said) = run("none", "", &[("FAKE_CUDA_DEVICES", "0")]);
    assert!(done && !said.contains("GPU"), "{said}");
    let old = [("FAKE_CUDA_VERSION", "12020")];
    let (done, said) = run("old", "", &old);
    assert!(
        done && said.starts_with("computing on the CPU: cuda device: the NVIDIA driver is too old"),
        "{said}"
    );
    for (environment, part) in [(old, "needs 12.4"), ([("FAKE_CUDA_DEVICES", "0")], "no NVIDIA GPU")] {
        let refused = train_on(&task, &task.place.at("refused"), "--device cuda", &environment);
        let line = error(&refused, 1);
        assert!(line.contains(part) || line.contains("the kernels need 12.4"), "{line}");
        assert!(line.ends_with("; --device cpu computes without a GPU"), "{line}");
    }
    let refused = error(&train_on(&task, &task.place.at("refused"), "--device cuda:1", &[]), 1);
    assert!(refused.contains("no GPU 1: there are 1"), "{refused}");
}

/// From the fourth step on a step is one graph: nothing is launched or allocated, and only the health of the step
/// before is waited for.
#[test]
fn a_step_in_a_long_run_asks_little_of_the_driver() {
    let task = Task::new("cuda-steps", 3);
    let log = task.place.at("calls");
    done(&task, "run", "--device cuda --epochs 1 --batch-size 8", &[("FAKE_CUDA_LOG", &log)]);
    let log = fs::read_to_string(&log).unwrap();
    let calls: Vec<&str> = log.lines().filter_map(|line| line.split(' ').next()).collect();
    let graphs: Vec<usize> = (0..calls.len()).filter(|&i| calls[i] == "cuGraphLaunch").collect();
    assert_eq!(graphs.len(), 4, "steps 3 to 6");
    for pair in graphs.windows(2) {
        let step = &calls[pair[0] + 1..=pair[1]];
        for call in step {
            let fits = [
                "cuGraphLaunch",
                "cuMemcpyHtoDAsync_v2",
                "cuMemcpyDtoDAsync_v2",
                "cuMemcpyDtoHAsync_v2",
                "cuEventRecord",
                "cuEventSynchronize",
                "cuStreamWaitEvent",
            ];
            assert!(fits.contains(call), "{call} in a step: {step:?}");
        }
        // Images, targets and the factors of drop path and AdamW are sent, and the health is received.
        let count = |name: &str| step.iter().filter(|&&call| call == name).count();
        assert_eq!((count("cuMemcpyHtoDAsync_v2"), count("cuMemcpyDtoHAsync_v2")), (4, 1), "{step:?}");
    }
}
