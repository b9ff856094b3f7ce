//! The interceptor, the manager and the resources' definitions on a real Kubernetes API server.
//!
//! All of it runs in a network namespace of its own, since the API server takes no loopback address as an endpoint: `backend`s
//! listen on 10.99.0.x there. That needs root and `ip` (iproute2); where one of them is missing every test says so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

#[path = "../driver/http.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod http;
#[path = "../driver/program.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod program;

mod backend;
mod circle;
mod conditions;
mod endpoints;
mod network;
mod objects;
mod operator;
mod outage;
mod proxy;
mod relay;
mod scale;
mod schema;
mod stopping;
mod traffic;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

/// A change is seen within this time, on however busy a machine.
const SOON: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    // Before the first thread: they all are where their maker is.
    let network = if arguments.list { Ok(()) } else { network::enter() };
    let runtime = Arc::new(Runtime::new()?);
    let trial = |name: &str, test: fn(&Runtime) -> Result<()>| {
        let (runtime, network) = (runtime.clone(), network.clone());
        Trial::test(name, move || {
            network
                .map_err(|why| anyhow!(why))
                .and_then(|()| test(&runtime))
                .map_err(|error| format!("{error:?}").into())
        })
    };
    macro_rules! trials {
        ($($module:ident :: $test:ident),* $(,)?) => {
            vec![$(trial(stringify!($test), |runtime| runtime.block_on($module::$test()))),*]
        };
    }
    let mut trials = trials![
        schema::what_the_add_on_accepts_is_accepted,
        schema::what_the_add_on_refuses_is_refused,
        schema::defaults_are_the_add_on_s,
        watching::requests_go_on_while_routes_and_endpoints_change,
        watching::a_port_is_found_by_name_and_one_that_is_not_there_is_answered_with_500,
        watching::a_placeholder_s_body_follows_its_config_map,
        watching::a_bad_resource_disturbs_no_other_and_keeps_its_last_good_version,
        endpoints::of_two_address_families_the_service_s_first_gets_the_requests,
        endpoints::a_port_s_app_protocol_says_what_pods_are_spoken_with,
        endpoints::a_terminating_pod_finishes_what_it_has_and_gets_nothing_new,
        endpoints::an_alias_has_no_endpoints_and_is_answered_with_500,
        circle::from_zero_to_many_and_back_as_the_chart_s_service_accounts,
        outage::a_watch_that_is_too_old_to_go_on_is_begun_anew,
        outage::an_api_server_that_is_away_for_30_s_fails_no_request,
        operator::an_http_scaled_object_has_its_scaled_object,
        operator::drift_is_repaired_and_users_fields_stay,
        operator::the_add_on_s_finalizer_holds_up_no_deletion,
        operator::annotations_orphan_a_scaled_object_or_do_without_one,
        operator::an_interceptor_route_has_one_where_it_names_its_target,
        stopping::a_request_that_is_held_at_sigterm_goes_to_the_pod_that_comes_then,
        operator::keda_speaks_tls_where_the_scaler_does_and_a_trigger_keeps_what_users_add,
        operator::a_user_s_own_scaled_object_of_a_route_stays,
        operator::an_interceptor_route_takes_over_what_the_add_on_made,
        conditions::each_resource_says_whether_it_can_be_used,
        conditions::who_wins_a_rule_and_who_loses_it_is_said,
    ];
    let large = trials![scale::figures_of_10_000_routes_and_50_000_endpoints];
    trials.extend(large.into_iter().map(|trial| trial.with_ignored_flag(true)));
    libtest_mimic::run(&arguments, trials).exit()
}
