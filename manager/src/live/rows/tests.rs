#![allow(clippy::unwrap_used, reason = "a test may panic")]

use plimsoll_wire::collector::Answer;
use plimsoll_wire::resources::{Backend, Port, Workload};
use plimsoll_wire::topic::WorkloadId;
use serde_json::Value;

use super::*;
use crate::catalogue::Catalogue;

const WINDOW: Duration = Duration::from_secs(30);

struct World {
    live: Live,
    board: Board,
    catalogue: Catalogue,
}

impl World {
    fn new(workloads: usize) -> Self {
        let world = Self { live: Live::default(), board: Board::new(WINDOW), catalogue: catalogue(workloads) };
        world.round();
        world
    }

    fn round(&self) {
        let all = self.catalogue.entries();
        for part in all.chunks(7) {
            self.live.look(part, all.len(), &self.board, WINDOW);
        }
        self.live.end_round();
    }

    fn in_flight(&self, name: &str, in_flight: u64) {
        let link = self.board.link("c");
        link.heard();
        let topic = WorkloadId::new("shop", name).topic();
        let answer = Answer { topic, in_flight, known: true, warm: true, ..Answer::default() };
        self.board.take(&link, vec![answer]);
    }
}

fn catalogue(workloads: usize) -> Catalogue {
    let target = || Backend { service: "localhost".into(), port: Port::Number(1) };
    let one = |number| Workload::new(WorkloadId::new("shop", format!("w{number:05}")), target());
    Catalogue::new(&(0..workloads).map(one).collect::<Vec<_>>())
}

fn read(told: &Told) -> Value {
    assert_eq!(told.event, "rows");
    serde_json::from_str(&told.data).unwrap()
}

/// Takes a message as a page does.
fn apply(page: &mut HashMap<u64, u64>, message: &Value) {
    if message["reset"] == true {
        page.clear();
    }
    let live = message["live"].as_array().unwrap().iter();
    let whole = message["whole"].as_array().unwrap().iter().map(|row| &row[8]);
    for row in live.chain(whole) {
        page.insert(row[0].as_u64().unwrap(), row[2].as_u64().unwrap());
    }
    for id in message["gone"].as_array().unwrap() {
        page.remove(&id.as_u64().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_and_who_was_there_know_the_same_rows() {
    let mut world = World::new(2_500);
    let (known, mut coming) = world.live.listen().expect("there is room");
    assert_eq!(known.len(), 3, "a thousand rows a message");
    let mut page = HashMap::new();
    known.iter().for_each(|told| apply(&mut page, &read(told)));
    assert_eq!(page.len(), 2_500);
    world.in_flight("w00007", 3);
    world.round();
    world.in_flight("w00007", 5);
    world.in_flight("w00008", 1);
    world.round();
    world.catalogue = catalogue(2_000);
    world.round();
    while let Ok(told) = coming.try_recv() {
        apply(&mut page, &read(&told));
    }
    let mut later = HashMap::new();
    world.live.listen().expect("there is room").0.iter().for_each(|told| apply(&mut later, &read(told)));
    assert_eq!(page, later);
    assert_eq!((page.len(), page.values().sum::<u64>()), (2_000, 6));
}

#[tokio::test(start_paused = true)]
async fn only_what_changes_is_told() {
    let world = World::new(100);
    let (_, mut coming) = world.live.listen().expect("there is room");
    world.round();
    assert!(coming.try_recv().is_err(), "nothing has changed");
    world.in_flight("w00001", 1);
    world.round();
    let first = read(&coming.try_recv().unwrap());
    assert_eq!((first["whole"].as_array().unwrap().len(), first["live"].as_array().unwrap().len()), (1, 0), "{first}");
    world.in_flight("w00001", 2);
    world.round();
    let second = read(&coming.try_recv().unwrap());
    assert_eq!((second["whole"].as_array().unwrap().len(), second["live"].as_array().unwrap().len()), (0, 1));
    assert_eq!(second["live"][0][2], 2, "{second}");
}

#[tokio::test(start_paused = true)]
async fn the_last_hour_is_told_with_its_times() {
    let world = World::new(3);
    for second in 0..60 {
        world.in_flight("w00002", second);
        world.round();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let topic = Topic::from(WorkloadId::new("shop", "w00002").topic());
    let points = world.live.history(&topic, SLOTS);
    let peaks: Vec<_> = points.iter().map(|(_, point)| point.known().then_some(point.in_flight)).collect();
    assert_eq!(peaks, [None, Some(29), Some(44), Some(59)], "at first nobody had answered");
    assert_eq!(points[3].0 - points[0].0, 45_000);
    assert_eq!(world.live.history(&topic, 2).len(), 1, "the newest slot has just begun");
    assert!(world.live.history(&Topic::from("nobody"), SLOTS).is_empty());
}

#[test]
fn so_many_listen_and_no_more() {
    let live = Live::default();
    let all: Vec<_> = (0..LISTENERS).map(|_| live.listen().expect("there is room")).collect();
    assert!(live.listen().is_none());
    drop(all);
    assert!(live.listen().is_some());
}
