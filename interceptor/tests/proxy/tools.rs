//! Clients that everybody has: curl and h2load.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

/// What a tool prints. It is stopped with the test.
async fn printed(tool: &str, arguments: &[&str]) -> String {
    let command = Command::new(tool).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), command).await.expect("it ends in time");
    let output = output.unwrap_or_else(|error| panic!("{tool} does not run: {error}; `make tools` installs it"));
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tool} {arguments:?}: {}\n{text}\n{errors}", output.status);
    text.into_owned()
}

async fn curl(scene: &Scene, path: &str, arguments: &[&str]) -> String {
    let url = format!("http://{}{path}", scene.proxy);
    let all: Vec<&str> = ["-sS", "--noproxy", "*", "-H", "host: app.test"].iter().chain(arguments).copied().collect();
    printed("curl", &[&all[..], &[&url]].concat()).await
}

#[tokio::test]
async fn curl_uploads_with_a_length_in_chunks_and_after_asking() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let upload = "0123456789".repeat(20_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &upload).unwrap();
    let data = format!("@{}", file.path().display());
    for way in [&["-H", "expect:"][..], &["-H", "transfer-encoding: chunked"], &["-H", "expect: 100-continue"]] {
        let echoed = curl(&scene, "/echo", &[way, &["--data-binary", &data]].concat()).await;
        assert!(echoed == upload, "{way:?}: {} bytes came back", echoed.len());
    }
    scene.until_queue(0, 3).await;
}

#[tokio::test]
async fn curl_asks_for_heads_and_ranges_over_one_connection() {
    let scene = Scene::start().await;
    let ranged = Upstream::scripted(|mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let answer = if head.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\naccept-ranges: bytes\r\n\r\n"
            } else {
                assert!(head.contains("range: bytes=2-4"), "{head}");
                "HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 2-4/10\r\n\r\n234"
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    scene.ready(&[ranged.await.address]);
    let head = curl(&scene, "/file", &["-I"]).await.to_lowercase();
    assert!(head.contains("content-length: 1000000") && head.contains("accept-ranges: bytes"), "{head}");

    let url = format!("http://{}/file", scene.proxy);
    let range = ["-r", "2-4", "-w", " %{http_code} %{num_connects}\n"];
    let printed = curl(&scene, "/file", &[&range[..], &[&url]].concat()).await;
    assert_eq!(printed, "234 206 1\n234 206 0\n", "the second request needs no connection of its own");
}

#[tokio::test]
async fn h2load_sends_ten_thousand_requests_and_none_fails() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    let url = format!("http://{}/", scene.proxy);
    let host = ["-H", ":authority: app.test"];
    let arguments = [&["-n", "10000", "-c", "8", "-m", "16"][..], &host, &[&url]].concat();
    let report = printed("h2load", &arguments).await;
    let expected = "10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(report.contains(expected), "{report}");
    assert!(report.contains("status codes: 10000 2xx"), "{report}");
    scene.until_queue(0, 10_000).await;
}
