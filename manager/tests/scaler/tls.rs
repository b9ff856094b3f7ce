//! TLS as KEDA's trigger asks for it.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::AT_ONCE;
use crate::scene::{Scene, trigger};

/// The manager looks at its files every 5 s, and has by then.
const LOOKED: Duration = Duration::from_secs(6);

/// An authority with a server's certificate and a client's, as files.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::write(folder.path());
        Self { folder }
    }

    /// Another one in the place of this: its files have other contents.
    fn renew(&self) {
        Self::write(self.folder.path());
    }

    /// As a Secret that has been deleted.
    fn remove(&self) {
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }

    fn write(folder: &Path) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["scaler.test".to_owned()]).unwrap();
            let pem = params.signed_by(&key, &issuer).unwrap().pem();
            std::fs::write(folder.join(format!("{name}.crt")), pem).unwrap();
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
    }

    fn flag(&self, flag: &str, file: &str) -> String {
        format!("{flag}={}", self.folder.path().join(file).display())
    }

    fn flags(&self) -> Vec<String> {
        vec![self.flag("--scaler-tls-cert", "server.crt"), self.flag("--scaler-tls-key", "server.key")]
    }

    fn certificates(&self, file: &str) -> Vec<CertificateDer<'static>> {
        let pem = std::fs::read(self.folder.path().join(file)).unwrap();
        CertificateDer::pem_slice_iter(&pem).map(|certificate| certificate.unwrap()).collect()
    }

    /// What KEDA has of the authority, with or without a certificate of its own.
    fn client(&self, with_certificate: bool) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificates("ca.crt").remove(0)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = if with_certificate {
            let key = std::fs::read(self.folder.path().join("client.key")).unwrap();
            let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
            builder.with_client_auth_cert(self.certificates("client.crt"), key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// Connects with TLS.
#[derive(Clone)]
struct Dial {
    scene: std::net::SocketAddr,
    tls: Arc<ClientConfig>,
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { scene, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(scene).await?;
            let name = ServerName::try_from("scaler.test").unwrap();
            Ok(TokioIo::new(TlsConnector::from(tls).connect(name, stream).await?))
        })
    }
}

async fn keda(scene: &Scene, tls: ClientConfig) -> ExternalScalerClient<Channel> {
    let endpoint = Endpoint::from_static("http://scaler.test");
    let dial = Dial { scene: scene.address, tls: Arc::new(tls) };
    ExternalScalerClient::new(endpoint.connect_with_connector_lazy(dial))
}

/// Whether the scaler answers.
async fn answers(mut keda: ExternalScalerClient<Channel>) -> bool {
    timeout(AT_ONCE, keda.get_metric_spec(trigger("web"))).await.is_ok_and(|answer| answer.is_ok())
}

#[tokio::test]
async fn with_a_certificate_the_scaler_speaks_tls_alone() {
    let authority = Authority::new();
    let scene = Scene::start(&authority.flags()).await;
    assert!(answers(keda(&scene, authority.client(false)).await).await);
    let plain = Endpoint::from_shared(format!("http://{}", scene.address)).unwrap().connect_lazy();
    assert!(!answers(ExternalScalerClient::new(plain)).await);
    assert!(!answers(keda(&scene, Authority::new().client(false)).await).await, "the client trusts another authority");
    scene.stop().await;
}

#[tokio::test]
async fn with_authorities_for_clients_only_theirs_are_answered() {
    let authority = Authority::new();
    let mut flags = authority.flags();
    flags.push(authority.flag("--scaler-client-ca", "ca.crt"));
    let scene = Scene::start(&flags).await;
    assert!(answers(keda(&scene, authority.client(true)).await).await);
    assert!(!answers(keda(&scene, authority.client(false)).await).await, "a client without a certificate is answered");
    // It trusts the server, and shows a certificate that nobody here trusts.
    let mut stranger = authority.client(false);
    stranger.client_auth_cert_resolver = Authority::new().client(true).client_auth_cert_resolver;
    assert!(!answers(keda(&scene, stranger).await).await, "a client of another authority is answered");
    scene.stop().await;
}

#[tokio::test]
async fn a_certificate_whose_files_have_gone_is_used_until_there_is_another() {
    let authority = Authority::new();
    let scene = Scene::start(&authority.flags()).await;
    let before = authority.client(false);
    assert!(answers(keda(&scene, before.clone()).await).await);
    authority.remove();
    tokio::time::sleep(LOOKED).await;
    assert!(answers(keda(&scene, before).await).await, "it ends with its files");
    authority.renew();
    let renewed = async {
        while !answers(keda(&scene, authority.client(false)).await).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(10 * LOOKED, renewed).await.expect("the new certificate is taken up");
    scene.stop().await;
}
