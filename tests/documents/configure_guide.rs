//! Each way to set up sources that docs/configure.md shows is run to a login: with moto for AWS, a
//! real sshd, and the example as it stands there.

use std::collections::BTreeMap;

use authkeys_core::config::Config;
use authkeys_core::origin::SourceUrl;
use authkeys_testing::moto::Moto;
use authkeys_testing::regions::Regions;
use authkeys_testing::{Key, Run, Service, Setup, blocks, eventually, lab, login};
use serde_json::{Value, json};

const GUIDE: &str = include_str!("../../docs/configure.md");

/// The configuration of a section, with what it names in AWS.
struct Example {
    setup: Setup,
    moto: Moto,
    regions: Regions,
}

impl Example {
    /// The example under that heading, for alice.
    fn of(heading: &str) -> Self {
        let section = GUIDE
            .split(&format!("\n### {heading}\n"))
            .nth(1)
            .unwrap()
            .split("\n### ")
            .next()
            .unwrap();
        let text = blocks(section, "toml").next().unwrap();
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.accounts[0].user.as_ref().unwrap().as_str(), "alice");
        let moto = Moto::start();
        let regions = Regions::before(&moto.endpoint());
        for source in config.sources() {
            for url in source.urls() {
                if let SourceUrl::S3 { bucket, .. } | SourceUrl::Prefix { bucket, .. } = url {
                    moto.make_bucket(bucket);
                }
            }
        }
        let mut setup = Setup::for_user("alice");
        setup.use_s3_at(&regions.endpoint());
        let mut top = Vec::new();
        for line in text.lines().take_while(|line| !line.starts_with("[[")) {
            match line.strip_prefix("source = ") {
                Some(list) if list.starts_with('[') => setup.source = list.to_owned(),
                Some(url) => setup.source = url.trim_matches('"').to_owned(),
                None => top.push(line),
            }
        }
        setup.top = top.join("\n");
        Self {
            setup,
            moto,
            regions,
        }
    }

    fn put(&self, bucket: &str, key: &str, body: &str) {
        self.moto.put_object(bucket, key, body.as_bytes());
    }

    fn sync(&self) -> Run {
        self.setup.run(["sync"])
    }
}

fn document(name: &str, serial: u32, keys: &[&Key], revoked: &[&Key]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| json!({"public_key": key.line}))
        .collect();
    let revoked: Vec<_> = revoked.iter().map(|key| key.fingerprint()).collect();
    json!({"version": 1, "name": name, "serial": serial, "keys": keys, "revoked": revoked})
        .to_string()
}

#[test]
fn f59_several_teams_log_in_and_what_one_revokes_nobody_lets_in() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let example = Example::of("Several teams");
        let [one, two, both] = ["one", "two", "both"].map(Key::new);
        let (a, b) = ("acme-team-a", "acme-team-b");
        example.put(a, "keys.json", &document("a", 1, &[&one, &both], &[]));
        // Team B has published nothing yet: that takes nothing away, and is told.
        example.sync().fails(1, &[&["acme-team-b", "404"]]);
        assert!(login("alice", &one) && !login("alice", &two));
        example.put(b, "keys.json", &document("b", 1, &[&two, &both], &[]));
        example.sync().succeeds();
        assert!(login("alice", &one) && login("alice", &two) && login("alice", &both));
        let shown = example.setup.run(["status", "--keys"]).stdout;
        for (key, source) in [(&one, a), (&two, b)] {
            let line = shown
                .lines()
                .find(|line| line.contains(&key.fingerprint()))
                .unwrap();
            assert!(
                line.contains(&format!("(from s3://{source}/keys.json)")),
                "{shown}"
            );
        }

        // One team's mistake is its own, and a revocation is everybody's.
        example.put(a, "keys.json", "{\"version\": 1, \"keys\": [");
        example.put(b, "keys.json", &document("b", 2, &[&two], &[&both]));
        example.sync().fails(1, &[&["acme-team-a", "JSON"]]);
        assert!(login("alice", &one) && login("alice", &two) && !login("alice", &both));
        let check = example.setup.run(["check", "--online"]);
        assert!(check.stdout.contains("acme-team-b"), "{check:?}");
    });
}

#[test]
fn f61_an_object_for_each_person_lets_each_in_until_it_is_deleted() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let example = Example::of("One object for each person");
        let [alice, bob] = ["alice", "bob"].map(Key::new);
        let bucket = "acme-ssh-keys";
        example
            .sync()
            .fails(1, &[&["s3://acme-ssh-keys/people/", "found no object"]]);
        example.put(bucket, "people/", "");
        example.put(bucket, "people/alice.pub", &alice.line);
        example.put(bucket, "people/bob/laptop.pub", &format!("{}\n", bob.line));
        example.sync().succeeds();
        assert!(login("alice", &alice) && login("alice", &bob));
        example.sync().succeeds();

        // One that is no key holds up the others' changes, and takes nothing away.
        example.put(bucket, "people/carol.pub", "not a key\n");
        example.moto.delete_object(bucket, "people/bob/laptop.pub");
        example
            .sync()
            .fails(1, &[&["carol.pub: no valid key in it"]]);
        assert!(login("alice", &alice) && login("alice", &bob));
        example.moto.delete_object(bucket, "people/carol.pub");
        let run = example.setup.run(["sync", "--dry-run"]);
        assert_eq!(run.status, 3, "{run:?}");
        example.sync().succeeds();
        assert!(login("alice", &alice) && !login("alice", &bob));

        example.moto.delete_object(bucket, "people/alice.pub");
        example.sync().fails(1, &[&["found no object"]]);
        assert!(login("alice", &alice), "an empty prefix is not a key set");
    });
}

#[test]
fn a_field_of_a_secret_is_a_key_that_logs_in() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let example = Example::of("A field of a secret");
        let key = Key::new("k");
        let value = json!({"pub_key": key.line, "note": "ours"}).to_string();
        let secret = json!({"Name": "prod/ssh/team-a", "SecretString": value}).to_string();
        example.moto.json(
            "secretsmanager",
            "us-east-1",
            "secretsmanager.CreateSecret",
            &secret,
        );
        example.sync().succeeds();
        assert!(login("alice", &key));
    });
}

#[test]
fn f60_a_fleet_of_three_goes_on_by_the_second_region_while_the_first_is_away() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let example = Example::of("A second region");
        let [old, new] = ["old", "new"].map(Key::new);
        let (first, second) = ("acme-ssh-keys", "acme-ssh-keys-west");
        for bucket in [first, second] {
            example.put(bucket, "prod/workers.json", &document("w", 1, &[&old], &[]));
        }
        let mut nodes = BTreeMap::new();
        for user in ["alice", "bob", "root"] {
            let mut setup = Setup::for_user(user);
            setup.source.clone_from(&example.setup.source);
            setup.environment.clone_from(&example.setup.environment);
            setup.top = format!("{}\nschedule = \"1s\"", example.setup.top);
            let service = Service::start(&setup, |_| {});
            nodes.insert(user, (setup, service));
        }
        let status = |user: &str| -> Value {
            let run = nodes[user].0.run(["status", "--json"]);
            serde_json::from_str(&run.stdout).unwrap_or_default()
        };
        let all = |what: &str, holds: &dyn Fn(&str, &Value) -> bool| {
            for user in nodes.keys() {
                eventually(&format!("{user}: {what}"), || holds(user, &status(user)));
            }
        };
        all("the first key", &|user, status| {
            status["status"] == "ok" && login(user, &old)
        });

        example.regions.take_away("eu-central-1");
        all("the replica answers", &|_, status| {
            let by = &status["sources"][0]["answered_by"];
            status["status"] == "ok"
                && by["source"]
                    .as_str()
                    .is_some_and(|url| url.contains(second))
        });
        // Published to the replica: the key that is in force changes during the outage.
        let next = document("w", 2, &[&new], &[&old]);
        example.put(second, "prod/workers.json", &next);
        all("the new key", &|user, _| {
            login(user, &new) && !login(user, &old)
        });

        // The region comes back as it was: behind, and refused.
        example.regions.bring_back("eu-central-1");
        all("the first is behind", &|_, status| {
            status["status"] == "stale" && status["sources"][0]["problem"] == "refused"
        });
        for user in nodes.keys() {
            assert!(login(user, &new) && !login(user, &old), "{user}");
        }
        example.put(first, "prod/workers.json", &next);
        all("all is well", &|_, status| {
            status["status"] == "ok" && status["sources"][0].get("answered_by").is_none()
        });
    });
}
