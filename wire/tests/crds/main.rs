//! The definitions of the custom resources: field by field what the add-on's accept, and the same as the chart installs.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use plimsoll_wire::resources::crds::{all, yaml};

/// What the chart installs.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm/plimsoll/crds/http.keda.sh.yaml");
/// What each field accepts, a line each: the same as the add-on's definitions do (v0.16).
const ROUTE_FACTS: &str = include_str!("interceptor_route.facts");
const OBJECT_FACTS: &str = include_str!("http_scaled_object.facts");

/// All that a schema asks for, a line a field: everything but its prose.
fn facts(schema: &JSONSchemaProps, path: &str, lines: &mut Vec<String>) {
    let mut line = format!("{}: {}", if path.is_empty() { "." } else { path }, schema.type_.as_deref().unwrap_or("-"));
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    fact("format", schema.format.clone());
    fact("min", schema.minimum.map(|number| number.to_string()));
    fact("max", schema.maximum.map(|number| number.to_string()));
    fact("minLength", schema.min_length.map(|number| number.to_string()));
    fact("maxLength", schema.max_length.map(|number| number.to_string()));
    fact("minItems", schema.min_items.map(|number| number.to_string()));
    fact("pattern", schema.pattern.clone());
    let mut values: Vec<_> = schema.enum_.iter().flatten().map(|value| value.0.to_string()).collect();
    values.sort();
    fact("enum", (!values.is_empty()).then(|| values.join("|")));
    fact("default", schema.default.as_ref().map(|value| value.0.to_string()));
    let mut required = schema.required.clone().unwrap_or_default();
    required.sort();
    fact("required", (!required.is_empty()).then(|| required.join(",")));
    fact("nullable", schema.nullable.map(|nullable| nullable.to_string()));
    fact("list", schema.x_kubernetes_list_type.clone());
    fact("keys", schema.x_kubernetes_list_map_keys.as_ref().map(|keys| keys.join(",")));
    for ValidationRule { rule, .. } in schema.x_kubernetes_validations.iter().flatten() {
        fact("rule", Some(rule.clone()));
    }
    lines.push(line);
    for (name, property) in schema.properties.iter().flatten() {
        facts(property, &format!("{path}.{name}"), lines);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        facts(items, &format!("{path}[]"), lines);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        facts(values, &format!("{path}{{}}"), lines);
    }
}

fn facts_of(crd: &CustomResourceDefinition) -> String {
    let version = &crd.spec.versions[0];
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let names = &crd.spec.names;
    let mut lines = vec![format!(
        "{} {} {} {} {:?} {} status={}",
        crd.spec.group,
        version.name,
        names.kind,
        names.plural,
        names.short_names.iter().flatten().collect::<Vec<_>>(),
        crd.spec.scope,
        version.subresources.as_ref().is_some_and(|subresources| subresources.status.is_some()),
    )];
    for column in version.additional_printer_columns.iter().flatten() {
        lines.push(format!("column {} {} {}", column.name, column.type_, column.json_path));
    }
    facts(schema.unwrap(), "", &mut lines);
    lines.join("\n") + "\n"
}

#[test]
fn each_field_accepts_what_the_add_on_s_accepts() {
    for (crd, expected) in all().into_iter().zip([OBJECT_FACTS, ROUTE_FACTS]) {
        let found = facts_of(&crd);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (found_lines, expected_lines) = (lines(&found), lines(expected));
        let more: Vec<_> = found_lines.difference(&expected_lines).collect();
        let less: Vec<_> = expected_lines.difference(&found_lines).collect();
        assert!(
            more.is_empty() && less.is_empty(),
            "{}:\nours: {more:#?}\nexpected: {less:#?}\n{found}",
            crd.spec.names.kind
        );
    }
}

#[test]
fn every_field_has_a_description() {
    fn bare(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
        for (name, property) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            if property.description.is_none() && path != ".status" {
                found.push(path.clone());
            }
            bare(property, &path, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            bare(items, &format!("{path}[]"), found);
        }
    }
    for crd in all() {
        let mut found = Vec::new();
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        bare(schema, "", &mut found);
        assert!(found.is_empty(), "{}: {found:?}", crd.spec.names.kind);
    }
}

#[test]
fn what_the_chart_installs_is_what_is_generated() {
    let installed = std::fs::read_to_string(INSTALLED).unwrap_or_default();
    assert!(installed == yaml().unwrap(), "the chart's copy is stale: run tools/generate-crds");
}

#[test]
fn the_yaml_says_what_the_definitions_say() {
    let text = yaml().unwrap();
    let documents: Vec<_> = text.split("---\n").skip(1).collect();
    assert_eq!(documents.len(), all().len());
    for (document, crd) in documents.into_iter().zip(all()) {
        let read: serde_json::Value = serde_saphyr::from_str(document).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap());
    }
}
