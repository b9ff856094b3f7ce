//! What `plimsoll dev` says on standard output.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use super::replicas::Program;
use crate::demo;

/// What there is to say.
pub struct Shown<'a> {
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
    pub api: SocketAddr,
    pub scaler: SocketAddr,
    pub log: Option<&'a str>,
    pub store: &'a [String],
    pub state: Option<&'a Path>,
    pub routes: Option<&'a Path>,
    pub program: Option<&'a Program>,
}

/// Says where everything is and what to try. Who can't be told, as where standard output is closed, gets everything else all the same.
pub fn print(shown: &Shown<'_>) {
    let _ = write(&mut io::stdout().lock(), shown);
}

fn write(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    let log = shown.log.map_or("in memory".to_owned(), |brokers| format!("Kafka at {brokers}"));
    let store = match (shown.store, shown.state) {
        ([], None) => "in memory".to_owned(),
        ([], Some(file)) => format!("in memory and {}", file.display()),
        (endpoints, _) => format!("etcd at {}", endpoints.join(",")),
    };
    let replicas = match shown.program {
        Some(Program::Demo) => "the demo, from 0".to_owned(),
        Some(Program::Command(command, _)) => format!("`{command}`, from 0"),
        None => "not scaled: the routes' targets are servers of your own".to_owned(),
    };
    writeln!(out, "Plimsoll is up.\n")?;
    writeln!(out, "  proxy      http://{}", shown.proxy)?;
    writeln!(out, "  dashboard  http://{}/", shown.api)?;
    writeln!(out, "  API        http://{}/api/v1/workloads", shown.api)?;
    writeln!(out, "  metrics    http://{}/metrics   http://{}/metrics", shown.api, shown.admin)?;
    writeln!(out, "  for KEDA   {} (gRPC)", shown.scaler)?;
    writeln!(out, "  log        {log}")?;
    writeln!(out, "  plan       {store}")?;
    writeln!(out, "  replicas   {replicas}")?;
    match shown.routes {
        Some(routes) => writeln!(out, "  routes     {}\n", routes.display())?,
        None => {
            let host = demo::HOST;
            writeln!(out, "  route      host {host} -> default/hello, 5 requests in flight for each replica\n")?;
            writeln!(out, "Wake it from zero:   curl -i -H 'Host: {host}' http://{}/", shown.proxy)?;
            writeln!(
                out,
                "Put load on it:      seq 200 | xargs -P 40 -I{{}} curl -s -o /dev/null -H 'Host: {host}' 'http://{}/?sleep=500ms'",
                shown.proxy
            )?;
        }
    }
    writeln!(out, "Look inside:         plimsoll ctl --server http://{} workloads --watch", shown.api)?;
    writeln!(out, "Stop:                Ctrl-C\n")
}

/// Says that the end has begun.
pub fn stopping() {
    let _ = writeln!(io::stdout(), "Stopping: requests have drained; stopping replicas.");
}
