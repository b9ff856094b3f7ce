//! What there is now, as text.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use super::cells;
use super::feed;
use super::model::Model;
use super::order::{CollectorColumn, Column, WorkloadColumn};
use crate::ctl::{Client, Failed, Format, Output, table};

/// All workloads come at once; a manager that has just begun looks at them within seconds.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
const WAITING: usize = 4;

/// Writes all of it to standard output.
pub async fn write(client: &Client, mut model: Model) -> Result<()> {
    tokio::select! {
        gathered = tokio::time::timeout(WHOLE_WITHIN, gather(client, &mut model)) => {
            let late = || Failed::TooLate(format!("not all workloads were told within {} s", WHOLE_WITHIN.as_secs()));
            gathered.unwrap_or_else(|_| Err(late().into()))?;
        }
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(Failed::Interrupted.into());
        }
    }
    Output::new(Format::Table, false).write(&text(&model))
}

/// Takes news until all workloads are here.
async fn gather(client: &Client, model: &mut Model) -> Result<()> {
    let (sender, mut news) = mpsc::channel(WAITING);
    let mut heard = false;
    let mut stream = std::pin::pin!(feed::once(client, &sender, &mut heard));
    while !model.is_whole() {
        tokio::select! {
            ended = stream.as_mut() => match ended? {},
            Some(told) = news.recv() => model.take(told),
        }
    }
    Ok(())
}

fn text(model: &Model) -> String {
    let mut parts = Vec::new();
    if let Some(fleet) = &model.fleet {
        parts.push(cells::fleet(fleet));
        parts.extend(cells::faults(fleet));
    }
    let (sums, unknown) = cells::sums(model);
    parts.push(format!("{sums}  {unknown} unknown"));
    parts.push(String::new());
    parts.push(workloads(model));
    if let Some(fleet) = &model.fleet {
        let mut collectors = table(heads::<CollectorColumn>(), &numbers::<CollectorColumn>());
        for one in model.collectors() {
            collectors.add_row(CollectorColumn::ALL.iter().map(|column| cells::collector(one, *column, fleet)));
        }
        parts.extend([String::new(), collectors.trim_fmt()]);
        if fleet.total_moves > 0 {
            let mut moves = table(cells::MOVE_HEADS, &[]);
            for one in model.moves() {
                moves.add_row(cells::moving(one));
            }
            parts.extend([String::new(), moves.trim_fmt()]);
        }
    }
    parts.push(String::new());
    parts.join("\n")
}

fn workloads(model: &Model) -> String {
    let mut workloads = table(heads::<WorkloadColumn>(), &numbers::<WorkloadColumn>());
    for row in model.workloads() {
        workloads.add_row(WorkloadColumn::ALL.iter().map(|column| cells::workload(row, *column)));
    }
    workloads.trim_fmt()
}

fn heads<C: Column>() -> Vec<&'static str> {
    C::ALL.iter().map(|column| column.title()).collect()
}

/// Which columns are written to the right.
fn numbers<C: Column>() -> Vec<usize> {
    (0..C::ALL.len()).filter(|at| C::ALL[*at].is_number()).collect()
}
