# Runs in the emulated machine, in the host's root, which is read-only there. CHSNAP is the program, TESTS the test program
# of whole commands. Each check prints one line "check NAME: ok" or "check NAME: failed: WHY"; tests/faults/nfs.rs reads them.
set -u
export PATH=$PATH:/sbin:/usr/sbin HOME=/mnt/local XDG_STATE_HOME=/mnt/local/state
# What is written by one holder stays good for 3 s there: other hosts take a silent one for dead then.
export CHSNAP_LOCK_SILENCE=3
cd /mnt/local
now() { cut -d. -f1 /proc/uptime; }
lab() { chroot /mnt/lab /bin/sh -c "$*"; }
export_with() { lab exportfs -o "rw,sync,$1,no_subtree_check,fsid=0,insecure" 127.0.0.1:/export; }
# The server runs, and lets everybody in at once.
server_is_back() { lab rpc.nfsd 8; lab 'echo Y >/proc/fs/nfsd/v4_end_grace'; }
check() {
  local name=$1 since out
  since=$(now)
  shift
  if out=$("$@" 2>&1); then echo "check $name: ok ($(($(now) - since)) s)"
  else echo "check $name: failed: $(printf '%s' "$out" | tail -n 25 | tr '\n' '|')"; fi
}
chsnap() { "$CHSNAP" --progress none "$@"; }

# The exports of this machine have one filesystem behind them, and its mounts know nothing of each other's locks: n3 is
# mounted with nolock, and n4's are the server's.
make() { chsnap --repo "/mnt/n4/$1" init; }

index_is_on_this_host() {
  make index && chsnap --repo /mnt/n4/index list && [ ! -e /mnt/n4/index/index.sqlite ] &&
    [ "$(find /mnt/local/state/chsnap -name '*.sqlite' | wc -l)" = 1 ]
}

# A holder on another host that has died: its mark stands still.
mark_dead() { # REPOSITORY HOST
  local dir=/mnt/export/$1/lock.d free
  free=$(cd "$dir" && echo free.*)
  mv "$dir/$free" "$dir/held.$((${free#free.} + 1)).00000000000000ff.3000.0123456789abcdef.fedcba9876543210.1.77.1.$2"
}

dead_holder_is_taken_over() { # MOUNT
  local repo=dead-$1 since
  make "$repo" && chsnap --repo "/mnt/$1/$repo" gc && mark_dead "$repo" ch7 || return 1
  since=$(now)
  chsnap --repo "/mnt/$1/$repo" gc || return 1
  [ $(($(now) - since)) -ge 3 ] || { echo "too soon: after $(($(now) - since)) s"; return 1; }
  cat "/mnt/$1/$repo"/journal/* | grep '"reason":"silent"'
}

living_holder_is_left_alone() { # MOUNT
  local repo=living-$1 dir name next code
  make "$repo" && chsnap --repo "/mnt/$1/$repo" gc && mark_dead "$repo" ch7 || return 1
  dir=/mnt/export/$repo/lock.d
  ( name=$(ls "$dir"); n=$(echo "$name" | cut -d. -f2)
    while :; do n=$((n + 1)); next="held.$n.$(echo "$name" | cut -d. -f3-)"; mv "$dir/$name" "$dir/$next" || exit; name=$next; sleep 0.3; done ) &
  chsnap --repo "/mnt/$1/$repo" gc --lock-wait 5s; code=$?
  kill $!
  [ $code = 11 ] || { echo "exit code $code"; return 1; }
}

# Writers on both mounts; each hold is tried against the directory of marks on the exported filesystem itself.
mounts_fight() {
  make fight && chsnap --repo /mnt/n4/fight gc || return 1
  local end=$(($(now) + ${FIGHT_SECONDS:-12})) pids=() mount two=0
  for mount in n3 n4; do
    ( won=0
      while [ "$(now)" -lt $end ]; do
        out=$(chsnap --repo /mnt/$mount/fight gc --lock-wait 2s 2>&1); code=$?
        case $code in 0) won=$((won + 1)) ;; 11) ;; *) echo "$mount: exit code $code: $out"; exit 1 ;; esac
      done
      echo "$mount won $won"; [ $won -gt 0 ] ) & pids+=($!)
  done
  while [ "$(now)" -lt $end ]; do
    [ "$(ls /mnt/export/fight/lock.d | grep -c '^held')" -le 1 ] || two=$((two + 1))
  done
  for pid in "${pids[@]}"; do wait "$pid" || return 1; done
  [ $two = 0 ] || { echo "two holders in $two looks"; return 1; }
}

# A server that goes away in the middle of a command, and comes back: the command waits and is done.
server_goes_away() { # MOUNT
  local repo=away-$1 pid code
  make "$repo" && chsnap --repo "/mnt/$1/$repo" gc || return 1
  mkdir -p "/mnt/export/$repo/trash/2026-11-22T020000Z.deleting-00000001"
  for d in 1 2 3 4 5 6 7 8; do
    mkdir "/mnt/export/$repo/trash/2026-11-22T020000Z.deleting-00000001/$d"
    for f in 1 2 3 4 5 6 7 8 9; do : >"/mnt/export/$repo/trash/2026-11-22T020000Z.deleting-00000001/$d/$f"; done
  done
  chsnap --repo "/mnt/$1/$repo" gc & pid=$!
  sleep 0.3; lab rpc.nfsd 0; sleep 3; server_is_back
  wait $pid; code=$?
  [ $code = 0 ] && [ -z "$(ls "/mnt/export/$repo/trash")" ]
}

# A server that stays away: the command says so and ends, also where it is held up in a call, and the next one goes on.
silent_server_is_given_up() { # MOUNT
  local repo=silent-$1 out code
  make "$repo" && chsnap --repo "/mnt/$1/$repo" gc || return 1
  lab rpc.nfsd 0
  out=$(chsnap --repo "/mnt/$1/$repo" --storage-timeout 6s gc 2>&1); code=$?
  server_is_back
  echo "exit code $code: $out"
  [ $code = 1 ] && [[ $out == *"has not answered for "*hint:* ]] && chsnap --repo "/mnt/$1/$repo" gc
}

# A file that is open while it is removed is renamed by the client, and holds its directory.
silly_rename_is_waited_for() { # MOUNT
  local repo=silly-$1 dir
  make "$repo" && chsnap --repo "/mnt/$1/$repo" gc || return 1
  dir=/mnt/$1/$repo/trash/2026-11-22T020000Z.deleting-00000001
  mkdir "$dir" && echo kept >"$dir/file" && exec 9<"$dir/file" || return 1
  chsnap --repo "/mnt/$1/$repo" gc 9<&- & pid=$!
  sleep 2
  exec 9<&-
  wait $pid && [ ! -e "$dir" ]
}

# Runs tests of a test program; that none fitted its name is a failure.
passed() { # PROGRAM ARGUMENT…
  local out code
  out=$("$@" 2>&1); code=$?
  printf '%s\n' "$out"
  [ $code = 0 ] && printf '%s\n' "$out" | grep -q '^test result: ok\. [1-9]'
}

# What whole commands do on a local filesystem they do on this one: a few of them, copies too, and in the long run all that
# remove.
commands() { # MOUNT
  mkdir -p "/mnt/$1/commands" || return 1
  set -- "$1" rm_moves_a_snapshot directories_of_the_repository the_repositories_of_several a_process_that_loses \
    marks_that_came a_leased_snapshot damage_that_a_part_had_when_it_was_taken_is_remembered copy::a_copy_has_every_file copy::id_name_pin_order copy::a_file_of_a_rewritten_part \
    copy::a_copy_that_was_killed
  [ "${FIGHT_SECONDS:-0}" -lt 100 ] || set -- "$@" removal:: damage:: side_by_side::
  local mount=$1
  shift
  TMPDIR=/mnt/$mount/commands passed "$TESTS" --test-threads 2 "$@"
}

# Snapshots of both real engines onto this mount: contents, owners, modes and times of every file, and what is linked.
engines() { # MOUNT
  [ -n "${ENGINES:-}" ] || { echo "no test program for engines is named"; return 1; }
  mkdir -p "/mnt/$1/second" /dev/shm && mount --bind "/mnt/$1/second" /dev/shm || return 1
  TMPDIR=/mnt/local passed "$ENGINES" --test-threads 1 ${ENGINE_TESTS:-elsewhere::}; local code=$?
  umount /dev/shm
  return $code
}

# Calls to the server, as the client counts them: of unchanged parts and of copied files. The live parts are on the exported
# filesystem itself, whose inode numbers last.
nfs_calls_are_few() { # MOUNT
  mkdir -p "/mnt/$1/calls-$1" "/mnt/export/live-$1" || return 1
  CHSNAP_NFS_FOLDER=/mnt/$1/calls-$1 CHSNAP_LIVE_FOLDER=/mnt/export/live-$1 \
    passed "$TESTS" --nocapture --ignored --test-threads 1 cli::nfs_calls
}

root_squash_is_refused() {
  make squashed && export_with root_squash || return 1
  sleep 1
  chsnap --repo /mnt/n4/squashed gc; local code=$?
  export_with no_root_squash
  [ $code = 1 ] || { echo "exit code $code"; return 1; }
}

# Both engines, on a server that goes away again and again while snapshots are made, read, restored and removed. For 5 s after
# it has come back, files that were open are taken up again, and nothing else is let in; then its grace is ended.
server_restarts() { # MOUNT
  local flapping code
  : >restarts
  ( while sleep 4; do
      lab rpc.nfsd 0; sleep 2; lab rpc.nfsd 8; echo again >>restarts
      sleep 5; lab 'echo Y >/proc/fs/nfsd/v4_end_grace'; sleep 15
    done ) & flapping=$!
  ENGINE_TESTS=elsewhere::what_is_elsewhere engines "$1"; code=$?
  kill $flapping; server_is_back
  echo "the server went away $(grep -c again restarts) times"
  [ $code = 0 ] && [ -s restarts ]
}

# Snapshots onto an export that makes root nobody.
squashed_ids_are_refused_or_recorded() {
  mkdir -p /mnt/export/nobodys /dev/shm && chown 65534:65534 /mnt/export/nobodys && mount --bind /mnt/n4/nobodys /dev/shm || return 1
  export_with root_squash; sleep 1
  TMPDIR=/mnt/local passed "$ENGINES" --test-threads 1 --ignored elsewhere::an_export_that_squashes; local code=$?
  export_with no_root_squash
  umount /dev/shm
  return $code
}

check index_is_on_this_host index_is_on_this_host
for mount in n3 n4; do
  check dead_holder_is_taken_over_$mount dead_holder_is_taken_over $mount
  check living_holder_is_left_alone_$mount living_holder_is_left_alone $mount
  check silly_rename_is_waited_for_$mount silly_rename_is_waited_for $mount
  check commands_$mount commands $mount
  check server_goes_away_$mount server_goes_away $mount
  check silent_server_is_given_up_$mount silent_server_is_given_up $mount
done
check mounts_fight mounts_fight
check root_squash_is_refused root_squash_is_refused
if [ -n "${ENGINES:-}" ]; then
  for mount in n3 n4; do
    check engines_$mount engines $mount
    check nfs_calls_are_few_$mount nfs_calls_are_few $mount
    check server_restarts_$mount server_restarts $mount
  done
  check squashed_ids_are_refused_or_recorded squashed_ids_are_refused_or_recorded
fi
