# Only root may be able to write here: who can, decides whose keys are let in.
[ -d /etc/authkeysd ] || install -d -m 0755 /etc/authkeysd

# The service manager learns of the unit. At the first installation the preset decides whether it is enabled; it is not
# started, as is the custom on rpm systems.
if command -v systemctl >/dev/null; then
  [ ! -d /run/systemd/system ] || systemctl daemon-reload || :
  [ "$1" -ne 1 ] || systemctl --no-reload preset authkeysd.service || :
fi
