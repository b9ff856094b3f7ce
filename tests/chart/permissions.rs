//! What each service account may do: all that it needs, and nothing else of a long list. The API server is asked.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use futures::stream;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use plimsoll_testkit::ApiServer;
use serde_json::json;

use crate::rendered::{named, objects};
use crate::scheduler::admin;

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// What could be asked for, as GROUP/RESOURCE[/SUBRESOURCE].
const RESOURCES: [&str; 28] = [
    "/secrets",
    "/configmaps",
    "/services",
    "/pods",
    "/pods/exec",
    "/pods/log",
    "/nodes",
    "/serviceaccounts",
    "/serviceaccounts/token",
    "/events",
    "/namespaces",
    "/endpoints",
    "apps/deployments",
    "apps/statefulsets",
    "apps/statefulsets/scale",
    "apps/deployments/scale",
    "coordination.k8s.io/leases",
    "discovery.k8s.io/endpointslices",
    "http.keda.sh/interceptorroutes",
    "http.keda.sh/interceptorroutes/status",
    "http.keda.sh/interceptorroutes/finalizers",
    "http.keda.sh/httpscaledobjects",
    "http.keda.sh/httpscaledobjects/status",
    "http.keda.sh/httpscaledobjects/finalizers",
    "keda.sh/scaledobjects",
    "keda.sh/scaledobjects/finalizers",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/rolebindings",
];

/// The namespace of the release, as everything is rendered for it.
const OWN: &str = "plimsoll";

/// Which verbs a part has on a resource, in its own namespace and in others that it watches.
type Table = &'static [(&'static str, &'static str)];

const WATCHED: [(&str, &str); 3] =
    [("/services", "list watch"), ("/configmaps", "list watch"), ("http.keda.sh/interceptorroutes", "list watch")];
const INTERCEPTOR: Table =
    &[("http.keda.sh/httpscaledobjects", "list watch"), ("discovery.k8s.io/endpointslices", "list watch")];
const MANAGER: Table = &[
    ("http.keda.sh/httpscaledobjects", "list watch patch"),
    ("http.keda.sh/httpscaledobjects/status", "patch"),
    ("http.keda.sh/interceptorroutes/status", "patch"),
    // An API server with the admission plugin OwnerReferencesPermissionEnforcement asks for these.
    ("http.keda.sh/interceptorroutes/finalizers", "update"),
    ("http.keda.sh/httpscaledobjects/finalizers", "update"),
    ("keda.sh/scaledobjects", "list watch create patch delete"),
];
const MANAGER_WITHOUT_OPERATOR: Table = &[("http.keda.sh/httpscaledobjects", "list watch")];
const MANAGER_OWN: Table = &[("apps/statefulsets", "list"), ("apps/statefulsets/scale", "patch")];
const MANAGER_STORE: Table = &[
    ("/configmaps", "get list watch create update delete"),
    ("coordination.k8s.io/leases", "get list watch create update delete"),
];
const COLLECTOR_STORE: Table =
    &[("/configmaps", "get list watch"), ("coordination.k8s.io/leases", "get list watch create update delete")];

#[tokio::test]
async fn each_part_may_do_what_it_needs_and_nothing_else() -> Result<()> {
    let server = ApiServer::shared().await?;
    let client = admin(server).await?;
    // The value set, the one namespace that is watched, and each account's tables: where it watches, and in its own besides.
    let watched = |table: Table| [&WATCHED[..], table].concat();
    let stored = || [MANAGER_OWN, MANAGER_STORE].concat();
    for (set, watched_namespace, accounts) in [
        (
            "default",
            None,
            [
                ("interceptor", watched(INTERCEPTOR), vec![]),
                ("manager", watched(MANAGER), stored()),
                ("collector", vec![], COLLECTOR_STORE.to_vec()),
            ],
        ),
        (
            "beside-the-add-on",
            None,
            [
                ("interceptor", watched(INTERCEPTOR), vec![]),
                ("manager", watched(MANAGER_WITHOUT_OPERATOR), stored()),
                ("collector", vec![], COLLECTOR_STORE.to_vec()),
            ],
        ),
        (
            "etcd",
            Some("shop"),
            [
                ("interceptor", watched(INTERCEPTOR), vec![]),
                ("manager", watched(MANAGER), MANAGER_OWN.to_vec()),
                ("collector", vec![], vec![]),
            ],
        ),
    ] {
        granted(server, set).await?;
        for (part, there, own) in accounts {
            for namespace in [OWN, "other", "shop"] {
                let watches = watched_namespace.is_none_or(|only| only == namespace);
                let mut wanted = BTreeSet::new();
                for (resource, verbs) in there.iter().filter(|_| watches).chain(own.iter().filter(|_| namespace == OWN))
                {
                    wanted.extend(verbs.split(' ').map(|verb| format!("{verb} {resource}")));
                }
                let may = allowed(&client, part, namespace).await?;
                let (more, less): (Vec<_>, Vec<_>) =
                    (may.difference(&wanted).collect(), wanted.difference(&may).collect());
                ensure!(
                    more.is_empty() && less.is_empty(),
                    "{set}: {part} in {namespace}: too much {more:?}, missing {less:?}"
                );
            }
        }
        revoked(server, set).await?;
    }
    Ok(())
}

const ROLES: [&str; 4] = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// The roles of a value set, as one manifest.
async fn roles(set: &str) -> Result<String> {
    let all = objects(set).await?;
    named(&all, "ServiceAccount", "plimsoll-manager")?;
    let roles = all.iter().filter(|object| ROLES.contains(&object["kind"].as_str().unwrap_or_default()));
    Ok(roles.map(ToString::to_string).collect::<Vec<_>>().join("\n---\n"))
}

async fn granted(server: &ApiServer, set: &str) -> Result<()> {
    for namespace in [OWN, "other", "shop"] {
        server.namespace(namespace).await?;
    }
    server.apply(&roles(set).await?).await
}

async fn revoked(server: &ApiServer, set: &str) -> Result<()> {
    let manifest = server.folder().join("roles.yaml");
    std::fs::write(&manifest, roles(set).await?)?;
    server.kubectl(&["delete", "-f", &manifest.display().to_string()]).await.map(drop)
}

/// All that a part's account may do in a namespace, of what could be asked for.
async fn allowed(client: &Client, part: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("authorization.k8s.io", "v1", "SubjectAccessReview"));
    let reviews: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let asked = RESOURCES.into_iter().flat_map(|resource| VERBS.map(|verb| (verb, resource)));
    let reviews = &reviews;
    let answers = stream::iter(asked).map(|(verb, place)| async move {
        let (group, rest) = place.split_once('/').unwrap_or_default();
        let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let wish = json!({
            "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource,
        });
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{OWN}"), "system:authenticated"];
        let user = format!("system:serviceaccount:{OWN}:plimsoll-{part}");
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"user": user, "groups": groups, "resourceAttributes": wish},
        });
        let answer = reviews.create(&PostParams::default(), &serde_json::from_value(review)?).await?;
        anyhow::Ok((answer.data["status"]["allowed"] == true).then(|| format!("{verb} {place}")))
    });
    let answers: Vec<Result<Option<String>>> = answers.buffer_unordered(8).collect().await;
    Ok(answers.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}
