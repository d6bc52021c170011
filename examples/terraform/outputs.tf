output "source" {
  description = "The `source` in /etc/authkeysd/config.toml, and the target of authkeysctl publish"
  value       = "s3://${aws_s3_bucket.keys.id}/${var.key_set}"
}

output "reports" {
  description = "The value of `s3` in [report]; null without a prefix"
  value       = var.report_prefix == "" ? null : "s3://${aws_s3_bucket.keys.id}/${var.report_prefix}"
}

output "instance_profile" {
  description = "The instance profile of the nodes"
  value       = aws_iam_instance_profile.node.name
}

output "publisher_policy_arn" {
  description = "The policy for people who publish key sets"
  value       = aws_iam_policy.publisher.arn
}

output "watcher_policy_arn" {
  description = "The policy for people who watch the fleet"
  value       = aws_iam_policy.watcher.arn
}
