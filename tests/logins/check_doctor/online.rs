//! `check --online`: what it says of the source and of its document.

use std::path::Path;

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, lab, tree};

use super::good_node;

#[test]
fn online_tells_good_denied_missing_and_unreachable_sources_apart() {
    lab(|| {
        let mut setup = good_node();
        let run = setup.run(["check", "--online"]);
        run.succeeds();
        assert!(
            run.stdout.contains("document is good, version"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("1 key in force: 1 added"),
            "{}",
            run.stdout
        );
        setup.publish("");
        assert_eq!(
            setup.run(["check"]).status,
            0,
            "without --online no source is asked"
        );
        let run = setup.run(["check", "--online"]);
        assert!(
            run.status == 1 && run.stdout.contains("it is empty"),
            "{run:?}"
        );
        setup.publish(format!("{}\nssh-dss AAAA\n", Key::new("k").line));
        let run = setup.run(["check", "--online"]);
        assert!(
            run.status == 1 && run.stdout.contains("line 2 was left out: "),
            "{run:?}"
        );
        std::fs::remove_file(setup.path("published")).unwrap();
        let run = setup.run(["check", "--online"]);
        assert!(
            run.status == 1 && run.stdout.contains("put the key set there"),
            "{run:?}"
        );

        setup.source = "s3://b/k".to_owned();
        for (answer, status, word) in [
            (
                StubAnswer::error("403 Forbidden", "AccessDenied", "no", &[]),
                77,
                "allow s3:GetObject",
            ),
            (
                StubAnswer::error("404 Not Found", "NoSuchKey", "no", &[]),
                1,
                "publish it",
            ),
            (
                StubAnswer::error("503 Slow Down", "SlowDown", "no", &[]),
                75,
                "tried again",
            ),
            (
                StubAnswer::whole(
                    "200 OK",
                    &["ETag: \"1\""],
                    &format!("{}\n", Key::new("k").line),
                ),
                0,
                "document is good, version",
            ),
        ] {
            let stub = Stub::start([answer]);
            setup.use_s3_at(&stub.endpoint());
            let before = [tree(&setup.state_dir()), tree(Path::new("/home"))];
            let run = setup.run(["check", "--online"]);
            assert!(
                run.status == status
                    && run.stdout.contains(word)
                    && run.stdout.contains("s3://b/k"),
                "{run:?}"
            );
            assert_eq!([tree(&setup.state_dir()), tree(Path::new("/home"))], before);
        }
    });
}

/// What `check --online` says of the source or an account, after a sync of serial 5.
#[test]
fn online_judges_a_document_as_the_next_sync_would() {
    lab(|| {
        let setup = good_node();
        let document = |serial: u32, more: &str, keys: &[&str]| {
            let keys: Vec<String> = keys
                .iter()
                .map(|key| format!("{{\"public_key\":\"{key}\"{more}}}"))
                .collect();
            format!(
                "{{\"version\":1,\"name\":\"w\",\"serial\":{serial},\"keys\":[{}]}}",
                keys.join(",")
            )
        };
        let (one, other) = (Key::new("one"), Key::new("other"));
        setup.publish(document(5, "", &[&one.bare()]));
        setup.run(["sync"]).succeeds();
        let run = setup.run(["check", "--online"]);
        run.succeeds();
        assert!(
            run.stdout.contains("document is good: w/5, version"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("1 key in force: 0 added"),
            "{}",
            run.stdout
        );
        let expired = document(6, "", &[&one.bare()]).replace(
            "\"serial\"",
            "\"expires\":\"2020-01-01T00:00:00Z\",\"serial\"",
        );
        for (published, words) in [
            (expired, "the document expired at 2020"),
            (
                document(4, "", &[&one.bare()]),
                "its serial 4 is lower than 5",
            ),
            (
                document(5, "", &[&other.bare()]),
                "its serial 5 was seen with another content",
            ),
            (document(6, "", &[]), "min_keys asks for 1"),
            (
                document(6, ",\"not_after\":\"2020-01-01T00:00:00Z\"", &[&one.bare()]),
                "min_keys asks for 1",
            ),
        ] {
            setup.publish(&published);
            let before = [tree(&setup.path("state")), tree(Path::new("/home"))];
            let run = setup.run(["check", "--online"]);
            assert!(
                run.status == 1 && run.stdout.contains(words),
                "{words}: {run:#?}"
            );
            assert!(
                run.stdout
                    .lines()
                    .any(|line| line.starts_with("FAILED") && line.contains(words)),
                "{run:#?}"
            );
            assert_eq!(
                [tree(&setup.path("state")), tree(Path::new("/home"))],
                before
            );
            let dry = setup.run(["sync", "--dry-run"]);
            assert!(
                dry.status == 1 && dry.stderr.contains(words),
                "as sync says: {dry:#?}"
            );
        }
    });
}
