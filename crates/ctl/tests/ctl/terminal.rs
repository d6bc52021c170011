//! `authkeysctl` on a terminal: what it asks, and what each answer does; the bar that fills.

use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, clean_ctl, eventually, stand_in};

use crate::desk::{Desk, document, serial};
use crate::instances::{fleet_at, run_instances, tag, terminate};
use crate::screen::Terminal;

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
        assert!(
            shown.contains(&format!("+ {} ssh-ed25519 two", two.fingerprint())),
            "what changes is seen: {shown}"
        );
        assert_eq!(published(), before, "nothing before the answer");
        terminal.types(keys);
        assert_eq!(terminal.ends(), status, "{keys:?}: {}", terminal.shown());
        terminal.shown()
    };
    for no in ["n\n", "\n", "no\n", "yup\n", "Y e s\n", "\u{4}"] {
        let shown = answered(no, 1);
        assert!(
            shown.contains("authkeysctl: nothing was written"),
            "{no:?}: {shown}"
        );
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
fn what_takes_longer_than_a_second_says_what_it_is_about_and_clears_its_line() {
    let key = Key::new("k");
    let object = || StubAnswer::whole("200 OK", &["ETag: \"e\""], &document(Some(5), &[&key]));
    let command = |stub: &Stub, arguments: &[&str]| {
        let mut command = clean_ctl();
        command.envs(stand_in(&stub.endpoint())).args(arguments);
        command
    };
    for (arguments, answers, words) in [
        (
            &["show", TARGET][..],
            vec![StubAnswer::silence()],
            "reading s3://keys/workers.json ...",
        ),
        (
            &["history", TARGET],
            vec![StubAnswer::silence()],
            "listing s3://keys/workers.json ...",
        ),
        (
            &["diff", TARGET, TARGET],
            vec![StubAnswer::silence()],
            "reading s3://keys/workers.json ...",
        ),
        (
            &["revoke", TARGET, "comment:x", "--yes"],
            vec![StubAnswer::silence()],
            "reading s3://keys/workers.json ...",
        ),
        (
            &["revoke", TARGET, &key.fingerprint(), "--yes"],
            vec![object(), StubAnswer::silence()],
            "writing s3://keys/workers.json ...",
        ),
    ] {
        let stub = Stub::start(answers);
        let mut terminal = Terminal::run(&command(&stub, arguments), 80);
        terminal.shows(words);
        terminal.types("\u{3}");
        assert_eq!(terminal.ends(), 130, "{}", terminal.shown());
    }
    // What is quick says nothing of itself.
    let stub = Stub::start([object()]);
    let mut terminal = Terminal::run(&command(&stub, &["show", TARGET]), 80);
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown());
    assert!(
        !terminal.shown().contains("reading"),
        "{}",
        terminal.shown()
    );
}

#[test]
fn a_change_that_could_lock_out_is_warned_of_and_asked_and_yes_asks_nothing() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    moto.put_object(
        "keys",
        "workers.json",
        document(Some(5), &[&one]).as_bytes(),
    );
    desk.file("a", document(None, &[&two]));
    let mut terminal = Terminal::run(&desk.command("a", TARGET, &[]), 80);
    terminal.shows("? [y/N] ");
    assert!(
        terminal
            .shown()
            .contains("all of its keys are replaced at once (1 by 1)"),
        "{}",
        terminal.shown()
    );
    terminal.types("YES\n");
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown());
    assert_eq!(serial(&moto.object("keys", "workers.json")), 6);

    desk.file("a", document(None, &[&one]));
    let mut terminal = Terminal::run(&desk.command("a", TARGET, &["--yes"]), 80);
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown());
    assert!(!terminal.shown().contains("[y/N]"), "{}", terminal.shown());
    assert_eq!(serial(&moto.object("keys", "workers.json")), 7);
}

fn report(moto: &Moto, node: &str, status: &str, key_set: &str, detail: &str) {
    let time = jiff::Timestamp::now().to_string();
    let tags = [
        ("status", status),
        ("keyset", key_set),
        ("synced", &time),
        ("detail", detail),
    ];
    let tags = tags.map(|(name, value)| (format!("authkeysd:{name}"), value));
    tag(
        moto,
        node,
        &tags.each_ref().map(|(name, value)| (name.as_str(), *value)),
    );
}

/// What one writes over and over in a line, without colours.
fn frames(shown: &str) -> Vec<String> {
    let line = shown
        .split('\n')
        .find(|line| line.contains('\r'))
        .unwrap_or_default();
    let plain = |frame: &str| {
        frame
            .replace("\u{1b}[32m", "")
            .replace("\u{1b}[0m", "")
            .replace("\u{1b}[K", "")
    };
    line.split('\r')
        .map(plain)
        .filter(|frame| !frame.is_empty())
        .collect()
}

#[test]
fn a_bar_fills_in_its_line_while_nodes_take_the_document_and_names_the_one_that_broke() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let nodes = run_instances(
        &moto,
        4,
        &[("Role", "web"), ("Name", "w\u{7de8}\u{1b}[31m")],
    );
    nodes
        .iter()
        .for_each(|node| report(&moto, node, "ok", "web/1", ""));
    let wait = ["--wait", "--document", "web/2", "--timeout", "60s"];
    let mut terminal = Terminal::run(&fleet_at(&moto, &wait), 64);
    for (done, node) in nodes.iter().enumerate() {
        terminal.shows(&format!("{done} of 4 web/2"));
        match done {
            2 => report(
                &moto,
                node,
                "failed",
                "web/1",
                "bob: \u{202e}no space left on device",
            ),
            3 => terminate(&moto, &nodes[2]),
            _ => report(&moto, node, "ok", "web/2", ""),
        }
        if done == 2 {
            terminal.shows("1 failed");
            report(&moto, &nodes[3], "ok", "web/2", "");
        }
    }
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown());
    let shown = terminal.shown();
    let frames = frames(&shown);
    println!("{}", frames.join("\n"));
    let full = |frame: &str| frame.matches('\u{2588}').count();
    for pair in frames.windows(2) {
        assert!(full(&pair[0]) <= full(&pair[1]), "it only fills: {pair:?}");
    }
    assert!(
        frames.iter().all(|frame| frame.chars().count() < 64),
        "no frame leaves its line: {frames:?}"
    );
    assert!(
        !frames.last().unwrap().contains('\u{2591}'),
        "full at the end: {frames:?}"
    );
    assert!(
        shown.ends_with("s\r\n") && shown.contains("\nall 3 nodes have web/2, after "),
        "{shown}"
    );

    // Seen at a glance: which one, and why.
    report(
        &moto,
        &nodes[0],
        "failed",
        "web/1",
        "bob: \u{202e}no space left on device; free some",
    );
    let late = ["--wait", "--document", "web/2", "--timeout", "1s"];
    let mut terminal = Terminal::run(&fleet_at(&moto, &late), 64);
    assert_eq!(terminal.ends(), 1);
    eventually("all of it is read", || {
        terminal
            .shown()
            .contains("1 of 3 nodes do not have web/2 after 1s: 1 failed")
    });
    let shown = terminal.shown();
    println!("{shown}");
    assert!(
        shown.contains(&nodes[0]) && shown.contains("no space left on device"),
        "{shown}"
    );
    assert!(
        !shown.contains("\u{7de8}\u{1b}") && !shown.contains('\u{202e}'),
        "{shown:?}"
    );
    assert!(shown.contains("w\u{7de8}\u{fffd}[31m"), "{shown:?}");
}
