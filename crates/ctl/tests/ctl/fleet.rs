//! `authkeysctl fleet` as an operator runs it, against an EC2 and an S3 that keep state.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;

use authkeys_testing::ec2::Ec2Stub;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, clean_ctl, outcome_of, stand_in};

use crate::desk::{bucket, document};
use crate::instances::{REGION, fleet_at, run_instances, tag, terminate};

const NEW: &str = "9f86d081884c7d65";
const OLD: &str = "0a1b2c3d4e5f6789";

fn fleet(moto: &Moto, arguments: &[&str]) -> Run {
    outcome_of(&mut fleet_at(moto, arguments))
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn report(moto: &Moto, instance: &str, status: &str, key_set: &str, digest: &str, detail: &str) {
    let time = now();
    let tags = [
        ("status", status),
        ("keyset", key_set),
        ("digest", digest),
        ("synced", &time),
        ("detail", detail),
    ];
    let tags = tags.map(|(name, value)| (format!("authkeysd:{name}"), value));
    tag(
        moto,
        instance,
        &tags.each_ref().map(|(name, value)| (name.as_str(), *value)),
    );
}

fn object(status: &str, key_set: &str, digest: &str) -> Vec<u8> {
    let time = now();
    format!(
        r#"{{"schema":1,"status":"{status}","detail":"","keyset":"{key_set}","digest":"{digest}","synced":"{time}"}}"#
    )
    .into_bytes()
}

#[test]
fn tags_tell_who_has_what_and_who_needs_attention() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let nodes = run_instances(&moto, 5, &[("Role", "worker"), ("Name", "web <1>")]);
    let other = run_instances(&moto, 1, &[("Role", "db")]).remove(0);
    for node in &nodes[..3] {
        report(&moto, node, "ok", "web/17", NEW, "");
    }
    report(
        &moto,
        &nodes[3],
        "failed",
        "web/16",
        OLD,
        "ubuntu: no space left on device",
    );
    report(&moto, &other, "ok", "db/3", OLD, "");

    let table = fleet(&moto, &["--filter", "tag:Role=worker"]);
    table.fails(
        1,
        &[&["not all is well with 5 nodes: 1 failed, 1 unreported"]],
    );
    assert!(
        table
            .stdout
            .starts_with("5 nodes: 1 failed, 1 unreported, 3 ok\neu-west-1, account 123456789012, tag:Role=worker\n"),
        "{}",
        table.stdout
    );
    assert!(
        table
            .stdout
            .contains("failed  1 node  ubuntu: no space left on device\n"),
        "{}",
        table.stdout
    );
    let row = table
        .stdout
        .lines()
        .find(|line| line.contains(&nodes[3]))
        .unwrap();
    assert!(row.contains("web <1>  web/16"), "{row}");
    assert!(
        !table.stdout.contains(&other) && !table.stdout.contains('\u{1b}'),
        "{}",
        table.stdout
    );

    // Every running instance; one that was terminated is none.
    terminate(&moto, &nodes[4]);
    let page = tempfile::tempdir().unwrap();
    let file = page.path().join("fleet.html");
    let all = fleet(&moto, &["--json", "--html", file.to_str().unwrap()]);
    all.fails(1, &[&["not all is well with 5 nodes: 1 failed"]]);
    let json: serde_json::Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(
        (
            &json["nodes_total"],
            &json["states"]["ok"],
            &json["states"]["failed"]
        ),
        (&5.into(), &4.into(), &1.into())
    );
    assert_eq!(json["nodes"][0]["instance_id"], nodes[3].as_str());
    let html = std::fs::read_to_string(&file).unwrap();
    assert!(
        html.contains("<title>1 of 5 nodes needs attention</title>")
            && html.contains("web &lt;1&gt;")
    );
    let names: Vec<_> = std::fs::read_dir(page.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["fleet.html"], "nothing else is left there");

    fleet(&moto, &["--filter", "tag:Role=nobody"]).fails(
        1,
        &[&["no running instance in eu-west-1 matches tag:Role=nobody"]],
    );
    let either = fleet(
        &moto,
        &[
            "--filter",
            "tag:Role=d?",
            "--filter",
            "tag:Role=worker",
            "--filter",
            "tag:Name=*",
        ],
    );
    assert!(
        either.stdout.starts_with("4 nodes: "),
        "of one key either, of two both: {}",
        either.stdout
    );
    // Only when all is well it ends well.
    fleet(&moto, &["--filter", "tag:Role=db"]).succeeds();
    fleet(&moto, &["--filter", "tag:Role=db", "--document", "db/3"]).succeeds();
    fleet(&moto, &["--filter", "tag:Role=db", "--document", "db/4"])
        .fails(1, &[&["1 nodes: 1 behind"]]);
    let foreign = fleet(
        &moto,
        &["--tag-prefix", "other", "--filter", "tag:Role=worker"],
    );
    assert!(
        foreign.stdout.starts_with("4 nodes: 4 unreported\n"),
        "{}",
        foreign.stdout
    );
}

#[test]
fn waiting_ends_with_the_last_node_and_names_who_has_not() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let nodes = run_instances(&moto, 3, &[("Role", "worker")]);
    for node in &nodes {
        report(&moto, node, "ok", "web/16", OLD, "");
    }
    report(
        &moto,
        &nodes[1],
        "failed",
        "web/16",
        OLD,
        "bob: cannot write",
    );
    let wanted = [
        "--wait",
        "--filter",
        "tag:Role=worker",
        "--document",
        "web/17",
    ];

    let late = fleet(&moto, &[&wanted[..], &["--timeout", "3s"]].concat());
    assert_eq!(late.status, 1, "{late:?}");
    let last = late.stderr.lines().last().unwrap();
    assert_eq!(
        last,
        "authkeysctl: 3 of 3 nodes do not have web/17 after 3s: 1 failed, 2 behind"
    );
    assert!(
        late.stdout.contains("failed  1 node  bob: cannot write\n"),
        "{}",
        late.stdout
    );
    assert!(
        late.stdout
            .contains("behind  2 nodes  web/17 is not in effect there\n"),
        "{}",
        late.stdout
    );

    let mut waiting = fleet_at(&moto, &wanted)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert_eq!(
        lines.next().unwrap(),
        "0 of 3 have web/17 after 0s; the others: 1 failed, 2 behind"
    );
    report(&moto, &nodes[0], "ok", "web/17", NEW, "");
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("1 of 3 have web/17 after ")
    );
    // One that is gone is not waited for.
    terminate(&moto, &nodes[1]);
    report(&moto, &nodes[2], "ok", "web/18", NEW, "");
    let mut said = String::new();
    waiting
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(waiting.wait().unwrap().success());
    assert!(
        said.starts_with("all 2 nodes have web/17, after "),
        "{said}"
    );

    fleet(
        &moto,
        &["--wait", "--document", NEW, "--filter", "tag:Role=x"],
    )
    .fails(1, &[&["no running instance in eu-west-1 matches"]]);
    fleet(&moto, &["--wait"]).fails(64, &[&["--document <NAME/SERIAL|DIGEST>"]]);
    fleet(&moto, &["--wait", "--document", "web"])
        .fails(64, &[&["neither NAME/SERIAL nor a digest"]]);
}

#[test]
fn a_revocation_that_waits_names_the_nodes_that_do_not_answer_and_says_how_long_it_took() {
    let Some((moto, desk)) = bucket() else { return };
    let nodes = run_instances(&moto, 3, &[("Role", "worker")]);
    let other = run_instances(&moto, 1, &[("Role", "db")]).remove(0);
    let (kept, stolen) = (Key::new("kept"), Key::new("stolen"));
    let target = "s3://keys/workers.json";
    desk.file("a", document(Some(7), &[&kept, &stolen]));
    desk.publish("a", target, &[]).succeeds();
    for node in nodes.iter().chain([&other]) {
        report(&moto, node, "ok", "workers/7", OLD, "");
    }
    let revoke = |timeout: &str| {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&moto.endpoint()))
            .env("AWS_REGION", REGION);
        command.args([
            "revoke",
            target,
            &stolen.fingerprint(),
            "--yes",
            "--wait",
            "--filter",
            "tag:Role=worker",
        ]);
        outcome_of(command.args(["--timeout", timeout]))
    };
    let late = revoke("3s");
    assert_eq!(late.status, 1, "{late:?}");
    assert!(
        late.stdout
            .contains("published workers/8 at s3://keys/workers.json"),
        "it is revoked all the same: {late:?}"
    );
    assert!(
        nodes.iter().all(|node| late.stdout.contains(node)) && !late.stdout.contains(&other),
        "{late:?}"
    );
    assert!(
        late.stderr
            .ends_with("3 of 3 nodes do not have workers/8 after 3s: 3 behind\n"),
        "{late:?}"
    );

    // Two have it; run again, it publishes nothing and waits for the last.
    nodes[..2]
        .iter()
        .for_each(|node| report(&moto, node, "ok", "workers/8", NEW, ""));
    let late = revoke("3s");
    assert_eq!(late.status, 1, "{late:?}");
    assert!(
        late.stdout
            .contains("this is what is published already, with serial 8"),
        "{late:?}"
    );
    assert!(
        late.stdout.contains(&nodes[2]) && !late.stdout.contains(&nodes[0]),
        "{late:?}"
    );
    report(&moto, &nodes[2], "ok", "workers/8", NEW, "");
    let done = revoke("60s");
    assert_eq!(done.status, 0, "{done:?}");
    assert!(
        done.stdout.contains("all 3 nodes have workers/8, after "),
        "{done:?}"
    );
}

#[test]
fn report_objects_tell_the_same_with_and_without_ec2() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("reports");
    let nodes = run_instances(&moto, 3, &[("Role", "worker"), ("Name", "web-1")]);
    moto.put_object(
        "reports",
        &format!("prod/{}.json", nodes[0]),
        &object("ok", "web/17", NEW),
    );
    moto.put_object(
        "reports",
        &format!("prod/{}.json", nodes[1]),
        &object("ok", "web/16", OLD),
    );
    moto.put_object("reports", "prod/i-gone.json", &object("ok", "web/17", NEW));
    moto.put_object("reports", "prod/i-junk.json", &vec![b'x'; 1 << 19]);
    moto.put_object("reports", "prod/README", b"not a report");
    moto.put_object(
        "reports",
        "prod/below/i-other.json",
        &object("failed", "web/1", OLD),
    );

    let alone = fleet(&moto, &["--from", "s3://reports/prod"]);
    assert_eq!(
        (alone.status, alone.stderr.lines().count()),
        (1, 1),
        "{alone:?}"
    );
    assert!(
        alone
            .stdout
            .starts_with("4 nodes: 1 unreported, 1 behind, 2 ok\nreports in s3://reports/prod/\n"),
        "{}",
        alone.stdout
    );
    assert!(
        alone
            .stdout
            .contains("its report makes no sense: its object is not a report"),
        "{}",
        alone.stdout
    );

    // With EC2 the running instances count, and those without an object are seen.
    let joined = fleet(
        &moto,
        &[
            "--from",
            "s3://reports/prod/",
            "--filter",
            "tag:Role=worker",
        ],
    );
    assert_eq!(
        (joined.status, joined.stderr.lines().count()),
        (1, 1),
        "{joined:?}"
    );
    assert!(
        joined
            .stdout
            .starts_with("3 nodes: 1 unreported, 1 behind, 1 ok\n"),
        "{}",
        joined.stdout
    );
    assert!(
        joined.stdout.contains("web-1"),
        "the name is the instance's: {}",
        joined.stdout
    );

    fleet(&moto, &["--from", "s3://reports/nowhere/"])
        .fails(1, &[&["no report object below s3://reports/nowhere/"]]);
    fleet(&moto, &["--from", "s3://absent/"]).fails(1, &[&["NoSuchBucket"]]);
    fleet(&moto, &["--from", "reports"]).fails(64, &[&["s3://BUCKET/PREFIX/"]]);

    let wait = [
        "--wait",
        "--from",
        "s3://reports/prod/",
        "--filter",
        "tag:Role=worker",
        "--document",
        NEW,
    ];
    let mut waiting = fleet_at(&moto, &wait)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.next().unwrap().starts_with("1 of 3 have "));
    for node in &nodes[1..] {
        moto.put_object(
            "reports",
            &format!("prod/{node}.json"),
            &object("ok", "web/17", NEW),
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn wildcards_and_their_escapes_are_sent_as_they_are_written_and_told_in_the_help() {
    let ec2 = Ec2Stub::start();
    let none = "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationSet/></DescribeInstancesResponse>";
    ec2.show(&[none]);
    for (value, sent) in [
        ("prod*", "prod*"),
        ("web-?", "web-?"),
        (r"R\*D", r"R\*D"),
        (r"who\?", r"who\?"),
        (r"a\\b", r"a\\b"),
        ("a=b&c d+\u{e9}", "a=b&c d+\u{e9}"),
        ("", ""),
    ] {
        let filter = format!("tag:Team={value}");
        let mut command = clean_ctl();
        command.envs(stand_in(&ec2.endpoint())).args([
            "fleet",
            "--filter",
            &filter,
            "--filter",
            "tag:Env=x*",
        ]);
        outcome_of(&mut command).fails(1, &[&["no running instance in us-east-1 matches"]]);
        let call = ec2.calls().into_iter().next_back().unwrap();
        let values: Vec<&str> = (1..)
            .map_while(|at| {
                call.form
                    .get(&format!("Filter.{at}.Name"))
                    .map(|name| (at, name))
            })
            .filter(|(_, name)| *name == "tag:Team")
            .map(|(at, _)| call.form[&format!("Filter.{at}.Value.1")].as_str())
            .collect();
        assert_eq!(values, [sent]);
    }
    let commands = ["fleet", "publish", "grant", "revoke", "rollback"];
    for command in commands {
        let help = outcome_of(clean_ctl().args([command, "--help"])).stdout;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            help.contains(r"* stands for any text and ? for any character; \* \? \\ are those"),
            "{command}: {help}"
        );
    }
}

#[test]
fn each_command_in_the_guide_is_one_that_the_program_takes() {
    let guide = include_str!("../../../../docs/fleet.md");
    let lines: Vec<String> = authkeys_testing::blocks(guide, "sh").collect();
    let directory = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for line in lines.iter().flat_map(|block| block.lines()) {
        let line = line.split('#').next().unwrap().replace('\'', "");
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let mut command = clean_ctl();
        // Nobody listens there: what is good of the command line ends in the attempt.
        command.envs(stand_in("http://127.0.0.1:9"));
        outcome_of(command.args(words).current_dir(directory.path()))
            .fails(75, &[&["did not reach"]]);
        seen += 1;
    }
    assert!(seen > 5, "{guide}");
}
