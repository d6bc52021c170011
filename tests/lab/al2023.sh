#!/usr/bin/env bash
# al2023.sh ROOT: changes a Debian 12 with dnf (the same systemd, 252) into what a package finds on Amazon Linux 2023, as far as
# Debian's programs allow: its release, its login account, the names of its files and services, its presets, and nothing of
# dpkg's. What stays Debian's are the programs themselves: sshd is 9.2 and not 8.7, and there is no SELinux.
set -euo pipefail
root=$1

rm -f "$root/etc/os-release" "$root/etc/debian_version" "$root/etc/issue"*
cat >"$root/usr/lib/os-release" <<'END_OF_FILE'
NAME="Amazon Linux"
VERSION="2023"
ID="amzn"
ID_LIKE="fedora"
VERSION_ID="2023"
PLATFORM_ID="platform:al2023"
PRETTY_NAME="Amazon Linux 2023"
CPE_NAME="cpe:2.3:o:amazon:amazon_linux:2023"
VARIANT_ID="lab"
END_OF_FILE
ln -s ../usr/lib/os-release "$root/etc/os-release"
echo 'Amazon Linux release 2023 (Amazon Linux)' >"$root/etc/system-release"

# Scripts run in bash, as /bin/sh is there.
ln -sf bash "$root/usr/bin/sh"

# sshd.service, with its settings in /etc/sysconfig.
rm -f "$root"/etc/systemd/system/{sshd.service,multi-user.target.wants/ssh.service} "$root"/lib/systemd/system/ssh{,@}.{service,socket}
mkdir -p "$root/etc/sysconfig"
echo 'OPTIONS=' >"$root/etc/sysconfig/sshd"
cat >"$root/usr/lib/systemd/system/sshd.service" <<'END_OF_FILE'
[Unit]
Description=OpenSSH server daemon
Documentation=man:sshd(8) man:sshd_config(5)
After=network.target

[Service]
Type=notify
EnvironmentFile=-/etc/sysconfig/sshd
ExecStart=/usr/sbin/sshd -D $OPTIONS
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
RestartSec=42s
# Debian's sshd wants this directory.
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755

[Install]
WantedBy=multi-user.target
END_OF_FILE
mkdir -p "$root/usr/lib/systemd/system-preset"
echo 'enable sshd.service' >"$root/usr/lib/systemd/system-preset/90-default.preset"
echo 'disable *' >"$root/usr/lib/systemd/system-preset/99-default-disable.preset"
ln -s /usr/lib/systemd/system/sshd.service "$root/etc/systemd/system/multi-user.target.wants/sshd.service"

# Its login account, with a locked password, as cloud-init makes it.
chroot "$root" groupadd --gid 10 wheel 2>/dev/null || chroot "$root" groupadd wheel
chroot "$root" useradd --create-home --shell /bin/bash --groups wheel,adm,systemd-journal ec2-user
chroot "$root" usermod --lock ec2-user
mkdir -p "$root/etc/sudoers.d"
echo 'ec2-user ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/90-cloud-init-users"

# Nothing of Debian's packaging is left to lean on.
rm -rf "$root/etc/default" "$root/var/lib/dpkg" "$root/etc/dpkg" "$root/etc/apt" "$root/var/lib/apt" "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/etc/init.d "$root"/etc/rc?.d
rm -f "$root"/usr/bin/{dpkg*,apt*,deb-systemd-*} "$root"/usr/sbin/{invoke-rc.d,update-rc.d,service}
mkdir -p "$root/etc/yum.repos.d" "$root/var/lib/rpm"
