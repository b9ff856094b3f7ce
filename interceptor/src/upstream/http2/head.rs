//! The head of a request as HTTP/2 has it.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version, request};

/// The request that `head` is in HTTP/1.1: its `Host` becomes the authority, and what only HTTP/1.1 knows is left out. A
/// protocol can't be changed over HTTP/2, so the endpoint is not asked to: it answers as it does to who does not ask.
///
/// # Errors
/// Where the head names no host that a request target may have.
pub(super) fn to_http2(head: &request::Parts, secure: bool) -> Result<Request<()>, http::Error> {
    let host = head.headers.get(HOST).map(|host| host.as_bytes()).unwrap_or_default();
    let mut target = http::uri::Parts::default();
    target.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    // HTTP/1.0 need not name a host; every request of HTTP/2 does.
    target.authority =
        Some(if host.is_empty() { Authority::from_static("localhost") } else { Authority::try_from(host)? });
    target.path_and_query = Some(head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(target)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = without(&head.headers);
    Ok(request)
}

fn without(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [HOST, CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_becomes_the_authority_and_an_upgrade_is_not_asked_for() {
        let head =
            Request::get("/a?b").header("host", "x.test:81").header("upgrade", "y").header("connection", "upgrade");
        let (head, ()) = head.header("te", "trailers").body(()).unwrap().into_parts();
        let request = to_http2(&head, true).unwrap();
        assert_eq!(*request.uri(), "https://x.test:81/a?b");
        let names: Vec<_> = request.headers().keys().collect();
        assert_eq!(names, ["te"]);
    }

    #[test]
    fn a_host_that_no_target_may_have_is_refused() {
        let (head, ()) = Request::get("/").header("host", "a b").body(()).unwrap().into_parts();
        to_http2(&head, false).unwrap_err();
    }
}
