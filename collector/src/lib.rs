//! The collector: reads the topics it is assigned, folds frames into concurrency and request rate, and streams the answers.
//!
//! * `fold`: what decides; pure.
//! * `reader`: the one task that reads the log and follows the assignment; it alone touches the fold.
//! * `questions`: what is asked of that task beside.
//! * `hub`: the newest answers, and what each subscriber has not been told yet; `service` is its gRPC form.
//! * `registrar`: keeps the collector known to the managers; `farewell`: leaves without a gap; `admin`: probes and metrics.

mod admin;
mod collector;
mod config;
mod farewell;
mod fold;
mod hub;
mod metrics;
mod questions;
mod reader;
mod registrar;
mod service;

pub use collector::{Collector, Error, Parts};
pub use config::Config;
pub use metrics::described as described_metrics;
