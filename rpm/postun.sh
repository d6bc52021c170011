# After an upgrade: if it runs, the new program takes over. Until that moment the old one was at work.
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  [ "$1" -eq 0 ] || systemctl try-restart authkeysd.service || :
fi

# At the removal: the directories that would be left empty. cargo-generate-rpm 0.21 cannot make them the package's own.
if [ "$1" -eq 0 ]; then
  rmdir --ignore-fail-on-non-empty /etc/authkeysd /usr/libexec/authkeysd /usr/share/doc/authkeysd/examples \
    /usr/share/doc/authkeysd /usr/share/licenses/authkeysd 2>/dev/null || :
fi
