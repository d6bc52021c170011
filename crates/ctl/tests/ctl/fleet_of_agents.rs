//! Fifty real agents with identities of their own on one endpoint: published once, seen by `fleet
//! --wait` on all of them; one that breaks is told from the others, and why.

use std::time::{Duration, Instant};

use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, Service, Setup, me, outcome_of};

use crate::instances::{fleet_at, run_instances};

const AGENTS: usize = 50;

/// One node: its agent, what it runs on, and its metadata service.
struct Node {
    setup: Setup,
    agent: Service,
    _imds: Imds,
}

fn document(serial: u8, key: &Key) -> Vec<u8> {
    format!(
        r#"{{"version":1,"name":"web","serial":{serial},"keys":[{{"public_key":"{}"}}]}}"#,
        key.bare()
    )
    .into_bytes()
}

/// An agent that polls every five seconds and reports within one, as this instance.
fn node(moto: &Moto, instance: &str) -> Node {
    let imds = Imds::start(instance);
    let mut setup = Setup::new();
    setup.source = "s3://keys/web.json".to_owned();
    setup.top = "schedule = \"5s\"".to_owned();
    setup.use_s3_at(&moto.endpoint());
    setup.environment.extend(imds.environment());
    let file = setup.path("authorized_keys");
    let setup = setup
        .account(&me(), &format!("file = \"{}\"", file.display()))
        .tables("[report]\nec2_tags = true\nreport_spread = \"1s\"\ns3 = \"s3://reports/web/\"\n");
    let agent = Service::start(&setup, |_| {});
    Node {
        setup,
        agent,
        _imds: imds,
    }
}

fn fleet(moto: &Moto, arguments: &[&str]) -> Run {
    outcome_of(fleet_at(moto, &["--filter", "tag:Role=web"]).args(arguments))
}

#[test]
fn fifty_agents_converge_and_one_that_breaks_is_named_with_the_reason() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    for bucket in ["keys", "reports"] {
        moto.make_bucket(bucket);
    }
    let [one, two, three] = [(); 3].map(|()| Key::new("fleet"));
    moto.put_object("keys", "web.json", &document(1, &one));
    let instances = run_instances(&moto, AGENTS, &[("Role", "web")]);
    let nodes: Vec<Node> = instances
        .iter()
        .map(|instance| node(&moto, instance))
        .collect();
    let wait = |document: &str, timeout: &str| {
        fleet(
            &moto,
            &["--wait", "--document", document, "--timeout", timeout],
        )
    };

    let begun = Instant::now();
    let first = wait("web/1", "3m");
    println!(
        "{AGENTS} agents started, and all reported, after {:?}",
        begun.elapsed()
    );
    assert_eq!(first.status, 0, "{first:?}\n{}", nodes[0].agent.log());

    moto.put_object("keys", "web.json", &document(2, &two));
    let begun = Instant::now();
    let second = wait("web/2", "3m");
    let took = begun.elapsed();
    println!(
        "published; all {AGENTS} were seen to have it after {took:?}: {}",
        second.stdout.trim()
    );
    assert_eq!(second.status, 0, "{second:?}");
    assert!(
        second.stdout.starts_with("all 50 nodes have web/2, after "),
        "{second:?}"
    );
    for node in &nodes {
        let keys = std::fs::read_to_string(node.setup.path("authorized_keys")).unwrap();
        assert!(
            keys.contains(two.base64()) && !keys.contains(one.base64()),
            "it is as the node says"
        );
    }
    // The objects say what the tags say.
    let objects = fleet(
        &moto,
        &["--from", "s3://reports/web/", "--document", "web/2"],
    );
    assert!(
        objects.stdout.starts_with("50 nodes: 50 ok"),
        "{}",
        objects.stdout
    );

    // One breaks: its file can no longer be replaced.
    let broken = &nodes[17];
    let file = broken.setup.path("authorized_keys");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    moto.put_object("keys", "web.json", &document(3, &three));
    let begun = Instant::now();
    while !fleet(&moto, &["--document", "web/3"])
        .stdout
        .contains("1 failed, 49 ok, 49 of 50 have web/3")
    {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "never: 49 have it, and one says that it failed"
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    let late = wait("web/3", "2s");
    println!("one is broken:\n{}{}", late.stdout, late.stderr);
    assert_eq!(late.status, 1);
    assert!(
        late.stderr
            .contains("1 of 50 nodes do not have web/3 after 2s: 1 failed"),
        "{}",
        late.stderr
    );
    let row = late
        .stdout
        .lines()
        .find(|line| line.contains("i-"))
        .unwrap();
    assert!(row.contains(&instances[17]), "{}", late.stdout);
    assert!(
        late.stdout.starts_with("failed  1 node  ") && late.stdout.contains("directory"),
        "{}",
        late.stdout
    );
}
