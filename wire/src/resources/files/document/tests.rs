use proptest::prelude::*;

use super::*;

/// The routes alone.
fn read(text: &str, format: Format) -> Vec<Result<Good, Bad>> {
    super::read(text, format).routes
}

fn route(name: &str) -> String {
    format!(
        "apiVersion: http.keda.sh/v1beta1\n\
         kind: InterceptorRoute\n\
         metadata:\n  name: {name}\n\
         spec:\n  target:\n    service: {name}\n    port: 80\n  rules:\n    - hosts: [{name}.localhost]\n\
         \x20 scalingMetric:\n    concurrency:\n      targetValue: 5\n"
    )
}

/// What was read of each document, in short: a workload's name, or what is wrong, with the line.
fn short(text: &str) -> Vec<String> {
    let one = |document: &Result<Good, Bad>| match document {
        Ok(good) => format!("{}: {}", good.line, good.workload.id),
        Err(bad) => format!("{}: {}", bad.line, bad.what),
    };
    read(text, Format::Yaml).iter().map(one).collect()
}

#[test]
fn a_file_has_several_documents_and_each_knows_its_line() {
    let text = format!("# routes\n---\n{}---\n# nothing\n---\n{}...\n---\n{}", route("a"), route("b"), route("c"));
    assert_eq!(short(&text), ["2: default/a", "18: default/b", "33: default/c"]);
    assert_eq!(short(&text.replace('\n', "\r\n")), ["2: default/a", "18: default/b", "33: default/c"]);
    assert_eq!(short(&format!("\u{feff}{}", route("a"))), ["1: default/a"]);
    assert_eq!(short(&format!("%YAML 1.2\n---\n{}", route("a"))), ["2: default/a"]);
    for empty in ["", "\n", "---\n", "# x\n---\n---\n", "null\n", "---\n...\n"] {
        assert!(short(empty).is_empty(), "{empty:?}");
    }
}

#[test]
fn a_bad_document_takes_no_other_with_it() {
    let text = format!("{}---\na: [\n---\n{}---\nb: 1\nb: 2\n---\n{}", route("a"), route("b"), route("c"));
    let read = short(&text);
    assert_eq!(read.len(), 5, "{read:?}");
    assert_eq!([&*read[0], &read[2], &read[4]], ["1: default/a", "16: default/b", "33: default/c"]);
    assert_eq!(read[1], "15: it is no YAML: unclosed bracket '[' at line 15, column 4");
    assert!(read[3].starts_with("32: it is no YAML: ") && read[3].contains("line 32"), "{read:?}");
}

#[test]
fn a_fault_is_placed_on_the_line_of_its_field() {
    let spoilt = |from: &str, to: &str| {
        let text = format!("---\n{}---\n{}", route("a"), route("b").replace(from, to));
        let [good, bad] = &short(&text)[..] else { panic!("two documents") };
        assert_eq!(good, "1: default/a");
        bad.clone()
    };
    for (from, to, says) in [
        ("port: 80", "port: eighty", "23: spec.target.port: invalid type: string \"eighty\", expected i32"),
        ("port: 80", "port: 0", "23: spec.target.port: 0 can't be used; write a port from 1 to 65535"),
        ("port: 80", "portName: web", "23: spec.target.portName: \"web\" can't be used; write port with a number"),
        ("targetValue: 5", "targetValue: 0", "28: spec.scalingMetric.concurrency.targetValue: 0 can't be used"),
        ("    service: b\n", "", "21: spec.target: missing field `service`"),
        ("b.localhost", "'*b.localhost'", "25: spec.rules[0].hosts[0]: \"*b.localhost\" can't be used"),
        ("name: b", "name: B", "19: metadata.name: \"B\" can't be used"),
        ("v1beta1", "v1", "16: apiVersion: \"http.keda.sh/v1\" can't be used; write http.keda.sh/v1beta1"),
        ("kind: InterceptorRoute", "kind: Route", "17: kind: \"Route\" can't be used; write InterceptorRoute"),
        ("kind: InterceptorRoute\n", "", "16: kind: it is missing; write apiVersion: http.keda.sh/v1beta1"),
    ] {
        let bad = spoilt(from, to);
        assert!(bad.starts_with(says), "{bad}\n{says}");
    }
}

#[test]
fn a_syntax_error_is_placed_in_the_file() {
    let text = format!("{}---\napiVersion: x\nkind: [a\nspec: {{}}\n", route("a"));
    let read = read(&text, Format::Yaml);
    let Err(bad) = &read[1] else { panic!("{read:?}") };
    assert!((15..=17).contains(&bad.line), "{bad:?}");
    assert_eq!(bad.whose, None);
}

#[test]
fn a_bad_document_is_known_by_its_names_where_they_can_be_read() {
    let read = read(&route("a").replace("port: 80", "port: 0"), Format::Yaml);
    let Err(bad) = &read[0] else { panic!("{read:?}") };
    assert_eq!(bad.whose, Some((WorkloadId::new("default", "a"), Kind::InterceptorRoute)));
}

#[test]
fn other_kinds_are_left_alone() {
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n";
    assert_eq!(short(&format!("{other}---\n{}", route("a"))), ["4: default/a"]);
}

#[test]
fn what_is_no_resource_is_named() {
    for text in ["just text\n", "- a\n- b\n", "a: 1\n", "42\n"] {
        assert_eq!(short(text).len(), 1, "{text:?}");
        assert!(short(text)[0].contains("kind: it is missing"), "{text:?}");
    }
}

#[test]
fn a_list_is_read_item_by_item() {
    let indented = |name: &str| format!("  - {}", route(name).trim_end().replace('\n', "\n    "));
    let good = format!("apiVersion: v1\nkind: List\nitems:\n{}\n{}\n", indented("a"), indented("b"));
    assert_eq!(short(&good), ["4: default/a", "17: default/b"]);
    let bad = short(&good.replace("service: b", "service: 'b c'"));
    assert_eq!(bad[0], "4: default/a");
    assert!(bad[1].starts_with("23: items[1].spec.target.service: \"b c\" can't be used"), "{bad:?}");
}

#[test]
fn json_is_read_too() {
    let text = serde_json::to_string_pretty(&yaml(&route("a"), 1).unwrap()).unwrap();
    let good = read(&text, Format::Json);
    assert_eq!(good[0].as_ref().unwrap().workload.id, WorkloadId::new("default", "a"));
    let bad = read(&text.replace("80", "-1"), Format::Json);
    let bad = bad[0].as_ref().unwrap_err();
    assert!(bad.what.starts_with("spec.target.port: -1 can't be used"), "{bad:?}");
    assert!(bad.line > 1, "{bad:?}");
    let cut = &read(&text[..text.len() / 2], Format::Json)[0];
    assert!(cut.as_ref().unwrap_err().what.contains("it is no JSON"));
}

#[test]
fn a_document_nested_without_end_is_refused_not_a_stack_overflow() {
    let deep = "[".repeat(100_000);
    assert!(short(&deep)[0].contains("it is no YAML"));
    assert!(read(&deep, Format::Json)[0].is_err());
    let lists = "{apiVersion: v1, kind: List, items: [".repeat(10_000);
    assert!(short(&lists)[0].contains("it is no YAML"));
    // Nine levels of nine references each: half a gigabyte, were they followed.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let references = vec![format!("*a{}", level - 1); 9].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{references}]\n"));
    }
    assert_eq!(short(&bomb).len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_at_all_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        read(&text, Format::Yaml);
        read(&text, Format::Json);
    }

    #[test]
    fn no_text_of_yamls_own_marks_panics(text in "[-:.,*&!|>%@\\[\\]{}#?'\" \n\ta0~<]{0,120}") {
        read(&text, Format::Yaml);
    }

    #[test]
    fn a_file_cut_anywhere_never_panics_and_faults_stay_inside_it(at in 0_usize..600, until in 0_usize..600) {
        let whole = format!("{}---\n{}---\n{}", route("a"), route("b"), route("c"));
        let (from, to) = (at.min(until).min(whole.len()), at.max(until).min(whole.len()));
        let cut = format!("{}{}", &whole[..from], &whole[to..]);
        let lines = cut.lines().count() as u64 + 1;
        for document in read(&cut, Format::Yaml) {
            let line = match document {
                Ok(good) => good.line,
                Err(bad) => bad.line,
            };
            prop_assert!((1..=lines).contains(&line), "line {} of {}", line, lines);
        }
    }
}
