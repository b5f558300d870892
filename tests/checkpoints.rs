//! Backbones as they are met in the world, and runs that leave the program: for plain checkpoints, PyTorch and ONNX.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use engine::{Device, Rng, Tensor};
use svp::checkpoint::{Checkpoint, Metadata, Precision, save_safetensors, save_safetensors_as, save_torch};
use svp::train::load_trained;
use testkit::golden::Golden;
use testkit::programs::{Scratch, fails, program, succeeds, text, train, words};
use testkit::root::root;

fn golden(name: &str) -> String {
    root().join("tests/golden").join(name).to_str().unwrap().into()
}

fn convert(args: &[&str]) -> Output {
    program("svp-convert").args(args).output().unwrap()
}

/// A linear probe of `data` on a backbone.
fn probe(data: &str, backbone: &str, more: &[&str]) -> Output {
    let usual = words("--method linear --epochs 1 --batch-size 8");
    train(&[&["--data", data, "--backbone", backbone], &usual[..], more].concat())
}

#[test]
fn converting_keeps_the_weights() {
    let place = Scratch::new("convert");
    let hash = |output: &Output| {
        let shown = succeeds(output);
        let (_, hash) = shown.trim_end().rsplit_once("backbone ").unwrap();
        assert_eq!(hash.len(), 64, "{shown}");
        hash.to_string()
    };
    let (a, b, half) = (place.at("a.safetensors"), place.at("b.safetensors"), place.at("half.safetensors"));
    let full = hash(&convert(&[&golden("vim_nano_release.pth"), &a]));
    assert_eq!(hash(&convert(&[&a, &b])), full);
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    let f16 = golden("vim_nano_release_f16.pth");
    assert_eq!(hash(&convert(&[&f16, &half, "--half"])), hash(&convert(&[&f16, &b, "--force"])));
    let size = |path: &str| fs::metadata(path).unwrap().len();
    assert!(size(&half) < size(&a) * 6 / 10);

    fails(&convert(&[&a, &half]), &["half.safetensors", "exists", "--force"]);
    fails(&convert(&[&a, &place.at("a.bin")]), &["a.bin", ".safetensors", ".pth"]);
    fails(&convert(&[&place.at("none.pth"), &place.at("c.safetensors")]), &["none.pth", "No such file"]);
    fails(&convert(&[&a, &place.at("none/c.safetensors")]), &["none/c.safetensors", "cannot write"]);
}

/// A ViT in another program's layout is written under timm's names, with what its tensors do not tell beside them.
#[test]
fn a_vit_of_google_is_converted_with_what_its_layout_tells() {
    let place = Scratch::new("convert-vit");
    let (a, b) = (place.at("a.safetensors"), place.at("b.safetensors"));
    let told = succeeds(&convert(&[&golden("vit/ckpt_augreg.npz"), &a]));
    assert!(told.contains("Google's files, behind `opt/target/`"), "{told}");
    assert!(told.contains("left out: ") && !told.contains("no complete backbone"), "{told}");
    let file = Checkpoint::open(Path::new(&a)).unwrap();
    assert_eq!(file.metadata()["vit.heads"], "2");
    let want = Golden::open(&root().join("tests/golden/vit/ckpt_augreg.expected.safetensors"));
    for name in file.entries().keys() {
        let want = want.get(&format!("param.{name}"));
        assert_eq!(file.tensor(name).unwrap().as_slice(), want.as_slice(), "{name}");
    }
    assert!(succeeds(&convert(&[&a, &b])).contains("backbone "));
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    // The heads are told by nothing in a plain state dict.
    let told = succeeds(&convert(&[&golden("vit/ckpt_timm_st.safetensors"), &b, "--force"]));
    assert!(told.contains("no complete backbone"), "{told}");
}

/// That the model computes what the run does is tested in `svp/export/tests.rs`.
#[test]
fn a_run_becomes_an_onnx_model() {
    let place = Scratch::new("onnx");
    let (run, onnx) = (&place.small_vim("full", &place.data("data", 3)), place.at("classifier.onnx"));
    let told = succeeds(&convert(&[run, &onnx]));
    assert!(told.starts_with(&onnx) && told.contains("image [N, 3, 32, 32]"), "{told}");
    assert!(told.trim_end().ends_with("logits [N, 3]"), "{told}");
    let file = fs::read(&onnx).unwrap();
    for part in ["svp-train", "Scan", r#"["class 0","class 1","class 2"]"#] {
        assert!(file.windows(part.len()).any(|bytes| bytes == part.as_bytes()), "{part}");
    }
    fails(&convert(&[run, &onnx]), &["classifier.onnx", "exists", "--force"]);
    for flag in ["--half", "--merge"] {
        fails(&convert(&[run, &onnx, "--force", flag]), &[flag, "leave it out"]);
    }
    fails(&convert(&[&golden("vim_nano_release.pth"), &place.at("b.onnx")]), &["vim_nano_release.pth"]);
    assert!(!Path::new(&place.at("b.onnx")).exists());
}

#[test]
fn backbones_in_wrappings_are_taken_and_told() {
    let place = Scratch::new("wrapped");
    let data = place.data("data", 3);
    let vim = Checkpoint::open(Path::new(&golden("vim_nano_release.safetensors"))).unwrap();
    let tensors: Vec<(String, Tensor)> =
        vim.entries().keys().map(|name| (format!("model.{name}"), vim.tensor(name).unwrap())).collect();
    let other = Tensor::from_vec(vec![1.0], &[1]);
    let lightning = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    let lightning: Vec<_> = lightning.chain([("loss.weight".to_string(), &other)]).collect();
    let wrapped = place.at("lightning.safetensors");
    save_safetensors(Path::new(&wrapped), &lightning, &Metadata::new()).unwrap();

    let told = "`model.` is taken off the names of 75 tensors; left out without it: 1 (loss.weight)";
    let dry = succeeds(&probe(&data, &wrapped, &["--dry-run"]));
    assert!(dry.contains(told), "{dry}");
    let plain = place.at("plain.safetensors");
    let converted = succeeds(&convert(&[&wrapped, &plain]));
    assert!(converted.contains(told), "{converted}");
    assert!(Checkpoint::open(Path::new(&plain)).unwrap().entries().keys().eq(vim.entries().keys()));

    // A run is no backbone, unless it trained all of one.
    let out = place.at("run");
    let said = probe(&data, &wrapped, &["--out", &out]);
    succeeds(&said);
    assert!(text(&said.stderr).contains(told), "{}", text(&said.stderr));
    let parts = ["of a run of svp-train, not a backbone", "svp-eval or svp-predict", "svp-convert --merge"];
    for run in [out.clone(), format!("{out}/best.safetensors"), format!("{out}/last.safetensors")] {
        fails(&probe(&data, &run, &["--dry-run"]), &parts);
    }
    let full = place.small_vim("full", &data);
    let dry = succeeds(&probe(&data, &full, &["--dry-run"]));
    assert!(dry.contains("best.safetensors of a run"), "{dry}");
    fails(
        &probe(&data, &format!("{full}/last.safetensors"), &["--dry-run"]),
        &["optimizer", "best.safetensors"],
    );
}

/// Half precision takes twice its size once it is converted.
#[test]
fn what_is_converted_counts_in_the_budget() {
    let place = Scratch::new("converted-budget");
    let [half, out] = ["half.safetensors", "out.safetensors"].map(|name| place.at(name));
    let values = Tensor::from_vec(vec![0.5; 1 << 20], &[1 << 20]);
    let tensors = [("w".to_string(), &values)];
    save_safetensors_as(Path::new(&half), &tensors, &Metadata::new(), Precision::F16).unwrap();
    let limited = |limit: &str| convert(&[&half, &out, "--max-memory", limit]);
    fails(&limited("1MiB"), &["half.safetensors", "needs 3 MiB of memory", "--max-memory"]);
    fails(&limited("5MiB"), &["half.safetensors", "tensor w: needs 4 MiB of memory", "--max-memory"]);
    assert!(!Path::new(&out).exists());
    succeeds(&limited("16MiB"));
}

#[test]
fn the_choice_of_weights_goes_with_the_run() {
    let place = Scratch::new("weights");
    let data = place.data("data", 3);
    let release = golden("vim_nano_release.pth");
    let (out, ema) = (place.at("run"), place.at("ema.safetensors"));
    let shown = succeeds(&probe(&data, &release, &["--out", &out, "--weights", "ema", "--json"]));
    let config = fs::read_to_string(format!("{out}/config.toml")).unwrap();
    assert!(config.contains("weights = \"ema\""), "{config}");
    let dry = succeeds(&probe(&data, &release, &["--dry-run"]));
    assert!(dry.contains("`model_ema` has their moving average"), "{dry}");

    let converted = succeeds(&convert(&[&release, &ema, "--weights", "ema"]));
    let hash = converted.trim_end().rsplit_once("backbone ").unwrap().1;
    assert!(shown.contains(hash), "{shown} was not made with {converted}");
    let evaluate = |more: &[&str]| succeeds(&program("svp-eval").arg(&out).args(more).output().unwrap());
    assert_eq!(evaluate(&["--backbone", &ema]), evaluate(&[]), "a converted file has nothing to choose from");
    succeeds(&train(&["--resume", &out, "--backbone", &ema]));
    let config = fs::read_to_string(format!("{out}/config.toml")).unwrap();
    assert!(!config.contains("weights ="), "{config}");

    fails(&probe(&data, &ema, &["--weights", "ema"]), &["ema.safetensors", "one set of weights"]);
    fails(&train(&words("--weights ema --method linear")), &["--weights", "without --backbone"]);
}

/// Names and shapes are those of the published program, which made the golden file, and PyTorch computes our logits.
#[test]
fn a_run_leaves_under_the_published_names() {
    let place = Scratch::new("published");
    let data = place.data("data", 10);
    let published = Golden::open(Path::new(&golden("svp_paper.safetensors")));
    let state_dict: BTreeMap<&str, &Tensor> = published
        .tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("param.")?, tensor)))
        .collect();
    let (backbone, out, file) = (place.at("vim.safetensors"), place.at("run"), place.at("out.pth"));
    let of_backbone = |name: &str| !name.starts_with("prompt_") && !name.starts_with("head");
    let frozen = state_dict.iter().filter(|(name, _)| of_backbone(name));
    let frozen: Vec<_> = frozen.map(|(name, tensor)| (name.to_string(), *tensor)).collect();
    save_safetensors(Path::new(&backbone), &frozen, &Metadata::new()).unwrap();
    let settings = words("--epochs 1 --batch-size 8 --lr 0.5 --warmup-epochs 0");
    let group_size = published.setting("shared_layers");
    let run = ["--data", &data, "--backbone", &backbone, "--out", &out, "--group-size", group_size];
    succeeds(&train(&[&run[..], &settings].concat()));
    let told = succeeds(&convert(&[&out, &file]));
    assert!(told.contains("the published program computes --variant official"), "{told}");

    let written = Checkpoint::open(Path::new(&file)).unwrap();
    let shapes = |all: &mut dyn Iterator<Item = (String, Vec<usize>)>| all.collect::<BTreeMap<_, _>>();
    assert_eq!(
        shapes(&mut written.entries().iter().map(|(name, entry)| (name.clone(), entry.shape().to_vec()))),
        shapes(&mut state_dict.iter().map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec()))),
    );
    let model = load_trained(Path::new(&out), None, &Device::cpu()).unwrap().model;
    for param in model.params.iter() {
        assert_eq!(written.tensor(&param.name).unwrap().as_slice(), param.value.as_slice(), "{}", param.name);
    }

    let mut rng = Rng::keyed(0, 0, 0, 0);
    let side = model.spec().img_size;
    let images = (0..2 * 3 * side * side).map(|_| rng.normal() as f32).collect();
    let images = Tensor::from_vec(images, &[2, 3, side, side]);
    let logits = model.logits(images.clone()).unwrap();
    let numbers = [("images".to_string(), &images), ("logits".to_string(), &logits)];
    let given = place.at("numbers.pth");
    save_torch(Path::new(&given), &numbers, &Metadata::new(), Precision::F32).unwrap();
    in_pytorch(&[&file, &given, group_size]);
}

/// Loads a state dict into modules of the same names, strictly, and compares the logits of the reference's Vim with it.
const LOAD: &str = r#"
import sys
from functools import partial
import torch
from vim_model import Model
from vim_step import mixer

class Tree(torch.nn.Module):
    def put(self, name, shape):
        first, _, rest = name.partition(".")
        if not rest:
            self.register_parameter(first, torch.nn.Parameter(torch.zeros(shape)))
            return
        if first not in self._modules:
            self.add_module(first, Tree())
        self._modules[first].put(rest, shape)

file, given = torch.load(sys.argv[1]), torch.load(sys.argv[2])["model"]
state, tree = file["model"], Tree()
for name, tensor in state.items():
    tree.put(name, tensor.shape)
tree.load_state_dict(state)
params = {name: tensor.detach().clone() for name, tensor in tree.named_parameters()}
depth = 1 + max(int(name.split(".")[1]) for name in params if name.startswith("layers."))
model = Model(params, depth, int(sys.argv[3]), partial(mixer, recompute=False))
error = (model.logits(given["images"]) - given["logits"]).abs().max() / given["logits"].abs().max()
assert error <= 1e-4, error
assert file["metadata"]["classes"].split("\n")[9] == "class 9", file["metadata"]
"#;

/// Runs the script where there is a Python with PyTorch: `REFERENCE_PYTHON`, or `python3`.
fn in_pytorch(args: &[&str]) {
    let python = env::var("REFERENCE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import torch"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return println!("PyTorch: skipped, {python} has none; set REFERENCE_PYTHON to one that has it");
    }
    let reference = root().join("tools/reference");
    let output =
        Command::new(&python).args(["-c", LOAD]).args(args).env("PYTHONPATH", reference).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
