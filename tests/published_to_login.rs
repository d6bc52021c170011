//! From a published key set to a login that sshd accepts, and back: the built program, a real sshd, no cloud.

#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(clippy::disallowed_methods, reason = "throw-away files need no durability")]

mod support;

use support::{Key, Setup, authorized_keys, install, lab, login, login_and_run};

#[test]
fn a_published_key_logs_in_and_a_revoked_one_no_more() {
    lab("a_published_key_logs_in_and_a_revoked_one_no_more", || {
        let (old, new, own) = (Key::new("old"), Key::new("new"), Key::new("own"));
        install("alice", format!("{}\n{}\n", own.line, old.line).as_bytes());
        let setup = Setup::for_user("alice").account("bob", "layout = \"system\"");

        setup.publish(document(1, &old, &[]));
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 0, "{run:?}");
        assert!(login("alice", &old) && login("alice", &own) && login("bob", &old));
        assert!(!login("alice", &new) && !login("bob", &own));

        setup.publish(document(2, &new, &[&old]));
        let run = setup.run(["sync", "--dry-run"]);
        assert_eq!(run.status, 3, "{run:?}");
        assert!(login("alice", &old), "a dry run changes nothing");
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 0, "{run:?}");
        assert!(login("alice", &new) && login("alice", &own) && login("bob", &new));
        assert!(!login("alice", &old) && !login("bob", &old));
        let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
        assert!(!text.contains(old.base64()), "{text}");

        let run = setup.run(["sync"]);
        assert_eq!(
            (run.status, std::fs::read_to_string(authorized_keys("alice")).unwrap()),
            (0, text),
            "{}",
            run.stderr
        );
    });
}

#[test]
fn f46_a_key_on_several_lines_logs_in_by_the_one_that_matches() {
    lab("f46_a_key_on_several_lines_logs_in_by_the_one_that_matches", || {
        let (key, other) = (Key::new("k"), Key::new("other"));
        let office = format!("from=\"10.0.0.0/8\",command=\"echo office\" {}", key.line);
        let local = format!("from=\"127.0.0.0/8\",command=\"echo local\" {}", key.line);
        install("alice", format!("{office}\n{local}\n").as_bytes());
        assert!(login("alice", &key), "as it was before authkeysd came");
        let setup = Setup::for_user("alice").account("bob", "layout = \"system\"");
        let json = |until: &str| {
            let entry =
                |options: &str, end: &str| format!(r#"{{"public_key":"{}","options":[{options}]{end}}}"#, key.line);
            let office = entry(r#""from=\"10.0.0.0/8\"""#, "");
            let local = entry(r#""from=\"127.0.0.0/8\"","command=\"echo local\"""#, until);
            format!(r#"{{"version":1,"keys":[{office},{local},{{"public_key":"{}"}}]}}"#, other.line)
        };
        for document in [format!("{office}\n{local}\n{office}\n"), json("")] {
            setup.publish(document);
            setup.run(["sync"]).succeeds();
            for user in ["alice", "bob"] {
                assert_eq!(login_and_run(user, &key, "true").as_deref(), Some("local\n"), "{user}");
            }
            let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
            assert_eq!(text.matches(key.base64()).count(), 2, "the same line once: {text}");
            assert_eq!(setup.run(["sync", "--dry-run"]).status, 0, "nothing is left to do");
        }
        let run = setup.run(["sync", "--json"]);
        let outcome: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(outcome["accounts"][0]["in_force"].as_array().unwrap().len(), 2, "keys, not lines: {outcome}");
        // Each line has a window of its own.
        setup.publish(json(r#","not_after":"2020-01-01T00:00:00Z""#));
        setup.run(["sync"]).succeeds();
        assert!(!login("alice", &key) && login("alice", &other));
        let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
        assert_eq!(text.matches(key.base64()).count(), 1, "{text}");
    });
}

#[test]
fn an_empty_document_locks_nobody_out() {
    lab("an_empty_document_locks_nobody_out", || {
        let key = Key::new("k");
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&key]);
        assert_eq!(setup.run(["sync"]).status, 0);
        for nothing in ["", "\n", "<html><body>Sign in</body></html>\n"] {
            setup.publish(nothing);
            let run = setup.run(["sync"]);
            assert_eq!(run.status, 1, "{nothing:?}: {run:?}");
            assert!(login("alice", &key), "{nothing:?}");
        }
    });
}

fn document(serial: u32, key: &Key, revoked: &[&Key]) -> String {
    let revoked: Vec<String> = revoked.iter().map(|key| format!("\"{}\"", key.fingerprint())).collect();
    format!(
        r#"{{"version": 1, "name": "test", "serial": {serial}, "keys": [{{"public_key": "{}"}}], "revoked": [{}]}}"#,
        key.line,
        revoked.join(", ")
    )
}
