//! What is counted, and that what is timed is made.

use super::*;
use crate::backbones::vim::{self, Vim, VimConfig};
use crate::methods::{Chosen, METHODS};
use crate::model::{Model, Parts};
use crate::params::Params;
use crate::sweep::tests::resolve;
use crate::train::StepSettings;

const BATCH: usize = 2;

/// Two images of 5 tokens, 8 wide: 16 channels, 16 states and r = 1 in the only block.
fn tiny() -> VimConfig {
    VimConfig::sized(16, 8, 8, 1)
}

fn method(name: &str, settings: &[(&str, &str)]) -> Chosen {
    let method = Chosen::named(name).unwrap();
    settings.iter().fold(method, |method, (key, value)| method.with_flag(key, value).unwrap())
}

fn model(config: VimConfig, method: Chosen, classes: usize) -> Model {
    let mut params = Params::default();
    let value = |name: &str, shape: &[usize]| {
        let of = if name.contains("A_log") { 0.5 } else { 0.01 };
        Ok(engine::Tensor::from_vec(vec![of; shape.iter().product()], shape))
    };
    let vim = Vim::build(config, &mut params, value).unwrap();
    let own = [vec![1000, config.embed_dim], vec![1000]];
    let own = own.map(|shape| engine::Tensor::zeros(&Device::cpu(), &shape));
    let parts = Parts { source_head: Some(own), ..Parts::new(method, classes) };
    Model::new(&Device::cpu(), Box::new(vim), params, parts, 0).unwrap()
}

fn trial(name: &str, settings: &[(&str, &str)]) -> Trial {
    let method = method(name, settings);
    let step = StepSettings { drop_path: 0.0, ..asked(name).config.step_settings() };
    Trial::of(model(tiny(), method, 3), step, BATCH).unwrap()
}

/// Products count 2 m k n, and everything else what the ops say of themselves.
#[test]
fn flop_are_those_counted_by_hand() {
    // Patches; the norms of the block and of the end; in_proj; both convolutions of width 4; x_proj and dt_proj of both
    // directions; both scans; out_proj; the head.
    let forward = |l: f64, taken: f64| {
        2.0 * 2.0 * 5.0 * 8.0 * 192.0
            + taken
            + 2.0 * 6.0 * (2.0 * l * 8.0)
            + 2.0 * (2.0 * l) * 8.0 * 32.0
            + 2.0 * (2.0 * l * 16.0) * (2.0 * 4.0 + 4.0)
            + 2.0 * (2.0 * (2.0 * l) * 16.0 * 33.0)
            + 2.0 * (2.0 * (2.0 * l) * 16.0)
            + 6.0 * (2.0 * 2.0 * l * 16.0 * 16.0)
            + 2.0 * (2.0 * l) * 16.0 * 8.0
            + 2.0 * 2.0 * 8.0 * 3.0
    };
    // Of the frozen products the gradient of the input, of the head's those of input and weight.
    let backward = |l: f64, taken: f64| {
        2.0 * taken
            + 2.0 * 10.0 * (2.0 * l * 8.0)
            + 2.0 * (2.0 * l) * 8.0 * 32.0
            + 2.0 * (2.0 * l * 16.0) * (4.0 * 4.0 + 8.0)
            + 2.0 * (2.0 * (2.0 * l) * 16.0 * 33.0)
            + 2.0 * (2.0 * (2.0 * l) * 16.0)
            + 22.0 * (2.0 * 2.0 * l * 16.0 * 16.0)
            + 2.0 * (2.0 * l) * 16.0 * 8.0
            + 2.0 * (2.0 * 2.0 * 8.0 * 3.0)
    };
    // Four operations a logit, forward and backward.
    let loss = 4.0 * 2.0 * 3.0;

    let count = trial("linear", &[]).count().unwrap();
    assert_eq!(count.evaluation_flop, forward(5.0, 0.0));
    let head = 2.0 * 2.0 * 8.0 * 3.0;
    assert_eq!(count.step_flop, head + loss + head + loss, "only the head, whose input is given");

    let count = trial("vpt", &[("tokens", "1"), ("deep", "false")]).count().unwrap();
    let taken = 2.0 * 8.0;
    assert_eq!(count.evaluation_flop, forward(6.0, taken));
    assert_eq!(count.step_flop, forward(6.0, taken) + loss + backward(6.0, taken) + loss);
    assert_eq!((count.trained, count.without_head), (8 + 27, 8));
}

/// The numbers that are published, or follow from the formulas of `docs/methods.md`, on Vim-S.
#[test]
fn parameters_are_those_of_the_publications() {
    let small = VimConfig::named("vim_small").unwrap();
    let count = |name: &str, settings: &[(&str, &str)]| {
        let parts = crate::model::count_parameters(&model(small, method(name, settings), 100).params);
        let own = parts.iter().filter(|part| part.module != crate::params::HEAD);
        let head = parts.iter().find(|part| part.module == crate::params::HEAD).unwrap();
        let of_own_head = name == "autovp";
        assert_eq!(head.trained, if of_own_head { 1001 } else { 385 } * 100, "{name}");
        own.map(|part| part.trained).sum::<usize>()
    };
    let svp = [
        ("32", [1_498_368, 1_201_920, 1_053_696, 905_472, 757_248]),
        ("64", [2_088_960, 1_792_512, 1_644_288, 1_496_064, 1_347_840]),
        ("128", [3_270_144, 2_973_696, 2_825_472, 2_677_248, 2_529_024]),
    ];
    for (hidden, counts) in svp {
        for (group, want) in ["4", "6", "8", "12", "24"].iter().zip(counts) {
            assert_eq!(count("svp", &[("hidden", hidden), ("group-size", group)]), want, "{hidden}, {group}");
        }
    }
    assert_eq!(count("svp", &[("cross", "false")]), 1_199_616);
    assert_eq!(count("svp", &[("inner", "false")]), 444_672);
    for (name, settings, want) in [
        ("linear", &[][..], 0),
        ("full", &[], 25_411_584),
        ("bitfit", &[], 74_112),
        ("vp", &[], 69_840),
        ("vpt", &[("tokens", "10")], 24 * 10 * 384),
        ("vpt", &[("tokens", "10"), ("deep", "false")], 10 * 384),
        ("spt", &[("tokens", "20")], 184_320),
        ("dam-vp", &[("frames", "36")], 36 * 69_840),
        ("autovp", &[], 150_528),
        ("autovp", &[("resize", "trainable")], 150_529),
        ("lora", &[("rank", "8")], 24 * 8 * (384 + 1536)),
        ("ssf", &[], 2 * (24 * (384 + 1536 + 384) + 2 * 384)),
    ] {
        assert_eq!(count(name, settings), want, "{name}");
    }
}

/// Every method of a Vim has costs on the built-in backbone, and a survey where it needs one.
#[test]
fn every_method_has_a_cost() {
    let told = std::cell::RefCell::new(vec![]);
    let of_vim = METHODS.iter().filter(|entry| entry.backbones.contains(&vim::NAME));
    let asked: Vec<Asked> = of_vim.map(|entry| asked(entry.name)).collect();
    let repeats = Repeats { rounds: 1, times: 1 };
    let tell = |line: &str| told.borrow_mut().push(line.to_string());
    let costs = measure(&asked, 5, &Device::cpu(), repeats, &tell, &|| false).unwrap();
    assert_eq!(costs.len(), asked.len());
    let of = |name: &str| costs.iter().find(|cost| cost.method == name).unwrap();
    for cost in &costs {
        let Cost { gflop, train_gflop, latency_ms, train_images_per_s, memory_mb, .. } = *cost;
        for value in [gflop, train_gflop, latency_ms, train_images_per_s, memory_mb] {
            assert!(value.is_finite() && value > 0.0, "{cost:?}");
        }
        assert!(gflop >= of("linear").gflop, "{cost:?}");
        assert!(memory_mb >= cost.evaluation_memory_mb, "{cost:?}");
        // The built-in backbone is 128 wide, and its own head has 100 logits.
        let head = if cost.method == "autovp" { 101 } else { 129 };
        assert_eq!(cost.trained_parameters - cost.without_head, 5 * head, "{cost:?}");
    }
    let (svp, full) = (of("svp"), of("full"));
    assert!(full.train_gflop > svp.train_gflop && svp.train_gflop > 1.5 * svp.gflop);
    assert!(full.memory_mb > svp.memory_mb && svp.memory_mb > svp.evaluation_memory_mb);
    assert!(told.borrow().iter().any(|line| line == "round 1 of 1: svp"));
    let stopped = measure(&asked, 5, &Device::cpu(), repeats, &tell, &|| true).unwrap_err();
    assert_eq!(stopped.exit_code(), 75);
}

/// The settings of a run on the built-in backbone.
fn asked(name: &str) -> Asked {
    let settings = format!(
        "method = '{name}'\ndata = 'builtin:count'\nbatch-size = 2\naugment = false\ndrop-path = 0.1"
    );
    Asked { name: name.into(), config: resolve(&settings.parse().unwrap()).unwrap(), needed: true }
}

#[test]
fn costs_are_written_as_a_table_and_as_csv() {
    let cost = Cost {
        method: "lora:targets=in_proj,x_proj".into(),
        params_m: 0.368_64,
        trained_parameters: 368_640,
        without_head: 330_140,
        gflop: 8.4567,
        train_gflop: 20.0,
        latency_ms: 1234.56,
        train_ms: 2000.0,
        train_images_per_s: 4.0,
        memory_mb: 1500.25,
        evaluation_memory_mb: 300.0,
    };
    let csv = csv(std::slice::from_ref(&cost));
    let line = "\"lora:targets=in_proj,x_proj\",0.368640,368640,330140,8.456700,20.000000,1234.560,2000.000,4.000,\
                1500.250,300.000";
    assert_eq!(csv.lines().nth(1), Some(line));
    assert_eq!(csv.lines().next().unwrap().split(',').count(), 11);
    let table = text(&[cost], 8);
    for part in ["latency of 8, ms", "0.369", "8.457", "1235", "20.00", "4.000", "1500"] {
        assert!(table.contains(part), "`{part}` is not in:\n{table}");
    }
    assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (2.0, 2.5));
}

/// The rows of Table 8, and what stands in them of a method that was measured: 100 epochs of 1,000 images at 50 a second are
/// 2,000 seconds, of the 50 epochs of DAM-VP half of it.
#[test]
fn table_8_of_ivpt_has_ours_and_the_published_rows() {
    let published = table8::Row8::published();
    let names: Vec<&str> = published.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(names, ["VPT", "DAM-VP", "iVPT"]);
    assert_eq!((published[1].memory_mb, published[2].accuracy), (11_011.0, Some(77.13)));
    let cost = |method: &str| Cost {
        method: method.into(),
        params_m: 0.25,
        trained_parameters: 250_000,
        without_head: 200_000,
        gflop: 35.0,
        train_gflop: 70.0,
        latency_ms: 3.0,
        train_ms: 160.0,
        train_images_per_s: 50.0,
        memory_mb: 900.0,
        evaluation_memory_mb: 500.0,
    };
    let costs = [cost("vpt:tokens=10"), cost("dam-vp")];
    let minutes = costs.iter().map(|cost| table8::Row8::of(cost).train_minutes);
    assert_eq!(minutes.collect::<Vec<_>>(), [2000.0 / 60.0, 1000.0 / 60.0]);
    let csv = table8::csv(&costs);
    assert_eq!(csv.lines().count(), 6);
    assert_eq!(
        csv.lines().nth(1),
        Some("vpt:tokens=10,0.250000,17.500000,3.000000,33.333333,900.000000,,here")
    );
    let text = table8::text(&costs);
    assert!(text.contains("DAM-VP, published") && text.contains("763.1"), "{text}");
}
