//! The question before a publication.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};

use crate::{Exit, complain};
use authkeys_aws::target::PublishTarget;
use authkeys_core::report::text::one_line;

/// Asks on the terminal; without one, goes on only if there are no concerns.
pub(super) fn confirm(target: &PublishTarget, concerns: &[String]) -> Result<(), Exit> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let (Ok(mut terminal), true) = (terminal, std::io::stderr().is_terminal()) else {
        if concerns.is_empty() {
            return Ok(());
        }
        complain(
            "nothing was written: no terminal to ask on; --yes publishes in spite of the \
             warnings",
        );
        return Err(Exit::Failed);
    };
    let mut answer = String::new();
    let asked = write!(
        terminal,
        "Publish this at {}? [y/N] ",
        one_line(&target.to_string())
    )
    .and_then(|()| BufReader::new(&terminal).read_line(&mut answer));
    if asked.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    complain("nothing was written");
    Err(Exit::Failed)
}
