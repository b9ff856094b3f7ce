//! The page for people: the description as HTML, without a script and with nothing from elsewhere.

use std::fmt::Write as _;

use serde_json::Value;
use utoipa::openapi::OpenApi;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b2733;background:#fff}\
h2{margin-top:2.5rem;border-bottom:1px solid #cbd5df}h3{margin-bottom:.2rem}code,pre{font:14px/1.4 ui-monospace,monospace}\
pre{background:#f3f6f9;padding:.7rem;overflow:auto}table{border-collapse:collapse;margin:.4rem 0}\
td,th{text-align:left;vertical-align:top;padding:.15rem .9rem .15rem 0}.m{display:inline-block;min-width:4.5rem;font-weight:700;color:#0b5cad}\
@media(prefers-color-scheme:dark){body{color:#dbe4ec;background:#12181f}pre{background:#1c252e}h2{border-color:#3a4754}.m{color:#6cb2ff}a{color:#6cb2ff}}";

/// What the page's policy lets in of styles: this one, by its SHA-256 in base64.
pub fn style_hash() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_ref())
}

/// The page.
pub fn page(description: &OpenApi) -> String {
    // The document itself is what is shown: so it says what machines are told, and nothing else.
    let document = serde_json::to_value(description).unwrap_or_default();
    let mut html = String::new();
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Plimsoll API</title><style>{STYLE}</style><h1>Plimsoll API</h1><p>{}</p>\
         <p>For machines: <a href=\"/openapi.json\">/openapi.json</a>. In the terminal: <code>plimsoll ctl</code>.</p>",
        prose(text(&document["info"]["description"]))
    );
    for tag in items(&document["tags"]) {
        let name = text(&tag["name"]);
        let _ = write!(html, "<h2 id=\"{0}\">{0}</h2><p>{1}</p>", escape(name), prose(text(&tag["description"])));
        for (path, methods) in fields(&document["paths"]) {
            for (method, call) in fields(methods) {
                if items(&call["tags"]).any(|tag| tag == name) {
                    one(&mut html, path, method, call);
                }
            }
        }
    }
    html.push_str("<h2 id=\"schemas\">schemas</h2>");
    for (name, schema) in fields(&document["components"]["schemas"]) {
        shape(&mut html, name, schema);
    }
    html
}

fn one(html: &mut String, path: &str, method: &str, call: &Value) {
    let _ = write!(
        html,
        "<h3><span class=m>{}</span><code>{}</code></h3><p>{} {}</p>",
        escape(&method.to_uppercase()),
        escape(path),
        prose(text(&call["summary"])),
        prose(text(&call["description"]))
    );
    let parameters: Vec<&Value> = items(&call["parameters"]).collect();
    if !parameters.is_empty() {
        html.push_str("<table>");
        for one in parameters {
            let (name, place) = (escape(text(&one["name"])), escape(text(&one["in"])));
            let _ = write!(html, "<tr><td><code>{name}</code><td>{place}<td>{}", prose(text(&one["description"])));
        }
        html.push_str("</table>");
    }
    for (_, content) in fields(&call["requestBody"]["content"]) {
        let _ = write!(html, "<p>Body: {}</p>", link(&content["schema"]));
    }
    html.push_str("<table>");
    for (status, answer) in fields(&call["responses"]) {
        let body = fields(&answer["content"]).next().map(|(_, content)| link(&content["schema"])).unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td><code>{}</code><td>{}<td>{body}",
            escape(status),
            prose(text(&answer["description"]))
        );
    }
    html.push_str("</table>");
}

fn shape(html: &mut String, name: &str, schema: &Value) {
    let _ = write!(
        html,
        "<h3 id=\"s-{0}\"><code>{0}</code></h3><p>{1}</p>",
        escape(name),
        prose(text(&schema["description"]))
    );
    let properties: Vec<(&String, &Value)> = fields(&schema["properties"]).collect();
    if !properties.is_empty() {
        html.push_str("<table>");
        for (field, about) in properties {
            let _ = write!(
                html,
                "<tr><td><code>{}</code><td>{}<td>{}",
                escape(field),
                link(about),
                prose(text(&about["description"]))
            );
        }
        html.push_str("</table>");
    }
    let words: Vec<&str> = items(&schema["enum"]).filter_map(Value::as_str).collect();
    if !words.is_empty() {
        let _ = write!(html, "<p>One of <code>{}</code></p>", escape(&words.join(", ")));
    }
    if let Some(example) = schema.get("example") {
        let _ = write!(html, "<pre>{}</pre>", escape(&serde_json::to_string_pretty(example).unwrap_or_default()));
    }
}

/// What a schema is called, with a link to where it is told.
fn link(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#s-{0}\">{0}</a>", escape(name));
    }
    for of in ["oneOf", "allOf", "anyOf"] {
        let all: Vec<String> = items(&schema[of]).map(link).filter(|name| !name.is_empty()).collect();
        if !all.is_empty() {
            return all.join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", link(&schema["items"])),
        Value::String(kind) => escape(kind),
        Value::Array(kinds) => escape(&kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")),
        _ => String::new(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Escaped, with what is between backticks as code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts =
        parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) });
    parts.collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
