//! Cases of patch embedding.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::Weights;
use super::reference::{self, Sizes};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

fn sizes(case: &Case) -> Sizes {
    Sizes {
        b: case.get("b"),
        c: case.get("c"),
        size: case.get("size"),
        patch: case.get("patch"),
        stride: case.get("stride"),
        d: case.get("d"),
        class_row: case.get("class_row"),
    }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "patch_embed"
    }

    fn formula(&self) -> &'static str {
        "y[t] = w patch(t) + bias + pos[t]; y[class_row] = cls + pos[class_row]"
    }

    fn cases(&self) -> Vec<Case> {
        let patches = |[_, _, size, patch, stride, _]: [usize; 6]| ((size - patch) / stride + 1usize).pow(2);
        // In the middle of the patches, as in Vim.
        let case = |sizes: [usize; 6], images, trained| {
            let [b, c, size, patch, stride, d] = sizes;
            [
                ("b", b),
                ("c", c),
                ("size", size),
                ("patch", patch),
                ("stride", stride),
                ("d", d),
                ("class_row", patches(sizes) / 2),
                ("images", images),
                ("trained", trained),
            ]
        };
        let mut cases = vec![];
        for sizes in [
            [1, 1, 2, 2, 2, 1],   // one patch, the class token before it
            [2, 3, 8, 4, 4, 7],   // 5 tokens
            [3, 3, 10, 4, 4, 5],  // pixels beyond the last patch
            [1, 3, 16, 8, 4, 33], // overlapping, an odd number of patches
            [1, 2, 28, 2, 2, 17], // 197 tokens
            [2, 1, 58, 4, 2, 5],  // 785 tokens
        ] {
            for (images, trained) in [(1, 1), (0, 1), (1, 0)] {
                cases.push(Case::new(&case(sizes, images, trained)));
            }
        }
        // The class token first, as in ViT, and last.
        for sizes in [[2, 3, 8, 4, 4, 7], [3, 3, 10, 4, 4, 5], [1, 2, 28, 2, 2, 17]] {
            for class_row in [0, patches(sizes)] {
                cases.push(Case::new(&case(sizes, 1, 1)).with("class_row", class_row));
            }
        }
        // The bias alone is trained.
        for sizes in [[3, 3, 10, 4, 4, 5], [1, 2, 28, 2, 2, 17]] {
            cases.push(Case::new(&[&case(sizes, 0, 0)[..], &[("bias", 1)]].concat()));
        }
        cases.push(Case::bench(&case([8, 3, 224, 16, 16, 384], 0, 1)));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (s, trained) = (sizes(case), case.is("trained"));
        vec![
            Input::normal("images", &[s.b, s.c, s.size, s.size], case.is("images")).typed(),
            Input::normal("weight", &[s.d, s.c, s.patch, s.patch], trained),
            Input::normal("bias", &[s.d], trained || case.is("bias")),
            Input::normal("cls", &[1, 1, s.d], trained),
            Input::normal("pos", &[1, s.tokens(), s.d], trained),
        ]
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let [images, weight, bias, cls, pos] = inputs else { unreachable!("five inputs") };
        let weights = Weights { weight, bias, cls, pos };
        Ok(vec![super::patch_embed(tape, images, &weights, case.get("stride"), case.get("class_row"))?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        vec![reference::forward(sizes(case), &x[0], &x[1], &x[2], &x[3], &x[4])]
    }

    fn reference_grad(&self, case: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        reference::backward(sizes(case), &x[0], &x[1], &grads[0]).into()
    }

    fn tolerance(&self, case: &Case) -> f64 {
        let s = sizes(case);
        let overlap = s.patch.div_ceil(s.stride).pow(2);
        sum_tolerance(s.k().max(s.b * s.tokens()).max(s.d * overlap))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let s = sizes(case);
        let (images, tokens) = (s.b * s.c * s.size * s.size, s.b * s.tokens());
        let product = 2.0 * (tokens * s.d * s.k()) as f64;
        let parameters = s.d * s.k() + s.tokens() * s.d;
        let bytes = (dtype.size() * (images + tokens * s.d) + 4 * parameters) as f64;
        let products = f64::from(u8::from(case.is("images")) + u8::from(case.is("trained")));
        (
            Cost { bytes, flop: product, ..Cost::default() },
            Cost { bytes, flop: products * product, ..Cost::default() },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(images, to_images), (weight, trained), ..] = &call.inputs[..] else { return None };
        let (&[b, c, size, _], &[d, _, patch, _]) = (&images[..], &weight[..]) else { return None };
        // Any stride that makes as many patches costs the same.
        let grid = (call.outputs[0][1] - 1).isqrt();
        let stride = if grid > 1 { (size - patch) / (grid - 1) } else { size };
        let switches = [("images", usize::from(*to_images)), ("trained", usize::from(*trained))];
        let sizes = [("b", b), ("c", c), ("size", size), ("patch", patch), ("stride", stride), ("d", d)];
        Some(Case::new(&[&sizes[..], &switches].concat()))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        let saved_for = |gradient: &str, input: &str| asked.bytes(input).filter(|_| asked.wants(gradient));
        [saved_for("weight", "images"), saved_for("images", "weight")].into_iter().flatten().collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }

    fn is_product(&self) -> bool {
        true
    }
}
