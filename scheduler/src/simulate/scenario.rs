//! What happens on the simulated day.

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// A day, as people write it down. Field names say the units.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Where all chance comes from.
    #[serde(default)]
    pub seed: u64,
    /// How long the day is.
    #[serde(default = "day")]
    pub hours: f64,
    /// Between two plans.
    #[serde(default = "ten")]
    pub step_seconds: f64,
    /// How long a collector needs to replay a topic's window: until then it does not answer for it.
    #[serde(default = "ten")]
    pub warm_seconds: f64,
    /// How long a new collector needs until it takes topics.
    #[serde(default = "thirty")]
    pub start_seconds: f64,
    /// Where workloads run.
    pub providers: Vec<Provider>,
    /// Collectors that crash by chance.
    #[serde(default)]
    pub crashes: Option<Crashes>,
    /// Providers that fail: all collectors that run there are gone for a while.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// How the fleet is scaled.
    #[serde(default)]
    pub scaling: Scaling,
    /// The policies to compare.
    #[serde(default)]
    pub policies: Vec<NamedPolicy>,
}

/// A provider's workloads.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// How many there are at the beginning.
    pub workloads: usize,
    /// What they weigh on average over the day, in frames a second.
    #[serde(default = "one")]
    pub mean_load: f64,
    /// How unequal they are: the r-th has 1/r^zipf of the first one's load. Zero: all alike.
    #[serde(default)]
    pub zipf: f64,
    /// How much of the load follows a daily sine: at 0.8 it goes from 0.2 to 1.8 of the mean.
    #[serde(default)]
    pub daily: f64,
    /// When the sine is highest.
    #[serde(default = "noon")]
    pub peak_hour: f64,
    /// Workloads that come, an hour; as many of those that there are go.
    #[serde(default)]
    pub churn_per_hour: f64,
    /// Sudden load on single workloads.
    #[serde(default)]
    pub bursts: Option<Bursts>,
}

/// Sudden load on a workload.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bursts {
    /// How often, on any of the provider's workloads.
    pub per_hour: f64,
    /// How many times its usual load.
    pub factor: f64,
    /// How long.
    pub minutes: f64,
}

/// Collectors that crash.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Crashes {
    /// How often, any of the fleet.
    pub per_day: f64,
    /// How long until it is back.
    pub minutes: f64,
}

/// A provider that fails.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// Which.
    pub provider: String,
    /// When.
    pub at_hour: f64,
    /// For how long.
    pub minutes: f64,
}

/// How the fleet is scaled; see [`crate::scale::Settings`].
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scaling {
    /// Fewer collectors must have been enough for this long.
    pub quiet_minutes: f64,
    /// A collector lost for this long is replaced by one more.
    pub replace_after_seconds: f64,
    /// So much more must fit without another collector.
    pub headroom_percent: u32,
    /// What the topics on a collector may weigh together.
    pub max_load: Option<f64>,
}

impl Default for Scaling {
    fn default() -> Self {
        Self { quiet_minutes: 5.0, replace_after_seconds: 60.0, headroom_percent: 0, max_load: None }
    }
}

/// A policy to compare.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedPolicy {
    /// What the tables call it.
    pub name: String,
    /// As the REST API has it.
    pub policy: Policy,
}

/// What is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadScenario {
    /// The field, as `providers[1].zipf`.
    pub field: String,
    /// What is wrong with its value, and what would be right.
    pub reason: String,
}

/// More plans than this take minutes; longer steps are the remedy.
const STEPS_MAX: f64 = 200_000.0;
/// More workloads than this are beyond what the planner is made for.
const WORKLOADS_MAX: usize = 100_000;

impl Scenario {
    /// Whether it can be played.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), BadScenario> {
        positive("hours", self.hours)?;
        positive("stepSeconds", self.step_seconds)?;
        not_negative("warmSeconds", self.warm_seconds)?;
        not_negative("startSeconds", self.start_seconds)?;
        let steps = self.hours * 3600.0 / self.step_seconds;
        if steps > STEPS_MAX {
            return bad(
                "stepSeconds",
                format!("makes {steps:.0} plans, at most {STEPS_MAX:.0} are played: take longer steps"),
            );
        }
        if self.providers.is_empty() {
            return bad("providers", "names none, and somewhere the workloads must run");
        }
        for (index, provider) in self.providers.iter().enumerate() {
            provider.check(&format!("providers[{index}]"))?;
            if self.providers[..index].iter().any(|other| other.name == provider.name) {
                return bad(format!("providers[{index}].name"), format!("{} is there twice", provider.name));
            }
        }
        if self.providers.iter().map(|provider| provider.workloads).sum::<usize>() > WORKLOADS_MAX {
            return bad("providers", format!("have more than {WORKLOADS_MAX} workloads"));
        }
        if let Some(crashes) = &self.crashes {
            not_negative("crashes.perDay", crashes.per_day)?;
            positive("crashes.minutes", crashes.minutes)?;
        }
        for (index, failure) in self.failures.iter().enumerate() {
            let field = |name| format!("failures[{index}].{name}");
            not_negative(field("atHour"), failure.at_hour)?;
            positive(field("minutes"), failure.minutes)?;
            if self.providers.iter().all(|provider| provider.name != failure.provider) {
                return bad(field("provider"), format!("{} is none of the providers", failure.provider));
            }
        }
        not_negative("scaling.quietMinutes", self.scaling.quiet_minutes)?;
        not_negative("scaling.replaceAfterSeconds", self.scaling.replace_after_seconds)?;
        if let Some(max_load) = self.scaling.max_load {
            positive("scaling.maxLoad", max_load)?;
        }
        if self.policies.is_empty() {
            return bad("policies", "names none: there is nothing to simulate");
        }
        for (index, named) in self.policies.iter().enumerate() {
            if let Err(wrong) = named.policy.check() {
                return bad(format!("policies[{index}].policy.{}", wrong.field), wrong.reason);
            }
        }
        Ok(())
    }
}

impl Provider {
    fn check(&self, field: &str) -> Result<(), BadScenario> {
        if self.name.is_empty() {
            return bad(format!("{field}.name"), "is empty");
        }
        not_negative(format!("{field}.meanLoad"), self.mean_load)?;
        not_negative(format!("{field}.zipf"), self.zipf)?;
        not_negative(format!("{field}.churnPerHour"), self.churn_per_hour)?;
        if !(0.0..=1.0).contains(&self.daily) {
            return bad(
                format!("{field}.daily"),
                format!("is {}, and must be from 0 to 1: a load is never negative", self.daily),
            );
        }
        if !(0.0..=24.0).contains(&self.peak_hour) {
            return bad(format!("{field}.peakHour"), format!("is {}, and must be from 0 to 24", self.peak_hour));
        }
        if let Some(bursts) = &self.bursts {
            not_negative(format!("{field}.bursts.perHour"), bursts.per_hour)?;
            not_negative(format!("{field}.bursts.factor"), bursts.factor)?;
            positive(format!("{field}.bursts.minutes"), bursts.minutes)?;
        }
        Ok(())
    }
}

fn bad(field: impl Into<String>, reason: impl Into<String>) -> Result<(), BadScenario> {
    Err(BadScenario { field: field.into(), reason: reason.into() })
}

fn positive(field: impl Into<String>, value: f64) -> Result<(), BadScenario> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { bad(field, format!("is {value}, and must be more than 0")) }
}

fn not_negative(field: impl Into<String>, value: f64) -> Result<(), BadScenario> {
    if value >= 0.0 && value.is_finite() { Ok(()) } else { bad(field, format!("is {value}, and must be 0 or more")) }
}

fn day() -> f64 {
    24.0
}

fn ten() -> f64 {
    10.0
}

fn thirty() -> f64 {
    30.0
}

fn one() -> f64 {
    1.0
}

fn noon() -> f64 {
    12.0
}
