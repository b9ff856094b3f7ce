//! Collectors that somebody else starts and that register themselves, as under Docker Compose.

use async_trait::async_trait;

use super::{Fleet, FleetError, Sizes};

/// The fleet `static`: there is what is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given;

#[async_trait]
impl Fleet for Given {
    fn kind(&self) -> &'static str {
        "static"
    }

    async fn sizes(&self) -> Result<Option<Sizes>, FleetError> {
        Ok(None)
    }

    async fn scale(&self, provider: &str, collectors: usize) -> Result<(), FleetError> {
        let whose = if provider.is_empty() { String::new() } else { format!(" for provider {provider}") };
        Err(FleetError {
            fleet: self.kind(),
            what: format!("have {collectors} collectors{whose}"),
            reason: "whoever has started its collectors must start or stop them; or use --fleet process".to_owned(),
        })
    }

    async fn close(&self) {}
}
