//! What `plimsoll dev` says on standard output.

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

/// Says where everything is and what to try.
pub fn print(shown: &Shown<'_>) {
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
    println!("Plimsoll is up.\n");
    println!("  proxy      http://{}", shown.proxy);
    println!("  dashboard  http://{}/", shown.api);
    println!("  API        http://{}/api/v1/workloads", shown.api);
    println!("  metrics    http://{}/metrics   http://{}/metrics", shown.api, shown.admin);
    println!("  for KEDA   {} (gRPC)", shown.scaler);
    println!("  log        {log}");
    println!("  plan       {store}");
    println!("  replicas   {replicas}");
    match shown.routes {
        Some(routes) => println!("  routes     {}\n", routes.display()),
        None => {
            let host = demo::HOST;
            println!("  route      host {host} -> default/hello, 5 requests in flight for each replica\n");
            println!("Wake it from zero:   curl -i -H 'Host: {host}' http://{}/", shown.proxy);
            println!(
                "Put load on it:      seq 200 | xargs -P 40 -I{{}} curl -s -o /dev/null -H 'Host: {host}' 'http://{}/?sleep=500ms'",
                shown.proxy
            );
        }
    }
    println!("Look inside:         plimsoll ctl --server http://{} workloads --watch", shown.api);
    println!("Stop:                Ctrl-C\n");
}

/// Says that the end has begun.
pub fn stopping() {
    println!("Stopping: requests have drained; stopping replicas.");
}
