use std::sync::Arc;

use super::scene::{OK, Scene};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ADA: &str = "0123456789abcdef-ada";
const BOB: &str = "0123456789abcdef-bob";
const REBALANCE: &str = "/api/v1/assignment/rebalance";

#[tokio::test]
async fn where_others_reach_it_nothing_is_changed_without_a_token() {
    let open = Scene::start(&["--api-listen=0.0.0.0:0"]).await;
    let problem = open.ask("POST", REBALANCE, None).await.problem(403);
    assert!(problem["detail"].as_str().unwrap().contains("--api-token-file"), "{problem}");
    assert_eq!(open.get("/api/v1/topics").await.status, OK, "looking is open");
    assert_eq!(open.store_directives().await, Default::default());
    open.end().await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("operate:ada:{ADA}\nread:bob:{BOB}\n")).unwrap();
    let flag = format!("--api-token-file={}", file.display());
    let scene = Scene::start(&["--api-listen=0.0.0.0:0", &flag, "--api-reads-need-role"]).await;
    let as_who = async |method: &str, path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        scene.send(method, path, if token.is_empty() { &headers[..1] } else { &headers }, None).await
    };
    let refused = as_who("POST", REBALANCE, "").await;
    refused.problem(401);
    assert!(refused.headers["www-authenticate"].starts_with("Bearer"));
    as_who("POST", REBALANCE, "0123456789abcdef-eve").await.problem(401);
    as_who("POST", REBALANCE, BOB).await.problem(403);
    as_who("GET", "/api/v1/topics", "").await.problem(401);
    as_who("GET", "/metrics", "").await.problem(401);
    assert_eq!(as_who("GET", "/healthz", "").await.status, OK, "a kubelet has no token");
    assert_eq!(as_who("GET", "/api/v1/topics", BOB).await.status, OK);
    as_who("POST", REBALANCE, ADA).await.ok(202);
    assert_eq!(scene.store_directives().await.rebalances, 1);
    scene.end().await;
}

#[tokio::test]
async fn a_file_of_tokens_that_is_wrong_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "operate:ada:short").unwrap();
    let error = Scene::refused(&[&format!("--api-token-file={}", file.display())]).await;
    assert!(error.contains("line 1") && error.contains("16 or more"), "{error}");
    assert!(!error.contains("short"), "{error}");
}

/// A certificate with its key, signed by this authority.
fn signed(name: &str, authority: &rcgen::Issuer<'_, rcgen::KeyPair>) -> (String, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key)
}

fn der(pem: &str) -> CertificateDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap()
}

/// One request over TLS, and the first line of its answer.
async fn over_tls(
    scene: &Scene,
    roots: &rustls::RootCertStore,
    shown: Option<&(String, rcgen::KeyPair)>,
    request: &str,
) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots.clone());
    let config = match shown {
        Some((pem, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![der(pem)], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", scene.address.port())).await.unwrap();
    let name = ServerName::try_from("manager.example").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let head =
        "host: manager.example\r\ncontent-type: application/json\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("{request} HTTP/1.1\r\n{head}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The peer's end of the connection may come without a goodbye.
    let _ = stream.read_to_string(&mut answer).await;
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn over_tls_a_client_is_known_by_its_certificate() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = params.self_signed(&key).unwrap().pem();
    let authority = rcgen::Issuer::new(params, key);
    let (cert, server_key) = signed("manager.example", &authority);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let flags = [
        "--api-listen=0.0.0.0:0".to_owned(),
        format!("--api-tls-cert={}", file("tls.crt", &cert)),
        format!("--api-tls-key={}", file("tls.key", &server_key.serialize_pem())),
        format!("--api-client-ca={}", file("ca.crt", &authority_pem)),
        "--api-client-operators=ops.example".to_owned(),
    ];
    let scene = Scene::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&authority_pem)).unwrap();
    let ops = signed("ops.example", &authority);
    let guest = signed("guest.example", &authority);
    let write = format!("POST {REBALANCE}");
    assert_eq!(over_tls(&scene, &roots, Some(&ops), &write).await, "HTTP/1.1 202 Accepted");
    assert_eq!(over_tls(&scene, &roots, Some(&guest), &write).await, "HTTP/1.1 403 Forbidden");
    assert_eq!(over_tls(&scene, &roots, None, &write).await, "HTTP/1.1 401 Unauthorized");
    assert_eq!(over_tls(&scene, &roots, None, "GET /api/v1/topics").await, "HTTP/1.1 200 OK");
    assert_eq!(scene.store_directives().await.rebalances, 1);
    scene.end().await;
}
