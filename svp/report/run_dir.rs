//! The folder of one run: the names of its files, and a lock that keeps a second process out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::checkpoint::remove_partial_files;
use crate::data::mapped::{self, Mmap};
use crate::data::open_regular;
use crate::{Error, Result};

/// Files each of which says that a folder already holds a run.
const MARKS: [&str; 5] =
    ["config.toml", "metrics.jsonl", "last.safetensors", "best.safetensors", "report.json"];

/// The other files that a run reads or replaces.
const OTHERS: [&str; 7] = [
    "sound.safetensors",
    "diverged.safetensors",
    "ema.safetensors",
    "classes.txt",
    "curves.png",
    "lr_range.json",
    "run.lock",
];

/// Checks that what has the name of a run's file is one that can be read, so that no run meets something else at its end.
fn check_files(folder: &Path) -> Result<()> {
    let paths = MARKS.iter().chain(&OTHERS).map(|name| folder.join(name));
    paths.filter(|path| path.symlink_metadata().is_ok()).try_for_each(|path| open_regular(&path).map(drop))
}

/// Reads a file of a run folder; `None` where there is none.
///
/// # Errors
/// A file that cannot be read, and what is no regular file, which is not waited for.
pub(crate) fn read_file(path: &Path) -> Result<Option<Mmap>> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => mapped::map(path).map(Some),
    }
}

/// Where a new run gets its folder.
#[derive(Debug, Clone)]
pub enum Place {
    /// This folder.
    Given(PathBuf),
    /// The first of `root/NAME-1`, `-2`, ... that does not exist.
    Numbered {
        /// The folder around it.
        root: PathBuf,
        /// The name before the number.
        name: String,
    },
}

impl Place {
    /// A numbered place `root/METHOD-DATASET-N`, such as `runs/svp-flowers-1`.
    pub fn numbered(root: &Path, method: &str, dataset: &str) -> Self {
        let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let dataset: String = dataset.chars().map(plain).collect();
        Place::Numbered { root: root.into(), name: format!("{method}-{dataset}") }
    }

    /// Whether the run folder would lie in this folder, or be it.
    pub fn is_inside(&self, folder: &Path) -> bool {
        let around = match self {
            Place::Given(path) => path,
            Place::Numbered { root, .. } => root,
        };
        let whole = |path: &Path| std::path::absolute(path).ok();
        whole(around).zip(whole(folder)).is_some_and(|(around, folder)| around.starts_with(folder))
    }
}

/// The folder of a run, locked for as long as this value lives.
///
/// The lock belongs to the open file, so it ends with the process, however that ends. The file `run.lock` stays: if it
/// were removed, a waiting and a third process could each lock a different file of that name.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Creates the folder of a new run, and locks it. A numbered folder is claimed by making it, so that runs which begin
    /// together get one each.
    ///
    /// # Errors
    /// Those of [`RunDir::create`].
    pub fn create_at(place: &Place) -> Result<Self> {
        let (root, name) = match place {
            Place::Given(path) => return Self::create(path),
            Place::Numbered { root, name } => (root, name),
        };
        fs::create_dir_all(root).map_err(|e| Error::io(root, "make the folder of runs", &e))?;
        let mut number = 1u64;
        loop {
            let path = root.join(format!("{name}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Self::lock(&path),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io(&path, "make the run folder", &e)),
            }
        }
    }

    /// Creates the folder and its parents for a new run, and locks it.
    ///
    /// # Errors
    /// When the folder cannot be created or written, when another process runs in it, or when it already holds a run.
    pub fn create(path: &Path) -> Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(Error::path(path, "a file is in the way of the run folder", "choose another --out"));
        }
        fs::create_dir_all(path).map_err(|e| Error::io(path, "make the run folder", &e))?;
        let run = Self::lock(path)?;
        match MARKS.iter().find(|mark| path.join(mark).exists()) {
            None => Ok(run),
            Some(mark) => Err(Error::path(
                path,
                format!("already holds a run ({mark})"),
                format!("continue it with `--resume {}`, or choose another --out", path.display()),
            )),
        }
    }

    /// Opens the folder of a run that was started before, and locks it.
    ///
    /// # Errors
    /// When there is no `config.toml` in the folder, when it cannot be written, when something is in the place of one of its
    /// files, or when another process runs in it.
    pub fn resume(path: &Path) -> Result<Self> {
        let hint = "give --resume the folder of a run";
        if !path.is_dir() {
            return Err(Error::path(path, "is not a folder", hint));
        }
        if !path.join("config.toml").is_file() {
            return Err(Error::path(path, "holds no run (no config.toml)", hint));
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self> {
        check_files(path)?;
        let name = path.join("run.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .map_err(|e| Error::io(&name, "write in the run folder", &e))?;
        match lock.try_lock() {
            Ok(()) => {
                remove_partial_files(path)?;
                Ok(Self { path: path.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(Error::path(
                path,
                "another process is running in this folder",
                "wait for it, or choose another --out",
            )),
            Err(TryLockError::Error(e)) => Err(Error::io(&name, "lock the run folder", &e)),
        }
    }

    /// Whether a process runs in a folder.
    pub fn is_busy(path: &Path) -> bool {
        let name = path.join("run.lock");
        // Opening a named pipe would wait for somebody who reads it.
        let lock = || OpenOptions::new().write(true).open(&name);
        name.is_file() && lock().is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// The folder itself, which also holds TensorBoard's event files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: every setting of the run, as resolved from defaults, preset, file and flags.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `metrics.jsonl`: one record a line, see [`super::metrics`].
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `last.safetensors`: the newest state, with the trained tensors and what resuming needs.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    /// `sound.safetensors`: the state at the end of the last sound epoch, while `last` is a newer one.
    pub fn sound(&self) -> PathBuf {
        self.path.join("sound.safetensors")
    }

    /// `diverged.safetensors`: the state just before a step whose loss was not finite.
    pub fn diverged(&self) -> PathBuf {
        self.path.join("diverged.safetensors")
    }

    /// `best.safetensors`: the trained tensors of the chosen epoch.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// `ema.safetensors`: the moving averages of the trained tensors after the last epoch.
    pub fn ema(&self) -> PathBuf {
        self.path.join("ema.safetensors")
    }

    /// `classes.txt`: one class name a line, in the order of the labels.
    pub fn classes(&self) -> PathBuf {
        self.path.join("classes.txt")
    }

    /// `report.json`: the results at the end.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// Keeps the report of a run of so many epochs that goes on, as `report-N-epochs.json`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn set_report_aside(&self, epochs: u32) -> Result<()> {
        let aside = self.path.join(format!("report-{epochs}-epochs.json"));
        match fs::rename(self.report(), aside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(&self.report(), "rename the report", &e))
            }
            _ => Ok(()),
        }
    }

    /// `curves.png`: loss and accuracy as a picture, see [`super::curves`].
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(result: Result<RunDir>, parts: &[&str]) {
        let message = result.expect_err("refused").to_string();
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[test]
    fn a_new_run_gets_its_folder_and_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("runs/first");
        let run = RunDir::create(&path).unwrap();
        assert!(path.is_dir());
        assert_eq!(run.path(), path);
        assert_eq!(run.metrics(), path.join("metrics.jsonl"));
    }

    #[test]
    fn two_runs_cannot_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let first = RunDir::create(root.path()).unwrap();
        fails(RunDir::create(root.path()), &["another process", "--out"]);
        assert!(RunDir::is_busy(root.path()));
        fs::write(first.config(), "seed = 1\n").unwrap();
        fails(RunDir::resume(root.path()), &["another process"]);
        drop(first);
        assert!(!RunDir::is_busy(root.path()));
        RunDir::resume(root.path()).unwrap();
    }

    #[test]
    fn a_folder_with_a_run_is_resumed_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        for mark in MARKS {
            let path = root.path().join(mark);
            fs::create_dir(&path).unwrap();
            fs::write(path.join(mark), "x").unwrap();
            fails(RunDir::create(&path), &["already holds a run", mark, "--resume"]);
        }
        RunDir::resume(&root.path().join("config.toml")).unwrap();
    }

    #[test]
    fn a_run_that_wrote_nothing_leaves_its_folder_free() {
        let root = tempfile::tempdir().unwrap();
        drop(RunDir::create(root.path()).unwrap());
        RunDir::create(root.path()).unwrap();
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in [".partial-a1b2c3.tmp", "config.toml", ".partial-notes", "mine.tmp"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        drop(RunDir::resume(root.path()).unwrap());
        let mut left: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".partial-notes", "config.toml", "mine.tmp", "run.lock"]);
    }

    #[test]
    fn nothing_to_resume_is_said() {
        let root = tempfile::tempdir().unwrap();
        fails(RunDir::resume(root.path()), &["holds no run", "config.toml"]);
        fails(RunDir::resume(&root.path().join("absent")), &["is not a folder"]);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("taken");
        fs::write(&file, "").unwrap();
        fails(RunDir::create(&file), &["taken", "a file is in the way"]);
        fails(RunDir::create(&file.join("run")), &["taken", "make the run folder"]);
    }

    /// A folder's permissions do not stop the superuser; the `/proc` file system stops everyone.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_place_that_cannot_be_written_is_one_line() {
        fails(RunDir::create(Path::new("/proc/svp-run")), &["/proc/svp-run", "make the run folder"]);
        fails(RunDir::create(Path::new("/proc/self")), &["/proc/self/run.lock", "write in the run folder"]);
    }

    #[test]
    fn runs_that_begin_together_get_a_folder_each() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("runs");
        let place = Place::numbered(&root, "svp", "my birds/2024");
        let mut made: Vec<PathBuf> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| RunDir::create_at(&place).unwrap())).collect();
            runs.into_iter().map(|run| run.join().unwrap().path().to_owned()).collect()
        });
        made.sort();
        let want: Vec<_> = (1..=8).map(|n| root.join(format!("svp-my-birds-2024-{n}"))).collect();
        assert_eq!(made, want);
    }
}
