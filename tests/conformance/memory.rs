//! What the ops keep for their backward passes, compared with what they state.

use std::sync::Arc;

use autograd::Tape;
use engine::emulated::Emulated;
use engine::{DType, Device, Tensor};
use ptx::registry;
use ptx::spec::Asked;
use testkit::cuda::wanted;
use testkit::problem::{Ask, Problem};

use super::selected;

/// Bytes that are still in use after a forward call once inputs and outputs are dropped: those that its gradient keeps.
fn kept_by(problem: &Problem, device: &Device, only: Option<usize>) -> Result<usize, engine::Error> {
    let tape = Tape::new(device);
    let inputs = problem.variables(&tape, problem.tensors(device)?, Ask { input: only, ..Ask::ALL });
    let outputs = problem.op.forward(&problem.case, &tape, &inputs)?;
    drop((inputs, outputs));
    Ok(device.memory().1)
}

/// Compares the memory that the op declares to keep with the memory that a device has in use.
fn check_kept(problem: &Problem, device: &Device, dtype: DType, only: Option<usize>) -> Result<(), String> {
    let launched = device.launcher().is_some();
    let asked = Asked { inputs: &problem.inputs, only, dtype, launched };
    let stated = problem.op.kept(&problem.case, &asked);
    let got = kept_by(problem, device, only).map_err(|err| err.to_string())?;
    let want = match launched {
        true => stated.iter().sum(),
        // The CPU's pool rounds sizes up.
        false => {
            let like = Device::cpu();
            let tensors: Vec<_> = stated.iter().map(|bytes| Tensor::empty(&like, &[bytes / 4])).collect();
            let bytes = like.memory().1;
            drop(tensors);
            bytes
        }
    };
    if got == want {
        return Ok(());
    }
    let gradient = only.map_or("all gradients", |i| problem.inputs[i].name);
    Err(format!("keeps {got} bytes for {gradient} on {}, but states {want}: {stated:?}", device.name()))
}

#[test]
fn every_op_keeps_what_it_states() {
    let mut failures = vec![];
    for op in registry::all() {
        for case in selected(&*op) {
            let problem = Problem::new(&*op, case.clone());
            let trained = (0..problem.inputs.len()).filter(|&i| problem.inputs[i].grad).map(Some);
            let mut checks: Vec<_> = [None]
                .into_iter()
                .chain(trained)
                .map(|only| check_kept(&problem, &Device::cpu(), DType::F32, only))
                .collect();
            if !case.bench && !case.cpu_only() && wanted("emulated") {
                checks.extend([DType::F32, DType::Bf16].map(|dtype| {
                    let device = Device::launched_checked(Arc::new(Emulated::new()));
                    check_kept(&Problem::in_type(&*op, case.clone(), dtype), &device, dtype, None)
                }));
            }
            let wrong = checks.into_iter().filter_map(Result::err);
            failures.extend(wrong.map(|wrong| format!("{}: {wrong}", problem.name())));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
