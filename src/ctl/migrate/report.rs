//! What was found, and how people are shown it.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Somebody has to change something, or it will not work, or scale otherwise.
    Hand,
    /// It works, and not quite as before.
    Change,
    /// Good to know.
    Note,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Hand => "HAND",
            Self::Change => "change",
            Self::Note => "note",
        }
    }
}

/// One thing that is, or will be, otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub level: Level,
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    /// The field that it is about, as in `spec.hosts[0]`.
    pub field: String,
    /// How it is with the add-on.
    pub add_on: String,
    /// How it is with Plimsoll.
    pub plimsoll: String,
    /// What to do; empty: nothing.
    pub remedy: String,
}

/// Everything.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub interceptor_routes: usize,
    pub http_scaled_objects: usize,
    pub scaled_objects: usize,
    /// Kinds that the API server does not know.
    pub absent_kinds: Vec<&'static str>,
    /// How many findings need a hand.
    pub needs_hand: usize,
    /// What needs a hand first, then by resource.
    pub findings: Vec<Finding>,
    /// What is otherwise for every resource.
    pub for_all: Vec<&'static str>,
}

/// As a table, with what holds for all below it.
pub fn table(report: &Report) -> String {
    let Report { interceptor_routes, http_scaled_objects, scaled_objects, needs_hand, .. } = report;
    let mut text = format!(
        "{interceptor_routes} InterceptorRoutes, {http_scaled_objects} HTTPScaledObjects, {scaled_objects} ScaledObjects of theirs; \
         {needs_hand} findings need a hand\n"
    );
    for kind in &report.absent_kinds {
        text.push_str(&format!("The API server knows no {kind}: its definition is not installed.\n"));
    }
    if !report.findings.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["", "RESOURCE", "FIELD", "THE ADD-ON", "PLIMSOLL", "TO DO"]);
        for one in &report.findings {
            let resource = format!("{} {}/{}", one.kind, one.namespace, one.name);
            let todo = if one.remedy.is_empty() { "-" } else { &one.remedy };
            table.add_row([one.level.word(), &resource, &one.field, &one.add_on, &one.plimsoll, todo]);
        }
        text.push_str(&format!("\n{}\n", table.trim_fmt()));
    }
    if !report.for_all.is_empty() {
        text.push_str("\nFor all of them:\n");
        for sentence in &report.for_all {
            text.push_str(&format!("  * {sentence}\n"));
        }
    }
    text
}
