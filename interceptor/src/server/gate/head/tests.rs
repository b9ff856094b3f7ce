#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { bytes: 65_536, fields: 100 };

fn of(head: &str) -> Result<Option<Head>, Fault> {
    read(head.as_bytes(), BOUNDS)
}

/// A request with these lines besides its Host.
fn with(fields: &str) -> Result<Option<Head>, Fault> {
    of(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
}

#[test]
fn a_head_says_where_its_message_ends() {
    for (fields, framing, may_upgrade) in [
        ("", Framing::Length(0), false),
        ("content-LENGTH:\t 42 \r\n", Framing::Length(42), false),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked, false),
        ("Upgrade: websocket\r\nX: \u{e9} \t\"\r\nEmpty:\r\n", Framing::Length(0), true),
    ] {
        let head = with(fields).unwrap().unwrap();
        assert_eq!((head.framing, head.may_upgrade), (framing, may_upgrade), "{fields}");
    }
    let more = "\r\n\r\nGET /?q HTTP/1.0\r\n\r\nGET";
    assert_eq!(of(more).unwrap().unwrap().length, more.len() - 3);
}

#[test]
fn a_head_that_is_not_whole_is_waited_for() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    for end in 0..head.len() {
        assert_eq!(of(&head[..end]), Ok(None), "{end}");
    }
}

#[test]
fn usual_targets_are_let_in() {
    for line in [
        "GET /a/b.c;d=e?f=g&h=%20i+j,'k'(l)*!$@:~_- HTTP/1.1",
        "GET /?a[]={b:1|2} HTTP/1.1",
        "GET http://h:81/a?b HTTP/1.1",
        "GET HTTPS://h HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "M-SEARCH //x//y HTTP/1.1",
    ] {
        assert!(matches!(of(&format!("{line}\r\nHost: h\r\n\r\n")), Ok(Some(_))), "{line}");
    }
}

#[test]
fn request_lines_that_parsers_read_differently_are_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/2.0",
        "GET /",
        "GET",
        "G(T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a HTTP/1.1",
        "GET h:80 HTTP/1.1",
        "GET ftp://h/ HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://user@h/ HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
        "GET /\r/ HTTP/1.1",
        "\x16\x03\x01",
    ] {
        assert!(of(&format!("{line}\r\nHost: h\r\n\r\n")).is_err(), "{line:?}");
    }
}

#[test]
fn fields_that_parsers_read_differently_are_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding\x0b: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "X: a\n b\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        " X: a\r\n",
        "X: \0\r\n",
        "X: \x01\r\n",
        "X\r\n",
        ": a\r\n",
        "X\u{e9}: a\r\n",
        "Host: h\r\n",
        "Host: other\r\n",
    ] {
        assert!(with(fields).is_err(), "{fields:?}");
    }
    for (head, is_right) in [
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("GET / HTTP/1.1\r\n\r\n", false),
        ("GET http://h/ HTTP/1.1\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", true),
        ("GET / HTTP/1.1\nHost: a\n\n", false),
    ] {
        assert_eq!(of(head).is_ok(), is_right, "{head:?}");
    }
}

#[test]
fn bounds_are_kept() {
    let bounds = Bounds { bytes: 100, fields: 3 };
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(100));
    assert_eq!(read(long.as_bytes(), bounds), Err(Fault::HeadTooLong));
    assert_eq!(read(&long.as_bytes()[..101], bounds), Err(Fault::HeadTooLong));
    assert_eq!(read(&long.as_bytes()[..100], bounds), Ok(None));
    let fields = |count| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(matches!(read(fields(2).as_bytes(), bounds), Ok(Some(_))));
    assert_eq!(read(fields(3).as_bytes(), bounds), Err(Fault::TooManyFields));
    let target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(65_536));
    assert_eq!(read(target.as_bytes(), Bounds { bytes: 1 << 20, fields: 3 }), Err(Fault::TargetTooLong));
}

proptest! {
    /// What is let in is read by hyper's own parser as one head of the same length.
    #[test]
    fn whatever_is_let_in_others_read_too(
        pieces in proptest::collection::vec(prop_oneof![
            Just(b"GET / HTTP/1.1\r\n".to_vec()), Just(b"POST /a?b HTTP/1.1\r\n".to_vec()), Just(b"Host: h\r\n".to_vec()),
            Just(b"Content-Length: 5\r\n".to_vec()), Just(b"Transfer-Encoding: chunked\r\n".to_vec()), Just(b"\r\n".to_vec()),
            Just(b"X: y \t\r\n".to_vec()), Just(b" ".to_vec()), Just(b"\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..10),
        ], 0..8),
    ) {
        let bytes = pieces.concat();
        if let Ok(Some(head)) = read(&bytes, BOUNDS) {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            let parsed = request.parse(&bytes);
            prop_assert_eq!(parsed, Ok(httparse::Status::Complete(head.length)));
            let lengths = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("content-length")).count();
            let codings = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("transfer-encoding")).count();
            prop_assert!(lengths + codings <= 1);
        }
    }
}
