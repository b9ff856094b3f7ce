use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::resources;
use crate::resources::{Backend, ConfigMapBody, FixedBody, FixedResponse, HeaderRule, Overflow, Port, ResponseMode};
use crate::topic::WorkloadId;

/// Every field there is.
const WHOLE: &str = r#"
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata:
  name: shop
  namespace: store
  creationTimestamp: "2026-01-02T03:04:05Z"
  labels: {team: a}
  annotations:
    plimsoll.io/concurrency-window: 30s
    plimsoll.io/provider: aws
spec:
  target: {service: shop, port: 8080}
  rules:
    - hosts: [Shop.Example.com, "*.shop.example.com"]
      paths: [{value: /api/}, {value: /v2}]
      headers: [{name: X-Tenant, value: Blue}, {name: X-Beta}]
    - {}
  scalingMetric:
    concurrency: {targetValue: 20}
    requestRate: {targetValue: 50, window: 2m, granularity: 10s}
  coldStart:
    fallback: {service: {name: waiting-room, portName: http}}
    placeholder:
      response:
        statusCode: 503
        bodyFromConfigMap: {name: pages, key: waiting.html}
        headers: {Content-Type: text/html}
    maxPendingRequests: 100
    overflow: Placeholder
  timeouts: {readiness: 1m30s, request: 0s, responseHeader: 500ms}
  staticRoutes:
    - rules: [{paths: [{value: /healthz}]}]
      response: {statusCode: 200, body: ok}
      responseMode: WhenUnavailable
  fieldOfTheFuture: {a: 1}
status:
  conditions: []
"#;

fn read(yaml: &str) -> InterceptorRoute {
    serde_saphyr::from_str(yaml).unwrap()
}

fn smallest() -> InterceptorRoute {
    read("{metadata: {name: a}, spec: {target: {service: a, port: 80}, scalingMetric: {concurrency: {}}}}")
}

#[test]
fn every_field_is_read_and_written_again() {
    let route = read(WHOLE);
    let cold_start = route.spec.cold_start.as_ref().unwrap();
    assert_eq!(cold_start.fallback.as_ref().unwrap().service.port_name.as_deref(), Some("http"));
    assert_eq!(cold_start.overflow, Some(Overflow::Placeholder));
    assert_eq!(cold_start.max_pending_requests, Some(100));
    assert_eq!(route.spec.static_routes[0].response_mode, Some(ResponseMode::WhenUnavailable));
    assert!(route.spec.without_effect().is_empty());

    let json = serde_json::to_value(&route).unwrap();
    assert_eq!(json["spec"]["coldStart"]["placeholder"]["response"]["bodyFromConfigMap"]["key"], "waiting.html");
    assert_eq!(json["spec"]["scalingMetric"]["requestRate"]["granularity"], "10s");
    assert_eq!(serde_json::from_value::<InterceptorRoute>(json).unwrap(), route);
}

#[test]
fn a_route_becomes_the_workload_it_describes() {
    let workload = read(WHOLE).workload().unwrap();
    let header = |name: &str, value: Option<&str>| HeaderRule { name: name.into(), value: value.map(Into::into) };
    assert_eq!(
        workload,
        Workload {
            id: WorkloadId::new("store", "shop"),
            kind: Kind::InterceptorRoute,
            rules: vec![
                Rule {
                    hosts: vec!["shop.example.com".into(), "*.shop.example.com".into()],
                    paths: vec!["/api".into(), "/v2".into()],
                    headers: vec![header("x-tenant", Some("Blue")), header("x-beta", None)],
                },
                Rule { hosts: vec!["*".into()], paths: vec!["/".into()], headers: vec![] },
            ],
            target: Backend { service: "shop".into(), port: Port::Number(8080) },
            scaling: Scaling {
                concurrency_target: Some(20),
                rate_target: Some(50),
                concurrency_window: Duration::from_secs(30),
                rate_window: Duration::from_secs(120),
                min_replicas: None,
                max_replicas: None,
            },
            provider: "aws".into(),
            timeouts: Timeouts {
                readiness: Some(Duration::from_secs(90)),
                request: Some(Duration::ZERO),
                response_header: Some(Duration::from_millis(500)),
                ..Timeouts::default()
            },
            cold_start: resources::ColdStart {
                fallback: Some(Backend { service: "waiting-room".into(), port: Port::Name("http".into()) }),
                placeholder: Some(FixedResponse {
                    status: 503,
                    headers: vec![("content-type".into(), "text/html".into())],
                    body: FixedBody::ConfigMap(ConfigMapBody {
                        name: "pages".into(),
                        key: Some("waiting.html".into()),
                        texts: None,
                    }),
                }),
                max_pending: Some(100),
                overflow: Overflow::Placeholder,
            },
            static_routes: vec![resources::StaticRoute {
                rules: vec![Rule { hosts: vec!["*".into()], paths: vec!["/healthz".into()], headers: vec![] }],
                response: FixedResponse { status: 200, headers: vec![], body: FixedBody::Inline("ok".into()) },
                mode: ResponseMode::WhenUnavailable,
            }],
            concurrency_limit: None,
            min_body_rate: None,
            affinity: None,
            backend_protocol: None,
            created: Some("2026-01-02T03:04:05Z".into()),
        }
    );
}

#[test]
fn a_route_without_rules_matches_nothing_and_has_the_add_ons_defaults() {
    let workload = smallest().workload().unwrap();
    assert!(workload.rules.is_empty());
    assert_eq!(workload.scaling.concurrency_target, Some(100));
    assert_eq!(workload.scaling.rate_target, None);
    assert_eq!(workload.scaling.rate_window, Duration::from_secs(60));
    assert_eq!(workload.scaling.concurrency_window, Duration::from_secs(15));
    assert_eq!(workload.timeouts, Timeouts::default());
}

#[test]
fn a_bad_field_is_named_with_its_value_and_the_remedy() {
    let rate = |target_value, window: Option<&str>, granularity: Option<&str>| ScalingMetric {
        concurrency: None,
        request_rate: Some(RequestRate {
            target_value,
            window: window.map(Into::into),
            granularity: granularity.map(Into::into),
        }),
    };
    type Spoil = Box<dyn Fn(&mut InterceptorRouteSpec)>;
    let cases: Vec<(Spoil, &str)> = vec![
        (
            Box::new(move |spec| spec.scaling_metric = rate(1, None, Some("500ms"))),
            "spec.scalingMetric.requestRate.granularity: \"500ms\" can't be used; write 1s or more",
        ),
        (
            Box::new(move |spec| spec.scaling_metric = rate(1, Some("0s"), None)),
            "spec.scalingMetric.requestRate.window: \"0s\" can't be used; write a window from 1s to 10m",
        ),
        (
            Box::new(move |spec| spec.scaling_metric = rate(1, Some("10m1s"), None)),
            "spec.scalingMetric.requestRate.window: \"10m1s\" can't be used; write a window from 1s to 10m",
        ),
        (
            Box::new(move |spec| spec.scaling_metric = rate(1, Some("60"), None)),
            "spec.scalingMetric.requestRate.window: \"60\" can't be used; write a duration with units",
        ),
        (
            Box::new(move |spec| spec.scaling_metric = rate(0, None, None)),
            "spec.scalingMetric.requestRate.targetValue: 0 can't be used; write a whole number of 1 or more",
        ),
        (
            Box::new(|spec| spec.scaling_metric.concurrency = Some(Concurrency { target_value: -5 })),
            "spec.scalingMetric.concurrency.targetValue: -5 can't be used",
        ),
        (
            Box::new(|spec| spec.scaling_metric = ScalingMetric::default()),
            "spec.scalingMetric: it is missing; name concurrency, requestRate or both",
        ),
        (
            Box::new(|spec| spec.target.port_name = Some("http".into())),
            "spec.target: both port and portName are there; keep exactly one",
        ),
        (Box::new(|spec| spec.target.port = None), "spec.target.port: it is missing"),
        (
            Box::new(|spec| {
                spec.rules = vec![RoutingRule { hosts: vec!["a".into(), "a*".into()], ..Default::default() }]
            }),
            "spec.rules[0].hosts[1]: \"a*\" can't be used; write a host such as example.com",
        ),
        (
            Box::new(|spec| {
                let paths = vec![PathMatch { value: "/a?b".into() }];
                spec.rules = vec![RoutingRule::default(), RoutingRule { paths, ..Default::default() }];
            }),
            "spec.rules[1].paths[0].value: \"/a?b\" can't be used; write a path",
        ),
        (
            Box::new(|spec| {
                let headers = vec![HeaderMatch { name: "X Y".into(), value: None }];
                spec.rules = vec![RoutingRule { headers, ..Default::default() }];
            }),
            "spec.rules[0].headers[0].name: \"X Y\" can't be used; write a header's name",
        ),
        (
            Box::new(|spec| {
                spec.timeouts = Some(RouteTimeouts { readiness: Some("-1s".into()), ..Default::default() });
            }),
            "spec.timeouts.readiness: \"-1s\" can't be used; write a duration",
        ),
    ];
    for (spoil, says) in cases {
        let mut route = smallest();
        spoil(&mut route.spec);
        let error = route.workload().expect_err(says).to_string();
        assert!(error.starts_with(says), "{error}\n{says}");
    }
}

#[test]
fn more_hosts_paths_and_headers_than_a_table_bears_are_refused() {
    let rule = |hosts: u32, paths: u32| RoutingRule {
        hosts: (0..hosts).map(|n| format!("h{n}.test")).collect(),
        paths: (0..paths).map(|n| PathMatch { value: format!("/p{n}") }).collect(),
        headers: Vec::new(),
    };
    let answer = |rule| StaticRoute { rules: vec![rule], response: Response::default(), response_mode: None };
    let mut route = smallest();
    route.spec.rules = vec![rule(100, 100), rule(50, 200)];
    route.spec.static_routes = vec![answer(rule(100, 100)), answer(rule(50, 200))];
    assert!(route.workload().is_ok());
    for at in ["spec.staticRoutes", "spec.rules"] {
        match at {
            "spec.rules" => route.spec.rules.push(rule(1, 1)),
            _ => route.spec.static_routes.push(answer(rule(1, 1))),
        }
        let error = route.workload().expect_err(at).to_string();
        let says = format!("{at}: its 20001 combinations of hosts, paths and headers are too many; keep to 20000");
        assert!(error.starts_with(&says), "{error}");
    }
    // A value stands beside each of them.
    let long = HeaderMatch { name: "x".to_owned(), value: Some("v".repeat(640)) };
    route.spec.rules = vec![RoutingRule { headers: vec![long], ..rule(100, 100) }];
    let error = route.workload().expect_err("headers").to_string();
    assert!(error.starts_with("spec.rules: its 120000 combinations"), "{error}");
}

fn port() -> impl Strategy<Value = (Option<i32>, Option<String>)> {
    prop_oneof![(1..=65_535_i32).prop_map(|port| (Some(port), None)), "[a-z]{1,15}".prop_map(|name| (None, Some(name)))]
}

fn window() -> impl Strategy<Value = Option<String>> {
    of((1..=600_u32).prop_map(|seconds| format!("{}m{}s", seconds / 60, seconds % 60)))
}

prop_compose! {
    fn rule()(
        hosts in vec(prop_oneof!["[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", "\\*\\.[a-z]{1,9}", Just("*".to_owned())], 0..3),
        paths in vec("(/[a-z0-9%-]{1,8}){0,3}/?".prop_filter("not empty", |path| !path.is_empty()), 0..3),
        headers in vec(("[A-Za-z-]{1,9}", of("[!-~]{0,9}")), 0..3),
    ) -> RoutingRule {
        RoutingRule {
            hosts,
            paths: paths.into_iter().map(|value| PathMatch { value }).collect(),
            headers: headers.into_iter().map(|(name, value)| HeaderMatch { name, value }).collect(),
        }
    }
}

prop_compose! {
    /// Routes that are valid.
    pub(in crate::resources) fn route()(
        name in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        namespace in of("[a-z]{1,9}"),
        (port, port_name) in port(),
        rules in vec(rule(), 0..3),
        concurrency in of(1..=i32::MAX),
        (rate, window, granularity) in (1..=i32::MAX, window(), of(Just("1s".to_owned()))),
        timeout in of((0..=9000_u32).prop_map(|ms| format!("{ms}ms"))),
    ) -> InterceptorRoute {
        InterceptorRoute {
            metadata: Metadata { name: Some(name), namespace, ..Metadata::default() },
            spec: InterceptorRouteSpec {
                target: Target { service: "a".into(), port, port_name },
                rules,
                scaling_metric: ScalingMetric {
                    concurrency: concurrency.map(|target_value| Concurrency { target_value }),
                    request_rate: Some(RequestRate { target_value: rate, window, granularity }),
                },
                cold_start: None,
                timeouts: Some(RouteTimeouts { request: timeout, ..RouteTimeouts::default() }),
                static_routes: vec![],
            },
        }
    }
}

proptest! {
    #[test]
    fn a_valid_route_is_the_same_after_yaml_and_json(route in route()) {
        let yaml = serde_saphyr::to_string(&route).unwrap();
        prop_assert_eq!(&serde_saphyr::from_str::<InterceptorRoute>(&yaml).unwrap(), &route);
        let json = serde_json::to_string(&route).unwrap();
        prop_assert_eq!(&serde_json::from_str::<InterceptorRoute>(&json).unwrap(), &route);
        let workload = route.workload().unwrap();
        prop_assert_eq!(workload.rules.len(), route.spec.rules.len());
        prop_assert!(workload.rules.iter().all(|rule| !rule.hosts.is_empty() && !rule.paths.is_empty()));
    }
}
