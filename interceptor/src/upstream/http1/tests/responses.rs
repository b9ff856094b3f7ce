//! Responses out of bytes.

use bytes::BytesMut;
use proptest::prelude::*;

use super::oracle::{reads, run};
use super::{framing, read};
use crate::upstream::http1::Malformed;
use crate::upstream::http1::body::Body;
use crate::upstream::http1::head::{MAX_HEAD_BYTES, Reader};

fn body_of(response: &str) -> Result<String, String> {
    let (seen, _) = read(&[response.as_bytes()], false).map_err(|(error, _)| error)?;
    Ok(String::from_utf8(seen.body).unwrap())
}

#[test]
fn a_body_ends_where_its_head_says() {
    for (response, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokrest", "ok"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nokrest", "ok"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\nrest", "ok"),
        ("HTTP/1.1 200 OK\r\n\r\nok until the end", "ok until the end"),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 204 No Content\r\n\r\nrest", ""),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nrest", ""),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "ok",
        ),
    ] {
        assert_eq!(body_of(response).as_deref(), Ok(body), "{response}");
    }
    let (seen, rest) = read(&[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"], true).unwrap();
    assert_eq!((seen.body.len(), rest, seen.headers[0].1.as_slice()), (0, 0, &b"5"[..]));
}

#[test]
fn two_readers_can_not_disagree_about_the_end() {
    use Malformed::{ContentLength, TransferEncoding, TwoLengths};
    for (fields, expected) in [
        ("content-length: 2\r\ncontent-length: 3", ContentLength),
        ("content-length: 2\r\ncontent-length: 02", ContentLength),
        ("content-length: 2, 2", ContentLength),
        ("content-length: +2", ContentLength),
        ("content-length: 0x2", ContentLength),
        ("content-length: ", ContentLength),
        ("content-length: 99999999999999999999", ContentLength),
        ("content-length: 2\r\ntransfer-encoding: chunked", TwoLengths),
        ("transfer-encoding: chunked\r\ncontent-length: 2", TwoLengths),
        ("transfer-encoding: gzip, chunked", TransferEncoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", TransferEncoding),
        ("transfer-encoding: identity", TransferEncoding),
        ("transfer-encoding: \x0bchunked", Malformed::Head("invalid header value".to_owned())),
        ("content-length : 2", Malformed::Head("invalid header name".to_owned())),
        ("x: 1\r\n folded: 2", Malformed::Head("invalid header name".to_owned())),
    ] {
        assert_eq!(framing(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")), Err(expected), "{fields}");
    }
    let old = framing("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(TransferEncoding));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Ok(Body::UntilClose));
}

#[test]
fn chunks_that_are_not_framed_exactly_are_refused() {
    for chunks in [
        "\r\n",
        "g\r\n",
        " 1\r\na\r\n",
        "-1\r\n",
        "0x1\r\na\r\n",
        "1\na\r\n0\r\n\r\n",
        "1;x\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "1\rX",
        "11111111111111111\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "1 x\r\na\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert!(body_of(&response).is_err_and(|error| error.contains("chunks")), "{chunks:?}");
    }
}

#[test]
fn a_body_that_is_cut_off_is_not_taken_for_whole() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    ] {
        assert_eq!(body_of(response), Err("no end".to_owned()), "{response}");
    }
    assert_eq!(body_of("HTTP/1.1 200 OK\r\ncontent-le"), Err("no head".to_owned()));
}

#[test]
fn what_goes_on_without_end_is_refused() {
    let field = |value: usize| format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(value));
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
    for (response, says) in [
        (field(MAX_HEAD_BYTES), "longer"),
        (field(MAX_HEAD_BYTES) + "\r\n\r\n", "longer"),
        (fields(257), "more than 256 fields"),
        ("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17), "interim"),
        (chunked(&format!("1;{}", "x".repeat(20_000))), "extensions"),
        (chunked(&"1;xxxxxxxxx\r\na\r\n".repeat(2_000)), "extensions"),
        (chunked(&format!("0\r\nx: {}", "x".repeat(20_000))), "trailers"),
        (chunked(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(65))), "trailers"),
    ] {
        let error = body_of(&response).unwrap_err();
        assert!(error.contains(says), "{error}, not {says}: {}", &response[..60]);
    }
    assert!(body_of(&(fields(256) + "ok")).is_ok());
}

/// Something like a response, in parts that fit together.
fn some_response() -> impl Strategy<Value = Vec<u8>> {
    let start = (
        prop::sample::select(vec!["HTTP/1.1", "HTTP/1.0"]),
        prop::sample::select(vec![
            "200 OK",
            "200 ",
            "200 Fine",
            "404 Not Found",
            "204 No Content",
            "304 Not Modified",
            "599 X",
        ]),
        prop::sample::select(vec!["", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n"]),
    );
    let fields = prop::collection::vec(
        prop::sample::select(vec![
            "x-a: 1",
            "X-A: 2",
            "empty:",
            "Date:   now \t",
            "x-b: \u{e9}",
            "connection: close",
            "connection: keep-alive, x-a",
            "trailer: x-sum",
            "content-type: text/plain",
        ]),
        0..6,
    );
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..5);
    let framing = prop::sample::select(vec!["length", "lengths", "chunked", "extended", "trailers", "close"]);
    (start, fields, pieces, framing, prop::collection::vec(any::<u8>(), 0..4)).prop_map(
        |((version, status, interim), fields, pieces, framing, rest)| {
            let mut bytes = format!("{interim}{version} {status}\r\n").into_bytes();
            fields.iter().for_each(|field| bytes.extend_from_slice(format!("{field}\r\n").as_bytes()));
            let body = pieces.concat();
            let length = format!("content-length: {}\r\n", body.len());
            match framing {
                "close" => bytes.extend_from_slice(b"\r\n"),
                "length" => bytes.extend_from_slice(format!("{length}\r\n").as_bytes()),
                "lengths" => bytes.extend_from_slice(format!("{length}{length}\r\n").as_bytes()),
                _ => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n"),
            }
            if matches!(framing, "length" | "lengths" | "close") {
                bytes.extend_from_slice(&body);
                return bytes;
            }
            for piece in &pieces {
                let extension = if framing == "extended" { " ;a=\"b\"" } else { "" };
                bytes.extend_from_slice(format!("{:X}{extension}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            let trailers = if framing == "trailers" { "x-sum: 1\r\nX-Other:2\r\n" } else { "" };
            bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
            bytes.extend_from_slice(&rest);
            bytes
        },
    )
}

/// The same, with some bytes wrong.
fn some_wrong_response() -> impl Strategy<Value = Vec<u8>> {
    let wrong = prop::sample::select(b"\r\n:;, \t0123459aAfFgz-+\0\x7f\xff".to_vec());
    (some_response(), prop::collection::vec((any::<prop::sample::Index>(), wrong, 0..3_u8), 1..4)).prop_map(
        |(mut bytes, wrongs)| {
            for (at, byte, how) in wrongs {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        },
    )
}

/// Cuts bytes into pieces at these places.
fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// What is accepted must be what hyper reads too.
fn agrees_with_hyper(bytes: &[u8], to_head: bool) -> Result<bool, TestCaseError> {
    match read(&[bytes], to_head) {
        Ok((seen, _)) => {
            let by_hyper = run(reads(bytes, to_head));
            prop_assert_eq!(Some(seen), by_hyper, "of {:?}", String::from_utf8_lossy(bytes));
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}

proptest! {
    #[test]
    fn a_response_is_what_hyper_reads(bytes in some_response(), to_head in any::<bool>()) {
        let old_chunks = bytes.windows(8).any(|window| window == b"HTTP/1.0") && bytes.windows(7).any(|window| window == b"chunked");
        prop_assert_eq!(agrees_with_hyper(&bytes, to_head)?, !old_chunks, "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn nothing_is_accepted_that_hyper_reads_otherwise(bytes in some_wrong_response(), to_head in any::<bool>()) {
        // There nobody asked for another protocol.
        prop_assume!(!bytes.windows(5).any(|window| window == b" 101 "));
        agrees_with_hyper(&bytes, to_head)?;
    }

    #[test]
    fn the_cuts_between_reads_change_nothing(
        bytes in prop_oneof![some_response(), some_wrong_response()],
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        to_head in any::<bool>(),
    ) {
        let whole = read(&[&bytes], to_head);
        prop_assert_eq!(&whole, &read(&cut(&bytes, &places), to_head));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&whole, &read(&single, to_head));
    }

    #[test]
    fn garbage_is_refused_or_waited_for_in_bounds(
        start in prop::sample::select(vec!["", "H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]),
        garbage in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let bytes = [start.as_bytes(), &garbage].concat();
        // However it ends, it does not panic, and the same garbage again and again ends.
        let _outcome = read(&[&bytes], false);
        let (mut buf, mut reader) = (BytesMut::new(), Reader::default());
        let mut fed = 0;
        while fed <= MAX_HEAD_BYTES + bytes.len() {
            buf.extend_from_slice(&bytes);
            buf.extend_from_slice(b"x");
            fed += bytes.len() + 1;
            match reader.next(&mut buf, false) {
                Ok(None) => prop_assert!(buf.len() <= MAX_HEAD_BYTES),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        prop_assert!(fed <= MAX_HEAD_BYTES + 2 * bytes.len() + 1);
    }
}
