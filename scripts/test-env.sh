# Sourced by the scripts that run tests: paths of what was installed, and the machine's limits.
export PATH="$HOME/.cargo/bin:$PATH"

# Dovecot takes one inotify instance per idling session and only logs when there are none left.
if [ -w /proc/sys/fs/inotify/max_user_instances ]; then
    echo 65536 > /proc/sys/fs/inotify/max_user_instances 2>/dev/null || true
fi
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
