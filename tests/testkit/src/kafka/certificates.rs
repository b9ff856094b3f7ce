//! Certificates for a broker and its clients, made for the test.

use std::{
    fs::write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::Folder;

/// PEM files: an authority that signs the broker's certificate and a client's, and another that signs nothing.
#[derive(Debug)]
pub struct Certificates {
    folder: Folder,
}

impl Certificates {
    /// Makes them, for brokers at 127.0.0.1 and `localhost`, and for the client `plimsoll`.
    pub fn make() -> Result<Self> {
        let certificates = Self { folder: Folder::new("certificates")? };
        let (authority_params, authority_key) = authority("plimsoll test authority")?;
        write(certificates.authority(), authority_params.self_signed(&authority_key)?.pem())?;
        let issuer = Issuer::new(authority_params, authority_key);
        let sign = |name: &str, hosts: &[&str]| -> Result<(String, String)> {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
            let mut params = CertificateParams::new(hosts)?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate()?;
            Ok((key.serialize_pem(), params.signed_by(&key, &issuer)?.pem()))
        };
        let (key, certificate) = sign("broker", &["127.0.0.1", "localhost"])?;
        write(certificates.broker_keystore(), key + &certificate)?;
        let (key, certificate) = sign("plimsoll", &["plimsoll"])?;
        write(certificates.client_key(), key)?;
        write(certificates.client_certificate(), certificate)?;
        let (stranger, stranger_key) = authority("an authority that nobody knows")?;
        write(certificates.stranger(), stranger.self_signed(&stranger_key)?.pem())?;
        Ok(certificates)
    }

    /// The authority's certificate: what a client trusts (librdkafka's `ssl.ca.location`).
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// A client's certificate (`ssl.certificate.location`).
    pub fn client_certificate(&self) -> PathBuf {
        self.folder.join("client.pem")
    }

    /// The client's private key, PKCS #8 (`ssl.key.location`).
    pub fn client_key(&self) -> PathBuf {
        self.folder.join("client-key.pem")
    }

    /// Another authority's certificate, for a client that must not trust the broker.
    pub fn stranger(&self) -> PathBuf {
        self.folder.join("stranger.pem")
    }

    /// The folder that has them all.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The broker's key and certificate in one file, as Kafka's PEM key stores are.
    pub(super) fn broker_keystore(&self) -> PathBuf {
        self.folder.join("broker.pem")
    }
}

fn authority(name: &str) -> Result<(CertificateParams, KeyPair)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok((params, KeyPair::generate()?))
}
