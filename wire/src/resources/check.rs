//! Checks of single values that both kinds share. Each says which field, which value, and what to write instead.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::{Backend, HeaderRule, Invalid, Port, Rule, WINDOW_BORDERS};
use crate::go_duration;

/// DNS' longest name and label, in bytes (RFC 1035).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;
/// The most segments of a path. What looks paths up goes as deep into its stack.
const SEGMENTS_MAX: usize = 512;
/// So many bytes of a path weigh as much as a combination.
const PATH_BYTES: usize = 1024;
/// The most combinations of a host, a path and what is asked of headers in the rules of a resource; see [`combinations`].
const COMBINATIONS_MAX: usize = 20_000;
/// So many bytes of a header's value weigh as much as a combination.
const VALUE_BYTES: usize = 64;

/// A duration, where there is one.
pub(super) fn duration(field: &str, text: Option<&str>) -> Result<Option<Duration>, Invalid> {
    text.map(|text| {
        go_duration::parse(text)
            .map_err(|_| Invalid::value(field, text, "write a duration with units, as in 500ms, 30s or 1m30s"))
    })
    .transpose()
}

/// A window within [`WINDOW_BORDERS`], where there is one.
pub(super) fn window(field: &str, text: Option<&str>) -> Result<Option<Duration>, Invalid> {
    let window = duration(field, text)?;
    match window {
        Some(window) if !WINDOW_BORDERS.contains(&window) => {
            Err(Invalid::value(field, text.unwrap_or_default(), "write a window from 1s to 10m"))
        }
        _ => Ok(window),
    }
}

/// A rate's granularity. It changes nothing here, since rates are per second at any granularity, but one under a
/// second is a mistake that the author should hear of.
pub(super) fn granularity(field: &str, text: Option<&str>) -> Result<(), Invalid> {
    match duration(field, text)? {
        Some(granularity) if granularity < Duration::from_secs(1) => {
            Err(Invalid::value(field, text.unwrap_or_default(), "write 1s or more"))
        }
        _ => Ok(()),
    }
}

/// A target value.
pub(super) fn target_value(field: &str, value: i32) -> Result<u32, Invalid> {
    match u32::try_from(value) {
        Ok(target) if target >= 1 => Ok(target),
        _ => Err(Invalid::value(field, &value, "write a whole number of 1 or more")),
    }
}

/// A number of replicas, where there is one.
pub(super) fn replicas(field: &str, value: Option<i32>) -> Result<Option<u32>, Invalid> {
    value
        .map(|value| u32::try_from(value).map_err(|_| Invalid::value(field, &value, "write 0 or a positive number")))
        .transpose()
}

/// A service with its port. `at` is the path of the object that has all three, `name` the key of the service in it.
pub(super) fn backend(
    at: &str,
    name: &str,
    service: &str,
    port: Option<i32>,
    port_name: Option<&str>,
) -> Result<Backend, Invalid> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let is_name = !service.is_empty() && service.len() <= NAME_MAX && service.bytes().all(legal);
    if !is_name && service.parse::<IpAddr>().is_err() {
        let remedy = "write a host name or an address alone; the port has a field of its own";
        return Err(Invalid::value(format!("{at}.{name}"), service, remedy));
    }
    let port = match (port, port_name) {
        (Some(_), Some(_)) => return Err(Invalid::both(at, "port", "portName")),
        (None, None) => {
            return Err(Invalid::missing(format!("{at}.port"), "write port: 80, or portName with the port's name"));
        }
        (Some(number), None) => match u16::try_from(number) {
            Ok(number) if number >= 1 => Port::Number(number),
            _ => return Err(Invalid::value(format!("{at}.port"), &number, "write a port from 1 to 65535")),
        },
        (None, Some("")) => return Err(Invalid::value(format!("{at}.portName"), "", "write the port's name")),
        (None, Some(name)) => Port::Name(name.to_owned()),
    };
    Ok(Backend { service: service.to_owned(), port })
}

/// Hosts in lower case; a port after a host is dropped, since requests are matched without theirs. No host at all is every host.
pub(super) fn hosts(field: &str, hosts: &[String]) -> Result<Vec<String>, Invalid> {
    if hosts.is_empty() {
        return Ok(vec!["*".to_owned()]);
    }
    hosts.iter().enumerate().map(|(index, text)| host(&format!("{field}[{index}]"), text)).collect()
}

fn host(field: &str, text: &str) -> Result<String, Invalid> {
    let host = without_port(text).to_ascii_lowercase();
    let rest = host.strip_prefix("*.").unwrap_or(&host);
    let address = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    if host == "*" || is_domain(rest) || address().is_some() {
        return Ok(host);
    }
    let remedy = if text.is_ascii() {
        "write a host such as example.com, a wildcard such as *.example.com, or * for every host"
    } else {
        "write the host in its ASCII form, which begins with xn--"
    };
    Err(Invalid::value(field, text, remedy))
}

/// A host without the port after it.
fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            // An address such as ::1 has colons of its own; only a bracketed one can be followed by a port.
            if host.contains(':') && !host.ends_with(']') { text } else { host }
        }
        _ => text,
    }
}

/// Names of hosts, and IPv4 addresses among them. Underscores are in use, whatever the standard says.
fn is_domain(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(legal);
    text.len() <= NAME_MAX && text.split('.').all(label)
}

/// Path prefixes with a slash at the start and none at the end. No prefix at all is every path.
pub(super) fn paths<'a>(
    field: impl Fn(usize) -> String,
    paths: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<String>, Invalid> {
    if paths.len() == 0 {
        return Ok(vec!["/".to_owned()]);
    }
    paths.enumerate().map(|(index, text)| path(field(index), text)).collect()
}

fn path(field: String, text: &str) -> Result<String, Invalid> {
    // What a request's path can't hold (RFC 3986) would never match.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#') {
        let remedy = "write a path such as /api, percent-encoded, without query";
        return Err(Invalid::value(field, text, remedy));
    }
    let path = text.trim_matches('/');
    let segments = path.split('/').count();
    if segments > SEGMENTS_MAX {
        let what = format!("its {segments} segments are too many");
        return Err(Invalid { field, what, remedy: format!("keep to {SEGMENTS_MAX}: a prefix suffices") });
    }
    Ok(format!("/{path}"))
}

/// That rules have no more combinations than a table of routes bears. It has each host of a rule with each of its paths, and what is asked
/// of headers with each of those: of ten thousand hosts and as many paths, a small resource, it would take more memory than there is.
pub(super) fn combinations<'a>(field: &str, rules: impl Iterator<Item = &'a Rule>) -> Result<(), Invalid> {
    let of_header = |header: &HeaderRule| 1 + header.value.as_ref().map_or(0, String::len) / VALUE_BYTES;
    let of_rule = |rule: &Rule| {
        let headers: usize = rule.headers.iter().map(of_header).sum();
        let paths: usize = rule.paths.iter().map(|path| path.len().div_ceil(PATH_BYTES)).sum();
        rule.hosts.len().saturating_mul(paths).saturating_mul(1 + headers)
    };
    let count = rules.map(of_rule).fold(0, usize::saturating_add);
    if count <= COMBINATIONS_MAX {
        return Ok(());
    }
    Err(Invalid {
        field: field.to_owned(),
        what: format!("its {count} combinations of hosts, paths and headers are too many"),
        remedy: format!("keep to {COMBINATIONS_MAX}, by wildcard hosts, shorter paths, or more resources"),
    })
}

/// A rule on a header.
pub(super) fn header(field: &str, name: &str, value: Option<&str>) -> Result<HeaderRule, Invalid> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Invalid::value(format!("{field}.name"), name, "write a header's name such as X-Tenant"));
    }
    if let Some(value) = value
        && (value.chars().any(char::is_control) || value.trim() != value)
    {
        let remedy = "write it without control characters and without spaces at its ends, which no request has";
        return Err(Invalid::value(format!("{field}.value"), value, remedy));
    }
    Ok(HeaderRule { name: name.to_ascii_lowercase(), value: value.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_and_port() {
        let read = |text: &str| host("spec.hosts[0]", text);
        for (text, is) in [
            ("Example.COM", "example.com"),
            ("example.com:8080", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("*", "*"),
            ("*:80", "*"),
            ("my_service", "my_service"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(is));
        }
        for bad in
            ["", "*.", "*x.com", "a.*.com", "a..com", "a.com.", "http://a.com", "a.com/x", "a b", "::1", "[x]", "ä.de"]
        {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.starts_with(&format!("spec.hosts[0]: {bad:?} ")), "{error}");
        }
    }

    #[test]
    fn a_path_keeps_one_slash_at_its_start_and_none_at_its_end() {
        for (text, is) in [("/", "/"), ("//", "/"), ("api", "/api"), ("/api/", "/api"), ("/a/b%20c", "/a/b%20c")] {
            assert_eq!(path("p".to_owned(), text).as_deref(), Ok(is));
        }
        for bad in ["", "/a b", "/a?b", "/a#b", "/ä", "/a\n"] {
            assert!(path("p".to_owned(), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_no_deeper_than_a_stack_bears() {
        assert!(path("p".to_owned(), &"/a".repeat(512)).is_ok());
        // It is the depth that does harm, and not the length.
        assert!(path("p".to_owned(), &"a".repeat(5_000)).is_ok());
        let error = path("p".to_owned(), &"/a".repeat(5_000)).expect_err("too deep").to_string();
        assert!(error.starts_with("p: its 5000 segments are too many; keep to 512"), "{error}");
    }

    #[test]
    fn a_service_is_a_name_or_an_address_and_has_one_port() {
        let read = |service: &str, port, name| backend("spec.target", "service", service, port, name);
        assert_eq!(read("hello", Some(80), None).map(|b| b.port), Ok(Port::Number(80)));
        assert_eq!(read("::1", None, Some("web")).map(|b| b.port), Ok(Port::Name("web".to_owned())));
        for (bad, field) in [
            (read("", Some(80), None), "spec.target.service: \"\""),
            (read("http://hello", Some(80), None), "spec.target.service: \"http://hello\""),
            (read("hello:80", Some(80), None), "spec.target.service: \"hello:80\""),
            (read("hello", None, None), "spec.target.port: it is missing"),
            (read("hello", Some(0), None), "spec.target.port: 0 "),
            (read("hello", Some(65_536), None), "spec.target.port: 65536 "),
            (read("hello", Some(-1), None), "spec.target.port: -1 "),
            (read("hello", None, Some("")), "spec.target.portName: \"\""),
            (read("hello", Some(80), Some("web")), "spec.target: both port and portName"),
        ] {
            let error = bad.expect_err(field).to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_header_rule_is_one_that_a_request_can_meet() {
        assert_eq!(
            header("h", "X-Tenant", Some("A b")),
            Ok(HeaderRule { name: "x-tenant".to_owned(), value: Some("A b".to_owned()) })
        );
        assert_eq!(header("h", "x", None).map(|rule| rule.value), Ok(None));
        for (name, value) in [("", None), ("a b", None), ("a:", None), ("a", Some(" b")), ("a", Some("b\r\nc"))] {
            assert!(header("h", name, value).is_err(), "{name:?}: {value:?}");
        }
    }
}
