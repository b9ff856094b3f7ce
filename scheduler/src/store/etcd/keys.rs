//! What lies where in etcd.
//!
//! ```text
//! plan/index                      which version of each collector's parts is the current one: commits the plan
//! plan/parts/COLLECTOR/TAG/NNNN   what the collector reads, in parts that fit a value
//! directives/index                which version of the directives is the current one: commits them
//! directives/parts/TAG/NNNN       what operators have asked for, in parts that fit a value
//! members/COLLECTOR               who is there, on a lease
//! leader                          who leads, on a lease; its create revision is the term
//! ```

/// The keys under the prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{}/", prefix.trim_end_matches('/')) }
    }

    pub(super) fn index(&self) -> String {
        format!("{}plan/index", self.prefix)
    }

    pub(super) fn all_parts(&self) -> String {
        format!("{}plan/parts/", self.prefix)
    }

    /// What all parts of one version begin with.
    pub(super) fn parts(&self, collector: &str, tag: &str) -> String {
        format!("{}{collector}/{tag}/", self.all_parts())
    }

    pub(super) fn directives_index(&self) -> String {
        format!("{}directives/index", self.prefix)
    }

    pub(super) fn all_directives_parts(&self) -> String {
        format!("{}directives/parts/", self.prefix)
    }

    /// What all parts of one version begin with.
    pub(super) fn directives_parts(&self, tag: &str) -> String {
        format!("{}{tag}/", self.all_directives_parts())
    }

    pub(super) fn members(&self) -> String {
        format!("{}members/", self.prefix)
    }

    pub(super) fn member(&self, collector: &str) -> String {
        format!("{}{collector}", self.members())
    }

    pub(super) fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }
}
