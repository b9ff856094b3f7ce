#![allow(clippy::unwrap_used, clippy::expect_used)]

mod oracle;
mod requests;
mod responses;

use bytes::BytesMut;
use http::HeaderMap;
use hyper::ext::ReasonPhrase;

use super::body::{Body, Next};
use super::head::{Head, Reader};

/// A response as its reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    reason: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

fn sorted(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut pairs: Vec<_> =
        map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    pairs.sort();
    pairs
}

/// Reads one response that comes in these pieces and ends with the connection; also how many bytes are left over. What has
/// been seen of one that is wrong comes with the error.
fn read(pieces: &[&[u8]], to_head: bool) -> Result<(Seen, usize), (String, Vec<u8>)> {
    let (mut buf, mut reader, mut head) = (BytesMut::new(), Reader::default(), None);
    let (mut data, mut trailers, mut ended) = (Vec::new(), HeaderMap::new(), false);
    for piece in pieces {
        buf.extend_from_slice(piece);
        if head.is_none() {
            head = reader.next(&mut buf, to_head).map_err(|error| (error.to_string(), Vec::new()))?;
        }
        let Some(Head { body, .. }) = &mut head else { continue };
        while !ended {
            match body.next(&mut buf).map_err(|error| (error.to_string(), data.clone()))? {
                Next::Data(piece) => data.extend_from_slice(&piece),
                Next::Trailers(map) => trailers = map,
                Next::More => break,
                Next::End => ended = true,
            }
        }
    }
    let Some(Head { response, mut body, .. }) = head else { return Err(("no head".to_owned(), data)) };
    if !ended && !body.ends_with_connection() {
        return Err(("no end".to_owned(), data));
    }
    let reason = response.extensions().get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
    let seen = Seen {
        status: response.status().as_u16(),
        reason,
        headers: sorted(response.headers()),
        body: data,
        trailers: sorted(&trailers),
    };
    Ok((seen, buf.len()))
}

/// Reads a response without a connection's end, and says how its body is framed.
fn framing(head: &str) -> Result<Body, super::Malformed> {
    let mut buf = BytesMut::from(head.as_bytes());
    Reader::default().next(&mut buf, false).map(|head| head.expect("a whole head").body)
}
