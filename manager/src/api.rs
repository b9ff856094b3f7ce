//! What the REST API speaks: the same types for the server and for `plimsoll ctl`.

mod assignment;
mod collectors;
mod explain;
mod live;
mod policy;
mod problem;
mod ready;
mod topics;
mod trial;
mod workloads;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use crate::lead::decisions::{Decision, What};
pub use assignment::{AssignmentView, PlaceView, RebalanceView};
pub use collectors::{CollectorView, CollectorWish};
pub use explain::ExplainView;
pub use live::{
    ACTIVE, ColdStartView, FleetView, HEARD, HistoryView, InterceptorView, KNOWN, LiveRow, MovingView, PointView,
    RowsView, ShareView, SharesView, WholeRow, ZERO_IS_UNKNOWN,
};
pub use policy::{PolicyKind, PolicyView};
pub use problem::{FieldProblem, Problem};
pub use ready::ReadyView;
pub use topics::{NewTopic, Pin, TopicState, TopicView};
pub use trial::{MoveView, Spread, TrialAsked, TrialView};
pub use workloads::{Windows, WorkloadView};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// How many items the whole list has.
    pub total: usize,
    /// Where this page begins in it.
    pub offset: usize,
}
