//! The nudge: a tag on the own instance makes the next fetch early, and nothing else. And SIGUSR1,
//! which does the same for whoever is on the node.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use authkeys_testing::imds::Imds;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Service, Setup, eventually, me, stand_in};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const TAG: &str = "authkeysd:nudge";

/// A node with one account, a slow schedule, an S3 that counts and a metadata service.
struct Node {
    setup: Setup,
    s3: Stub,
    imds: Imds,
    file: PathBuf,
    key: Key,
}

impl Node {
    fn new(top: &str) -> Self {
        let key = Key::new("k");
        let document = StubAnswer::whole("200 OK", &["ETag: \"e1\""], &(key.bare() + "\n"));
        let unchanged = StubAnswer::whole("304 Not Modified", &["ETag: \"e1\""], "");
        Self::with(top, [document, unchanged], key)
    }

    fn with(top: &str, answers: impl IntoIterator<Item = StubAnswer>, key: Key) -> Self {
        let (s3, imds) = (Stub::start(answers), Imds::start("i-0e2e0000000000001"));
        imds.change(|manner| manner.tags = Some([].into()));
        let mut setup = Setup::new();
        setup.top = format!("schedule = \"1h\"\n{top}");
        setup.source = "s3://keys/prod".to_owned();
        setup.environment = stand_in(&s3.endpoint())
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        setup.environment.extend(imds.environment());
        let file = setup.path("authorized_keys");
        let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
        Self {
            setup,
            s3,
            imds,
            file,
            key,
        }
    }

    fn start(&self) -> Service {
        let service = Service::start(&self.setup, |_| {});
        eventually("the first cycle", || {
            std::fs::read_to_string(&self.file).is_ok_and(|text| text.contains(self.key.base64()))
        });
        service
    }

    fn fetches(&self) -> usize {
        self.s3.requests().len()
    }

    fn looks(&self) -> usize {
        let asked = self.imds.requests();
        asked.iter().filter(|path| path.contains(TAG)).count()
    }

    /// Waits until there are so many fetches.
    fn until(&self, fetches: usize) {
        eventually("a fetch", || self.fetches() >= fetches);
    }
}

/// A service that has seen the value at its start, which was no nudge. On a slow machine it may be
/// seen too late to know that: not every time.
fn idle(top: &str, before: Option<&str>) -> (Node, Service) {
    for _ in 0..5 {
        let node = Node::new(top);
        if let Some(value) = before {
            node.imds.tag(TAG, value);
        }
        let service = node.start();
        eventually("it looks", || node.looks() > 2);
        if node.fetches() == 1 {
            return (node, service);
        }
    }
    panic!("the value at the start is taken for a nudge");
}

#[test]
fn a_tag_that_is_set_or_changed_makes_the_next_fetch_early_and_one_that_is_there_does_not() {
    for (what, before) in [("absent", None), ("there", Some("set/1"))] {
        let begun = Instant::now();
        let (node, service) = idle("nudge = \"1s\"\nnudge_spread = \"0s\"", before);
        let (looks, seconds) = (node.looks(), begun.elapsed().as_secs());
        assert!(
            looks <= 2 + usize::try_from(seconds).unwrap(),
            "{what}: {looks} looks in {seconds} s"
        );
        node.imds.tag(TAG, "set/2");
        node.until(2);
        sleep(Duration::from_secs(2));
        assert_eq!(node.fetches(), 2, "{what}: one nudge is one fetch");
        node.imds.change(|manner| manner.tags = Some([].into()));
        sleep(Duration::from_secs(8));
        assert_eq!(node.fetches(), 2, "{what}: a tag that goes is not a nudge");
        let log = service.log();
        assert!(!log.contains("nudge"), "{what}: {log}");
        assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
    }
}

#[test]
fn a_tag_that_changes_without_end_causes_one_fetch_in_five_seconds() {
    let node = Node::new("nudge = \"1s\"\nnudge_spread = \"0s\"");
    let service = node.start();
    let begun = Instant::now();
    let mut value = 0;
    while begun.elapsed() < Duration::from_secs(23) {
        value += 1;
        node.imds
            .tag(TAG, &format!("hostile/{value}\u{1b}]0;owned\u{7}"));
        sleep(Duration::from_millis(100));
    }
    // Beside the first one.
    let (fetches, most) = (node.fetches() - 1, at_most(begun.elapsed()));
    assert!((3..=most).contains(&fetches), "{fetches} fetches");
    let log = service.log();
    assert!(!log.contains("hostile") && !log.contains("owned"), "{log}");
}

/// The most fetches that nudges may cause in a time.
fn at_most(time: Duration) -> usize {
    usize::try_from(time.as_secs() / 5 + 1).unwrap()
}

#[test]
fn where_no_tags_are_shown_that_is_said_once_and_the_schedule_stands() {
    let node = Node::new("nudge = \"1s\"");
    node.imds.change(|manner| manner.tags = None);
    let service = node.start();
    let said = || service.log().matches("no nudge will be seen").count();
    eventually("it is said", || said() == 1);
    let log = service.log();
    assert!(
        log.contains("--instance-metadata-tags enabled") && log.contains("[AK056]"),
        "{log}"
    );
    sleep(Duration::from_secs(7));
    assert_eq!((said(), node.fetches()), (1, 1), "{}", service.log());
    // Switched on later, it works without a restart.
    node.imds.tag(TAG, "set/1");
    node.until(2);
    assert_eq!(said(), 1);
    assert_eq!(node.setup.run(["status"]).status, 0);
}

#[test]
fn without_an_instance_that_is_said_once_and_nobody_waits_for_it() {
    let mut node = Node::new("nudge = \"1s\"");
    let disabled = ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned());
    node.setup.environment.push(disabled);
    let begun = Instant::now();
    let service = node.start();
    assert!(begun.elapsed() < Duration::from_secs(9));
    let said = || service.log().matches("no nudge will be seen").count();
    eventually("it is said", || said() == 1);
    sleep(Duration::from_secs(7));
    assert_eq!((said(), node.looks(), node.fetches()), (1, 0, 1));
}

#[test]
fn a_metadata_service_that_does_not_answer_holds_nothing_up_and_is_asked_again() {
    let node = Node::new("nudge = \"1s\"\nnudge_spread = \"0s\"");
    node.imds.change(|manner| manner.fails = Some(503));
    let begun = Instant::now();
    let service = node.start();
    assert!(begun.elapsed() < Duration::from_secs(9));
    sleep(Duration::from_secs(2));
    node.imds.change(|manner| manner.fails = None);
    node.imds.tag(TAG, "set/2");
    // That value may have been set while the first fetch was under way.
    node.until(2);
    assert!(!service.log().contains("nudge"), "{}", service.log());
}

#[test]
fn a_reload_switches_the_nudge_on_and_off_and_takes_another_tag() {
    let mut node = Node::new("");
    let service = node.start();
    node.imds.tag(TAG, "set/1");
    sleep(Duration::from_secs(2));
    assert_eq!((node.looks(), node.fetches()), (0, 1));

    let change = |node: &mut Node, top: &str| {
        node.setup.top = format!("schedule = \"1h\"\n{top}");
        node.setup.write_config();
        let fetches = node.fetches();
        service.signal(Signal::SIGHUP);
        eventually("a fetch by the reload", || node.fetches() > fetches);
    };
    change(&mut node, "nudge = \"1s\"\nnudge_spread = \"0s\"");
    eventually("it looks", || node.looks() > 1);
    sleep(Duration::from_secs(2));
    let fetches = node.fetches();
    node.imds.tag(TAG, "set/2");
    eventually("a nudge", || node.fetches() == fetches + 1);

    change(&mut node, "");
    sleep(Duration::from_secs(1));
    let (looks, fetches) = (node.looks(), node.fetches());
    node.imds.tag(TAG, "set/3");
    sleep(Duration::from_secs(6));
    assert_eq!(
        (node.looks(), node.fetches()),
        (looks, fetches),
        "nobody looks any more"
    );
    assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
}

#[test]
fn sigusr1_fetches_now_without_reading_the_configuration() {
    let node = Node::new("");
    let service = node.start();
    std::fs::write(node.setup.config(), "sorce = 1\n").unwrap();
    service.signal(Signal::SIGUSR1);
    node.until(2);
    let begun = Instant::now();
    for _ in 0..50 {
        service.signal(Signal::SIGUSR1);
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_secs(2));
    node.until(3);
    // One in a second.
    let most = 3 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    let fetches = node.fetches();
    assert!(fetches <= most, "no storm: {fetches}");
    let log = service.log();
    assert!(!log.contains("configuration"), "{log}");
    assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
}

/// Notes each request in a file; answers each look at the tag at once with another value, or ends.
const FETCHER: &str = r#"#!/usr/bin/python3
import json, os, struct, sys
mode, key = os.environ["FETCHER"], os.environ["KEY"].encode()
out, marks = sys.stdout.buffer, 0
while True:
    start = sys.stdin.buffer.read(4)
    if len(start) < 4:
        sys.exit(0)
    request = json.loads(sys.stdin.buffer.read(struct.unpack(">I", start)[0]))
    ask, parts = request["message"]["ask"], []
    with open(os.environ["ASKED"], "a") as asked:
        asked.write(ask + "\n")
    if ask == "fetch":
        head = {"stage": "AWSCURRENT", "version": {"label": "v1", "token": "v1"}, "created": None}
        message, parts = {"answer": "documents", "documents": [head]}, [key]
    elif ask == "nudge" and mode == "ends":
        sys.exit(1)
    elif ask == "nudge" and mode == "nonsense":
        message = {"answer": "nudge", "sight": {"tag": "present", "mark": "\x1b[2J" * 999}}
    elif ask == "nudge" and mode == "flaps" and marks % 2 == 1:
        marks += 1
        message = {"answer": "nudge", "sight": {"tag": "unreadable", "why": "\x1b[2J" * 9}}
    elif ask == "nudge":
        marks += 1
        message = {"answer": "nudge", "sight": {"tag": "present", "mark": "%016x" % marks}}
    else:
        message = {"answer": "no_instance", "reason": "disabled"}
    header = json.dumps({"id": request["id"], "parts": [len(part) for part in parts], "message": message})
    out.write(struct.pack(">I", len(header)) + header.encode() + b"".join(parts))
    out.flush()
"#;

#[test]
fn a_fetcher_that_says_nudge_without_end_is_believed_once_in_five_seconds() {
    let node = Node::new("nudge = \"1s\"\nnudge_spread = \"0s\"");
    let program = node.setup.path("authkeysd");
    std::fs::copy(authkeys_testing::program("authkeysd"), &program).unwrap();
    let helper = node.setup.path("authkeysd-fetch");
    std::fs::write(&helper, FETCHER).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (mut services, names) = (Vec::new(), ["endless", "flaps", "ends", "nonsense"]);
    let begun = Instant::now();
    for name in names {
        let mut setup = Setup::new();
        setup.top = node.setup.top.clone();
        setup.source = "s3://keys/prod".to_owned();
        let file = setup.path("authorized_keys");
        let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
        let log = std::fs::File::create(setup.path("log")).unwrap();
        let mut command = setup.command_of(&program);
        command
            .arg("run")
            .env("FETCHER", name)
            .env("KEY", node.key.bare() + "\n")
            .env("ASKED", setup.path("asked"))
            .stderr(log);
        services.push((setup, file, command.spawn().unwrap()));
    }
    sleep(Duration::from_secs(22));
    for ((setup, file, mut service), name) in services.into_iter().zip(names) {
        service.kill().unwrap();
        service.wait().unwrap();
        let asked = std::fs::read_to_string(setup.path("asked")).unwrap();
        let count = |ask: &str| asked.lines().filter(|line| *line == ask).count();
        let log = std::fs::read_to_string(setup.path("log")).unwrap();
        let (fetches, looks) = (count("fetch"), count("nudge"));
        let most = match name {
            "endless" => 1 + at_most(begun.elapsed()),
            // Every other look finds a new value.
            "flaps" => 1 + looks / 2,
            _ => 3,
        };
        assert!((1..=most).contains(&fetches), "{name}: {fetches} fetches");
        let most = usize::try_from(begun.elapsed().as_secs() / 2).unwrap();
        assert!((2..=most).contains(&looks), "{name}: {looks} looks");
        if name == "endless" {
            assert!(fetches >= 4, "{name}: {fetches} fetches");
        }
        let keys = std::fs::read_to_string(file).unwrap();
        assert!(keys.contains(node.key.base64()), "{name}: {keys}");
        let said = log.matches("no nudge").count();
        assert_eq!(said, usize::from(name == "flaps"), "{name}: {log}");
        assert!(!log.contains('\u{1b}'), "{name}: {log}");
    }
}

#[test]
fn a_fetcher_that_is_started_anew_still_knows_which_value_is_known() {
    let (node, service) = idle("nudge = \"1s\"\nnudge_spread = \"0s\"", Some("set/1"));
    let helper = || {
        let children = format!("/proc/{0}/task/{0}/children", service.pid());
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().next()?.parse().ok()
    };
    let first: i32 = helper().unwrap();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    eventually("another helper", || {
        helper().is_some_and(|pid| pid != first)
    });
    let looks = node.looks();
    eventually("it looks", || node.looks() > looks + 1);
    assert_eq!(node.fetches(), 1, "the same value is not a nudge");
    // What changed while there was none is one.
    kill(Pid::from_raw(helper().unwrap()), Signal::SIGKILL).unwrap();
    node.imds.tag(TAG, "set/2");
    node.until(2);
}

#[test]
fn a_fetcher_that_hangs_is_given_up_with_its_look_and_another_one_looks() {
    let mut node = Node::new("nudge = \"1s\"\nnudge_spread = \"0s\"");
    node.setup = node
        .setup
        .tables("[report]\ns3 = \"s3://reports/\"\nheartbeat = \"1s\"\nreport_spread = \"0s\"\n");
    let service = node.start();
    let helper = || {
        let children = format!("/proc/{0}/task/{0}/children", service.pid());
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().next()?.parse::<i32>().ok()
    };
    let first = helper().unwrap();
    eventually("it looks", || node.looks() > 1);
    kill(Pid::from_raw(first), Signal::SIGSTOP).unwrap();
    eventually("another helper", || {
        helper().is_some_and(|pid| pid != first)
    });
    let looks = node.looks();
    eventually("it looks again", || node.looks() > looks + 1);
    assert!(
        !PathBuf::from(format!("/proc/{first}")).exists(),
        "the first one is gone"
    );
}

/// How often the process went to sleep and woke again so far, all its threads together.
fn wakes(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let count = |text: String| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .filter_map(count)
        .sum()
}

#[test]
fn the_installer_does_not_wake_while_the_fetcher_looks() {
    let (node, service) = idle("nudge = \"1s\"", Some("set/1"));
    // What it still has to do after the start may wake it once.
    let sleeps_on = |_| {
        let (before, looks) = (wakes(service.pid()), node.looks());
        eventually("it looks", || node.looks() >= looks + 4);
        wakes(service.pid()) == before
    };
    assert!((0..3).any(sleeps_on));
}

#[test]
fn check_online_says_whether_the_tag_can_be_read() {
    let node = Node::new("nudge = \"2s\"");
    let check = || node.setup.run(["check", "--online"]).stdout;
    let said = check();
    assert!(
        said.contains("ok      nudge") && said.contains("it can be read"),
        "{said}"
    );
    node.imds.change(|manner| manner.tags = None);
    let said = check();
    assert!(
        said.contains("--instance-metadata-tags enabled") && said.contains("[AK056]"),
        "{said}"
    );
}
