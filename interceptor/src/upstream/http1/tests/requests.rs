//! Requests as bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;

use super::oracle::{ServedRequest, run, serves};
use super::sorted;
use crate::upstream::http1::encode::{Length, Outgoing};

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// Takes what is there, by these numbers of bytes in turn.
fn drain(outgoing: &mut Outgoing, takes: &[usize], turn: &mut usize, bytes: &mut Vec<u8>) {
    while !outgoing.is_empty() {
        let slices = outgoing.slices();
        let all = [&slices[0][..], &slices[1][..]].concat();
        let taken = takes[*turn % takes.len()].clamp(1, all.len());
        *turn += 1;
        bytes.extend_from_slice(&all[..taken]);
        outgoing.advance(taken);
    }
}

/// A request as bytes, where the stream takes so many at a time.
fn encoded(
    headers: &HeaderMap,
    pieces: &[Bytes],
    length: Length,
    trailers: Option<&HeaderMap>,
    takes: &[usize],
) -> Vec<u8> {
    let (mut outgoing, mut bytes, mut turn) = (Outgoing::new(), Vec::new(), 0);
    outgoing.head(&Method::POST, &Uri::from_static("http://ignored/a/b?c=d"), headers, length);
    for piece in pieces {
        while !outgoing.has_room() {
            drain(&mut outgoing, takes, &mut turn, &mut bytes);
        }
        outgoing.data(piece.clone()).unwrap();
    }
    drain(&mut outgoing, takes, &mut turn, &mut bytes);
    outgoing.end(trailers).unwrap();
    drain(&mut outgoing, takes, &mut turn, &mut bytes);
    bytes
}

#[test]
fn a_request_is_written_as_it_was_always_written() {
    let headers = map(&[("host", "h"), ("x-a", "1"), ("content-length", "99"), ("transfer-encoding", "gzip")]);
    let body = [Bytes::from_static(b"four"), Bytes::new(), Bytes::from_static(b"more")];
    let start = "POST /a/b?c=d HTTP/1.1\r\nhost: h\r\nx-a: 1\r\n";
    let text = |length, body: &[Bytes]| {
        String::from_utf8(encoded(&headers, body, length, Some(&map(&[("x-sum", "8"), ("host", "no")])), &[1000]))
            .unwrap()
    };
    // What the map says of the body's length is not what is sent.
    assert_eq!(text(Length::Exact(8), &body), format!("{start}content-length: 8\r\n\r\nfourmore"));
    assert_eq!(text(Length::Empty, &[]), format!("{start}content-length: 0\r\n\r\n"));
    let chunks = "4\r\nfour\r\n4\r\nmore\r\n0\r\nx-sum: 8\r\n\r\n";
    assert_eq!(text(Length::Chunked, &body), format!("{start}transfer-encoding: chunked\r\n\r\n{chunks}"));
}

#[test]
fn a_body_of_another_length_than_said_is_noticed() {
    let mut outgoing = Outgoing::new();
    let mut begin = |length| outgoing.head(&Method::PUT, &Uri::from_static("/"), &HeaderMap::new(), length);
    begin(Length::Exact(3));
    outgoing.data(Bytes::from_static(b"ab")).unwrap();
    assert!(outgoing.end(None).is_err());
    assert!(outgoing.data(Bytes::from_static(b"cd")).is_err());
}

#[test]
fn without_a_path_the_root_is_asked_for() {
    let mut outgoing = Outgoing::new();
    outgoing.head(&Method::OPTIONS, &Uri::from_static("*"), &HeaderMap::new(), Length::Empty);
    assert!(outgoing.slices()[0].starts_with(b"OPTIONS * HTTP/1.1\r\n"));
    let mut outgoing = Outgoing::new();
    outgoing.head(&Method::GET, &Uri::from_static("http://h"), &HeaderMap::new(), Length::Empty);
    assert!(outgoing.slices()[0].starts_with(b"GET / HTTP/1.1\r\n"));
}

proptest! {
    #[test]
    fn hyper_reads_what_was_meant_however_little_the_stream_takes(
        values in prop::collection::vec("[ -~]{0,40}", 0..6),
        sizes in prop::collection::vec(prop_oneof![0_usize..40, 16_000_usize..40_000], 0..4),
        chunked in any::<bool>(),
        takes in prop::collection::vec(prop_oneof![1_usize..9, 1000_usize..20_000], 1..9),
    ) {
        let mut headers = map(&[("host", "h"), ("trailer", "x-sum")]);
        for (i, value) in values.iter().enumerate() {
            let name = HeaderName::from_bytes(format!("x-{}", i % 3).as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        let pieces: Vec<Bytes> =
            sizes.iter().map(|size| (0..*size).map(|i| (i % 251) as u8).collect::<Vec<u8>>().into()).collect();
        let body = pieces.concat();
        let (length, trailers) = if chunked {
            (Length::Chunked, map(&[("x-sum", "1")]))
        } else {
            (Length::Exact(body.len() as u64), HeaderMap::new())
        };
        let one = encoded(&headers, &pieces, length, Some(&trailers), &takes);
        prop_assert_eq!(&one, &encoded(&headers, &pieces, length, Some(&trailers), &[usize::MAX]));
        // Twice, one after the other: the second is found where the first one ends.
        let served = run(serves(&[one.clone(), one].concat()));
        let framing = if chunked { ("transfer-encoding", "chunked".to_owned()) } else { ("content-length", body.len().to_string()) };
        headers.insert(framing.0, HeaderValue::from_str(&framing.1).unwrap());
        let expected = || ServedRequest {
            method: "POST".to_owned(),
            target: "/a/b?c=d".to_owned(),
            headers: sorted(&headers),
            body: body.clone(),
            trailers: sorted(&trailers),
        };
        prop_assert_eq!(served, vec![expected(), expected()]);
    }
}
