//! Every call of the REST API, as its OpenAPI document says.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, code};

const HEAD: &str = "\
# Calls of the REST API

Every manager answers them on port 8088 (`--api-listen`); `/openapi.json` says the same to machines. Who may do what, how lists are
cut into pages, and how errors look is in [The REST API](../api.md).

";

/// The page.
pub fn page(document: &Value) -> String {
    let mut page = HEAD.to_owned();
    for tag in items(&document["tags"]) {
        let name = text(&tag["name"]);
        let _ = write!(page, "## {name}\n\n{}\n\n", text(&tag["description"]));
        for (path, methods) in fields(&document["paths"]) {
            for (method, call) in fields(methods) {
                if items(&call["tags"]).any(|tag| tag == name) {
                    one(&mut page, path, method, call);
                }
            }
        }
    }
    page.push_str("## Schemas\n\n");
    for (name, schema) in fields(&document["components"]["schemas"]) {
        shape(&mut page, name, schema);
    }
    page
}

fn one(page: &mut String, path: &str, method: &str, call: &Value) {
    let (summary, more) = (text(&call["summary"]), text(&call["description"]));
    let _ = write!(page, "### `{} {path}`\n\n{}\n\n", method.to_uppercase(), [summary, more].join("\n\n").trim());
    let parameters: Vec<&Value> = items(&call["parameters"]).collect();
    if !parameters.is_empty() {
        page.push_str("| parameter | in | |\n|---|---|---|\n");
        for one in parameters {
            let (name, place, about) = (text(&one["name"]), text(&one["in"]), text(&one["description"]));
            let _ = writeln!(page, "| {} | {place} | {} |", code(name), cell(about));
        }
        page.push('\n');
    }
    for (_, content) in fields(&call["requestBody"]["content"]) {
        let _ = write!(page, "Body: {}\n\n", kind(&content["schema"]));
    }
    page.push_str("| status | means | body |\n|---|---|---|\n");
    for (status, answer) in fields(&call["responses"]) {
        let body = fields(&answer["content"]).first().map(|(_, content)| kind(&content["schema"])).unwrap_or_default();
        let _ = writeln!(page, "| {status} | {} | {body} |", cell(text(&answer["description"])));
    }
    page.push('\n');
}

fn shape(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "### {name}\n\n");
    let about = text(&schema["description"]);
    if !about.is_empty() {
        let _ = write!(page, "{about}\n\n");
    }
    let properties = fields(&schema["properties"]);
    if !properties.is_empty() {
        page.push_str("| field | type | |\n|---|---|---|\n");
        for (field, of) in properties {
            let _ = writeln!(page, "| {} | {} | {} |", code(field), kind(of), cell(text(&of["description"])));
        }
        page.push('\n');
    }
    let words: Vec<String> = items(&schema["enum"]).filter_map(Value::as_str).map(code).collect();
    if !words.is_empty() {
        let _ = write!(page, "One of {}.\n\n", words.join(", "));
    }
    if let Some(example) = schema.get("example") {
        let _ = write!(page, "```json\n{}\n```\n\n", serde_json::to_string_pretty(example).unwrap_or_default());
    }
}

/// What a schema is called, with a link to where it is told.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for of in ["oneOf", "allOf", "anyOf"] {
        let all: Vec<String> = items(&schema[of]).map(kind).filter(|name| !name.is_empty()).collect();
        if !all.is_empty() {
            return all.join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind_of) if kind_of == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(kind_of) => kind_of.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// By name: whether a map keeps its order goes by what else is built with the program.
fn fields(value: &Value) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = value.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}
