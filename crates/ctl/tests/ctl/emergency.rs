//! The commands of the emergency page, each run as it stands there: a real S3, a real agent that
//! reports as an instance, and real logins.

use std::path::Path;
use std::process::Command;

use crate::desk::document;
use crate::instances::{REGION, run_instances};
use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{
    Key, Run, Service, Setup, blocks, clean_ctl, eventually, install, lab, login, outcome_of,
    stand_in,
};

const GUIDE: &str = include_str!("../../../../docs/operate.md");
const TARGET: &str = "s3://acme-ssh-keys/prod/workers.json";

/// The lines of the page that run a command of `authkeysctl`.
fn lines(command: &str) -> Vec<String> {
    let page = GUIDE
        .split("\n## In an emergency\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let all: Vec<String> = blocks(page, "sh")
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let start = format!("authkeysctl {command} ");
    let found: Vec<String> = all
        .into_iter()
        .filter(|line| line.starts_with(&start))
        .collect();
    assert!(!found.is_empty(), "{command}");
    found
}

/// A bucket with a key set, and a node that follows it and reports.
struct Scene {
    moto: Moto,
    instance: String,
    agent: Option<Service>,
    setup: Setup,
    _imds: Imds,
}

impl Scene {
    fn start(keys: &[&Key]) -> Self {
        let moto = Moto::start();
        moto.make_bucket("acme-ssh-keys");
        moto.switch_versions_on("acme-ssh-keys");
        moto.put_object(
            "acme-ssh-keys",
            "prod/workers.json",
            document(Some(17), keys).as_bytes(),
        );
        let instance = run_instances(&moto, 1, &[("Role", "worker")]).remove(0);
        let imds = Imds::start(&instance);
        let mut setup =
            Setup::for_user("alice").tables("[report]\nec2_tags = true\nreport_spread = \"1s\"\n");
        setup.source = TARGET.to_owned();
        setup.top = "schedule = \"1s\"".to_owned();
        setup.use_s3_at(&moto.endpoint());
        setup.environment.extend(imds.environment());
        let agent = Some(Service::start(&setup, |_| {}));
        Self {
            moto,
            instance,
            agent,
            setup,
            _imds: imds,
        }
    }

    /// Runs a line of the page, in a directory that holds what it names.
    fn run(&self, line: &str, directory: &Path) -> Run {
        let mut command: Command = clean_ctl();
        command
            .envs(stand_in(&self.moto.endpoint()))
            .env("AWS_REGION", REGION)
            .current_dir(directory)
            .args(line.split(' ').skip(1));
        outcome_of(&mut command)
    }
}

#[test]
fn each_command_of_the_emergency_page_does_what_it_says_to_a_real_login() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let [kept, stolen, next] = ["kept", "stolen", "next"].map(Key::new);
        // A copy that the old cron job left, which authkeysd never wrote.
        install("alice", format!("{}\n", stolen.line).as_bytes());
        let scene = Scene::start(&[&kept, &stolen]);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("next.pub"), &next.line).unwrap();
        eventually("the node has the key set", || login("alice", &kept));
        assert!(login("alice", &stolen) && !login("alice", &next));

        let shown = lines("show");
        let run = scene.run(&shown[0], directory.path());
        run.succeeds();
        assert!(
            run.stdout.contains(&stolen.fingerprint()) && run.stdout.contains("2 keys, 2 in force"),
            "{run:?}"
        );
        let then = scene.run(&shown[1], directory.path());
        then.fails(1, &[&["the first version that is kept was made at"]]);

        let revoke = lines("revoke")
            .remove(0)
            .replace("SHA256:...", &stolen.fingerprint());
        let run = scene.run(&revoke, directory.path());
        assert_eq!(
            run.status,
            0,
            "{run:?}\n{}",
            scene.agent.as_ref().unwrap().log()
        );
        assert!(
            run.stdout.contains("the one node has workers/18, after "),
            "{run:?}"
        );
        assert!(
            !login("alice", &stolen) && login("alice", &kept),
            "when it ends, no node has the key"
        );

        let grant = lines("grant")
            .remove(0)
            .replace("--accounts ubuntu", "--accounts alice");
        let run = scene.run(&grant, directory.path());
        assert_eq!(run.status, 0, "{run:?}");
        assert!(login("alice", &next) && login("alice", &kept) && !login("alice", &stolen));

        let run = scene.run(&lines("history")[0], directory.path());
        run.succeeds();
        let first = run
            .stdout
            .lines()
            .find(|line| line.contains("workers/17"))
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let rollback = lines("rollback").remove(0).replace("VERSION", first);
        let run = scene.run(&rollback, directory.path());
        assert_eq!(run.status, 0, "{run:?}");
        assert!(run.stdout.contains("workers/19 -> workers/20"), "{run:?}");
        assert!(login("alice", &kept) && !login("alice", &stolen) && !login("alice", &next));

        // A node that does not answer is named, and the exit status says so.
        let mut scene = scene;
        scene.agent = None;
        let again = grant.replace("--for 8h", "--for 9h --timeout 3s");
        let run = scene.run(&again, directory.path());
        assert_eq!(run.status, 1, "{run:?}");
        assert!(
            run.stdout.contains("published workers/21") && run.stdout.contains(&scene.instance),
            "{run:?}"
        );
        assert!(
            run.stderr
                .contains("1 of 1 nodes do not have workers/21 after 3s"),
            "{run:?}"
        );
        scene.setup.run(["sync"]);
        assert!(login("alice", &next));
    });
}
