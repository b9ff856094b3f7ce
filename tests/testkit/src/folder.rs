//! A folder in memory for a server's data, which is gone after its test however that ends.

use std::{
    fs::{File, read_dir, remove_dir_all},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

const PREFIX: &str = "plimsoll-test-";

/// A folder of this value's own, removed when it is dropped. A test that is killed cannot remove its folders; the next one
/// to make a folder does.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    /// Locked as long as the owner lives; unlocked folders are leftovers.
    _lock: File,
}

impl Folder {
    /// Makes a folder, in memory where the machine offers that: brokers with thousands of topics are several times quicker
    /// there. `name` tells whose it is.
    pub fn new(name: &str) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        remove_leftovers(&parent);
        // Another test may take a folder for a leftover between its making and its locking: then make another.
        for _ in 0..100 {
            let folder = TempDir::with_prefix_in(format!("{PREFIX}{name}-"), &parent)
                .with_context(|| format!("no folder can be made in {}", parent.display()))?;
            let Ok(lock) = File::open(folder.path()) else {
                continue;
            };
            if lock.try_lock().is_ok() && folder.path().exists() {
                return Ok(Self { folder, _lock: lock });
            }
        }
        bail!("folders in {} are removed as soon as they are made", parent.display())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path inside it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Failures do not matter: what stays is another user's, or is being removed by another test.
fn remove_leftovers(parent: &Path) {
    for entry in read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = remove_dir_all(entry.path());
        }
    }
}
