//! What the tests of the whole collector share: interceptors that write to a log, a plan, and a manager that listens.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use plimsoll_collector::{Collector, Config, Parts};
use plimsoll_scheduler::plan::{AssignedTopic, Placed, Placement, Plan};
use plimsoll_scheduler::store::{Campaign, Leadership, Store};
use plimsoll_wire::collector::collector_client::CollectorClient;
use plimsoll_wire::collector::{Answer, SubscribeRequest, Update};
use plimsoll_wire::frame::{Activation, Frame, Heartbeat, InterceptorRecord, interceptor_record::Record};
use plimsoll_wire::log::{Append, EventLog, Topic, TopicSpec};
use plimsoll_wire::topic::INTERCEPTORS;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// Nothing here takes this long.
pub const LIMIT: Duration = Duration::from_secs(20);
/// The interceptors' tick: shorter than the real one, so that tests are.
pub const TICK: Duration = Duration::from_millis(200);
/// Concurrency's and the rate's window.
pub const WINDOW: Duration = Duration::from_secs(2);

pub fn topic(number: usize) -> String {
    format!("plimsoll.default.w{number}")
}

/// A collector that serves on free ports of the loopback.
pub struct Served {
    pub id: String,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), plimsoll_collector::Error>>,
    _stop_on_drop: DropGuard,
}

impl Served {
    pub async fn start(log: Arc<dyn EventLog>, store: Arc<dyn Store>, read_interval: Duration) -> Result<Self> {
        Self::start_patient(log, store, read_interval, Duration::ZERO).await
    }

    /// One that leaves only when others have its topics, or after this long.
    pub async fn start_patient(
        log: Arc<dyn EventLog>,
        store: Arc<dyn Store>,
        read_interval: Duration,
        leave_timeout: Duration,
    ) -> Result<Self> {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            collector_id: Some("c-0".to_owned()),
            collector_listen: loopback,
            collector_advertise: None,
            collector_admin_listen: loopback,
            provider: "aws".to_owned(),
            read_interval,
            leave_timeout,
        };
        let collector = Collector::bind(config, Parts { log, store }).await?;
        let shutdown = CancellationToken::new();
        Ok(Self {
            id: collector.id().to_owned(),
            grpc: collector.grpc_address(),
            admin: collector.admin_address(),
            _stop_on_drop: shutdown.clone().drop_guard(),
            task: tokio::spawn(collector.serve(shutdown.clone())),
            shutdown,
        })
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits until it ends by itself.
    pub async fn ended(self) -> Result<Result<(), plimsoll_collector::Error>> {
        Ok(timeout(LIMIT, self.task).await??)
    }

    /// Stops it, and waits until it has.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        Ok(timeout(LIMIT, self.task).await???)
    }
}

/// Writes plans, as a leading manager does.
pub struct Planner {
    store: Arc<dyn Store>,
    campaign: Campaign,
}

impl Planner {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let campaign = store.campaign("m-0");
        Self { store, campaign }
    }

    /// Gives collector `c-0` these topics and no others; the generation.
    pub async fn assign(&self, topics: impl IntoIterator<Item = usize>) -> Result<u64> {
        self.assign_with(topics, WINDOW).await
    }

    /// As [`assign`](Self::assign), with windows of this length.
    pub async fn assign_with(&self, topics: impl IntoIterator<Item = usize>, window: Duration) -> Result<u64> {
        let mut leadership = self.campaign.leadership();
        let leads = timeout(LIMIT, leadership.wait_for(|now| matches!(now, Leadership::Leader(_)))).await??.clone();
        let Leadership::Leader(term) = leads else { return Err(anyhow!("does not lead")) };
        let stored = self.store.load().await?;
        let generation = stored.plan.generation + 1;
        let placed = topics.into_iter().map(|number| Placed {
            spec: AssignedTopic { topic: topic(number), concurrency_window: window, rate_window: window },
            provider: "aws".to_owned(),
            placement: Placement::owned_by("c-0"),
            alone: false,
            since: generation,
            reason: "the test wants it".to_owned(),
        });
        let plan = Plan { generation, topics: placed.collect() };
        self.store.commit(&plan, stored.revision, &term).await?;
        Ok(generation)
    }
}

pub async fn create_topics(log: &dyn EventLog, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
    let names = numbers.into_iter().map(topic).chain([INTERCEPTORS.to_owned()]);
    let retention = Duration::from_secs(900);
    let specs: Vec<_> = names.map(|name| TopicSpec { topic: Topic::from(name), retention }).collect();
    for outcome in log.create_topics(&specs).await {
        outcome?;
    }
    Ok(())
}

/// An interceptor's side of the log, by the design's rules: the first frame of a busy spell at once and as an activation, then one each
/// tick, then heartbeats that name what was not delivered.
pub struct Interceptor {
    held: Arc<Held>,
    _ticking: AbortOnDropHandle<()>,
}

struct Held {
    name: String,
    incarnation: u64,
    started: Instant,
    log: Arc<dyn EventLog>,
    totals: Mutex<HashMap<String, Totals>>,
}

#[derive(Default, Clone)]
struct Totals {
    changed_us: u64,
    admitted: u64,
    finished: u64,
    busy_us: u64,
    last_arrival_us: u64,
    spell: Option<(u64, u64, u64)>,
}

impl Totals {
    fn advance(&mut self, now_us: u64) {
        self.busy_us += (self.admitted - self.finished) * (now_us - self.changed_us);
        self.changed_us = now_us;
    }
}

impl Interceptor {
    pub fn start(name: &str, incarnation: u64, log: Arc<dyn EventLog>) -> Self {
        let held = Arc::new(Held {
            name: name.to_owned(),
            incarnation,
            started: Instant::now(),
            log,
            totals: Mutex::default(),
        });
        let ticking = AbortOnDropHandle::new(tokio::spawn(held.clone().tick()));
        Self { held, _ticking: ticking }
    }

    /// A request arrives; when it is the first, its frame is appended at once.
    pub async fn arrive(&self, number: usize) {
        let now_us = self.held.now_us();
        let name = topic(number);
        let frame = {
            let mut all = self.held.totals.lock();
            let totals = all.entry(name.clone()).or_default();
            totals.advance(now_us);
            let first = totals.spell.is_none().then_some((now_us, totals.admitted, totals.busy_us));
            totals.spell = totals.spell.or(first);
            totals.admitted += 1;
            totals.last_arrival_us = now_us;
            first.map(|_| self.held.frame(totals, now_us))
        };
        if let Some(frame) = frame {
            let activation = Activation { topic: name.clone(), frame: Some(frame.clone()) };
            let record = InterceptorRecord { record: Some(Record::Activation(activation)) };
            let append = |topic: &str, payload: Vec<u8>| Append { topic: Topic::from(topic), payload: payload.into() };
            let appends = vec![append(INTERCEPTORS, record.encode_to_vec()), append(&name, frame.encode_to_vec())];
            // What fails comes again with the tick.
            self.held.log.append(appends).await;
        }
    }

    pub fn depart(&self, number: usize) {
        let now_us = self.held.now_us();
        let mut all = self.held.totals.lock();
        let totals = all.get_mut(&topic(number)).expect("it arrived before");
        totals.advance(now_us);
        totals.finished += 1;
    }
}

impl Held {
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros().try_into().unwrap()
    }

    fn frame(&self, totals: &Totals, at_us: u64) -> Frame {
        let (spell_at_us, spell_admitted, spell_busy_us) = totals.spell.unwrap_or_default();
        Frame {
            interceptor: self.name.clone(),
            incarnation: self.incarnation,
            at_us,
            admitted: totals.admitted,
            finished: totals.finished,
            busy_us: totals.busy_us,
            held: 0,
            last_arrival_us: totals.last_arrival_us,
            spell_at_us,
            spell_admitted,
            spell_busy_us,
            tick_us: TICK.as_micros().try_into().unwrap(),
            open: false,
        }
    }

    async fn tick(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let watermark_us = self.now_us();
            let cut: Vec<(String, Frame)> = {
                let mut all = self.totals.lock();
                let busy = all.iter_mut().filter(|(_, totals)| totals.spell.is_some());
                busy.map(|(name, totals)| {
                    totals.advance(watermark_us.max(totals.changed_us));
                    (name.clone(), self.frame(totals, totals.changed_us))
                })
                .collect()
            };
            let appends = cut.iter().map(|(name, frame)| Append {
                topic: Topic::from(name.as_str()),
                payload: frame.encode_to_vec().into(),
            });
            let outcomes = self.log.append(appends.collect()).await;
            let mut undelivered = Vec::new();
            for ((name, frame), outcome) in cut.into_iter().zip(outcomes) {
                if outcome.is_err() {
                    undelivered.push(name);
                } else if frame.in_flight() == 0 {
                    let mut all = self.totals.lock();
                    let totals = all.get_mut(&name).unwrap();
                    if totals.admitted == frame.admitted {
                        totals.spell = None;
                    }
                }
            }
            let (interceptor, incarnation, at_us) = (self.name.clone(), self.incarnation, self.now_us());
            let heartbeat = Heartbeat { interceptor, incarnation, at_us, watermark_us, undelivered, leaving: false };
            let record = InterceptorRecord { record: Some(Record::Heartbeat(heartbeat)) };
            let append = Append { topic: Topic::from(INTERCEPTORS), payload: record.encode_to_vec().into() };
            self.log.append(vec![append]).await;
        }
    }
}

/// What a manager has heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub updates: Vec<(Instant, Update)>,
    pub answers: HashMap<String, Answer>,
    pub snapshot_complete: bool,
    /// How the stream ended.
    pub ended: Option<Result<(), tonic::Code>>,
}

/// A manager that listens to a collector.
pub struct Manager {
    heard: watch::Receiver<Heard>,
    _listening: AbortOnDropHandle<()>,
}

impl Manager {
    pub async fn subscribe(address: SocketAddr) -> Result<Self> {
        let mut client = CollectorClient::connect(format!("http://{address}")).await?;
        let mut stream = client.subscribe(SubscribeRequest { manager: "m-0".to_owned() }).await?.into_inner();
        let (tell, heard) = watch::channel(Heard::default());
        let listening = tokio::spawn(async move {
            loop {
                match stream.message().await {
                    Ok(Some(update)) => tell.send_modify(|heard| {
                        heard.snapshot_complete |= !update.snapshot_continues;
                        for answer in &update.answers {
                            heard.answers.insert(answer.topic.clone(), answer.clone());
                        }
                        for topic in &update.released {
                            heard.answers.remove(topic);
                        }
                        heard.updates.push((Instant::now(), update));
                    }),
                    Ok(None) => return tell.send_modify(|heard| heard.ended = Some(Ok(()))),
                    Err(status) => return tell.send_modify(|heard| heard.ended = Some(Err(status.code()))),
                }
            }
        });
        Ok(Self { heard, _listening: AbortOnDropHandle::new(listening) })
    }

    /// Waits until what has been heard is so; fails, saying what it is instead, after the limit.
    pub async fn hears(&self, what: &str, is_so: impl Fn(&Heard) -> bool) -> Result<()> {
        let mut heard = self.heard.clone();
        match timeout(LIMIT, heard.wait_for(|heard| is_so(heard))).await {
            Ok(outcome) => Ok(outcome.map(|_| ())?),
            Err(_) => {
                let heard = self.heard.borrow();
                Err(anyhow!("{what}: not within {LIMIT:?}; answers {:?}, ended {:?}", heard.answers, heard.ended))
            }
        }
    }

    /// Waits until the topic's answer is so, and gives it.
    pub async fn answer(&self, number: usize, what: &str, is_so: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let name = topic(number);
        self.hears(what, |heard| heard.answers.get(&name).is_some_and(&is_so)).await?;
        let heard = self.heard.borrow();
        heard.answers.get(&name).cloned().ok_or_else(|| anyhow!("{name} was released"))
    }

    pub fn look<T>(&self, at: impl FnOnce(&Heard) -> T) -> T {
        at(&self.heard.borrow())
    }
}

pub fn is_known(answer: &Answer) -> bool {
    answer.known && answer.warm
}
