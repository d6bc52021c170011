use super::*;

fn settings(text: &str) -> Settings {
    Settings::new(text.to_owned(), None)
}

fn levels(bars: &[Bar]) -> Vec<Level> {
    bars.iter().map(|bar| bar.level).collect()
}

#[test]
fn lists_of_users_are_matched_as_sshd_matches_them() {
    use Level::{Failed, Warning};
    for (text, expected) in [
        ("", &[][..]),
        ("allowusers alice", &[]),
        ("allowusers bob\nallowusers al*", &[]),
        ("allowusers bob", &[Failed]),
        ("allowusers !bob", &[Failed]),
        ("allowusers Alice", &[Failed]),
        ("allowusers alice@10.0.0.0/8", &[Warning]),
        ("allowusers bob@*", &[Failed]),
        ("allowusers alice@*", &[]),
        ("allowusers alice@10.0.0.1\nallowusers *", &[]),
        ("denyusers bob", &[]),
        ("denyusers a?ice", &[Failed]),
        ("denyusers alice@1.2.3.4", &[Warning]),
        ("denyusers *@*", &[Failed]),
        ("denyusers alice\nallowusers alice", &[Failed]),
        ("denyusers alice\nallowusers bob", &[Failed, Failed]),
    ] {
        assert_eq!(
            levels(&user_lists("alice", &settings(text))),
            expected,
            "{text}"
        );
    }
}

#[test]
fn lists_of_groups_are_matched_as_sshd_matches_them() {
    let groups = ["alice".to_owned(), "ops".to_owned()];
    for (text, bars) in [
        ("allowgroups ops", 0),
        ("allowgroups web\nallowgroups o*", 0),
        ("allowgroups web", 1),
        ("allowgroups !web", 1),
        ("denygroups ops", 1),
        ("denygroups web", 0),
        ("denygroups op?\nallowgroups web", 2),
    ] {
        assert_eq!(group_lists(&groups, &settings(text)).len(), bars, "{text}");
    }
}

#[test]
fn shadow_entries_are_judged_as_sshd_and_pam_judge_them() {
    use Level::{Failed, Warning};
    let aged = |max, inactive| Shadow {
        changed: Some(100),
        max: Some(max),
        inactive,
        ..Shadow::default()
    };
    for (shadow, pam, expected) in [
        (
            Shadow {
                locked: true,
                ..Shadow::default()
            },
            false,
            &[Failed][..],
        ),
        (
            Shadow {
                locked: true,
                ..Shadow::default()
            },
            true,
            &[],
        ),
        (
            Shadow {
                expires: Some(199),
                ..Shadow::default()
            },
            true,
            &[Failed],
        ),
        (
            Shadow {
                expires: Some(0),
                ..Shadow::default()
            },
            false,
            &[Failed],
        ),
        (
            Shadow {
                expires: Some(200),
                ..Shadow::default()
            },
            false,
            &[Warning],
        ),
        (
            Shadow {
                expires: Some(201),
                ..Shadow::default()
            },
            true,
            &[],
        ),
        (aged(99_999, None), true, &[]),
        (aged(90, None), true, &[Warning]),
        (aged(90, Some(30)), true, &[Warning]),
        (aged(90, Some(5)), true, &[Failed]),
        (aged(90, Some(5)), false, &[]),
        (
            Shadow {
                changed: Some(0),
                ..Shadow::default()
            },
            true,
            &[Warning],
        ),
    ] {
        assert_eq!(
            levels(&shadow_bars("alice", &shadow, pam, 200)),
            expected,
            "{shadow:?} {pam}"
        );
    }
}

#[test]
fn a_forced_command_that_cannot_run_is_a_warning() {
    let with = |line: &str| command_bar(&Settings::new(line.to_owned(), None));
    for line in [
        "forcecommand /bin/false",
        "forcecommand /no/such/program --option",
    ] {
        assert_eq!(
            with(line).map(|bar| bar.level),
            Some(Level::Warning),
            "{line}"
        );
    }
    for line in [
        "forcecommand none",
        "forcecommand internal-sftp -R",
        "forcecommand /bin/sh -c true",
        "forcecommand /no/such/program\nchrootdirectory /srv",
        "",
    ] {
        assert_eq!(with(line), None, "{line}");
    }
}

#[test]
fn what_depends_on_the_address_is_a_warning_until_both_sides_are_shut_out() {
    let one = Bar::failed("one");
    let other = Bar::failed("other");
    assert_eq!(
        by_origin(vec![one.clone()], vec![one.clone()]),
        std::slice::from_ref(&one)
    );
    assert_eq!(
        levels(&by_origin(vec![one.clone()], vec![])),
        [Level::Warning]
    );
    assert_eq!(
        levels(&by_origin(vec![], vec![other.clone()])),
        [Level::Warning]
    );
    assert_eq!(
        levels(&by_origin(vec![one], vec![other])),
        [Level::Failed; 2]
    );
}
