//! SCRAM (RFC 5802, RFC 7677), as Kafka has it: no channel binding, and names and passwords are taken as they are, without the
//! normalization of RFC 4013 that Kafka's brokers leave out, too.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// Iterations of the hash that a broker may ask for. Fewer would make the password easy to guess for one that listens; Kafka's own limit
/// is 16,384, and a million would keep a processor busy for a second.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=200_000;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// What is wrong with what the broker says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// It is no message of SCRAM.
    #[error("its SCRAM message is garbled")]
    Garbled,
    /// It does not answer our challenge.
    #[error("its SCRAM message answers another login")]
    Nonce,
    /// Too few or too many iterations.
    #[error("it asks for {0} SCRAM iterations; make the user anew with 4096 to 16384")]
    Iterations(u32),
    /// It refuses the login.
    #[error("it says {0:?}")]
    Said(String),
    /// It does not know the password itself.
    #[error("it does not know the password itself, so it is not the broker it claims to be")]
    Impostor,
}

/// The beginning of a login.
pub(super) struct Begun {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
}

/// A login that waits for the broker's proof that it knows the password, too.
#[derive(Debug)]
pub(super) struct Proven {
    server_key: hmac::Key,
    authenticated: String,
}

impl Begun {
    /// The nonce must be random and never used before.
    pub(super) fn new(hash: Hash, user: &str, password: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { hash, password: password.to_owned(), nonce, bare }
    }

    /// The first message.
    pub(super) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The answer to the broker's first message, which proves that we know the password. Takes some milliseconds of computing.
    pub(super) fn prove(&self, answer: &[u8]) -> Result<(String, Proven), Wrong> {
        let answer = std::str::from_utf8(answer).map_err(|_| Wrong::Garbled)?;
        let (nonce, salt, iterations) = first_answer(answer)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Wrong::Nonce);
        }
        let iterations = NonZeroU32::new(iterations)
            .filter(|count| ITERATIONS.contains(&count.get()))
            .ok_or(Wrong::Iterations(iterations))?;
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, self.password.as_bytes(), &mut salted);

        // "biws" is "n,," in base64: no channel binding.
        let without_proof = format!("c=biws,r={nonce}");
        let authenticated = format!("{},{answer},{without_proof}", self.bare);
        let client_key = self.sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), &client_key);
        let signature = self.sign(stored_key.as_ref(), authenticated.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = hmac::Key::new(self.hash.hmac(), &self.sign(&salted, b"Server Key"));
        let proven = Proven { server_key, authenticated };
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)), proven))
    }

    fn sign(&self, key: &[u8], text: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text).as_ref().to_vec()
    }
}

impl Proven {
    /// Whether the broker's last message proves that it knows the password.
    pub(super) fn verify(&self, answer: &[u8]) -> Result<(), Wrong> {
        let answer = std::str::from_utf8(answer).map_err(|_| Wrong::Garbled)?;
        let first = answer.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(Wrong::Said(error.to_owned()));
        }
        let signature =
            first.strip_prefix("v=").and_then(|signature| BASE64.decode(signature).ok()).ok_or(Wrong::Garbled)?;
        hmac::verify(&self.server_key, self.authenticated.as_bytes(), &signature).map_err(|_| Wrong::Impostor)
    }
}

/// The nonce, the salt and the iterations of `r=...,s=...,i=...`.
fn first_answer(answer: &str) -> Result<(&str, Vec<u8>, u32), Wrong> {
    let mut fields = answer.split(',');
    let mut field = |name| fields.next().and_then(|field: &str| field.strip_prefix(name)).ok_or(Wrong::Garbled);
    let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
    let salt = BASE64.decode(salt).map_err(|_| Wrong::Garbled)?;
    Ok((nonce, salt, iterations.parse().map_err(|_| Wrong::Garbled)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7677, section 3.
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun() -> Begun {
        Begun::new(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".into())
    }

    #[test]
    fn the_login_of_rfc_7677_is_carried_out_to_the_letter() {
        assert_eq!(begun().message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (message, proven) = begun().prove(SERVER_FIRST.as_bytes()).expect("it is right");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(message, expected);
        assert_eq!(proven.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert_eq!(proven.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="), Err(Wrong::Garbled));
        assert_eq!(proven.verify(b"v=AAAA"), Err(Wrong::Impostor));
        assert_eq!(proven.verify(b"e=unknown-user"), Err(Wrong::Said("unknown-user".into())));
    }

    #[test]
    fn a_broker_that_would_learn_or_waste_something_is_refused() {
        let with = |nonce: &str, iterations: &str| {
            let answer = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}");
            begun().prove(answer.as_bytes()).map(|(message, _)| message)
        };
        assert_eq!(with("rOprNGfwEbeRWgbNEkqOx", "1"), Err(Wrong::Iterations(1)));
        assert_eq!(with("rOprNGfwEbeRWgbNEkqOx", "4000000000"), Err(Wrong::Iterations(4_000_000_000)));
        assert_eq!(with("somebody-elses", "4096"), Err(Wrong::Nonce));
        assert_eq!(with("rOprNGfwEbeRWgbNEkqO", "4096"), Err(Wrong::Nonce), "the broker adds a part of its own");
    }

    #[test]
    fn a_name_with_a_comma_keeps_it() {
        assert_eq!(Begun::new(Hash::Sha512, "a,b=c", "", "n".into()).message(), "n,,n=a=2Cb=3Dc,r=n");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in proptest::collection::vec(any::<u8>(), 0..100), text in "[r=,si:0-9A-Z]{0,40}") {
            let _ = (begun().prove(&answer), begun().prove(text.as_bytes()));
            let proven = Proven { server_key: hmac::Key::new(hmac::HMAC_SHA256, b"key"), authenticated: String::new() };
            let _ = (proven.verify(&answer), proven.verify(text.as_bytes()));
        }
    }
}
