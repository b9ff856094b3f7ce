//! Answers that resources give themselves, ready to be sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use plimsoll_wire::resources::{self, FixedBody, INDEX_KEY};

use crate::proxy::{Exchange, ResponseBody};

/// When clients that were not served should ask again, in seconds: most programs have started by then.
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A fixed answer.
#[derive(Debug)]
pub(crate) struct FixedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The same for every request.
    Same(Text),
    /// By the request's path without its first slash.
    ByPath(HashMap<Box<str>, Text>),
}

#[derive(Debug, Default)]
struct Text {
    bytes: Bytes,
    /// None where there is nothing to have a type.
    content_type: Option<HeaderValue>,
}

/// What of a request its fixed answer depends on, kept while the request itself goes elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    path: Option<PathAndQuery>,
    /// For a head alone.
    head_only: bool,
}

impl Asked {
    /// What this request asks for.
    pub(crate) fn by<B>(request: &Request<B>) -> Self {
        Self { path: request.uri().path_and_query().cloned(), head_only: request.method() == Method::HEAD }
    }

    /// The key of a ConfigMap that the path names.
    fn key(&self) -> &str {
        let path = self.path.as_ref().map_or("/", PathAndQuery::path);
        let key = path.strip_prefix('/').unwrap_or(path);
        if key.is_empty() { INDEX_KEY } else { key }
    }
}

impl FixedResponse {
    /// The answer that a resource describes.
    pub(crate) fn new(said: &resources::FixedResponse) -> Self {
        let field = |(name, value): &(String, String)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        };
        let body = match &said.body {
            FixedBody::Inline(text) => Body::Same(Text::new("", text)),
            FixedBody::ConfigMap(from) => {
                let none = Arc::default();
                let texts = from.texts.as_ref().unwrap_or(&none);
                match &from.key {
                    Some(key) => Body::Same(Text::of(texts, key)),
                    None => Body::ByPath(texts.keys().map(|key| (key.as_str().into(), Text::of(texts, key))).collect()),
                }
            }
        };
        Self {
            // Resources are checked, so this is for workloads that were made by hand.
            status: StatusCode::from_u16(said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: said.headers.iter().filter_map(field).collect(),
            body,
        }
    }

    /// The same, and a 503 says when to ask again unless the resource has said it.
    pub(crate) fn asking_to_retry(mut self) -> Self {
        if self.status == StatusCode::SERVICE_UNAVAILABLE && !self.headers.contains_key(RETRY_AFTER) {
            self.headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        self
    }

    /// The answer to a request; the exchange ends when it has been sent.
    pub(crate) fn respond(&self, asked: &Asked, mut exchange: Exchange) -> Response<ResponseBody> {
        exchange.answered(self.status);
        let nothing = Text::default();
        let text = match &self.body {
            Body::Same(text) => text,
            Body::ByPath(texts) => texts.get(asked.key()).unwrap_or(&nothing),
        };
        let bytes = if asked.head_only { Bytes::new() } else { text.bytes.clone() };
        let mut response = Response::new(ResponseBody::text(bytes, Some(exchange)));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        if let Some(content_type) = &text.content_type
            && !self.headers.contains_key(CONTENT_TYPE)
        {
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        if asked.head_only && !text.bytes.is_empty() {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(text.bytes.len()));
        }
        response
    }
}

impl Text {
    /// A text and its type: by the extension of its key in a ConfigMap, or else by how it begins.
    fn new(key: &str, text: &str) -> Self {
        let content_type = by_extension(key).or_else(|| by_content(text)).map(HeaderValue::from_static);
        Self { bytes: Bytes::copy_from_slice(text.as_bytes()), content_type }
    }

    /// A ConfigMap's text of this key; nothing where it has none.
    fn of(texts: &Arc<BTreeMap<String, String>>, key: &str) -> Self {
        let Some(text) = texts.get(key) else { return Self::default() };
        let content_type = by_extension(key).or_else(|| by_content(text)).map(HeaderValue::from_static);
        Self { bytes: Bytes::from_owner(Shared { texts: texts.clone(), key: key.into() }), content_type }
    }
}

/// One text of a ConfigMap, where it is. Up to a mebibyte may be the page of every route of a namespace.
struct Shared {
    texts: Arc<BTreeMap<String, String>>,
    key: Box<str>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.texts.get(&*self.key).map(String::as_bytes).unwrap_or_default()
    }
}

/// The types of texts that pages are made of, as Go's `mime` package has them, which the add-on asks.
fn by_extension(key: &str) -> Option<&'static str> {
    let (_, extension) = key.rsplit_once('.')?;
    Some(match extension {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        _ => return None,
    })
}

/// HTML where the text begins like it, else plain text: in short what Go's `http.DetectContentType` says, on which the
/// add-on's pages rely.
fn by_content(text: &str) -> Option<&'static str> {
    const HTML: [&str; 17] = [
        "<!doctype html",
        "<!--",
        "<html",
        "<head",
        "<body",
        "<title",
        "<script",
        "<style",
        "<iframe",
        "<h1",
        "<div",
        "<font",
        "<table",
        "<a",
        "<b",
        "<br",
        "<p",
    ];
    if text.is_empty() {
        return None;
    }
    let begins = text.trim_start();
    let is_tag = |tag: &&str| {
        let (head, rest) = (begins.get(..tag.len()), begins.get(tag.len()..));
        head.is_some_and(|head| head.eq_ignore_ascii_case(tag))
            && (*tag == "<!--" || rest.is_some_and(|rest| rest.starts_with([' ', '>'])))
    };
    Some(if HTML.iter().any(is_tag) { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &'static str) -> Asked {
        Asked { path: Some(PathAndQuery::from_static(path)), head_only: false }
    }

    #[test]
    fn the_path_names_the_key() {
        for (path, key) in [("/", "index.html"), ("/?a=b", "index.html"), ("/a.css?v=1", "a.css"), ("/a/b", "a/b")] {
            assert_eq!(asked(path).key(), key);
        }
        assert_eq!(Asked { path: None, head_only: false }.key(), "index.html");
    }

    #[test]
    fn all_answers_from_a_config_map_share_its_texts() {
        let texts = Arc::new(BTreeMap::from([("a.html".to_owned(), "x".repeat(1 << 20))]));
        let answer = |key: Option<&str>| {
            let (name, key) = ("pages".to_owned(), key.map(str::to_owned));
            let body = FixedBody::ConfigMap(resources::ConfigMapBody { name, key, texts: Some(texts.clone()) });
            FixedResponse::new(&resources::FixedResponse { status: 503, headers: vec![], body })
        };
        for answer in [answer(Some("a.html")), answer(None)] {
            let bytes = match &answer.body {
                Body::Same(text) => &text.bytes,
                Body::ByPath(by_path) => &by_path["a.html"].bytes,
            };
            assert_eq!((bytes.as_ptr(), bytes.len()), (texts["a.html"].as_ptr(), 1 << 20));
        }
    }

    #[test]
    fn a_text_has_the_type_of_its_extension_or_else_of_its_beginning() {
        for (key, text, is) in [
            ("a.css", "<html>", Some("text/css; charset=utf-8")),
            ("index.html", "", Some("text/html; charset=utf-8")),
            ("a.b", " \n<!DOCTYPE html><x>", Some("text/html; charset=utf-8")),
            ("", "<h1>Loading</h1>", Some("text/html; charset=utf-8")),
            ("", "<abc>", Some("text/plain; charset=utf-8")),
            ("", "<p", Some("text/plain; charset=utf-8")),
            ("", "ok", Some("text/plain; charset=utf-8")),
            ("", "ä", Some("text/plain; charset=utf-8")),
            ("", "", None),
        ] {
            assert_eq!(Text::new(key, text).content_type.as_ref().map(|t| t.to_str().unwrap()), is, "{key:?} {text:?}");
        }
    }
}
