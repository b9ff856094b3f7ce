//! Which resources name which Services. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::DynamicObject;
use plimsoll_wire::topic::WorkloadId;

use super::{Key, Which};

/// Kept beside the resources, so that an event of a Service costs no look at all of them.
#[derive(Debug, Default)]
pub(super) struct Uses {
    by_service: BTreeMap<WorkloadId, BTreeSet<Key>>,
    services: BTreeMap<Key, BTreeSet<WorkloadId>>,
}

impl Uses {
    /// Takes a resource up as it is now; none is that it is no more.
    pub(super) fn set(&mut self, key: &Key, object: Option<&DynamicObject>) {
        for service in self.services.remove(key).unwrap_or_default() {
            if let Some(users) = self.by_service.get_mut(&service) {
                users.remove(key);
                if users.is_empty() {
                    self.by_service.remove(&service);
                }
            }
        }
        let services = object.map(|object| named(key, object)).unwrap_or_default();
        for service in &services {
            self.by_service.entry(service.clone()).or_default().insert(key.clone());
        }
        if !services.is_empty() {
            self.services.insert(key.clone(), services);
        }
    }

    /// The resources that name a Service.
    pub(super) fn of(&self, service: &WorkloadId) -> impl Iterator<Item = &Key> {
        self.by_service.get(service).into_iter().flatten()
    }
}

/// The Services where a resource's requests may go. It need not be a good one.
fn named((which, id): &Key, object: &DynamicObject) -> BTreeSet<WorkloadId> {
    let spec = &object.data["spec"];
    let names = match which {
        Which::Route => [&spec["target"]["service"], &spec["coldStart"]["fallback"]["service"]["name"]],
        Which::Object => [&spec["scaleTargetRef"]["service"], &spec["coldStartTimeoutFailoverRef"]["service"]],
    };
    let names = names.into_iter().filter_map(|name| name.as_str());
    names.map(|name| WorkloadId::new(id.namespace.clone(), name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_service_s_event_concerns_those_that_name_it_as_target_or_fallback() {
        let mut uses = Uses::default();
        let key = |which, name| -> Key { (which, WorkloadId::new("n", name)) };
        let object = |spec: Value| serde_json::from_value::<DynamicObject>(json!({"spec": spec})).unwrap();
        let (route, old) = (key(Which::Route, "a"), key(Which::Object, "b"));
        let fallback = json!({"fallback": {"service": {"name": "spare", "port": 1}}});
        uses.set(&route, Some(&object(json!({"target": {"service": "web"}, "coldStart": fallback}))));
        let failover = json!({"service": "spare", "port": 1});
        let spec = json!({"scaleTargetRef": {"service": "old"}, "coldStartTimeoutFailoverRef": failover});
        uses.set(&old, Some(&object(spec)));
        let of = |uses: &Uses, namespace: &str, name: &str| {
            uses.of(&WorkloadId::new(namespace, name)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(of(&uses, "n", "web"), std::slice::from_ref(&route));
        assert_eq!(of(&uses, "n", "spare"), [route.clone(), old.clone()]);
        assert!(of(&uses, "other", "web").is_empty());
        uses.set(&route, Some(&object(json!({"target": {"service": "new"}}))));
        assert_eq!((of(&uses, "n", "web"), of(&uses, "n", "new")), (vec![], vec![route.clone()]));
        assert_eq!(of(&uses, "n", "spare"), std::slice::from_ref(&old));
        for key in [&route, &old] {
            uses.set(key, None);
        }
        assert!(uses.by_service.is_empty() && uses.services.is_empty(), "nothing is left of what has gone");
    }
}
