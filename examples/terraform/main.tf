# What authkeysd needs: a bucket for key sets, an instance profile for nodes that may read one key set and tag themselves,
# and policies for those who publish key sets and those who watch the fleet.

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
data "aws_region" "current" {}

locals {
  tag_keys = concat(
    [for part in ["detail", "digest", "keyset", "status", "synced"] : "${var.tag_prefix}${part}"],
    [var.key_name_tag],
  )
  nudge        = var.publisher_nudges ? ["${var.tag_prefix}nudge"] : []
  reports      = var.report_prefix == "" ? [] : [var.report_prefix]
  keys         = var.kms_key_arn == "" ? [] : [var.kms_key_arn]
  keys_reports = var.report_prefix == "" ? [] : local.keys
  # The attribute for the region's name changed in version 6 of the provider; the id works in both.
  via_s3 = "s3.${data.aws_region.current.id}.${data.aws_partition.current.dns_suffix}"
}

# The keys of every node: versioned, encrypted, private, and protected from deletion by mistake.
resource "aws_s3_bucket" "keys" {
  bucket = var.bucket

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "keys" {
  bucket = aws_s3_bucket.keys.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "keys" {
  bucket = aws_s3_bucket.keys.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
    }
    # One call to KMS serves many requests.
    bucket_key_enabled = var.kms_key_arn != ""
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "keys" {
  bucket     = aws_s3_bucket.keys.id
  depends_on = [aws_s3_bucket_versioning.keys]

  # Reports are overwritten with every change and every heartbeat. S3 counts whole days.
  dynamic "rule" {
    for_each = local.reports

    content {
      id     = "old-reports"
      status = "Enabled"

      filter {
        prefix = rule.value
      }

      expiration {
        days = var.report_days
      }

      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  # A node that pins one of these with `?version_id=` then loses its source.
  rule {
    id     = "old-key-sets"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = 400
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_public_access_block" "keys" {
  bucket                  = aws_s3_bucket.keys.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "keys" {
  bucket = aws_s3_bucket.keys.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.keys.arn, "${aws_s3_bucket.keys.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "keys" {
  bucket     = aws_s3_bucket.keys.id
  policy     = data.aws_iam_policy_document.tls_only.json
  depends_on = [aws_s3_bucket_public_access_block.keys]
}

data "aws_iam_policy_document" "node" {
  statement {
    sid       = "ReadTheKeySet"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.keys.arn}/${var.key_set}"]
  }

  statement {
    sid       = "TagItself"
    actions   = ["ec2:CreateTags"]
    resources = ["arn:${data.aws_partition.current.partition}:ec2:*:${data.aws_caller_identity.current.account_id}:instance/*"]

    # Only credentials of the instance profile itself carry this key.
    condition {
      test     = "ArnLike"
      variable = "ec2:SourceInstanceARN"
      values   = ["arn:${data.aws_partition.current.partition}:ec2:*:*:instance/&{ec2:InstanceID}"]
    }

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = local.tag_keys
    }
  }

  dynamic "statement" {
    for_each = local.reports

    content {
      sid       = "WriteReportObjects"
      actions   = ["s3:PutObject"]
      resources = ["${aws_s3_bucket.keys.arn}/${statement.value}*"]
    }
  }

  dynamic "statement" {
    for_each = local.keys

    content {
      sid       = "Decrypt"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = [local.via_s3]
      }
    }
  }

  dynamic "statement" {
    for_each = local.keys_reports

    content {
      sid       = "EncryptReports"
      actions   = ["kms:GenerateDataKey"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = [local.via_s3]
      }
    }
  }
}

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

resource "aws_iam_policy" "node" {
  name        = "${var.name}-node"
  description = "Read one key set, and tag the node's own instance"
  policy      = data.aws_iam_policy_document.node.json
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  description        = "Nodes whose keys are managed by authkeysd"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
}

resource "aws_iam_role_policy_attachment" "node" {
  role       = aws_iam_role.node.name
  policy_arn = aws_iam_policy.node.arn
}

resource "aws_iam_instance_profile" "node" {
  name = "${var.name}-node"
  role = aws_iam_role.node.name
}

data "aws_iam_policy_document" "publisher" {
  statement {
    sid       = "ReadAndReplaceTheObject"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.keys.arn}/${var.key_set}"]
  }

  statement {
    sid       = "TellMissingFromDenied"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.keys.arn]

    condition {
      test     = "StringEquals"
      variable = "s3:prefix"
      values   = [var.key_set]
    }
  }

  statement {
    sid       = "WatchTheFleet"
    actions   = ["ec2:DescribeInstances"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = local.nudge

    content {
      sid       = "NudgeTheNodes"
      actions   = ["ec2:CreateTags"]
      resources = ["arn:${data.aws_partition.current.partition}:ec2:*:${data.aws_caller_identity.current.account_id}:instance/*"]

      condition {
        test     = "ForAllValues:StringEquals"
        variable = "aws:TagKeys"
        values   = [statement.value]
      }

      condition {
        test     = "Null"
        variable = "aws:TagKeys"
        values   = ["false"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.keys

    content {
      sid       = "EncryptKeySets"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = [local.via_s3]
      }
    }
  }
}

resource "aws_iam_policy" "publisher" {
  name        = "${var.name}-publisher"
  description = "Replace the key set, and watch the fleet"
  policy      = data.aws_iam_policy_document.publisher.json
}

data "aws_iam_policy_document" "watcher" {
  statement {
    sid       = "SeeInstancesAndTheirTags"
    actions   = ["ec2:DescribeInstances"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = local.reports

    content {
      sid       = "ReadReportObjects"
      actions   = ["s3:GetObject"]
      resources = ["${aws_s3_bucket.keys.arn}/${statement.value}*"]
    }
  }

  dynamic "statement" {
    for_each = local.reports

    content {
      sid       = "ListReportObjects"
      actions   = ["s3:ListBucket"]
      resources = [aws_s3_bucket.keys.arn]

      condition {
        test     = "StringLike"
        variable = "s3:prefix"
        values   = ["${statement.value}*"]
      }
    }
  }

  dynamic "statement" {
    for_each = local.keys_reports

    content {
      sid       = "DecryptReports"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = [local.via_s3]
      }
    }
  }
}

resource "aws_iam_policy" "watcher" {
  name        = "${var.name}-watcher"
  description = "See which node has which key set"
  policy      = data.aws_iam_policy_document.watcher.json
}
