//! One file's text, document by document: which are routes, and what is wrong with the others.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::config_map::ConfigMap;
use super::folder::Format;
use super::lines;
use crate::resources::http_scaled_object::HttpScaledObject;
use crate::resources::interceptor_route::InterceptorRoute;
use crate::resources::metadata::Metadata;
use crate::resources::{Invalid, Kind, Port, Workload};
use crate::topic::WorkloadId;

const GROUP: &str = "http.keda.sh";
/// The kinds that are read, with the version and Plimsoll's name of each.
const KINDS: [(&str, &str, Kind); 2] =
    [("InterceptorRoute", "v1beta1", Kind::InterceptorRoute), ("HTTPScaledObject", "v1alpha1", Kind::HttpScaledObject)];

/// A document that describes a workload.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) workload: Workload,
    /// Its first line in the file.
    pub(super) line: u64,
    /// Fields that it sets to no effect, unknown ones among them.
    pub(super) without_effect: Vec<String>,
}

/// A document that can't be used.
#[derive(Debug, PartialEq)]
pub(super) struct Bad {
    /// Where in the file, as near as is known.
    pub(super) line: u64,
    /// Which resource it is, where that much can be read.
    pub(super) whose: Option<(WorkloadId, Kind)>,
    pub(super) what: String,
}

/// What a text holds, in order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) routes: Vec<Result<Good, Bad>>,
    pub(super) config_maps: Vec<ConfigMap>,
}

/// Reads all documents of a text.
pub(super) fn read(text: &str, format: Format) -> Found {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Found::default();
    match format {
        Format::Json => read_one(text, 1, json(text), &mut found),
        Format::Yaml => {
            for (text, line) in split(text) {
                read_one(text, line, yaml(text, line), &mut found);
            }
        }
    }
    found
}

/// The YAML documents of a text, each with its first line in it.
///
/// They are cut here, not by the YAML parser, so that the documents after one that is no YAML at all are read: a line
/// that begins with `---` starts a document wherever it stands (YAML 1.2, section 9.1).
fn split(text: &str) -> Vec<(&str, u64)> {
    let marker = |line: &str, is: &str| {
        line.strip_prefix(is).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    let mut documents = Vec::new();
    let (mut begin, mut first_line, mut at) = (0, 1, 0);
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if marker(line, "---") {
            documents.push((&text[begin..at], first_line));
            (begin, first_line) = (at, number);
        }
        at += line.len();
        if marker(line, "...") {
            documents.push((&text[begin..at], first_line));
            (begin, first_line) = (at, number + 1);
        }
    }
    documents.push((&text[begin..], first_line));
    // Comments and directives may stand before the first document; they are none.
    let blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "..."
    };
    documents.retain(|(document, _)| !document.lines().all(blank));
    documents
}

/// A document's value; or the line of its first fault in the file, and what is wrong.
type Parsed = Result<Value, (u64, String)>;

fn yaml(text: &str, first_line: u64) -> Parsed {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // A resource is ten levels deep. What comes after recurses, so that the stack depends on this bound.
        budget: serde_saphyr::budget! { max_depth: 64 },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let before = first_line - 1;
        let line = error.location().map_or(1, |location| location.line().max(1));
        let message = error.render_with_options(serde_saphyr::render_options! { line_offset: before });
        (before + line, format!("it is no YAML: {message}"))
    })
}

fn json(text: &str) -> Parsed {
    serde_json::from_str(text).map_err(|error| (error.line().max(1) as u64, format!("it is no JSON: {error}")))
}

fn read_one(text: &str, first_line: u64, parsed: Parsed, found: &mut Found) {
    match parsed {
        Ok(value) => Document { text, first_line }.read(&value, "", found),
        Err((line, what)) => found.routes.push(Err(Bad { line, whose: None, what })),
    }
}

/// One document of a file.
struct Document<'a> {
    text: &'a str,
    first_line: u64,
}

impl Document<'_> {
    /// Reads a resource, or each of a list's; `at` is its path in the document, with a dot at its end if it has any.
    fn read(&self, value: &Value, at: &str, found: &mut Found) {
        if value.is_null() {
            return;
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if is_list(kind) {
            let items = value.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for (index, item) in items.iter().enumerate() {
                self.read(item, &format!("{at}items[{index}]."), found);
            }
            return;
        }
        if (api_version, kind) == ("v1", "ConfigMap") {
            found.config_maps.extend(ConfigMap::read(value));
            return;
        }
        let known = KINDS.iter().find(|(name, ..)| *name == kind);
        let outcome = match known {
            Some((_, version, kind)) if api_version == format!("{GROUP}/{version}") => resource(value, *kind),
            Some((name, version, _)) => {
                let remedy = format!("write {GROUP}/{version} for kind {name}");
                Err(Invalid::value("apiVersion", api_version, remedy).into())
            }
            None if kind.is_empty() || api_version.is_empty() => {
                let field = if kind.is_empty() { "kind" } else { "apiVersion" };
                let remedy = format!("write apiVersion: {GROUP}/v1beta1 and kind: InterceptorRoute");
                Err(Invalid::missing(field, remedy).into())
            }
            None if api_version.split('/').next() == Some(GROUP) => {
                Err(Invalid::value("kind", kind, "write InterceptorRoute or HTTPScaledObject").into())
            }
            None => {
                tracing::debug!(api_version, kind, line = self.first_line, "a document of another kind is left alone");
                return;
            }
        };
        found.routes.push(match outcome {
            Ok((workload, without_effect)) => Ok(Good { workload, line: self.line_of(at), without_effect }),
            Err(fault) => Err(Bad {
                line: self.line_of(&format!("{at}{}", fault.field)),
                whose: whose(value).zip(known.map(|(.., kind)| *kind)),
                what: format!("{at}{}", fault.text),
            }),
        });
    }

    /// The line of a field in the file.
    fn line_of(&self, path: &str) -> u64 {
        // Finding a line takes another parse, which good documents, whose own place this is, are spared.
        if path.is_empty() {
            return self.first_line;
        }
        self.first_line + lines::line_of(self.text, path).map_or(0, |line| line.saturating_sub(1))
    }
}

/// Whether a kind is what `kubectl get -o yaml` prints around several resources.
fn is_list(kind: &str) -> bool {
    kind.strip_suffix("List").is_some_and(|of| of.is_empty() || KINDS.iter().any(|(name, ..)| *name == of))
}

/// Whose a document is, as far as its names can be read.
fn whose(value: &Value) -> Option<WorkloadId> {
    let text = |key: &str| value.get("metadata")?.get(key)?.as_str().map(str::to_owned);
    Metadata { name: text("name"), namespace: text("namespace"), ..Metadata::default() }.id().ok()
}

/// The workload of a resource, and the fields that it sets to no effect.
fn resource(value: &Value, kind: Kind) -> Result<(Workload, Vec<String>), Fault> {
    let (workload, unknown, idle, [port_name, fallback_name]) = match kind {
        Kind::InterceptorRoute => {
            let (resource, unknown) = shape::<InterceptorRoute>(value)?;
            let fields = ["spec.target.portName", "spec.coldStart.fallback.service.portName"];
            (resource.workload()?, unknown, resource.spec.without_effect(), fields)
        }
        Kind::HttpScaledObject => {
            let (resource, unknown) = shape::<HttpScaledObject>(value)?;
            let fields = ["spec.scaleTargetRef.portName", "spec.coldStartTimeoutFailoverRef.portName"];
            (resource.workload()?, unknown, resource.spec.without_effect(), fields)
        }
    };
    let backends = [(Some(&workload.target), port_name), (workload.cold_start.fallback.as_ref(), fallback_name)];
    for (backend, field) in backends {
        if let Some(Port::Name(name)) = backend.map(|backend| &backend.port) {
            let remedy = "write port with a number: a route file has no Service to look the name up in";
            return Err(Invalid::value(field, name, remedy).into());
        }
    }
    Ok((workload, idle.into_iter().map(str::to_owned).chain(unknown).collect()))
}

/// Why a resource can't be used: a field, and what to say of it.
struct Fault {
    field: String,
    text: String,
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        Self { text: invalid.to_string(), field: invalid.field }
    }
}

/// A document as one of our types, and the fields of its spec that the type doesn't know.
fn shape<T: DeserializeOwned>(document: &Value) -> Result<(T, Vec<String>), Fault> {
    let (shaped, mut unknown) = shape_at(document, "")?;
    // The rest (labels, status, ...) is Kubernetes' and no concern of ours.
    unknown.retain(|field| field.starts_with("spec."));
    Ok((shaped, unknown))
}

/// What stands at this path of an object as one of our types, and the fields that the type doesn't know.
///
/// # Errors
/// The field that is of another shape, and which.
pub(in crate::resources) fn shaped<T: DeserializeOwned>(value: &Value, at: &str) -> Result<(T, Vec<String>), String> {
    shape_at(value, at).map_err(|fault| fault.text)
}

fn shape_at<T: DeserializeOwned>(value: &Value, root: &str) -> Result<(T, Vec<String>), Fault> {
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(ignored(&path, root));
    let mut track = serde_path_to_error::Track::new();
    let noting = serde_ignored::Deserializer::new(value, &mut note);
    let shaped = T::deserialize(serde_path_to_error::Deserializer::new(noting, &mut track)).map_err(|error| {
        let field = track.path().iter().fold(root.to_owned(), |path, segment| match segment {
            Segment::Seq { index } => format!("{path}[{index}]"),
            Segment::Map { key } => join(path, key),
            // No resource has variants with content, and a step without a name adds nothing.
            Segment::Enum { .. } | Segment::Unknown => path,
        });
        let at = if field.is_empty() { "the document" } else { &field };
        Fault { text: format!("{at}: {error}"), field }
    })?;
    Ok((shaped, unknown))
}

fn ignored(path: &serde_ignored::Path<'_>, root: &str) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => root.to_owned(),
        Path::Seq { parent, index } => format!("{}[{index}]", ignored(parent, root)),
        Path::Map { parent, key } => join(ignored(parent, root), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            ignored(parent, root)
        }
    }
}

/// The path of a key, written as [`lines::line_of`] reads it.
fn join(path: String, key: &str) -> String {
    match (path.is_empty(), key.contains('.')) {
        (_, true) => format!("{path}[{key}]"),
        (true, false) => key.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests;
