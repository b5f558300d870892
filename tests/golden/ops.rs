//! Goldens of single ops.

use autograd::{Function, Sinks, Tape, Var};
use engine::{Device, Result, Tensor};
use ptx::activation::{Activation, activation};
use ptx::attention::{Settings, attention as attend};
use ptx::causal_conv1d::{Filter, causal_conv1d as conv};
use ptx::layer_norm::{Norm, layer_norm as norm_of};
use ptx::prompt_add_norm::prompt_add_norm;
use ptx::selective_scan::{Direction, selective_scan as scan};
use svp::backbones::pos_embed::{ClassRow, Interpolation, resize_pos_embed};
use testkit::golden::{Differences, Golden, values};

const FORWARD: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;

/// Sends given gradients to the outputs of an op.
struct Upstream(Vec<Tensor>);

impl Function for Upstream {
    fn backward(&self, _: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        self.0.iter().enumerate().for_each(|(i, grad)| sinks.give(i, grad.clone()));
        Ok(())
    }
}

fn backward(tape: Tape, outputs: &[&Var], grads: Vec<Tensor>) -> autograd::Gradients {
    let one = Tensor::from_slice(tape.device(), &[1.0], &[1]);
    let grads = grads.iter().map(|grad| grad.to_device(tape.device()).unwrap()).collect();
    let function = || -> Box<dyn Function> { Box::new(Upstream(grads)) };
    let end = tape.record("upstream", outputs, vec![one.clone()], function).unwrap().remove(0);
    tape.backward(&end, one).unwrap()
}

/// An input that is trained.
fn leaf(tape: &Tape, value: Tensor) -> Var {
    tape.leaf(value.to_device(tape.device()).unwrap())
}

/// Reverses the tokens of `[b l c]`.
fn flipped(t: &Tensor) -> Tensor {
    let [b, l, c] = t.shape()[..] else { panic!() };
    let from = t.as_slice();
    let rows = (0..b * l).flat_map(|r| from[(r / l * l + l - 1 - r % l) * c..][..c].to_vec()).collect();
    Tensor::from_vec(rows, t.shape())
}

fn map(t: &Tensor, f: impl Fn(f32) -> f32) -> Tensor {
    Tensor::from_vec(values(t).iter().map(|&v| f(v)).collect(), t.shape())
}

/// Joins the columns of `[b l a]` and `[b l c]`.
fn columns(a: &Tensor, b: &Tensor) -> Tensor {
    let (n, m) = (a.shape()[2], b.shape()[2]);
    let rows = a.as_slice().chunks_exact(n).zip(b.as_slice().chunks_exact(m));
    Tensor::from_vec(rows.flat_map(|(a, b)| [a, b].concat()).collect(), &[a.shape()[0], a.shape()[1], n + m])
}

/// Columns `first..first + n` of `[.. width]`.
fn window(t: &Tensor, first: usize, n: usize) -> Vec<f32> {
    let width = *t.shape().last().unwrap();
    values(t).chunks_exact(width).flat_map(|row| row[first..first + n].to_vec()).collect()
}

/// Runs one direction at a time. The other one's input is zero, so the average is half the golden output.
pub fn selective_scan(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    for dir in 0..2 {
        let turn = |t: Tensor| if dir == 0 { t } else { flipped(&t) };
        let get = |name: &str| turn(golden.channels_last(name));
        let tape = Tape::new(device);
        let (u, delta, z) = (get("u"), get("delta"), get("z"));
        let (e, n) = (u.shape()[2], golden.get("A").shape()[1]);
        let leaf = |t: Tensor| leaf(&tape, t);
        let xz = leaf(columns(&map(&z, |_| 0.0), &z));
        let x_dbl = leaf(columns(&get("B"), &get("C")));
        let (used, unused) = (leaf(u.clone()), leaf(map(&u, |_| 0.0)));
        let delta = leaf(delta);
        let a_log = leaf(map(golden.get("A"), |a| (-a).ln()));
        let (d, bias) = (leaf(golden.get("D").clone()), leaf(golden.get("delta_bias").clone()));
        let other: Vec<Var> =
            [&delta, &x_dbl, &a_log, &d, &bias].map(|v| Var::constant(v.value().clone())).into();
        let active =
            Direction { u: &used, delta: &delta, x_dbl: &x_dbl, a_log: &a_log, d: &d, delta_bias: &bias };
        let idle = Direction {
            u: &unused,
            delta: &other[0],
            x_dbl: &other[1],
            a_log: &other[2],
            d: &other[3],
            delta_bias: &other[4],
        };
        let directions = if dir == 0 { [active, idle] } else { [idle, active] };
        let out = scan(&tape, &xz, directions, None).unwrap();
        let mut check = |name: &str, got: &[f32], want: &Tensor, tolerance| {
            found.compare(&format!("direction {dir} {name}"), got, want.as_slice(), tolerance);
        };
        check("out", map(out.value(), |v| 2.0 * v).as_slice(), &get("out"), FORWARD);
        let mut grads = backward(tape, &[&out], vec![map(&get("grad_out"), |g| 2.0 * g)]);
        let mut grad = |v: &Var| grads.take(v).unwrap();
        check("du", &values(&grad(&used)), &get("grad.u"), GRADIENT);
        check("ddelta", &values(&grad(&delta)), &get("grad.delta"), GRADIENT);
        check("dz", &window(&grad(&xz), e, e), &get("grad.z"), GRADIENT);
        let dx_dbl = grad(&x_dbl);
        check("dB", &window(&dx_dbl, 0, n), &get("grad.B"), GRADIENT);
        check("dC", &window(&dx_dbl, n, n), &get("grad.C"), GRADIENT);
        let da_log = values(&grad(&a_log));
        let da: Vec<f32> = da_log.iter().zip(golden.get("A").as_slice()).map(|(g, a)| g / a).collect();
        check("dA", &da, golden.get("grad.A"), GRADIENT);
        check("dD", &values(&grad(&d)), golden.get("grad.D"), GRADIENT);
        check("ddelta_bias", &values(&grad(&bias)), golden.get("grad.delta_bias"), GRADIENT);
    }
    found.0
}

pub fn causal_conv1d(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    for dir in 0..2 {
        let turn = |t: Tensor| if dir == 0 { t } else { flipped(&t) };
        let get = |name: &str| turn(golden.channels_last(name));
        let tape = Tape::new(device);
        let x = get("x");
        let (e, k) = (x.shape()[2], golden.get("weight").shape()[1]);
        let xz = leaf(&tape, columns(&x, &map(&x, |_| 0.5)));
        let weight = leaf(&tape, golden.get("weight").clone().reshape(&[e, 1, k]));
        let bias = leaf(&tape, golden.get("bias").clone());
        let idle = [&weight, &bias].map(|v| Var::constant(v.value().clone()));
        let (active, idle) =
            (Filter { weight: &weight, bias: &bias }, Filter { weight: &idle[0], bias: &idle[1] });
        let out = conv(&tape, &xz, if dir == 0 { [active, idle] } else { [idle, active] }).unwrap();
        found.compare("out", &values(out[dir].value()), get("out").as_slice(), FORWARD);
        let mut grads = backward(tape, &[&out[dir]], vec![get("grad_out")]);
        let dxz = grads.take(&xz).unwrap();
        found.compare("dx", &window(&dxz, 0, e), get("grad.x").as_slice(), GRADIENT);
        let (dw, db) = (grads.take(&weight).unwrap(), grads.take(&bias).unwrap());
        found.compare("dweight", &values(&dw), golden.get("grad.weight").as_slice(), GRADIENT);
        found.compare("dbias", &values(&db), golden.get("grad.bias").as_slice(), GRADIENT);
    }
    found.0
}

pub fn add_rms_norm(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let tape = Tape::new(device);
    let tokens = |name: &str| {
        let t = golden.get(name).clone();
        let [l, d] = t.shape()[..] else { panic!() };
        t.reshape(&[1, l, d])
    };
    let (x, residual) = (leaf(&tape, tokens("x")), leaf(&tape, tokens("residual")));
    let weight = leaf(&tape, golden.get("weight").clone());
    let [sum, out] = prompt_add_norm(&tape, &x, Some(&residual), &[], &weight, Default::default()).unwrap();
    found.compare("residual_out", &values(sum.value()), golden.get("residual_out").as_slice(), FORWARD);
    found.compare("out", &values(out.value()), golden.get("out").as_slice(), FORWARD);
    let mut grads = backward(tape, &[&sum, &out], vec![tokens("grad_residual_out"), tokens("grad_out")]);
    for (name, var) in [("x", &x), ("residual", &residual), ("weight", &weight)] {
        let got = values(&grads.take(var).unwrap());
        found.compare(name, &got, golden.get(&format!("grad.{name}")).as_slice(), GRADIENT);
    }
    found.0
}

pub fn layer_norm(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let tape = Tape::new(device);
    let [x, weight, bias] = ["x", "weight", "bias"].map(|name| leaf(&tape, golden.get(name).clone()));
    let norm = Norm { weight: &weight, bias: &bias, eps: 1e-6 };
    let out = norm_of(&tape, &x, norm).unwrap();
    found.compare("out", &values(out.value()), golden.get("out").as_slice(), FORWARD);
    let mut grads = backward(tape, &[&out], vec![golden.get("grad_out").clone()]);
    for (name, var) in [("x", &x), ("weight", &weight), ("bias", &bias)] {
        let got = values(&grads.take(var).unwrap());
        found.compare(name, &got, golden.get(&format!("grad.{name}")).as_slice(), GRADIENT);
    }
    found.0
}

pub fn gelu(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let tape = Tape::new(device);
    let x = leaf(&tape, golden.get("x").clone());
    let out = activation(&tape, &x, Activation::Gelu).unwrap();
    found.compare("out", &values(out.value()), golden.get("out").as_slice(), FORWARD);
    let mut grads = backward(tape, &[&out], vec![golden.get("grad_out").clone()]);
    found.compare("x", &values(&grads.take(&x).unwrap()), golden.get("grad.x").as_slice(), GRADIENT);
    found.0
}

pub fn attention(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let tape = Tape::new(device);
    let given = |name: &str| leaf(&tape, golden.get(name).clone());
    let qkv = given("qkv");
    let extra = (golden.size("extra_rows") > 0).then(|| given("extra"));
    let temperature = (golden.setting("temperature") == "True").then(|| given("temp"));
    let settings = Settings {
        extra: extra.as_ref(),
        temperature: temperature.as_ref().map(|temperature| (temperature, 0)),
        class_row: Some(0),
        ..Settings::heads(golden.size("heads"))
    };
    let attended = attend(&tape, &qkv, settings).unwrap();
    found.compare("out", &values(attended.out.value()), golden.get("out").as_slice(), FORWARD);
    let probabilities = values(attended.probabilities.unwrap().value());
    found.compare("class_probs", &probabilities, golden.get("class_probs").as_slice(), FORWARD);
    let mut grads = backward(tape, &[&attended.out], vec![golden.get("grad_out").clone()]);
    for (name, var) in [("qkv", Some(&qkv)), ("extra", extra.as_ref()), ("temp", temperature.as_ref())] {
        let Some(var) = var else { continue };
        let got = values(&grads.take(var).unwrap());
        found.compare(name, &got, golden.get(&format!("grad.{name}")).as_slice(), GRADIENT);
    }
    found.0
}

pub fn pos_embed_interpolation(golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    for side in [24, 8] {
        let name = format!("pos_embed_to_{side}x{side}");
        let (from, by) = (golden.get("pos_embed"), Interpolation::Bicubic);
        let got = resize_pos_embed(from, (side, side), ClassRow::First, by).unwrap();
        found.compare(&name, got.as_slice(), golden.get(&name).as_slice(), FORWARD);
    }
    found.0
}

/// Every way to resize a ViT's embedding, to all grids that the file has: `FORM.to_HxW`.
pub fn vit_pos_embed(golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let mut compared = 0;
    for (name, want) in &golden.tensors {
        let Some((form, grid)) = name.split_once(".to_") else { continue };
        let by: Interpolation = serde_json::from_value(form.into()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (h, w) = grid.split_once('x').expect("HxW");
        let grid = (h.parse().expect("a height"), w.parse().expect("a width"));
        let got = resize_pos_embed(golden.get("pos_embed"), grid, ClassRow::First, by).unwrap();
        found.compare(name, got.as_slice(), want.as_slice(), FORWARD);
        compared += 1;
    }
    assert!(compared >= 11, "only {compared} grids in the file");
    found.0
}
