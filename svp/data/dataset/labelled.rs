//! Labelled images to measure a model on: whatever splits there are, of whichever of its classes.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::Dataset;
use crate::error::{Error, Result};
use crate::layouts::{self, Layout, Purpose};
use crate::sample::Sample;
use crate::text::{count, first};

impl Dataset {
    /// Opens what is labelled at `path`, to measure a model on it. One split or class is enough, a split may have classes
    /// that others do not have, and there may be no training images. `allow_outside` is that of [`Dataset::open`].
    ///
    /// # Errors
    /// A path without labelled images, a listed file that is missing, a damaged archive, and several data sets.
    pub fn open_labelled(path: &Path, layout: Layout, seed: u64, allow_outside: bool) -> Result<Self> {
        let found = layouts::find_for(Purpose::Measure, path, layout, seed, allow_outside)?;
        let left_out = found.splits.left_out.first().map(ToString::to_string);
        let mut data = Self::of(found)?;
        for split in [&mut data.val, &mut data.test] {
            *split = split.take().filter(|samples| !samples.is_empty());
        }
        if data.all().next().is_none() {
            let what = left_out.unwrap_or_else(|| "has no images".into());
            let hint = "put the images to measure on into a folder for each class";
            return Err(Error::path(&data.root, what, hint));
        }
        Ok(data)
    }

    /// Whether nothing says which images are for what.
    pub fn is_unsplit(&self) -> bool {
        self.unsplit
    }

    /// The samples of all splits.
    pub fn all(&self) -> impl Iterator<Item = &Sample> {
        self.train.iter().chain(self.val.iter().flatten()).chain(self.test.iter().flatten())
    }

    /// Gives every sample the label that a model has for the name of its class. Samples of classes that the model does not
    /// know are left out, and a note says so.
    ///
    /// # Errors
    /// A data set of which the model knows no class.
    pub fn matched(self, classes: &[String]) -> Result<Self> {
        if self.classes == classes {
            return Ok(self);
        }
        let mut known: HashMap<&str, u32> = HashMap::new();
        for (label, class) in (0..).zip(classes) {
            known.entry(class).or_insert(label);
        }
        let labels: Vec<Option<u32>> =
            self.classes.iter().map(|class| known.get(class.as_str()).copied()).collect();
        self.relabelled(classes, &labels)
    }

    /// The same with the model's labels of this data set's classes given.
    ///
    /// # Errors
    /// A data set without a sample of a class that has a label.
    pub fn relabelled(mut self, classes: &[String], labels: &[Option<u32>]) -> Result<Self> {
        let (mut unknown, mut images) = (BTreeSet::new(), 0);
        let own = std::mem::replace(&mut self.classes, classes.to_vec());
        let splits = [Some(&mut self.train), self.val.as_mut(), self.test.as_mut()];
        for samples in splits.into_iter().flatten() {
            samples.retain_mut(|sample| match labels[sample.label as usize] {
                Some(label) => {
                    sample.label = label;
                    true
                }
                None => {
                    unknown.insert(sample.label);
                    images += 1;
                    false
                }
            });
        }
        for split in [&mut self.val, &mut self.test] {
            *split = split.take().filter(|samples| !samples.is_empty());
        }
        let named = |label: &u32| {
            let name = &own[*label as usize];
            let alike = classes.iter().find(|class| class.trim().eq_ignore_ascii_case(name.trim()));
            alike.map_or_else(|| format!("{name:?}"), |class| format!("{name:?} (the model has {class:?})"))
        };
        if self.all().next().is_none() {
            let (has, knows) =
                (first(unknown.iter().map(named)), first(classes.iter().map(|c| format!("{c:?}"))));
            let what = format!("has no class that the model knows: it has {has}, the model {knows}");
            return Err(Error::path(&self.root, what, "name classes and folders as in the run"));
        }
        if !unknown.is_empty() {
            let (images, n) = (count(images, "image"), unknown.len());
            let of = if n == 1 { "a class".into() } else { format!("{n} classes") };
            let which = first(unknown.iter().map(named));
            self.notes.push(format!("left out: {images} of {of} that the model does not know: {which}"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{files, write};

    fn classes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    /// The splits of what lies there as `path below the root, label`, for a model of the classes a to d; or the error.
    fn measured(content: &[(&str, &str)], name: &str) -> Result<(Dataset, [Vec<String>; 3])> {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files(content));
        let data = Dataset::open_labelled(&dir.path().join(name), Layout::Auto, 0, false)?;
        let data = data.matched(&classes(&["a", "b", "c", "d"]))?;
        let line = |sample: &Sample| {
            let path = sample.source.path();
            let path = path.strip_prefix(dir.path()).unwrap().to_str().unwrap().replace('\\', "/");
            format!("{path} {}", sample.label)
        };
        let lines = |samples: &[Sample]| samples.iter().map(line).collect::<Vec<_>>();
        let other = |split: &Option<Vec<Sample>>| split.as_deref().map_or(vec![], lines);
        let splits = [lines(&data.train), other(&data.val), other(&data.test)];
        Ok((data, splits))
    }

    #[test]
    fn any_split_of_any_classes_is_read() {
        let (data, splits) = measured(&[("test/d/1.png", ""), ("test/b/2.png", "")], "").unwrap();
        assert_eq!(splits, [vec![], vec![], vec!["test/b/2.png 1".to_string(), "test/d/1.png 3".into()]]);
        assert_eq!((data.is_unsplit(), data.classes.len()), (false, 4));
        // One class in train, another in test; neither is missed in the other.
        let (data, splits) =
            measured(&[("train/c/1.png", ""), ("test/a/2.png", ""), ("test/e/3.png", "")], "").unwrap();
        assert_eq!(splits, [vec!["train/c/1.png 2".to_string()], vec![], vec!["test/a/2.png 0".into()]]);
        let told = "left out: 1 image of a class that the model does not know: \"e\"";
        assert!(data.notes.iter().any(|note| note == told), "{:?}", data.notes);
    }

    #[test]
    fn class_folders_alone_are_all_measured() {
        for content in [
            &[("b/1.png", ""), ("C/2.png", "")][..],
            &[("b/1.png", "")],
            &[("b/deep/1.png", ""), ("notes.txt", "x")],
        ] {
            let (data, splits) = measured(content, "").unwrap();
            assert_eq!((data.is_unsplit(), splits[0].len(), data.train[0].label), (true, 1, 1));
            let told = data.notes.iter().any(|note| note.contains("\"C\" (the model has \"c\")"));
            assert_eq!(told, content.len() == 2 && content[1].0 == "C/2.png", "{:?}", data.notes);
        }
    }

    #[test]
    fn lists_need_no_training_rows() {
        let rows = "path,label,split\n1.png,d,test\n2.png,a,test\n3.png,x,test\n";
        let list = [("list.csv", rows), ("1.png", ""), ("2.png", ""), ("3.png", "")];
        let (data, splits) = measured(&list, "list.csv").unwrap();
        assert_eq!(splits[2], ["1.png 3", "2.png 0"]);
        assert!(data.train.is_empty() && data.notes.iter().any(|note| note.contains("1 image of a class")));
        let rows = "file_name,label\n1.png,b\n";
        let metadata = [("test/metadata.csv", rows), ("test/1.png", "")];
        assert_eq!(measured(&metadata, "").unwrap().1[2], ["test/1.png 1"]);
    }

    #[test]
    fn what_the_model_knows_nothing_of_is_refused() {
        let refused = |content: &[(&str, &str)]| {
            let message = measured(content, "").unwrap_err().to_string();
            assert!(!message.contains('\n'), "{message}");
            message
        };
        let message = refused(&[("test/x/1.png", ""), ("test/B/2.png", "")]);
        let part = "has no class that the model knows: it has \"B\" (the model has \"b\"), \"x\", the model \"a\", \"b\"";
        assert!(message.contains(part), "{message}");
        assert!(refused(&[("test/1.png", "")]).contains("1 image in no class folder"));
        assert!(refused(&[("1.png", "")]).contains("has no labelled images"));
        assert!(refused(&[("test/a/1.txt", "x")]).contains("has no images"));
    }

    /// A model whose classes are those of the data, in an order of its own or with one name twice, keeps them.
    #[test]
    fn the_same_classes_keep_their_labels() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files(&[("test/a/1.png", ""), ("test/b/2.png", "")]));
        let open = || Dataset::open_labelled(dir.path(), Layout::Auto, 0, false).unwrap();
        let label = |data: &Dataset| data.test.as_ref().unwrap().iter().map(|s| s.label).collect::<Vec<_>>();
        assert_eq!(label(&open().matched(&classes(&["b", "z", "a"])).unwrap()), [2, 0]);
        assert_eq!(label(&open().matched(&classes(&["a", "b"])).unwrap()), [0, 1]);
        assert_eq!(label(&open().matched(&classes(&["a", "b", "a"])).unwrap()), [0, 1]);
    }
}
