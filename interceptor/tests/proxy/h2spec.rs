//! The interceptor's HTTP/2 against h2spec, the field's conformance test.

use std::path::Path;

use tokio::process::Command;

use crate::scene::Scene;
use crate::upstream::Upstream;

/// Case 3.5.2 sends a line that is no preface and wants the connection closed without a word. The port speaks HTTP/1 too, and that
/// line is a bad request there: it is answered 400, and then the connection is closed.
const ACCEPTED: [&str; 1] = ["× 2: Sends invalid connection preface"];

/// Where h2spec is, built on first use.
async fn h2spec() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/h2spec/build");
    let output = Command::new(script).kill_on_drop(true).output().await.expect("tools/h2spec/build can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn http_2_is_spoken_by_the_letter() {
    let scene = Scene::with(|_, workload| workload.rules[0].hosts = vec!["*".to_owned()]).await;
    scene.ready(&[Upstream::start().await.address]);
    let port = scene.proxy.port().to_string();
    let mut command = Command::new(h2spec().await);
    // A server on a busy machine may take its time; h2spec waits for it, and is done at once where it does not.
    command.args(["--port", &port, "--timeout", "10"]).kill_on_drop(true);
    let output = command.output().await.expect("h2spec can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with('×')).collect();
    assert_eq!(failed, ACCEPTED, "{said}");
    let verdict =
        said.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_else(|| panic!("no verdict in\n{said}"));
    assert!(verdict.ends_with("0 skipped, 1 failed"), "{said}");
    let tests: u32 = verdict.split(' ').next().and_then(|count| count.parse().ok()).expect("a count of tests");
    assert!(tests >= 140, "{verdict}");
}
