//! Who may do what, from where, and how often; and a line in the log for each change.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::info;

use super::failure::Failure;
use super::limits::Limits;
use super::listener::Peer;
use super::tokens::{Role, Tokens};

/// Logins that may fail at once from one address, and in the long run: twenty in a minute.
const FAILED_LOGINS: (u32, f64) = (20, 20.0 / 60.0);
/// Lines about refused changes that one address causes at once, and a second in the long run.
const REFUSED_LINES: (u32, f64) = (20, 1.0);
/// What changes nothing, though its method is one that could.
const DRY_RUNS: [&str; 1] = ["/api/v1/assignment/plan"];
/// What is asked by machines that have no token: kubelets.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Lets requests in, or not.
#[derive(Debug)]
pub struct Guard {
    /// Where the API listens.
    pub listener: SocketAddr,
    /// Bearer tokens, where there are any.
    pub tokens: Option<Arc<Tokens>>,
    /// Whether clients may show certificates.
    pub certificates: bool,
    /// The names in certificates that may change things; where none is said, all may.
    pub operators: Vec<String>,
    /// Whether looking needs a token or certificate too.
    pub reads_need_role: bool,
    writes: Limits<String>,
    failures: Limits<IpAddr>,
    /// Lines in the log about changes that were refused: whoever is refused without end must not fill the disk.
    lines: Limits<IpAddr>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Somebody, without a token or certificate.
    Anyone,
    /// Somebody on this machine, where the API listens on loopback and no tokens are configured.
    ThisMachine,
    /// Who has this token or certificate.
    Known { name: Arc<str>, role: Role },
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::ThisMachine => f.write_str("this machine"),
            Self::Known { name, .. } => f.write_str(name),
        }
    }
}

impl Guard {
    /// `writes_per_second` is for each client in the long run; ten seconds of it may come at once.
    pub fn new(listener: SocketAddr, writes_per_second: u32) -> Self {
        let rate = writes_per_second.max(1);
        Self {
            listener,
            tokens: None,
            certificates: false,
            operators: Vec::new(),
            reads_need_role: false,
            writes: Limits::new(rate.saturating_mul(10), f64::from(rate)),
            failures: Limits::new(FAILED_LOGINS.0, FAILED_LOGINS.1),
            lines: Limits::new(REFUSED_LINES.0, REFUSED_LINES.1),
        }
    }

    /// Who asks, where that may be done.
    fn admit(&self, method: &Method, path: &str, headers: &HeaderMap, peer: &Peer) -> Result<Who, (Who, Failure)> {
        let writes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        self.no_other_site(headers, writes).map_err(|failure| (Who::Anyone, failure))?;
        let who = self.who(headers, peer).map_err(|failure| (Who::Anyone, failure))?;
        let needed = match (writes, DRY_RUNS.contains(&path), PROBES.contains(&path)) {
            (_, _, true) => None,
            (true, false, _) => Some(Role::Operate),
            (true, true, _) => Some(Role::Read),
            (false, ..) => self.reads_need_role.then_some(Role::Read),
        };
        if let Some(role) = needed {
            self.allowed(&who, role).map_err(|failure| (who.clone(), failure))?;
        }
        if writes {
            let client = match &who {
                Who::Known { name, .. } => name.to_string(),
                _ => peer.address.ip().to_string(),
            };
            self.writes.take(&client).map_err(|wait| {
                let detail = "more than --api-writes-per-second lets through; nothing was changed";
                (who.clone(), Failure::too_many(detail, wait))
            })?;
        }
        Ok(who)
    }

    /// A page from elsewhere that a browser on this machine shows must not speak for the person in front of it.
    fn no_other_site(&self, headers: &HeaderMap, writes: bool) -> Result<(), Failure> {
        let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        if self.listener.ip().is_loopback() && !names_this_machine(host) {
            // Another name that resolves to loopback is how DNS rebinding gets around the browser's own rules.
            let detail = format!(
                "the API listens on this machine only, and is asked here as localhost, 127.0.0.1 or [::1], not as {host:?}"
            );
            return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        let foreign = match text(ORIGIN) {
            Some(origin) => origin.split_once("://").is_none_or(|(_, place)| !place.eq_ignore_ascii_case(host)),
            None => headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site"),
        };
        if writes && foreign {
            return Err(Failure::forbidden("a page of another site may change nothing here; nothing was changed"));
        }
        Ok(())
    }

    fn who(&self, headers: &HeaderMap, peer: &Peer) -> Result<Who, Failure> {
        if let (Some(given), Some(tokens)) = (headers.get(AUTHORIZATION), &self.tokens) {
            return self.by_token(given.to_str().unwrap_or_default(), tokens, peer);
        }
        if let Some(names) = &peer.certificate {
            let name = names.iter().find(|name| self.operators.contains(name)).or(names.first());
            let operates = self.operators.is_empty() || name.is_some_and(|name| self.operators.contains(name));
            let role = if operates { Role::Operate } else { Role::Read };
            let name = name.map_or("a certificate without a name", String::as_str);
            return Ok(Who::Known { name: Arc::from(name), role });
        }
        let open = self.listener.ip().is_loopback() && self.tokens.is_none() && !self.certificates;
        Ok(if open { Who::ThisMachine } else { Who::Anyone })
    }

    fn by_token(&self, given: &str, tokens: &Tokens, peer: &Peer) -> Result<Who, Failure> {
        let address = peer.address.ip();
        // Not even the right one is tried for: who may go on guessing finds it.
        self.failures
            .look(&address)
            .map_err(|wait| Failure::too_many("too many wrong tokens have come from this address", wait))?;
        let token = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let known = token.and_then(|(_, token)| tokens.whose(token.trim()));
        if let Some((name, role)) = known {
            return Ok(Who::Known { name, role });
        }
        // What is left of the allowance was looked at above.
        let _ = self.failures.take(&address);
        Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "the token is not known; send authorization: Bearer TOKEN, with one of --api-token-file",
        ))
    }

    fn allowed(&self, who: &Who, needed: Role) -> Result<(), Failure> {
        match who {
            Who::ThisMachine => Ok(()),
            Who::Known { role, .. } if *role >= needed => Ok(()),
            Who::Known { name, role } => Err(Failure::forbidden(format!(
                "{name} has the role {role}, and this needs {needed}; nothing was changed"
            ))),
            Who::Anyone if self.tokens.is_none() && !self.certificates => Err(Failure::forbidden(format!(
                "the API listens on {}, where others reach it, and nobody is configured who may do this: give the manager \
                 --api-token-file, or --api-client-ca, or have it listen on loopback; nothing was changed",
                self.listener
            ))),
            Who::Anyone => Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                format!("this needs the role {needed}: send authorization: Bearer TOKEN; nothing was changed"),
            )),
        }
    }
}

/// `localhost`, and loopback addresses, with or without a port.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    let local = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    local || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Lets a request in or answers it, and writes a line for each that would change something.
pub async fn stand(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let Some(peer) = peer else {
        // Only a listener that does not say who is there comes to this; nobody is let in unseen.
        return Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "it is not known who asks").into_response();
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let admitted = guard.admit(&method, &path, request.headers(), &peer);
    let writes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let (who, response, tell) = match admitted {
        Ok(who) => {
            request.extensions_mut().insert(who.clone());
            (who, next.run(request).await, true)
        }
        Err((who, failure)) => (who, failure.into_response(), writes && guard.lines.take(&peer.address.ip()).is_ok()),
    };
    if tell && writes && !DRY_RUNS.contains(&path.as_str()) {
        let status = response.status().as_u16();
        info!(target: "plimsoll::audit", %who, from = %peer.address, what = %method, path, status, "asked to change");
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const TOKEN: &str = "0123456789abcdef";

    fn guard(listener: &str) -> Guard {
        Guard::new(listener.parse().unwrap(), 10)
    }

    fn with_tokens(listener: &str) -> Guard {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("operate:ada:{TOKEN}\nread:bob:{TOKEN}bob")).unwrap();
        Guard { tokens: Some(Arc::new(Tokens::read(&path).unwrap())), ..guard(listener) }
    }

    fn peer(names: Option<&[&str]>) -> Peer {
        let certificate = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Peer { address: "10.1.2.3:4567".parse().unwrap(), certificate }
    }

    fn ask(guard: &Guard, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Result<Who, u16> {
        ask_as(guard, method, path, headers, &peer(None))
    }

    fn ask_as(
        guard: &Guard,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        peer: &Peer,
    ) -> Result<Who, u16> {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("localhost:8088"));
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        guard.admit(&method, path, &map, peer).map_err(|(_, failure)| failure.status.as_u16())
    }

    #[tokio::test]
    async fn on_this_machine_anyone_may_write_and_elsewhere_nobody_without_a_role() {
        let (drain, topics) = ("/api/v1/collectors/a/drain", "/api/v1/topics");
        assert_eq!(ask(&guard("127.0.0.1:1"), Method::POST, drain, &[]), Ok(Who::ThisMachine));
        assert_eq!(ask(&guard("0.0.0.0:1"), Method::POST, drain, &[]), Err(403));
        assert_eq!(ask(&guard("0.0.0.0:1"), Method::GET, topics, &[]), Ok(Who::Anyone));
        for listener in ["127.0.0.1:1", "0.0.0.0:1"] {
            let guard = with_tokens(listener);
            let bearer = |token: &str| format!("Bearer {token}");
            let (ada, bob) = (bearer(TOKEN), bearer(&format!("{TOKEN}bob")));
            let name = |who: Result<Who, u16>| who.map(|who| who.to_string());
            assert_eq!(ask(&guard, Method::POST, drain, &[]), Err(401));
            assert_eq!(name(ask(&guard, Method::POST, drain, &[("authorization", &ada)])), Ok("ada".into()));
            assert_eq!(ask(&guard, Method::POST, drain, &[("authorization", &bob)]), Err(403));
            assert_eq!(name(ask(&guard, Method::POST, DRY_RUNS[0], &[("authorization", &bob)])), Ok("bob".into()));
            assert_eq!(ask(&guard, Method::GET, topics, &[("authorization", "Bearer wrong")]), Err(401));
            let closed = Guard { reads_need_role: true, ..guard };
            assert_eq!(ask(&closed, Method::GET, topics, &[]), Err(401));
            assert_eq!(ask(&closed, Method::GET, "/healthz", &[]), Ok(Who::Anyone));
        }
    }

    #[tokio::test]
    async fn a_certificate_has_the_role_of_its_name() {
        let mut guard = Guard { certificates: true, ..guard("0.0.0.0:1") };
        let drain = "/api/v1/collectors/a/drain";
        let ask = |guard: &Guard, names: &[&str]| ask_as(guard, Method::POST, drain, &[], &peer(Some(names)));
        assert!(ask(&guard, &["ops.example"]).is_ok(), "where no operators are named, all are");
        guard.operators = vec!["ops.example".into()];
        assert!(ask(&guard, &["other.example", "ops.example"]).is_ok());
        assert_eq!(ask(&guard, &["other.example"]), Err(403));
        assert_eq!(ask(&guard, &[]), Err(403));
    }

    #[tokio::test]
    async fn no_page_of_another_site_speaks_for_who_looks_at_it() {
        let guard = guard("127.0.0.1:1");
        let drain = "/api/v1/collectors/a/drain";
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8088", "10.0.0.1", ""] {
            assert_eq!(ask(&guard, Method::GET, "/api/v1/topics", &[("host", host)]), Err(421), "{host}");
        }
        for host in ["localhost", "127.0.0.1:8088", "[::1]:8088", "plimsoll.localhost:1", "127.1.2.3"] {
            assert!(ask(&guard, Method::GET, "/api/v1/topics", &[("host", host)]).is_ok(), "{host}");
        }
        for origin in ["http://evil.example", "null", "http://localhost:9999", "https://localhost"] {
            assert_eq!(ask(&guard, Method::POST, drain, &[("origin", origin)]), Err(403), "{origin}");
        }
        assert!(ask(&guard, Method::POST, drain, &[("origin", "http://localhost:8088")]).is_ok());
        assert_eq!(ask(&guard, Method::POST, drain, &[("sec-fetch-site", "cross-site")]), Err(403));
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_and_hammering_are_slowed_down() {
        let guard = with_tokens("0.0.0.0:1");
        let (drain, ada) = ("/api/v1/collectors/a/drain", format!("Bearer {TOKEN}"));
        let write = || ask(&guard, Method::POST, drain, &[("authorization", &ada)]).map(|_| ());
        let written = (0..200).filter(|_| write().is_ok()).count();
        assert_eq!(written, 100, "ten seconds of ten a second");
        assert_eq!(write(), Err(429));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(write().is_ok());
        for _ in 0..FAILED_LOGINS.0 {
            assert_eq!(ask(&guard, Method::POST, drain, &[("authorization", "Bearer guess")]), Err(401));
        }
        assert_eq!(ask(&guard, Method::POST, drain, &[("authorization", "Bearer guess")]), Err(429));
        assert_eq!(write(), Err(429), "nor is the right one tried");
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        assert!(write().is_ok());
    }
}
