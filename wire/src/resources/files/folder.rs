//! What stands on disk: the texts of route files, and a fingerprint that tells whether they have changed.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes: ten times what 10,000 workloads need. A larger one is a mistake.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// One file as it was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) format: Format,
    /// Its text, or why there is none.
    pub(super) text: Result<String, String>,
}

/// Reads a file, or the route files of a folder in the order of their names.
///
/// # Errors
/// Where the path itself can't be read, with the reason.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, String> {
    let files = files(path).map_err(|error| error.to_string())?;
    Ok(files.into_iter().filter_map(source).collect())
}

/// One file's text; none where the file has gone since the folder was listed.
fn source(file: PathBuf) -> Option<Source> {
    let text = match text(&file) {
        // A symbolic link that leads nowhere is a fault of the folder, not a file removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&file).is_err() => return None,
        text => text.map_err(|error| error.to_string()),
    };
    let format = if has_extension(&file, &["json"]) { Format::Json } else { Format::Yaml };
    Some(Source { file, format, text })
}

fn text(file: &Path) -> io::Result<String> {
    // Opening a named pipe would wait for its writer, perhaps for ever.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(file)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_MAX} bytes")));
    }
    Ok(text)
}

/// The files that a path stands for.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        // A mounted ConfigMap has its files behind `..data`, and links to them beside it; hidden names are its own.
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && has_extension(&file, &["yaml", "yml", "json"]) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    file.extension().is_some_and(|has| extensions.iter().any(|extension| has.eq_ignore_ascii_case(extension)))
}

/// Tells two states of the files apart without reading them: changes when any of them is written, replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(Option<Vec<(PathBuf, Option<Stamp>)>>);

/// Device, inode, length, and the times of the last write and the last change, in seconds and nanoseconds.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The files' state now.
pub(super) fn fingerprint(path: &Path) -> Fingerprint {
    let stamped = |file: PathBuf| {
        let stamp = fs::metadata(&file).ok().map(|metadata| stamp(&metadata));
        (file, stamp)
    };
    Fingerprint(files(path).ok().map(|files| files.into_iter().map(stamped).collect()))
}

fn stamp(of: &Metadata) -> Stamp {
    (of.dev(), of.ino(), of.len(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()))
}
