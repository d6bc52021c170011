//! The terminal, if there is one: its width, its colours, and a progress bar that is redrawn in
//! place.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use jiff::SignedDuration;

use super::wait::Tell;
use authkeys_core::fleet::table::{self, Layout};
use authkeys_core::fleet::{Fleet, progress};
use authkeys_core::origin::FetchError;
use authkeys_core::report::text::{Colour, one_line, span};
use authkeys_terminal::colour;

/// Narrower output is unreadable, and some terminals report zero columns.
const NARROWEST: usize = 40;
/// A log with no new line for longer than this looks dead.
const AT_LEAST: Duration = Duration::from_secs(60);

/// What is known about the output's destination.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    colour: Colour,
    width: Option<usize>,
}

impl Screen {
    pub(super) fn stdout() -> Self {
        Self {
            colour: colour(),
            width: width(stdout(), stdout().is_terminal()),
        }
    }

    pub(super) fn layout(self, all: bool) -> Layout {
        Layout {
            colour: self.colour,
            width: self.width,
            all,
        }
    }
}

/// Shows the progress of a wait on stderr: a bar on a terminal, otherwise a line whenever something
/// has changed.
#[derive(Debug)]
pub(super) struct WaitScreen {
    wanted: String,
    live: bool,
    colour: Colour,
    last: Option<(String, Duration)>,
}

impl WaitScreen {
    pub(super) fn new(wanted: String) -> Self {
        // TERM=dumb: the terminal cannot return to the start of the line.
        let is_dumb = std::env::var_os("TERM").unwrap_or_default() == "dumb";
        let live = stderr().is_terminal() && !is_dumb;
        let wanted_colour = std::env::var_os("NO_COLOR").unwrap_or_default().is_empty();
        Self {
            wanted,
            live,
            colour: if live && wanted_colour {
                Colour::Yes
            } else {
                Colour::No
            },
            last: None,
        }
    }

    /// Ends the bar's line.
    pub(super) fn end(&mut self) {
        if self.live && self.last.take().is_some() {
            let _ = writeln!(stderr());
        }
    }
}

impl Tell for WaitScreen {
    fn tell(&mut self, fleet: &Fleet, passed: Duration, trouble: Option<&FetchError>) {
        let trouble = match trouble {
            Some(fault) => one_line(&fault.to_string()),
            None => String::new(),
        };
        let time = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        if self.live {
            let width = width(stderr(), true).unwrap_or(2 * NARROWEST);
            let bar = progress::bar(fleet, &self.wanted, time, &trouble, width, self.colour);
            let _ = write!(stderr(), "\r{bar}\x1b[K");
            self.last = Some((bar, passed));
            return;
        }
        let news = format!("{} {} {trouble}", fleet.done(), table::undone(fleet));
        if let Some((last, shown_at)) = &self.last
            && *last == news
            && passed - *shown_at < AT_LEAST
        {
            return;
        }
        let mut line = progress::line(fleet, &self.wanted, time);
        if !trouble.is_empty() {
            line.push_str(&format!("; {trouble}"));
        }
        let _ = writeln!(stderr(), "{}", one_line(&line));
        self.last = Some((news, passed));
    }
}

/// A duration for people; short waits to a tenth of a second.
pub(super) fn passed(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1}s", took.as_secs_f64()),
        _ => span(SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX)),
    }
}

fn width(stream: impl AsFd, terminal: bool) -> Option<usize> {
    if !terminal {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    match size.ws_col {
        0 => Some(2 * NARROWEST),
        columns => Some(usize::from(columns).max(NARROWEST)),
    }
}
