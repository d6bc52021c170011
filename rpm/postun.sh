# After an upgrade: if it runs, the new program takes over. Until that moment the old one was at work.
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  [ "$1" -eq 0 ] || systemctl try-restart authkeysd.service || :
fi
