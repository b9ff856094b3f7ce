//! Puts the model on the screen.

mod tables;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use tokio::time::Instant;

use super::cells;
use super::keys::HELP;
use super::model::{Detail, Link, Model, Seen, View};

/// A manager says something each second: older than this, its age is shown.
const OLD_SECONDS: u64 = 3;
/// What lies over the table is not wider than one reads well.
const OVERLAY_WIDTH: u16 = 90;

/// How things look. Without colours they differ by weight alone.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    colours: bool,
}

impl Palette {
    /// As <https://no-color.org> has it.
    pub fn of_environment() -> Self {
        Self { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn coloured(self, style: Style, colour: Color) -> Style {
        if self.colours { style.fg(colour) } else { style }
    }

    fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn fault(self) -> Style {
        self.coloured(self.strong(), Color::Red)
    }

    fn waits(self) -> Style {
        self.coloured(self.strong(), Color::Yellow)
    }

    fn well(self) -> Style {
        self.coloured(Style::new(), Color::Green)
    }

    fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn banner(self) -> Style {
        self.fault().add_modifier(Modifier::REVERSED)
    }
}

/// Draws all of it, and says what there was to be seen.
pub fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette) -> Seen {
    let height = frame.area().height;
    // The smaller the screen, the more of it the table has.
    let line = |least: u16| Constraint::Length(u16::from(height >= least));
    let [head, sums, tabs, body, foot] =
        Layout::vertical([line(2), line(8), line(6), Constraint::Fill(1), line(4)]).areas(frame.area());
    head_line(frame, model, head, palette);
    frame.render_widget(sums_line(model, palette), sums);
    let page = usize::from(body.height.saturating_sub(1)).max(1);
    let seen = match model.view {
        View::Workloads => tables::workloads(frame, model, body, page, palette),
        View::Collectors => tables::collectors(frame, model, body, page, palette),
        View::Moves => tables::moves(frame, model, body, page, palette),
    };
    frame.render_widget(tabs_line(model, seen, palette), tabs);
    frame.render_widget(foot_line(model, palette), foot);
    if model.help {
        overlay(frame, "Keys", help(palette), palette);
    } else if let Some(detail) = &model.detail {
        overlay(frame, &detail.title, told(detail, palette), palette);
    }
    seen
}

/// Where we are, and how the connection is. A loss has the whole line.
fn head_line(frame: &mut Frame<'_>, model: &Model, area: Rect, palette: Palette) {
    let now = Instant::now();
    if let Link::Lost { why, since, again_at } = &model.link {
        let again = match again_at.saturating_duration_since(now).as_secs() {
            0 => "trying again".to_owned(),
            seconds => format!("next try in {seconds} s"),
        };
        let text = match model.heard_at {
            None => format!(" NO MANAGER at {}; {again}: {why}", model.server),
            Some(heard) => {
                let (lost, age) = (cells::time(now - *since), cells::time(now - heard));
                format!(" DISCONNECTED for {lost}, all here is {age} old; {again}: {why}")
            }
        };
        frame.render_widget(Paragraph::new(text).style(palette.banner()), area);
        return;
    }
    let mut line = vec![Span::styled("Plimsoll", palette.strong()), Span::raw(format!("  {}  ", model.server))];
    match (&model.link, &model.fleet) {
        (Link::Live, Some(fleet)) => {
            line.push(Span::styled("live", palette.well()));
            line.push(Span::raw(format!("  {}", cells::fleet(fleet))));
            if let Some(age) = model.heard_at.map(|heard| now - heard).filter(|age| age.as_secs() >= OLD_SECONDS) {
                line.push(Span::styled(format!("  no word for {}", cells::time(age)), palette.fault()));
            }
            for fault in cells::faults(fleet) {
                line.push(Span::styled(format!("  {fault}"), palette.fault()));
            }
        }
        (Link::Live, None) => line.push(Span::styled("live", palette.well())),
        _ => line.push(Span::styled("connecting", palette.quiet())),
    }
    frame.render_widget(Line::from(line), area);
}

fn sums_line(model: &Model, palette: Palette) -> Line<'static> {
    let (text, unknown) = cells::sums(model);
    let style = if unknown > 0 { palette.fault() } else { palette.quiet() };
    let mut line = vec![Span::raw(text)];
    if model.total.is_some() {
        line.push(Span::styled(format!("  {unknown} unknown"), style));
    }
    Line::from(line)
}

/// The views, what is filtered, and which part of it is on the screen.
fn tabs_line(model: &Model, seen: Seen, palette: Palette) -> Line<'static> {
    let count = |view| match (view, &model.fleet) {
        (View::Workloads, _) => model.total.map(|_| model.here()),
        (View::Collectors, fleet) => fleet.as_ref().map(|fleet| fleet.collectors.len()),
        (View::Moves, fleet) => fleet.as_ref().map(|fleet| fleet.total_moves),
    };
    let mut line = Vec::new();
    for (number, (view, name)) in View::ALL.into_iter().zip(["Workloads", "Collectors", "Moves"]).enumerate() {
        let many = count(view).map_or_else(|| cells::NONE.to_owned(), |count| count.to_string());
        let style = if view == model.view { palette.selected() } else { Style::new() };
        line.push(Span::styled(format!(" {} {name} {many} ", number + 1), style));
        line.push(Span::raw(" "));
    }
    if seen.length > seen.page {
        line.push(Span::styled(format!(" row {} of {}", seen.at + 1, seen.length), palette.quiet()));
    }
    if !model.filter.is_empty() {
        line.push(Span::styled(format!("  filter: {}", model.filter), palette.strong()));
    }
    if let Some(only) = model.only.filter(|_| model.view == View::Workloads) {
        line.push(Span::styled(format!("  only {}", only.word()), palette.strong()));
    }
    Line::from(line)
}

fn foot_line(model: &Model, palette: Palette) -> Line<'_> {
    if model.typing {
        return Line::from(format!("filter: {}_   Enter keeps it, Esc drops it", model.filter));
    }
    Line::styled("q quit  ? help  Tab view  s sort  r reverse  / filter  f state  Enter why", palette.quiet())
}

fn help(palette: Palette) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(key, does)| Line::from(vec![Span::styled(format!("{key:<16}"), palette.strong()), Span::raw(*does)]))
        .collect();
    lines.push(Line::default());
    lines.push(Line::from("-    not known: KEDA gets an error, and its fallback decides"));
    lines.push(Line::from("7?   not known now; 7 was the last that was"));
    lines.push(Line::from("MEAN and RATE are over the workload's windows, with the target of one replica."));
    lines.push(Line::from("WANTED replicas are what the values told to KEDA ask for."));
    lines
}

fn told(detail: &Detail, palette: Palette) -> Vec<Line<'_>> {
    match &detail.told {
        None => vec![Line::styled("Asking the manager.", palette.quiet())],
        Some(Ok(sentences)) => sentences.iter().map(|sentence| Line::from(sentence.as_str())).collect(),
        Some(Err(why)) => vec![Line::styled(why.as_str(), palette.fault())],
    }
}

/// Lies over the middle of the table.
fn overlay(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'_>>, palette: Palette) {
    let width = frame.area().width.min(OVERLAY_WIDTH);
    let inside = usize::from(width.saturating_sub(2)).max(1);
    // Words are not broken, so that a line may take one more than its length says.
    let rows: usize = lines.iter().map(|line| line.width() / inside + 1 + usize::from(line.width() > inside)).sum();
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX);
    let area = frame.area().centered(Constraint::Length(width), Constraint::Max(height));
    let block =
        Block::bordered().title(format!(" {title} ")).title_bottom(" Esc closes ").title_style(palette.strong());
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

#[cfg(test)]
mod tests;
