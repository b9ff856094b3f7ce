//! Sessions: a cookie keeps a client at one endpoint, where the route asks for it.
//!
//! The cookie is between the client and the interceptor. It is not forwarded: the workload has no use for it, and a program
//! that logs or echoes its cookies would only spread it.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::endpoints::{Sessions, Tag};

/// The cookie's name, and what separates it from its value.
const NAME: &[u8] = b"plimsoll-affinity=";
/// What proxies before this one and `headers` say of the client's protocol.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The session of one request.
#[derive(Debug)]
pub(crate) struct Session {
    sessions: Sessions,
    /// Where the client has been before; it may have made this up.
    pub(crate) given: Option<Tag>,
    secure: bool,
}

impl Session {
    /// Takes the session's cookie out of a request that is about to be forwarded.
    pub(crate) fn take(sessions: &Sessions, headers: &mut HeaderMap) -> Self {
        let secure = headers.get(FORWARDED_PROTO).is_some_and(|protocol| protocol == "https");
        Self { sessions: sessions.clone(), given: take(headers), secure }
    }

    /// Tells the client where it is now, unless it knows.
    pub(crate) fn tell(&self, address: std::net::SocketAddr, headers: &mut HeaderMap) {
        let tag = self.sessions.tag(address);
        if self.given == Some(tag) {
            return;
        }
        let secure = if self.secure { "; Secure" } else { "" };
        let name = String::from_utf8_lossy(NAME);
        // Hexadecimal digits and the words here are all that a header's value may have.
        if let Ok(cookie) = HeaderValue::try_from(format!("{name}{tag}; Path=/; HttpOnly; SameSite=Lax{secure}")) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

fn take(headers: &mut HeaderMap) -> Option<Tag> {
    let is_ours = |pair: &&[u8]| pair.starts_with(NAME);
    let pairs = || headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let given = pairs().map(<[u8]>::trim_ascii).find(is_ours)?;
    let tag = Tag::parse(&given[NAME.len()..]);
    let rest: Vec<&[u8]> = pairs().map(<[u8]>::trim_ascii).filter(|pair| !is_ours(pair) && !pair.is_empty()).collect();
    // Parts of a legal value make a legal one.
    let rest = Some(rest.join(&b"; "[..])).filter(|rest| !rest.is_empty());
    let rest = rest.and_then(|rest| HeaderValue::from_bytes(&rest).ok());
    headers.remove(COOKIE);
    if let Some(rest) = rest {
        headers.insert(COOKIE, rest);
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions { key: "key".into(), workload: "default/app".into() }
    }

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|cookie| (COOKIE, HeaderValue::from_str(cookie).unwrap())).collect()
    }

    #[test]
    fn the_cookie_is_taken_and_all_others_go_on() {
        let address = ([10, 0, 0, 1], 80).into();
        let ours = format!("plimsoll-affinity={}", sessions().tag(address));
        for (given, left) in [
            (vec![format!("a=1; {ours};b=2")], Some("a=1; b=2")),
            (vec![ours.clone()], None),
            (vec!["a=1".to_owned(), ours.clone(), "b=\"2\"".to_owned()], Some("a=1; b=\"2\"")),
        ] {
            let mut headers = headers(&given.iter().map(String::as_str).collect::<Vec<_>>());
            let session = Session::take(&sessions(), &mut headers);
            assert_eq!(session.given, Some(sessions().tag(address)));
            assert_eq!(headers.get(COOKIE).map(|rest| rest.to_str().unwrap()), left);
            assert!(headers.get_all(COOKIE).iter().count() <= 1);
            session.tell(address, &mut headers);
            assert!(!headers.contains_key(SET_COOKIE), "the client knows");
        }
    }

    #[test]
    fn other_cookies_alone_stay_as_they_are() {
        let mut headers = headers(&["a=1;b=2", "my-plimsoll-affinity=3"]);
        let before = headers.clone();
        assert_eq!(Session::take(&sessions(), &mut headers).given, None);
        assert_eq!(headers, before);
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_secure_under_tls() {
        for (protocol, end) in [("http", "SameSite=Lax"), ("https", "SameSite=Lax; Secure")] {
            let mut request = HeaderMap::new();
            request.insert(FORWARDED_PROTO, HeaderValue::from_static(protocol));
            let session = Session::take(&sessions(), &mut request);
            let mut response = HeaderMap::new();
            session.tell(([10, 0, 0, 1], 80).into(), &mut response);
            let cookie = response[SET_COOKIE].to_str().unwrap();
            assert!(cookie.ends_with(&format!("; Path=/; HttpOnly; {end}")), "{cookie}");
            assert!(!cookie.contains("10.0.0.1"), "{cookie}");
        }
    }
}
