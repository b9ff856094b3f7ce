#![allow(clippy::unwrap_used)]

use anyhow::anyhow;

use super::super::order::Column as _;
use super::*;

/// A row as the manager tells it.
pub fn whole(id: u32, name: &str, flags: u8, in_flight: u64, held: u64) -> WholeRow {
    let wanted = (flags & KNOWN != 0).then_some(1);
    let live = (id, flags, in_flight, held, 0.0, 0.0, wanted);
    ("shop".into(), name.into(), "default".into(), Some(5), None, None, None, Some("c-0".into()), live)
}

/// A message of rows.
pub fn rows(reset: bool, total: usize, whole: Vec<WholeRow>, live: Vec<LiveRow>, gone: Vec<u32>) -> News {
    News::Rows(RowsView { unix_ms: 0, reset, total, whole, live, gone })
}

/// Three busy ones, one whose values are old, one of which nothing is known, one whose zero may be none.
pub fn model() -> Model {
    let mut model = Model::new("http://here");
    let known = KNOWN | HEARD;
    let all = vec![
        whole(1, "web", known | ACTIVE, 3, 0),
        whole(2, "api", known | ACTIVE, 7, 2),
        whole(3, "batch", HEARD, 5, 0),
        whole(4, "new", 0, 0, 0),
        whole(5, "dim", known | ZERO_IS_UNKNOWN, 0, 0),
        whole(6, "idle", known, 0, 0),
    ];
    model.take(rows(true, 6, all, vec![], vec![]));
    model
}

fn names(model: &Model) -> Vec<&str> {
    model.workloads().iter().map(|row| row.name.trim_start_matches("shop/")).collect()
}

#[test]
fn the_busiest_come_first_and_what_is_not_known_last_whichever_way() {
    let mut model = model();
    assert_eq!(names(&model), ["api", "batch", "web", "idle", "dim", "new"]);
    model.workloads_by.greatest_first = false;
    assert_eq!(names(&model), ["idle", "web", "batch", "api", "dim", "new"]);
    model.workloads_by = Sort::by(WorkloadColumn::Name);
    assert_eq!(names(&model), ["api", "batch", "dim", "idle", "new", "web"]);
    model.workloads_by.step(false);
    assert_eq!(model.workloads_by.column, WorkloadColumn::Collector, "the columns are a ring");
    for _ in WorkloadColumn::ALL {
        model.workloads_by.step(true);
    }
    assert_eq!(model.workloads_by.column, WorkloadColumn::Collector);
}

#[test]
fn what_is_unknown_is_in_no_sum_and_never_a_zero() {
    let model = model();
    let sums = Sums { known: 3, unknown: 3, active: 2, in_flight: 10, held: 2, request_rate: 0.0 };
    assert_eq!(model.sums(), sums);
    let said: Vec<_> = model.workloads().iter().map(|row| (row.how(), row.count(row.in_flight))).collect();
    assert_eq!(
        said,
        [
            (How::Held, Some(7)),
            (How::Unknown, Some(5)),
            (How::Active, Some(3)),
            (How::Idle, Some(0)),
            (How::Unknown, None),
            (How::Unknown, None)
        ]
    );
}

#[test]
fn what_changes_and_goes_is_taken_and_a_reset_voids_all() {
    let mut model = model();
    let changed = vec![(1, KNOWN | HEARD, 9, 0, 0.0, 0.0, None), (77, 0, 1, 1, 0.0, 0.0, None)];
    model.take(rows(false, 5, vec![], changed, vec![2]));
    assert_eq!((model.workloads()[0].in_flight, model.here()), (9, 5));
    model.take(News::Lost { error: anyhow!("gone"), again_in: Duration::from_secs(1) });
    assert_eq!(model.here(), 5, "what was known stays");
    model.take(rows(true, 2_000, vec![whole(9, "one", 0, 0, 0)], vec![], vec![]));
    assert_eq!(names(&model), ["one"]);
    assert!(!model.is_whole(), "more is to come");
}

#[test]
fn filters_go_by_name_and_state() {
    let mut model = model();
    model.filter = "B".into();
    assert_eq!(names(&model), ["batch", "web"]);
    model.filter.clear();
    for (how, expected) in [(How::Held, &["api"][..]), (How::Unknown, &["batch", "dim", "new"])] {
        model.only = Some(how);
        assert_eq!(names(&model), expected);
    }
    model.only = Some(How::Active);
    assert_eq!(names(&model), ["api", "web"]);
}

#[tokio::test(start_paused = true)]
async fn a_loss_lasts_from_its_beginning_and_ends_with_the_next_word() {
    let mut model = model();
    let lost = || News::Lost { error: anyhow!("gone"), again_in: Duration::from_secs(5) };
    model.take(lost());
    tokio::time::advance(Duration::from_secs(5)).await;
    model.take(lost());
    let Link::Lost { since, again_at, .. } = &model.link else { panic!("{:?}", model.link) };
    assert_eq!((since.elapsed(), *again_at - Instant::now()), (Duration::from_secs(5), Duration::from_secs(5)));
    model.take(rows(false, 6, vec![], vec![], vec![]));
    assert!(matches!(model.link, Link::Live));
}
