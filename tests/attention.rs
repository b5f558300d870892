//! `svp-attention` as a user runs it, on small runs of a ViT.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use testkit::programs::{Scratch, fails, program, succeeds, text, train, words};

fn attention(args: &[&str]) -> Output {
    program("svp-attention").args(args).output().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// As in Figure 7 of iVPT: the frozen backbone and what each run trained, layer by layer.
#[test]
fn attention_is_drawn_and_told() {
    let place = Scratch::new("attention");
    let data = place.data("data", 2);
    let full = place.at("full");
    let size =
        "--method full --model vit_tiny --embed-dim 16 --depth 3 --heads 2 --img-size 32 --patch-size 8";
    let usual = ["--data", &data, "--epochs", "1", "--batch-size", "8"];
    succeeds(&train(&[&usual[..], &["--out", &full], &words(size)].concat()));
    let best = format!("{full}/best.safetensors");
    let run = |name: &str, settings: &str| {
        let out = place.at(name);
        let own = ["--backbone", &best, "--out", &out];
        succeeds(&train(&[&usual[..], &own, &words(settings)].concat()));
        out
    };
    let vpt = run("vpt", "--method vpt --tokens 3 --lr 5 --warmup-epochs 0");
    let linear = run("linear", "--method linear");

    let out = place.at("attention.png");
    let image = format!("{data}/test/class 1/0.ppm");
    let args = ["--run", &vpt, "--run", &linear, "--out", &out, "--json", &image];
    let output = attention(&args);
    let shown = succeeds(&output);
    assert!(text(&output.stderr).contains("linear: its line is that of the frozen backbone"));
    let report: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(report["grid"], 4);
    let [frozen, prompted] = [&report["models"][0], &report["models"][1]];
    assert_eq!((&frozen["model"], &prompted["model"]), (&"frozen".into(), &"vpt".into()));
    for (model, prompts) in [(frozen, false), (prompted, true)] {
        let layers = model["layers"].as_array().unwrap();
        assert_eq!(layers.iter().map(|layer| &layer["layer"]).collect::<Vec<_>>(), [1, 2, 3]);
        for layer in layers {
            let (patches, share) = (numbers(&layer["patches"]), |key: &str| layer[key].as_f64().unwrap());
            assert_eq!((patches.len(), share("prompts") > 0.0), (16, prompts));
            let all = patches.iter().sum::<f64>() + share("class") + share("prompts") + share("extra");
            assert!((all - 1.0).abs() < 1e-5, "{all}");
        }
    }
    assert_ne!(frozen["layers"][2], prompted["layers"][2]);
    let whole = image::open(&out).unwrap();

    // The picture depends only on runs and images, and the emulated kernels attend to the same.
    let picture = fs::read(&out).unwrap();
    let again = succeeds(&attention(&[&args[..], &["--threads", "1"]].concat()));
    assert_eq!((again, fs::read(&out).unwrap()), (shown, picture));
    let emulated = succeeds(&attention(&[&args[..], &["--device", "emulated"]].concat()));
    let emulated: Value = serde_json::from_str(&emulated).unwrap();
    for layer in 0..3 {
        let of = |report: &Value| numbers(&report["models"][1]["layers"][layer]["patches"]);
        for (cpu, emulated) in of(&report).into_iter().zip(of(&emulated)) {
            assert!((cpu - emulated).abs() <= 1e-4 * cpu, "{cpu} on the CPU, {emulated} emulated");
        }
    }

    // Some of the layers make a narrower picture.
    let some = attention(&["--run", &vpt, "--layers", "3,1", "--out", &out, "--json", &image]);
    let some: Value = serde_json::from_str(&succeeds(&some)).unwrap();
    let layers = some["models"][1]["layers"].as_array().unwrap();
    assert_eq!(layers.iter().map(|layer| &layer["layer"]).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(layers[1], prompted["layers"][2]);
    assert!(image::open(&out).unwrap().width() < whole.width());

    let none = place.at("none.png");
    fails(&attention(&["--run", &vpt, "--layers", "4", "--out", &none, &image]), &["layer 4", "1 to 3"]);
    fails(&attention(&["--run", &vpt, "--run", &full, "--out", &none, &image]), &["another backbone than"]);
    fails(&attention(&["--run", &vpt, "--out", &place.at("a.svg"), &image]), &["a.svg", "PNG"]);
    assert!(!Path::new(&none).exists());
}
