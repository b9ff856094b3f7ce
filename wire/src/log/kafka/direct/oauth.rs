//! Tokens for OAUTHBEARER that nobody signs, as librdkafka makes them (`enable.sasl.oauthbearer.unsecure.jwt`): for brokers that trust
//! whoever reaches them. Signed tokens would have to be fetched, which librdkafka is not built for here either.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value, json};

use super::keys::Keys;
use crate::log::LogError;

const CONFIG: &str = "sasl.oauthbearer.config";

/// What tokens say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    principal_claim: String,
    pub(super) principal: String,
    scope_claim: String,
    scopes: Vec<String>,
    life_s: u64,
    extensions: Vec<(String, String)>,
}

impl Tokens {
    /// Reads `sasl.oauthbearer.config`: `principal=me scope=a,b lifeSeconds=600 extension_x=y`.
    pub(super) fn read(keys: &mut Keys<'_>) -> Result<Self, LogError> {
        let method = "sasl.oauthbearer.method";
        if keys.text(&[method]).is_some_and(|method| method != "default") {
            return Err(keys.only_librdkafka(method));
        }
        let (config, unsecured) = (keys.text(&[CONFIG]), "enable.sasl.oauthbearer.unsecure.jwt");
        if !keys.flag(unsecured, false)? {
            let reason = "tokens are only made unsigned, by either client: set it to true for that, or log in with PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
            return Err(keys.bad(unsecured, reason));
        }
        Self::parse(config.unwrap_or_default()).map_err(|reason| keys.bad(CONFIG, &reason))
    }

    fn parse(config: &str) -> Result<Self, String> {
        let mut tokens = Self {
            principal_claim: "sub".into(),
            principal: String::new(),
            scope_claim: "scope".into(),
            scopes: Vec::new(),
            life_s: 3600,
            extensions: Vec::new(),
        };
        for pair in config.split_ascii_whitespace() {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no name=value"))?;
            match name {
                "principalClaimName" => tokens.principal_claim = value.to_owned(),
                "principal" => tokens.principal = value.to_owned(),
                "scopeClaimName" => tokens.scope_claim = value.to_owned(),
                "scope" => tokens.scopes = value.split(',').map(str::to_owned).collect(),
                "lifeSeconds" => {
                    let life_s = value.parse().ok().filter(|life_s| (1..=86_400 * 365).contains(life_s));
                    tokens.life_s = life_s.ok_or_else(|| format!("lifeSeconds {value:?} is no number of seconds"))?;
                }
                _ => match name.strip_prefix("extension_") {
                    Some(name) => tokens.extensions.push((name.to_owned(), value.to_owned())),
                    None => return Err(format!("{name:?} is unknown")),
                },
            }
        }
        if tokens.principal.is_empty() {
            return Err("it names no principal; write principal=NAME".into());
        }
        Ok(tokens)
    }

    /// The client's message with a token made at this time, in seconds since the Unix epoch.
    pub(super) fn message(&self, now_s: u64) -> Vec<u8> {
        let mut claims = Map::new();
        claims.insert(self.principal_claim.clone(), json!(self.principal));
        claims.insert("iat".into(), json!(now_s));
        claims.insert("exp".into(), json!(now_s + self.life_s));
        if !self.scopes.is_empty() {
            claims.insert(self.scope_claim.clone(), json!(self.scopes));
        }
        let header = BASE64.encode(r#"{"alg":"none"}"#);
        let claims = BASE64.encode(Value::Object(claims).to_string());
        let extensions: String = self.extensions.iter().map(|(name, value)| format!("{name}={value}\x01")).collect();
        format!("n,,\x01auth=Bearer {header}.{claims}.\x01{extensions}\x01").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_and_until_when() {
        let tokens = Tokens::parse("principal=me scope=a,b lifeSeconds=60 extension_x=y").expect("it is right");
        let message = String::from_utf8(tokens.message(1_000)).expect("it is text");
        let token = message.strip_prefix("n,,\x01auth=Bearer ").and_then(|rest| rest.strip_suffix("\x01x=y\x01\x01"));
        let parts: Vec<_> = token.expect("it is framed").split('.').collect();
        assert_eq!((BASE64.decode(parts[0]).expect("base64"), parts[2]), (br#"{"alg":"none"}"#.to_vec(), ""));
        let claims: Value = serde_json::from_slice(&BASE64.decode(parts[1]).expect("base64")).expect("JSON");
        assert_eq!(claims, json!({"sub": "me", "iat": 1_000, "exp": 1_060, "scope": ["a", "b"]}));
    }

    #[test]
    fn what_it_does_not_know_is_named() {
        for (config, named) in
            [("", "principal"), ("principal=a b", "b"), ("principal=a x=y", "x"), ("lifeSeconds=-1", "-1")]
        {
            let error = Tokens::parse(config).expect_err(config);
            assert!(error.contains(named), "{config}: {error}");
        }
    }
}
