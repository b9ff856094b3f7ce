//! Topics.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicView {
    /// Its name.
    pub topic: String,
    /// Whose frames it has; none for a name that was shortened and whose workload is gone.
    pub workload: Option<String>,
    /// Where the workload runs.
    pub provider: Option<String>,
    /// The collector that answers for it.
    pub collector: Option<String>,
    /// The collector that it is moving to, which reads it already.
    pub incoming: Option<String>,
    /// The collector that an operator has pinned it to.
    #[serde(default)]
    pub pinned: Option<String>,
    /// How it is with it.
    pub state: TopicState,
    /// Whether it was registered by hand.
    #[serde(default)]
    pub registered: bool,
    /// Whether it wants a collector of its own.
    #[serde(default)]
    pub dedicated: bool,
    /// What it weighs in planning: frames a second, with a small addition for their bytes, and for being there.
    pub load: f64,
    /// Why it is where it is.
    pub reason: Option<String>,
}

/// How it is with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TopicState {
    /// No collector reads it.
    Unassigned,
    /// Its window is being replayed.
    Warming,
    /// It is answered for.
    Ready,
    /// It is answered for, and another collector reads it already, to take over.
    Moving,
    /// Its collector has no answer that can be told.
    Unknown,
    /// Its workload is gone; it is deleted when its grace period has passed.
    Retired,
    /// An operator has asked for it to be deleted.
    Removing,
}

impl TopicState {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Unassigned, Self::Warming, Self::Ready, Self::Moving, Self::Unknown, Self::Retired, Self::Removing];
}

impl fmt::Display for TopicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unassigned => "unassigned",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Moving => "moving",
            Self::Unknown => "unknown",
            Self::Retired => "retired",
            Self::Removing => "removing",
        })
    }
}

/// A topic to register, of a workload that no resource describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"workload": "shop/web", "provider": "aws"}))]
pub struct NewTopic {
    /// The workload, as `namespace/name`.
    pub workload: String,
    /// Where it runs; `default` if unsaid.
    #[serde(default = "default_provider")]
    pub provider: String,
    /// Whether it wants a collector of its own.
    #[serde(default)]
    pub dedicated: bool,
}

fn default_provider() -> String {
    plimsoll_wire::resources::DEFAULT_PROVIDER.to_owned()
}

/// Where to pin a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"collector": "collector-0"}))]
pub struct Pin {
    /// The collector.
    pub collector: String,
}
