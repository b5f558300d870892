use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use engine::budget::Refused;
use tempfile::TempDir;

use super::*;
use crate::augment::Augment;
use crate::dataset::Dataset;
use crate::layouts::Layout;
use crate::source::Source;
use crate::testing;
use crate::transform::Normalisation;

/// The drawn `count` task with random crops, so that augmentation shows in the bytes.
fn drawn(n: usize) -> Arc<Vec<Sample>> {
    Arc::new(Dataset::builtin("count").unwrap().train[..n].to_vec())
}

/// The same pictures with other labels.
fn drawn_by_label(labels: &[u32]) -> Arc<Vec<Sample>> {
    let relabelled = |(sample, &label): (&Sample, &u32)| Sample { label, ..sample.clone() };
    Arc::new(drawn(labels.len()).iter().zip(labels).map(relabelled).collect())
}

/// A transform that makes all random changes there are.
fn transform() -> Transform {
    let auto = Some("rand-m9-mstd0.5-inc1".parse().unwrap());
    Transform::train(16, Normalisation::IMAGENET, Augment { auto, erase: 0.5, ..Augment::default() })
}

fn mixed(batch: usize, workers: usize, seed: u64) -> LoaderOptions {
    let mix = Some(Mix { mixup: 0.8, cutmix: 1.0, prob: 1.0, switch_prob: 0.5 });
    LoaderOptions { mix, ..LoaderOptions::train(batch, workers, seed) }
}

fn loader(samples: &Arc<Vec<Sample>>, options: LoaderOptions) -> Loader {
    Loader::new(samples.clone(), transform(), options).unwrap()
}

fn all(batches: Batches) -> Vec<Batch> {
    batches.map(Result::unwrap).collect()
}

/// `n` image files of one colour each. Those in `broken` are damaged.
fn files(n: usize, broken: &[usize]) -> (TempDir, Arc<Vec<Sample>>) {
    let dir = tempfile::tempdir().unwrap();
    let sample = |i: usize| {
        let path = dir.path().join(format!("{i:03}.png"));
        match broken.contains(&i) {
            true => fs::write(&path, "no image").unwrap(),
            false => image::RgbImage::from_pixel(2, 2, image::Rgb([i as u8; 3])).save(&path).unwrap(),
        }
        Sample::new(Source::File(path.into()), (i % 7) as u32)
    };
    let samples = (0..n).map(sample).collect();
    (dir, Arc::new(samples))
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let samples = drawn(50);
    let epoch = |workers| all(loader(&samples, mixed(8, workers, 7)).epoch(3, 0));
    let one = epoch(1);
    assert_eq!(one.len(), 6);
    for workers in [2, 3, 16] {
        assert_eq!(epoch(workers), one, "{workers} workers");
    }
}

#[test]
fn a_resumed_epoch_goes_on_where_it_stopped() {
    let samples = drawn(40);
    let loader = loader(&samples, mixed(8, 2, 1));
    let whole = all(loader.epoch(5, 0));
    let shares: BTreeSet<u32> = whole.iter().map(|batch| batch.own_share.to_bits()).collect();
    assert_eq!(shares.len(), 5, "every batch is mixed in its own way");
    for start in 0..=5 {
        assert_eq!(all(loader.epoch(5, start)), whole[start..]);
    }
    assert!(all(loader.epoch(5, 9)).is_empty());
}

#[test]
fn an_epoch_shuffles_every_sample_once_and_anew() {
    let samples = drawn(40);
    let train = loader(&samples, LoaderOptions::train(8, 2, 1));
    let order = |epoch| all(train.epoch(epoch, 0)).into_iter().flat_map(|b| b.indices).collect::<Vec<_>>();
    let (first, second) = (order(0), order(1));
    assert_ne!(first, second);
    assert_ne!(first, (0..40).collect::<Vec<_>>());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 40);
    // The same sample looks different in another epoch.
    let look = |epoch| {
        let batch = all(train.epoch(epoch, 0)).into_iter().find(|b| b.indices.contains(&0)).unwrap();
        let at = batch.indices.iter().position(|&i| i == 0).unwrap() * transform().values();
        batch.images[at..at + transform().values()].to_vec()
    };
    assert_ne!(look(0), look(1));
    assert_eq!(look(0), look(0));
}

/// One class has 30 samples and the other 10; each is drawn about as often, the samples of a class too, and a sample that
/// is drawn again looks different.
#[test]
fn a_balanced_epoch_draws_all_classes_alike() {
    let labels: Vec<u32> = (0..40).map(|i| u32::from(i % 4 == 0)).collect();
    let epochs: Vec<Vec<u32>> = (0..200).map(|epoch| balanced_order(&labels, 1, epoch)).collect();
    let mut counts = [0u32; 40];
    epochs.iter().flatten().for_each(|&position| counts[position as usize] += 1);
    for (position, &times) in counts.iter().enumerate() {
        // 8000 draws, half of them of each class: 400 for each of 10 samples, 133 for each of 30.
        let want = if labels[position] == 1 { 400.0 } else { 400.0 / 3.0 };
        assert!((f64::from(times) - want).abs() < 5.0 * want.sqrt(), "{position}: {times}");
    }
    assert_ne!(epochs[0], epochs[1]);
    assert_ne!(epochs[0], balanced_order(&labels, 2, 0), "the seed decides");

    let samples = drawn_by_label(&labels);
    let options = LoaderOptions { sampler: Some(Sampler::Balanced), ..mixed(8, 3, 1) };
    let whole = all(loader(&samples, options).epoch(3, 0));
    assert_eq!(whole.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>(), epochs[3]);
    assert_eq!(whole.iter().flat_map(|b| b.keys.clone()).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    for (start, workers) in [(0, 1), (2, 2), (5, 1)] {
        let again = loader(&samples, LoaderOptions { workers, ..options });
        assert_eq!(all(again.epoch(3, start)), whole[start..], "{workers} workers, from {start}");
    }
    let plain = all(loader(&samples, LoaderOptions { mix: None, ..options }).epoch(3, 0));
    let looks = |sample: u32| -> Vec<Vec<f32>> {
        let images =
            |b: &Batch| b.images.chunks(transform().values()).map(<[f32]>::to_vec).collect::<Vec<_>>();
        let of = |b: &Batch| b.indices.clone().into_iter().zip(images(b)).collect::<Vec<_>>();
        plain.iter().flat_map(of).filter(|(index, _)| *index == sample).map(|(_, image)| image).collect()
    };
    let twice = (0..40).map(looks).find(|looks| looks.len() > 1).expect("10 samples have half of 40 draws");
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn evaluation_keeps_order_and_the_last_part() {
    let samples = drawn(21);
    let eval =
        Loader::new(samples.clone(), Transform::eval(32, Normalisation::IMAGENET), LoaderOptions::eval(8, 2))
            .unwrap();
    let batches = all(eval.epoch(0, 0));
    assert_eq!(eval.batches(), 3);
    assert_eq!(batches.iter().map(|b| b.labels.len()).collect::<Vec<_>>(), [8, 8, 5]);
    assert_eq!(
        batches.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>(),
        (0..21).collect::<Vec<_>>()
    );
    assert!(batches.iter().all(|b| b.images.len() == b.labels.len() * 3 * 32 * 32));
    assert!(batches.iter().flat_map(|b| b.indices.iter().zip(&b.labels)).all(|(i, l)| i % 8 == *l));
    assert!(eval.wait() > Duration::ZERO);
}

#[test]
fn in_training_the_next_readable_sample_replaces_a_broken_one() {
    let (_dir, samples) = files(300, &[10, 11]);
    let (_sound_dir, sound) = files(300, &[]);
    let options = |workers| LoaderOptions::train(30, workers, 2);
    let want: Vec<u32> =
        all(loader(&sound, options(1)).epoch(0, 0)).into_iter().flat_map(|b| b.indices).collect();
    let train = loader(&samples, options(3));
    let got = all(train.epoch(0, 0));
    let indices: Vec<u32> = got.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(indices.len(), 300);
    for (position, &index) in want.iter().enumerate() {
        let next = (0..).map(|shift| want[(position + shift) % 300]).find(|i| ![10, 11].contains(i)).unwrap();
        assert_eq!(indices[position], next, "position {position}, sample {index}");
    }
    let broken = train.broken();
    assert_eq!(broken.iter().map(|b| b.index).collect::<Vec<_>>(), [10, 11]);
    assert!(broken[0].reason.contains("010.png: is not a jpeg"), "{}", broken[0].reason);

    // Other workers and a start in the middle give the same bytes, and nothing is counted twice.
    assert_eq!(all(loader(&samples, options(1)).epoch(0, 0)), got);
    assert_eq!(all(train.epoch(0, 4)), got[4..]);
    assert_eq!(train.broken().len(), 2);
}

#[test]
fn in_evaluation_broken_images_are_left_out() {
    let (_dir, samples) = files(250, &[0, 249]);
    let eval = loader(&samples, LoaderOptions::eval(1, 2));
    let batches = all(eval.epoch(0, 0));
    assert_eq!(
        batches.iter().flat_map(|b| b.indices.clone()).collect::<Vec<_>>(),
        (1..249).collect::<Vec<_>>()
    );
    assert_eq!(eval.broken().len(), 2);
}

/// Where images are predicted, any number may be broken, even all of a batch.
#[test]
fn in_prediction_any_number_may_be_broken() {
    let (_dir, samples) = files(10, &[1, 4, 5, 6, 7, 9]);
    let predict = loader(&samples, LoaderOptions::predict(2, 3));
    let indices: Vec<u32> = all(predict.epoch(0, 0)).into_iter().flat_map(|batch| batch.indices).collect();
    assert_eq!(indices, [0, 2, 3, 8]);
    assert_eq!(predict.broken_from(5).iter().map(|b| b.index).collect::<Vec<_>>(), [5, 6, 7, 9]);
    let (_dir, samples) = files(3, &[0, 1, 2]);
    let none = loader(&samples, LoaderOptions::predict(2, 3));
    assert_eq!((all(none.epoch(0, 0)).len(), none.broken().len()), (0, 3));
}

#[test]
fn more_than_one_per_cent_broken_stops() {
    // One of nine images may be broken, two of twenty, three of fifty and of 300.
    let cases: [(usize, &[usize], bool); 10] = [
        (9, &[7], true),
        (9, &[7, 8], false),
        (20, &[7, 19], true),
        (20, &[7, 8, 9], false),
        (50, &[7, 8, 30], true),
        (50, &[7, 8, 9, 30], false),
        (300, &[1, 2, 3], true),
        (300, &[1, 2, 3, 299], false),
        (1, &[0], false),
        (2, &[0, 1], false),
    ];
    for (n, broken, fine) in cases {
        let (_dir, samples) = files(n, broken);
        for options in [LoaderOptions::eval(10, 2), LoaderOptions::train(n.min(10), 2, 0)] {
            let loader = loader(&samples, options);
            let results: Vec<Result<Batch>> = loader.epoch(0, 0).collect();
            let errors: Vec<&Error> = results.iter().filter_map(|r| r.as_ref().err()).collect();
            assert_eq!(errors.is_empty(), fine, "{n} {broken:?} {options:?}");
            if !fine {
                assert!(results.last().unwrap().is_err(), "nothing comes after the error");
                let message = errors[0].to_string();
                let want = format!("{} of {n} images met so far are broken, the first is ", broken.len());
                assert!(message.contains(&want), "{message}");
                assert!(message.contains(&format!("{:03}.png", broken[0])), "{message}");
            }
        }
    }
}

/// In a process of its own, tests/limits.rs has what the system refuses.
#[test]
fn memory_that_batches_do_not_have_is_told_before_they_are_made() {
    let split = |batch| loader(&drawn(800), LoaderOptions::eval(batch, 6)).split;
    let split = split(100);
    // An image is 3 KiB, a batch of 100 thus 300 KiB.
    let line = |left: u64| {
        let refused = Refused { asked: 2400 << 10, left: left << 10, most: 2400 << 10 };
        split.explain(6, refused).to_string()
    };
    assert!(
        line(2399).contains("batches of 100 images ahead with 6 data workers needs 3 MiB"),
        "{}",
        line(2399)
    );
    assert!(line(2399).ends_with("use at most --workers 5, or raise --max-memory"), "{}", line(2399));
    assert!(
        line(800).ends_with("use at most --batch-size 88 with --workers 1, or raise --max-memory"),
        "{}",
        line(800)
    );
    assert!(line(1).ends_with("; raise --max-memory"), "{}", line(1));
}

#[test]
fn dropping_the_iterator_stops_the_workers() {
    let samples = drawn(800);
    let train = loader(&samples, LoaderOptions::train(8, 3, 1));
    let mut batches = train.epoch(0, 0);
    batches.next().unwrap().unwrap();
    let epoch = Arc::downgrade(&batches.epoch);
    drop(batches);
    assert!(epoch.upgrade().is_none(), "drop joins the workers");
}

#[test]
fn workers_do_not_run_far_ahead() {
    let samples = drawn(800);
    let train = loader(&samples, LoaderOptions::train(8, 2, 1));
    let mut batches = train.epoch(0, 0);
    batches.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let queue = lock(&batches.epoch.queue);
    assert!(queue.claim <= queue.next + 3 && queue.ready.len() <= 3, "{} {}", queue.claim, queue.ready.len());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused =
        |samples: &Arc<Vec<Sample>>, options| match Loader::new(samples.clone(), transform(), options) {
            Ok(_) => panic!("{options:?} was accepted"),
            Err(error) => error.to_string(),
        };
    let samples = drawn(10);
    assert!(refused(&samples, LoaderOptions::train(11, 1, 0)).contains("use at most 10"));
    assert!(refused(&samples, LoaderOptions::eval(0, 1)).contains("at least 1"));
    assert!(refused(&samples, LoaderOptions::eval(1, 0)).contains("at least 1"));
    assert!(refused(&drawn(0), LoaderOptions::eval(1, 1)).contains("no images"));
    assert!(Loader::new(samples, transform(), LoaderOptions::eval(11, 1)).is_ok());
}

/// One broken image of 300 is tolerated, unless it was the only one of its class to train on.
#[test]
fn a_class_without_a_readable_image_ends_training() {
    let (_dir, samples) = files(300, &[5]);
    let label = |alone: bool| {
        let of =
            |(i, sample): (usize, &Sample)| Sample { label: u32::from(alone && i == 5), ..sample.clone() };
        Arc::new(samples.iter().enumerate().map(of).collect::<Vec<_>>())
    };
    let run = |samples: &Arc<Vec<Sample>>, options| -> Result<usize> {
        let loader = loader(samples, options);
        let batches = loader.epoch(0, 0).collect::<Result<Vec<_>>>()?.len();
        loader.check_classes().map(|()| batches)
    };
    assert_eq!(run(&label(false), LoaderOptions::train(30, 2, 0)).unwrap(), 10);
    for options in [LoaderOptions::train(30, 2, 0), LoaderOptions::eval(30, 2)] {
        let error = run(&label(true), options).unwrap_err().to_string();
        assert!(
            error.contains("no image of a class can be read, the first is") && error.contains("5."),
            "{error}"
        );
    }
    // A split that is only measured on goes on.
    let whole = loader(&label(true), LoaderOptions::eval(30, 2));
    assert!(whole.epoch(0, 0).all(|batch| batch.is_ok()));
}

#[test]
fn a_missing_file_is_a_broken_image() {
    let samples = vec![Sample::new(Source::File(Path::new("gone.png").into()), 0)];
    let loader = loader(&Arc::new(samples), LoaderOptions::eval(1, 1));
    let error = loader.epoch(0, 0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("gone.png") && error.contains("cannot open"), "{error}");
}

/// Images that are gone because another program shortened their archive do not count as broken: the run ends at once.
#[test]
fn a_shortened_archive_ends_the_run() {
    let images: Vec<(String, Vec<u8>)> =
        (0..300).map(|i| (format!("{}/{i}.ppm", ["a", "b"][i % 2]), testing::PNM.to_vec())).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images.tar");
    fs::write(&path, testing::tar(&images)).unwrap();
    let data = Dataset::open(&path, Layout::Auto, 0, false).unwrap();
    let loader = loader(&Arc::new(data.train), LoaderOptions::eval(8, 2));
    assert!(loader.epoch(0, 0).all(|batch| batch.is_ok()));
    // The last image is cut, and a single broken one would be tolerated.
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length - 1024 - 512).unwrap();
    let error = loader.epoch(1, 0).find_map(|batch| batch.err()).unwrap().to_string();
    assert!(error.contains("images.tar: was changed by another program"), "{error}");
}
