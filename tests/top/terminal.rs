//! A terminal of its own with a program in it: a real pseudo-terminal, and what a terminal makes of what is written to it.

use std::{
    io::{Read, Write},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use plimsoll_testkit::wait_until;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::driver::program::PROGRAM;

/// What comes next on a busy machine, a loss that is found by silence included.
const LIMIT: Duration = Duration::from_secs(60);

/// `plimsoll ARGUMENTS` in a terminal. Killed when dropped.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// How the terminal was before.
    settings: String,
}

impl Terminal {
    /// Starts it with these rows and columns, and these variables.
    pub(crate) fn start((rows, columns): (u16, u16), arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let pty = native_pty_system().openpty(size(rows, columns))?;
        let settings = settings(&*pty.master)?;
        let given = std::env::var_os(PROGRAM);
        let mut command = CommandBuilder::new(given.unwrap_or_else(|| env!("CARGO_BIN_EXE_plimsoll").into()));
        command.args(arguments);
        // What the tests look for must not depend on who runs them.
        for name in ["NO_COLOR", "RUST_LOG", "COLUMNS", "LINES"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command)?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (mut reader, seen) = (pty.master.try_clone_reader()?, screen.clone());
        // It ends with the program, as nobody else has the terminal's other end.
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut part) {
                seen.lock().process(&part[..length]);
            }
        });
        let keys = pty.master.take_writer()?;
        Ok(Self { child, master: pty.master, keys, screen, settings })
    }

    /// Waits until the screen is as wanted.
    pub(crate) async fn shows(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait_until(&format!("the screen shows {what}"), LIMIT, async || {
            let screen = self.contents();
            ensure!(wanted(&screen), "it shows:\n{screen}");
            Ok(screen)
        })
        .await
    }

    /// What is on the screen.
    pub(crate) fn contents(&self) -> String {
        self.screen.lock().screen().contents()
    }

    /// Whether any letter on the screen has a colour.
    pub(crate) fn is_coloured(&self) -> bool {
        let parser = self.screen.lock();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let plain = vt100::Color::Default;
        let mut cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        cells.any(|(row, column)| {
            screen.cell(row, column).is_some_and(|cell| cell.fgcolor() != plain || cell.bgcolor() != plain)
        })
    }

    /// Types keys.
    pub(crate) fn types(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    /// Gives the terminal another size.
    pub(crate) fn resizes(&self, rows: u16, columns: u16) -> Result<()> {
        self.screen.lock().screen_mut().set_size(rows, columns);
        self.master.resize(size(rows, columns))
    }

    /// Sends the program a signal.
    pub(crate) fn signals(&self, signal: Signal) -> Result<()> {
        let id = self.child.process_id().context("it runs")?;
        Ok(kill(Pid::from_raw(i32::try_from(id)?), signal)?)
    }

    /// Waits for the end of the program, which leaves the terminal as it was: the screen of before with its cursor, lines and echo. Gives
    /// its exit code and what is on that screen.
    pub(crate) async fn ends(&mut self) -> Result<(u32, String)> {
        let code = wait_until("it ends", LIMIT, async || {
            Ok(self.child.try_wait()?.with_context(|| format!("it shows:\n{}", self.contents()))?.exit_code())
        })
        .await?;
        wait_until("the terminal is given back", LIMIT, async || {
            let parser = self.screen.lock();
            let screen = parser.screen();
            ensure!(!screen.alternate_screen(), "its screen is still there");
            ensure!(!screen.hide_cursor(), "there is no cursor");
            let now = settings(&*self.master)?;
            ensure!(now == self.settings, "its settings are\n{now}\nand were\n{}", self.settings);
            Ok(())
        })
        .await?;
        Ok((code, self.contents()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

/// How a terminal treats what is typed and written, as stty says it.
fn settings(terminal: &dyn MasterPty) -> Result<String> {
    let name = terminal.tty_name().context("the terminal has a name")?;
    stty(&name)
}

fn stty(name: &Path) -> Result<String> {
    let said = Command::new("stty").arg("-F").arg(name).arg("-a").output().context("can't run stty")?;
    ensure!(said.status.success(), "stty failed: {}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout)?;
    // The first line has the size, which tests change.
    Ok(said.lines().skip(1).collect::<Vec<_>>().join("\n"))
}
