#!/usr/bin/env bash
# What the real AWS does, beside what is expected of it. Run by hand, with an account that may do everything below; never in CI.
# It makes a stack of examples/cloudformation/authkeysd.yaml, a bucket with Object Lock, a secret, two parameters, a role and two
# instances, and deletes all of them at its end, after a failure too. Ten minutes, and less than a dollar.
#
#   AUTHKEYSD_REAL_AWS=spend-money AWS_REGION=eu-central-1 tests/real-aws.sh
#
# Needs aws (version 2), jq, ssh-keygen, `cargo build --workspace` and `make deb`. Exit status: 0 when all is as expected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${AUTHKEYSD_REAL_AWS:-}" != spend-money ]; then
  echo "this makes things in an AWS account that cost money: set AUTHKEYSD_REAL_AWS=spend-money to go on" >&2
  exit 64
fi
: "${AWS_REGION:?name the region}"
[ "${CI:-}" != true ] || { echo "not in CI" >&2; exit 64; }
export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION AWS_PAGER=''
for tool in aws jq ssh-keygen curl; do
  command -v "$tool" > /dev/null || { echo "no $tool" >&2; exit 64; }
done
ctl=$PWD/target/debug/authkeysctl
package=$(find target/packages -name 'authkeysd_*_amd64.deb' | sort | tail -n 1)
if [ ! -x "$ctl" ] || [ -z "$package" ]; then
  echo "run cargo build --workspace and make deb first" >&2
  exit 64
fi

name=authkeysd-real-$(date +%s)-$RANDOM
work=$(mktemp -d)
instances=() bucket='' locked='' secret='' role='' parameters=() stack=''
rows=0 surprises=0

# Of each step: what was expected, what AWS did.
row() {
  rows=$((rows + 1))
  local verdict=ok
  # The expectation is a pattern.
  # shellcheck disable=SC2053
  [[ $3 == $2 ]] || { verdict=SURPRISE; surprises=$((surprises + 1)); }
  printf '%s\t%s\t%s\t%s\n' "$verdict" "$1" "$2" "${3:0:120}" >> "$work/table"
  echo "$verdict: $1: $3" >&2
}

# The last line of what a command says, with its exit status in front.
said() {
  local status=0 text
  text=$("$@" 2>&1) || status=$?
  echo "$status $(tail -n 1 <<< "$text")"
}

empty() {
  local versions
  while :; do
    versions=$(aws s3api list-object-versions --bucket "$1" --max-items 500 --output json |
      jq '{Quiet: true, Objects: [(.Versions // [])[], (.DeleteMarkers // [])[] | {Key, VersionId}]}')
    [ "$(jq '.Objects | length' <<< "$versions")" -gt 0 ] || return 0
    aws s3api delete-objects --bucket "$1" --delete "$versions" "${@:2}" > /dev/null
  done
}

# Goes on whatever fails, and says what is left.
clean() {
  local status=$? left=0
  trap - EXIT
  set +e
  echo "taking everything away again" >&2
  # What was started and not noted is found by its tag.
  mapfile -t instances < <(aws ec2 describe-instances --output json \
    --filters "Name=tag:authkeysd-real,Values=$name" 'Name=instance-state-name,Values=pending,running,stopping,stopped' |
    jq -r '.Reservations[].Instances[].InstanceId')
  if [ "${#instances[@]}" -gt 0 ]; then
    aws ec2 terminate-instances --instance-ids "${instances[@]}" > /dev/null || left=1
    aws ec2 wait instance-terminated --instance-ids "${instances[@]}" || left=1
  fi
  [ -z "$secret" ] || aws secretsmanager delete-secret --secret-id "$secret" --force-delete-without-recovery > /dev/null || left=1
  for parameter in "${parameters[@]}"; do
    aws ssm delete-parameter --name "$parameter" > /dev/null || left=1
  done
  if [ -n "$role" ]; then
    aws iam list-attached-role-policies --role-name "$role" --output json | jq -r '.AttachedPolicies[].PolicyArn' |
      while read -r policy; do aws iam detach-role-policy --role-name "$role" --policy-arn "$policy"; done
    aws iam delete-role --role-name "$role" || left=1
  fi
  if [ -n "$stack" ]; then
    # The stack keeps its bucket.
    bucket=${bucket:-$(aws cloudformation describe-stack-resource --stack-name "$stack" --logical-resource-id Keys \
      --query StackResourceDetail.PhysicalResourceId --output text)}
    aws cloudformation delete-stack --stack-name "$stack" &&
      aws cloudformation wait stack-delete-complete --stack-name "$stack" || left=1
  fi
  if [ -n "$bucket" ] && [ "$bucket" != None ]; then
    empty "$bucket" && aws s3api delete-bucket --bucket "$bucket" || left=1
  fi
  if [ -n "$locked" ]; then
    empty "$locked" --bypass-governance-retention && aws s3api delete-bucket --bucket "$locked" || left=1
  fi
  [ ! -s "$work/table" ] || column -t -s $'\t' -N verdict,step,expected,'what AWS did' "$work/table"
  rm -rf "$work"
  echo "$rows steps, $surprises not as expected" >&2
  [ "$left" = 0 ] || { echo "SOMETHING IS LEFT: look for $name in the account" >&2; status=1; }
  [ "$surprises" = 0 ] || [ "$status" != 0 ] || status=1
  exit "$status"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

document() {
  jq -n --arg key "$(cat "$work/key.pub")" --arg comment "$1" '{version: 1, name: "real", keys: [{public_key: ($key + $comment)}]}'
}

ssh-keygen -q -t ed25519 -N '' -C real -f "$work/key"
document '' > "$work/a.json"
document -2 > "$work/b.json"

echo "the stack $name" >&2
stack=$name
aws cloudformation deploy --stack-name "$stack" --template-file examples/cloudformation/authkeysd.yaml --capabilities CAPABILITY_IAM
outputs=$(aws cloudformation describe-stacks --stack-name "$stack" --output json |
  jq '.Stacks[0].Outputs | map({(.OutputKey): .OutputValue}) | add')
source=$(jq -r .Source <<< "$outputs")
bucket=${source#s3://}
bucket=${bucket%%/*}

# --- S3, by the publisher's policy alone
account=$(aws sts get-caller-identity --query Account --output text)
partition=$(aws sts get-caller-identity --query Arn --output text | cut -d: -f2)
aws iam create-role --role-name "$name" --assume-role-policy-document "$(jq -n --arg root "arn:$partition:iam::$account:root" \
  '{Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {AWS: $root}, Action: "sts:AssumeRole"}]}')" > /dev/null
role=$name
aws iam attach-role-policy --role-name "$role" --policy-arn "$(jq -r .PublisherPolicy <<< "$outputs")"
sleep 15 # IAM takes a while to know a new role everywhere.
assumed=$(aws sts assume-role --role-arn "arn:$partition:iam::$account:role/$role" --role-session-name real --output json | jq .Credentials)
publisher() {
  AWS_ACCESS_KEY_ID=$(jq -r .AccessKeyId <<< "$assumed") AWS_SECRET_ACCESS_KEY=$(jq -r .SecretAccessKey <<< "$assumed") \
    AWS_SESSION_TOKEN=$(jq -r .SessionToken <<< "$assumed") "$@"
}
missing=$(said publisher aws s3api get-object --bucket "$bucket" --key "${source#s3://*/}" "$work/out")
row "a missing object, s3:ListBucket with a condition on the prefix" '*NoSuchKey*' "$missing"
row "first publication to S3 by the publisher's policy" '0 published *' "$(said publisher "$ctl" publish "$work/a.json" "$source")"
row "the next one" '0 published *' "$(said publisher "$ctl" publish "$work/b.json" "$source")"
row "a write on the condition that no object is there" '*PreconditionFailed*' \
  "$(said aws s3api put-object --bucket "$bucket" --key "${source#s3://*/}" --body "$work/a.json" --if-none-match '*')"

# --- Object Lock
where=()
[ "$AWS_REGION" = us-east-1 ] || where=(--create-bucket-configuration "LocationConstraint=$AWS_REGION")
aws s3api create-bucket --bucket "$name-locked" --object-lock-enabled-for-bucket "${where[@]}" > /dev/null
locked=$name-locked
aws s3api put-object-lock-configuration --bucket "$locked" \
  --object-lock-configuration 'ObjectLockEnabled=Enabled,Rule={DefaultRetention={Mode=GOVERNANCE,Days=1}}'
row "publication to a bucket with default retention" '0 published *' "$(said "$ctl" publish "$work/a.json" "s3://$locked/keys.json")"

# --- Secrets Manager
secret=$name
row "first publication to a secret" '0 published *' "$(said "$ctl" publish "$work/a.json" "secretsmanager:$secret")"
row "the next one" '0 published *' "$(said "$ctl" publish "$work/b.json" "secretsmanager:$secret")"
row "a version with a label of its own leaves AWSCURRENT alone" '?"real"?' \
  "$(aws secretsmanager put-secret-value --secret-id "$secret" --secret-string '{}' --version-stages real --output json | jq -c .VersionStages)"

# --- Systems Manager
parameters+=("/$name/a")
row "first publication to a parameter" '0 published *' "$(said "$ctl" publish "$work/a.json" "ssm:/$name/a")"
arn=arn:$partition:ssm:$AWS_REGION:$account:parameter/$name/a
row "the next one, by its ARN" '0 published *' "$(said "$ctl" publish "$work/b.json" "ssm:$arn")"
aws ssm put-parameter --name "/$name/b" --type String --tier Advanced --value "$(cat "$work/a.json")" > /dev/null
parameters+=("/$name/b")
row "an advanced parameter takes a small value without a tier" '0 *' \
  "$(said aws ssm put-parameter --name "/$name/b" --overwrite --value "$(cat "$work/b.json")" --query Tier --output text)"
row "publication to an advanced parameter" '0 published *' "$(said "$ctl" publish "$work/a.json" "ssm:/$name/b")"

# --- Nodes
aws s3 cp --quiet "$package" "s3://$bucket/package.deb"
url=$(aws s3 presign "s3://$bucket/package.deb" --expires-in 1800)
cat > "$work/user-data" << END
#!/bin/bash
set -e
mkdir -p /etc/authkeysd
cat > /etc/authkeysd/config.toml << 'CONFIG'
source = "$source"
schedule = "10s"
[report]
ec2_tags = true
report_spread = "1s"
s3 = "$(jq -r .Reports <<< "$outputs")"
[[account]]
user = "ubuntu"
CONFIG
curl -fsS -o /run/authkeysd.deb '$url'
apt-get install --yes -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold /run/authkeysd.deb
systemctl start authkeysd
END
image=$(aws ssm get-parameter --name /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id \
  --query Parameter.Value --output text)
started=$(aws ec2 run-instances --image-id "$image" --instance-type t3.micro --count 2 --user-data "file://$work/user-data" \
  --iam-instance-profile "Name=$(jq -r .NodeProfile <<< "$outputs")" \
  --metadata-options HttpTokens=required,InstanceMetadataTags=enabled \
  --tag-specifications "ResourceType=instance,Tags=[{Key=authkeysd-real,Value=$name}]" --output json)
mapfile -t instances < <(jq -r '.Instances[].InstanceId' <<< "$started")
aws ec2 wait instance-running --instance-ids "${instances[@]}"
fleet=("$ctl" fleet --filter "tag:authkeysd-real=$name")
row "both nodes tag themselves by the node's policy" '0 *' "$(said "${fleet[@]}" --wait --document real/2 --timeout 6m)"
row "both write report objects" '2' \
  "$(aws s3api list-objects-v2 --bucket "$bucket" --prefix reports/ --output json | jq '.Contents // [] | length')"
publisher "$ctl" publish "$work/a.json" "$source" > /dev/null
row "both have the next document" '0 *' "$(said "${fleet[@]}" --wait --document real/3 --timeout 2m)"
row "a tag's key with a slash, where the metadata service shows tags" '*InvalidParameterValue*' \
  "$(said aws ec2 create-tags --resources "${instances[0]}" --tags Key=acme/ssh/status,Value=ok)"
