//! Names for collectors that nobody numbers, as the containers that `docker compose up --scale collector=4` starts.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// So many collectors on one host, at most.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=10_000;

/// A name that nobody else has as long as this is held. The kernel takes the lock back when the process ends, however it ends.
#[derive(Debug)]
pub struct Claim {
    pub name: String,
    _lock: File,
}

/// Claims `collector-N` with the lowest N that nobody has, among all that are given this folder.
///
/// The plan names collectors. So it fits again after all of them have been replaced: the same number of them has the same names, and
/// which of them has which does not matter.
///
/// # Errors
/// The folder can't be made or written to.
pub fn claim(folder: &Path) -> Result<Claim> {
    let place = || format!("{} (--collector-names)", folder.display());
    fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", place()))?;
    for number in NUMBERS {
        let name = format!("collector-{number}");
        let file = File::options().create(true).truncate(false).write(true).open(folder.join(&name));
        let file = file.with_context(|| format!("can't claim the name {name} in {}", place()))?;
        match file.try_lock() {
            Ok(()) => return Ok(Claim { name, _lock: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock the name {name} in {}", place()));
            }
        }
    }
    bail!("all {} names in {} are taken", NUMBERS.end(), place())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder_and_is_free_again_after_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().join("names");
        let [one, two, three] = [claim(&folder)?, claim(&folder)?, claim(&folder)?];
        assert_eq!([&one.name, &two.name, &three.name], ["collector-1", "collector-2", "collector-3"]);
        drop(two);
        assert_eq!(claim(&folder)?.name, "collector-2");
        drop((one, three));
        assert_eq!([claim(&folder)?, claim(&folder)?].map(|claim| claim.name).concat(), "collector-1collector-2");
        Ok(())
    }

    #[test]
    fn a_folder_that_is_none_is_named_with_its_flag() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let error = format!("{:#}", claim(file.path()).unwrap_err());
        assert!(error.contains(&format!("{} (--collector-names)", file.path().display())), "{error}");
        Ok(())
    }
}
