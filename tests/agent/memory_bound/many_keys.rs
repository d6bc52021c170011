//! What many keys and accounts cost: work that grows linearly, and keys that accounts share.

use std::time::Duration;

use authkeys_testing::{Service, Setup, clean_command, eventually, lab, me};
use serde_json::Value;

use super::{key, memory};

/// The variables that the unit sets for malloc: in another environment the same program grows
/// otherwise.
fn environment_of_unit() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../../systemd/authkeysd.service").lines();
    lines.filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// How many instructions one `sync` takes. Unlike seconds they are the same on every machine and in
/// every run.
fn instructions(setup: &Setup) -> u64 {
    setup.write_config();
    let program = clean_command().get_program().to_owned();
    let mut command = std::process::Command::new("valgrind");
    // Without caches it takes half of callgrind's time.
    command
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(program);
    command.args(["--config", &setup.config().display().to_string(), "sync"]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.envs(environment_of_unit()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counted = said
        .lines()
        .filter(|line| line.contains("refs:"))
        .find_map(|line| line.rsplit_once(' '))
        .unwrap();
    counted.1.replace(',', "").parse().unwrap()
}

/// Accounts `many0`, `many1` and so on, with homes.
fn add_accounts(count: u32) {
    let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    for number in 0..count {
        let (home, uid) = (format!("/home/many{number}"), 62_000 + number);
        passwd.push_str(&format!("many{number}:x:{uid}:{uid}::{home}:/bin/sh\n"));
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
    }
    std::fs::write("/etc/passwd", passwd).unwrap();
}

/// The most that a unit more may cost among many, in percent of what it costs among few.
const LINEAR: u64 = 115;

/// Asserts that the second step up costs as much for each unit as the first.
fn assert_linear(counts: [u64; 3], work: [u64; 3]) {
    let first = (work[1] - work[0]) / (counts[1] - counts[0]);
    let second = (work[2] - work[1]) / (counts[2] - counts[1]);
    println!("{counts:?}: {work:?}, {first} and then {second} instructions for each more");
    assert!(
        second * 100 < first * LINEAR,
        "{first} instructions for each, later {second}"
    );
}

/// Keys in text, with options and a comment.
fn in_text(count: u64) -> Vec<u8> {
    let line = |n| {
        format!(
            "restrict,from=\"10.0.0.0/8\" {} user-{n}@example.org\n",
            key(usize::try_from(n).unwrap())
        )
    };
    (0..count).map(line).collect::<String>().into_bytes()
}

/// The same in JSON, where the quotes are escaped and there are times.
fn in_json(count: u64) -> Vec<u8> {
    let entry = |n| {
        let key = key(usize::try_from(n).unwrap());
        format!(
            r#"{{"public_key":"{key} user-{n}@example.org","options":["restrict","from=\"10.0.0.0/8\""],"not_after":"2099-01-01T00:00:00Z"}}"#
        )
    };
    let entries: Vec<String> = (0..count).map(entry).collect();
    format!("{{\"version\":1,\"keys\":[{}]}}", entries.join(",")).into_bytes()
}

/// Up to the most keys that a document may have.
fn assert_linear_in_keys(published: fn(u64) -> Vec<u8>) {
    let counts = [10, 512, 4_096];
    let cost = counts.map(|count| {
        let setup = Setup::new();
        let path = setup.path("authorized_keys");
        let setup = setup.account(&me(), &format!("file = \"{}\"", path.display()));
        setup.publish(published(count));
        // The first cycle installs them, the second finds them all there.
        [instructions(&setup), instructions(&setup)]
    });
    assert_linear(counts, cost.map(|[install, _]| install));
    assert_linear(counts, cost.map(|[_, unchanged]| unchanged));
}

#[test]
fn f57_the_work_of_a_cycle_grows_linearly_with_the_keys_in_the_units_environment() {
    assert_linear_in_keys(in_text);
}

#[test]
fn f57_the_work_of_a_cycle_grows_linearly_with_the_keys_in_json_in_the_units_environment() {
    assert_linear_in_keys(in_json);
}

#[test]
fn f57_the_work_of_a_cycle_grows_linearly_with_the_accounts_in_the_units_environment() {
    lab(|| {
        let counts = [1, 100, 300];
        add_accounts(300);
        let cost = counts.map(|count| {
            let setup = (0..count).fold(Setup::new(), |setup, n| {
                setup.account(&format!("many{n}"), "")
            });
            setup.publish(in_text(10));
            let install = instructions(&setup);
            (0..count)
                .for_each(|n| std::fs::remove_dir_all(format!("/home/many{n}/.ssh")).unwrap());
            install
        });
        assert_linear(counts, cost);
    });
}

/// The most bytes that a key of one account more may cost in a cycle, and after it, where the
/// accounts have one document.
const KEY_IN_CYCLE: usize = 600;

const KEY_AT_REST: usize = 450;

#[test]
fn f57_accounts_of_one_document_share_its_keys_in_memory() {
    lab(|| {
        let (few, many, keys) = (2, 42, 300);
        add_accounts(many);
        let cost = [few, many].map(|count| {
            let mut setup = (0..count).fold(Setup::new(), |setup, n| {
                setup.account(&format!("many{n}"), "")
            });
            setup.top = "schedule = \"1h\"".to_owned();
            setup.environment.extend(
                environment_of_unit().map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            setup.publish(in_text(keys));
            let service = Service::start(&setup, |_| {});
            eventually("the first cycle's end", || {
                setup.runtime_dir().join("status.json").exists()
            });
            // The status is written a moment before the cycle lets go of its memory.
            let rest = (0..20).map(|_| {
                std::thread::sleep(Duration::from_millis(50));
                memory(&service, "VmRSS:")
            });
            let rest = rest.min().unwrap();
            let peak = memory(&service, "VmHWM:");
            for n in 0..count {
                std::fs::remove_dir_all(format!("/home/many{n}/.ssh")).unwrap();
            }
            [peak, rest]
        });
        let more = usize::try_from(many - few).unwrap() * usize::try_from(keys).unwrap();
        let [peak, rest] = [0, 1].map(|at| cost[1][at].saturating_sub(cost[0][at]) / more);
        println!("{cost:?}: {peak} bytes for each key of each account in a cycle, {rest} after it");
        assert!(
            peak < KEY_IN_CYCLE && rest < KEY_AT_REST,
            "{peak} bytes in a cycle, {rest} after it"
        );
    });
}

#[test]
fn f57_a_status_counts_more_keys_than_it_lists_and_status_keys_lists_them_all() {
    let setup = Setup::with_file();
    let text = |count: usize| {
        (0..count)
            .map(|n| format!("{} user-{n}\n", key(n)))
            .collect::<String>()
    };
    setup.publish(text(1_500));
    let whole: Value = serde_json::from_str(&setup.run(["sync", "--json"]).stdout).unwrap();
    let whole = &whole["accounts"][0];
    assert_eq!(
        whole["in_force"].as_array().unwrap().len(),
        1_500,
        "whoever asks for it gets all of it"
    );
    // A key of somebody else's is not one of ours, wherever the list comes from.
    let others = text(1_502).lines().last().unwrap().to_owned()
        + "\n"
        + &std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), others).unwrap();
    let status = |arguments: [&str; 3]| -> Value {
        let run = setup.run(arguments);
        run.succeeds();
        serde_json::from_str::<Value>(&run.stdout).unwrap()["accounts"][0].clone()
    };
    let shown = status(["status", "--json", "--max-age=1h"]);
    assert_eq!(
        shown["in_force"].as_array().unwrap()[..],
        whole["in_force"].as_array().unwrap()[..100]
    );
    assert_eq!(
        (&shown["counts"]["in_force"], &shown["counts"]["added"]),
        (&1_500.into(), &1_500.into())
    );
    assert_eq!(shown["keys_digest"], whole["keys_digest"]);
    assert_eq!(
        status(["status", "--json", "--keys"])["in_force"],
        whole["in_force"]
    );
    let run = setup.run(["status", "--keys"]);
    run.succeeds();
    let of_ours = |line: &&str| line.starts_with("    SHA256:");
    assert_eq!(
        run.stdout.lines().filter(of_ours).count(),
        1_500,
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("1500 keys in force") && run.stdout.contains("+ and 1400 more"),
        "{}",
        run.stdout
    );
    // What a later process remembers is enough to know a repair for one.
    std::fs::write(setup.file(), "").unwrap();
    setup.run(["sync"]).repairs();
    setup.publish(text(1_499));
    let run = setup.run(["sync"]);
    run.succeeds();
    assert!(
        !run.stdout.contains("drift") && run.stdout.contains("user-1499"),
        "{}",
        run.stdout
    );
    std::fs::remove_file(setup.file()).unwrap();
    std::fs::create_dir(setup.file()).unwrap();
    setup
        .run(["status", "--keys"])
        .fails(1, &[&["cannot be listed", "directory"]]);
}
