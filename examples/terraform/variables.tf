variable "bucket" {
  description = "The bucket's name"
  type        = string
}

variable "name" {
  description = "Prefix of the names of role, profile and policies"
  type        = string
  default     = "authkeysd"
}

variable "key_set" {
  description = "The object that nodes read, relative to the bucket"
  type        = string
  default     = "prod/workers.json"
}

variable "report_prefix" {
  description = "Where nodes may write report objects ([report] s3), ending in a slash; empty to allow none"
  type        = string
  default     = "reports/prod/"

  validation {
    condition     = var.report_prefix == "" || endswith(var.report_prefix, "/")
    error_message = "The prefix must end in a slash, or be empty."
  }
}

variable "report_days" {
  description = "Days after which a report object that is no longer updated is deleted, so that nodes that are gone are no longer shown"
  type        = number
  default     = 7

  validation {
    condition     = var.report_days >= 2
    error_message = "A report must outlive two heartbeats."
  }
}

variable "kms_key_arn" {
  description = "ARN of your own KMS key that encrypts the bucket (not an alias). Its key policy must allow the same roles. Empty for S3's own encryption"
  type        = string
  default     = ""
}

variable "publisher_nudges" {
  description = "Whether the publisher may nudge nodes, so that they fetch at once (publish --nudge)"
  type        = bool
  default     = false
}

variable "tag_prefix" {
  description = "The same as tag_prefix in [report]"
  type        = string
  default     = "authkeysd:"
}

variable "key_name_tag" {
  description = "The same as key_name_tag in [report]"
  type        = string
  default     = "EC2KeyName"
}
