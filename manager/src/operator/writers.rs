//! Who writes an object, as the API server records it in `managedFields`. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::DynamicObject;

use super::FIELD_MANAGER;

/// The part of an object that this manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A ScaledObject's spec and owners.
    Spec,
    /// A resource's status.
    Status,
}

/// Leaves of the record who writes this part, and nothing else: which fields, and when, is as large as the object itself, and
/// other with each write.
pub(super) fn prune(object: &mut DynamicObject, part: Part) {
    let all = object.metadata.managed_fields.take().unwrap_or_default();
    let of_part = all.into_iter().filter(|entry| writes(entry, part));
    let mut writers: Vec<ManagedFieldsEntry> = of_part
        .map(|entry| ManagedFieldsEntry {
            manager: entry.manager,
            operation: entry.operation,
            ..ManagedFieldsEntry::default()
        })
        .collect();
    writers.sort_by(|one, other| (&one.manager, &one.operation).cmp(&(&other.manager, &other.operation)));
    writers.dedup();
    object.metadata.managed_fields = Some(writers);
}

fn writes(entry: &ManagedFieldsEntry, part: Part) -> bool {
    let status = entry.subresource.as_deref() == Some("status");
    match part {
        Part::Status => status,
        // KEDA itself writes labels and a finalizer.
        Part::Spec => {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            !status
                && fields.is_some_and(|fields| {
                    fields.get("f:spec").is_some() || fields["f:metadata"].get("f:ownerReferences").is_some()
                })
        }
    }
}

/// Whether this manager, or one before it, has applied the object.
pub(super) fn applied_by_us(object: &DynamicObject) -> bool {
    let mut writers = object.metadata.managed_fields.iter().flatten();
    writers.any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply"))
}

/// Who else writes it.
pub(super) fn others(object: &DynamicObject) -> impl Iterator<Item = &str> {
    let writers = object.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref());
    writers.filter(|manager| *manager != FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pruned(entries: &[Value], part: Part) -> DynamicObject {
        let mut object = serde_json::from_value(json!({"metadata": {"name": "a", "managedFields": entries}})).unwrap();
        prune(&mut object, part);
        object
    }

    #[test]
    fn who_writes_the_part_is_kept_and_when_is_not() {
        let entries = [
            json!({"manager": "plimsoll", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}}),
            json!({"manager": "add-on", "operation": "Update", "fieldsV1": {"f:metadata": {"f:ownerReferences": {}}}}),
            json!({"manager": "keda", "operation": "Update", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}}),
            json!({"manager": "keda", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}),
        ];
        let object = pruned(&entries, Part::Spec);
        assert_eq!(others(&object).collect::<Vec<_>>(), ["add-on"]);
        assert!(applied_by_us(&object));
        let mut later = entries.clone();
        later[0]["time"] = "2026-01-02T00:00:00Z".into();
        assert_eq!(pruned(&later, Part::Spec), object);
        assert_eq!(others(&pruned(&entries, Part::Status)).collect::<Vec<_>>(), ["keda"]);
        assert!(!applied_by_us(&pruned(&entries[1..], Part::Spec)));
        let mut update = entries[0].clone();
        update["operation"] = "Update".into();
        assert!(!applied_by_us(&pruned(&[update], Part::Spec)), "it is made by applying, or by somebody else");
    }
}
