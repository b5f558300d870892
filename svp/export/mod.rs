//! A trained model as an ONNX file: the pass of one image is traced, and each of its ops writes itself.

use autograd::Tape;
use engine::Tensor;
use onnx::{Graph, Name, Size};

use crate::methods::linear::Frozen;
use crate::model::Model;
use crate::params::Params;
use crate::pass::Noise;
use crate::train::Trained;
use crate::{Error, Result};

/// The names of the graph's input and output.
pub const INPUT: &str = "image";
/// The logits `[N classes]`.
pub const OUTPUT: &str = "logits";

/// The bytes of a model on the CPU as an ONNX file. It takes images `[N 3 s s]` of values in 0..=1, normalises them as
/// [`Model::transform`] does, and gives logits `[N classes]`. What the method can fold into the backbone is folded.
///
/// # Errors
/// An op that cannot be written, and a file beyond what a protocol buffer may have.
pub fn onnx(mut model: Model, trained: &Trained) -> Result<Vec<u8>> {
    let metadata = metadata(&model, trained);
    let mut merged = model.params.clone();
    if model.method.merge(&mut merged).is_ok() {
        (model.params, model.method) = (merged, Box::new(Frozen));
    }
    let refuse = |what: String| {
        let method = trained.method.entry.name;
        let hint = "use svp-predict and svp-eval on the run";
        Error::input(format!("a run of {method}"), format!("cannot be an ONNX model: {what}"), hint)
    };
    let s = model.transform().size as usize;
    let images = Tensor::zeros(&model.device, &[1, 3, s, s]);
    let tape = Tape::tracing(&model.device);
    let logits = model.forward(&tape, images.clone(), Noise::default())?.logits.traced();
    let trace = tape.into_trace();

    let mut graph = Graph::new("classifier");
    let batch = Size::Any("N");
    let input = graph.input(INPUT, &[batch, Size::Of(3), Size::Of(s), Size::Of(s)]);
    let input = normalised(&mut graph, input, &model);
    let image =
        trace.values.iter().position(|value| value.given.as_ref().is_some_and(|t| t.is_clone_of(&images)));
    let image = image.expect("the pass reads the image");
    let mut names = vec![];
    for (i, value) in trace.values.iter().enumerate() {
        names.push(value.given.as_ref().map(|tensor| match i == image {
            true => input.clone(),
            false => given(&mut graph, tensor, &model.params),
        }));
    }
    ptx::export::write(&mut graph, &trace, &mut names, image)
        .map_err(|(op, why)| refuse(format!("{op}: {why}")))?;
    let logits = logits.and_then(|logits| names[logits].clone()).expect("the head computes the logits");
    graph.output(OUTPUT, &logits, &[batch, Size::Of(model.classes())]);
    graph.prune();

    let producer = ["svp-train", env!("CARGO_PKG_VERSION")];
    let bytes = onnx::Model { graph: &graph, producer, metadata: &metadata }.bytes();
    match bytes.len() > onnx::LIMIT {
        true => Err(refuse(format!("it has {} bytes, and a file at most {}", bytes.len(), onnx::LIMIT))),
        false => Ok(bytes),
    }
}

/// A value that no op computes, which is mostly a parameter.
fn given<'a>(graph: &mut Graph<'a>, tensor: &'a Tensor, params: &Params) -> Name {
    match params.iter().find(|param| param.value.is_clone_of(tensor)) {
        Some(param) => graph.parameter(&param.name, tensor.shape(), tensor.as_slice()),
        None => graph.floats(tensor.shape(), tensor.as_slice()),
    }
}

/// The images normalised as the model expects them.
fn normalised(graph: &mut Graph, images: Name, model: &Model) -> Name {
    let normalisation = model.transform().normalisation;
    if normalisation == crate::data::Normalisation::NONE {
        return images;
    }
    let [mean, std] =
        [normalisation.mean, normalisation.std].map(|channels| graph.floats(&[3, 1, 1], channels.to_vec()));
    let centred = graph.sub(&images, &mean);
    graph.div(&centred, &std)
}

/// What the file says about itself.
fn metadata(model: &Model, trained: &Trained) -> Vec<(&'static str, String)> {
    let transform = model.transform();
    let s = transform.size;
    vec![
        ("classes", serde_json::to_string(&trained.classes).expect("names are text")),
        (
            "input",
            format!(
                "float32 [N, 3, {s}, {s}]: red, green, blue; {}; bytes divided by 255. The model normalises them.",
                transform.in_words()
            ),
        ),
        ("output", "float32 [N, classes]: logits".into()),
        ("method", trained.method.entry.name.into()),
        ("backbone", format!("{} {}", trained.family, trained.backbone_hash)),
    ]
}

#[cfg(test)]
mod tests;
