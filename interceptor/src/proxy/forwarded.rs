//! Who asks, by which name and how, as the workload is told: `X-Forwarded-*` and `Forwarded`.
//!
//! What a client says of itself is worth nothing: it could claim any address. So from a client these fields are replaced, and
//! only from a proxy that is trusted they stand and are added to.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::{FORWARDED, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use serde::{Serialize, Serializer};

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const BY_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Fields that nearly every request gets here.
const USUALLY_TOLD: usize = 4;

/// Whose word is taken for where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// What `private` stands for: loopback, and the addresses that no client on the Internet has (RFC 1918, 4193, 6598, 3927, 4291).
const PRIVATE: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// A list of trusted proxies that can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no network: write addresses or CIDRs like 10.0.0.0/8, `private`, `all` or `none`, with commas between them"
)]
pub struct NoNetwork(String);

impl FromStr for TrustedProxies {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let mut networks = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let net = |text: &str| text.parse().map_err(|_| NoNetwork(text.to_owned()));
            match word {
                "none" => {}
                "all" => networks.extend([net("0.0.0.0/0")?, net("::/0")?]),
                "private" => {
                    for private in PRIVATE {
                        networks.push(net(private)?);
                    }
                }
                _ => networks.push(word.parse::<IpAddr>().map(IpNet::from).or_else(|_| net(word))?),
            }
        }
        Ok(Self(networks))
    }
}

impl Serialize for TrustedProxies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(IpNet::to_string))
    }
}

impl TrustedProxies {
    /// Whether a client at this address is a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Who is on the other side of a client's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// Its address, as `X-Forwarded-For` has it.
    pub(crate) address: &'a HeaderValue,
    /// How it asked: `http` or `https`.
    pub(crate) scheme: &'static str,
    /// A proxy whose word is taken.
    pub(crate) is_trusted: bool,
    /// Whether `Forwarded` is written too.
    pub(crate) forwarded: bool,
}

/// Says whom the request comes from. `said` is whether one of the fields may be there already.
pub(super) fn tell(headers: &mut HeaderMap, peer: Peer<'_>, said: bool) {
    if said && !peer.is_trusted {
        for name in [FOR, BY_HOST, PROTO, PORT, FORWARDED] {
            headers.remove(name);
        }
    }
    let said = said && peer.is_trusted;
    // Once, and not each time that the map turns out to be full.
    headers.reserve(USUALLY_TOLD);
    let chain = if said { chain(headers, peer.address) } else { peer.address.clone() };
    headers.insert(FOR, chain);
    let host = headers.get(HOST).cloned();
    let unsaid = |headers: &HeaderMap, name: &HeaderName| !said || !headers.contains_key(name);
    // The port is the one that the client named, or else its protocol's; a proxy that says how it was asked was asked there.
    if unsaid(headers, &PORT) {
        let nothing = HeaderMap::new();
        headers.insert(PORT, port(if said { headers } else { &nothing }, host.as_ref(), peer.scheme));
    }
    if unsaid(headers, &PROTO) {
        headers.insert(PROTO, HeaderValue::from_static(peer.scheme));
    }
    if let Some(host) = &host
        && unsaid(headers, &BY_HOST)
    {
        headers.insert(BY_HOST, host.clone());
    }
    if peer.forwarded {
        add_forwarded(headers, peer, host.as_ref());
    }
}

/// What proxies before this one have said, and the one that it comes from.
fn chain(headers: &HeaderMap, address: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(FOR) {
        return address.clone();
    }
    let hops: Vec<&[u8]> = headers.get_all(FOR).iter().chain([address]).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&hops.join(&b", "[..])).unwrap_or_else(|_| address.clone())
}

fn port(headers: &HeaderMap, host: Option<&HeaderValue>, scheme: &str) -> HeaderValue {
    let host = headers.get(BY_HOST).or(host).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let named = host
        .rsplit_once(':')
        .map(|(_, port)| port)
        .filter(|port| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(port) = named.and_then(|port| HeaderValue::from_str(port).ok()) {
        return port;
    }
    let https = headers.get(PROTO).map_or(scheme == "https", |proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    HeaderValue::from_static(if https { "443" } else { "80" })
}

/// One more hop (RFC 7239).
fn add_forwarded(headers: &mut HeaderMap, peer: Peer<'_>, host: Option<&HeaderValue>) {
    let address = peer.address.to_str().unwrap_or("unknown");
    let mut hop = if address.contains(':') { format!("for=\"[{address}]\"") } else { format!("for={address}") };
    if let Some(host) = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
        let _strings_take_all = write!(hop, ";host=\"{host}\"");
    }
    let _strings_take_all = write!(hop, ";proto={}", peer.scheme);
    if let Ok(hop) = HeaderValue::try_from(hop) {
        headers.append(FORWARDED, hop);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn told(fields: &[(&'static str, &'static str)], peer: impl FnOnce(&mut Peer<'_>)) -> Vec<String> {
        let mut headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        let address = HeaderValue::from_static("192.0.2.1");
        let mut from = Peer { address: &address, scheme: "http", is_trusted: false, forwarded: false };
        peer(&mut from);
        tell(&mut headers, from, true);
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    const CLAIMS: [(&str, &str); 7] = [
        ("host", "h:81"),
        ("x-forwarded-for", "a"),
        ("x-forwarded-for", "b, c"),
        ("x-forwarded-host", "outer"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "8443"),
        ("forwarded", "for=a"),
    ];

    #[test]
    fn what_a_client_claims_is_replaced() {
        let expected = [
            "host: h:81",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: h:81",
            "x-forwarded-port: 81",
            "x-forwarded-proto: http",
        ];
        assert_eq!(told(&CLAIMS, |_| {}), expected);
    }

    #[test]
    fn what_a_trusted_proxy_says_stands_and_is_added_to() {
        let expected = [
            "forwarded: for=192.0.2.1;host=\"h:81\";proto=http",
            "forwarded: for=a",
            "host: h:81",
            "x-forwarded-for: a, b, c, 192.0.2.1",
            "x-forwarded-host: outer",
            "x-forwarded-port: 8443",
            "x-forwarded-proto: https",
        ];
        assert_eq!(told(&CLAIMS, |peer| (peer.is_trusted, peer.forwarded) = (true, true)), expected);
    }

    #[test]
    fn the_port_follows_from_what_is_known() {
        let port = |fields: &[(&'static str, &'static str)], scheme| {
            let lines = told(fields, |peer| (peer.is_trusted, peer.scheme) = (true, scheme));
            lines.iter().find_map(|line| line.strip_prefix("x-forwarded-port: ").map(str::to_owned)).unwrap()
        };
        assert_eq!(port(&[("host", "h")], "http"), "80");
        assert_eq!(port(&[("host", "[::1]")], "https"), "443");
        assert_eq!(port(&[("host", "[::1]:99")], "https"), "99");
        assert_eq!(port(&[("host", "h"), ("x-forwarded-proto", "https")], "http"), "443");
        assert_eq!(port(&[("host", "h:81"), ("x-forwarded-host", "outer")], "http"), "80");
    }

    #[test]
    fn a_chain_of_addresses_has_brackets_in_forwarded() {
        let address = HeaderValue::from_static("2001:db8::1");
        let mut headers = HeaderMap::new();
        tell(&mut headers, Peer { address: &address, scheme: "https", is_trusted: false, forwarded: true }, false);
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=https");
    }

    #[test]
    fn networks_are_read_and_looked_up() {
        let trusted: TrustedProxies = "private, 192.0.2.7,2001:db8::/32".parse().unwrap();
        for (address, is_trusted) in [
            ("127.0.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), is_trusted, "{address}");
        }
        assert!("all".parse::<TrustedProxies>().unwrap().contains("203.0.113.1".parse().unwrap()));
        assert!(!"none".parse::<TrustedProxies>().unwrap().contains("127.0.0.1".parse().unwrap()));
        let error = "10.0.0.0/33".parse::<TrustedProxies>().unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/33"), "{error}");
    }
}
