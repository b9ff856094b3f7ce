//! What is found, and that nothing is found where there is nothing.

#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

const OURS: &str = "plimsoll-manager.plimsoll:9090";

fn object(kind: &str, name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": kind, "metadata": {"namespace": "shop", "name": name}, "spec": spec,
    }))
    .unwrap()
}

fn route(name: &str, rules: Value) -> DynamicObject {
    let target = json!({"service": "web", "port": 80});
    object(
        "InterceptorRoute",
        name,
        json!({"target": target, "rules": rules, "scalingMetric": {"concurrency": {"targetValue": 5}}}),
    )
}

fn service() -> DynamicObject {
    object("Service", "web", json!({"ports": [{"name": "http", "port": 80}]}))
}

/// Level, name and field of each finding.
fn found(found: Found) -> Vec<(Level, String, String)> {
    let report = judge(&found, OURS);
    assert_eq!(report.needs_hand, report.findings.iter().filter(|one| one.level == Level::Hand).count());
    report.findings.into_iter().map(|one| (one.level, one.name, one.field)).collect()
}

fn said(level: Level, name: &str, field: &str) -> (Level, String, String) {
    (level, name.to_owned(), field.to_owned())
}

fn routes(routes: Vec<DynamicObject>) -> Found {
    Found { interceptor_routes: routes, services: vec![service()], ..Found::default() }
}

#[test]
fn a_plain_resource_stays_as_it_is() {
    assert!(found(routes(vec![route("a", json!([{"hosts": ["a.test"], "paths": [{"value": "/x"}]}]))])).is_empty());
}

#[test]
fn a_granularity_other_than_a_second_needs_a_hand() {
    let field = "spec.scalingMetric.requestRate.granularity";
    for (granularity, remedy) in [("10s", "targetValue: 100 in place of 1000"), ("100ms", "write 1s")] {
        let mut one = route("a", json!([]));
        one.data["spec"]["scalingMetric"] = json!({"requestRate": {"targetValue": 1000, "granularity": granularity}});
        let report = judge(&routes(vec![one]), OURS);
        let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
        assert_eq!((finding.level, finding.field.as_str()), (Level::Hand, field));
        assert!(finding.remedy.starts_with(remedy), "{finding:?}");
    }
}

#[test]
fn a_header_rule_that_now_falls_back_is_named_with_whom_it_falls_back_to() {
    let beta =
        route("beta", json!([{"hosts": ["a.test"], "paths": [{"value": "/api/v2"}], "headers": [{"name": "x-beta"}]}]));
    let stable = route("stable", json!([{"hosts": ["a.test"], "paths": [{"value": "/api"}]}]));
    let other = route("other", json!([{"hosts": ["a.test"], "paths": [{"value": "/api/v2"}]}]));
    let report = judge(&routes(vec![beta.clone(), stable.clone()]), OURS);
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((finding.level, finding.name.as_str()), (Level::Change, "beta"));
    assert!(finding.plimsoll.contains("a.test/api, which is shop/stable's"), "{finding:?}");
    // A rule without headers at the same path takes them already; and /apix is no shorter /api/v2.
    assert!(found(routes(vec![beta.clone(), stable, other])).is_empty());
    let near = route("near", json!([{"hosts": ["a.test"], "paths": [{"value": "/ap"}]}]));
    assert!(found(routes(vec![beta, near])).is_empty());
}

#[test]
fn a_host_in_capitals_changes_and_two_that_differ_in_case_alone_need_a_hand() {
    let large = || route("large", json!([{"hosts": ["A.test"]}]));
    assert_eq!(found(routes(vec![large()])), [said(Level::Change, "large", "spec.rules[0].hosts[0]")]);
    let small = route("a", json!([{"hosts": ["a.test"]}]));
    let both = found(routes(vec![large(), small.clone()]));
    assert_eq!(both, [said(Level::Hand, "large", "hosts"), said(Level::Change, "large", "spec.rules[0].hosts[0]")]);
    let again = route("b", json!([{"hosts": ["a.test"]}]));
    assert_eq!(found(routes(vec![small, again])), [said(Level::Note, "b", "hosts")]);
}

#[test]
fn what_can_not_be_used_is_named_with_its_field() {
    let mut one = route("a", json!([{"hosts": ["a b"]}]));
    assert_eq!(found(routes(vec![one.clone()])), [said(Level::Hand, "a", "spec.rules[0].hosts[0]")]);
    one.data["spec"]["rules"] = json!([]);
    one.data["spec"]["later"] = json!(1);
    assert_eq!(found(routes(vec![one])), [said(Level::Note, "a", "spec.later")]);
}

#[test]
fn a_service_without_pods_needs_a_hand_and_one_that_is_not_there_is_said() {
    let routed = || vec![route("a", json!([]))];
    let external = object("Service", "web", json!({"type": "ExternalName", "externalName": "example.com"}));
    let with = |services| found(Found { interceptor_routes: routed(), services, ..Found::default() });
    assert_eq!(with(vec![external]), [said(Level::Hand, "a", "spec.target.service")]);
    assert_eq!(with(Vec::new()), [said(Level::Note, "a", "spec.target.service")]);
    let mut falls_back = route("a", json!([]));
    falls_back.data["spec"]["coldStart"] = json!({"fallback": {"service": {"name": "room", "port": 80}}});
    let room = object("Service", "room", json!({"type": "ExternalName", "externalName": "example.com"}));
    let all = Found { interceptor_routes: vec![falls_back], services: vec![service(), room], ..Found::default() };
    assert_eq!(found(all), [said(Level::Hand, "a", "spec.coldStart.fallback.service.name")]);
}

#[test]
fn an_old_object_says_what_becomes_of_its_finalizer_its_field_and_its_scaled_object() {
    let mut one = object(
        "HTTPScaledObject",
        "a",
        json!({"scaleTargetRef": {"service": "web", "port": 80}, "targetPendingRequests": 7}),
    );
    one.metadata.finalizers = Some(vec!["httpscaledobject.http.keda.sh".to_owned()]);
    let trigger = json!({"type": "external-push", "metadata": {"httpScaledObject": "a", "scalerAddress": "keda-add-ons-http-external-scaler.keda:9090"}});
    let mut scaled = object("ScaledObject", "a", json!({"triggers": [trigger], "fallback": {"replicas": 1}}));
    scaled.metadata.owner_references = serde_json::from_value(
        json!([{"apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "name": "a", "uid": "1"}]),
    )
    .unwrap();
    let all = Found {
        http_scaled_objects: vec![one],
        scaled_objects: vec![scaled],
        services: vec![service()],
        ..Found::default()
    };
    let wanted = [
        said(Level::Change, "a", "spec.triggers[0].metadata.scalerAddress"),
        said(Level::Note, "a", "metadata.finalizers"),
        said(Level::Note, "a", "spec.targetPendingRequests"),
    ];
    assert_eq!(found(all), wanted);
}

#[test]
fn a_scaled_object_of_a_user_is_asked_whom_it_asks_and_for_what() {
    let scaled = |address: &str, route: &str| {
        let trigger =
            json!({"type": "external-push", "metadata": {"interceptorRoute": route, "scalerAddress": address}});
        object(
            "ScaledObject",
            "s",
            json!({"triggers": [{"type": "cpu", "metadata": {}}, trigger], "fallback": {"replicas": 1}}),
        )
    };
    let with = |one: DynamicObject| found(Found { scaled_objects: vec![one], ..routes(vec![route("a", json!([]))]) });
    let address = "spec.triggers[1].metadata.scalerAddress";
    assert!(with(scaled(OURS, "a")).is_empty());
    assert_eq!(with(scaled("keda-add-ons-http-external-scaler.keda:9090", "a")), [said(Level::Note, "s", address)]);
    assert_eq!(with(scaled("mine.keda:9090", "a")), [said(Level::Hand, "s", address)]);
    assert_eq!(with(scaled(OURS, "gone")), [said(Level::Hand, "s", "spec.triggers[1].metadata.interceptorRoute")]);
    // Others' ScaledObjects are none of this.
    let others = object("ScaledObject", "s", json!({"triggers": [{"type": "cpu", "metadata": {}}]}));
    assert!(with(others).is_empty());
}
