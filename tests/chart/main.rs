//! The Helm chart: rendered by helm, taken by a real API server, installed, upgraded and uninstalled there; its permissions asked of
//! that server as each service account. And `ctl migrate --check`, which reads a cluster.
//!
//! cert-manager, KEDA and the Prometheus operator are not there: what is of their kinds is checked field by field in `foreign`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

#[path = "../driver/http.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod http;
#[path = "../driver/parts.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod parts;
#[path = "../driver/program.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod program;

mod accepted;
mod dashboard;
mod definitions;
mod families;
mod flags;
mod foreign;
mod handover;
mod install;
mod migrate;
mod owned;
mod permissions;
mod promises;
mod release;
mod rendered;
mod scheduler;
mod values;
