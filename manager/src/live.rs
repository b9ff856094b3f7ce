//! What a page that stays open is told: every workload as a compact row, then what changes of it; and each workload's last hour.
//!
//! * [`values`]: what is shown of one workload at one moment; pure.
//! * [`history`]: its last hour, in bounded memory; pure.
//! * [`rows`]: all of them, and word of each change to whoever listens.

pub mod history;
pub mod rows;
pub mod values;

pub use rows::{Live, Told};
