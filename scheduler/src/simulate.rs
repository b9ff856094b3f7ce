//! A day of a fleet in seconds: workloads come and go, loads rise and fall, collectors crash, a provider fails. With it, policies
//! are compared before they are used.
//!
//! It is deterministic: all chance comes from the scenario's seed, and every policy meets the same day. What plans and scales is the
//! real thing, [`solve`](crate::solve::solve) and [`scale`](crate::scale::scale()); what is simulated is what they are used on.

mod chance;
mod chart;
mod collectors;
mod report;
mod run;
mod scenario;
#[cfg(test)]
mod tests;
mod workloads;

pub use chart::chart;
pub use report::{Report, Sample, Spread};
pub use run::run;
pub use scenario::{BadScenario, Bursts, Crashes, Failure, NamedPolicy, Provider, Scaling, Scenario};
