//! What Plimsoll knows of a Kubernetes cluster: objects watched, and kept as they are last known.
//!
//! * [`follow`] hears of all objects of a kind for as long as the program runs, over restarts and outages of the API server.
//! * [`Kept`] folds what is heard; pure. While the API server is away it stays as it is.

mod follow;
mod kept;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

pub use follow::{Heard, follow};
pub use kept::{Change, Kept};

/// The objects of a namespace, or of all.
pub fn of_namespace<O>(client: Client, namespace: Option<&str>) -> Api<O>
where
    O: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}
