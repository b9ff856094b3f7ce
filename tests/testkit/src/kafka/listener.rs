//! Listeners that want TLS, a client's certificate, or a user's word.

use super::certificates::Certificates;

/// The user of the SASL mechanisms that know users.
pub const USER: &str = "plimsoll";
/// That user's password.
pub const PASSWORD: &str = "a-secret-of-tests";

/// What a broker can listen on beside its plain listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// TLS, for any client (`security.protocol=SSL`).
    Tls,
    /// TLS, for clients with a certificate of [`Certificates`](super::Certificates)'s authority.
    MutualTls,
    /// SASL without TLS (`SASL_PLAINTEXT`): PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 for [`USER`] with [`PASSWORD`], and
    /// OAUTHBEARER for any unsigned token that has not expired.
    Sasl,
    /// The same in TLS (`SASL_SSL`).
    SaslTls,
}

impl Listener {
    pub(super) const ALL: [Self; 4] = [Self::Tls, Self::MutualTls, Self::Sasl, Self::SaslTls];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::MutualTls => "MTLS",
            Self::Sasl => "SASL",
            Self::SaslTls => "SASLTLS",
        }
    }

    /// What Kafka calls its kind.
    pub fn security_protocol(self) -> &'static str {
        match self {
            Self::Tls | Self::MutualTls => "SSL",
            Self::Sasl => "SASL_PLAINTEXT",
            Self::SaslTls => "SASL_SSL",
        }
    }
}

/// The mechanisms with what each needs at the broker. OAUTHBEARER without a validator takes unsigned tokens: its login,
/// that the broker wants too, is never used.
const MECHANISMS: [(&str, &str); 4] = [
    ("PLAIN", "org.apache.kafka.common.security.plain.PlainLoginModule required user_plimsoll=\"a-secret-of-tests\";"),
    ("SCRAM-SHA-256", "org.apache.kafka.common.security.scram.ScramLoginModule required;"),
    ("SCRAM-SHA-512", "org.apache.kafka.common.security.scram.ScramLoginModule required;"),
    (
        "OAUTHBEARER",
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";",
    ),
];

/// The broker's properties for all of them.
pub(super) fn properties(certificates: &Certificates) -> String {
    let kinds = Listener::ALL.map(|listener| format!("{}:{}", listener.name(), listener.security_protocol())).join(",");
    let mut properties = format!(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{kinds}\n\
         ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.mtls.ssl.client.auth=required\n\
         sasl.enabled.mechanisms={}\n",
        certificates.broker_keystore().display(),
        certificates.authority().display(),
        MECHANISMS.map(|(name, _)| name).join(","),
    );
    for listener in [Listener::Sasl, Listener::SaslTls] {
        let listener = listener.name().to_lowercase();
        for (mechanism, module) in MECHANISMS {
            let mechanism = mechanism.to_lowercase();
            properties += &format!("listener.name.{listener}.{mechanism}.sasl.jaas.config={module}\n");
        }
    }
    properties
}

/// Arguments of Kafka's format that make the SCRAM user.
pub(super) fn scram_users() -> Vec<String> {
    let user = |mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]");
    ["SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().flat_map(|name| ["--add-scram".to_owned(), user(name)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_user_is_the_one_that_is_told_to_clients() {
        assert!(MECHANISMS[0].1.contains(&format!("user_{USER}=\"{PASSWORD}\"")));
    }
}
