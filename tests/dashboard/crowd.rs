//! Ten thousand workloads on `plimsoll dev`, in memory.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::Result;
use plimsoll_testkit::{Folder, Port};

use super::{
    browser::{Scenario, play},
    driver::program::Program,
};

const COUNT: usize = 10_000;
const GREETED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn ten_thousand() -> Result<()> {
    let folder = Folder::new("crowd")?;
    fs::write(folder.join("routes.yaml"), routes())?;
    let [proxy, admin, api, scaler] = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
    let arguments = [
        "dev".to_owned(),
        format!("--routes={}", folder.join("routes.yaml").display()),
        format!("--proxy-listen={}", proxy.address()),
        format!("--admin-listen={}", admin.address()),
        format!("--api-listen={}", api.address()),
        format!("--scaler-listen={}", scaler.address()),
        "--max-per-host=5000".to_owned(),
    ];
    let mut program = Program::start(&folder, "dev", &arguments)?;
    program.prints("Ctrl-C", GREETED_WITHIN).await?;
    program.listens(&[&api.address()]).await?;
    let count = COUNT.to_string();
    let scenario = Scenario { script: "crowd.mjs", api: &api.address(), further: &[("COUNT", &count)] };
    play(scenario, async |what| anyhow::bail!("nobody knows how to do {what}")).await
}

/// One file of routes; none is ever asked for, so their service need not be there.
fn routes() -> String {
    let mut yaml = String::new();
    for number in 0..COUNT {
        write!(
            yaml,
            "---\napiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{ name: w{number:05}, namespace: crowd }}\n\
             spec:\n  target: {{ service: \"127.0.0.1\", port: 9 }}\n  rules: [{{ hosts: [w{number:05}.example.com] }}]\n\
             \x20 scalingMetric: {{ concurrency: {{ targetValue: 5 }} }}\n"
        )
        .expect("a String takes everything");
    }
    yaml
}
