//! `--nudge`: a tag on the nodes' instances after a publication; and how soon nodes have the keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use authkeys_testing::ec2::Ec2Stub;
use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, Service, Setup, clean_ctl, me, outcome_of, stand_in};

use crate::desk::{Desk, bucket, document, serial};
use crate::instances::{REGION, run_instances};

const TARGET: &str = "s3://keys/prod/workers.json";
const TAG: &str = "authkeysd:nudge";

/// A publisher with a real S3 and an EC2 that notes what it is asked.
struct Publisher {
    moto: Moto,
    ec2: Ec2Stub,
    desk: Desk,
}

impl Publisher {
    fn new(instances: usize) -> Option<Self> {
        let (moto, desk) = bucket()?;
        moto.switch_versions_on("keys");
        let ec2 = Ec2Stub::start();
        let item = |number: usize| {
            format!(
                "<item><instancesSet><item><instanceId>{}</instanceId></item></instancesSet></item>",
                id(number)
            )
        };
        let items: String = (0..instances).map(item).collect();
        ec2.show(&[&format!(
            "<DescribeInstancesResponse><reservationSet>{items}</reservationSet></DescribeInstancesResponse>"
        )]);
        Some(Self { moto, ec2, desk })
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&self.moto.endpoint()))
            .env("AWS_ENDPOINT_URL_EC2", self.ec2.endpoint())
            .args(arguments);
        outcome_of(&mut command)
    }

    fn file(&self, name: &str, text: &str) -> String {
        self.desk.file(name, text).display().to_string()
    }

    /// How many instances each CreateTags call named so far.
    fn calls(&self) -> Vec<usize> {
        let calls = self.ec2.calls();
        let tagging = calls.iter().filter(|call| call.is("CreateTags"));
        tagging.map(|call| call.resources().len()).collect()
    }
}

fn id(number: usize) -> String {
    format!("i-{number:017x}")
}

#[test]
fn each_command_that_publishes_nudges_the_instances_that_the_filter_lets_through() {
    let Some(publisher) = Publisher::new(2_500) else {
        return;
    };
    let [one, two, three] = ["one", "two", "three"].map(Key::new);
    let file = publisher.file("a", &document(None, &[&one, &three]));
    let key = publisher.file("two.pub", &two.line);
    let fingerprint = three.fingerprint();
    let nudge = ["--nudge", "--filter", "tag:Role=worker", "--yes"];
    let commands: [(&[&str], &str); 3] = [
        (&["publish", &file, TARGET], "workers/1"),
        (&["grant", TARGET, &key], "workers/2"),
        (&["revoke", TARGET, &fingerprint], "workers/3"),
    ];
    for (command, value) in commands {
        let run = publisher.run(&[command, &nudge].concat());
        run.succeeds();
        assert!(run.stdout.contains("\nnudged 2,500 nodes\n"), "{run:?}");
        // What waits for the nodes, as one types it: with the same filter.
        let waits =
            format!(": authkeysctl fleet --wait --document {value} --filter tag:Role=worker\n");
        assert!(run.stdout.ends_with(&waits), "{run:?}");
        for number in [0, 999, 1_000, 2_499] {
            let tags = publisher.ec2.tags(&id(number));
            assert_eq!(tags, [(TAG.to_owned(), value.to_owned())].into());
        }
    }
    let versions = publisher.moto.versions("keys", "prod/workers.json");
    let first = versions.last().unwrap();
    let run = publisher.run(&[&["rollback", TARGET, "--to", first], &nudge[..]].concat());
    run.succeeds();
    assert_eq!(publisher.ec2.tags(&id(7))[TAG], "workers/4");
    assert_eq!(publisher.calls(), [1_000, 1_000, 500].repeat(4));
    let calls = publisher.ec2.calls();
    let asked = calls.iter().find(|call| call.is("DescribeInstances"));
    let form = &asked.unwrap().form;
    assert_eq!(form["Filter.1.Name"], "tag:Role");
    assert_eq!(form["Filter.2.Value.1"], "running");

    // What is published already is nudged for again: the last time it may have failed.
    let again = publisher.moto.object("keys", "prod/workers.json");
    let file = publisher.file("again", &again);
    let run = publisher.run(&[&["publish", &file, TARGET], &nudge[..]].concat());
    run.succeeds();
    assert!(run.stdout.contains("published already"), "{run:?}");
    assert_eq!(publisher.calls().len(), 15);

    // Text has no serial: the tag holds the digest, as nodes report it.
    let text = publisher.file("text", &format!("{}\n", one.line));
    let filter = ["--filter", "tag:Name=it's web-*"];
    let more = [&filter[..], &["--region", REGION, "--tag-prefix", "keys"]].concat();
    let run = publisher.run(&[&["publish", &text, "s3://keys/text"], &nudge[..], &more].concat());
    run.succeeds();
    let value = publisher.ec2.tags(&id(0))["keys:nudge"].clone();
    assert!(
        value.len() == 16 && value.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{value}"
    );
    // Each option that says which nodes, quoted for a shell.
    let waits = format!(
        ": authkeysctl fleet --wait --document {value} --filter tag:Role=worker --filter \
         'tag:Name=it'\\''s web-*' --region {REGION} --tag-prefix keys:\n"
    );
    assert!(run.stdout.ends_with(&waits), "{run:?}");
}

#[test]
fn a_nudge_that_fails_is_a_warning_and_the_document_is_published() {
    let Some(publisher) = Publisher::new(1) else {
        return;
    };
    let key = Key::new("one");
    let file = publisher.file("a", &document(None, &[&key]));
    let published = || serial(&publisher.moto.object("keys", "prod/workers.json"));
    let publish = |more: &[&str]| {
        let command = ["publish", &file, TARGET, "--nudge", "--yes"];
        publisher.run(&[&command, more].concat())
    };
    publisher.ec2.refuse(403, "UnauthorizedOperation");
    let run = publish(&[]);
    assert_eq!((run.status, published()), (0, 1), "{run:?}");
    let warning =
        "warning: the key set is published; without a nudge nodes fetch it by their schedule: ";
    let denied = "allow ec2:DescribeInstances";
    assert!(
        run.stderr.contains(warning) && run.stderr.contains(denied),
        "{run:?}"
    );
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");

    publisher.ec2.be_good();
    publisher
        .ec2
        .show(&["<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"]);
    let run = publish(&["--filter", "tag:Role=wroker"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stderr
            .contains("no running instance matches tag:Role=wroker"),
        "{run:?}"
    );
    assert!(publisher.calls().is_empty());

    let other = publisher.file("b", &document(None, &[&Key::new("two")]));
    let run = publisher.run(&["publish", &other, TARGET, "--nudge", "--dry-run"]);
    assert_eq!((run.status, published()), (0, 1), "{run:?}");
    let asked = publisher.ec2.calls().len();
    publisher
        .run(&["publish", &other, TARGET, "--filter", "tag:Role=worker"])
        .fails(
            64,
            &[&["--filter says which nodes to wait for or to nudge"]],
        );
    assert_eq!((asked, published()), (publisher.ec2.calls().len(), 1));
}

/// What AWS does: the metadata service shows the tags that EC2 has.
struct Mirror {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    fn start(moto: Arc<Moto>, nodes: Vec<(String, Imds)>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        let thread = spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let all = moto.query("ec2", REGION, "Action=DescribeTags&Version=2016-11-15");
                for (instance, imds) in &nodes {
                    let found = all.split("<item>").find(|item| {
                        item.contains(&format!("<resourceId>{instance}<")) && item.contains(TAG)
                    });
                    let value = found
                        .and_then(|item| item.split("<value>").nth(1)?.split('<').next())
                        .map(str::to_owned);
                    if let Some(value) = value {
                        imds.tag(TAG, &value);
                    }
                }
                sleep(Duration::from_millis(20));
            }
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Four nodes that fetch every five minutes and look for a nudge every two seconds, five
/// publications: the time from the command's start until a node's file has the key.
#[test]
fn publications_with_a_nudge_are_in_force_within_two_seconds_at_a_schedule_of_five_minutes() {
    let Some((moto, desk)) = bucket() else {
        return;
    };
    let moto = Arc::new(moto);
    let (mut nodes, mut shown): (Vec<(Setup, PathBuf, Service)>, Vec<_>) = Default::default();
    let first = Key::new("first");
    moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(1), &[&first]).as_bytes(),
    );
    for instance in run_instances(&moto, 4, &[("Role", "worker")]) {
        let imds = Imds::start(&instance);
        imds.change(|manner| manner.tags = Some([].into()));
        let mut setup = Setup::new().tables(
            "[report]\nec2_tags = true\nreport_spread = \"0s\"\n[policy]\nmax_removals = \"100%\"\n",
        );
        setup.source = TARGET.to_owned();
        setup.top = "schedule = \"5m\"\nnudge = \"2s\"".to_owned();
        setup.use_s3_at(&moto.endpoint());
        setup.environment.extend(imds.environment());
        let file = setup.path("authorized_keys");
        let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
        let service = Service::start(&setup, |_| {});
        nodes.push((setup, file, service));
        shown.push((instance, imds));
    }
    let _mirror = Mirror::start(Arc::clone(&moto), shown);
    let holds = |file: &PathBuf, key: &Key| {
        std::fs::read_to_string(file).is_ok_and(|text| text.contains(key.base64()))
    };
    let wait = |key: &Key| {
        let begun = Instant::now();
        let mut waiting: Vec<_> = nodes.iter().map(|(_, file, _)| file).collect();
        let mut took = Vec::new();
        while !waiting.is_empty() {
            let logs = || nodes.iter().map(|(.., service)| service.log());
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{:?}",
                logs().collect::<Vec<_>>()
            );
            waiting.retain(|file| !holds(file, key));
            took.resize(nodes.len() - waiting.len(), begun.elapsed());
            sleep(Duration::from_millis(5));
        }
        took
    };
    wait(&first);
    let mut took = Vec::new();
    for round in 0..5 {
        sleep(Duration::from_millis(7_200 + round * 370));
        let key = Key::new("next");
        desk.file("a", document(None, &[&key]));
        let more = ["--yes", "--nudge", "--filter", "tag:Role=worker"];
        let mut command = desk.command("a", TARGET, &more);
        command.env("AWS_REGION", REGION);
        let begun = Instant::now();
        let publishing = spawn(move || outcome_of(&mut command));
        took.extend(wait(&key));
        let run = publishing.join().unwrap();
        assert_eq!(run.status, 0, "{run:?}");
        assert!(run.stdout.contains("nudged 4 nodes"), "{run:?}");
        println!(
            "publication {round}: the last node after {:?}",
            begun.elapsed()
        );
    }
    took.sort();
    let (median, last) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{} times: median {median:?}, the longest {last:?}",
        took.len()
    );
    // docs/costs.md has the time of an idle machine: 1.1 s. By their schedule it would be minutes.
    assert!(median < Duration::from_secs(10), "{took:?}");
    // --wait is content with it, too.
    desk.file("a", document(None, &[&first]));
    let more = [
        "--yes",
        "--nudge",
        "--wait",
        "--filter",
        "tag:Role=worker",
        "--timeout",
        "1m",
    ];
    sleep(Duration::from_secs(8));
    let mut command = desk.command("a", TARGET, &more);
    command.env("AWS_REGION", REGION);
    let run = outcome_of(&mut command);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.contains("all 4 nodes have workers/7"), "{run:?}");
}
