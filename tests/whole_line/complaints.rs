//! Broken promises, each kind of them once.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};

/// Further ones would say nothing new.
const SHOWN: usize = 60;

/// What was wrong in a sample: the same gist again and again is one complaint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) gist: String,
    /// What it should have been, then.
    pub(crate) truth: String,
}

impl Fault {
    pub(crate) fn new(gist: impl Into<String>, truth: impl Into<String>) -> Self {
        Self { gist: gist.into(), truth: truth.into() }
    }
}

/// All complaints.
#[derive(Default)]
pub(crate) struct Complaints {
    /// By who said it and its gist.
    complaints: BTreeMap<(String, String), Complaint>,
}

struct Complaint {
    truth: String,
    first: Duration,
    last: Duration,
    times: usize,
}

impl Complaints {
    /// Notes a fault of a sample.
    pub(crate) fn note(&mut self, who: &str, at: Duration, fault: Fault) {
        let complaint = self.complaints.entry((who.to_owned(), fault.gist)).or_insert_with(|| Complaint {
            truth: fault.truth,
            first: at,
            last: at,
            times: 0,
        });
        complaint.last = at;
        complaint.times += 1;
    }

    /// Fails where there is any, with `context` and all of them in order of their times.
    pub(crate) fn settle(self, context: &str) -> Result<()> {
        let mut sorted: Vec<_> = self.complaints.into_iter().collect();
        sorted.sort_by_key(|(_, complaint)| complaint.first);
        let lines: Vec<String> = sorted
            .into_iter()
            .take(SHOWN)
            .map(|((who, gist), Complaint { truth, first, last, times })| {
                format!("{first:?} to {last:?}, {times} times: {who}: {gist} {truth}")
            })
            .collect();
        ensure!(lines.is_empty(), "promises broken ({context}):\n{}", lines.join("\n"));
        Ok(())
    }
}
