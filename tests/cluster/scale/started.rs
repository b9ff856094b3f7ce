//! A part of the released program, from its start until it is of use, and its memory then.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use plimsoll_testkit::{ApiServer, Folder, Port, resident_kib, wait_until};
use plimsoll_wire::scaler::ScaledObjectRef;
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use tokio::time::Instant;

use crate::http;
use crate::program::Program;

const LIMIT: Duration = Duration::from_secs(300);
/// What the lists took to read is given back by then, as far as it ever is.
const SETTLED: Duration = Duration::from_secs(5);

/// A running part.
pub(super) struct Started {
    /// From the start of the process until it was of use.
    pub(super) ready: Duration,
    program: Program,
    ports: [Port; 2],
    _nobody: Port,
    _folder: Folder,
}

impl Started {
    /// An interceptor that has said that it is ready. It needs no broker for that.
    pub(super) async fn interceptor(server: &ApiServer) -> Result<Self> {
        let mut part = Self::start(server, "interceptor", ["proxy-listen", "admin-listen"], &[])?;
        let began = Instant::now();
        let admin = part.ports[1].address();
        part.program.listens(&[&admin]).await?;
        wait_until("the interceptor is ready", LIMIT, async || {
            let reply = http::get(&admin, "admin", "/readyz").await?;
            ensure!(reply.status == 200, "{}", reply.body);
            Ok(())
        })
        .await?;
        part.ready = began.elapsed();
        Ok(part)
    }

    /// A manager that knows this route, or where none is named knows that there is no other.
    pub(super) async fn manager(server: &ApiServer, route: Option<&str>) -> Result<Self> {
        let store = ["--store=configmap", "--store-namespace=many"];
        let mut part = Self::start(server, "manager", ["api-listen", "scaler-listen"], &store)?;
        let began = Instant::now();
        let scaler = part.ports[1].address();
        part.program.listens(&[&scaler]).await?;
        let mut keda = ExternalScalerClient::connect(format!("http://{scaler}")).await?;
        let name = route.unwrap_or("nowhere");
        let asked = ScaledObjectRef {
            name: name.to_owned(),
            namespace: "many".to_owned(),
            scaler_metadata: [("interceptorRoute".to_owned(), name.to_owned())].into(),
        };
        wait_until("the manager knows the resources", LIMIT, async || {
            match (keda.get_metric_spec(asked.clone()).await, route) {
                (Ok(_), Some(_)) => Ok(()),
                (Err(status), None) if status.code() == tonic::Code::NotFound => Ok(()),
                (Err(status), _) => bail!("{status}"),
                (Ok(spec), None) => bail!("{spec:?}"),
            }
        })
        .await?;
        part.ready = began.elapsed();
        Ok(part)
    }

    fn start(server: &ApiServer, part: &str, listen: [&str; 2], more: &[&str]) -> Result<Self> {
        let folder = Folder::new("scale")?;
        let (ports, nobody) = ([Port::claim()?, Port::claim()?], Port::claim()?);
        let mut arguments = vec![part.to_owned(), "--cluster".to_owned(), "--log=error".to_owned()];
        arguments.push(format!("--kubeconfig={}", server.kubeconfig().display()));
        arguments.push(format!("--kafka={}", nobody.address()));
        arguments.extend(listen.iter().zip(&ports).map(|(flag, port)| format!("--{flag}={}", port.address())));
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let program = Program::start(&folder, part, &arguments)?;
        Ok(Self { ready: Duration::ZERO, program, ports, _nobody: nobody, _folder: folder })
    }

    /// Where the proxy listens, or the API.
    pub(super) fn first(&self) -> String {
        self.ports[0].address()
    }

    /// Its memory, in KiB, once it has settled; it ends then.
    pub(super) async fn settled(self) -> Result<usize> {
        self.settled_kib().await
    }

    /// Its memory, in KiB, once it has settled.
    pub(super) async fn settled_kib(&self) -> Result<usize> {
        tokio::time::sleep(SETTLED).await;
        Ok(resident_kib(self.program.id())?.try_into()?)
    }
}
