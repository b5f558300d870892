//! The classes of a backbone's own head, which is usually that of ImageNet-1k (`docs/data.md`, "ImageNet").

use std::path::Path;

use crate::{Error, Result};

/// WordNet ids of the 1,000 classes of ImageNet-1k (ILSVRC 2012), in the order of the logits.
static IDS: &str = include_str!("assets/imagenet_synsets.txt");

/// The logits of folders named by classes, and what the logits are called.
#[derive(Debug, PartialEq)]
pub struct Logits {
    /// The logit of each folder; `None` where it is none of the head's classes.
    pub of: Vec<Option<u32>>,
    /// Names of the head's classes.
    pub names: Vec<String>,
    /// How they were found, for the log.
    pub note: String,
}

fn ids() -> impl Iterator<Item = &'static str> {
    IDS.lines()
}

/// Whether a name is a WordNet id of a noun: `n` and eight digits.
fn is_id(name: &str) -> bool {
    name.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The logits of a head with `k` classes for class folders of these names, sorted, which lie at `place`: of ImageNet's by
/// their WordNet ids; of numbers, those numbers, from 0; and of as many folders as there are classes, in their order.
///
/// # Errors
/// Numbers that do not count from 0, and names of which none of this can be said.
pub fn logits(place: &Path, folders: &[String], k: usize) -> Result<Logits> {
    if k == ids().count() && folders.iter().any(|name| is_id(name)) {
        let rank = |name: &String| ids().position(|id| id == name).map(|at| at as u32);
        return Ok(Logits {
            of: folders.iter().map(rank).collect(),
            names: ids().map(String::from).collect(),
            note: "classes by the WordNet ids of ImageNet-1k".into(),
        });
    }
    let number = |name: &String| {
        let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| name.parse::<usize>().ok())?
    };
    if let Some(numbers) = folders.iter().map(number).collect::<Option<Vec<usize>>>() {
        if let Some(most) = numbers.iter().find(|&&n| n >= k) {
            let what = format!("has a class {most}; the classes of the backbone's head are 0 to {}", k - 1);
            return Err(Error::path(place, what, "number the class folders from 0"));
        }
        return Ok(Logits {
            of: numbers.into_iter().map(|n| Some(n as u32)).collect(),
            names: (0..k).map(|n| n.to_string()).collect(),
            note: format!("classes by their numbers, 0 to {}", k - 1),
        });
    }
    if folders.len() == k {
        return Ok(Logits {
            of: (0..k as u32).map(Some).collect(),
            names: folders.to_vec(),
            note: format!("classes in the order of their names: {k}, as many as the backbone's head has"),
        });
    }
    let what = format!(
        "has {} classes whose places among the {k} of the backbone's head are unknown, such as {:?}",
        folders.len(),
        folders.iter().find(|name| number(name).is_none() && !is_id(name)).unwrap_or(&folders[0])
    );
    let hint = match k == ids().count() {
        true => "name class folders by WordNet id (n01440764) or by number from 0",
        false => "name class folders by number from 0, or give all classes",
    };
    Err(Error::path(place, what, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folders: &[&str], k: usize) -> Result<Logits> {
        logits(Path::new("new"), &folders.iter().map(|name| name.to_string()).collect::<Vec<_>>(), k)
    }

    #[test]
    fn the_ids_are_a_thousand_in_order() {
        let all: Vec<&str> = ids().collect();
        assert_eq!(all.len(), 1000);
        assert!(all.is_sorted_by(|a, b| a < b) && all.iter().all(|id| is_id(id)));
        // Tench, tabby cat, and toilet tissue.
        assert_eq!((all[0], all[281], all[999]), ("n01440764", "n02123045", "n15075141"));
    }

    #[test]
    fn folders_are_told_by_id_number_or_order() {
        let ids = found(&["n01440764", "n02123045", "n99999999", "other"], 1000).unwrap();
        assert_eq!((ids.of, ids.names.len()), (vec![Some(0), Some(281), None, None], 1000));
        let numbers = found(&["0", "007", "99"], 100).unwrap();
        assert_eq!((numbers.of, numbers.names[99].as_str()), (vec![Some(0), Some(7), Some(99)], "99"));
        let all = found(&["cat", "dog"], 2).unwrap();
        assert_eq!((all.of, all.names.join(" ")), (vec![Some(0), Some(1)], "cat dog".into()));
        // Another head than ImageNet's has an order of its own.
        assert_eq!(found(&["n01440764", "n02123045"], 2).unwrap().of, [Some(0), Some(1)]);
    }

    #[test]
    fn unknown_places_are_refused() {
        for (folders, k, part) in [
            (
                &["1", "1000"][..],
                1000,
                "new: has a class 1000; the classes of the backbone's head are 0 to 999",
            ),
            (&["cat", "dog"], 1000, "such as \"cat\"; name class folders by WordNet id"),
            (&["0", "dog"], 1000, "such as \"dog\""),
            (&["n01440764"], 100, "such as \"n01440764\"; name class folders by number"),
        ] {
            let message = found(folders, k).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
