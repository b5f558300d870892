//! Forward and backward of every bench case at the shapes of training, f32 and bf16.
//!
//! Calls on several input sets, together more than any cache holds, are recorded as one CUDA graph with outputs of
//! their own, and the graph is replayed: no time of the host is in the numbers, a microsecond between kernels is.
//!
//! The bound of a call is the largest of three times: its bytes at the rate of a large copy, its exponentials at the
//! rate of the special function units, and, where it is a matrix product, its FLOP at the rate of a large product.

use autograd::{Gradients, Tape, Var};
use engine::{DType, Device, Result, Rng, Tensor};
use ptx::registry;
use ptx::spec::{Case, Cost, Input, Op};
use serde::Serialize;
use testkit::problem::{Ask, Problem, small_case};

use crate::peaks::Peaks;
use crate::{Bench, Outcome};

/// Bytes of all input sets together: more than a cache holds.
const ROTATED: usize = 256 << 20;
/// Values drawn for an input; a larger one repeats them.
const DRAWN: usize = 1 << 20;

/// One pass of an op.
#[derive(Serialize)]
pub struct Row {
    op: &'static str,
    case: String,
    pass: &'static str,
    dtype: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome<Times>,
}

/// Milliseconds of a call, and of the parts of its bound.
#[derive(Serialize)]
pub struct Times {
    ms: f64,
    ms_fastest: f64,
    ms_slowest: f64,
    runs: usize,
    input_sets: usize,
    /// Whether a graph was replayed; else each call was launched, the host's time between its kernels included.
    graph: bool,
    bytes_ms: f64,
    exp_ms: f64,
    flop_ms: f64,
    slots_ms: f64,
    shared_ms: f64,
    bound_ms: f64,
    bound_by: &'static str,
    /// Bound over time.
    share: f64,
}

/// Every pass of every case. What fails gets a row that says so.
pub fn run(bench: &Bench, peaks: &Peaks) -> Vec<Row> {
    println!(
        "{:<88} {:<4} {:<8} {:>9} {:>9} {:<6} {:>4}",
        "op:case", "type", "pass", "ms", "bound ms", "by", "share"
    );
    let mut rows = vec![];
    for op in registry::all() {
        for case in cases(&*op, bench.smoke) {
            let typed = op.inputs(&case).iter().any(|input| input.typed);
            for dtype in if typed { &[DType::F32, DType::Bf16][..] } else { &[DType::F32] } {
                passes(bench, peaks, &Call { op: &*op, case: &case, dtype: *dtype }, &mut rows);
            }
        }
    }
    rows
}

/// The bench cases at the sizes of training; of a smoke run a small case alone.
fn cases(op: &dyn Op, smoke: bool) -> Vec<Case> {
    if smoke {
        return vec![small_case(op)];
    }
    let axes = op.training();
    let large = |case: Case| axes.iter().fold(case, |case, axis| case.with(axis.name, axis.target));
    op.cases().into_iter().filter(|case| case.bench).map(large).collect()
}

/// What is timed.
struct Call<'a> {
    op: &'a dyn Op,
    case: &'a Case,
    dtype: DType,
}

fn passes(bench: &Bench, peaks: &Peaks, call: &Call, rows: &mut Vec<Row>) {
    let mut add = |pass, outcome: Outcome<Times>| {
        let (op, case, dtype) = (call.op.name(), call.case.name.clone(), crate::dtype_name(call.dtype));
        println!("{:<88} {dtype:<4} {pass:<8} {outcome}", format!("{op}:{case}"));
        rows.push(Row { op, case, pass, dtype, outcome });
    };
    if bench.late() {
        return add("all", Outcome::late());
    }
    let device = bench.device();
    let sets = match Sets::new(&device, call) {
        Ok(sets) => sets,
        Err(error) => return add("forward", Outcome::from(Err(error))),
    };
    let (forward, backward) = call.op.cost(call.case, call.dtype);
    let times = |timed: Result<Timed>, cost: Cost| timed.map(|timed| timed.beside(&cost, peaks, call)).into();
    add("forward", times(sets.forward(bench), forward));
    if call.op.inputs(call.case).iter().any(|input| input.grad) {
        add("backward", times(sets.backward(bench), backward));
    }
}

/// Inputs of a call, several times at several places.
struct Sets<'a> {
    device: &'a Device,
    call: &'a Call<'a>,
    inputs: Vec<Input>,
    tensors: Vec<Vec<Tensor>>,
    /// Upstream gradients by output.
    upstream: Vec<Vec<f32>>,
}

impl<'a> Sets<'a> {
    fn new(device: &'a Device, call: &'a Call<'a>) -> Result<Self> {
        let inputs = call.op.inputs(call.case);
        let first = inputs.iter().enumerate().map(|(i, input)| drawn(device, i as u32, input, call.dtype));
        let first = first.collect::<Result<Vec<_>>>()?;
        // What is recorded later was launched before: kernels are loaded and products planned by then.
        let outputs = forward(call, &inputs, &Tape::new(device), &first)?;
        let bytes = |tensor: &Tensor| tensor.numel() * tensor.dtype().size();
        let upstream = outputs.iter().enumerate().map(|(i, y)| {
            repeated(y.value().numel(), |n| {
                let mut rng = Rng::keyed(6, 0, i as u32, 0);
                (0..n).map(|_| rng.normal() as f32).collect()
            })
        });
        let upstream = upstream.collect();
        let count = (ROTATED / first.iter().map(bytes).sum::<usize>().max(1)).clamp(2, 16);
        let copy = |tensor: &Tensor| tensor.to_owned_on(device);
        let mut tensors: Vec<Vec<Tensor>> = (1..count).map(|_| first.iter().map(copy).collect()).collect();
        tensors.push(first);
        Ok(Sets { device, call, inputs, tensors, upstream })
    }

    fn run(&self, tape: &Tape, set: &[Tensor]) -> Result<Vec<Var>> {
        forward(self.call, &self.inputs, tape, set)
    }

    /// Outputs stay, so that each call writes to a place of its own.
    fn forward(&self, bench: &Bench) -> Result<Timed> {
        let tape = Tape::new(self.device);
        let all = || self.tensors.iter().map(|set| self.run(&tape, set)).collect::<Result<Vec<_>>>();
        match self.device.record(all) {
            Ok((recording, outputs)) => {
                let times = bench.times(|| recording.run())?;
                drop(outputs);
                Ok(Timed { times, sets: self.tensors.len(), graph: true })
            }
            // An op that reads a result on the host cannot be recorded.
            Err(_) => {
                let times = bench.times(|| all().map(drop))?;
                Ok(Timed { times, sets: self.tensors.len(), graph: false })
            }
        }
    }

    fn backward(&self, bench: &Bench) -> Result<Timed> {
        let ready = |set: &Vec<Tensor>| {
            let tape = Tape::new(self.device);
            let outputs = self.run(&tape, set)?;
            let end = Problem::join(&tape, &[outputs], &self.upstream, Ask::ALL)?;
            Ok((tape, end, Tensor::zeros(self.device, &[1])))
        };
        let backward = |(tape, end, seed): (Tape, Var, Tensor)| tape.backward(&end, seed);
        drop(backward(ready(&self.tensors[0])?)?);
        let ready = self.tensors.iter().map(ready).collect::<Result<Vec<_>>>()?;
        // Memory that backward frees was made before: nobody takes it while the recording lives.
        let (recording, gradients) =
            self.device.record(|| ready.into_iter().map(backward).collect::<Result<Vec<Gradients>>>())?;
        let times = bench.times(|| recording.run())?;
        drop(gradients);
        Ok(Timed { times, sets: self.tensors.len(), graph: true })
    }
}

/// A call with the tape that training needs.
fn forward(call: &Call, inputs: &[Input], tape: &Tape, set: &[Tensor]) -> Result<Vec<Var>> {
    let variable = |(input, tensor): (&Input, &Tensor)| match input.grad {
        true => tape.leaf(tensor.clone()),
        false => Var::constant(tensor.clone()),
    };
    let variables: Vec<Var> = inputs.iter().zip(set).map(variable).collect();
    call.op.forward(call.case, tape, &variables)
}

/// `n` values of which the first [`DRAWN`] are drawn: drawing takes the host longer than all else.
fn repeated(n: usize, draw: impl Fn(usize) -> Vec<f32>) -> Vec<f32> {
    draw(n.min(DRAWN)).into_iter().cycle().take(n).collect()
}

fn drawn(device: &Device, i: u32, input: &Input, dtype: DType) -> Result<Tensor> {
    let values = repeated(input.shape.iter().product(), |n| {
        Input { shape: vec![n], ..input.clone() }.values(&mut Rng::keyed(5, 0, i, 0))
    });
    let tensor = Tensor::from_slice(device, &values, &input.shape);
    if input.typed { tensor.cast(device, dtype) } else { Ok(tensor) }
}

/// Sorted seconds of runs over all sets.
struct Timed {
    times: Vec<f64>,
    sets: usize,
    graph: bool,
}

impl Timed {
    fn beside(&self, cost: &Cost, peaks: &Peaks, call: &Call) -> Times {
        let ms = |at: usize| 1e3 * self.times[at] / self.sets as f64;
        let flop = if call.op.is_product() { cost.flop } else { cost.tensor } / peaks.flop(call.dtype);
        let parts = [
            ("bytes", cost.bytes / peaks.bytes),
            ("exp", cost.exp / peaks.exp),
            ("FLOP", flop),
            ("slots", cost.slots / peaks.slots()),
            ("shared", cost.shared / peaks.shared()),
        ];
        let (bound_by, bound) = parts.into_iter().fold(parts[0], |a, b| if b.1 > a.1 { b } else { a });
        let [bytes_ms, exp_ms, flop_ms, slots_ms, shared_ms] = parts.map(|(_, seconds)| 1e3 * seconds);
        let (median, runs) = (ms(self.times.len() / 2), self.times.len());
        Times {
            ms: median,
            ms_fastest: ms(0),
            ms_slowest: ms(runs - 1),
            runs,
            input_sets: self.sets,
            graph: self.graph,
            bytes_ms,
            exp_ms,
            flop_ms,
            slots_ms,
            shared_ms,
            bound_ms: 1e3 * bound,
            bound_by,
            share: 1e3 * bound / median,
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.share;
        write!(f, "{:>9.4} {:>9.4} {:<6} {share:>3.0}%", self.ms, self.bound_ms, self.bound_by)
    }
}
