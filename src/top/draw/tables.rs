//! The three tables.

use plimsoll_manager::api::{CollectorView, FleetView};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Text;
use ratatui::widgets::{Cell, Paragraph, Row as Written, Table, TableState, Wrap};

use super::Palette;
use crate::top::cells;
use crate::top::model::{How, Link, Model, Row, Seen};
use crate::top::order::{CollectorColumn, Column, Sort, WorkloadColumn};

/// Cells of a load bar.
const BAR: usize = 10;
/// On a narrower screen, names need the room that says how a move is.
const STATE_OF_MOVES_LEAST: u16 = 80;
/// A name has at least so much.
const NAME_LEAST: u16 = 16;

/// What is cut out of a long list: rows that fit, around the one that is looked at.
fn seen(model: &Model, length: usize, page: usize) -> Seen {
    Seen { page, length, at: model.seen.at.min(length.saturating_sub(1)) }
}

/// The first row on the screen. It goes by whole pages, so that rows keep their places while one goes through them.
fn first(seen: Seen) -> usize {
    (seen.at / seen.page * seen.page).min(seen.length.saturating_sub(seen.page))
}

pub fn workloads(frame: &mut Frame<'_>, model: &Model, area: Rect, page: usize, palette: Palette) -> Seen {
    let listed = model.workloads();
    let seen = seen(model, listed.len(), page);
    if listed.is_empty() {
        say(frame, area, nothing(model));
        return seen;
    }
    let columns = fitting(WORKLOADS, area.width);
    // Only what is on the screen is written out, however many there are.
    let rows = listed.iter().skip(first(seen)).take(page).map(|row| {
        Written::new(columns.iter().map(|(column, _)| {
            let cell = written(*column, cells::workload(row, *column));
            if *column == WorkloadColumn::State { cell.style(look(row, palette)) } else { cell }
        }))
        .style(if row.how() == How::Idle { palette.quiet() } else { Style::new() })
    });
    table(frame, area, rows.collect(), &columns, &model.workloads_by, seen, palette);
    seen
}

/// Why no workload is on the screen.
fn nothing(model: &Model) -> &'static str {
    match (&model.link, model.here()) {
        (Link::Connecting, _) => "Connecting.",
        (Link::Lost { .. }, 0) => "No workload has been told yet.",
        (_, 0) if !model.is_whole() => "Loading.",
        (_, 0) => "No workload: an InterceptorRoute or HTTPScaledObject makes one.",
        _ => "No workload is like that: Esc drops the filters.",
    }
}

/// Columns from the most wanted on, with their widths; the name has the rest. What does not fit is left out from the end.
const WORKLOADS: &[(WorkloadColumn, u16)] = &[
    (WorkloadColumn::State, 8),
    (WorkloadColumn::InFlight, 10),
    (WorkloadColumn::Held, 6),
    (WorkloadColumn::Mean, 12),
    (WorkloadColumn::Wanted, 7),
    (WorkloadColumn::Rate, 13),
    (WorkloadColumn::Collector, 18),
];

const COLLECTORS: &[(CollectorColumn, u16)] = &[
    (CollectorColumn::State, 9),
    (CollectorColumn::Topics, 14),
    (CollectorColumn::Lag, 8),
    (CollectorColumn::Load, 20),
    (CollectorColumn::Why, 30),
    (CollectorColumn::Provider, 10),
];

/// The columns that fit beside a name, in their places.
fn fitting<C: Column>(wanted: &[(C, u16)], width: u16) -> Vec<(C, Constraint)> {
    let mut left = width.saturating_sub(NAME_LEAST);
    let mut chosen = Vec::new();
    for (column, width) in wanted {
        let Some(rest) = left.checked_sub(width + 1) else { break };
        left = rest;
        chosen.push((*column, *width));
    }
    let width = |column: &C| match chosen.iter().find(|(chosen, _)| chosen == column) {
        Some((_, width)) => Some(Constraint::Length(*width)),
        None if *column == C::ALL[0] => Some(Constraint::Fill(1)),
        None => None,
    };
    C::ALL.iter().filter_map(|column| width(column).map(|width| (*column, width))).collect()
}

fn written<C: Column>(column: C, text: String) -> Cell<'static> {
    let alignment = if column.is_number() { Alignment::Right } else { Alignment::Left };
    Cell::from(Text::from(text).alignment(alignment))
}

fn look(row: &Row, palette: Palette) -> Style {
    match row.how() {
        How::Unknown => palette.fault(),
        How::Held => palette.waits(),
        How::Active => palette.well(),
        How::Idle => palette.quiet(),
    }
}

fn table<C: Column>(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: Vec<Written<'_>>,
    columns: &[(C, Constraint)],
    sort: &Sort<C>,
    seen: Seen,
    palette: Palette,
) {
    let heads = columns.iter().map(|(column, _)| {
        let style = if *column == sort.column { palette.strong() } else { palette.quiet() };
        written(*column, sort.head(*column)).style(style)
    });
    let widths: Vec<Constraint> = columns.iter().map(|(_, width)| *width).collect();
    let table = Table::new(rows, widths).header(Written::new(heads)).row_highlight_style(palette.selected());
    let mut state = TableState::default().with_selected(Some(seen.at - first(seen)));
    frame.render_stateful_widget(table, area, &mut state);
}

pub fn collectors(frame: &mut Frame<'_>, model: &Model, area: Rect, page: usize, palette: Palette) -> Seen {
    let listed = model.collectors();
    let seen = seen(model, listed.len(), page);
    let Some(fleet) = model.fleet.as_ref().filter(|_| !listed.is_empty()) else {
        say(
            frame,
            area,
            match &model.fleet {
                None => "Nothing is known of collectors yet.",
                Some(fleet) if fleet.collectors.is_empty() => {
                    "No collector has registered: nothing is read, so all values are unknown. Start one: plimsoll collector."
                }
                Some(_) => "No collector is like that: Esc drops the filter.",
            },
        );
        return seen;
    };
    let most = fleet.collectors.iter().map(|one| one.load).fold(0.0, f64::max);
    let columns = fitting(COLLECTORS, area.width);
    let rows = listed
        .iter()
        .skip(first(seen))
        .take(page)
        .map(|one| Written::new(columns.iter().map(|(column, _)| collector(one, *column, fleet, most, palette))));
    table(frame, area, rows.collect(), &columns, &model.collectors_by, seen, palette);
    seen
}

fn collector(
    one: &CollectorView,
    column: CollectorColumn,
    fleet: &FleetView,
    most: f64,
    palette: Palette,
) -> Cell<'static> {
    let text = cells::collector(one, column, fleet);
    match column {
        CollectorColumn::State => written(column, text).style(match one.state.as_str() {
            "ready" => palette.well(),
            "joining" | "held-off" | "cordoned" | "draining" | "leaving" | "retiring" => palette.waits(),
            _ => palette.fault(),
        }),
        CollectorColumn::Load => written(column, format!("{} {text:>8}", bar(one.load, most))),
        _ => written(column, text),
    }
}

/// A load beside the greatest one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a dozen cells"
)]
fn bar(load: f64, most: f64) -> String {
    let full = if most > 0.0 { (load / most * BAR as f64).round() as usize } else { 0 };
    let full = full.min(BAR);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

pub fn moves(frame: &mut Frame<'_>, model: &Model, area: Rect, page: usize, palette: Palette) -> Seen {
    let listed = model.moves();
    let seen = seen(model, listed.len(), page);
    if listed.is_empty() {
        say(
            frame,
            area,
            match &model.fleet {
                None => "Nothing is known of moves yet.",
                Some(fleet) if fleet.moves.is_empty() => "Nothing is on its way.",
                Some(_) => "No move is like that: Esc drops the filter.",
            },
        );
        return seen;
    }
    let widths = [Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(23)];
    let columns = if area.width < STATE_OF_MOVES_LEAST { widths.len() - 1 } else { widths.len() };
    let written = |cells: [String; 4]| Written::new(cells.into_iter().take(columns));
    let rows = listed.iter().skip(first(seen)).take(page).map(|one| written(cells::moving(one)));
    let head = written(cells::MOVE_HEADS.map(ToOwned::to_owned)).style(palette.quiet());
    let table = Table::new(rows, &widths[..columns]).header(head).row_highlight_style(palette.selected());
    let mut state = TableState::default().with_selected(Some(seen.at - first(seen)));
    frame.render_stateful_widget(table, area, &mut state);
    seen
}

fn say(frame: &mut Frame<'_>, area: Rect, what: &'static str) {
    frame.render_widget(Paragraph::new(what).wrap(Wrap { trim: false }), area);
}
