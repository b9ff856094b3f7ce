//! The proxy beside nginx: the same backend, the same load, in turn, on the same cores; counting and publishing to Kafka on.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Folder, Port, Process};

use crate::figures::{cpu_time, median};
use crate::line::{Ground, Line};
use crate::traffic;

const CONNECTIONS: &str = "64";
const BODY: usize = 512;

struct Contender<'a> {
    name: &'static str,
    address: &'a str,
    process: u32,
    requests_per_second: Vec<f64>,
    cpu_us: Vec<f64>,
}

/// Prints a row for each contender, and the ratio.
pub async fn run(rounds: usize, seconds: u64) -> Result<()> {
    let folder = Folder::new("plimsoll-bench-nginx")?;
    let (backend_port, nginx_port) = (Port::claim()?, Port::claim()?);
    let (backend, nginx_address) = (backend_port.address(), nginx_port.address());
    let body = "x".repeat(BODY);
    let _backend = nginx(&folder, "backend", &backend, &format!("location / {{ return 200 '{body}'; }}"), "").await?;
    let upstream = format!("upstream backend {{ server {backend}; keepalive 128; keepalive_requests 1000000; }}");
    let forward = "location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host; \
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }";
    let nginx = nginx(&folder, "nginx", &nginx_address, forward, &upstream).await?;
    let line = Line::start(Ground::Kafka, &traffic::route("bench", backend.parse()?), 1).await?;

    let mut contenders = [
        Contender {
            name: "nginx",
            address: &nginx_address,
            process: nginx.id(),
            requests_per_second: vec![],
            cpu_us: vec![],
        },
        Contender {
            name: "plimsoll",
            address: &line.proxy,
            process: line.interceptor.id(),
            requests_per_second: vec![],
            cpu_us: vec![],
        },
    ];
    for round in 0..=rounds {
        for contender in &mut contenders {
            let before = cpu_time(contender.process)?;
            let requests = load(contender.address, if round == 0 { 1 } else { seconds }).await?;
            let cpu = cpu_time(contender.process)? - before;
            // The first round warms up.
            if round > 0 {
                contender.requests_per_second.push(requests.per_second);
                contender.cpu_us.push(cpu.as_secs_f64() * 1e6 / requests.count);
            }
        }
    }
    println!(
        "\nproxy: HTTP/1.1 keep-alive, {CONNECTIONS} connections, {BODY} B bodies, medians of {rounds} rounds of {seconds} s in turn"
    );
    let [nginx, plimsoll] = contenders.map(|contender| {
        let (rate, cpu) = (median(contender.requests_per_second), median(contender.cpu_us));
        println!("  {:<9} {rate:>7.0} requests a second, {cpu:>5.1} us of CPU a request", contender.name);
        (rate, cpu)
    });
    println!(
        "  ratio     {:>7.2} of nginx's rate, {:.2} of its CPU a request",
        plimsoll.0 / nginx.0,
        plimsoll.1 / nginx.1
    );
    Ok(())
}

/// An nginx of our own, with two workers.
async fn nginx(folder: &Folder, name: &str, address: &str, location: &str, upstream: &str) -> Result<Process> {
    let path = folder.path().display();
    let config = format!(
        "daemon off; worker_processes 2; pid {path}/{name}.pid; error_log {path}/{name}.err;\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {path}/{name}-body; proxy_temp_path {path}/{name}-proxy;\n\
         fastcgi_temp_path {path}/{name}-f; uwsgi_temp_path {path}/{name}-u; scgi_temp_path {path}/{name}-s;\n\
         {upstream}\nserver {{ listen {address} reuseport; {location} }} }}\n"
    );
    let file = folder.join(&format!("{name}.conf"));
    std::fs::write(&file, config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file);
    let mut process = Process::spawn(name, &command, &folder.join(&format!("{name}.log")))?;
    process.ready(Duration::from_secs(10), async || Ok(tokio::net::TcpStream::connect(address).await?)).await?;
    Ok(process)
}

struct Requests {
    count: f64,
    per_second: f64,
}

/// Load by wrk; every answer must be a success.
async fn load(address: &str, seconds: u64) -> Result<Requests> {
    let mut command = tokio::process::Command::new("wrk");
    command.args([
        "-t1",
        "-c",
        CONNECTIONS,
        "-d",
        &format!("{seconds}s"),
        "-H",
        "Host: bench.localhost",
        &format!("http://{address}/"),
    ]);
    let output = command.output().await.context("wrk can't be run: `make bench` installs it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("Non-2xx"),
        "wrk: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let count =
        text.lines().find_map(|line| line.trim().split_once(" requests in ")).and_then(|(count, _)| count.parse().ok());
    let per_second =
        text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).and_then(|rate| rate.trim().parse().ok());
    Ok(Requests {
        count: count.with_context(|| text.to_string())?,
        per_second: per_second.with_context(|| text.to_string())?,
    })
}
