//! Everything that moves, in one stream: rows of workloads, and how the fleet is. What the dashboard is made of.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt as _};
use plimsoll_scheduler::store::{Leadership, StoreHealth};
use plimsoll_wire::collector::interceptor_state::Liveness;
use tokio::time::Instant;

use super::document::Everywhere;
use super::failure::Failure;
use super::known::Known;
use super::policy::in_force;
use super::{Rest, Shown, views};
use crate::api::{FleetView, InterceptorView, MovingView, PolicyView};
use crate::lead::decisions::unix_ms;
use crate::live::Told;

/// Between two looks at all workloads while somebody listens, and while nobody does: then only the history is kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_IDLY_EVERY: Duration = Duration::from_secs(5);
/// How soon somebody who begins to listen is noticed.
const NOTICED_WITHIN: Duration = Duration::from_millis(250);
/// Workloads looked at before other tasks have their turn: some hundred microseconds.
const AT_ONCE: usize = 200;
/// Moves under way that are named.
const MOVES: usize = 200;
/// A line that says nothing is sent this often, so that who is between does not take the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Looks at all workloads, again and again, until shutdown.
pub async fn keep(rest: &Rest) {
    let looking = async {
        loop {
            let began = Instant::now();
            let heard = rest.live.is_heard();
            if heard {
                rest.live.tell_fleet(&fleet(rest));
            }
            look(rest).await;
            let pause = if heard { LOOK_EVERY } else { LOOK_IDLY_EVERY };
            while began.elapsed() < pause && (heard || !rest.live.is_heard()) {
                tokio::time::sleep(NOTICED_WITHIN).await;
            }
        }
    };
    tokio::select! {
        () = rest.shutdown.cancelled() => {}
        () = looking => {}
    }
}

async fn look(rest: &Rest) {
    let catalogue = rest.catalogue.load_full();
    let all = catalogue.entries();
    for some in all.chunks(AT_ONCE) {
        rest.live.look(some, all.len(), &rest.board, rest.activity_window);
        tokio::task::yield_now().await;
    }
    rest.live.end_round();
}

/// How the fleet is now.
fn fleet(rest: &Rest) -> FleetView {
    let known = Known::now(rest);
    let plan = &known.stored.plan;
    let (mut moves, mut total_moves, mut unassigned) = (Vec::new(), 0, 0);
    for (topic, placed) in &plan.topics {
        unassigned += usize::from(placed.placement.owner.is_none());
        let Some(to) = &placed.placement.incoming else { continue };
        total_moves += 1;
        if moves.len() < MOVES {
            let warm = rest.board.cell(&topic.as_str().into()).warm_on(to);
            let (topic, from) = (topic.clone(), placed.placement.owner.clone());
            moves.push(MovingView { topic, from, to: to.clone(), warm });
        }
    }
    FleetView {
        unix_ms: unix_ms(),
        run: rest.run.to_string(),
        leading: matches!(*rest.leadership.borrow(), Leadership::Leader(_)),
        leader: views::leader(rest),
        store_away: match &*rest.health.borrow() {
            StoreHealth::Connected => None,
            StoreHealth::Away { reason, .. } => Some(reason.clone()),
        },
        generation: plan.generation,
        topics: plan.topics.len(),
        unassigned,
        newest_decision: rest.decisions.newest(),
        policy: PolicyView::from(in_force(rest, &known)),
        collectors: views::collectors(rest, &known),
        moves,
        total_moves,
        interceptors: interceptors(rest),
    }
}

/// The interceptors that collectors hear: as the one says that has heard the newest of them.
fn interceptors(rest: &Rest) -> Vec<InterceptorView> {
    let mut all = BTreeMap::<(String, u64), InterceptorView>::new();
    for link in rest.board.links() {
        for one in link.state().interceptors {
            let live = one.liveness == i32::from(Liveness::Live);
            let heard = all.entry((one.name.clone(), one.incarnation)).or_insert_with(|| InterceptorView {
                name: one.name,
                incarnation: one.incarnation,
                live,
                last_heartbeat_unix_ms: 0,
                heard_by: 0,
            });
            heard.heard_by += 1;
            if one.last_heartbeat_unix_ms >= heard.last_heartbeat_unix_ms {
                (heard.live, heard.last_heartbeat_unix_ms) = (live, one.last_heartbeat_unix_ms);
            }
        }
    }
    all.into_values().collect()
}

/// All workloads as rows and how the fleet is, then what changes, once a second, as server-sent events. `fleet` has what
/// `FleetView` describes. `rows` has `whole` rows (`[namespace, name, provider, concurrency target, rate target, least replicas, most
/// replicas, collector, values]`), the values of rows that are known already in `live` (`[id, flags, in flight, held, concurrency,
/// request rate, wanted replicas]`), and the ids of rows that are `gone`; with `reset`, all that was told before is void, and `total`
/// says how many rows there are. Flags: 1 known, 2 active, 4 a zero is not told, 8 some collector has answered. A client that reads too
/// slowly is let go, and begins anew.
#[utoipa::path(get, path = "/api/v1/live", tag = "events",
    responses((status = 200, description = "The stream.", body = FleetView, content_type = "text/event-stream"), Everywhere))]
pub async fn live(State(rest): Shown) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let Some((known, coming)) = rest.live.listen() else {
        let detail = "too many pages listen to this manager already: close some, or ask another manager";
        return Err(Failure::too_many(detail, KEEP_ALIVE));
    };
    // Closed as soon as this one lags: what it has missed is more than it would cost to begin anew.
    let coming =
        stream::unfold(coming, |mut coming| async move { coming.recv().await.ok().map(|told| (told, coming)) });
    let now = Told { event: "fleet", data: Arc::from(serde_json::to_string(&fleet(&rest)).unwrap_or_default()) };
    let all = stream::iter([now]).chain(stream::iter(known)).chain(coming);
    let all = all.map(|told| Ok(Event::default().event(told.event).data(&*told.data)));
    // A stream never ends by itself, and a manager that stops must not wait for its listeners.
    let all = all.take_until(rest.shutdown.clone().cancelled_owned());
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
