//! Logging in to a broker.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::task::spawn_blocking;

use super::connection::Connection;
use super::failure::Failure;
use super::keys::Keys;
use super::messages::{self, SaslAnswer};
use super::oauth::Tokens;
use super::scram::{Begun, Hash, Wrong};
use crate::log::LogError;

/// Kafka's error codes.
const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;

/// Who logs in, and how.
#[derive(Clone)]
pub(super) enum Credentials {
    Plain(User),
    Scram(Hash, User),
    OauthBearer(Tokens),
}

/// A name and a password.
#[derive(Clone)]
pub(super) struct User {
    name: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} as {}", self.mechanism(), self.name())
    }
}

impl Credentials {
    /// Reads the `sasl.` keys; none where a login is not `wanted`.
    pub(super) fn read(keys: &mut Keys<'_>, wanted: bool) -> Result<Option<Self>, LogError> {
        let key = "sasl.mechanisms";
        let mechanism = keys.text(&[key, "sasl.mechanism"]);
        let (name, password) = (keys.text(&["sasl.username"]), keys.text(&["sasl.password"]));
        if !wanted {
            return Ok(None);
        }
        let user = |keys: &Keys<'_>| match (name, password) {
            (Some(name), Some(password)) => Ok(User { name: name.to_owned(), password: password.to_owned() }),
            (None, _) => Err(keys.bad("sasl.username", "it is missing; the mechanism needs a name and a password")),
            (_, None) => Err(keys.bad("sasl.password", "it is missing; the mechanism needs a name and a password")),
        };
        Ok(Some(match mechanism {
            Some("PLAIN") => Self::Plain(user(keys)?),
            Some("SCRAM-SHA-256") => Self::Scram(Hash::Sha256, user(keys)?),
            Some("SCRAM-SHA-512") => Self::Scram(Hash::Sha512, user(keys)?),
            Some("OAUTHBEARER") => Self::OauthBearer(Tokens::read(keys)?),
            // librdkafka's default is GSSAPI.
            None | Some("GSSAPI") => return Err(keys.only_librdkafka("sasl.mechanisms (GSSAPI)")),
            Some(_) => return Err(keys.bad(key, "write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")),
        }))
    }

    fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PLAIN",
            Self::Scram(Hash::Sha256, _) => "SCRAM-SHA-256",
            Self::Scram(Hash::Sha512, _) => "SCRAM-SHA-512",
            Self::OauthBearer(_) => "OAUTHBEARER",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Plain(user) | Self::Scram(_, user) => &user.name,
            Self::OauthBearer(tokens) => &tokens.principal,
        }
    }
}

/// A login on a connection that has just been made.
pub(super) struct Login<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) client_id: &'a str,
    pub(super) credentials: &'a Credentials,
    /// The version of SaslAuthenticate that the broker speaks.
    pub(super) version: i16,
}

impl Login<'_> {
    /// Logs in; how long that is good for, if not for ever.
    ///
    /// # Errors
    /// [`Failure`] naming the broker, the user, and the remedy.
    pub(super) async fn run(mut self) -> Result<Option<Duration>, Failure> {
        self.handshake().await?;
        let lifetime_ms = match self.credentials.clone() {
            Credentials::Plain(User { name, password }) => {
                self.last(format!("\0{name}\0{password}").into_bytes()).await?
            }
            Credentials::Scram(hash, user) => self.scram(hash, user).await?,
            Credentials::OauthBearer(tokens) => self.last(tokens.message(now_s())).await?,
        };
        let lifetime = u64::try_from(lifetime_ms).ok().filter(|lifetime_ms| *lifetime_ms > 0);
        Ok(lifetime.map(Duration::from_millis))
    }

    async fn handshake(&mut self) -> Result<(), Failure> {
        let mechanism = self.credentials.mechanism();
        let request = messages::sasl_handshake(self.client_id, mechanism);
        let answer = self.connection.exchange("agreeing on how to log in", request).await?;
        let (code, theirs) = messages::read_sasl_handshake(&answer)
            .map_err(|garbled| Failure::lost(&self.connection.broker, garbled))?;
        match code {
            0 => Ok(()),
            UNSUPPORTED_MECHANISM => Err(self.refused(&format!("it takes {}; set sasl.mechanisms", theirs.join(", ")))),
            ILLEGAL_STATE => Err(self.refused("its listener wants no login; check security.protocol")),
            code => Err(self.refused(&format!("Kafka's error {code}"))),
        }
    }

    async fn scram(&mut self, hash: Hash, user: User) -> Result<i64, Failure> {
        let begun = Begun::new(hash, &user.name, &user.password, self.nonce()?);
        let (first, _) = self.exchange(begun.message().into_bytes()).await?;
        // Thousands of hashes: not on a thread that others wait for.
        let proving = spawn_blocking(move || begun.prove(&first));
        let proven = proving.await.map_err(|error| Failure::lost(&self.connection.broker, error))?;
        let (message, proven) = proven.map_err(|wrong| self.wrong(&wrong))?;
        let (last, lifetime_ms) = self.exchange(message.into_bytes()).await?;
        proven.verify(&last).map_err(|wrong| self.wrong(&wrong))?;
        Ok(lifetime_ms)
    }

    fn nonce(&self) -> Result<String, Failure> {
        let mut nonce = [0; 18];
        let filled = SystemRandom::new().fill(&mut nonce);
        filled.map_err(|_| Failure::lost(&self.connection.broker, "the system gives no random numbers"))?;
        Ok(BASE64.encode(nonce))
    }

    /// Sends the only message of a mechanism; a broker that has something to answer does not like it.
    async fn last(&mut self, message: Vec<u8>) -> Result<i64, Failure> {
        let (answer, lifetime_ms) = self.exchange(message).await?;
        match answer.is_empty() {
            true => Ok(lifetime_ms),
            false => Err(self.refused(&format!("it says {:?}", String::from_utf8_lossy(&answer)))),
        }
    }

    async fn exchange(&mut self, message: Vec<u8>) -> Result<(Bytes, i64), Failure> {
        let request = messages::sasl_authenticate(self.client_id, self.version, &message);
        let answer = self.connection.exchange("logging in", request).await?;
        let SaslAnswer { code, error, token, lifetime_ms } = messages::read_sasl_authenticate(&answer, self.version)
            .map_err(|garbled| Failure::lost(&self.connection.broker, garbled))?;
        if code != 0 {
            let error = error.unwrap_or("no reason given");
            return Err(self.refused(&format!("{error} (Kafka's error {code})")));
        }
        Ok((answer.slice_ref(token), lifetime_ms))
    }

    fn wrong(&self, wrong: &Wrong) -> Failure {
        self.refused(&wrong.to_string())
    }

    fn refused(&self, reason: &str) -> Failure {
        let tried = format!("logging in as {} with {}", self.credentials.name(), self.credentials.mechanism());
        let remedy = match self.credentials {
            Credentials::OauthBearer(_) => "check sasl.oauthbearer.config",
            _ => "check sasl.username and sasl.password",
        };
        Failure::refused(&self.connection.broker, tried, format!("{reason}; {remedy}"))
    }
}

/// Seconds since the Unix epoch, which tokens are dated by.
#[expect(clippy::disallowed_methods, reason = "tokens are dated by the wall clock")]
fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
