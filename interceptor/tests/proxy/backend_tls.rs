//! TLS to workloads: who is trusted, and who we are.

use std::path::Path;

use plimsoll_interceptor::Config;
use plimsoll_wire::resources::BackendProtocol;
use tempfile::TempDir;

use crate::certs::Authority;
use crate::logs;
use crate::scene::{Scene, until};
use crate::upstream::{Speaks, Upstream};

/// An interceptor with a workload of this protocol, that trusts `authority`.
async fn scene(
    authority: &Authority,
    backend: BackendProtocol,
    adjust: impl FnOnce(&mut Config, &Path),
) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("authority.txt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let scene = Scene::with(|config, workload| {
        config.upstream_tls.upstream_tls_ca = Some(ca);
        config.connect_retry_timeout = std::time::Duration::from_millis(100);
        workload.backend_protocol = Some(backend);
        adjust(config, folder.path());
    });
    (scene.await, folder)
}

#[tokio::test]
async fn a_workload_is_trusted_only_with_a_certificate_of_its_own_name_from_a_known_authority() {
    logs::keep();
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    for backend in [BackendProtocol::Https, BackendProtocol::H2] {
        let (scene, _folder) = scene(&known, backend, |_, _| {}).await;
        for (pair, status) in [
            (known.issue(&["127.0.0.1"]), 200),
            (known.issue(&["other.test"]), 502),
            (stranger.issue(&["127.0.0.1"]), 502),
            (known.issue_until(&["127.0.0.1"], 2020), 502),
        ] {
            scene.ready(&[Upstream::speaking(Speaks::BothTls, &pair).await.address]);
            assert_eq!(scene.get("/").await.status, status, "{backend:?}");
        }
    }
    let line = ["the TLS handshake with the workload at 127.0.0.1", "UnknownIssuer", "--upstream-tls-ca"];
    until(async || logs::have(&line), "the reason is logged").await;
}

#[tokio::test]
async fn a_certificate_is_not_checked_where_the_operator_says_so() {
    logs::keep();
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let (scene, _folder) = scene(&known, BackendProtocol::Https, |config, _| {
        config.upstream_tls.upstream_tls_skip_verify = true;
    })
    .await;
    scene.ready(&[Upstream::speaking(Speaks::Http1Tls, &stranger.issue(&["other.test"])).await.address]);
    assert_eq!(scene.get("/").await.status, 200);
    assert!(logs::have(&["--upstream-tls-skip-verify", "NOT checked"]));
}

#[tokio::test]
async fn a_workload_that_asks_who_we_are_is_told() {
    let authority = Authority::new("tests");
    let own = authority.issue(&["interceptor"]);
    for (shows, status) in [(true, 200), (false, 502)] {
        let (scene, _folder) = scene(&authority, BackendProtocol::Https, |config, folder| {
            own.write(folder, "own");
            if shows {
                config.upstream_tls.upstream_tls_cert = Some(folder.join("own.crt"));
                config.upstream_tls.upstream_tls_key = Some(folder.join("own.key"));
            }
        })
        .await;
        let tls = authority.issue(&["127.0.0.1"]).server(Some(&authority), &["http/1.1"]);
        scene.ready(&[Upstream::behind(Speaks::Http1Tls, Some(tls)).await.address]);
        assert_eq!(scene.get("/").await.status, status);
    }
}

#[tokio::test]
async fn a_connection_over_tls_is_reused() {
    let authority = Authority::new("tests");
    let (scene, _folder) = scene(&authority, BackendProtocol::Https, |config, _| {
        config.proxy_threads = Some(1.try_into().unwrap());
    })
    .await;
    let upstream = Upstream::speaking(Speaks::Http1Tls, &authority.issue(&["127.0.0.1"])).await;
    scene.ready(&[upstream.address]);
    for _ in 0..5 {
        assert_eq!(scene.get("/").await.status, 200);
    }
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_workload_said_to_speak_http2_over_tls_must() {
    let authority = Authority::new("tests");
    let (scene, _folder) = scene(&authority, BackendProtocol::H2, |_, _| {}).await;
    scene.ready(&[Upstream::speaking(Speaks::Http1Tls, &authority.issue(&["127.0.0.1"])).await.address]);
    assert_eq!(scene.get("/").await.status, 502);
}

#[tokio::test]
async fn whom_to_trust_and_who_we_are_follow_their_files_and_a_spoilt_file_changes_nothing() {
    logs::keep();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (scene, folder) = scene(&old, BackendProtocol::Https, |config, folder| {
        old.issue(&["interceptor"]).write(folder, "own");
        config.upstream_tls.upstream_tls_cert = Some(folder.join("own.crt"));
        config.upstream_tls.upstream_tls_key = Some(folder.join("own.key"));
        // Each request has a handshake of its own.
        config.max_idle_conns = 0;
    })
    .await;
    // Each endpoint is of one authority, and takes only clients of the same.
    let endpoint = async |authority: &Authority| {
        let tls = authority.issue(&["127.0.0.1"]).server(Some(authority), &["http/1.1"]);
        Upstream::behind(Speaks::Http1Tls, Some(tls)).await.address
    };
    let (of_old, of_new) = (endpoint(&old).await, endpoint(&new).await);
    let status_at = async |address| {
        scene.ready(&[address]);
        scene.get("/").await.status
    };
    assert_eq!((status_at(of_old).await, status_at(of_new).await), (200, 502));

    let ca = folder.path().join("authority.txt");
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nspoilt\n").unwrap();
    until(async || logs::have(&["authority.txt", "stays in force"]), "the spoilt file is named").await;
    let problems = "interceptor_upstream_tls_problems";
    until(async || scene.metric(problems).await == Some(1), "a metric says so").await;
    assert_eq!(status_at(of_old).await, 200);

    std::fs::write(&ca, &new.pem).unwrap();
    new.issue(&["interceptor"]).write(folder.path(), "own");
    until(async || status_at(of_new).await == 200, "the new files are in force").await;
    assert_eq!(status_at(of_old).await, 502, "the old authority is trusted no more");
    until(async || scene.metric(problems).await == Some(0), "all is well").await;
}
