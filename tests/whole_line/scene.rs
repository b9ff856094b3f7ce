//! Fifty workloads and their traffic.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use crate::driver::{
    keda::Trigger,
    load::{Load, Pattern, Traffic},
    routes::{Kind, Route},
};

/// How many workloads there are.
pub(crate) const WORKLOADS: usize = 50;

/// The window of concurrency where a resource names none.
pub(crate) const DEFAULT_CONCURRENCY_WINDOW: Duration = Duration::from_secs(15);

/// A workload and what its clients do.
pub(crate) struct Role {
    pub(crate) route: Route,
    pub(crate) pattern: Pattern,
}

impl Role {
    /// Over what its concurrency is taken.
    pub(crate) fn concurrency_window(&self) -> Duration {
        self.route.concurrency_window.unwrap_or(DEFAULT_CONCURRENCY_WINDOW)
    }

    /// Whether it has clients.
    pub(crate) fn is_busy(&self) -> bool {
        self.pattern != Pattern::Idle
    }
}

/// All workloads.
pub(crate) struct Scene {
    pub(crate) roles: Vec<Role>,
}

impl Scene {
    pub(crate) fn routes(&self) -> Vec<Route> {
        self.roles.iter().map(|role| role.route.clone()).collect()
    }

    pub(crate) fn triggers(&self) -> Vec<Trigger> {
        self.roles.iter().map(|role| role.route.trigger()).collect()
    }

    pub(crate) fn traffic(&self) -> Vec<Traffic> {
        let traffic = |role: &Role| Traffic { host: role.route.host(), pattern: role.pattern };
        self.roles.iter().map(traffic).collect()
    }
}

/// Gives each workload its part, on five backends of the load's.
pub(crate) async fn set(load: &Load) -> Result<Scene> {
    let mut backends = Vec::new();
    for _ in 0..5 {
        backends.push(load.backend().await?.address());
    }
    let roles = (0..WORKLOADS).map(|number| role(number, backends[number % backends.len()])).collect();
    Ok(Scene { roles })
}

/// Of ten workloads: four with clients that always wait for an answer, two with evenly spaced requests, two with bursts
/// shorter than a tick, and two idle. Requests are long against what a proxy adds to them, which the clients see too.
fn role(number: usize, backend: SocketAddr) -> Role {
    let tens = number / 10;
    let millis = Duration::from_millis;
    let pattern = match number % 10 {
        kind @ 0..4 => Pattern::Steady { open: 1 + kind * 2 + tens % 2, length: millis(2_000 + 250 * tens as u64) },
        kind @ 4..6 => Pattern::Bursts {
            every: millis([100, 125, 160, 200, 250][tens] * (kind as u64 - 3)),
            at_once: 1,
            length: millis(600),
        },
        6 => Pattern::Bursts { every: millis(1_000), at_once: 3 + tens, length: millis(600) },
        // Often nothing is in flight when somebody looks.
        7 => Pattern::Bursts { every: millis(1_250), at_once: 6, length: millis(600) },
        _ => Pattern::Idle,
    };
    let mut route = Route::new(format!("workload-{number}"), backend);
    match tens {
        // As the add-on's users have them.
        0 => (route.kind, route.rate_window) = (Kind::HttpScaledObject, None),
        // The default window.
        1 => route.concurrency_window = None,
        2 => route.rate_window = Some(Duration::from_secs(15)),
        _ => {}
    }
    Role { route, pattern }
}
