//! One object of a cluster, and the workload that it describes.

use kube::core::DynamicObject;
use serde_json::Value;

use crate::resources::files::shaped;
use crate::resources::http_scaled_object::HttpScaledObjectSpec;
use crate::resources::interceptor_route::InterceptorRouteSpec;
use crate::resources::metadata::Metadata;
use crate::resources::{Kind, Workload};

/// An object that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Good {
    /// What it describes.
    pub workload: Workload,
    /// Fields that it sets to no effect, unknown ones among them.
    pub without_effect: Vec<String>,
}

/// Reads an object of this kind.
///
/// It is taken as the API server has it, not as a type: one object that is no `InterceptorRoute` by our lights (a number too
/// large, say) would make the whole list unreadable. Other than in a file a port may have a name.
///
/// # Errors
/// The first field that can't be used, with its value and the remedy.
pub fn read(kind: Kind, object: &DynamicObject) -> Result<Good, String> {
    let metadata = metadata(object);
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    if spec.is_null() {
        return Err("spec: it is missing; say where the requests go".to_owned());
    }
    let (workload, without_effect, unknown) = match kind {
        Kind::InterceptorRoute => {
            let (spec, unknown) = shaped::<InterceptorRouteSpec>(spec, "spec")?;
            (spec.workload(&metadata), spec.without_effect(), unknown)
        }
        Kind::HttpScaledObject => {
            let (spec, unknown) = shaped::<HttpScaledObjectSpec>(spec, "spec")?;
            // In a cluster the ScaledObject that is made of it has these.
            (spec.workload(&metadata), Vec::new(), unknown)
        }
    };
    let workload = workload.map_err(|invalid| invalid.to_string())?;
    let without_effect = without_effect.into_iter().map(str::to_owned).chain(unknown).collect();
    Ok(Good { workload, without_effect })
}

/// What matters of an object's metadata.
fn metadata(object: &DynamicObject) -> Metadata {
    let object = &object.metadata;
    Metadata {
        name: object.name.clone(),
        namespace: object.namespace.clone(),
        creation_timestamp: object.creation_timestamp.as_ref().map(|time| time.0.to_string()),
        annotations: object.annotations.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Port;

    fn object(spec: Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
            "metadata": {"name": "a", "namespace": "n", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_object_is_read_as_a_document_is_and_its_port_may_have_a_name() {
        let spec = json!({"target": {"service": "a", "portName": "web"}, "scalingMetric": {"concurrency": {"targetValue": 3}},
                          "later": 1});
        let good = read(Kind::InterceptorRoute, &object(spec)).unwrap();
        assert_eq!(good.workload.id.to_string(), "n/a");
        assert_eq!(good.workload.target.port, Port::Name("web".to_owned()));
        assert_eq!(good.workload.created.as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(good.without_effect, ["spec.later"]);
    }

    #[test]
    fn a_field_that_can_t_be_used_is_named() {
        let target = json!({"service": "a", "port": 80});
        for (spec, says) in [
            (Value::Null, "spec: it is missing"),
            (json!({"target": target}), "spec: missing field `scalingMetric`"),
            (
                json!({"target": target, "scalingMetric": {"concurrency": {"targetValue": 3_000_000_000_u32}}}),
                "spec.scalingMetric.concurrency.targetValue: ",
            ),
            (
                json!({"target": target, "scalingMetric": {"requestRate": {"granularity": "1ms"}}}),
                "spec.scalingMetric.requestRate.granularity: \"1ms\" ",
            ),
        ] {
            let error = read(Kind::InterceptorRoute, &object(spec)).expect_err(says);
            assert!(error.starts_with(says), "{error}");
        }
    }
}
