//! Hundreds of accounts, most of whose homes are on a dead server: the others are served, within
//! the unit's limits.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Service, Setup, eventually, lab};
use fuser::MountOption;
use nix::sys::signal::Signal;

use crate::dead::{Dead, UpAtTheEnd};

const DEAD: u32 = 400;
const ALIVE: u32 = 100;

/// The number that a line of the unit begins with after its name.
fn limit_of_unit(name: &str) -> u64 {
    let unit = include_str!("../../systemd/authkeysd.service");
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap();
    value.parse().unwrap()
}

/// What the kernel says of the service: kB or a plain number.
fn status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Accounts with homes below a directory, made where they are to be alive.
fn add(setup: Setup, below: &str, name: &str, count: u32, first: u32) -> Setup {
    let mut passwd = std::fs::OpenOptions::new()
        .append(true)
        .open("/etc/passwd")
        .unwrap();
    (0..count).fold(setup, |setup, number| {
        let (user, uid) = (format!("{name}{number}"), first + number);
        let home = Path::new(below).join(&user);
        writeln!(passwd, "{user}:x:{uid}:{uid}::{}:/bin/sh", home.display()).unwrap();
        if name == "alive" {
            std::fs::create_dir(&home).unwrap();
            std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
        }
        setup.account(&user, "")
    })
}

#[test]
fn f37_four_hundred_dead_homes_delay_a_hundred_others_by_seconds_and_stay_within_the_units_limits()
{
    lab(|| {
        let mut setup = Setup::new();
        setup.top = "schedule = \"1h\"".to_owned();
        // The dead ones stand first.
        std::fs::create_dir("/home/dead").unwrap();
        let setup = add(setup, "/home/dead", "dead", DEAD, 61_000);
        let setup = add(setup, "/home", "alive", ALIVE, 62_000);
        setup.publish_keys(&[&Key::new("published")]);
        let server = Dead::default();
        let session =
            fuser::spawn_mount2(server.clone(), "/home/dead", &[MountOption::AllowOther]).unwrap();
        let begun = Instant::now();
        let service = Service::start(&setup, |_| {});
        // Declared after the service, whose end would wait for it.
        let up = UpAtTheEnd(server.clone());
        let files: Vec<PathBuf> = (0..ALIVE)
            .map(|n| format!("/home/alive{n}/.ssh/authorized_keys").into())
            .collect();
        eventually("the keys of those who are alive", || {
            files.iter().all(|file| file.exists())
        });
        let served = begun.elapsed();
        let status_file = setup.runtime_dir().join("status.json");
        let mut threads = 0;
        eventually("the end of the cycle", || {
            threads = status(service.pid(), "Threads").max(threads);
            status_file.exists()
        });
        let (ended, memory) = (begun.elapsed(), status(service.pid(), "VmHWM"));
        println!("served after {served:?}, cycle {ended:?}, {threads} threads, {memory} kB");
        assert!(served < Duration::from_secs(60), "{served:?}");
        assert!(ended < Duration::from_secs(100), "{ended:?}");
        assert!(
            threads > u64::from(DEAD) && threads < limit_of_unit("TasksMax"),
            "{threads} threads"
        );
        assert!(memory < 128 << 10, "{memory} kB");
        // The next cycle waits for nobody.
        std::fs::remove_file(&status_file).unwrap();
        let begun = Instant::now();
        service.signal(Signal::SIGHUP);
        eventually("the next cycle", || status_file.exists());
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "{:?}",
            begun.elapsed()
        );
        server.come_up();
        assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
        drop((up, session));
    });
}
