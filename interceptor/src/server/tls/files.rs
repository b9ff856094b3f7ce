//! Which pairs lie in a folder.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::TlsError;
use super::pair::Place;

/// How deep folders are searched. Kubernetes mounts secrets one deep; more is only to be kind.
const DEPTH: usize = 4;

/// What a certificate's file name ends with, and its key's.
const ENDINGS: [(&str, &str); 2] = [(".crt", ".key"), (".pem", "-key.pem")];

/// The pairs of a folder and of those inside it, by the order of their paths; and the certificates that have no key beside them.
///
/// # Errors
/// Where a folder can't be read.
pub(super) fn pairs_in(folder: &Path) -> Result<(Vec<Place>, Vec<PathBuf>), TlsError> {
    let mut files = BTreeSet::new();
    list(folder, DEPTH, &mut files)?;
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    for cert in &files {
        let Some(name) = cert.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with("-key.pem") {
            continue;
        }
        let Some((stem, ending)) = ENDINGS.iter().find_map(|(c, k)| Some((name.strip_suffix(c)?, k))) else { continue };
        let key = cert.with_file_name(format!("{stem}{ending}"));
        if files.contains(&key) {
            pairs.push(Place { cert: cert.clone(), key });
        } else if name != "ca.crt" {
            // Kubernetes's secrets often have the authority beside the pair.
            alone.push(cert.clone());
        }
    }
    Ok((pairs, alone))
}

fn list(folder: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> Result<(), TlsError> {
    let refused = |source: io::Error| TlsError::Unreadable { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        // Kubernetes keeps the files in `..2026_01_02_...` with a link `..data` to it, and links to each file beside that.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        // Follows links. What went meanwhile is seen next time.
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() && depth > 1 => list(&path, depth - 1, files)?,
            Ok(found) if found.is_file() => drop(files.insert(path)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_as_people_and_kubernetes_lay_them_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for inner in ["shop", "..2026", "shop/..2026"] {
            fs::create_dir(at(inner)).unwrap();
        }
        std::os::unix::fs::symlink("..2026", at("shop/..data")).unwrap();
        for file in
            ["a.crt", "a.key", "b.pem", "b-key.pem", "c.crt", "ca.crt", "readme", "..2026/x.crt", "..2026/x.key"]
        {
            fs::write(at(file), "").unwrap();
        }
        for file in ["tls.crt", "tls.key"] {
            fs::write(at("shop/..2026").join(file), "").unwrap();
            std::os::unix::fs::symlink(format!("..data/{file}"), at("shop").join(file)).unwrap();
        }
        let (pairs, alone) = pairs_in(folder.path()).unwrap();
        let names: Vec<_> = pairs.iter().map(|place| place.cert.strip_prefix(folder.path()).unwrap()).collect();
        assert_eq!(names, [Path::new("a.crt"), Path::new("b.pem"), Path::new("shop/tls.crt")]);
        assert_eq!(pairs[1].key, at("b-key.pem"));
        assert_eq!(alone, [at("c.crt")]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = pairs_in(Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder"), "{error}");
    }
}
