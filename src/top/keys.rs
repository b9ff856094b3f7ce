//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{How, Model, View};

/// Longer than any name.
const FILTER_MAX: usize = 512;

/// All of them, for people: the key, and what it does.
pub const HELP: &[(&str, &str)] = &[
    ("q, Ctrl-C", "end"),
    ("Tab, 1, 2, 3", "workloads, collectors, moves"),
    ("Up, Down, j, k", "one row on; PageUp, PageDown, Home, End, g, G further"),
    ("Enter", "why: what KEDA is told of the workload, and where its topic is"),
    ("/", "filter by a part of the name; Enter keeps it, Esc drops it"),
    ("f", "only active, held, unknown ones; all"),
    ("s, >", "sort by the next column; S, < by the one before"),
    ("r", "turn the order around"),
    ("Esc", "drop the filters"),
    ("Ctrl-L, Ctrl-Z", "draw anew; back to the shell, until fg"),
];

/// What comes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Redraw,
    Suspend,
    End,
}

/// Takes one key.
pub fn press(model: &mut Model, key: KeyEvent) -> Then {
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return with_control(model, key.code);
    }
    if model.help {
        model.help = false;
    } else if model.detail.is_some() {
        if matches!(key.code, KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q')) {
            model.detail = None;
        }
    } else if model.typing {
        type_in(model, key.code);
    } else if key.code == KeyCode::Char('q') {
        return Then::End;
    } else {
        choose(model, key.code);
    }
    Then::GoOn
}

fn with_control(model: &mut Model, code: KeyCode) -> Then {
    match code {
        KeyCode::Char('c') => return Then::End,
        KeyCode::Char('z') => return Then::Suspend,
        KeyCode::Char('l') => return Then::Redraw,
        KeyCode::Char('u') if model.typing => model.filter.clear(),
        _ => {}
    }
    Then::GoOn
}

fn choose(model: &mut Model, code: KeyCode) {
    let (page, last) = (model.seen.page, model.seen.length.saturating_sub(1));
    let at = &mut model.seen.at;
    match code {
        KeyCode::Up | KeyCode::Char('k') => *at = at.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => *at = (*at + 1).min(last),
        KeyCode::PageUp => *at = at.saturating_sub(page),
        KeyCode::PageDown => *at = (*at + page).min(last),
        KeyCode::Home | KeyCode::Char('g') => *at = 0,
        KeyCode::End | KeyCode::Char('G') => *at = last,
        KeyCode::Char('s' | '>') => {
            sort(model, |model| model.workloads_by.step(true), |model| model.collectors_by.step(true))
        }
        KeyCode::Char('S' | '<') => {
            sort(model, |model| model.workloads_by.step(false), |model| model.collectors_by.step(false))
        }
        KeyCode::Char('r') => sort(
            model,
            |model| model.workloads_by.greatest_first ^= true,
            |model| model.collectors_by.greatest_first ^= true,
        ),
        KeyCode::Char('/') => model.typing = true,
        KeyCode::Char('f') if model.view == View::Workloads => {
            model.only = match model.only {
                None => Some(How::Active),
                Some(How::Active) => Some(How::Held),
                Some(How::Held) => Some(How::Unknown),
                Some(How::Unknown | How::Idle) => None,
            };
            model.seen.at = 0;
        }
        KeyCode::Esc => {
            model.filter.clear();
            model.only = None;
        }
        KeyCode::Enter => model.open(),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => model.help = true,
        KeyCode::Tab | KeyCode::Right => show(model, 1),
        KeyCode::BackTab | KeyCode::Left => show(model, View::ALL.len() - 1),
        KeyCode::Char('1') => to(model, View::Workloads),
        KeyCode::Char('2') => to(model, View::Collectors),
        KeyCode::Char('3') => to(model, View::Moves),
        _ => {}
    }
}

/// Sorts what is on the screen. Moves stay as they were told: there are few, and each for a moment.
fn sort(model: &mut Model, workloads: impl FnOnce(&mut Model), collectors: impl FnOnce(&mut Model)) {
    match model.view {
        View::Workloads => workloads(model),
        View::Collectors => collectors(model),
        View::Moves => {}
    }
}

fn show(model: &mut Model, further: usize) {
    let now = View::ALL.iter().position(|view| *view == model.view).unwrap_or(0);
    to(model, View::ALL[(now + further) % View::ALL.len()]);
}

fn to(model: &mut Model, view: View) {
    model.view = view;
    model.seen.at = 0;
}

fn type_in(model: &mut Model, code: KeyCode) {
    match code {
        KeyCode::Enter => model.typing = false,
        KeyCode::Esc => {
            model.typing = false;
            model.filter.clear();
        }
        KeyCode::Backspace => {
            model.filter.pop();
        }
        KeyCode::Char(letter) if model.filter.len() < FILTER_MAX => model.filter.push(letter),
        _ => {}
    }
    model.seen.at = 0;
}

#[cfg(test)]
mod tests {
    use super::super::order::WorkloadColumn;
    use super::*;

    fn type_all(model: &mut Model, keys: &str) -> Then {
        keys.chars().map(|key| press(model, KeyCode::Char(key).into())).last().unwrap_or(Then::GoOn)
    }

    #[test]
    fn what_is_typed_into_the_filter_does_nothing_else() {
        let mut model = Model::new("http://here");
        assert_eq!(type_all(&mut model, "/quiet"), Then::GoOn);
        assert_eq!((model.filter.as_str(), model.workloads_by.column), ("quiet", WorkloadColumn::InFlight));
        press(&mut model, KeyCode::Backspace.into());
        press(&mut model, KeyCode::Enter.into());
        assert_eq!(type_all(&mut model, "s"), Then::GoOn);
        assert_eq!((model.filter.as_str(), model.workloads_by.column), ("quie", WorkloadColumn::Held));
        press(&mut model, KeyCode::Esc.into());
        assert!(model.filter.is_empty());
        assert_eq!(type_all(&mut model, "q"), Then::End);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        type_all(&mut model, "/");
        assert_eq!(press(&mut model, interrupt), Then::End, "whatever is going on");
    }

    #[test]
    fn the_row_that_is_looked_at_stays_inside_the_list() {
        let mut model = Model::new("http://here");
        model.seen = super::super::model::Seen { page: 4, length: 6, at: 0 };
        for (key, expected) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 5),
            (KeyCode::Down, 5),
            (KeyCode::PageUp, 1),
            (KeyCode::End, 5),
            (KeyCode::Home, 0),
        ] {
            press(&mut model, key.into());
            assert_eq!(model.seen.at, expected, "after {key:?}");
        }
    }

    #[test]
    fn what_lies_over_the_table_takes_the_keys() {
        let mut model = super::super::model::tests::model();
        type_all(&mut model, "?");
        assert!(model.help);
        assert_eq!(type_all(&mut model, "q"), Then::GoOn, "it closes the help, and ends nothing");
        assert!(!model.help);
        press(&mut model, KeyCode::Enter.into());
        assert_eq!(model.detail.as_ref().map(|detail| detail.title.as_str()), Some("shop/api"));
        type_all(&mut model, "s");
        assert_eq!(model.workloads_by.column, WorkloadColumn::InFlight);
        press(&mut model, KeyCode::Esc.into());
        assert!(model.detail.is_none());
    }
}
