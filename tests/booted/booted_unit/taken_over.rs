//! What somebody cannot do who has taken the service over (row 41 of docs/failures.md).

use authkeys_testing::{Key, booted};

use super::{SUITE, account, configure, installed, publish};

/// What somebody tries who has taken the service over, each a shell command that succeeds when the
/// attack does.
const ATTACKS: &[&str] = &[
    // A program outside the sandbox, by systemd's own sockets, D-Bus, or the old FIFO.
    "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
     org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' x.service fail 1 \
     ExecStart 'a(sasb)' 1 /bin/touch 2 /bin/touch /srv/owned false 0",
    "systemd-run touch /srv/owned",
    "systemctl start owned.service",
    "timeout 2 sh -c 'echo x >/run/initctl'",
    "test -S /run/dbus/system_bus_socket -o -S /run/systemd/private",
    "test -S /run/systemd/userdb/io.systemd.DynamicUser",
    // Secrets.
    "cat /etc/shadow || cat /etc/shadow- || cat /etc/gshadow",
    "cat /etc/ssh/ssh_host_ed25519_key",
    "cat /etc/sudoers",
    "cat /etc/ssl/private/key.pem",
    "cat /var/backups/shadow.bak",
    "ls /root/.ssh",
    // What root would run, or be let in by.
    "mkdir -p /root/.ssh && touch /root/.ssh/authorized_keys",
    "mkdir -p /etc/cron.d && touch /etc/cron.d/x",
    "mkdir -p /var/spool/cron/crontabs && touch /var/spool/cron/crontabs/root",
    "touch /etc/x || touch /etc/ssh/x || touch /etc/sudoers.d/x || touch /etc/authkeysd/x",
    "touch /usr/x || touch /usr/bin/x || touch /opt/x || touch /boot/x || touch /srv/x || touch \
     /var/lib/x",
    "touch /run/systemd/system/x || touch /run/x || touch /etc/systemd/system/x || touch \
     /dev/shm/x",
    "echo /bin/sh >/proc/sys/kernel/core_pattern",
    "echo 1 >/sys/fs/cgroup/cgroup.procs",
    "echo 1 >/sys/fs/cgroup/cgroup.freeze || echo 1 >/sys/fs/cgroup/system.slice/cgroup.kill || \
     mkdir /sys/fs/cgroup/x",
    "echo /tmp/x >/sys/fs/cgroup/release_agent || echo /tmp/x >/sys/kernel/uevent_helper",
    "echo 1 >/proc/sysrq-trigger || echo 2 >/proc/sys/kernel/randomize_va_space || echo /x \
     >/proc/sys/kernel/modprobe",
    "echo x >>/etc/passwd || echo x >>/etc/group || mv /etc/passwd /etc/passwd.x || rm /etc/passwd",
    "mkdir -p /var/spool/at && touch /var/spool/at/a1 || touch /var/spool/cron/atjobs/a1 || touch \
     /etc/crontab",
    "touch /var/run/x || ln -s /tmp /var/run/x || touch /run/sshd/x || touch /run/systemd/x",
    "touch /etc/polkit-1/rules.d/x || touch /etc/profile.d/x || touch /etc/ld.so.preload || touch \
     /etc/systemd/network/x",
    "ls /tmp/.X11-unix /tmp/tmux-1000 || test -e /tmp/of-another-program",
    // The kernel: mounts, namespaces, devices, modules, tracing, raw packets.
    "mount -t tmpfs tmpfs /tmp || mount -o remount,rw /",
    "umount /run || umount /root",
    "unshare --user true || unshare --mount true",
    "nsenter --target 1 --mount true",
    "mknod /tmp/disk b 8 0",
    "ls /dev | grep -E '^(sd|vd|nvme|loop|mem|kmsg|uinput|fuse)'",
    "perl -e 'exit(syscall(313, 0, 0, 0) == 0 || $!{ENOEXEC} || $!{EBADF} ? 0 : 1)'",
    "perl -e 'exit(syscall(101, 16, 1, 0, 0) == 0 ? 0 : 1)'",
    // io_uring, userfaultfd, performance counters, BPF, keys of others, a process's memory, file
    // handles.
    "perl -e 'my $p = chr(0) x 256; exit(syscall(425, 4, $p) >= 0 ? 0 : 1)'",
    "perl -e 'exit(syscall(323, 0) >= 0 ? 0 : 1)'",
    "perl -e 'my $p = pack(q(L2Q5), 1, 112, 0, 0, 0, 0, 96) . chr(0) x 64; exit(syscall(298, $p, \
     0, -1, -1, 0) >= 0 ? 0 : 1)'",
    "perl -e 'my $p = pack(q(L4), 2, 4, 4, 1) . chr(0) x 112; exit(syscall(321, 0, $p, 72) >= 0 ? \
     0 : 1)'",
    "perl -e 'exit(syscall(438, syscall(434, 1, 0), 0, 0) >= 0 ? 0 : 1)'",
    "head -c 1 /proc/1/mem || head -c 1 /proc/1/environ",
    "perl -e 'use Socket; exit(socket(my $s, AF_INET, SOCK_RAW, 1) || socket($s, 16, SOCK_RAW, 0) \
     ? 0 : 1)'",
];

/// Sockets that others listen on, of which root gets a root shell, and one of nobody's.
const SOCKETS: [&str; 8] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/snapd.socket",
    "/run/libvirt/libvirt-sock",
    "/var/lib/incus/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/run/of-some-vendor/control",
];

#[test]
fn f41_who_takes_the_service_over_gets_no_program_run_outside_of_its_sandbox() {
    booted(SUITE, |machine| {
        installed(machine);
        let key = Key::new("published");
        publish(machine, &[&key]);
        configure(machine, &account("alice", ""));
        machine.write(
            "/etc/systemd/system/owned.service",
            "[Service]\nType=oneshot\nExecStart=touch /srv/owned\n",
        );
        let listen: String = SOCKETS
            .iter()
            .map(|path| format!("ListenStream={path}\n"))
            .collect();
        machine.write(
            "/etc/systemd/system/vendor.socket",
            format!("[Socket]\nAccept=yes\n{listen}"),
        );
        machine.write(
            "/etc/systemd/system/vendor@.service",
            "[Service]\nExecStart=touch /srv/owned\n",
        );
        machine.run(
            "systemctl daemon-reload; mkdir -p /root/.ssh /etc/sudoers.d /etc/ssl/private \
             /var/backups && touch /etc/sudoers /etc/ssl/private/key.pem /var/backups/shadow.bak \
             /etc/shadow-",
        );
        // The tools for the attacks are there, and outside of the sandbox they succeed.
        // Those that call the kernel by number have the numbers of x86-64.
        let by_number: &[usize] = if cfg!(target_arch = "x86_64") {
            &[38, 39]
        } else {
            &[]
        };
        for number in [1, 5, 6, 7, 11].iter().chain(by_number) {
            machine.run(ATTACKS[*number]);
        }
        machine.run(
            "systemctl start vendor.socket && touch /tmp/of-another-program && rm -f /srv/owned",
        );

        // A shell in place of the program. It writes down which attacks succeeded where the service
        // may write.
        let connect = |path: &&str| {
            format!(
                "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); exit(connect(S, \
                 sockaddr_un(\"{path}\")) ? 0 : 1)'"
            )
        };
        let attacks: Vec<String> = ATTACKS
            .iter()
            .map(ToString::to_string)
            .chain(SOCKETS.iter().map(connect))
            .collect();
        for (number, attack) in attacks.iter().enumerate() {
            machine.write(&format!("/srv/attacks/{number}"), attack);
        }
        machine.write(
            "/srv/taken-over",
            "cd /srv/attacks && for attack in *; do\n\
             if timeout 5 sh $attack >/var/lib/authkeysd/$attack.log 2>&1; then echo $attack; fi\n\
             done >/var/lib/authkeysd/succeeded\n\
             find / -path /proc -prune -o -type s -print >/var/lib/authkeysd/sockets 2>/dev/null\n\
             perl -MPOSIX -e 'setuid(scalar getpwnam(q(alice))); open(F, q(>), q(/home/alice/as-alice))'\n\
             touch /var/lib/authkeysd/finished\nexec sleep 1000\n",
        );
        machine.write(
            "/etc/systemd/system/authkeysd.service.d/taken-over.conf",
            "[Service]\nType=exec\nExecStart=\nExecStart=/bin/sh /srv/taken-over\n",
        );
        machine.run("rm -f /srv/owned; systemctl daemon-reload && systemctl restart authkeysd");
        machine.eventually("test -e /var/lib/authkeysd/finished");
        let succeeded = machine.run("cat /var/lib/authkeysd/succeeded");
        let succeeded: Vec<&String> = succeeded
            .lines()
            .map(|number| &attacks[number.parse::<usize>().unwrap()])
            .collect();
        assert!(succeeded.is_empty(), "{succeeded:#?}");
        machine.run("test ! -e /srv/owned -a ! -e /root/.ssh/authorized_keys");
        let sockets = machine.run("cat /var/lib/authkeysd/sockets");
        let harmless = |path: &str| {
            ["/run/systemd/notify", "/run/authkeysd-fetch/socket"].contains(&path)
                || path.starts_with("/run/systemd/journal/")
        };
        assert!(sockets.lines().all(harmless), "{sockets}");
        // What is left, and docs/threats.md says so: it acts as any account in the homes that it
        // can see.
        machine.run("test -e /home/alice/as-alice");
    });
}
