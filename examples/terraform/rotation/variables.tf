variable "name" {
  description = "The name of the function and its role"
  type        = string
  default     = "authkeys-rotate"
}

variable "secret" {
  description = "ARN of the secret with the key pair; before the first rotation its value is {}"
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$", var.secret))
    error_message = "This must be the ARN of a secret."
  }
}

variable "bucket" {
  description = "The bucket of the key set"
  type        = string
}

variable "key_set" {
  description = "The object that nodes read, relative to the bucket"
  type        = string
  default     = "prod/workers.json"
}

variable "code_bucket" {
  description = "The bucket with authkeys-rotate-lambda.zip, which `make lambda` builds"
  type        = string
}

variable "code_key" {
  description = "The archive, relative to that bucket"
  type        = string
  default     = "authkeys-rotate-lambda.zip"
}

variable "architecture" {
  description = "What the archive was built for: x86_64 or arm64"
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "It must be x86_64 or arm64."
  }
}

variable "filter" {
  description = "Which instances must have the new key before it is promoted"
  type        = string
  default     = "tag:RotateSSHKeys=True"
}

variable "login" {
  description = "The account for test logins; empty for none"
  type        = string
  default     = "ubuntu"
}

variable "accounts" {
  description = "First rotation, or after a revocation: the accounts that the key is for, separated by commas"
  type        = string
  default     = "ubuntu"
}

variable "schedule" {
  description = "How often to rotate"
  type        = string
  default     = "rate(30 days)"
}

variable "subnets" {
  description = "Where the function runs; it must reach the nodes' port 22 and, by endpoints or NAT, the AWS APIs"
  type        = list(string)
}

variable "security_groups" {
  description = "The function's security groups; the nodes' groups must let them in to port 22"
  type        = list(string)
}

variable "alarm_topic" {
  description = "ARN of an SNS topic that hears of failed rotations; empty for none"
  type        = string
  default     = ""
}
