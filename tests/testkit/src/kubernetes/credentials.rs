//! Keys, certificates and kubeconfigs of an API server and its users.

use std::{
    fs::write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// The files, all in one folder.
#[derive(Debug)]
pub(super) struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// Makes them, for a server at this URL.
    pub(super) fn make(folder: &Path, url: &str) -> Result<Self> {
        let made = Self { folder: folder.to_owned() };
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "kubernetes test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        write(made.authority(), authority.self_signed(&authority_key)?.pem())?;
        let issuer = Issuer::new(authority, authority_key);
        let sign = |file: &str, params: CertificateParams| -> Result<()> {
            let key = KeyPair::generate()?;
            write(made.file(&format!("{file}.key")), key.serialize_pem())?;
            Ok(write(made.file(&format!("{file}.crt")), params.signed_by(&key, &issuer)?.pem())?)
        };
        let hosts = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut server = CertificateParams::new(hosts)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        sign("server", server)?;
        for name in ["admin", "admin-renewed"] {
            let mut admin = CertificateParams::default();
            admin.distinguished_name.push(DnType::CommonName, name);
            // This group may do everything, whatever the roles say.
            admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
            admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            sign(name, admin)?;
        }
        let accounts = KeyPair::generate()?;
        write(made.file("accounts.key"), accounts.serialize_pem())?;
        write(made.file("accounts.pub"), accounts.public_key_pem())?;
        let certificate = format!(
            "client-certificate: {}, client-key: {}",
            made.file("admin.crt").display(),
            made.file("admin.key").display()
        );
        made.write_kubeconfig(&made.admin_kubeconfig(), url, &certificate)?;
        Ok(made)
    }

    /// What the API server is told of them.
    pub(super) fn server_flags(&self) -> Vec<String> {
        [
            ("client-ca-file", "authority.crt"),
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("service-account-key-file", "accounts.pub"),
            ("service-account-signing-key-file", "accounts.key"),
        ]
        .into_iter()
        .map(|(flag, file)| format!("--{flag}={}", self.file(file).display()))
        .chain(["--service-account-issuer=https://kubernetes.default.svc".to_owned()])
        .collect()
    }

    /// What the controllers are told of them.
    pub(super) fn controller_flags(&self) -> [String; 2] {
        [
            format!("--root-ca-file={}", self.authority().display()),
            format!("--service-account-private-key-file={}", self.file("accounts.key").display()),
        ]
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.file("authority.crt")
    }

    pub(super) fn admin_kubeconfig(&self) -> PathBuf {
        self.file("admin.kubeconfig")
    }

    /// Certificate and key of a user who may do everything: `admin`, or `admin-renewed`.
    pub(super) fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.file(&format!("{name}.crt")), self.file(&format!("{name}.key")))
    }

    /// A kubeconfig for the bearer of a token; `name` tells them apart.
    pub(super) fn token_kubeconfig(&self, name: &str, token: &str, url: &str) -> Result<PathBuf> {
        let path = self.file(&format!("{name}.kubeconfig"));
        self.write_kubeconfig(&path, url, &format!("token: {token}"))?;
        Ok(path)
    }

    fn write_kubeconfig(&self, path: &Path, url: &str, user: &str) -> Result<()> {
        let authority = self.authority();
        let authority = authority.display();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: '{url}', certificate-authority: {authority}}}}}]\n\
             users: [{{name: test, user: {{{user}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
        );
        Ok(write(path, text)?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
