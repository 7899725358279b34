#!/usr/bin/env bash
# The image's command: starts an SSH server if PUBLIC_KEY is set, then the worker as process 1.
# Arguments are those of the worker: /start.sh editor --listen starts ComfyUI with its page instead.
set -euo pipefail

start_ssh() {
  local kind key
  install -d -m 700 ~/.ssh
  (umask 077 && printf '%s\n' "$PUBLIC_KEY" > ~/.ssh/authorized_keys)
  chmod 600 ~/.ssh/authorized_keys
  for kind in rsa ecdsa ed25519; do
    key=/etc/ssh/ssh_host_${kind}_key
    [ -f "$key" ] || ssh-keygen -q -t "$kind" -f "$key" -N ''
  done
  mkdir -p /run/sshd
  env -i PATH="$PATH" /usr/sbin/sshd  # Its environment would show the worker's keys.
}

if [ -n "${PUBLIC_KEY:-}" ]; then
  # Run it in a process of its own, so that a failure ends only that process.
  if bash -c "set -euo pipefail; $(declare -f start_ssh); start_ssh"; then
    echo "worker: SSH server started"
  else
    echo "worker: the SSH server could not be started; the worker starts without it" >&2
  fi
fi

# tcmalloc returns memory to the system that glibc's allocator would keep.
if [ -z "${LD_PRELOAD:-}" ]; then
  tcmalloc=$(ldconfig -p | sed -n 's/.* => \(.*libtcmalloc\(_minimal\)\?\.so\.[0-9]*\)$/\1/p' | head -n 1)
  [ -z "$tcmalloc" ] || export LD_PRELOAD=$tcmalloc
fi

# A process of its own reads the program's files ahead. On a cold disk the worker would wait for one after the other.
(python -I -S /opt/comfy-worker/scripts/program_files.py read /opt/comfy-worker/program-files.json &) 2> /dev/null

exec python -u -m worker "$@"
