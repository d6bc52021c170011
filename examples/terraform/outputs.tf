output "source" {
  description = "For `source` in /etc/authkeysd/config.toml, and for authkeysctl publish"
  value       = "s3://${aws_s3_bucket.keys.id}/${var.key_set}"
}

output "reports" {
  description = "For `s3` in [report]; null when there is no prefix"
  value       = var.report_prefix == "" ? null : "s3://${aws_s3_bucket.keys.id}/${var.report_prefix}"
}

output "instance_profile" {
  description = "The instance profile of the nodes"
  value       = aws_iam_instance_profile.node.name
}

output "publisher_policy_arn" {
  description = "To be attached to those who publish key sets"
  value       = aws_iam_policy.publisher.arn
}

output "watcher_policy_arn" {
  description = "To be attached to those who watch the fleet"
  value       = aws_iam_policy.watcher.arn
}
