use super::*;

#[test]
fn every_preset_can_be_trained() {
    for preset in Preset::all() {
        let (name, data) = (Some(preset.name.clone()), Some("photos".into()));
        let options = Options { preset: name, data, ..Options::default() };
        let config = options.with_preset().unwrap().resolve().unwrap();
        config.check().unwrap();
        assert_eq!(preset.overrides(&config), [], "{}", preset.name);
        assert_eq!(config.dataset.name(), preset.dataset.map_or("auto", |dataset| dataset.name));
    }
}

/// Configs written before there was augmentation, mixing, averaging or training on validation images must still load.
#[test]
fn older_configs_can_be_read() {
    let config = Options::default().resolve().unwrap();
    let mut table = toml::Table::try_from(&config).unwrap();
    let augmenting = ["color-jitter", "reprob", "mixup", "cutmix", "mixup-prob", "mixup-switch-prob"];
    for key in augmenting.into_iter().chain(["ema-decay", "train-on-val"]) {
        assert!(table.remove(key).is_some(), "{key}");
    }
    assert_eq!(table.try_into::<TrainConfig>().unwrap(), config);
}

/// A flag wins over the file, and the file over the preset.
#[test]
fn who_wins_against_a_preset_is_told() {
    let (preset, data) = (Some("hta/cub200".into()), Some("birds".into()));
    let flags = Options { preset, data, epochs: Some(7), ..Options::default() };
    let file =
        Options { epochs: Some(9), smoothing: Some(0.2), lr: Some(Rate::At(6e-3)), ..Options::default() };
    let config = flags.over(file).with_preset().unwrap().resolve().unwrap();
    assert_eq!((config.epochs, config.smoothing, config.batch_size), (7, 0.2, 96));
    let told: Vec<_> = config.preset_overrides().into_iter().map(|o| (o.setting, o.preset, o.used)).collect();
    let want = [("epochs", "100", "7"), ("smoothing", "0.1", "0.2")];
    assert_eq!(told, want.map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())));
}

/// A narrow backbone has defaults of its own, and features that are kept are trained for as long as published.
#[test]
fn defaults_follow_the_backbone() {
    let resolve = |method: &str, model: Option<&str>| {
        let options =
            Options { method: Some(method.into()), model: model.map(String::from), ..Options::default() };
        let config = options.resolve().unwrap();
        (config.lr.value(), config.epochs, config.warmup_epochs, config.drop_path, config.crop_scale_min)
    };
    assert_eq!(resolve("svp", None), (0.18, 20, 0, 0.0, 0.4));
    assert_eq!(resolve("svp", Some("vim_small")), (5e-3, 100, 5, 0.1, 0.08));
    assert_eq!(resolve("linear", None), (0.08, 100, 5, 0.0, 0.4));
    assert_eq!(resolve("full", Some("vim_tiny")), (1e-3, 100, 5, 0.1, 0.08));
}
