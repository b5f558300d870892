use std::io::{Cursor, Write};

use half::f16;
use zip::write::SimpleFileOptions;

use super::*;
use crate::backbones::pos_embed::{ClassRow, Interpolation, resize_pos_embed};
use crate::backbones::{LoadOptions, Loaded, Sizes, from_scratch, load};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&golden(name)).unwrap()
}

fn tensors(checkpoint: &Checkpoint) -> Vec<(String, Tensor)> {
    checkpoint.entries().keys().map(|name| (name.clone(), checkpoint.tensor(name).unwrap())).collect()
}

fn hash(checkpoint: &Checkpoint) -> String {
    let tensors = tensors(checkpoint);
    hash_tensors(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))
}

/// The error message for a file of these bytes.
fn refusal(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let line = Checkpoint::open(file.path()).unwrap_err().to_string();
    assert!(line.starts_with(file.path().to_str().unwrap()) && !line.contains('\n'), "{line}");
    line
}

#[test]
fn released_layouts_load_to_the_golden_values() {
    let want = open("vim_nano_release.safetensors");
    for (name, round) in [
        ("vim_nano_release.pth", false),
        ("vim_nano_release_legacy.pth", false),
        ("vim_nano_release_f16.pth", true),
    ] {
        let got = open(name);
        assert!(got.entries().keys().eq(want.entries().keys()), "{name}");
        for (key, tensor) in tensors(&want) {
            let loaded = got.tensor(&key).unwrap();
            assert_eq!(loaded.shape(), tensor.shape(), "{name} {key}");
            let rounded = |v: f32| if round { f16::from_f32(v).to_f32() } else { v };
            let same = loaded.as_slice().iter().zip(tensor.as_slice());
            assert!(same.into_iter().all(|(a, &b)| a.to_bits() == rounded(b).to_bits()), "{name} {key}");
        }
    }
}

#[test]
fn float32_is_used_in_place_and_hashes_the_same_in_every_format() {
    let (zip, safetensors) = (open("vim_nano_release.pth"), open("vim_nano_release.safetensors"));
    assert!(tensors(&zip).iter().chain(&tensors(&safetensors)).all(|(_, tensor)| tensor.is_mapped()));
    assert_eq!(hash(&zip), hash(&safetensors));
    assert_eq!(hash(&zip), hash(&open("vim_nano_release_legacy.pth")));
    assert_ne!(hash(&zip), hash(&open("vim_nano_release_f16.pth")));
}

#[test]
fn views_shared_storages_and_other_types() {
    for name in ["torch_layouts.pth", "torch_layouts_legacy.pth", "torch_layouts_deflated.pth"] {
        let checkpoint = open(name).under("module.");
        let check = |key: &str, shape: &[usize], values: &[f32]| {
            let tensor = checkpoint.tensor(key).unwrap();
            assert_eq!((tensor.shape(), tensor.as_slice()), (shape, values), "{name} {key}");
        };
        let column = |c: i32| [0, 6, 12, 18].map(|r| (r + c) as f32);
        check("transposed", &[6, 4], &[0, 1, 2, 3, 4, 5].map(column).concat());
        check("offset", &[2, 3], &[5., 6., 7., 8., 9., 10.]);
        check("strided", &[4, 3], &[1., 3., 5., 7., 9., 11., 13., 15., 17., 19., 21., 23.]);
        let permuted: Vec<_> = (0..12).flat_map(|i| [i as f32, (i + 12) as f32]).collect();
        check("permuted", &[3, 4, 2], &permuted);
        check("scalar", &[], &[7.]);
        check("empty", &[0, 4], &[]);
        check("bf16", &[2, 3], &[0., 1., 2., 3., 4., 5.]);
        check("f64", &[3], &[0.0, 1.0 / 3.0, 2.0 / 3.0]);
        check("parameter", &[3], &[0., 1., 2.]);
        check("plain_parameter", &[2], &[3., 4.]);
        assert_eq!(checkpoint.entries().len(), 12);
        assert_eq!(checkpoint.entries()["i64"].dtype(), Dtype::I64);
        let line = checkpoint.tensor("i64").unwrap_err().to_string();
        assert!(line.contains("tensor i64: is i64"), "{line}");
    }
}

#[test]
fn compressed_members_inflate_only_so_far() {
    let mut bomb = zip::ZipWriter::new(Cursor::new(Vec::new()));
    bomb.start_file("a/data.pkl", SimpleFileOptions::default()).unwrap();
    bomb.write_all(&vec![0; 1 << 20]).unwrap();
    let line = refusal(&bomb.finish().unwrap().into_inner());
    assert!(line.contains("over 16 times the file"), "{line}");
}

#[test]
fn safetensors_are_written_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let checkpoint = open("vim_nano_release.safetensors");
    let loaded = tensors(&checkpoint);
    let mut list: Vec<_> = loaded.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    let metadata: Metadata = (0..20).map(|i| (format!("key{i}"), "\"quoted\" \u{e9}".into())).collect();
    save_safetensors(&a, &list, &metadata).unwrap();
    list.reverse();
    save_safetensors(&b, &list, &metadata).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());

    let again = Checkpoint::open(&a).unwrap();
    assert_eq!(again.metadata(), &metadata);
    assert_eq!(hash(&again), hash(&checkpoint));
    assert!(tensors(&again).iter().all(|(_, tensor)| tensor.is_mapped()));
    list.push(list[0].clone());
    assert!(save_safetensors(&a, &list, &metadata).is_err());
}

#[test]
fn values_that_are_not_finite_are_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (good, bad) = (Tensor::from_vec(vec![1.0; 5], &[5]), Tensor::from_vec(vec![0.0, f32::NAN], &[2]));
    let list = [("good".into(), &good), ("norm.weight".into(), &bad)];
    save_safetensors(file.path(), &list, &Metadata::new()).unwrap();
    let checkpoint = Checkpoint::open(file.path()).unwrap();
    assert!(checkpoint.tensor("good").is_ok());
    let line = checkpoint.tensor("norm.weight").unwrap_err().to_string();
    assert!(line.contains("tensor norm.weight: first non-finite value at element 1 (NaN)"), "{line}");
    assert!(checkpoint.allow_non_finite(true).tensor("norm.weight").is_ok());
}

#[test]
fn a_file_is_compared_with_a_model() {
    let checkpoint = open("vim_nano_release.pth");
    let mut want: Vec<_> =
        checkpoint.entries().iter().map(|(k, e)| (k.clone(), e.shape().to_vec())).collect();
    assert!(checkpoint.compare(&want).is_empty());
    want[0].1 = vec![7];
    want.push(("layers.99.norm.weight".into(), vec![32]));
    let report = checkpoint.compare(&want);
    assert_eq!((report.missing.len(), report.mis_shaped.len()), (1, 1));
}

#[test]
fn bad_files_end_in_one_clear_line() {
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    let pickled_module = b"\x80\x02cmodels\nVim\n)\x81}b.";
    let zipped = |pickle: &[u8]| {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file("a/data.pkl", stored).unwrap();
        zip.write_all(pickle).unwrap();
        zip.finish().unwrap().into_inner()
    };
    let escape = br#"{"a\n\u001b[2J":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    let escape = [&(escape.len() as u64).to_le_bytes(), &escape[..]].concat();
    // Magic number, protocol version, machine, the module with its class and the source of that, no storages.
    let legacy_module = [
        &b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."[..],
        b"\x80\x02M\xe9\x03.",
        b"\x80\x02}.",
        b"\x80\x02(U\x06modulecmodels\nVim\nU\x01sNtQ)\x81}b.",
        b"\x80\x02].",
    ];
    let cases: [(Vec<u8>, &str); 12] = [
        (legacy_module.concat(), "holds a whole pickled models.Vim, not its weights; in Python, save"),
        (escape, r#"name "a\n\u{1b}[2J" has control"#),
        (zipped(b"\x80\x02}U\x05modelca\nb\x1b\n)\x81s."), "whole pickled a.b?"),
        (vec![], "is empty"),
        (lfs.to_vec(), "git lfs pull"),
        (b"<!DOCTYPE html>".to_vec(), "web page"),
        (b"hello, world".to_vec(), "neither .pth nor .safetensors"),
        (b"\x80\x02K\x01.".to_vec(), "not one of torch.save"),
        (b"PK\x03\x04 and no more".to_vec(), "no whole zip archive"),
        (zipped(pickled_module), "whole pickled models.Vim"),
        (zipped(b"\x80\x02}U\x05epochK\x03s."), "no weights under model, state_dict"),
        (zipped(b"\x80\x02K\x01\xfe."), "data.pkl: pickle opcode 0xfe at byte 4"),
    ];
    for (bytes, want) in cases {
        let line = refusal(&bytes);
        assert!(line.contains(want), "{line}");
    }
    let open_error = |path: &Path| Checkpoint::open(path).unwrap_err().to_string();
    assert!(open_error(Path::new("no/such.pth")).contains("check the path"));
    assert!(open_error(Path::new(env!("CARGO_MANIFEST_DIR"))).contains("is a folder"));
}

#[test]
fn truncated_files_are_refused() {
    for name in ["vim_nano_release.pth", "vim_nano_release_legacy.pth", "vim_nano_release.safetensors"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        for part in [20, 200, bytes.len() / 2, bytes.len() - 1] {
            let line = refusal(&bytes[..part]);
            assert!(line.contains("damaged or incomplete"), "{name} {part}: {line}");
        }
    }
}

#[test]
fn position_embedding_matches_the_published_resize() {
    let goldens = open("pos_embed_interpolation.safetensors");
    let embedding = goldens.tensor("pos_embed").unwrap();
    for (key, side) in [("pos_embed_to_24x24", 24), ("pos_embed_to_8x8", 8)] {
        let want = goldens.tensor(key).unwrap();
        let got =
            resize_pos_embed(&embedding, (side, side), ClassRow::First, Interpolation::Bicubic).unwrap();
        assert_eq!(got.shape(), want.shape());
        let worst =
            got.as_slice().iter().zip(want.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Both sides are float32 sums of 16 products of magnitude one.
        assert!(worst <= 1e-5 && got.as_slice().iter().all(|v| v.is_finite()), "{key}: {worst}");
    }
    for class_row in [ClassRow::First, ClassRow::Middle] {
        let same = resize_pos_embed(&embedding, (14, 14), class_row, Interpolation::Bicubic).unwrap();
        assert_eq!(same.as_slice(), embedding.as_slice());
    }
}

/// The goldens above check `First`. `Middle` must give the same with the class row moved to the front before and back
/// to the middle after.
#[test]
fn the_middle_class_row_stays_out_of_the_grid() {
    let embedding = open("pos_embed_interpolation.safetensors").tensor("pos_embed").unwrap();
    let moved = |tensor: &Tensor, from: usize, to: usize| {
        let mut rows: Vec<_> = tensor.as_slice().chunks_exact(8).collect();
        let class = rows.remove(from);
        rows.insert(to, class);
        Tensor::from_vec(rows.concat(), tensor.shape())
    };
    let class_first = moved(&embedding, 98, 0);
    for (h, w) in [(24, 24), (27, 27), (8, 8), (7, 12), (1, 1)] {
        let got = resize_pos_embed(&embedding, (h, w), ClassRow::Middle, Interpolation::Bicubic).unwrap();
        let want = resize_pos_embed(&class_first, (h, w), ClassRow::First, Interpolation::Bicubic).unwrap();
        assert_eq!(got.shape(), [1, 1 + h * w, 8]);
        assert_eq!(got.as_slice(), moved(&want, 0, h * w / 2).as_slice(), "{h} x {w}");
    }
}

#[test]
fn grids_that_make_no_sense_are_refused() {
    let embedding = |shape: &[usize]| Tensor::from_vec(vec![0.0; shape.iter().product()], shape);
    let middle = |shape: &[usize], grid| {
        resize_pos_embed(&embedding(shape), grid, ClassRow::Middle, Interpolation::Timm)
    };
    assert!(middle(&[1, 3, 2], (2, 2)).is_err(), "no square grid");
    assert!(middle(&[1, 1, 2], (2, 2)).is_err(), "no patches");
    assert!(middle(&[5, 2], (2, 2)).is_err(), "rank");
    assert!(middle(&[1, 5, 2], (0, 2)).is_err(), "empty grid");
    assert!(middle(&[1, 5, 2], (3, 2)).is_ok());
}

/// The backbone of a small Vim in a file of these tensors.
fn load_file(file: &Path) -> Result<Loaded> {
    load(&Checkpoint::open(file)?, LoadOptions::default())
}

#[test]
fn a_tensor_without_values_tells_no_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut vim = tensors(&open("vim_nano_release.safetensors"));
    let empty = vim.iter_mut().find(|(name, _)| name == "layers.0.mixer.dt_proj.weight").unwrap();
    empty.1 = Tensor::from_vec(vec![], &[0, 1 << 50]);
    let list: Vec<_> = vim.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    save_safetensors(&path, &list, &Metadata::new()).unwrap();
    let options = LoadOptions { allow_mismatch: true, ..LoadOptions::default() };
    let told = load(&Checkpoint::open(&path).unwrap(), options).err().unwrap().to_string();
    assert!(told.contains("is not a Vim checkpoint"), "{told}");
}

#[test]
fn initial_values_beyond_the_budget_are_refused() {
    let wide = Sizes { embed_dim: Some(1 << 24), ..Sizes::default() };
    let told = from_scratch("vim_nano", &wide, 0).err().unwrap().to_string();
    assert!(told.contains("layers.0.mixer.in_proj.weight") && told.contains("--max-memory"), "{told}");
}

/// Writes the tensors of a small Vim behind each prefix, and a tensor of each name in `others`.
fn write_wrapped(path: &Path, prefixes: &[&str], others: &[&str]) {
    let vim = tensors(&open("vim_nano_release.safetensors"));
    let other = Tensor::from_vec(vec![1.0], &[1]);
    let wrapped =
        prefixes.iter().flat_map(|prefix| vim.iter().map(move |(k, v)| (format!("{prefix}{k}"), v)));
    let list: Vec<_> = wrapped.chain(others.iter().map(|name| (name.to_string(), &other))).collect();
    save_safetensors(path, &list, &Metadata::new()).unwrap();
}

#[test]
fn wrapped_names_fit_and_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let plain = load_file(&golden("vim_nano_release.safetensors")).unwrap();
    assert_eq!(plain.notes, [""; 0]);
    for prefix in ["module.", "model.", "net.", "backbone.", "_orig_mod.", "module._orig_mod.model."] {
        write_wrapped(&path, &[prefix], &[]);
        let loaded = load_file(&path).unwrap();
        assert_eq!(loaded.hash, plain.hash, "{prefix}");
        assert_eq!(loaded.notes, [format!("`{prefix}` is taken off the names of 75 tensors")]);
        assert!(loaded.head.is_some(), "{prefix}");
    }

    // Lightning keeps the tensors of a loss beside the model's.
    write_wrapped(&path, &["model."], &["loss.weight", "models.a"]);
    let loaded = load_file(&path).unwrap();
    assert_eq!(loaded.hash, plain.hash);
    assert_eq!(
        loaded.notes,
        ["`model.` is taken off the names of 75 tensors; left out without it: 2 (loss.weight, models.a)"]
    );

    // A prefix stays where the names do not fit without it, and where it would be a guess.
    let refusal = |path: &Path| load_file(path).err().unwrap().to_string();
    write_wrapped(&path, &[], &["model.cls_token", "model.pos_embed"]);
    assert!(refusal(&path).contains("is not a Vim checkpoint"), "{}", refusal(&path));
    write_wrapped(&path, &["net.", "backbone."], &[]);
    assert!(
        refusal(&path).contains("holds several models, under backbone., net.; save"),
        "{}",
        refusal(&path)
    );
    // What the model has besides is no wrapping and stays an error.
    write_wrapped(&path, &[""], &["model.cls_token"]);
    assert!(refusal(&path).contains("1 unexpected (model.cls_token)"), "{}", refusal(&path));
}

/// A `.pth` with a dict of one tensor `w` of one value under each key.
fn write_sets(path: &Path, sets: &[(&str, f32)]) {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut pickle = b"\x80\x02}".to_vec();
    for (i, (key, value)) in sets.iter().enumerate() {
        pickle.extend([&[b'U', key.len() as u8], key.as_bytes()].concat());
        pickle.extend(b"}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01");
        pickle.extend(i.to_string().as_bytes());
        pickle.extend(b"U\x03cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89)tRss");
        zip.start_file(format!("a/data/{i}"), stored).unwrap();
        zip.write_all(&value.to_le_bytes()).unwrap();
    }
    pickle.push(b'.');
    zip.start_file("a/data.pkl", stored).unwrap();
    zip.write_all(&pickle).unwrap();
    std::fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
}

#[test]
fn model_or_moving_average() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pth");
    let found = |weights| {
        let file = Checkpoint::open_weights(&path, weights).map_err(|e| e.to_string())?;
        Ok::<_, String>((file.tensor("w").unwrap().as_slice()[0], file.notes().join("\n")))
    };
    let (model, ema) = (Some(Weights::Model), Some(Weights::Ema));
    for average in ["model_ema", "state_dict_ema", "ema"] {
        write_sets(&path, &[("state_dict", 1.0), (average, 2.0)]);
        let told = format!(
            "weights: those under `state_dict`; `{average}` has their moving average (--weights ema)"
        );
        assert_eq!(found(None).unwrap(), (1.0, told.clone()));
        assert_eq!(found(model).unwrap(), (1.0, told));
        let told = format!("weights: the moving average under `{average}`, not those under `state_dict`");
        assert_eq!(found(ema).unwrap(), (2.0, told));

        write_sets(&path, &[(average, 2.0)]);
        let told = format!("weights: the moving average under `{average}`, because no others are there");
        assert_eq!(found(None).unwrap(), (2.0, told.clone()));
        assert_eq!(found(ema).unwrap(), (2.0, told));
        let line = found(model).unwrap_err();
        assert!(
            line.contains(&format!("only a moving average of weights, under `{average}`; leave out")),
            "{line}"
        );
    }
    write_sets(&path, &[("model", 1.0)]);
    assert_eq!(found(None).unwrap(), (1.0, String::new()));
    let line = found(ema).unwrap_err();
    assert!(line.contains("holds weights under `model`, but no moving average under model_ema, "), "{line}");
    let line =
        Checkpoint::open_weights(&golden("vim_nano_release.safetensors"), ema).unwrap_err().to_string();
    assert!(line.contains("holds one set of weights") && line.contains("leave out --weights"), "{line}");
}

#[test]
fn checkpoints_in_parts_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let vim = tensors(&open("vim_nano_release.safetensors"));
    let (one, two) = vim.split_at(30);
    let save = |name: &str, part: &[(String, Tensor)]| {
        let list: Vec<_> = part.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
        save_safetensors(&at(name), &list, &Metadata::new()).unwrap();
    };
    save("1.safetensors", one);
    save("2.safetensors", two);
    let index = at("model.safetensors.index.json");
    let map = |of: &dyn Fn(&str, usize) -> String| {
        let names = vim.iter().enumerate().map(|(i, (name, _))| (name.clone(), of(name, i).into()));
        let map: serde_json::Map<_, _> = names.collect();
        std::fs::write(&index, serde_json::json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    };
    let right = |_: &str, i: usize| format!("{}.safetensors", if i < 30 { 1 } else { 2 });
    map(&right);
    let whole = Checkpoint::open(&index).unwrap();
    assert_eq!(hash(&whole), hash(&open("vim_nano_release.safetensors")));
    assert_eq!(whole.notes(), ["checkpoint: 75 tensors in 2 parts"]);
    assert!(tensors(&whole).iter().all(|(_, tensor)| tensor.is_mapped()));
    // The index stands for the folder, although that has other checkpoints.
    let in_folder = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(hash(&in_folder), hash(&whole));
    assert!(in_folder.notes()[1].contains("model.safetensors.index.json"), "{:?}", in_folder.notes());

    let refusal = || {
        let line = Checkpoint::open(&index).unwrap_err().to_string();
        assert!(line.starts_with(index.to_str().unwrap()) && !line.contains('\n'), "{line}");
        line
    };
    let outside = at("2.safetensors");
    for place in ["../2.safetensors", outside.to_str().unwrap(), "", ".", "a/../../x"] {
        map(&|name, i| if name == "cls_token" { place.into() } else { right(name, i) });
        assert!(refusal().contains("outside of its folder"), "{place}: {}", refusal());
    }
    map(&|name, i| if name == "pos_embed" { "3.safetensors".into() } else { right(name, i) });
    assert!(refusal().contains("names the part 3.safetensors, which is not there"), "{}", refusal());
    map(&|name, i| if name == "cls_token" { "2.safetensors".into() } else { right(name, i) });
    assert!(
        refusal().contains("names the tensor cls_token in 2.safetensors, which does not"),
        "{}",
        refusal()
    );
    std::fs::write(&index, r#"{"weight_map": {"cls_token": "1.safetensors"}}"#).unwrap();
    let told = Checkpoint::open(&index).unwrap().notes()[0].clone();
    assert!(
        told.contains("1 tensor in 1 part; left out because the index does not name them: 29 ("),
        "{told}"
    );
    std::fs::write(&index, "{\"weight_map\": {\"a\": 1}}").unwrap();
    assert!(refusal().contains("is no index of a checkpoint's parts"), "{}", refusal());

    std::fs::remove_file(&index).unwrap();
    let line = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(line.contains("is a folder; give the checkpoint file in it"), "{line}");
    std::fs::remove_file(at("2.safetensors")).unwrap();
    std::fs::write(at("config.json"), "{}").unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().notes(), ["checkpoint: 1.safetensors in the folder"]);
}

#[test]
fn files_for_pytorch_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.pth"), folder.path().join("b.pth"));
    let checkpoint = open("vim_nano_release.safetensors");
    let loaded = tensors(&checkpoint);
    let scalar = Tensor::from_vec(vec![0.1], &[]);
    let mut list: Vec<_> = loaded.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    list.push(("scalar".into(), &scalar));
    let metadata = Metadata::from([("classes".into(), "\u{e9}\nb".into())]);
    save_torch(&a, &list, &metadata, Precision::F32).unwrap();
    list.reverse();
    save_torch(&b, &list, &metadata, Precision::F32).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());

    let again = Checkpoint::open(&a).unwrap();
    assert_eq!(again.entries().len(), list.len());
    for (name, tensor) in &list {
        let back = again.tensor(name).unwrap();
        assert!(back.is_mapped() && back.shape() == tensor.shape(), "{name}");
        assert_eq!(back.as_slice(), tensor.as_slice(), "{name}");
    }
    save_torch(&b, &list, &metadata, Precision::F16).unwrap();
    let halved = Checkpoint::open(&b).unwrap();
    assert_eq!(halved.entries()["scalar"].dtype(), Dtype::F16);
    assert_eq!(halved.tensor("scalar").unwrap().as_slice(), [f16::from_f32(0.1).to_f32()]);
    list.push(list[0].clone());
    assert!(save_torch(&a, &list, &metadata, Precision::F32).is_err());
}
