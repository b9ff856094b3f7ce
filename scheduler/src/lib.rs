//! Which collector reads which topic, how many collectors there are, and where that is kept.
//!
//! * [`plan`]: the plan, as data.
//! * [`load`]: what a topic weighs.
//! * [`policy`] and [`directives`]: what operators ask for.
//! * [`scale`]: how many collectors there should be. Pure.
//! * [`simulate`]: a day of a fleet in seconds, to compare policies.
//! * [`solve`]: from topics with loads, collectors and the previous plan to the next one. Pure: no clock, no I/O, no chance.
//! * [`store`]: where the plan is kept, and how managers elect the one that may write it.

pub mod directives;
pub mod load;
pub mod plan;
pub mod policy;
pub mod scale;
pub mod simulate;
pub mod solve;
pub mod store;
