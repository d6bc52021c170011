# At the removal, not at an upgrade: stop and forget the service. Keys, configuration and state stay.
if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
  if [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now authkeysd.service || :
  else
    systemctl --no-reload disable authkeysd.service || :
  fi
fi
