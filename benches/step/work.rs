//! The matrix products, and the scans or attentions, that a computation made, run alone on buffers of their sizes.

use autograd::{Noted, Tape, Var};
use engine::gemm::{Mat, MatElement, gemm};
use engine::{DType, Device, Result, Tensor, bf16};
use ptx::registry;
use ptx::spec::{Case, Op};
use testkit::problem::Problem;

/// The ops that mix rows, of which a backbone has one: the scan of a Vim and the attention of a ViT.
const MIXERS: [&str; 2] = [SCAN, "attention"];
const SCAN: &str = "selective_scan";

/// An operand as it lies in a buffer: the distance between its rows, and whether it is read transposed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Operand {
    ld: usize,
    transposed: bool,
}

/// A matrix product `c[m n] = a[m k] b[k n]`, or added to c.
#[derive(Debug, Clone, PartialEq)]
struct Product {
    m: usize,
    n: usize,
    k: usize,
    a: Operand,
    b: Operand,
    ldc: usize,
    added: bool,
    /// The result is in f32 whatever the operands are, as the gradient of a weight.
    wide: bool,
}

/// The products of a call of `y [rows n] = x [rows k] w [n k]^T`, or of its backward pass: the gradients that are
/// wanted. The rows of x start `width` elements apart.
fn products_of(call: &Noted) -> Vec<Product> {
    let [(x, to_x), (w, to_w), ..] = &call.inputs[..] else { return vec![] };
    let y = &call.outputs[0];
    let (rows, n, k, width, added) = match call.op {
        "linear" => {
            let rows = y.iter().rev().skip(1).product();
            // The fourth input is what the product is added to.
            let added = call.inputs.get(3).is_some_and(|(base, _)| base.len() == y.len());
            (rows, w[0], w[1], x[x.len() - 1], added)
        }
        "patch_embed" => {
            let pixels = w[1..].iter().product();
            (y[0] * (y[1] - 1), w[0], pixels, pixels, false)
        }
        _ => return vec![],
    };
    let rows_apart = |ld| Operand { ld, transposed: false };
    let transposed = |ld| Operand { ld, transposed: true };
    if !call.backward {
        let (a, b) = (rows_apart(width), transposed(k));
        return vec![Product { m: rows, n, k, a, b, ldc: n, added, wide: false }];
    }
    let to_x = to_x.then(|| Product {
        m: rows,
        n: k,
        k: n,
        a: rows_apart(n),
        b: rows_apart(k),
        ldc: width,
        added: false,
        wide: false,
    });
    let to_w = to_w.then(|| Product {
        m: n,
        n: k,
        k: rows,
        a: transposed(n),
        b: rows_apart(width),
        ldc: k,
        added: false,
        wide: true,
    });
    to_x.into_iter().chain(to_w).collect()
}

/// Memory for products, as large as the largest operands.
struct Buffers<E> {
    a: Vec<E>,
    b: Vec<E>,
    c: Vec<E>,
    /// Results in f32.
    wide: Vec<f32>,
}

impl<E: MatElement> Buffers<E> {
    fn new(all: &[Product]) -> Self {
        let elements = |rows: usize, cols: usize, operand: Operand| {
            operand.ld * if operand.transposed { cols } else { rows }
        };
        let largest = |size: &dyn Fn(&Product) -> usize| all.iter().map(size).max().unwrap_or(0);
        let half = E::from_f32(0.5);
        Buffers {
            a: vec![half; largest(&|p| elements(p.m, p.k, p.a))],
            b: vec![half; largest(&|p| elements(p.k, p.n, p.b))],
            c: vec![E::ZERO; largest(&|p| if p.wide { 0 } else { p.m * p.ldc })],
            wide: vec![0.0; largest(&|p| if p.wide { p.m * p.ldc } else { 0 })],
        }
    }

    fn run(&mut self, all: &[Product]) {
        let mat = |data, Operand { ld, transposed }| match transposed {
            true => Mat::transposed(data, ld),
            false => Mat::rows(data, ld),
        };
        for Product { m, n, k, a, b, ldc, added, wide } in all {
            let (a, b) = (mat(&self.a, *a), mat(&self.b, *b));
            match wide {
                true => gemm(*m, *n, *k, a, b, &mut self.wide, *ldc, *added),
                false => gemm(*m, *n, *k, a, b, &mut self.c, *ldc, *added),
            }
        }
    }
}

/// The products of some calls, in the type of their activations.
pub struct Products {
    all: Vec<Product>,
    buffers: TypedBuffers,
}

enum TypedBuffers {
    F32(Buffers<f32>),
    Bf16(Buffers<bf16>),
}

impl Products {
    pub fn of(calls: &[Noted], dtype: DType) -> Self {
        let all: Vec<Product> = calls.iter().flat_map(products_of).collect();
        let buffers = match dtype {
            DType::F32 => TypedBuffers::F32(Buffers::new(&all)),
            DType::Bf16 => TypedBuffers::Bf16(Buffers::new(&all)),
        };
        Products { all, buffers }
    }

    /// Additions and multiplications of a run.
    pub fn flop(&self) -> f64 {
        self.all.iter().map(|product| 2.0 * (product.m * product.n * product.k) as f64).sum()
    }

    pub fn run(&mut self) {
        match &mut self.buffers {
            TypedBuffers::F32(buffers) => buffers.run(&self.all),
            TypedBuffers::Bf16(buffers) => buffers.run(&self.all),
        }
    }
}

/// Calls of one op with the same sizes and the same gradients wanted, made by the op itself on random inputs.
struct Mixer {
    call: Noted,
    times: usize,
    op: Box<dyn Op>,
    case: Case,
    inputs: Vec<Tensor>,
    /// The gradient of the output, where any is wanted of the inputs.
    upstream: Option<Tensor>,
}

/// The scans or the attentions of some calls.
pub struct Mixers {
    device: Device,
    all: Vec<Mixer>,
}

impl Mixers {
    pub fn of(calls: &[Noted], dtype: DType) -> Self {
        let device = Device::cpu();
        let mut all: Vec<Mixer> = vec![];
        for call in calls.iter().filter(|call| MIXERS.contains(&call.op) && !call.backward) {
            if let Some(same) = all.iter_mut().find(|mixer| mixer.call == *call) {
                same.times += 1;
                continue;
            }
            let op =
                registry::all().into_iter().find(|op| op.name() == call.op).expect("it is in the registry");
            let mut case = op.noted(call).expect("it says what it costs");
            if call.op == SCAN {
                let columns_before_b_and_c = call.inputs[3].0[2] - 2 * case.get("n");
                case = case.with("r", columns_before_b_and_c);
            }
            let problem = Problem::in_type(&*op, case.clone(), dtype);
            let inputs = problem.tensors(&device).expect("the CPU has room");
            let upstream = call.inputs.iter().any(|(_, wanted)| *wanted).then(|| {
                let shape = &call.outputs[0];
                let values = problem.upstream(0, shape.iter().product());
                Tensor::from_slice(&device, &values, shape).cast(&device, dtype).expect("the CPU has room")
            });
            all.push(Mixer { call: call.clone(), times: 1, op, case, inputs, upstream });
        }
        let backward = calls.iter().filter(|call| MIXERS.contains(&call.op) && call.backward).count();
        let expected: usize =
            all.iter().filter(|mixer| mixer.upstream.is_some()).map(|mixer| mixer.times).sum();
        assert_eq!(backward, expected, "what wants gradients has a backward pass");
        Mixers { device, all }
    }

    /// Additions and multiplications of a run, as the op counts them.
    pub fn flop(&self) -> f64 {
        let of = |Mixer { op, case, times, upstream, .. }: &Mixer| {
            let (forward, backward) = op.cost(case, DType::F32);
            *times as f64 * (forward.flop + if upstream.is_some() { backward.flop } else { 0.0 })
        };
        self.all.iter().map(of).sum()
    }

    /// # Errors
    /// Those of the op.
    pub fn run(&self) -> Result<()> {
        self.all.iter().try_for_each(|mixer| (0..mixer.times).try_for_each(|_| self.run_one(mixer)))
    }

    fn run_one(&self, Mixer { call, op, case, inputs, upstream, .. }: &Mixer) -> Result<()> {
        let tape = Tape::new(&self.device);
        let var = |(input, (_, wanted)): (&Tensor, &(Vec<usize>, bool))| match wanted {
            true => tape.leaf(input.clone()),
            false => Var::constant(input.clone()),
        };
        let inputs: Vec<Var> = inputs.iter().zip(&call.inputs).map(var).collect();
        let out = op.forward(case, &tape, &inputs)?;
        if let Some(upstream) = upstream {
            tape.backward(&out[0], upstream.clone())?;
        }
        Ok(())
    }
}
