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
