//! The packages that `make deb` and `make rpm` built: what their checkers say of them, what is in
//! them, how large they are, and on which machines they run.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::built::{Kind, built, output};

const LIMIT: u64 = 3_500_000;
/// Amazon Linux 2 has this one.
const OLDEST_GLIBC: (u32, u32) = (2, 26);

/// Unpacks a package into a directory.
fn unpack(kind: Kind, package: &Path, into: &Path) {
    match kind {
        Kind::Deb => output(Command::new("dpkg-deb").arg("-x").arg(package).arg(into)),
        Kind::Rpm => {
            let unpack = "rpm2archive - <\"$1\" | tar xzf - -C \"$2\"";
            output(
                Command::new("sh")
                    .args(["-c", unpack, "sh"])
                    .arg(package)
                    .arg(into),
            )
        }
    };
}

#[test]
fn each_package_is_small_and_its_checkers_find_no_error() {
    for kind in [Kind::Deb, Kind::Rpm] {
        let Some(packages) = built(kind) else {
            continue;
        };
        for package in &packages {
            let size = package.metadata().unwrap().size();
            assert!(size < LIMIT, "{}: {size} bytes", package.display());
        }
        match kind {
            Kind::Deb if authkeys_testing::has(&["lintian"]) => {
                output(
                    Command::new("lintian")
                        .args(["--profile", "debian", "--fail-on", "error,warning"])
                        .args(packages),
                );
            }
            Kind::Rpm if authkeys_testing::has(&["rpmlint"]) => {
                let filters = concat!(env!("CARGO_MANIFEST_DIR"), "/rpm/rpmlint.toml");
                let told = output(Command::new("rpmlint").args(["-c", filters]).args(packages));
                assert!(told.contains(" 0 errors, 0 warnings"), "{told}");
            }
            _ => {}
        }
    }
}

#[test]
fn both_programs_are_packed_as_they_were_built_and_run_with_a_c_library_from_2_26_on() {
    for kind in [Kind::Deb, Kind::Rpm] {
        let Some(packages) = built(kind) else {
            continue;
        };
        for (package, program) in packages.iter().zip(["authkeysd", "authkeysctl"]) {
            let dir = tempfile::tempdir().unwrap();
            unpack(kind, package, dir.path());
            let file = dir.path().join("usr/bin").join(program);
            assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o755);
            let version = output(Command::new(&file).arg("--version"));
            assert_eq!(
                version,
                format!("{program} {}\n", env!("CARGO_PKG_VERSION"))
            );
            if !authkeys_testing::has(&["objdump"]) {
                continue;
            }
            let symbols = output(Command::new("objdump").arg("-T").arg(&file));
            let versions = symbols.split(|sign: char| sign.is_whitespace() || "()".contains(sign));
            let highest = versions
                .filter_map(|word| word.strip_prefix("GLIBC_"))
                .map(|version| {
                    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
                    (numbers.next().unwrap(), numbers.next().unwrap())
                })
                .max();
            assert!(
                highest.is_some_and(|highest| highest <= OLDEST_GLIBC),
                "{program}: {highest:?}"
            );
            // Other libraries than those of glibc would be further dependencies.
            let headers = output(Command::new("objdump").arg("-p").arg(&file));
            for library in headers
                .lines()
                .filter_map(|line| line.trim().strip_prefix("NEEDED"))
                .map(str::trim)
            {
                let ours =
                    ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"].contains(&library);
                assert!(
                    ours || library.starts_with("ld-linux"),
                    "{program} needs {library}"
                );
            }
        }
    }
}

/// Another form of symbols' names, or other crates, would leave the patterns of cold.ld without
/// effect, and the services with a sixth more memory.
#[test]
fn code_that_a_service_at_rest_does_not_use_lies_apart_in_its_program() {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    if !authkeys_testing::has(&["objdump"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    unpack(Kind::Deb, &package, dir.path());
    for (program, least) in [
        ("usr/bin/authkeysd", 600_000),
        ("usr/libexec/authkeysd/authkeysd-fetch", 1_200_000),
    ] {
        let cold = size_of_section(&dir.path().join(program), ".text.cold");
        assert!(
            cold.is_some_and(|size| size >= least),
            "{program}: {cold:?}"
        );
    }
}

/// In bytes; `None` if the program has no such section.
fn size_of_section(program: &Path, name: &str) -> Option<u64> {
    let sections = output(Command::new("objdump").args(["-h", "-w"]).arg(program));
    for line in sections.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, section, size, ..] = words.as_slice()
            && *section == name
        {
            return Some(u64::from_str_radix(size, 16).unwrap());
        }
    }
    None
}

#[test]
fn the_configuration_is_no_part_of_a_package_and_the_file_of_variables_is_the_administrators() {
    if let Some(packages) = built(Kind::Deb) {
        let files = output(Command::new("dpkg-deb").arg("-c").arg(&packages[0]));
        assert!(!files.contains("./etc/authkeysd"), "{files}");
        for file in [
            "examples/config.toml",
            "man8/authkeysd.8.gz",
            "man5/authkeysd.toml.5.gz",
            "system/authkeysd.service",
            "system/authkeysd-fetch.socket",
            "libexec/authkeysd/authkeysd-fetch",
        ] {
            assert!(files.contains(file), "{file}: {files}");
        }
        assert_eq!(
            output(
                Command::new("dpkg-deb")
                    .args(["-I"])
                    .arg(&packages[0])
                    .arg("conffiles")
            ),
            "/etc/default/authkeysd\n"
        );
    }
    if let Some(packages) = built(Kind::Rpm).filter(|_| authkeys_testing::has(&["rpm"])) {
        let query = |what: &[&str], package: &Path| {
            output(Command::new("rpm").arg("-qp").args(what).arg(package))
        };
        assert_eq!(
            query(&["--configfiles"], &packages[0]),
            "/etc/sysconfig/authkeysd\n"
        );
        let files = query(&["--list"], &packages[0]);
        assert!(!files.contains("/etc/authkeysd/"), "{files}");
        for file in [
            "system-preset/50-authkeysd.preset",
            "man8/authkeysd.8.gz",
            "system/authkeysd.service",
        ] {
            assert!(files.contains(file), "{file}: {files}");
        }
        // By the names that Fedora, RHEL and Amazon Linux have; what rpm itself and the scripts
        // need is everywhere.
        let programs = ["ca-certificates", "glibc >= 2.26"];
        let service = ["ca-certificates", "glibc >= 2.26", "systemd"];
        for (package, expected) in packages.iter().zip([&service[..], &programs[..]]) {
            let needs = query(&["--requires"], package);
            let ours = needs.lines().filter(|line| {
                !["/bin/sh", "rpmlib(", "config("]
                    .iter()
                    .any(|own| line.starts_with(own))
            });
            assert_eq!(ours.collect::<Vec<_>>(), expected, "{}", package.display());
        }
        assert_eq!(query(&["--recommends"], &packages[0]), "openssh-server\n");
        // The operators' package has no service, and no script.
        assert_eq!(query(&["--scripts"], &packages[1]), "");
    }
}

#[test]
fn each_rpm_has_its_files_where_fedoras_guidelines_want_them() {
    let Some(packages) = built(Kind::Rpm).filter(|_| authkeys_testing::has(&["rpm"])) else {
        return;
    };
    let query = |format: &str, package: &Path| {
        let mut command = Command::new("rpm");
        output(command.args(["-qp", "--queryformat", format]).arg(package))
    };
    let mut all = std::collections::BTreeSet::new();
    for (package, name) in packages.iter().zip(["authkeysd", "authkeysctl"]) {
        assert_eq!(query("%{LICENSE}", package), "MIT OR Apache-2.0");
        let summary = query("%{SUMMARY}", package);
        assert!(
            summary.len() < 80 && !summary.ends_with('.') && !summary.starts_with(name),
            "{summary}"
        );
        let own = [
            format!("/usr/bin/{name}"),
            format!("/usr/libexec/{name}/"),
            format!("/usr/share/bash-completion/completions/{name}"),
            format!("/usr/share/zsh/site-functions/_{name}"),
            format!("/usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("/usr/share/doc/{name}/"),
            format!("/usr/share/licenses/{name}/"),
            format!("/usr/lib/systemd/system/{name}"),
            format!("/usr/lib/systemd/system-generators/{name}-"),
            format!("/usr/lib/systemd/system-preset/50-{name}.preset"),
        ];
        for line in query(
            "[%{FILEMODES:perms} %{FILENAMES} %{FILEFLAGS:fflags}\\n]",
            package,
        )
        .lines()
        {
            let (mode, line) = line.split_once(' ').unwrap();
            let (file, flags) = line.split_once(' ').unwrap();
            // Its own directories go with the package; the configuration's stays while it has files.
            let is_directory = mode.starts_with('d');
            let slash = if is_directory { "/" } else { "" };
            let file = format!("{file}{slash}");
            assert!(all.insert(file.clone()), "{file} is in both packages");
            if file == "/etc/authkeysd/" {
                assert_eq!((mode, flags), ("drwxr-xr-x", ""));
            } else if file.starts_with("/etc/") {
                assert_eq!((&file[..], flags), ("/etc/sysconfig/authkeysd", "cn"));
            } else if file.starts_with("/usr/share/man/man") {
                assert!(file.ends_with(".gz") && flags == "d", "{line}");
            } else {
                assert!(own.iter().any(|start| file.starts_with(start)), "{file}");
                let is_page = file.starts_with("/usr/share/doc/") && !is_directory;
                assert_eq!(flags == "d", is_page, "{line}");
            }
        }
        assert!(all.contains(&format!("/usr/share/licenses/{name}/LICENSE-MIT")));
    }
    // What the macros %systemd_post, %systemd_preun and %systemd_postun_with_restart come to.
    let scripts = [
        (
            "%{POSTIN}",
            "systemctl --no-reload preset authkeysd.service || :",
        ),
        (
            "%{PREUN}",
            "systemctl --no-reload disable --now authkeysd.service || :",
        ),
        (
            "%{PREUN}",
            "systemctl --no-reload disable authkeysd.service || :",
        ),
        ("%{POSTUN}", "systemctl try-restart authkeysd.service || :"),
    ];
    for (script, command) in scripts {
        let text = query(script, &packages[0]);
        assert!(text.contains(command), "{script}: {text}");
    }
}
