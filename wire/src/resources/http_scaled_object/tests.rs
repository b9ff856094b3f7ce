use super::*;
use crate::resources::interceptor_route::InterceptorRoute;
use crate::resources::{Backend, Port};
use crate::topic::WorkloadId;

/// Every field there is.
const WHOLE: &str = r#"
apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata:
  name: xkcd
  namespace: comics
  annotations: {plimsoll.io/provider: gcp}
spec:
  hosts: [MyHost.com, "*.example.com"]
  pathPrefixes: [/test/]
  headers: [{name: X-Custom, value: Value}]
  scaleTargetRef: {name: xkcd, kind: Deployment, apiVersion: apps/v1, service: xkcd, port: 8080}
  coldStartTimeoutFailoverRef: {service: waiting-room, port: 80, timeoutSeconds: 20}
  replicas: {min: 1, max: 10}
  targetPendingRequests: 7
  scaledownPeriod: 300
  initialCooldownPeriod: 10
  scalingMetric:
    requestRate: {granularity: 1s, targetValue: 40, window: 30s}
  timeouts: {conditionWait: 5s, responseHeader: 1m}
  placeholderConfig: {enabled: true}
"#;

fn read(yaml: &str) -> HttpScaledObject {
    serde_saphyr::from_str(yaml).unwrap()
}

fn with(spec: &str) -> HttpScaledObject {
    read(&format!("{{metadata: {{name: a}}, spec: {{scaleTargetRef: {{service: a, port: 80}}, {spec}}}}}"))
}

#[test]
fn every_field_is_read_and_written_again() {
    let object = read(WHOLE);
    assert_eq!(object.spec.scaledown_period, Some(300));
    assert_eq!(object.spec.initial_cooldown_period, Some(10));
    assert_eq!(object.spec.without_effect(), ["spec.scaledownPeriod", "spec.initialCooldownPeriod"]);
    let json = serde_json::to_value(&object).unwrap();
    assert_eq!(json["spec"]["coldStartTimeoutFailoverRef"]["timeoutSeconds"], 20);
    assert_eq!(serde_json::from_value::<HttpScaledObject>(json).unwrap(), object);
}

#[test]
fn it_becomes_the_workload_it_describes() {
    let workload = read(WHOLE).workload().unwrap();
    assert_eq!(workload.id, WorkloadId::new("comics", "xkcd"));
    assert_eq!(workload.kind, Kind::HttpScaledObject);
    assert_eq!(workload.provider, "gcp");
    assert_eq!(workload.target, Backend { service: "xkcd".into(), port: Port::Number(8080) });
    let [rule] = &workload.rules[..] else { panic!("{:?}", workload.rules) };
    assert_eq!(rule.hosts, ["myhost.com", "*.example.com"]);
    assert_eq!(rule.paths, ["/test"]);
    assert_eq!(rule.headers[0].name, "x-custom");
    let scaling = workload.scaling;
    assert_eq!((scaling.concurrency_target, scaling.rate_target), (None, Some(40)));
    assert_eq!((scaling.min_replicas, scaling.max_replicas), (Some(1), Some(10)));
    assert_eq!(scaling.rate_window, Duration::from_secs(30));
    // The failover's own time goes before conditionWait.
    assert_eq!(workload.timeouts.readiness, Some(Duration::from_secs(20)));
    assert_eq!(workload.timeouts.response_header, Some(Duration::from_secs(60)));
}

#[test]
fn it_is_the_equal_interceptor_route() {
    let object = with("hosts: [a.com], scalingMetric: {requestRate: {targetValue: 5}}, timeouts: {conditionWait: 2s}");
    let route: InterceptorRoute = serde_saphyr::from_str(
        "{metadata: {name: a}, spec: {target: {service: a, port: 80}, rules: [{hosts: [a.com]}], \
         scalingMetric: {requestRate: {targetValue: 5}}, timeouts: {readiness: 2s}}}",
    )
    .unwrap();
    let equal = Workload { kind: Kind::InterceptorRoute, ..object.workload().unwrap() };
    assert_eq!(equal, route.workload().unwrap());
}

#[test]
fn without_hosts_and_paths_it_catches_all_and_scales_on_a_concurrency_of_100() {
    for spec in ["", "scalingMetric: {}", "scalingMetric: {concurrency: {}}", "replicas: {}"] {
        let workload = with(spec).workload().unwrap();
        assert_eq!(workload.rules[0].hosts, ["*"]);
        assert_eq!(workload.rules[0].paths, ["/"]);
        assert_eq!(workload.scaling.concurrency_target, Some(100), "{spec}");
        assert_eq!(workload.scaling.rate_target, None);
    }
}

#[test]
fn the_old_target_counts_where_no_metric_is_named() {
    let target = |spec: &str| with(spec).workload().unwrap().scaling.concurrency_target;
    assert_eq!(target("targetPendingRequests: 7"), Some(7));
    assert_eq!(target("targetPendingRequests: 7, scalingMetric: {concurrency: {targetValue: 9}}"), Some(9));
    assert_eq!(target("targetPendingRequests: 7, scalingMetric: {requestRate: {}}"), None);
}

#[test]
fn a_failover_service_is_the_fallback_after_thirty_seconds() {
    let workload = with("coldStartTimeoutFailoverRef: {service: f, port: 81}").workload().unwrap();
    assert_eq!(workload.cold_start.fallback, Some(Backend { service: "f".into(), port: Port::Number(81) }));
    assert_eq!(workload.timeouts.readiness, Some(Duration::from_secs(30)));
    assert!(workload.cold_start.holds());
}

#[test]
fn a_timeout_of_zero_is_an_unset_one() {
    let workload = with("timeouts: {conditionWait: 0s, responseHeader: 0s}").workload().unwrap();
    assert_eq!(workload.timeouts, Timeouts::default());
}

#[test]
fn more_hosts_and_paths_than_a_table_bears_are_refused() {
    let mut object = with("hosts: []");
    object.spec.hosts = (0..200).map(|n| format!("h{n}.test")).collect();
    object.spec.path_prefixes = (0..100).map(|n| format!("/p{n}")).collect();
    assert!(object.workload().is_ok());
    object.spec.hosts.push("one.more.test".to_owned());
    let error = object.workload().expect_err("too many").to_string();
    assert!(
        error.starts_with("spec.hosts: its 20100 combinations of hosts, paths and headers are too many"),
        "{error}"
    );
    // A long path takes the room of many.
    object.spec.hosts.truncate(200);
    object.spec.path_prefixes = vec!["a".repeat(102_401)];
    let error = object.workload().expect_err("too long").to_string();
    assert!(error.starts_with("spec.hosts: its 20200 combinations"), "{error}");
}

#[test]
fn a_bad_field_is_named_with_its_value_and_the_remedy() {
    for (spec, says) in [
        (
            "scalingMetric: {concurrency: {}, requestRate: {}}",
            "spec.scalingMetric: both concurrency and requestRate are there; keep exactly one",
        ),
        ("scalingMetric: {requestRate: {granularity: 1ms}}", "spec.scalingMetric.requestRate.granularity: \"1ms\""),
        ("scalingMetric: {concurrency: {targetValue: 0}}", "spec.scalingMetric.concurrency.targetValue: 0 "),
        ("targetPendingRequests: 0", "spec.targetPendingRequests: 0 "),
        ("replicas: {min: -1}", "spec.replicas.min: -1 can't be used; write 0 or a positive number"),
        (
            "replicas: {min: 3, max: 2}",
            "spec.replicas.min: 3 can't be used; write 2, which is spec.replicas.max, or less",
        ),
        ("hosts: [a, 'b c']", "spec.hosts[1]: \"b c\""),
        ("pathPrefixes: ['']", "spec.pathPrefixes[0]: \"\""),
        ("headers: [{name: ''}]", "spec.headers[0].name: \"\""),
        ("timeouts: {conditionWait: soon}", "spec.timeouts.conditionWait: \"soon\""),
        (
            "coldStartTimeoutFailoverRef: {service: f, port: 1, timeoutSeconds: -1}",
            "spec.coldStartTimeoutFailoverRef.timeoutSeconds: -1 can't be used; write 1 or more",
        ),
        ("coldStartTimeoutFailoverRef: {service: f}", "spec.coldStartTimeoutFailoverRef.port: it is missing"),
    ] {
        let error = with(spec).workload().expect_err(spec).to_string();
        assert!(error.starts_with(says), "{error}");
    }
    let no_port = read("{metadata: {name: a}, spec: {scaleTargetRef: {service: a}}}");
    let error = no_port.workload().expect_err("no port").to_string();
    assert!(error.starts_with("spec.scaleTargetRef.port: it is missing; write port: 80"), "{error}");
}
