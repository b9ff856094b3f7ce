//! The dashboard's files, which are part of the program: a page that stays on the screen, made of the REST API alone.
//!
//! The page loads nothing from elsewhere and says so to the browser (Content-Security-Policy), so it works where there is no way out,
//! and text from a resource that looks like a script is only text.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($type:expr, $name:literal) => {
        (concat!("/assets/", $name), $type, include_str!(concat!("../assets/", $name)))
    };
}

/// Where each file is, its type, its text.
const ASSETS: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../assets/index.html")),
    asset!(SVG, "icon.svg"),
    asset!(CSS, "base.css"),
    asset!(CSS, "views.css"),
    asset!(SCRIPT, "app.js"),
    asset!(SCRIPT, "api.js"),
    asset!(SCRIPT, "assignment.js"),
    asset!(SCRIPT, "chart.js"),
    asset!(SCRIPT, "collectors.js"),
    asset!(SCRIPT, "decided.js"),
    asset!(SCRIPT, "dialog.js"),
    asset!(SCRIPT, "dom.js"),
    asset!(SCRIPT, "format.js"),
    asset!(SCRIPT, "health.js"),
    asset!(SCRIPT, "model.js"),
    asset!(SCRIPT, "policy.js"),
    asset!(SCRIPT, "preview.js"),
    asset!(SCRIPT, "stream.js"),
    asset!(SCRIPT, "table.js"),
    asset!(SCRIPT, "workload.js"),
    asset!(SCRIPT, "workloads.js"),
];

/// One file, ready to send.
struct Served {
    content_type: HeaderValue,
    etag: HeaderValue,
    plain: &'static str,
    /// None where it could not be made, which costs only bytes.
    gzip: Option<Vec<u8>>,
}

impl Served {
    fn new(content_type: &'static str, text: &'static str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let hex: String = digest.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self {
            content_type: HeaderValue::from_static(content_type),
            // Weak: the compressed form has the same name. Hexadecimal digits can stand in a header.
            etag: HeaderValue::from_str(&format!("W/\"{hex}\"")).unwrap_or(HeaderValue::from_static("W/\"0\"")),
            plain: text,
            gzip: compressed(text).ok(),
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let headers = [
            (CONTENT_TYPE, self.content_type.clone()),
            (ETAG, self.etag.clone()),
            // Asked after each time, and sent only when it has changed: a new version never meets the files of an old one.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (VARY, HeaderValue::from_static("accept-encoding")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        let known = text(IF_NONE_MATCH).split(',').any(|tag| tag.trim().as_bytes() == self.etag.as_bytes());
        if known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        match &self.gzip {
            Some(gzip) if takes_gzip(text(ACCEPT_ENCODING)) => {
                (headers, [(CONTENT_ENCODING, "gzip")], gzip.clone()).into_response()
            }
            _ => (headers, self.plain).into_response(),
        }
    }
}

fn compressed(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some("gzip")
            && !parts.any(|weight| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

/// Serves the files. They hold no data, so anybody may have them: what they show needs the same role as the API.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut routes = Router::new();
    for (path, content_type, text) in ASSETS {
        let served = Arc::new(Served::new(content_type, text));
        let answer = move |headers: HeaderMap| {
            let served = served.clone();
            async move { served.answer(&headers) }
        };
        routes = routes.route(path, get(answer));
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (accepted, takes) in
            [("gzip, br", true), ("br;q=1, gzip;q=0.5", true), ("gzip;q=0", false), ("", false), ("xgzip", false)]
        {
            assert_eq!(takes_gzip(accepted), takes, "{accepted}");
        }
    }

    #[test]
    fn every_file_is_named_and_none_names_another_host() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let names =
            std::fs::read_dir(folder).map(|files| files.flatten().map(|file| file.file_name()).collect::<Vec<_>>());
        let names = names.unwrap_or_default();
        assert_eq!(names.len(), ASSETS.len());
        for (path, _, text) in ASSETS {
            // The name of a kind of XML, not a place.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{path} names another host");
            assert!(!text.contains("innerHTML"), "{path} takes text for markup");
            assert!(text.lines().count() < 400, "{path} is too long");
        }
    }
}
