//! What a proxy changes in the heads of requests and responses (RFC 9110, section 7.6).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Uri, Version};
use http_body::Body;

use super::Refusal;
use super::forwarded::{self, Peer};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HOP_BY_HOP_FIELDS: usize = 8;

/// Meaningful for one connection only, besides what `Connection` names.
static HOP_BY_HOP: [HeaderName; HOP_BY_HOP_FIELDS] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// Which authority a request is for: its target's if it has one (HTTP/2, absolute form), else the `Host` field's. A
/// request of HTTP/1.0 may name none.
///
/// # Errors
/// Where the request does not name exactly one.
pub(crate) fn authority<B>(request: &Request<B>) -> Result<&str, Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if let Some(authority) = request.uri().authority() {
        let authority = authority.as_str();
        if authority.contains('@') {
            return Err(Refusal::BadRequest("there is a user before the host"));
        }
        // Over HTTP/1 the target rules (RFC 9112, section 3.2.2); over HTTP/2 the two may not differ (RFC 9113, section 8.3.1).
        let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if request.version() == Version::HTTP_2 && (second.is_some() || !first.is_none_or(same)) {
            return Err(Refusal::BadRequest("the Host field differs from the authority"));
        }
        return Ok(authority);
    }
    match (first, second) {
        (Some(host), None) => host.to_str().map_err(|_| Refusal::BadRequest("the Host field has strange characters")),
        (None, _) if request.version() < Version::HTTP_11 => Ok(""),
        (None, _) => Err(Refusal::BadRequest("the Host field is missing")),
        (Some(_), Some(_)) => Err(Refusal::BadRequest("there is more than one Host field")),
    }
}

/// The protocol that a request wants to change to, where it asks in the way of HTTP/1.1.
pub(crate) fn wanted_upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let wanted = request.headers().get(UPGRADE)?;
    let asked = request.version() == Version::HTTP_11
        && connection_options(request.headers()).any(|o| o.eq_ignore_ascii_case("upgrade"));
    // h2c by upgrade is obsolete (RFC 9113, section 3.1), and not the endpoint's to decide: requests inside it would be nobody's.
    let tokens = wanted.to_str().unwrap_or("h2c").split(',').map(str::trim);
    (asked && !tokens.into_iter().any(|token| token.eq_ignore_ascii_case("h2c"))).then(|| wanted.clone())
}

/// Makes a client's request one of ours: to be sent to an endpoint over HTTP/1.1.
pub(crate) fn to_endpoint<B: Body>(request: &mut Request<B>, client: Peer<'_>, upgrade: Option<HeaderValue>) {
    if request.uri().authority().is_some() {
        let authority = authority(request).ok().and_then(|authority| HeaderValue::from_str(authority).ok());
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        authority.map(|authority| request.headers_mut().insert(HOST, authority));
    }
    let before = std::mem::replace(request.version_mut(), Version::HTTP_11);
    let length_unknown = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    if before == Version::HTTP_2 {
        join_cookies(headers);
    }
    let trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let present = strip(headers);
    if present.expect {
        // Met here: hyper asks the client to go on when the body is first read, which is once there is an endpoint for it.
        headers.remove(EXPECT);
    }
    if length_unknown {
        // It goes on in chunks; two ways to say where it ends would be one too many.
        headers.remove(CONTENT_LENGTH);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    forwarded::tell(headers, client, present.forwarded);
}

/// Over HTTP/2 a cookie may come in crumbs; over HTTP/1 it is one field (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

/// Makes an endpoint's response one of ours.
pub(crate) fn to_client<B: Body>(response: &mut http::Response<B>) {
    let length_unknown = !response.body().is_end_stream() && response.body().size_hint().exact().is_none();
    let headers = response.headers_mut();
    strip(headers);
    if length_unknown {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Which fields with a part in forwarding a head had.
#[derive(Debug, Default)]
struct Present {
    expect: bool,
    /// At least one of `X-Forwarded-...` and `Forwarded`.
    forwarded: bool,
}

/// Removes what is meant for one connection only.
///
/// Few heads have any of it. Looking at each name once, by its length first, is a third of the cost of asking for each field.
fn strip(headers: &mut HeaderMap) -> Present {
    let mut present = Present::default();
    let mut found = [false; HOP_BY_HOP_FIELDS];
    for name in headers.keys() {
        match name.as_str().len() {
            2 | 7 | 10 | 16 | 17 | 18 | 19 => {
                if let Some(index) = HOP_BY_HOP.iter().position(|hop_by_hop| hop_by_hop == name) {
                    found[index] = true;
                } else {
                    present.forwarded |= [&forwarded::BY_HOST, &forwarded::PROTO, &forwarded::PORT].contains(&name);
                }
            }
            15 => present.forwarded |= *name == forwarded::FOR,
            9 => present.forwarded |= *name == FORWARDED,
            6 => present.expect |= *name == EXPECT,
            _ => {}
        }
    }
    if found[0] {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter(|option| !option.eq_ignore_ascii_case("close") && !option.eq_ignore_ascii_case("keep-alive"))
            .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
            // A request must name its host and where it ends, whatever the client wants to hide.
            .filter(|name| name != HOST && name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (name, _) in HOP_BY_HOP.iter().zip(found).filter(|(_, found)| *found) {
        headers.remove(name);
    }
    present
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use proptest::prelude::*;

    use super::*;

    type Nothing = Empty<bytes::Bytes>;

    fn request(head: http::request::Builder) -> Request<Nothing> {
        head.body(Nothing::new()).unwrap()
    }

    fn sent(mut request: Request<Nothing>) -> Request<Nothing> {
        let upgrade = wanted_upgrade(&request);
        let address = HeaderValue::from_static("192.0.2.1");
        let client = Peer { address: &address, scheme: "http", is_trusted: false, forwarded: false };
        to_endpoint(&mut request, client, upgrade);
        request
    }

    #[test]
    fn what_is_meant_for_one_connection_does_not_go_on() {
        let head = Request::builder().uri("/a").header("host", "h").header("connection", "close, X-Mine, host");
        let head = head.header("x-mine", "1").header("keep-alive", "timeout=5").header("proxy-authorization", "secret");
        let sent =
            sent(request(head.header("te", "gzip").header("transfer-encoding", "chunked").header("upgrade", "x")));
        let mut names: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"]);
    }

    #[test]
    fn every_field_meant_for_one_connection_is_looked_for() {
        for name in &HOP_BY_HOP {
            let mut headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
            strip(&mut headers);
            assert!(headers.is_empty(), "{name}");
        }
    }

    #[test]
    fn trailers_may_be_asked_for() {
        let sent = sent(request(Request::builder().header("host", "h").header("te", "trailers")));
        assert_eq!(sent.headers()["te"], "trailers");
    }

    #[test]
    fn an_upgrade_is_asked_for_again() {
        let head = Request::builder()
            .header("host", "h")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket");
        let sent = sent(request(head));
        assert_eq!(sent.headers()["connection"], "upgrade");
        assert_eq!(sent.headers()["upgrade"], "websocket");
    }

    #[test]
    fn an_upgrade_to_h2c_is_ignored() {
        for protocol in ["h2c", "websocket, H2C"] {
            let head =
                Request::builder().header("host", "h").header("connection", "Upgrade").header("upgrade", protocol);
            assert!(!sent(request(head)).headers().contains_key("upgrade"));
        }
    }

    #[test]
    fn the_target_rules_over_the_host_field() {
        let sent = sent(request(Request::builder().uri("http://real.example:81/a?b").header("host", "other")));
        assert_eq!(sent.headers()["host"], "real.example:81");
        assert_eq!(*sent.uri(), "/a?b");
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        assert!(authority(&request(Request::builder())).is_err());
        assert!(authority(&request(Request::builder().uri("http://user@a/"))).is_err());
        let http2 = |host| request(Request::builder().version(Version::HTTP_2).uri("http://A:1/").header("host", host));
        assert_eq!(authority(&http2("a:1")).ok(), Some("A:1"));
        assert!(authority(&http2("b")).is_err());
        assert!(authority(&request(Request::builder().header("host", "a").header("host", "b"))).is_err());
        assert_eq!(authority(&request(Request::builder().version(Version::HTTP_10))).ok(), Some(""));
    }

    /// Fields that mean something to a proxy, with values that do and values that do not.
    fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let name = prop_oneof![
            prop::sample::select(vec![
                "host",
                "connection",
                "upgrade",
                "te",
                "transfer-encoding",
                "content-length",
                "cookie",
                "expect",
                "keep-alive",
                "proxy-connection",
                "proxy-authorization",
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-forwarded-port",
                "traceparent",
                "x-mine",
            ])
            .prop_map(str::to_owned),
            "[a-z-]{1,12}",
        ];
        let value = prop_oneof![
            prop::sample::select(vec![
                "close",
                "upgrade, x-mine",
                "x-forwarded-for, host, content-length",
                "websocket",
                "h2c",
                "trailers",
                "a, b",
                "[::1]:80",
                "for=\"[::1]\";proto=https",
                "443",
                "plimsoll-affinity=0123456789abcdef; a=1",
                ";;=;",
                "100-continue",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..60),
        ];
        prop::collection::vec((name, value), 0..16)
    }

    proptest! {
        /// No field that a client can think of makes it panic, reach beyond this connection, or speak for another client.
        #[test]
        fn whatever_a_client_sends_only_what_may_goes_on(
            fields in fields(), http2 in any::<bool>(), is_trusted in any::<bool>(), forwarded in any::<bool>(),
        ) {
            let mut request = request(Request::builder().uri("http://app.test/a?b"));
            *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
            for (name, value) in &fields {
                let value = HeaderValue::from_bytes(value).unwrap();
                request.headers_mut().append(HeaderName::try_from(name.as_str()).unwrap(), value);
            }
            if authority(&request).is_err() {
                // It has been refused before.
                return Ok(());
            }
            let came = request.headers().len();
            let upgrade = wanted_upgrade(&request);
            let address = HeaderValue::from_static("192.0.2.1");
            to_endpoint(&mut request, Peer { address: &address, scheme: "http", is_trusted, forwarded }, upgrade.clone());

            let sent = request.headers();
            prop_assert_eq!(sent.get_all(HOST).iter().collect::<Vec<_>>(), ["app.test"]);
            for name in HOP_BY_HOP.iter().chain([&EXPECT]) {
                let expected = match name.as_str() {
                    "connection" => upgrade.as_ref().map(|_| HeaderValue::from_static("upgrade")),
                    "upgrade" => upgrade.clone(),
                    "te" => sent.get(TE).filter(|te| *te == "trailers").cloned(),
                    _ => None,
                };
                prop_assert_eq!(sent.get(name), expected.as_ref(), "{}", name);
            }
            let chain = sent.get_all("x-forwarded-for").iter().collect::<Vec<_>>();
            prop_assert_eq!(chain.len(), 1);
            let by_us = if is_trusted { chain[0].as_bytes().ends_with(b"192.0.2.1") } else { *chain[0] == "192.0.2.1" };
            prop_assert!(by_us, "{:?}", chain);
            prop_assert!(sent.len() <= came + 7, "{} fields have become {}", came, sent.len());
        }
    }
}
