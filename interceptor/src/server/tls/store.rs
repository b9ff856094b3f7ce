//! Which certificate a client gets.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// All certificates, by the names that they are for. It does not change.
#[derive(Debug)]
pub(super) struct Store {
    /// By host name, and by wildcard as `*.example.com`. Of several, the one that ends last is first.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For a client that names no host, or one that no certificate is for.
    default: Arc<CertifiedKey>,
}

impl Store {
    /// Of these pairs; the first one is the default. None where there is none.
    pub(super) fn new<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Option<Self> {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        let default = pairs.first()?.certified.clone();
        // Stable: of those that end together the first stays first.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.ends_at_s));
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        for pair in pairs {
            for name in &pair.names {
                by_name.entry(name.clone()).or_default().push(pair.certified.clone());
            }
        }
        Some(Self { by_name, default })
    }

    /// The certificate for a host: its own, its wildcard's (which stands for one label: RFC 6125, section 6.4.3), the default.
    fn find(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let found = host.and_then(|host| {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            self.by_name.get(&host).or_else(|| {
                let (_, parent) = host.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        });
        let Some(found) = found else { return self.default.clone() };
        // A host may have a certificate with an RSA key and one with an elliptic curve; old clients know only the former.
        let spoken = found.iter().find(|certified| certified.key.choose_scheme(schemes).is_some());
        spoken.or(found.first()).unwrap_or(&self.default).clone()
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name(), hello.signature_schemes()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::crypto::ring::default_provider;

    use super::super::pair::Place;
    use super::*;

    const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];

    fn pair(names: &[&str], year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = parameters.self_signed(&key).unwrap();
        let place = Place { cert: Path::new("a.crt").to_owned(), key: Path::new("a.key").to_owned() };
        place.pair(cert.pem().as_bytes(), key.serialize_pem().as_bytes(), &default_provider()).unwrap()
    }

    #[test]
    fn the_exact_name_wins_over_the_wildcard_and_the_wildcard_over_the_default() {
        let pairs = [pair(&["default.test"], 2040), pair(&["*.a.test"], 2040), pair(&["x.A.test"], 2040)];
        let store = Store::new(&pairs).unwrap();
        let chosen = |host| {
            let found = store.find(host, &SCHEMES);
            pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified, &found)).unwrap()
        };
        assert_eq!(chosen(Some("X.a.test")), 2);
        assert_eq!(chosen(Some("y.a.test")), 1);
        assert_eq!(chosen(Some("z.y.a.test")), 0, "a star is one label");
        assert_eq!(chosen(Some("a.test")), 0);
        assert_eq!(chosen(None), 0);
    }

    #[test]
    fn of_two_for_one_name_the_one_that_ends_last_is_shown() {
        let pairs = [pair(&["a.test"], 2035), pair(&["a.test"], 2045)];
        let store = Store::new(&pairs).unwrap();
        assert!(Arc::ptr_eq(&store.find(Some("a.test"), &SCHEMES), &pairs[1].certified));
        assert!(Arc::ptr_eq(&store.find(Some("a.test"), &[]), &pairs[1].certified), "any is better than none");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let cert = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap().cert;
        let key = rcgen::KeyPair::generate().unwrap();
        let place = Place { cert: Path::new("a.crt").to_owned(), key: Path::new("a.key").to_owned() };
        let refused = place.pair(cert.pem().as_bytes(), key.serialize_pem().as_bytes(), &default_provider());
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("a.crt") && text.contains("a.key"), "{text}");
    }
}
