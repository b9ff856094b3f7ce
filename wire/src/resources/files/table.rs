//! The table of workloads that files make, and how one reading of them follows on another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Loaded;
use super::config_map::{ConfigMap, Name};
use super::document::{self, Good};
use super::folder::Source;
use crate::resources::{Kind, Problem, Workload};
use crate::topic::WorkloadId;

/// The workloads in use, each with the file that it came from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    entries: BTreeMap<WorkloadId, Entry>,
    /// Each with the file that it came from.
    config_maps: BTreeMap<Name, (ConfigMap, PathBuf)>,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    workload: Workload,
    file: PathBuf,
    /// The file and the line in it.
    place: String,
}

impl Table {
    /// The table after a reading of the files at `path`.
    ///
    /// What this reading can't make sense of keeps its last good version: the workload, where a bad document says which
    /// it is; all that came from the file, where it doesn't; everything, where nothing can be read. A file caught
    /// half-written takes no route away.
    pub(super) fn next(&self, read: Result<Vec<Source>, String>, path: &Path) -> Self {
        let sources = match read {
            Ok(sources) => sources,
            Err(reason) => {
                let what = format!("it can't be read: {reason}{}", kept(self.entries.len()));
                let problems = vec![Problem { place: path.display().to_string(), workload: None, what }];
                return Self { problems, notes: Vec::new(), ..self.clone() };
            }
        };
        let mut next = Self::default();
        if sources.is_empty() {
            let what = "it holds no route files; put files into it that end in .yaml, .yml or .json".to_owned();
            next.problems.push(Problem { place: path.display().to_string(), workload: None, what });
        }
        let mut bad = Vec::new();
        for source in sources {
            let place = |line: u64| format!("{}:{line}", source.file.display());
            match &source.text {
                Ok(text) => {
                    let found = document::read(text, source.format);
                    for config_map in found.config_maps {
                        let entry = next.config_maps.entry(config_map.name.clone());
                        entry.or_insert_with(|| (config_map, source.file.clone()));
                    }
                    for document in found.routes {
                        match document {
                            Ok(good) => next.add(good, &source.file, place),
                            Err(fault) => {
                                let place = place(fault.line);
                                bad.push(Unusable {
                                    file: source.file.clone(),
                                    place,
                                    whose: fault.whose,
                                    what: fault.what,
                                });
                            }
                        }
                    }
                }
                Err(reason) => {
                    let (place, what) = (source.file.display().to_string(), format!("it can't be read: {reason}"));
                    bad.push(Unusable { file: source.file.clone(), place, whose: None, what });
                }
            }
        }
        for unusable in bad {
            next.keep(self, unusable);
        }
        next.supply_bodies();
        next.problems.sort_by_key(|problem| position(&problem.place));
        next
    }

    /// What users of this module see.
    pub(super) fn loaded(self) -> Loaded {
        let workloads = self.entries.into_values().map(|entry| entry.workload).collect();
        Loaded { workloads, problems: self.problems, notes: self.notes }
    }

    /// Takes a workload up, unless one of its name is there already: an `InterceptorRoute` wins over an
    /// `HTTPScaledObject`, as in the add-on; among equals the first one does.
    fn add(&mut self, good: Good, file: &Path, place: impl Fn(u64) -> String) {
        let entry = Entry { workload: good.workload, file: file.to_owned(), place: place(good.line) };
        let id = entry.workload.id.clone();
        if let Some(there) = self.entries.get(&id) {
            if there.workload.kind == entry.workload.kind {
                let what =
                    format!("{} has a workload of this name already, which is used; remove one of them", there.place);
                self.problems.push(Problem { place: entry.place, workload: Some(id), what });
                return;
            }
            tracing::debug!(workload = %id, "its InterceptorRoute is used, not its HTTPScaledObject");
            if there.workload.kind == Kind::InterceptorRoute {
                return;
            }
        }
        if !good.without_effect.is_empty() {
            let (place, fields) = (&entry.place, good.without_effect.join(", "));
            self.notes.push(format!("{place}: {id} is used, but this version does nothing with {fields}"));
        }
        self.entries.insert(id, entry);
    }

    /// Hands the answers of all workloads the texts of the ConfigMaps that they name, and says where one is missing.
    fn supply_bodies(&mut self) {
        for (id, entry) in &mut self.entries {
            let missing = entry.workload.supply_bodies(|name| {
                let whole = (id.namespace.clone(), name.to_owned());
                let missing = || format!("there is no ConfigMap {}/{name} in the route files; add it", id.namespace);
                self.config_maps.get(&whole).ok_or_else(missing)?.0.texts()
            });
            let problem = |what| Problem { place: entry.place.clone(), workload: Some(id.clone()), what };
            self.problems.extend(missing.into_iter().map(problem));
        }
    }

    /// Keeps what `previous` had where a document or a file is unusable now, and says so.
    fn keep(&mut self, previous: &Self, unusable: Unusable) {
        let Unusable { file, place, whose, what } = unusable;
        let mut count = 0;
        let lost = previous.entries.iter().filter(|(id, entry)| match &whose {
            Some((whose, kind)) => *id == whose && entry.workload.kind == *kind,
            None => entry.file == file,
        });
        for (id, entry) in lost {
            let replaced = self.entries.get(id).is_some_and(|now| {
                now.workload.kind == entry.workload.kind || now.workload.kind == Kind::InterceptorRoute
            });
            if !replaced {
                self.entries.insert(id.clone(), entry.clone());
                count += 1;
            }
        }
        if whose.is_none() {
            let lost = previous.config_maps.iter().filter(|(_, (_, from))| *from == file);
            for (name, config_map) in lost {
                self.config_maps.entry(name.clone()).or_insert_with(|| config_map.clone());
            }
        }
        let what = format!("{what}{}", kept(count));
        self.problems.push(Problem { place, workload: whose.map(|(id, _)| id), what });
    }
}

/// A file or a document that can't be used.
struct Unusable {
    file: PathBuf,
    place: String,
    whose: Option<(WorkloadId, Kind)>,
    what: String,
}

/// What a problem says of the workloads that stay in use in spite of it.
fn kept(workloads: usize) -> String {
    match workloads {
        0 => String::new(),
        1 => " (the last good version of 1 workload stays in use)".to_owned(),
        many => format!(" (the last good versions of {many} workloads stay in use)"),
    }
}

/// A place as something to sort by: the file, then the line as a number.
fn position(place: &str) -> (String, u64) {
    match place.rsplit_once(':').map(|(file, line)| (file, line.parse())) {
        Some((file, Ok(line))) => (file.to_owned(), line),
        _ => (place.to_owned(), 0),
    }
}
