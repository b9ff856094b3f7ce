//! What the `Ready` condition of a resource says. Pure.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use plimsoll_wire::resources::status::{Condition, Holds, READY};
use plimsoll_wire::resources::{Backend, Port};
use serde_json::Value;

use super::FIELD_MANAGER;
use super::claims::Shared;

/// What matters of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// Name and number of each port.
    pub(super) ports: Box<[(String, i32)]>,
    /// What it is an alias of, where it is one (`ExternalName`): such a Service has no endpoints.
    pub(super) alias: Option<String>,
}

/// Where requests go, and what there is of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// As the resource names it.
    pub(super) backend: &'a Backend,
    /// Its Service; none where there is no such one.
    pub(super) service: Option<&'a Service>,
}

/// What is to be said, of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) ready: bool,
    /// A word for programs.
    pub(super) reason: &'static str,
    /// A sentence for people.
    pub(super) message: String,
}

impl Verdict {
    fn not(reason: &'static str, message: String) -> Self {
        Self { ready: false, reason, message }
    }

    /// The resource can't be used as it stands.
    pub(super) fn invalid(what: String) -> Self {
        Self::not("Invalid", what)
    }

    /// Its ScaledObject can't be written.
    pub(super) fn failed(why: &str) -> Self {
        Self::not("CreateError", format!("its ScaledObject can't be written: {why}"))
    }

    /// There is no such kind as ScaledObject, so its own is not even tried.
    pub(super) fn without_keda() -> Self {
        Self::failed("the API server knows no ScaledObjects (keda.sh/v1alpha1); install KEDA")
    }

    /// What has been written is undone again and again, by these field managers as far as they are known.
    pub(super) fn contested(self, by: &BTreeSet<String>) -> Self {
        let by: Vec<String> = by.iter().map(|manager| format!("{manager:?}")).collect();
        let who = if by.is_empty() {
            format!("somebody, perhaps a second Plimsoll ({FIELD_MANAGER:?}),")
        } else {
            by.join(", ")
        };
        let rest = self.message;
        Self::not(
            "Contested",
            format!(
                "{who} writes the same fields as this manager does, each undoes what the other wrote: stop one of them (here: \
                 --operator false); else: {rest}"
            ),
        )
    }

    /// Of a resource that can be used; `missing` is what the bodies of its answers lack.
    pub(super) fn of_usable(
        target: Found<'_>,
        fallback: Option<Found<'_>>,
        shared: Option<&Shared>,
        missing: &[String],
        well: &str,
    ) -> Self {
        let name = &target.backend.service;
        let Some(service) = target.service else {
            return Self::not(
                "ServiceNotFound",
                format!("there is no Service {name:?} in its namespace: requests wait for it"),
            );
        };
        if let Some(alias) = &service.alias {
            let message = format!(
                "the Service {name:?} is an alias of {alias} (ExternalName), which has no endpoints: requests are answered with \
                 500; name a Service with a selector"
            );
            return Self::not("ServiceWithoutEndpoints", message);
        }
        if let Some(what) = no_port(target.backend, &service.ports) {
            return Self::not("PortNotFound", format!("{what}: requests are answered with 500"));
        }
        if let Some(losses) = shared.and_then(Shared::losses) {
            return Self::not("RuleConflict", losses);
        }
        if let Some(what) = fallback.and_then(no_fallback) {
            let message =
                format!("{what}: requests that have waited in vain go nowhere; the rest of the resource is in use");
            return Self::not("FallbackNotFound", message);
        }
        if !missing.is_empty() {
            return Self::not("BodyNotFound", missing.join("; "));
        }
        let gains = shared.and_then(Shared::gains).map_or(String::new(), |gains| format!("; {gains}"));
        Self { ready: true, reason: "Reconciled", message: format!("{well}{gains}") }
    }

    /// As a condition. `before` is the status that the resource has: a condition that goes on to hold keeps the time when it
    /// began to.
    pub(super) fn condition(&self, generation: Option<i64>, before: &Value, now: Timestamp) -> Condition {
        let status = if self.ready { Holds::True } else { Holds::False };
        let since = ready_of(before).filter(|before| before.status == status).map(|before| before.last_transition_time);
        Condition {
            // Kubernetes' times are whole seconds.
            last_transition_time: since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            message: self.message.clone(),
            observed_generation: generation,
            reason: self.reason.to_owned(),
            status,
            type_: READY.to_owned(),
        }
    }
}

/// Why no request can go to a fallback, where that is so.
fn no_fallback(fallback: Found<'_>) -> Option<String> {
    let name = &fallback.backend.service;
    let Some(service) = fallback.service else {
        return Some(format!("there is no Service {name:?} in its namespace, which it names as fallback"));
    };
    if let Some(alias) = &service.alias {
        return Some(format!(
            "the fallback's Service {name:?} is an alias of {alias} (ExternalName), which has no endpoints"
        ));
    }
    no_port(fallback.backend, &service.ports).map(|what| format!("of the fallback: {what}"))
}

/// That a Service has not the port that is asked for, where that is so.
fn no_port(target: &Backend, ports: &[(String, i32)]) -> Option<String> {
    let found = ports.iter().any(|(name, number)| match &target.port {
        Port::Number(wanted) => i32::from(*wanted) == *number,
        Port::Name(wanted) => wanted == name,
    });
    if found {
        return None;
    }
    let asked = match &target.port {
        Port::Number(number) => number.to_string(),
        Port::Name(name) => format!("{name:?}"),
    };
    let there: Vec<String> = ports.iter().map(|(name, number)| format!("{number} {name:?}")).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Some(format!("the Service {:?} has no port {asked} (TCP); it has {there}", target.service))
}

/// The `Ready` condition that a status has, where it can be read.
pub(super) fn ready_of(status: &Value) -> Option<Condition> {
    let conditions = status["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == READY)?;
    serde_json::from_value(ready.clone()).ok()
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::topic::WorkloadId;
    use serde_json::json;

    use super::*;

    fn target(port: Port) -> Backend {
        Backend { service: "web".to_owned(), port }
    }

    #[test]
    fn a_resource_is_ready_when_its_service_has_its_port_and_nobody_older_has_its_rules() {
        let service = Service { ports: [("http".to_owned(), 80)].into(), alias: None };
        let judged = |port: Port, service: Option<&Service>, shared: Option<&Shared>, missing: &[String]| {
            let found = Found { backend: &target(port), service };
            let verdict = Verdict::of_usable(found, None, shared, missing, "it is in use");
            (verdict.ready, verdict.reason, verdict.message)
        };
        let said = |port: Port, service: Option<&Service>, shared: Option<&Shared>| judged(port, service, shared, &[]);
        let (http, number) = (Port::Name("http".to_owned()), Port::Number(80));
        assert_eq!(said(http, Some(&service), None), (true, "Reconciled", "it is in use".to_owned()));
        assert_eq!(said(number.clone(), None, None).1, "ServiceNotFound");
        let alias = Service { alias: Some("example.com".to_owned()), ..service.clone() };
        let aliased = said(number.clone(), Some(&alias), None);
        assert_eq!(aliased.1, "ServiceWithoutEndpoints");
        assert!(aliased.2.contains("example.com"), "{}", aliased.2);
        let unsaid = judged(number.clone(), Some(&service), None, &["one".to_owned(), "two".to_owned()]);
        assert_eq!(unsaid, (false, "BodyNotFound", "one; two".to_owned()));
        let missing = said(Port::Number(81), Some(&service), None);
        assert_eq!(missing.1, "PortNotFound");
        assert!(missing.2.contains("no port 81 (TCP); it has 80 \"http\": requests"), "{}", missing.2);
        let rule = vec![("h/".to_owned(), WorkloadId::new("n", "other"))];
        let lost = Shared { lost: rule.clone(), won: Vec::new() };
        assert_eq!(said(number.clone(), Some(&service), Some(&lost)).1, "RuleConflict");
        let won = said(number, Some(&service), Some(&Shared { lost: Vec::new(), won: rule }));
        assert_eq!(
            won,
            (true, "Reconciled", "it is in use; it wins rules that others claim: h/ over n/other".to_owned())
        );
    }

    #[test]
    fn a_fallback_that_can_t_be_reached_is_said() {
        let (web, service) =
            (target(Port::Number(80)), Service { ports: [("http".to_owned(), 80)].into(), alias: None });
        let spare = Backend { service: "spare".to_owned(), port: Port::Number(81) };
        let said = |there: Option<&Service>| {
            let (found, fallback) =
                (Found { backend: &web, service: Some(&service) }, Found { backend: &spare, service: there });
            let verdict = Verdict::of_usable(found, Some(fallback), None, &[], "it is in use");
            (verdict.reason, verdict.message)
        };
        let alias = Service { alias: Some("example.com".to_owned()), ..service.clone() };
        for (there, says) in [
            (None, "there is no Service \"spare\""),
            (Some(&service), "no port 81"),
            (Some(&alias), "an alias of example.com"),
        ] {
            let (reason, message) = said(there);
            assert!(reason == "FallbackNotFound" && message.contains(says), "{reason}: {message}");
        }
        let right = Service { ports: [(String::new(), 81)].into(), alias: None };
        assert_eq!(said(Some(&right)).0, "Reconciled");
    }

    #[test]
    fn who_writes_against_us_is_named() {
        let well = Verdict { ready: true, reason: "Reconciled", message: "it is in use".to_owned() };
        let said = well.clone().contested(&["kubectl-edit".to_owned(), "argo".to_owned()].into());
        assert_eq!((said.ready, said.reason), (false, "Contested"));
        assert!(said.message.starts_with("\"argo\", \"kubectl-edit\" writes"), "{}", said.message);
        assert!(said.message.ends_with("else: it is in use"), "{}", said.message);
        assert!(well.contested(&BTreeSet::new()).message.contains("a second Plimsoll"));
    }

    #[test]
    fn the_time_is_that_of_the_last_change_from_ready_to_not_or_back() {
        let (now, verdict) = (Timestamp::UNIX_EPOCH, Verdict::invalid("spec.x: it is bad".to_owned()));
        let first = verdict.condition(Some(3), &Value::Null, now);
        assert_eq!((&*first.last_transition_time, first.observed_generation), ("1970-01-01T00:00:00Z", Some(3)));
        let since = |status: &str| {
            let condition = json!({"type": "Ready", "status": status, "reason": "R", "message": "",
                                   "lastTransitionTime": "2026-01-01T00:00:00Z"});
            verdict.condition(Some(4), &json!({"conditions": [condition]}), now).last_transition_time
        };
        assert_eq!(since("False"), "2026-01-01T00:00:00Z");
        assert_eq!(since("True"), "1970-01-01T00:00:00Z");
    }
}
