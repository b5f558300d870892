//! Data sets whose pictures are there and whose lists are the input.

use std::sync::LazyLock;

use svp::data::{Dataset, Layout};

use crate::{Folder, checked, one_line};

/// A picture of two pixels.
const PICTURE: &[u8] = b"P6 2 1 255\nabcdef";

/// A data set of some layout.
pub struct Form {
    /// The name of the layout.
    pub layout: &'static str,
    /// What is opened in its folder; empty for the folder itself.
    pub opened: &'static str,
    /// The files that are the input.
    pub files: &'static [&'static str],
    /// The pictures that are there.
    pub pictures: &'static [&'static str],
}

/// Opens the data set that the first byte of the input chooses, with the rest as its files.
pub fn open(forms: &[Form], folders: &LazyLock<Vec<Folder>>, input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let choice = usize::from(choice) % forms.len();
    let (form, folder) = (&forms[choice], &folders[choice]);
    folder.put_parts(form.files, rest);
    let layout: Layout = form.layout.parse().expect("a name of a layout");
    let path = if form.opened.is_empty() { folder.path().into() } else { folder.path().join(form.opened) };
    let Some(data) = checked(Dataset::open(&path, layout, 0, false)) else { return };
    data.notes.iter().for_each(one_line);
    if let Some(data) = checked(data.hold_out_test(0, 0.2).and_then(|data| data.hold_out(0, 0.2))) {
        data.notes.iter().for_each(one_line);
        data.fingerprint();
    }
}

/// The folders of these data sets.
pub fn folders(forms: &[Form]) -> Vec<Folder> {
    forms.iter().map(|form| Folder::with(form.pictures.iter().map(|&name| (name, PICTURE)))).collect()
}
