//! A whole line of interceptors, collectors and managers, whatever it runs in.

use anyhow::Result;

/// Where a manager answers.
#[derive(Debug, Clone)]
pub(crate) struct ManagerAddress {
    /// REST.
    pub(crate) api: String,
    /// KEDA's gRPC.
    pub(crate) scaler: String,
}

/// What the whole-line tests need of a deployment.
pub(crate) trait Deployment {
    /// The interceptors' proxy ports.
    fn proxies(&self) -> Vec<String>;

    /// The interceptors' admin ports, in the same order.
    fn admins(&self) -> Vec<String>;

    /// The managers, those included that have been killed.
    fn managers(&self) -> Vec<ManagerAddress>;

    /// Kills a collector by its name: it says goodbye to nobody.
    fn kill_collector(&mut self, name: &str) -> Result<()>;

    /// Kills a manager in the same way.
    fn kill_manager(&mut self, number: usize) -> Result<()>;
}
