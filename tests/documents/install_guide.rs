//! docs/install.md and the examples for images: what they show can be read by the tools that it is
//! for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_testing::authkeysd;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Readers of HCL and YAML.
const PACKAGES: [&str; 2] = ["python-hcl2==8.1.4", "PyYAML==6.0.3"];

/// A Python that has the readers, made once; `None`, with a loud word, where it cannot be made.
pub(crate) fn python() -> Option<PathBuf> {
    let home = authkeys_testing::scratch().join("readers");
    let python = home.join("bin/python");
    let run = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let there = || run(Command::new(&python).args(["-c", "import hcl2, yaml"]));
    let made = there()
        || (run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&home))
            && run(Command::new(&python)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(PACKAGES))
            && there());
    if !made {
        authkeys_testing::skipped(&format!("no Python environment with {PACKAGES:?}"));
    }
    made.then_some(python)
}

/// A file as JSON, by the reader named.
fn read(python: &Path, reader: &str, file: &str) -> Value {
    let script =
        format!("import json, sys, hcl2, yaml\nprint(json.dumps({reader}(open(sys.argv[1]))))");
    let output = Command::new(python)
        .args(["-c", &script])
        .arg(Path::new(ROOT).join(file))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn packer_cloud_init_and_the_workflow_can_be_read_and_name_what_exists() {
    let Some(python) = python() else { return };
    let image = read(&python, "hcl2.load", "examples/image/node.pkr.hcl").to_string();
    for word in [
        "sudo authkeysd sync",
        "sudo authkeysd check --online",
        "iam_instance_profile",
    ] {
        assert!(image.contains(word), "{word}: {image}");
    }
    assert!(
        image.contains(&format!(
            "authkeysd_{}-1_amd64.deb",
            env!("CARGO_PKG_VERSION")
        )),
        "{image}"
    );

    let cloud = read(&python, "yaml.safe_load", "examples/image/cloud-init.yaml");
    let files = cloud["write_files"].as_array().unwrap();
    let config = files
        .iter()
        .find(|file| file["path"] == "/etc/authkeysd/config.toml")
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, config["content"].as_str().unwrap()).unwrap();
    // The accounts need not exist here; 78 would be a fault in the configuration.
    let run = authkeysd(["--config", path.to_str().unwrap(), "check"]);
    assert!(![64, 78, -1].contains(&run.status), "{run:?}");

    let workflow = read(&python, "yaml.safe_load", ".github/workflows/release.yml");
    let job = &workflow["jobs"]["packages"];
    let makes = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["run"].as_str()?.strip_prefix("make "));
    let targets: Vec<&str> = makes
        .flat_map(|line| line.split(" TARGET").next().unwrap().split(' '))
        .collect();
    assert_eq!(targets, ["deb", "rpm", "lambda"]);
    let makefile = std::fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    assert!(
        targets
            .iter()
            .all(|target| makefile.contains(&format!("\n{target}:")))
    );
    for target in job["strategy"]["matrix"]["target"].as_array().unwrap() {
        assert!(
            std::fs::read_to_string(Path::new(ROOT).join("deny.toml"))
                .unwrap()
                .contains(target.as_str().unwrap())
        );
    }
}

#[test]
fn each_command_of_the_guide_is_one_that_the_program_has() {
    let guide = std::fs::read_to_string(Path::new(ROOT).join("docs/install.md")).unwrap();
    let mut commands = 0;
    for block in authkeys_testing::blocks(&guide, "sh") {
        for line in block
            .lines()
            .filter_map(|line| line.trim_start_matches("sudo ").strip_prefix("authkeysd "))
        {
            let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
            let mut command = authkeys_testing::clean_command();
            let run = authkeys_testing::outcome_of(command.args(&words).arg("--help"));
            run.succeeds();
            commands += 1;
        }
    }
    assert!(commands >= 3, "{commands}");
    for file in [
        "docs/operate.md",
        "examples/image/node.pkr.hcl",
        "examples/image/cloud-init.yaml",
    ] {
        assert!(
            Path::new(ROOT).join(file).exists() && guide.contains(file.trim_start_matches("docs/")),
            "{file}"
        );
    }
}
