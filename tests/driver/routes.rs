//! Route files.

use std::{fmt::Write, net::SocketAddr, time::Duration};

use super::keda::Trigger;

/// A workload to be written to a route file, in the namespace `default`.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Its name.
    pub(crate) name: String,
    /// As which kind it is written.
    pub(crate) kind: Kind,
    /// Where its requests go.
    pub(crate) backend: SocketAddr,
    /// Over what its concurrency is taken; the default where there is none.
    pub(crate) concurrency_window: Option<Duration>,
    /// Over what its request rate is taken; it scales on concurrency alone where there is none.
    pub(crate) rate_window: Option<Duration>,
}

/// The kind of a custom resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InterceptorRoute,
    HttpScaledObject,
}

impl Route {
    /// An InterceptorRoute that scales on both metrics.
    pub(crate) fn new(name: impl Into<String>, backend: SocketAddr) -> Self {
        Self {
            name: name.into(),
            kind: Kind::InterceptorRoute,
            backend,
            concurrency_window: Some(Duration::from_secs(10)),
            rate_window: Some(Duration::from_secs(10)),
        }
    }

    /// The host that its requests name.
    pub(crate) fn host(&self) -> String {
        format!("{}.example.com", self.name)
    }

    /// `namespace/name`.
    pub(crate) fn workload(&self) -> String {
        format!("default/{}", self.name)
    }

    /// The trigger that asks for it.
    pub(crate) fn trigger(&self) -> Trigger {
        match self.kind {
            Kind::InterceptorRoute => Trigger::InterceptorRoute(self.name.clone()),
            Kind::HttpScaledObject => Trigger::HttpScaledObject(self.name.clone()),
        }
    }

    fn write(&self, yaml: &mut String) -> std::fmt::Result {
        let (kind, version) = match self.kind {
            Kind::InterceptorRoute => ("InterceptorRoute", "v1beta1"),
            Kind::HttpScaledObject => ("HTTPScaledObject", "v1alpha1"),
        };
        let (name, host) = (&self.name, self.host());
        let (address, port) = (self.backend.ip(), self.backend.port());
        write!(
            yaml,
            "---\napiVersion: http.keda.sh/{version}\nkind: {kind}\n\
             metadata:\n  name: {name}\n  namespace: default\n"
        )?;
        if let Some(window) = self.concurrency_window {
            let seconds = window.as_secs();
            write!(yaml, "  annotations:\n    plimsoll.io/concurrency-window: {seconds}s\n")?;
        }
        match self.kind {
            Kind::InterceptorRoute => {
                write!(
                    yaml,
                    "spec:\n  target:\n    service: \"{address}\"\n    port: {port}\n\
                     \x20 rules:\n  - hosts: [{host}]\n\
                     \x20 scalingMetric:\n    concurrency:\n      targetValue: 10\n"
                )?;
                if let Some(window) = self.rate_window {
                    let seconds = window.as_secs();
                    write!(yaml, "    requestRate:\n      targetValue: 10\n      window: {seconds}s\n")?;
                }
            }
            Kind::HttpScaledObject => write!(
                yaml,
                "spec:\n  hosts: [{host}]\n\
                 \x20 scaleTargetRef:\n    name: {name}\n    kind: Deployment\n    apiVersion: apps/v1\n\
                 \x20   service: \"{address}\"\n    port: {port}\n\
                 \x20 scalingMetric:\n    concurrency:\n      targetValue: 10\n"
            )?,
        }
        Ok(())
    }
}

/// A route file with all of them.
pub(crate) fn file(routes: &[Route]) -> String {
    let mut yaml = String::new();
    for route in routes {
        route.write(&mut yaml).expect("a String takes everything");
    }
    yaml
}
