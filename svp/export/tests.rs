use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::process::Command;

use engine::{Device, Rng};

use super::*;
use crate::backbones::pos_embed::ClassRow;
use crate::backbones::vim;
use crate::heads::HeadKind;
use crate::methods::tests::{backbone, vit};
use crate::methods::{Chosen, METHODS};
use crate::model::Parts;
use crate::params::Params;

const DEPTH: usize = 2;
const CLASSES: usize = 3;
const IMAGES: usize = 3;

/// Ends the name of a method that is to run on a ViT, though it runs on a Vim too.
const ON_A_VIT: &str = " on a ViT";

/// A model whose trained values have moved from where they begin, and what its file says.
fn model(method: &str, settings: &[(&str, &str)], head: &str) -> (Model, Trained) {
    let with = |chosen: Chosen, (name, text): &(&str, &str)| chosen.with_flag(name, text).unwrap();
    let name = method.trim_end_matches(ON_A_VIT);
    let chosen = settings.iter().fold(Chosen::named(name).unwrap(), with);
    let mut rng = Rng::keyed(3, 0, 0, 0);
    let mut params = Params::default();
    let backbone = match name == method {
        true => backbone(chosen.entry, DEPTH, &mut params),
        false => vit(DEPTH, &mut params),
    };
    let family = backbone.spec().family.to_string();
    let own = [&[7, 16][..], &[7]].map(|shape| moved(&Tensor::zeros(&Device::cpu(), shape), &mut rng));
    let parts = Parts {
        head: HeadKind::named(head).unwrap(),
        simam: head == "two-layer",
        source_head: Some(own),
        ..Parts::new(chosen.clone(), CLASSES)
    };
    let simam = parts.simam;
    let mut model = Model::new(&Device::cpu(), backbone, params, parts, 5).unwrap();
    for id in model.params.trained() {
        let value = moved(model.params.get(id), &mut rng);
        model.params.set(id, value);
    }
    let trained = Trained {
        method: chosen,
        head: HeadKind::named(head).unwrap(),
        simam,
        family,
        img_size: 16,
        stride: 4,
        class_row: ClassRow::Middle,
        interpolation: None,
        facts: BTreeMap::new(),
        classes: vec!["a \"b\"".into(), "ü".into(), "c".into()],
        backbone_hash: "ff".into(),
    };
    (model, trained)
}

fn moved(value: &Tensor, rng: &mut Rng) -> Tensor {
    let values = value.to_host().unwrap().iter().map(|value| value + 0.1 * rng.normal() as f32).collect();
    Tensor::from_vec(values, value.shape())
}

/// Every method with its defaults, and the settings that change what is computed.
fn cases() -> Vec<(String, Model, Trained)> {
    let defaults = METHODS.iter().map(|entry| (entry.name, vec![], "linear"));
    let others = [
        ("svp", vec![("variant", "official")], "two-layer"),
        ("svp", vec![("at", "scan"), ("group-size", "1")], "linear"),
        ("svp", vec![("inner", "false")], "linear"),
        ("vpt", vec![("inject", "add"), ("position", "middle"), ("tokens", "3")], "linear"),
        ("vpt", vec![("deep", "false"), ("position", "both"), ("tokens", "3")], "linear"),
        ("ssf", vec![("shift", "false")], "linear"),
        ("autovp", vec![("resize", "trainable"), ("scale", "0.8"), ("image-side", "13")], "linear"),
        ("adapter", vec![("form", "noah")], "batch-norm"),
        ("adaptformer", vec![("layernorm", "in")], "linear"),
        ("sct", vec![("mode", "sct_mlp")], "linear"),
        ("e2vpt", vec![("masks", "trained"), ("tokens", "3")], "linear"),
        ("vpt on a ViT", vec![("inject", "add"), ("tokens", "3")], "linear"),
        ("ivpt on a ViT", vec![("tokens", "3"), ("salient", "4")], "linear"),
        ("ivpt on a ViT", vec![("cdc", "all"), ("aggregate", "false"), ("reinforce", "all")], "linear"),
        ("provp", vec![("mode", "add")], "linear"),
        ("express", vec![("readout", "class")], "linear"),
    ];
    let case = |(method, settings, head): (&str, Vec<(&str, &str)>, &str)| {
        let (model, trained) = model(method, &settings, head);
        (format!("{method} {settings:?} {head}"), model, trained)
    };
    defaults.chain(others).map(case).collect()
}

/// A field of a message: a whole number, or bytes.
enum Field<'a> {
    Int(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in the wire format of protocol buffers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, rest) = bytes.split_at(end);
        *bytes = rest;
        number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut fields = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        fields.push((
            key >> 3,
            match key & 7 {
                0 => Field::Int(value),
                2 => {
                    let (field, rest) = bytes.split_at(value as usize);
                    bytes = rest;
                    Field::Bytes(field)
                }
                kind => panic!("field {} of kind {kind}", key >> 3),
            },
        ));
    }
    fields
}

fn all(message: &[u8], field: u64) -> Vec<&[u8]> {
    let of = |(number, value)| match value {
        Field::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    };
    fields(message).into_iter().filter_map(of).collect()
}

fn ints(message: &[u8], field: u64) -> Vec<u64> {
    let of = |(number, value)| match value {
        Field::Int(int) if number == field => Some(int),
        _ => None,
    };
    fields(message).into_iter().filter_map(of).collect()
}

fn texts(message: &[u8], field: u64) -> Vec<String> {
    all(message, field).into_iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
}

/// Checks that a graph reads only what is there before, that no name stands for two values, and that given values have
/// as many bytes as their shapes say. `there` are the values of the graphs around it, and `names` those of all graphs.
/// Counts the operators.
fn check(
    graph: &[u8],
    mut there: HashSet<String>,
    names: &mut HashSet<String>,
    ops: &mut HashMap<String, usize>,
) {
    let define = |name: String, there: &mut HashSet<String>, names: &mut HashSet<String>| {
        assert!(!name.is_empty() && names.insert(name.clone()), "{name:?} twice");
        there.insert(name);
    };
    for port in all(graph, 11) {
        define(texts(port, 1).remove(0), &mut there, names);
    }
    for tensor in all(graph, 5) {
        let (name, values) = (texts(tensor, 8).remove(0), ints(tensor, 1).iter().product::<u64>());
        let size = match ints(tensor, 2)[..] {
            [1] => 4,
            [7] => 8,
            ref other => panic!("{name} has the type {other:?}"),
        };
        assert_eq!(all(tensor, 9)[0].len() as u64, values * size, "{name}");
        define(name, &mut there, names);
    }
    for node in all(graph, 1) {
        let op = texts(node, 4).remove(0);
        for input in texts(node, 1) {
            assert!(there.contains(&input), "{op} reads {input}");
        }
        for body in all(node, 5).into_iter().flat_map(|attribute| all(attribute, 6)) {
            check(body, there.clone(), names, ops);
        }
        texts(node, 2).into_iter().for_each(|name| define(name, &mut there, names));
        *ops.entry(op).or_default() += 1;
    }
    for port in all(graph, 12) {
        assert!(there.contains(&texts(port, 1)[0]));
    }
}

#[test]
fn every_file_is_a_whole_graph() {
    for (name, model, trained) in cases() {
        let bytes = match onnx(model, &trained) {
            Ok(bytes) => bytes,
            Err(error) => {
                let line = error.to_string();
                assert!(line.starts_with("a run of dam-vp: cannot be an ONNX model: frame: "), "{line}");
                continue;
            }
        };
        let mut ops = HashMap::new();
        check(all(&bytes, 7)[0], HashSet::new(), &mut HashSet::new(), &mut ops);
        let (op, of_a_block) = if trained.family == vim::NAME { ("Scan", 2) } else { ("Softmax", 1) };
        assert!(ops[op] >= of_a_block * DEPTH, "{name} has {} of {op}", ops[op]);
        let metadata: HashMap<_, _> = all(&bytes, 14)
            .iter()
            .map(|entry| (texts(entry, 1).remove(0), texts(entry, 2).remove(0)))
            .collect();
        assert_eq!(metadata["classes"], r#"["a \"b\"","ü","c"]"#);
        let input = &metadata["input"];
        assert!(input.starts_with("float32 [N, 3, ") && input.contains("resized to"), "{input}");
        assert_eq!(metadata["method"], trained.method.entry.name);
    }
    // A merged method leaves the plain backbone: its files are as large as that of a linear probe, but for the class names.
    let size = |method, settings: &[_]| {
        let (model, trained) = model(method, settings, "linear");
        all(&onnx(model, &trained).unwrap(), 7)[0].len()
    };
    let plain = size("linear", &[]);
    assert_eq!([size("lora", &[]), size("ssf", &[("shift", "false")])], [plain; 2]);
    assert!(size("ssf", &[]) > plain);
}

/// Checks every file of the arguments, runs it on images that lie beside it, together and the first alone, and writes
/// the logits.
const RUN: &str = r#"
import sys
import numpy, onnx, onnxruntime

for path in sys.argv[1:]:
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape[1:]
    images = numpy.fromfile(path + ".images", "<f4").reshape(-1, *shape)
    run = lambda images: session.run(["logits"], {"image": images})[0]
    numpy.concatenate([run(images), run(images[:1])]).astype("<f4").tofile(path + ".logits")
"#;

/// A Python that has what `RUN` imports: that of `ONNX_PYTHON`, or `python3` if it has.
fn python() -> Option<String> {
    let given = std::env::var("ONNX_PYTHON").ok();
    let python = given.clone().unwrap_or("python3".into());
    let imports = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
    let able = imports.is_ok_and(|output| output.status.success());
    assert!(able || given.is_none(), "{python} cannot import numpy, onnx and onnxruntime");
    able.then_some(python)
}

/// onnxruntime's logits are ours up to rounding, for three images together and for one.
#[test]
fn onnxruntime_computes_our_logits() {
    let Some(python) = python() else {
        println!("skipped: no Python with numpy, onnx and onnxruntime; ONNX_PYTHON names one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut rng, mut paths, mut wants) = (Rng::keyed(4, 0, 0, 0), vec![], vec![]);
    for (name, model, trained) in cases() {
        let transform = model.transform();
        let values: Vec<f32> = (0..IMAGES * transform.values()).map(|_| rng.range(0.0, 1.0) as f32).collect();
        let normalisation = transform.normalisation;
        let pixels = transform.values() / 3;
        let normal = |(i, value): (usize, &f32)| {
            (value - normalisation.mean[i / pixels % 3]) / normalisation.std[i / pixels % 3]
        };
        let images: Vec<f32> = values.iter().enumerate().map(normal).collect();
        let s = transform.size as usize;
        let want = model.logits(Tensor::from_vec(images, &[IMAGES, 3, s, s])).unwrap().to_host().unwrap();
        let Ok(bytes) = onnx(model, &trained) else { continue };
        let path = folder.path().join(format!("{}.onnx", paths.len()));
        let images: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(&path, bytes).unwrap();
        fs::write(path.with_extension("onnx.images"), images).unwrap();
        paths.push(path);
        wants.push((name, want));
    }
    let output = Command::new(python).args(["-c", RUN]).args(&paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (path, (name, want)) in paths.iter().zip(wants) {
        let bytes = fs::read(path.with_extension("onnx.logits")).unwrap();
        let got: Vec<f32> = bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        let want = [&want[..], &want[..CLASSES]].concat();
        assert_eq!(got.len(), want.len(), "{name}");
        let largest = want.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: {far:e} of {largest:e}");
        assert!(far <= 1e-5 * largest, "{name}: {far:e} of {largest:e}");
    }
}
