use std::io::{Cursor, Write};

use half::f16;
use zip::write::SimpleFileOptions;

use super::*;
use crate::backbones::pos_embed::{ClassRow, resize_pos_embed};

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
        let checkpoint = open(name);
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
    let cases: [(Vec<u8>, &str); 11] = [
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
        let got = resize_pos_embed(&embedding, (side, side), ClassRow::First).unwrap();
        assert_eq!(got.shape(), want.shape());
        let worst =
            got.as_slice().iter().zip(want.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Both sides are float32 sums of 16 products of magnitude one.
        assert!(worst <= 1e-5 && got.as_slice().iter().all(|v| v.is_finite()), "{key}: {worst}");
    }
    for class_row in [ClassRow::First, ClassRow::Middle] {
        let same = resize_pos_embed(&embedding, (14, 14), class_row).unwrap();
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
        let got = resize_pos_embed(&embedding, (h, w), ClassRow::Middle).unwrap();
        let want = resize_pos_embed(&class_first, (h, w), ClassRow::First).unwrap();
        assert_eq!(got.shape(), [1, 1 + h * w, 8]);
        assert_eq!(got.as_slice(), moved(&want, 0, h * w / 2).as_slice(), "{h} x {w}");
    }
}

#[test]
fn grids_that_make_no_sense_are_refused() {
    let embedding = |shape: &[usize]| Tensor::from_vec(vec![0.0; shape.iter().product()], shape);
    let middle = |shape: &[usize], grid| resize_pos_embed(&embedding(shape), grid, ClassRow::Middle);
    assert!(middle(&[1, 3, 2], (2, 2)).is_err(), "no square grid");
    assert!(middle(&[1, 1, 2], (2, 2)).is_err(), "no patches");
    assert!(middle(&[5, 2], (2, 2)).is_err(), "rank");
    assert!(middle(&[1, 5, 2], (0, 2)).is_err(), "empty grid");
    assert!(middle(&[1, 5, 2], (3, 2)).is_ok());
}
