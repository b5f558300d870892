//! The CUDA device must give the bits of the emulated device. The fake driver runs the same emulator, so a difference
//! comes from allocation, order, arguments or products.

use std::sync::Arc;

use autograd::Tape;
use engine::cuda::Cuda;
use engine::{DType, Device, Error, Tensor};
use ptx::registry;
use ptx::spec::Op;
use testkit::problem::{Ask, Outcome, Problem};

use super::child::{in_every_order, on_fake};

/// The first case of an op that launched devices run and that is small enough to be quick.
fn problem(op: &dyn Op, dtype: DType) -> Problem<'_> {
    let mut cases = op.cases().into_iter().filter(|case| !case.cpu_only() && !case.bench);
    Problem::in_type(op, cases.next().expect("a case"), dtype)
}

fn bits(outcome: Outcome) -> Vec<Vec<u32>> {
    let outputs = outcome.outputs.into_iter().map(|(_, values)| values);
    let grads = outcome.grads.into_iter().flatten();
    outputs.chain(grads).map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn every_op_has_the_values_of_the_emulated_device() {
    on_fake("values::every_op_has_the_values_of_the_emulated_device", &[], || {
        let pooled = Device::cuda(0).unwrap();
        for op in registry::all() {
            for dtype in [DType::F32, DType::Bf16] {
                let problem = problem(&*op, dtype);
                let want = bits(problem.run(&Device::emulated(), Ask::ALL).unwrap());
                let checked = Device::launched_checked(Arc::new(Cuda::open(0).unwrap()));
                for device in [&pooled, &checked] {
                    let got = bits(problem.run(device, Ask::ALL).unwrap());
                    assert!(got == want, "{} {dtype:?}", problem.name());
                }
            }
        }
    });
}

/// Records forward and backward of a case on one device, and replays them with the same and with other inputs.
fn replayed(device: &Device, problem: &Problem) -> Vec<Vec<u32>> {
    let mut inputs = problem.tensors(device).unwrap();
    let (recording, outcome) = device
        .record(|| {
            let tape = Tape::new(device);
            let variables = problem.variables(&tape, inputs.clone(), Ask::ALL);
            let outputs = problem.op.forward(&problem.case, &tape, &variables)?;
            let upstream: Vec<_> =
                (outputs.iter().enumerate()).map(|(i, y)| problem.upstream(i, y.value().numel())).collect();
            let end = Problem::join(&tape, std::slice::from_ref(&outputs), &upstream, Ask::ALL)?;
            let mut arrived = tape.backward(&end, Tensor::zeros(device, &[1]))?;
            let grads = variables.iter().filter_map(|var| arrived.take(var));
            Ok::<_, Error>(grads.chain(outputs.iter().map(|y| y.value().clone())).collect::<Vec<_>>())
        })
        .unwrap();
    let mut all = vec![];
    for round in 0..2 {
        for input in &mut inputs {
            let values: Vec<f32> = input.to_host().unwrap().iter().map(|v| v * 1.5 - round as f32).collect();
            input.send(&values).unwrap();
        }
        recording.run().unwrap();
        all.extend(outcome.iter().map(|tensor| tensor.receive().unwrap().wait().unwrap()));
    }
    all.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn a_recording_has_the_values_of_the_emulated_device() {
    in_every_order("values::a_recording_has_the_values_of_the_emulated_device", &[], || {
        let device = Device::cuda(0).unwrap();
        for op in registry::all().into_iter().filter(|op| ["linear", "selective_scan"].contains(&op.name())) {
            let problem = problem(&*op, DType::F32);
            assert!(problem.asks_gradient());
            let [got, want] = [&device, &Device::emulated()].map(|device| replayed(device, &problem));
            assert!(got == want, "{}", problem.name());
            assert_ne!(want[..want.len() / 2], want[want.len() / 2..], "other inputs, other values");
        }
    });
}
