//! What one host needs where there is no Kubernetes: `plimsoll autoscaler` scales containers of a Docker engine.

pub mod command;
mod containers;
mod docker;
#[cfg(test)]
mod tests;
