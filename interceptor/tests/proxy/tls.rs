//! Clients that come in over TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_interceptor::{ClientAuth, Config, TlsVersion};
use rustls::HandshakeKind;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use crate::certs::{Authority, Pair, connect};
use crate::client::Client;
use crate::logs;
use crate::parking::until_parked;
use crate::scene::{SOON, Scene, until_within};
use crate::upstream::Upstream;

const GET: &str = "GET /head HTTP/1.1\r\nhost: app.test\r\n\r\n";

/// An interceptor with certificates in a folder.
struct Secured {
    scene: Scene,
    authority: Authority,
    folder: TempDir,
}

impl Secured {
    async fn start(adjust: impl FnOnce(&mut Config, &Path)) -> Self {
        let (authority, folder) = (Authority::new("tests"), tempfile::tempdir().unwrap());
        authority.issue(&["app.test"]).write(folder.path(), "app");
        authority.issue(&["*.wild.test"]).write(folder.path(), "wild");
        let dir = folder.path().to_owned();
        let scene = Scene::with(|config, _| {
            config.tls.tls_cert_dirs = vec![dir.clone()];
            adjust(config, &dir);
        });
        let scene = scene.await;
        Self { scene, authority, folder }
    }

    async fn ready(&self) -> Upstream {
        let upstream = Upstream::start().await;
        self.scene.ready(&[upstream.address]);
        upstream
    }

    async fn client(&self) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = connect(self.scene.proxy_tls(), "app.test", self.authority.client(None, &["http/1.1"])).await;
        Client::over(stream.unwrap())
    }

    /// The names for which a certificate is shown to who asks for `host`.
    async fn shown(&self, host: &'static str) -> Vec<u8> {
        let mut config = self.authority.client(None, &[]);
        config.dangerous().set_certificate_verifier(Arc::new(Anything));
        let stream = connect(self.scene.proxy_tls(), host, config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Waits for what happens some time after files have changed.
async fn eventually(is_so: impl AsyncFnMut() -> bool, what: &str) {
    until_within(Duration::from_secs(60), is_so, what).await;
}

/// Whether a request is answered on a TLS connection made so: with TLS 1.3 the refusal of a client's certificate comes only then.
async fn is_served(secured: &Secured, own: Option<&Pair>) -> bool {
    let config = secured.authority.client(own, &["http/1.1"]);
    let Ok(mut stream) = connect(secured.scene.proxy_tls(), "app.test", config).await else { return false };
    let answered: io::Result<_> = async {
        stream.write_all(GET.as_bytes()).await?;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await?;
        Ok(begin == *b"HTTP/1.1 200")
    }
    .await;
    answered.unwrap_or(false)
}

#[tokio::test]
async fn curl_is_served_over_both_protocols() {
    let secured = Secured::start(|_, _| {}).await;
    secured.ready().await;
    let ca = secured.folder.path().join("authority.txt");
    std::fs::write(&ca, &secured.authority.pem).unwrap();
    let port = secured.scene.proxy_tls().port();
    for (flag, begins) in [("--http2", "http/2 200"), ("--http1.1", "http/1.1 200 ok")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "30", flag, "--cacert"]).arg(&ca);
        curl.args(["--resolve", &format!("app.test:{port}:127.0.0.1"), &format!("https://app.test:{port}/head")]);
        let output = curl.kill_on_drop(true).output().await.expect("curl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap().to_lowercase();
        assert!(text.starts_with(begins), "{text}");
        assert!(text.contains("\nx-forwarded-proto: https\n"), "{text}");
        assert!(text.contains(&format!("\nhost: app.test:{port}\n")), "{text}");
    }
    secured.scene.until_queue(0, 2).await;
    assert_eq!(secured.scene.metric("interceptor_tls_handshakes_total").await, Some(2));
}

#[tokio::test]
async fn each_host_gets_its_certificate() {
    let secured = Secured::start(|_, _| {}).await;
    let (app, wild) = (secured.shown("app.test").await, secured.shown("a.wild.test").await);
    assert_ne!(app, wild);
    assert_eq!(secured.shown("other.test").await, app, "the first one is for all others");
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let secured = Secured::start(|_, _| {}).await;
    let (first, wild) = (secured.shown("app.test").await, secured.shown("a.wild.test").await);
    // Spoilt: the former one stays, and the others do too.
    std::fs::write(secured.folder.path().join("app.key"), "no key").unwrap();
    let problems = "interceptor_tls_certificate_problems";
    eventually(async || secured.scene.metric(problems).await == Some(1), "the spoilt key is noticed").await;
    assert_eq!(secured.shown("app.test").await, first);
    assert_eq!(secured.shown("a.wild.test").await, wild);
    secured.authority.issue_until(&["app.test"], 2041).write(secured.folder.path(), "app");
    eventually(async || secured.shown("app.test").await != first, "the new certificate is shown").await;
    eventually(async || secured.scene.metric(problems).await == Some(0), "nothing is wrong any more").await;
    let path = secured.folder.path().join("app.crt");
    let ends = format!("interceptor_tls_certificate_end_timestamp_seconds{{path=\"{}\"}}", path.display());
    // 2041-01-01 UTC.
    assert_eq!(secured.scene.metric(&ends).await, Some(2_240_611_200));
    // A further one comes, and one goes.
    secured.authority.issue(&["new.test"]).write(secured.folder.path(), "new");
    std::fs::remove_file(secured.folder.path().join("wild.crt")).unwrap();
    eventually(async || secured.shown("new.test").await != secured.shown("x.test").await, "the further one is shown")
        .await;
    eventually(async || secured.shown("a.wild.test").await != wild, "the removed one is shown no more").await;
}

#[tokio::test]
async fn a_client_must_have_a_certificate_where_it_is_required() {
    logs::keep();
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    for (auth, without) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        let secured = Secured::start(|config, folder| {
            let path = folder.join("clients.txt");
            std::fs::write(&path, &clients.pem).unwrap();
            config.tls.tls_client_ca = Some(path);
            config.tls.tls_client_auth = auth;
        });
        let secured = secured.await;
        secured.ready().await;
        assert!(is_served(&secured, Some(&clients.issue(&["client"]))).await);
        assert!(!is_served(&secured, Some(&strangers.issue(&["client"]))).await, "another authority's");
        eventually(async || logs::have(&["TLS handshake with 127.0.0.1", "UnknownIssuer"]), "the reason is logged")
            .await;
        assert_eq!(is_served(&secured, None).await, without, "{auth:?}");
        // Who is trusted changes too, and those who were trusted are not resumed.
        std::fs::write(secured.folder.path().join("clients.txt"), &strangers.pem).unwrap();
        let stranger = strangers.issue(&["client"]);
        eventually(async || is_served(&secured, Some(&stranger)).await, "the new authority counts").await;
        assert!(!is_served(&secured, Some(&clients.issue(&["client"]))).await);
    }
}

#[tokio::test]
async fn plain_http_at_the_tls_port_is_told_so() {
    let secured = Secured::start(|_, _| {}).await;
    let mut client = Client::connect(secured.scene.proxy_tls()).await;
    client.send(GET).await;
    let response = client.response().await;
    assert_eq!(response.status, 400);
    assert!(response.text().contains("https://"), "{}", response.text());
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_off_and_others_go_on() {
    let secured = Secured::start(|config, _| {
        config.tls.tls_handshake_timeout = Duration::from_millis(500);
        config.tls.tls_max_handshakes = 1;
    });
    let secured = secured.await;
    secured.ready().await;
    let mut silent = Client::connect(secured.scene.proxy_tls()).await;
    let began = Instant::now();
    // It waits for its turn, and then is served.
    let mut client = secured.client().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(silent.is_closed().await);
    assert_eq!(secured.scene.metric("interceptor_tls_handshake_failures_total").await, Some(1));
}

#[tokio::test]
async fn who_connects_and_says_nothing_gives_way_to_who_does() {
    let secured = Secured::start(|config, _| {
        config.tls.tls_handshake_timeout = Duration::from_secs(60);
        config.tls.tls_max_handshakes = 1;
    });
    let secured = secured.await;
    secured.ready().await;
    let mut silent = Client::connect(secured.scene.proxy_tls()).await;
    let others = async {
        for _ in 0..2 {
            let mut client = secured.client().await;
            client.send(GET).await;
            assert_eq!(client.response().await.status, 200);
        }
    };
    tokio::time::timeout(SOON, others).await.expect("they wait for no handshake that never goes on");
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn a_client_that_comes_again_resumes_its_session() {
    let secured = Secured::start(|_, _| {}).await;
    secured.ready().await;
    let config = Arc::new(secured.authority.client(None, &["http/1.1"]));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let stream = connect(secured.scene.proxy_tls(), "app.test", config.clone()).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
        let mut client = Client::over(stream);
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn an_old_version_can_be_refused() {
    let secured = Secured::start(|config, _| config.tls.tls_min_version = TlsVersion::V1_3).await;
    let old = secured.authority.client_of(None, &[], &[&rustls::version::TLS12]);
    connect(secured.scene.proxy_tls(), "app.test", old).await.unwrap_err();
    connect(secured.scene.proxy_tls(), "app.test", secured.authority.client(None, &[])).await.unwrap();
}

#[tokio::test]
async fn only_the_cipher_suites_that_are_named_are_spoken() {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    let secured = Secured::start(|config, _| config.tls.tls_cipher_suites = vec![suite]).await;
    // The client would rather have another one.
    let client = secured.authority.client(None, &[]);
    assert_ne!(client.crypto_provider().cipher_suites[0], suite);
    let stream = connect(secured.scene.proxy_tls(), "app.test", client).await.unwrap();
    assert_eq!(stream.get_ref().1.negotiated_cipher_suite(), Some(suite));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_departs() {
    let secured = Secured::start(|_, _| {}).await;
    for (number, body) in ["", "x"].iter().enumerate() {
        let mut client = secured.client().await;
        let body = body.repeat(50_000);
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n{body}", 2 * body.len()))
            .await;
        secured.scene.until_held(1).await;
        client.leave();
        secured.scene.until_queue(0, number as u64 + 1).await;
    }
}

#[tokio::test]
async fn the_protocol_can_be_changed_over_tls() {
    let secured = Secured::start(|_, _| {}).await;
    secured.ready().await;
    let mut client = secured.client().await;
    client.send("GET /upgrade HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().0, 101);
    client.send("ping").await;
    assert_eq!(client.take(4).await.unwrap(), b"ping");
    secured.scene.until_queue(1, 1).await;
    client.leave();
    secured.scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn large_bodies_go_both_ways_over_tls() {
    let secured = Secured::start(|_, _| {}).await;
    secured.ready().await;
    let body = "0123456789abcdef".repeat(64 * 1024);
    let mut client = secured.client().await;
    client
        .send(&format!("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
        .await;
    assert_eq!(client.response().await.text(), body);
}

#[tokio::test]
async fn a_request_in_flight_over_tls_is_finished_at_shutdown() {
    let secured = Secured::start(|_, _| {}).await;
    secured.ready().await;
    let mut client = secured.client().await;
    client.send("GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    secured.scene.until_queue(1, 1).await;
    let stopped = tokio::spawn(secured.scene.stop());
    assert_eq!(client.response().await.text(), "slow");
    assert!(client.is_closed().await);
    stopped.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_interceptor_without_any_usable_certificate_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let error = Scene::try_with(|config, _| config.tls.tls_cert_dirs = vec![folder.path().to_owned()]).await;
    let error = error.err().expect("no certificate, no TLS").to_string();
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
}

/// Trusts everybody: to look at certificates that are for another host.
#[derive(Debug)]
struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_parked_connection_is_answered_again() {
    let secured = Secured::start(|_, _| {}).await;
    secured.ready().await;
    let mut client = secured.client().await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.response().await.status, 200);
        until_parked(&secured.scene, 1).await;
    }
    client.send(&GET.repeat(2)).await;
    assert_eq!([client.response().await.status, client.response().await.status], [200, 200]);
    until_parked(&secured.scene, 1).await;
    let stopping = tokio::spawn(secured.scene.stop());
    assert!(client.is_closed().await);
    stopping.await.unwrap().unwrap();
}
