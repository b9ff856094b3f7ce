#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::anyhow;
use plimsoll_manager::api::{CollectorView, FleetView, MovingView, PolicyKind, PolicyView};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::feed::News;
use super::super::keys;
use super::super::model::tests::{model, rows, whole};
use super::*;

/// The screen as lines of text, and what was seen.
fn screen(model: &Model, width: u16, height: u16) -> (Vec<String>, Seen) {
    let terminal = drawn(model, width, height, Palette { colours: true });
    let buffer = terminal.0.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    ((0..height).map(line).collect(), terminal.1)
}

fn drawn(model: &Model, width: u16, height: u16, palette: Palette) -> (Terminal<TestBackend>, Seen) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut seen = model.seen;
    terminal.draw(|frame| seen = draw(frame, model, palette)).unwrap();
    (terminal, seen)
}

fn fleet() -> FleetView {
    let collector = |id: &str, state: &str, load| CollectorView {
        id: id.to_owned(),
        address: None,
        provider: Some("aws".into()),
        state: state.to_owned(),
        because: Some(format!("{id} is {state}")),
        wish: None,
        topics: 3,
        incoming: 1,
        load,
        lag_seconds: 0.0,
        silent_seconds: 0.0,
        generation: 4,
    };
    let topic = "plimsoll.shop.web".to_owned();
    FleetView {
        unix_ms: 0,
        run: "r".into(),
        leading: true,
        leader: Some("manager-0".into()),
        store_away: None,
        generation: 4,
        topics: 6,
        unassigned: 0,
        newest_decision: 0,
        policy: PolicyView { kind: PolicyKind::MaxPerHost, max_per_host: 200, min_collectors: 1, max_collectors: 9 },
        collectors: vec![collector("c-0", "ready", 4.0), collector("c-1", "lost", 1.0)],
        moves: vec![MovingView { topic, from: Some("c-1".into()), to: "c-0".into(), warm: false }],
        total_moves: 1,
        interceptors: vec![],
    }
}

fn line<'a>(lines: &'a [String], text: &str) -> &'a str {
    lines.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"))
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_is_said_to_be_and_is_no_zero() {
    let (lines, _) = screen(&model(), 100, 20);
    assert!(line(&lines, "6 workloads").contains("at least 10 in flight"), "{lines:#?}");
    assert!(line(&lines, "6 workloads").ends_with("3 unknown"), "{lines:#?}");
    let words = |name: &str| line(&lines, name).split_whitespace().skip(1).collect::<Vec<_>>();
    assert_eq!(words("shop/new"), ["unknown", "-", "-", "-", "-", "-", "c-0"]);
    assert_eq!(words("shop/dim")[..3], ["unknown", "-", "-"], "a zero while an interceptor is missing");
    assert_eq!(words("shop/batch")[..3], ["unknown", "5?", "0?"], "what was known last");
    assert_eq!(words("shop/idle")[..3], ["idle", "0", "0"], "a zero that is known is one");
    let nothing_told = Model::new("http://here");
    let (lines, _) = screen(&nothing_told, 100, 20);
    assert!(lines.iter().all(|line| !line.contains('0')), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_loss_has_the_first_line_and_says_how_old_the_rest_is() {
    let mut model = model();
    model.take(News::Fleet(Box::new(fleet())));
    assert!(screen(&model, 100, 20).0[0].contains("live  generation 4, manager-0 leads"));
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(screen(&model, 100, 20).0[0].contains("no word for 4 s"));
    model.take(News::Lost { error: anyhow!("Connection refused"), again_in: Duration::from_secs(5) });
    tokio::time::advance(Duration::from_secs(3)).await;
    let (lines, _) = screen(&model, 100, 20);
    let expected = "DISCONNECTED for 3 s, all here is 7 s old; next try in 2 s: Connection refused";
    assert_eq!(lines[0].trim(), expected);
    line(&lines, "shop/api");
    model.take(rows(false, 6, vec![], vec![], vec![]));
    assert!(screen(&model, 100, 20).0[0].contains("live"));
    let mut never = Model::new("http://here");
    never.take(News::Lost { error: anyhow!("Connection refused"), again_in: Duration::from_secs(5) });
    assert!(screen(&never, 80, 20).0[0].contains("NO MANAGER at http://here; next try in 5 s: Connection refused"));
}

#[tokio::test(start_paused = true)]
async fn every_view_fits_every_screen() {
    let mut model = model();
    model.take(News::Fleet(Box::new(fleet())));
    for (view, wanted) in View::ALL.into_iter().zip(["shop/api", "c-0", "plimsoll.shop"]) {
        model.view = view;
        for width in [1, 5, 16, 20, 25, 40, 60, 79, 80, 100, 132, 300] {
            for height in [1, 2, 3, 4, 5, 6, 8, 12, 24, 60] {
                for help in [false, true] {
                    model.help = help;
                    let (lines, _) = screen(&model, width, height);
                    let all = lines.join("\n");
                    assert!(help || width < 40 || height < 3 || all.contains(wanted), "{width}x{height}:\n{all}");
                }
            }
        }
    }
    model.help = true;
    let (lines, _) = screen(&model, 80, 24);
    for (key, does) in keys::HELP {
        let is_there = |line: &String| line.contains(key) && line.contains(does);
        assert!(lines.iter().any(is_there), "{lines:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_eighty_columns_what_is_wanted_most_is_there() {
    let (lines, _) = screen(&model(), 80, 24);
    let head = line(&lines, "WORKLOAD");
    for title in ["STATE", "▼IN FLIGHT", "HELD", "MEAN", "RATE", "WANTED"] {
        assert!(head.contains(title), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_row_that_is_looked_at_is_on_the_screen_of_a_long_list() {
    let mut model = Model::new("http://here");
    let all = (0..10_000).map(|id| whole(id, &format!("w{id:05}"), 9, 0, 0)).collect();
    model.take(rows(true, 10_000, all, vec![], vec![]));
    for at in [0, 17, 5_000, 9_999, 20_000] {
        model.seen.at = at;
        let (lines, seen) = screen(&model, 80, 24);
        assert_eq!((seen.length, seen.at), (10_000, at.min(9_999)));
        line(&lines, &format!("shop/w{:05}", seen.at));
        line(&lines, &format!("row {} of 10000", seen.at + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn without_colours_there_are_none() {
    let mut model = model();
    model.take(News::Fleet(Box::new(fleet())));
    let colours = |model: &Model, palette| {
        let (terminal, _) = drawn(model, 100, 24, palette);
        terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    for view in View::ALL {
        model.view = view;
        assert!(!colours(&model, Palette { colours: false }));
    }
    model.take(News::Lost { error: anyhow!("gone"), again_in: Duration::ZERO });
    assert!(!colours(&model, Palette { colours: false }));
    assert!(colours(&model, Palette { colours: true }));
}
