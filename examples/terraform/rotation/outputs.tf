output "function" {
  description = "ARN of the rotation function"
  value       = aws_lambda_function.rotate.arn
}

output "role" {
  description = "The function's role: a key set or a secret that a KMS key of your own encrypts needs a statement more"
  value       = aws_iam_role.rotate.name
}
