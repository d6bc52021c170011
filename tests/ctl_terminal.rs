//! `authkeysctl` on a terminal: what it asks, and what each answer does; the bar that fills.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::disallowed_methods, reason = "throw-away files need no durability")]

mod support;

#[path = "support/desk.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod desk;
#[path = "support/moto.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod moto;
#[path = "support/terminal.rs"]
mod terminal;

use desk::{Desk, document, serial};
use moto::Moto;
use support::Key;
use terminal::Terminal;

const TARGET: &str = "s3://keys/workers.json";

fn start() -> Option<(Moto, Desk)> {
    Moto::prepare().then(|| {
        let moto = Moto::start();
        moto.make_bucket("keys");
        let desk = Desk::new(&moto.endpoint());
        (moto, desk)
    })
}

#[test]
fn only_yes_publishes_and_no_the_end_of_input_and_ctrl_c_change_nothing() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    let before = document(Some(5), &[&one]);
    moto.put_object("keys", "workers.json", before.as_bytes());
    desk.file("a", document(None, &[&one, &two]));
    let question = format!("Publish this at {TARGET}? [y/N] ");
    let published = || moto.object("keys", "workers.json");
    let answered = |keys: &str, status: i32| {
        let mut terminal = Terminal::run(&desk.command("a", TARGET, &[]), 80);
        terminal.shows(&question);
        let shown = terminal.shown();
        assert!(shown.contains(&format!("+ {} ssh-ed25519 two", two.fingerprint())), "what changes is seen: {shown}");
        assert_eq!(published(), before, "nothing before the answer");
        terminal.types(keys);
        assert_eq!(terminal.ends(), status, "{keys:?}: {}", terminal.shown());
        terminal.shown()
    };
    for no in ["n\n", "\n", "no\n", "yup\n", "Y e s\n", "\u{4}"] {
        let shown = answered(no, 1);
        assert!(shown.contains("authkeysctl: nothing was written"), "{no:?}: {shown}");
        assert_eq!(published(), before, "{no:?}");
    }
    // As the shell says that SIGINT ended it.
    answered("\u{3}", 130);
    answered("y\u{3}", 130);
    assert_eq!(published(), before);

    let shown = answered("y\n", 0);
    assert!(shown.contains("published workers/6 at "), "{shown}");
    assert_eq!(serial(&published()), 6);
}

#[test]
fn a_change_that_could_lock_out_is_warned_of_and_asked_and_yes_asks_nothing() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    moto.put_object("keys", "workers.json", document(Some(5), &[&one]).as_bytes());
    desk.file("a", document(None, &[&two]));
    let mut terminal = Terminal::run(&desk.command("a", TARGET, &[]), 80);
    terminal.shows("? [y/N] ");
    assert!(terminal.shown().contains("all of its keys are replaced at once (1 by 1)"), "{}", terminal.shown());
    terminal.types("YES\n");
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown());
    assert_eq!(serial(&moto.object("keys", "workers.json")), 6);

    desk.file("a", document(None, &[&one]));
    let mut terminal = Terminal::run(&desk.command("a", TARGET, &["--yes"]), 80);
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown());
    assert!(!terminal.shown().contains("[y/N]"), "{}", terminal.shown());
    assert_eq!(serial(&moto.object("keys", "workers.json")), 7);
}
