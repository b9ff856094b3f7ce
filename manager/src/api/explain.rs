//! Why things are as they are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CollectorView, TopicView, WorkloadView};
use crate::lead::decisions::Decision;

/// Why a topic is where it is, and what KEDA is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainView {
    /// The topic.
    pub topic: TopicView,
    /// The story, one thing a sentence.
    pub because: Vec<String>,
    /// Its workload, with what KEDA is told and the terms of it; none where no resource describes it.
    pub workload: Option<WorkloadView>,
    /// The collector that answers for it.
    pub collector: Option<CollectorView>,
    /// What was decided about it of late, the newest first.
    pub decisions: Vec<Decision>,
}
