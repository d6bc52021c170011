# Rotates the SSH key pair in a secret on a schedule, with authkeys-rotate as the rotation function of Secrets Manager. The
# function publishes the public keys in a key set that nodes read, and looks at the nodes before it promotes a key.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

data "aws_iam_policy_document" "lambda" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "rotate" {
  statement {
    sid = "RotateTheKeyPair"
    actions = [
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:ListSecretVersionIds",
      "secretsmanager:PutSecretValue",
      "secretsmanager:UpdateSecretVersionStage",
    ]
    resources = [var.secret]
  }

  statement {
    sid       = "ReadAndReplaceTheKeySet"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["arn:${data.aws_partition.current.partition}:s3:::${var.bucket}/${var.key_set}"]
  }

  statement {
    sid       = "WatchTheFleet"
    actions   = ["ec2:DescribeInstances"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "rotate" {
  name               = var.name
  description        = "The function that rotates an SSH key pair"
  assume_role_policy = data.aws_iam_policy_document.lambda.json
}

resource "aws_iam_role_policy" "rotate" {
  name   = "rotate"
  role   = aws_iam_role.rotate.id
  policy = data.aws_iam_policy_document.rotate.json
}

# Logs, and network interfaces in the subnets.
resource "aws_iam_role_policy_attachment" "network" {
  role       = aws_iam_role.rotate.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_lambda_function" "rotate" {
  function_name = var.name
  description   = "Rotates an SSH key pair, and proves each step on the nodes"
  runtime       = "provided.al2023"
  handler       = "bootstrap"
  architectures = [var.architecture]
  s3_bucket     = var.code_bucket
  s3_key        = var.code_key
  role          = aws_iam_role.rotate.arn
  # Nodes may take their time; what does not fit in is tried again.
  timeout     = 900
  memory_size = 256

  vpc_config {
    subnet_ids         = var.subnets
    security_group_ids = var.security_groups
  }

  environment {
    variables = {
      TARGET   = "s3://${var.bucket}/${var.key_set}"
      FILTER   = var.filter
      LOGIN    = var.login
      ACCOUNTS = var.accounts
      OPTION   = "restrict"
      GRACE    = "10m"
    }
  }

  # Without it the first invocation could not reach the network.
  depends_on = [aws_iam_role_policy_attachment.network]
}

resource "aws_lambda_permission" "rotate" {
  function_name  = aws_lambda_function.rotate.function_name
  action         = "lambda:InvokeFunction"
  principal      = "secretsmanager.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
}

resource "aws_secretsmanager_secret_rotation" "rotate" {
  secret_id           = var.secret
  rotation_lambda_arn = aws_lambda_function.rotate.arn

  rotation_rules {
    schedule_expression = var.schedule
  }

  depends_on = [aws_lambda_permission.rotate, aws_iam_role_policy.rotate]
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  alarm_name          = "${var.name}-failed"
  alarm_description   = "A step of the SSH key rotation failed; the function's log says why. Secrets Manager tries again"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.rotate.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic == "" ? [] : [var.alarm_topic]
}
