//! Ten thousand cycles need no more memory than a thousand.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use authkeys_core::config::Config;
use authkeys_core::history::History;
use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl, Version, Versions};
use authkeys_core::report::entries::entries;
use authkeys_core::user::UserName;
use authkeys_testing::in_own_process;
use authkeysd::agent::{Agent, Intent};
use authkeysd::host::{
    Account, FoundFragments, Host, HostError, Replaced, Snapshot, Stamp, Target,
};
use authkeysd::report::status_file;
use authkeysd::state::Store;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const CYCLES: u64 = 10_000;
const WARM: u64 = 1_000;
const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh one\n",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS two\n",
];

/// One file in memory; now and then somebody else writes it.
#[derive(Default)]
struct Memory(Mutex<(u64, Vec<u8>)>);

impl Host for &Memory {
    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError> {
        let user = user
            .cloned()
            .unwrap_or_else(|| UserName::parse("me").unwrap());
        Ok(Account {
            user,
            uid: 1,
            gid: 1,
            home: PathBuf::from("/home/me"),
        })
    }

    fn read(&self, _: &Target) -> Result<Snapshot, HostError> {
        let (version, content) = self.0.lock().unwrap().clone();
        Ok(Snapshot {
            content: Some(content),
            drifted: false,
            stamp: Stamp::of_version(version),
            directory: Some((1, 1)),
        })
    }

    fn replace(&self, _: &Target, _: &Stamp, content: &[u8]) -> Result<Replaced, HostError> {
        let mut file = self.0.lock().unwrap();
        *file = (file.0 + 1, content.to_vec());
        Ok(Replaced::Done)
    }

    fn sshd_version(&self) -> Option<(u32, u32)> {
        None
    }

    fn fragments(&self, _: &Target) -> Result<FoundFragments, HostError> {
        unreachable!("its one account has one file")
    }

    fn refresh(&self, _: &Target) -> Result<(), HostError> {
        unreachable!("its one account has one file")
    }
}

/// Away for a while now and then, with another document after each time.
#[derive(Default)]
struct Published(Mutex<u64>);

impl Fetch for &Published {
    async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        let mut asked = self.0.lock().unwrap();
        *asked += 1;
        if *asked % 500 > 480 {
            let message = format!("{url}: no answer, request {asked}");
            return Err(FetchError {
                code: None,
                class: Class::Transient,
                message,
                remedy: "wait".to_owned(),
            });
        }
        let number = *asked / 500;
        let version = Version {
            label: number.to_string(),
            token: number.to_string(),
        };
        if known.is_some_and(|known| known.current == version) {
            return Ok(Fetched::Unchanged);
        }
        let bytes = KEYS[usize::try_from(number % 2).unwrap()]
            .as_bytes()
            .to_vec();
        Ok(Fetched::document(bytes, version))
    }
}

/// KiB of memory that this process alone has: what it shares with others depends on them.
fn own_memory() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup
        .lines()
        .find(|line| line.starts_with("Anonymous:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn f32_ten_thousand_cycles_with_changes_drift_and_outages_need_no_more_memory_than_a_thousand() {
    // The memory that is measured is this process's, and no other test may be in it.
    in_own_process(|| {
        // In memory, so that it is the program that is measured and not the disk.
        let shared = PathBuf::from("/dev/shm");
        let directory = if shared.is_dir() {
            tempfile::tempdir_in(shared)
        } else {
            tempfile::tempdir()
        }
        .unwrap();
        let (published, host) = (Published::default(), Memory::default());
        let config = Config::parse("source = \"file:/k\"\n[[account]]\nuser = \"me\"\n").unwrap();
        let agent = Agent {
            config,
            fetch: &published,
            host: &host,
            zone: || TimeZone::UTC,
            built: Timestamp::UNIX_EPOCH,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut history = History::default();
        let mut now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let (mut warm, mut told, mut begun) = (0, 0, Instant::now());
        for cycle in 0..CYCLES {
            if cycle == WARM {
                (warm, told, begun) = (own_memory(), 0, Instant::now());
            }
            if cycle % 2_000 == 1_999 {
                host.0.lock().unwrap().1.clear();
            }
            now += SignedDuration::from_secs(60);
            let mut store = Store::open(directory.path()).unwrap();
            let outcome = runtime.block_on(agent.cycle(&mut store, Intent::default(), || now));
            let outcome = history.complete(outcome, None);
            told += entries(history.last(), &outcome, false).len();
            status_file::write(directory.path(), &outcome).unwrap();
            history.remember(outcome);
        }
        let (grown, took) = (own_memory().saturating_sub(warm), begun.elapsed());
        println!(
            "{warm} KiB after {WARM} cycles, {grown} KiB more after {CYCLES}; {:?} a cycle",
            took / 9_000
        );
        assert!(grown < 256, "{grown} KiB more than {warm}");
        // Each of 18 outages: failed, back, accepted, added, removed, in force; and five repairs of
        // one key.
        assert!(told < 18 * 6 + 5 * 2 + 2, "{told} entries");
        // It says something when a cycle becomes much slower; benches measure it.
        assert!(took.as_secs() < 120, "{took:?}");
    });
}
