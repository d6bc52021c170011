# An image whose nodes have their keys before anybody can log in: packer build node.pkr.hcl
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3"
    }
  }
}

variable "package" {
  type        = string
  description = "The Debian package that make deb built"
  default     = "target/packages/authkeysd_0.1.0-1_amd64.deb"
}

source "amazon-ebs" "node" {
  ami_name             = "node-{{timestamp}}"
  instance_type        = "t3.micro"
  ssh_username         = "ubuntu" # "ec2-user" on Amazon Linux
  iam_instance_profile = "node" # the role that nodes have: it may read the key set
  source_ami_filter {
    filters     = { name = "ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-*" }
    owners      = ["099720109477"]
    most_recent = true
  }
  # Otherwise Packer's own key would stay in the image: mode = "block" keeps lines that are not ours.
  ssh_clear_authorized_keys = true
}

build {
  sources = ["source.amazon-ebs.node"]

  provisioner "file" {
    source      = var.package
    destination = "/tmp/authkeysd.deb"
  }

  provisioner "file" {
    source      = "config.toml"
    destination = "/tmp/config.toml"
  }

  # The last command fails the build if the key set cannot be read, or an account is missing.
  provisioner "shell" {
    inline = [
      # Wait for the image's own updates at the first boot, which hold apt's lock.
      "cloud-init status --wait",
      "sudo apt-get install --yes -o DPkg::Lock::Timeout=300 /tmp/authkeysd.deb",
      "sudo install -m 0644 /tmp/config.toml /etc/authkeysd/config.toml",
      "sudo authkeysd check --online",
      "sudo authkeysd sync",
    ]
  }
}
