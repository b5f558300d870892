//! Cases of the zoomed and prompted images.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference::{self, Setting};
use super::{Normalisation, zoom_prompt};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

/// Each case has `b` images of `s` pixels, an output of `S` pixels, and a scale in thousandths, trained or `fixed`.
pub(crate) struct Cases;

/// Far apart, so that a channel that has another's numbers shows.
const NORMALISATION: Normalisation =
    Normalisation { mean: [0.485, 0.25, 0.75], deviation: [0.229, 0.5, 1.5] };

fn scale(case: &Case) -> f64 {
    case.get("scale") as f64 / 1000.0
}

fn setting(case: &Case) -> Setting<'static> {
    let Normalisation { mean, deviation } = &NORMALISATION;
    Setting { b: case.get("b"), sides: ["s", "S"].map(|name| case.get(name)), mean, deviation }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "zoom_prompt"
    }

    fn formula(&self) -> &'static str {
        "y = (zoom(pad(x), scale) + mask σ(delta) - mean) / deviation"
    }

    /// A fixed scale of 1, as AutoVP has it by default, with `S - s` odd and even; scales below 1 and above, one so
    /// large that there is no prompt and one so small that there is no hole; no image at all; a group of images that is
    /// whole, one that is not, and two.
    ///
    /// The scale's gradient jumps where the zoom reads exactly at a pixel, so for a trained scale every position stays
    /// away from pixels, and the hole from a change of its size. That gradient is a sum of terms of either sign; sizes
    /// are such that with their random values it is not far smaller than the norm of its terms.
    fn cases(&self) -> Vec<Case> {
        let case = |[b, s, size, scale]: [usize; 4], fixed| {
            [("b", b), ("s", s), ("S", size), ("scale", scale), ("fixed", fixed)]
        };
        let mut cases = vec![];
        for sizes in [[1, 1, 1, 1000], [2, 5, 8, 1000], [3, 6, 12, 1000], [1, 7, 7, 1000]] {
            cases.push(Case::new(&case(sizes, 1)));
        }
        for sizes in [
            [2, 5, 9, 1440],
            [16, 7, 12, 1558],
            [17, 6, 13, 730],
            [2, 10, 12, 1900],
            [3, 3, 8, 290],
            [3, 20, 33, 1230],
            [2, 0, 4, 1500],
        ] {
            cases.push(Case::new(&case(sizes, 0)));
        }
        cases.push(Case::bench(&case([8, 128, 224, 1500], 0)));
        cases.push(Case::bench(&case([8, 192, 224, 1000], 1)));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, s, size] = ["b", "s", "S"].map(|name| case.get(name));
        vec![
            Input::new("images", &[b, 3, s, s], Draw::Uniform(0.0, 1.0), false),
            Input::normal("delta", &[3, size, size], true),
            Input::new("scale", &[1], Draw::Normal(scale(case), 0.0), !case.is("fixed")),
            // Not an input of the op: the type that the output is to have.
            Input::normal("like", &[1], false).typed(),
        ]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let [images, delta, scale, like] = inputs else { unreachable!("four inputs") };
        Ok(vec![zoom_prompt(tape, images, delta, scale, &NORMALISATION, like.value().dtype())?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(&setting(case), &inputs[0], &inputs[1], inputs[2][0])]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (ddelta, dscale) =
            reference::backward(&setting(case), &inputs[0], &inputs[1], inputs[2][0], &grads[0]);
        vec![vec![], ddelta, vec![dscale], vec![]]
    }

    /// A position is rounded three times at up to S, which moves it by at most `S ε` along each axis; values change by
    /// less than one from a pixel to the next. A thread adds all images; the trees over threads and
    /// blocks add some sixteen times more.
    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("b") + 16) + 2.0 * f64::from(f32::EPSILON) * case.get("S") as f64
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [b, s, size] = ["b", "s", "S"].map(|name| case.get(name) as f64);
        let hole = (s * scale(case)).trunc().min(size);
        // What can be seen of an image, and where: only there the scale counts.
        let seen = (size / scale(case)).min(s);
        let images = b * 3.0 * seen * seen;
        let (pixels, prompted) = (b * 3.0 * size * size, 3.0 * (size * size - hole * hole));
        let (typed, trained) = (dtype.size() as f64, f64::from(!case.is("fixed")));
        // The prompt's gradient reads dy outside the hole, the scale's in it.
        let read = b * (prompted + trained * 3.0 * hole * hole);
        (
            Cost {
                bytes: typed * pixels + 4.0 * (images + prompted),
                // Three times between two values, the prompt and the normalisation.
                flop: 12.0 * pixels,
                exp: prompted,
                ..Cost::default()
            },
            Cost {
                bytes: typed * read + 4.0 * (trained * images + prompted + 3.0 * size * size),
                flop: (1.0 + 17.0 * trained) * pixels,
                exp: prompted,
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(images, _), (delta, _), (_, trained)] = &call.inputs[..] else { return None };
        let (&[b, _, s, _], &[_, size, _]) = (&images[..], &delta[..]) else { return None };
        // The scale is a value; the operations do not depend on it.
        let fixed = usize::from(!trained);
        Some(Case::new(&[("b", b), ("s", s), ("S", size), ("scale", 1000), ("fixed", fixed)]))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        let (delta, scale) = (asked.wants("delta"), asked.wants("scale"));
        let kept = [("images", scale), ("delta", delta), ("scale", delta || scale)];
        kept.into_iter().filter(|(_, kept)| *kept).filter_map(|(name, _)| asked.bytes(name)).collect()
    }

    /// Whole groups of images.
    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([16, 32, 48])]
    }
}

/// Gradient checks move the scale by 1e-5, and f32 rounds positions: 1e-3 from a pixel is enough for both. In the row or
/// column of the centre nothing moves.
#[test]
fn trained_scales_stay_away_from_jumps() {
    let mut checked = 0;
    for case in Cases.cases().into_iter().filter(|case| !case.is("fixed") && !case.bench) {
        let ([s, size], scale) = (["s", "S"].map(|name| case.get(name) as f64), scale(&case));
        let (centre, pad) = ((size - 1.0) / 2.0, ((size - s) / 2.0).ceil());
        for i in (0..case.get("S")).map(|i| i as f64).filter(|&i| i != centre) {
            let position = (i - centre) / scale + centre;
            let near = position > pad - 1.5 && position < pad + s + 0.5;
            assert!(!near || (position - position.round()).abs() > 1e-3, "{}: {i}", case.name);
        }
        let hole = s * scale;
        assert!(s == 0.0 || hole > size + 1e-3 || (hole - hole.round()).abs() > 1e-3, "{}: hole", case.name);
        checked += 1;
    }
    assert!(checked > 4);
}
