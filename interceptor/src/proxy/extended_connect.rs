//! WebSocket over HTTP/2 (RFC 8441): one stream of a client's connection becomes the socket. To the workload it is the usual
//! change of protocol over HTTP/1.1 (RFC 6455).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;

use super::{Refusal, ResponseBody, headers};
use crate::server::gate;

const WEBSOCKET: &str = "websocket";

/// A request for a WebSocket over HTTP/2 becomes one over HTTP/1.1, any other stays as it is; whether it was one.
///
/// # Errors
/// Where it wants a tunnel to anywhere, or to speak something else.
pub(super) fn take<B>(request: &mut Request<B>, random: impl FnMut() -> u64) -> Result<bool, Refusal> {
    if request.method() != Method::CONNECT {
        return Ok(false);
    }
    match request.extensions().get::<Protocol>() {
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) => {}
        Some(_) => return Err(Refusal::ProtocolUnknown),
        None => return Err(Refusal::Unread(gate::Fault::Connect)),
    }
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    let fields = request.headers_mut();
    headers::join_cookies(fields);
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    fields.insert(SEC_WEBSOCKET_KEY, key(random));
    Ok(true)
}

/// A nonce of 16 bytes, as its opening handshake wants one (RFC 6455, section 4.1). It guards against caches and servers that know nothing
/// of WebSockets, not against anybody who does.
fn key(mut random: impl FnMut() -> u64) -> HeaderValue {
    let nonce = [random().to_be_bytes(), random().to_be_bytes()].concat();
    // An alphabet that a field may have.
    HeaderValue::try_from(BASE64_STANDARD.encode(nonce)).unwrap_or(HeaderValue::from_static(""))
}

/// The response to such a request, as HTTP/2 has it.
pub(super) fn answer(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
            response.headers_mut().remove(name);
        }
        *response.status_mut() = StatusCode::OK;
    } else if response.status().is_success() {
        // Here it would mean that the socket is open.
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(protocol: Option<&'static str>) -> Request<()> {
        let mut request = Request::connect("http://app.test/chat?room=1").version(Version::HTTP_2).body(()).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from_static(protocol));
        }
        request
    }

    #[test]
    fn it_becomes_the_opening_handshake_of_http_1() {
        let mut request = connect(Some("websocket"));
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
        }
        assert!(matches!(take(&mut request, || 7), Ok(true)));
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(request.uri().path_and_query().unwrap(), "/chat?room=1");
        let fields = request.headers();
        assert_eq!(
            (&fields["connection"], &fields["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        assert_eq!(BASE64_STANDARD.decode(&fields["sec-websocket-key"]).unwrap().len(), 16);
        assert_eq!(fields["cookie"], "a=1; b=2");
    }

    #[test]
    fn no_other_tunnel_is_opened() {
        assert!(matches!(take(&mut connect(None), || 7), Err(Refusal::Unread(gate::Fault::Connect))));
        assert!(matches!(take(&mut connect(Some("connect-udp")), || 7), Err(Refusal::ProtocolUnknown)));
        let mut get = Request::get("/").body(()).unwrap();
        assert!(matches!(take(&mut get, || 7), Ok(false)));
        assert!(get.headers().is_empty());
    }
}
