//! One of each part that serves metrics: an interceptor and a manager (as `dev`), and a collector.

use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_testkit::{Folder, Port, wait_until};

use super::http;
use super::program::Program;

const LIMIT: Duration = Duration::from_secs(60);

/// The parts, running; killed when this is dropped.
pub(crate) struct Parts {
    /// The interceptor's address for metrics.
    admin: String,
    /// The manager's.
    pub(crate) api: String,
    /// The collector's.
    probes: String,
    _programs: [Program; 2],
    // After the programs: nobody else is to be given their ports before.
    _ports: [Port; 6],
    _folder: Folder,
}

impl Parts {
    /// Starts them. A request has been answered then, since some series begin with the first one.
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?];
        let [proxy, admin, api, scaler, answers, probes] = ports.each_ref().map(Port::address);
        let dev = [
            "dev".to_owned(),
            format!("--proxy-listen={proxy}"),
            format!("--admin-listen={admin}"),
            format!("--api-listen={api}"),
            format!("--scaler-listen={scaler}"),
        ];
        let dev = Program::start(&folder, "dev", &dev)?;
        // Metrics do not wait for a log or a store.
        let collector = [
            "collector".to_owned(),
            "--kafka=127.0.0.1:9".to_owned(),
            "--etcd=127.0.0.1:9".to_owned(),
            format!("--collector-listen={answers}"),
            format!("--collector-admin-listen={probes}"),
        ];
        let collector = Program::start(&folder, "collector", &collector)?;
        wait_until("a request is answered", LIMIT, async || {
            let reply = http::get(&proxy, "hello.localhost", "/").await?;
            ensure!(reply.status == 200, "{reply:?}");
            Ok(())
        })
        .await?;
        Ok(Self { admin, api, probes, _programs: [dev, collector], _ports: ports, _folder: folder })
    }

    /// The pages of metrics of the interceptor, the manager and the collector.
    pub(crate) async fn metrics(&self) -> Result<[String; 3]> {
        Ok([page(&self.admin).await?, page(&self.api).await?, page(&self.probes).await?])
    }
}

async fn page(address: &str) -> Result<String> {
    let page = wait_until("metrics are served", LIMIT, async || http::get_ok(address, "/metrics").await).await?;
    Ok(page.body)
}
