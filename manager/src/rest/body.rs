//! Bodies of requests: JSON, and an error that names the field.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::failure::Failure;

/// A body is at most this long: the longest one that says something has some hundred bytes.
pub const BODY_BYTES: usize = 64 * 1024;
/// A body comes within this. A client that has gone without a word would keep its connection, which is one of few, for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        is_json(request.headers())?;
        let bytes = whole(request, state).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be missing; then everything in it is as if unsaid.
pub struct MaybeBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        is_json(request.headers())?;
        let bytes = whole(request, state).await?;
        if bytes.trim_ascii().is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// A POST without a body: it must say JSON all the same, which no page of another site can without asking first.
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        is_json(request.headers())?;
        let bytes = whole(request, state).await?;
        match bytes.trim_ascii() {
            b"" | b"{}" => Ok(Self),
            _ => Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "this call takes no body; nothing was changed")),
        }
    }
}

/// What follows the question mark. A name that nobody knows is refused: most are typing errors.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(asked) = Query::<T>::from_request_parts(parts, state).await.map_err(|error| {
            let reason = error.body_text();
            let reason = reason.strip_prefix("Failed to deserialize query string: ").unwrap_or(&reason);
            Failure::bad_request(format!("{:?} can't be asked: {reason}", parts.uri.query().unwrap_or_default()))
        })?;
        Ok(Self(asked))
    }
}

/// The body's bytes, all of them.
async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    match timeout(PATIENCE, Bytes::from_request(request, state)).await {
        Ok(read) => read.map_err(|rejected| unread(&rejected)),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s; nothing was changed", PATIENCE.as_secs()),
        )),
    }
}

fn unread(rejected: &BytesRejection) -> Failure {
    match rejected.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {BODY_BYTES} bytes, far more than any call takes; nothing was changed"),
        ),
        status => {
            Failure::new(status, format!("the body could not be read: {}; nothing was changed", rejected.body_text()))
        }
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("the content type is {given:?}: send content-type: application/json; nothing was changed"),
    ))
}

/// Reads JSON.
///
/// # Errors
/// 400 for what is no JSON, 422 for JSON that is something else, naming the field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() { wrong_field(&path, &inner) } else { no_json(&inner) }
    })?;
    json.end().map_err(|error| no_json(&error))?;
    Ok(parsed)
}

fn no_json(error: &serde_json::Error) -> Failure {
    Failure::bad_request(format!("the body is no JSON: {error}; nothing was changed"))
}

/// serde names a field that is missing or unknown in its message only, between backticks.
fn wrong_field(path: &str, error: &serde_json::Error) -> Failure {
    let whole = error.to_string();
    let reason = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(reason, _)| reason);
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|before| reason.strip_prefix(before)?.split_once('`').map(|(field, _)| field));
    let field = match named {
        Some(field) if path == "." || path.is_empty() => field.to_owned(),
        // path_to_error counts an unknown field into the path, a missing one not.
        Some(field) if !path.ends_with(field) => format!("{path}.{field}"),
        _ if path == "." => "the body".to_owned(),
        _ => path.to_owned(),
    };
    Failure::field(field, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use futures::stream::{self, StreamExt as _};

    use super::*;
    use crate::api::PolicyView;

    fn field(text: &str) -> (u16, String) {
        let failure = parse::<PolicyView>(text.as_bytes()).unwrap_err();
        (failure.status.as_u16(), failure.errors.first().map(|error| error.field.clone()).unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let begins = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        let body = axum::body::Body::from_stream(begins.chain(stream::pending()));
        let request = axum::http::Request::builder().header(CONTENT_TYPE, "application/json").body(body).unwrap();
        let read = timeout(PATIENCE * 2, Body::<PolicyView>::from_request(request, &())).await;
        let failure = read.expect("it is given up").map(|_| ()).unwrap_err();
        assert_eq!(failure.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn a_bad_field_is_named_and_bad_json_is_something_else() {
        let with = |field: &str, value: &str| {
            let mut policy =
                serde_json::json!({"kind": "max-per-host", "maxPerHost": 9, "minCollectors": 1, "maxCollectors": 2});
            policy[field] = serde_json::from_str(value).unwrap();
            policy.to_string()
        };
        assert_eq!(field(&with("maxPerHost", "-1")), (422, "maxPerHost".into()));
        assert_eq!(field(&with("maxPerHost", "1.5")), (422, "maxPerHost".into()));
        assert_eq!(field(&with("maxPerHost", "null")), (422, "maxPerHost".into()));
        assert_eq!(field(&with("maxCollectors", "99999999999")), (422, "maxCollectors".into()));
        assert_eq!(field(&with("kind", "\"best\"")), (422, "kind".into()));
        assert_eq!(field(&with("maxPerHots", "1")), (422, "maxPerHots".into()));
        assert_eq!(field(r#"{"kind":"max-per-host","maxPerHost":1,"minCollectors":1}"#), (422, "maxCollectors".into()));
        assert_eq!(field("{}"), (422, "kind".into()));
        assert_eq!(field("[]"), (422, "the body".into()));
        assert_eq!(field("7"), (422, "the body".into()));
        for broken in ["", "{", "{\"kind\":", "nonsense", "{} {}"] {
            assert_eq!(
                parse::<serde_json::Value>(broken.as_bytes()).unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{broken}"
            );
        }
    }
}
