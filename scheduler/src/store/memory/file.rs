//! The file that keeps what is in memory: replaced as a whole with every change, so that it is the old one or the new one at any
//! instant, whatever happens to the process or the machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::store::{Revision, StoreError, Stored, StoredDirectives};
use crate::{directives::Directives, plan::Plan};

/// The form of the file. A reader that does not know it says so instead of guessing.
const FORMAT: u32 = 1;

/// What the file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    format: u32,
    plan_revision: i64,
    plan: Plan,
    directives_revision: i64,
    directives: Directives,
}

/// The file, ours alone while this lives.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// The number of the newest state that has been written. A write whose caller has gone must not overtake a later one.
    written: Mutex<u64>,
    /// Locked against other processes. Not the file itself: that is replaced.
    _lock: File,
}

impl StateFile {
    /// Opens it and reads what it holds; a file that is not there is made.
    ///
    /// # Errors
    /// [`StoreError::BadSetting`] if it can't be read or written, or another process has it; [`StoreError::Corrupt`].
    pub(super) fn open(path: &Path) -> Result<(Self, Stored, StoredDirectives), StoreError> {
        let bad = |reason: String| StoreError::BadSetting { setting: format!("state file {}", path.display()), reason };
        let lock = with_suffix(path, ".lock");
        let failed = |error: io::Error| bad(format!("{} can't be opened: {error}", lock.display()));
        let lock = File::options().create(true).truncate(false).write(true).open(&lock).map_err(failed)?;
        lock.try_lock().map_err(|_| bad("another process uses it: give each its own".to_owned()))?;
        let file = Self { path: path.to_owned(), written: Mutex::new(0), _lock: lock };
        let corrupt = |reason: String| StoreError::Corrupt { key: format!("file {}", path.display()), reason };
        match fs::read(path) {
            Ok(bytes) => {
                let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
                if saved.format != FORMAT {
                    return Err(corrupt(format!("its format is {}, and this Plimsoll knows {FORMAT}", saved.format)));
                }
                let stored = Stored { plan: saved.plan, revision: Revision(saved.plan_revision) };
                let revision = Revision(saved.directives_revision);
                Ok((file, stored, StoredDirectives { directives: saved.directives, revision }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (stored, directives) = (Stored::default(), StoredDirectives::default());
                // Better known now than with the first change.
                file.replace(0, &encode(&stored, &directives)?)
                    .map_err(|error| bad(format!("it can't be written: {error}")))?;
                Ok((file, stored, directives))
            }
            Err(error) => Err(bad(format!("it can't be read: {error}"))),
        }
    }

    /// Whom errors name.
    pub(super) fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    /// Puts this state, the `number`th, in place of an older one. It is on the disk when this returns. Blocks.
    pub(super) fn replace(&self, number: u64, state: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        if number < *written {
            return Ok(());
        }
        let new = with_suffix(&self.path, ".new");
        let replaced = File::create(&new)
            .and_then(|mut file| file.write_all(state).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| File::open(folder(&self.path))?.sync_all());
        if replaced.is_err() {
            // What there is of it takes the room that is missing.
            let _ = fs::remove_file(&new);
        } else {
            *written = number;
        }
        replaced
    }
}

/// What the file is to say.
pub(super) fn encode(stored: &Stored, directives: &StoredDirectives) -> Result<Vec<u8>, StoreError> {
    let saved = Saved {
        format: FORMAT,
        plan_revision: stored.revision.0,
        plan: stored.plan.clone(),
        directives_revision: directives.revision.0,
        directives: directives.directives.clone(),
    };
    serde_json::to_vec(&saved)
        .map_err(|error| StoreError::Corrupt { key: "the state".to_owned(), reason: error.to_string() })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
