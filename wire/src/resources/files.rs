//! Route files: the custom resources as YAML or JSON in a file or a folder, for running without a cluster.
//!
//! A bad document never takes the others away. [`watch`] follows the files while a program runs, and keeps the last good
//! version of what has become unreadable.

use std::path::Path;

use super::{Problem, Workload};

mod config_map;
mod document;
mod folder;
mod lines;
mod table;
mod watch;

pub(in crate::resources) use document::shaped;
pub(in crate::resources) use watch::{Changes, report};
pub use watch::{Routes, watch};

use folder::{Format, Source};
use table::Table;

/// What was read from route files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The workloads, each once, in the order of their names.
    pub workloads: Vec<Workload>,
    /// What could not be used, in the order of the files and their lines.
    pub problems: Vec<Problem>,
    /// What is used, but with fields that have no effect; a sentence each, with the place.
    pub notes: Vec<String>,
}

/// Reads a file, or the `.yaml`, `.yml` and `.json` files of a folder (not of the folders in it, and no hidden ones).
///
/// Blocks on the file system.
#[must_use]
pub fn load(path: &Path) -> Loaded {
    Table::default().next(folder::read(path), path).loaded()
}

/// Reads YAML documents from a text; `place` is what problems call it.
#[must_use]
pub fn parse(text: &str, place: &str) -> Loaded {
    let source = Source { file: place.into(), format: Format::Yaml, text: Ok(text.to_owned()) };
    Table::default().next(Ok(vec![source]), Path::new(place)).loaded()
}

#[cfg(test)]
mod tests;
