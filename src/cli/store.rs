//! Where the plan is kept, on the command line.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use plimsoll_cluster::Access;
use plimsoll_scheduler::store::ConfigMapOptions;

/// Where the plan is kept: etcd, or a Kubernetes namespace. Managers and collectors of one fleet are given the same.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Store {
    /// What keeps the plan. With --etcd it is etcd, and this need not be said.
    #[arg(long, env = "PLIMSOLL_STORE", value_name = "KIND", help_heading = "Store")]
    pub store: Option<Kind>,
    /// etcd's endpoints.
    #[arg(long, env = "PLIMSOLL_ETCD", value_name = "HOST:PORT,..", value_delimiter = ',', help_heading = "Store")]
    pub etcd: Vec<String>,
    /// What all keys in etcd begin with; two fleets on one etcd need two prefixes.
    #[arg(long, env = "PLIMSOLL_ETCD_PREFIX", default_value = "/plimsoll/", help_heading = "Store")]
    pub etcd_prefix: String,
    /// The namespace of the ConfigMaps and Leases, with --store configmap. Default: the pod's own, or the kubeconfig's.
    #[arg(long, env = "PLIMSOLL_STORE_NAMESPACE", value_name = "NAMESPACE", help_heading = "Store")]
    pub store_namespace: Option<String>,
    /// What the names of all ConfigMaps and Leases begin with; two fleets in one namespace need two prefixes.
    #[arg(
        long,
        env = "PLIMSOLL_STORE_PREFIX",
        value_name = "NAME",
        default_value = "plimsoll",
        help_heading = "Store"
    )]
    pub store_prefix: String,
}

/// What keeps the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// An etcd: name its endpoints by --etcd.
    Etcd,
    /// ConfigMaps and Leases in a Kubernetes namespace.
    Configmap,
}

/// Where the plan is kept.
#[derive(Debug, Clone)]
pub enum Place {
    /// In etcd.
    Etcd {
        /// `HOST:PORT` of its members.
        endpoints: Vec<String>,
        /// What all keys begin with.
        prefix: String,
    },
    /// In a Kubernetes namespace.
    ConfigMap(ConfigMapOptions),
}

impl Store {
    /// Where the plan is kept, as the flags say; Kubernetes is reached by `access`.
    ///
    /// # Errors
    /// They say nothing, or two things.
    pub fn place(&self, access: &Access) -> Result<Place> {
        match (self.store, self.etcd.as_slice()) {
            (None | Some(Kind::Etcd), [_, ..]) => {
                Ok(Place::Etcd { endpoints: self.etcd.clone(), prefix: self.etcd_prefix.clone() })
            }
            (Some(Kind::Configmap), []) => Ok(Place::ConfigMap(ConfigMapOptions {
                access: access.clone(),
                namespace: self.store_namespace.clone(),
                prefix: self.store_prefix.clone(),
                ..ConfigMapOptions::default()
            })),
            (None, []) => {
                bail!("nothing says where the plan is kept: give --etcd HOST:PORT, or --store configmap in a cluster")
            }
            (Some(Kind::Etcd), []) => bail!("--store etcd needs --etcd HOST:PORT"),
            (Some(Kind::Configmap), [_, ..]) => {
                bail!("--store configmap and --etcd are two places for one plan: drop one of them")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        access: Access,
    }

    fn place(flags: &[&str]) -> Result<Place> {
        let flags = Flags::try_parse_from([&["plimsoll"], flags].concat()).unwrap();
        flags.store.place(&flags.access)
    }

    #[test]
    fn a_plan_has_one_place() {
        for flags in [&["--etcd=a:1,b:1"][..], &["--store=etcd", "--etcd=a:1"]] {
            assert!(matches!(place(flags), Ok(Place::Etcd { prefix, .. }) if prefix == "/plimsoll/"), "{flags:?}");
        }
        let flags = ["--store=configmap", "--store-namespace=shop", "--store-prefix=blue", "--kubeconfig=k"];
        let Ok(Place::ConfigMap(options)) = place(&flags) else { panic!("{flags:?}") };
        assert_eq!((options.namespace.as_deref(), options.prefix.as_str()), (Some("shop"), "blue"));
        assert_eq!(options.access.kubeconfig, Some("k".into()));
        for (flags, remedy) in [
            (&[][..], "--store configmap"),
            (&["--store=etcd"], "--etcd HOST:PORT"),
            (&["--store=configmap", "--etcd=a:1"], "drop one"),
        ] {
            let error = place(flags).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
