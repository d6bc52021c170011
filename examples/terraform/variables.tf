variable "bucket" {
  description = "The bucket's name"
  type        = string
}

variable "name" {
  description = "What the names of role, profile and policies begin with"
  type        = string
  default     = "authkeysd"
}

variable "key_set" {
  description = "The object that nodes read, relative to the bucket"
  type        = string
  default     = "prod/workers.json"
}

variable "report_prefix" {
  description = "Where nodes may write report objects ([report] s3), with a slash at its end; empty for nowhere"
  type        = string
  default     = "reports/prod/"

  validation {
    condition     = var.report_prefix == "" || endswith(var.report_prefix, "/")
    error_message = "The prefix must end in a slash, or be empty."
  }
}

variable "report_days" {
  description = "After how many days without a word a report object is deleted, so that nodes that are gone are no longer shown"
  type        = number
  default     = 7

  validation {
    condition     = var.report_days >= 2
    error_message = "A report must outlive two heartbeats."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of your own that encrypts the bucket, by the ARN of the key (no alias); its own policy must admit the same roles. Empty for S3's own encryption"
  type        = string
  default     = ""
}

variable "tag_prefix" {
  description = "As tag_prefix in [report]"
  type        = string
  default     = "authkeysd:"
}

variable "key_name_tag" {
  description = "As key_name_tag in [report]"
  type        = string
  default     = "EC2KeyName"
}
