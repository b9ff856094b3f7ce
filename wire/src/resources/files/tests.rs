use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::resources::{FixedBody, Kind};

/// A route whose target's name tells its version.
pub(super) fn route(name: &str, service: &str) -> String {
    format!(
        "---\napiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         target: {{service: {service}, port: 80}}\n  scalingMetric: {{concurrency: {{targetValue: 5}}}}\n"
    )
}

fn object(name: &str, service: &str) -> String {
    format!(
        "---\napiVersion: http.keda.sh/v1alpha1\nkind: HTTPScaledObject\nmetadata: {{name: {name}}}\nspec:\n  \
         scaleTargetRef: {{service: {service}, port: 80}}\n"
    )
}

/// The route with a port that is none, known by its name all the same.
pub(super) fn bad_route(name: &str) -> String {
    route(name, "x").replace("port: 80", "port: 0")
}

/// Each workload with its target.
pub(super) fn short(workloads: &[Workload]) -> Vec<String> {
    workloads.iter().map(|workload| format!("{}={}", workload.id.name, workload.target.service)).collect()
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The table after reading `path` on top of another table.
fn reread(table: &Table, path: &Path) -> Table {
    table.next(folder::read(path), path)
}

fn whats(loaded: &Loaded) -> Vec<&str> {
    loaded.problems.iter().map(|problem| &*problem.what).collect()
}

#[test]
fn a_folder_is_read_in_the_order_of_names_and_workloads_come_in_theirs() {
    let folder = folder(&[
        ("2.yaml", &route("a", "second")),
        ("1.yml", &(route("c", "first") + &route("b", "first"))),
        (
            "3.json",
            &serde_json::to_string(&serde_saphyr::from_str::<serde_json::Value>(&route("d", "json")).unwrap()).unwrap(),
        ),
        (".hidden.yaml", &route("h", "hidden")),
        ("4.yaml~", &route("e", "editor")),
        ("README.md", "not a route"),
    ]);
    fs::create_dir(folder.path().join("deeper.yaml")).unwrap();
    let loaded = load(folder.path());
    assert_eq!(short(&loaded.workloads), ["a=second", "b=first", "c=first", "d=json"]);
    assert_eq!(loaded.problems, []);
}

#[test]
fn a_mounted_config_map_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2026_11_21");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("routes.yaml"), route("a", "v1")).unwrap();
    symlink("..2026_11_21", folder.path().join("..data")).unwrap();
    symlink("..data/routes.yaml", folder.path().join("routes.yaml")).unwrap();
    let loaded = load(folder.path());
    assert_eq!((short(&loaded.workloads), loaded.problems), (vec!["a=v1".to_owned()], vec![]));
}

#[test]
fn an_interceptor_route_wins_over_an_http_scaled_object_wherever_they_stand() {
    for order in [[route("a", "route"), object("a", "object")], [object("a", "object"), route("a", "route")]] {
        let loaded = parse(&order.concat(), "routes");
        assert_eq!(short(&loaded.workloads), ["a=route"]);
        assert_eq!(loaded.workloads[0].kind, Kind::InterceptorRoute);
        assert_eq!(loaded.problems, []);
    }
}

#[test]
fn of_two_equals_the_first_is_used_and_the_second_is_a_problem_that_names_the_first() {
    let loaded = parse(&(route("a", "first") + &route("a", "second")), "routes.yaml");
    assert_eq!(short(&loaded.workloads), ["a=first"]);
    let [problem] = &loaded.problems[..] else { panic!("{:?}", loaded.problems) };
    assert_eq!(problem.place, "routes.yaml:8");
    assert_eq!(problem.workload, Some("default/a".parse().unwrap()));
    assert!(problem.what.starts_with("routes.yaml:1 has a workload of this name already"), "{}", problem.what);
}

#[test]
fn a_bad_document_is_a_problem_with_file_and_line_and_the_others_are_used() {
    let folder = folder(&[("1.yaml", &(route("a", "a") + &bad_route("b"))), ("2.yaml", &route("c", "c"))]);
    let loaded = load(folder.path());
    assert_eq!(short(&loaded.workloads), ["a=a", "c=c"]);
    let [problem] = &loaded.problems[..] else { panic!("{:?}", loaded.problems) };
    assert_eq!(problem.place, format!("{}:13", folder.path().join("1.yaml").display()));
    assert_eq!(problem.workload, Some("default/b".parse().unwrap()));
    assert_eq!(problem.what, "spec.target.port: 0 can't be used; write a port from 1 to 65535");
}

#[test]
fn what_has_no_effect_or_a_name_that_nobody_knows_is_noted() {
    let text = route("a", "a") + "  coldStart: {fallback: {service: {name: b, port: 80}}}\n";
    let text = text.replace("{targetValue: 5}", "{tragetValue: 5}") + "status: {conditions: []}\n";
    let loaded = parse(&text, "routes.yaml");
    assert_eq!(short(&loaded.workloads), ["a=a"]);
    let fields = "spec.scalingMetric.concurrency.tragetValue";
    assert_eq!(
        loaded.notes,
        [format!("routes.yaml:1: default/a is used, but this version does nothing with {fields}")]
    );
}

#[test]
fn what_is_no_route_file_is_a_problem() {
    let empty = tempfile::tempdir().unwrap();
    assert!(whats(&load(empty.path()))[0].starts_with("it holds no route files"));
    let missing = load(&empty.path().join("routes.yaml"));
    assert!(whats(&missing)[0].starts_with("it can't be read: No such file"), "{missing:?}");
    fs::write(empty.path().join("a.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(whats(&load(empty.path()))[0].contains("valid UTF-8"));
    // A named pipe without a writer would hold a reader for ever.
    assert!(whats(&load(Path::new("/dev/null")))[0].contains("not a regular file"));
}

#[test]
fn a_document_gone_bad_keeps_the_last_good_version_of_its_workload() {
    let folder = folder(&[("1.yaml", &(route("a", "v1") + &route("b", "v1") + &route("c", "v1")))]);
    let file = folder.path().join("1.yaml");
    let before = reread(&Table::default(), folder.path());
    fs::write(&file, bad_route("a") + &route("b", "v2")).unwrap();
    let after = reread(&before, folder.path());
    let loaded = after.clone().loaded();
    assert_eq!(short(&loaded.workloads), ["a=v1", "b=v2"], "c was taken out, a was spoilt");
    assert!(whats(&loaded)[0].ends_with("(the last good version of 1 workload stays in use)"), "{loaded:?}");

    assert_eq!(reread(&after, folder.path()), after, "it stays as long as the document is bad");
    fs::write(&file, route("a", "v3")).unwrap();
    let loaded = reread(&after, folder.path()).loaded();
    assert_eq!((short(&loaded.workloads), loaded.problems), (vec!["a=v3".to_owned()], vec![]));
}

#[test]
fn a_document_that_does_not_say_whose_it_is_keeps_all_of_its_file() {
    let folder = folder(&[("1.yaml", &(route("a", "v1") + &route("b", "v1"))), ("2.yaml", &route("c", "v1"))]);
    let before = reread(&Table::default(), folder.path());
    let text = route("a", "v2") + &route("b", "v2");
    fs::write(folder.path().join("1.yaml"), text.replacen("kind: InterceptorRoute\nmetadata: {name: b}", "kind: [", 1))
        .unwrap();
    fs::remove_file(folder.path().join("2.yaml")).unwrap();
    let loaded = reread(&before, folder.path()).loaded();
    assert_eq!(short(&loaded.workloads), ["a=v2", "b=v1"], "of a file that is gone nothing stays");
    assert_eq!(loaded.problems.len(), 1);
}

#[test]
fn a_workload_kept_from_one_file_gives_way_to_a_good_one_in_another() {
    let folder = folder(&[("1.yaml", &route("a", "v1"))]);
    let before = reread(&Table::default(), folder.path());
    fs::write(folder.path().join("1.yaml"), "{").unwrap();
    fs::write(folder.path().join("2.yaml"), route("a", "v2")).unwrap();
    assert_eq!(short(&reread(&before, folder.path()).loaded().workloads), ["a=v2"]);
}

#[test]
fn a_spoilt_interceptor_route_is_not_replaced_by_its_http_scaled_object() {
    let both = |route: String| folder(&[("1.yaml", &(route + &object("a", "object")))]);
    let good = both(route("a", "route"));
    let before = reread(&Table::default(), good.path());
    fs::write(good.path().join("1.yaml"), bad_route("a") + &object("a", "object")).unwrap();
    assert_eq!(short(&reread(&before, good.path()).loaded().workloads), ["a=route"]);
}

#[test]
fn a_path_that_has_gone_keeps_everything() {
    let folder = folder(&[("1.yaml", &(route("a", "v1") + &route("b", "v1")))]);
    let file = folder.path().join("1.yaml");
    let before = reread(&Table::default(), &file);
    fs::remove_file(&file).unwrap();
    let loaded = reread(&before, &file).loaded();
    assert_eq!(short(&loaded.workloads), ["a=v1", "b=v1"]);
    assert!(whats(&loaded)[0].ends_with("(the last good versions of 2 workloads stay in use)"), "{loaded:?}");
}

#[test]
fn a_file_that_can_not_be_opened_keeps_what_came_from_it() {
    let folder = folder(&[("1.yaml", &route("a", "v1")), ("2.yaml", &route("b", "v1"))]);
    let before = reread(&Table::default(), folder.path());
    // Root reads files of any mode, but follows no link to nowhere.
    fs::remove_file(folder.path().join("1.yaml")).unwrap();
    symlink("nowhere", folder.path().join("1.yaml")).unwrap();
    let loaded = reread(&before, folder.path()).loaded();
    assert_eq!(short(&loaded.workloads), ["a=v1", "b=v1"]);
    assert_eq!(loaded.problems.len(), 1);
}

#[test]
fn ten_thousand_routes_in_one_file_are_all_read() {
    let text: String = (0..10_000).map(|number| route(&format!("w{number}"), "a")).collect();
    let begun = tokio::time::Instant::now();
    let loaded = parse(&text, "routes.yaml");
    let taken = begun.elapsed();
    assert_eq!((loaded.workloads.len(), loaded.problems.len()), (10_000, 0));
    println!("10,000 routes read in {taken:?}");
}

#[test]
fn the_examples_of_the_documentation_are_used_as_they_stand() {
    let pages = [
        include_str!("../../../../docs/cold-starts.md"),
        include_str!("../../../../docs/kubernetes.md"),
        include_str!("../../../../docs/processes.md"),
        include_str!("../../../../docs/routes.md"),
    ];
    for page in pages {
        let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let resources: Vec<_> = blocks.filter(|block| block.starts_with("apiVersion: http.keda.sh/")).collect();
        assert!(!resources.is_empty());
        for resource in resources {
            let loaded = parse(resource, "example");
            assert_eq!((loaded.workloads.len(), loaded.problems, loaded.notes), (1, vec![], vec![]), "{resource}");
        }
    }
}

#[test]
fn the_faults_that_the_documentation_shows_are_said_so() {
    let page = include_str!("../../../../docs/routes.md");
    for (from, to) in [
        ("targetValue: 5}", "targetValue: 5}, requestRate: {granularity: 500ms}"),
        (", port: 80", ""),
        ("service: b", "service: http://shop"),
        ("port: 80", "port: eighty"),
    ] {
        let loaded = parse(&route("b", "b").replace(from, to), "routes.yaml");
        let what = whats(&loaded)[0];
        assert!(page.contains(&format!(": {what}\n")), "{what}");
    }
}

/// A route whose placeholder has its body in this ConfigMap.
fn with_placeholder(name: &str, config_map: &str) -> String {
    let response = format!("{{bodyFromConfigMap: {{name: {config_map}, key: wait.html}}}}");
    route(name, "x") + &format!("  coldStart: {{placeholder: {{response: {response}}}}}\n")
}

fn config_map(name: &str, label: &str, text: &str) -> String {
    let labels = format!("{{http.keda.sh/response-body: {label}}}");
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {labels}}}\ndata: {{wait.html: {text}}}\n"
    )
}

/// The text that a workload's placeholder has.
fn placeholder(loaded: &Loaded, name: &str) -> Option<String> {
    let workload = loaded.workloads.iter().find(|workload| workload.id.name == name).unwrap();
    match &workload.cold_start.placeholder.as_ref().unwrap().body {
        FixedBody::ConfigMap(body) => Some(body.texts.as_ref()?.get("wait.html")?.clone()),
        FixedBody::Inline(text) => Some(text.to_string()),
    }
}

#[test]
fn a_config_map_of_another_file_supplies_a_placeholders_body() {
    let folder = folder(&[
        ("routes.yaml", &with_placeholder("a", "pages")),
        ("pages.yaml", &config_map("pages", "\"true\"", "Loading")),
    ]);
    let loaded = load(folder.path());
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.notes, Vec::<String>::new());
    assert_eq!(placeholder(&loaded, "a").as_deref(), Some("Loading"));
}

#[test]
fn a_body_that_can_not_be_had_is_a_problem_and_the_route_is_used_with_an_empty_one() {
    let text =
        with_placeholder("a", "unlabelled") + &with_placeholder("b", "nowhere") + &with_placeholder("c", "keyless");
    let keyless = config_map("keyless", "\"true\"", "x").replace("wait.html", "other.html");
    let loaded = parse(&(text + &config_map("unlabelled", "\"false\"", "x") + &keyless), "r.yaml");
    assert_eq!(short(&loaded.workloads), ["a=x", "b=x", "c=x"]);
    assert_eq!(
        whats(&loaded),
        [
            "spec.coldStart.placeholder.response.bodyFromConfigMap.name: the ConfigMap default/unlabelled lacks the label \
             http.keda.sh/response-body: \"true\"; add it (the body is empty until then)",
            "spec.coldStart.placeholder.response.bodyFromConfigMap.name: there is no ConfigMap default/nowhere in the route \
             files; add it (the body is empty until then)",
            "spec.coldStart.placeholder.response.bodyFromConfigMap.key: \"wait.html\" is not in the ConfigMap \
             \"keyless\"; add it there (the body is empty until then)",
        ]
    );
    for name in ["a", "b", "c"] {
        assert_eq!(placeholder(&loaded, name), None, "{name}");
    }
}

#[test]
fn a_config_map_in_a_spoilt_file_keeps_its_last_good_version() {
    let folder = folder(&[
        ("routes.yaml", &with_placeholder("a", "pages")),
        ("pages.yaml", &config_map("pages", "\"true\"", "Loading")),
    ]);
    let first = reread(&Table::default(), folder.path());
    fs::write(folder.path().join("pages.yaml"), "{").unwrap();
    let spoilt = reread(&first, folder.path());
    assert_eq!(placeholder(&spoilt.clone().loaded(), "a").as_deref(), Some("Loading"));
    fs::remove_file(folder.path().join("pages.yaml")).unwrap();
    assert_eq!(placeholder(&reread(&spoilt, folder.path()).loaded(), "a"), None);
}

#[test]
fn a_fallback_by_the_name_of_its_port_is_refused_in_a_file() {
    let text = route("a", "a") + "  coldStart: {fallback: {service: {name: b, portName: http}}}\n";
    let loaded = parse(&text, "r.yaml");
    let what = &whats(&loaded)[0];
    assert!(what.starts_with("spec.coldStart.fallback.service.portName: \"http\" can't be used; write port"), "{what}");
}
