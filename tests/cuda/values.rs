//! The CUDA device must give the bits of the emulated device. The fake driver runs the same emulator, so a difference
//! comes from allocation, order, arguments or products.

use std::sync::Arc;

use autograd::Tape;
use engine::cuda::Cuda;
use engine::emulated::Emulated;
use engine::launch::{BlasGemm, ColumnMajor, Launcher, Region};
use engine::{DType, Device, Error, Rng, Tensor};
use half::bf16;
use ptx::registry;
use ptx::spec::Op;
use testkit::problem::{Ask, Outcome, Problem};

use super::child::on_fake;

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

/// Checks products of every kind: transpositions, gaps between columns, both types, sums onto C, a bias, TF32.
#[test]
fn products_have_the_values_of_the_emulated_device() {
    on_fake("values::products_have_the_values_of_the_emulated_device", &[], || {
        let launchers: [Box<dyn Launcher>; 2] = [Box::new(Cuda::open(0).unwrap()), Box::new(Emulated::new())];
        let types = [(DType::F32, DType::F32), (DType::Bf16, DType::F32), (DType::Bf16, DType::Bf16)];
        let mut rng = Rng::keyed(3, 0, 0, 0);
        for (i, (m, n, k)) in [(1, 1, 1), (5, 3, 7), (16, 33, 40)].into_iter().cycle().take(48).enumerate() {
            let on = |bit: usize| i >> bit & 1 == 1;
            let (input, output) = types[i % 3];
            let (ta, tb) = (on(0), on(1));
            let (lda, ldb, ldc) = (if ta { k } else { m } + 3, if tb { n } else { k } + 1, m + 2);
            let elements = [lda * if ta { m } else { k }, ldb * if tb { k } else { n }, ldc * n, m];
            let dtypes = [input, input, output, DType::F32];
            let bytes: Vec<Vec<u8>> = (elements.iter().zip(dtypes))
                .map(|(&count, dtype)| (0..count).flat_map(|_| encode(rng.normal() as f32, dtype)).collect())
                .collect();
            let results = launchers.each_ref().map(|launcher| {
                let regions: Vec<Region> = bytes
                    .iter()
                    .map(|bytes| {
                        let region = launcher.alloc(bytes.len()).unwrap();
                        launcher.upload(region, bytes).unwrap();
                        region
                    })
                    .collect();
                let gemm = BlasGemm {
                    m,
                    n,
                    k,
                    a: ColumnMajor { region: regions[0], ld: lda, transposed: ta },
                    b: ColumnMajor { region: regions[1], ld: ldb, transposed: tb },
                    c: regions[2],
                    ldc,
                    input,
                    output,
                    beta: if on(2) { 1.0 } else { 0.0 },
                    bias: (on(3) && output == DType::F32).then_some(regions[3]),
                    tf32: on(4),
                };
                launcher.gemm(&gemm).unwrap();
                let mut c = vec![0; regions[2].bytes];
                launcher.download(regions[2], &mut c).unwrap();
                regions.into_iter().for_each(|region| launcher.free(region));
                c
            });
            assert!(results[0] != bytes[2], "nothing was written");
            assert!(results[0] == results[1], "{i}: {m} {n} {k} {input:?} {output:?}");
        }
    });
}

fn encode(value: f32, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => value.to_le_bytes().into(),
        DType::Bf16 => bf16::from_f32(value).to_le_bytes().into(),
    }
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
    on_fake("values::a_recording_has_the_values_of_the_emulated_device", &[], || {
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
